"""What a suite asks: its TOML tables, its components, its claims. No torch."""
