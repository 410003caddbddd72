"""The contract with plugins: what they are given, what they return, and the hooks that they implement. No torch."""
