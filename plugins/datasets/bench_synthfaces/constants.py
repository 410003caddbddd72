"""The size of the protocols and the version of the pictures. No torch."""

from __future__ import annotations

MAX_PAIRS = 8000  #: The most pairs that a protocol can have.
GENERATOR = 1  #: The version of the pictures: a change of any pixel raises it.
