"""Checks of a loaded network against its card and on faces: ``bench models check``."""
