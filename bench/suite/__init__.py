"""Suites: TOML files that describe experiments. Reading and checking them, their components and claims. No torch."""
