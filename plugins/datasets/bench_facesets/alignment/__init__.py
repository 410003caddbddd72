"""Face detection and alignment: ``bench data align``."""
