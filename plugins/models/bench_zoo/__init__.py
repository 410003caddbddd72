"""Compact face-recognition networks with bundled weights: see `networks`, `train` and `weights/`."""
