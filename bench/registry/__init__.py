"""The plugin host: it finds installed plugins, builds their components and calls their hooks. No torch."""
