"""The plugin host: finds plugins, builds components and calls hooks. No torch."""
