"""The size of the protocols, their people for tuning, and the version of the pictures. No torch."""

from __future__ import annotations

from typing import Literal

Purpose = Literal["scoring", "tuning"]  #: What people are for: to be scored, or for choosing settings.
TUNING = 1_000_000  #: The tuning people have the identity numbers of the others plus this.
MAX_PAIRS = 8000  #: The most pairs that a protocol can have.
GENERATOR = 1  #: The version of the pictures: a change of any pixel raises it.
