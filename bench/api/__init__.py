"""The contract with plugins: the hooks that they implement, what they receive and what they return. No torch."""
