"""The names of the families of filters. No torch."""

from __future__ import annotations

import typing
from typing import Literal

Family = Literal["blur", "median", "jpeg", "down-up", "non-local-means", "wiener", "richardson-lucy"]
FAMILIES: tuple[Family, ...] = typing.get_args(Family)
