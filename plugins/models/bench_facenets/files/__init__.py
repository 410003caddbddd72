"""Weights files: finding them, recognising their format, and reading them without executing code."""
