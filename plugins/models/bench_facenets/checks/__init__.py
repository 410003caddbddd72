"""Whether a loaded network does what its card says: ``bench models check``."""
