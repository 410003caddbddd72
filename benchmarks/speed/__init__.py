"""The benchmarks of speed that ``make bench`` runs: one module for each subject.

A module has a docstring, whose first line becomes the title of its table, and a function ``cases`` that yields `Case`s.
It is found by its place in this folder; nothing else has to be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Variant = Callable[[], float]
"""Does some work, and returns how many units of work these were."""


@dataclass(frozen=True)
class Bar:
    """A bar: the variant ``better`` does at least ``factor`` times as many units per second as ``than``."""

    better: str
    than: str
    factor: float


@dataclass(frozen=True)
class Case:
    """Variants that do the same work, and are measured in turn in one process.

    - ``name``: what they work on
    - ``unit``: the unit of work, in the plural ("images x iterations")
    - ``variants``: by name; the first is what bench does
    - ``bars``: what is expected of their ratios
    - ``rounds``: how often each variant is measured, after one round to warm up
    - ``clock``: what seconds are: ``processor`` time, or the time that ``passed`` where the work is done by processes
      that are no children of this one, whose processor time the system does not tell
    - ``notes``: what the reader must know, such as a package that is not installed
    """

    name: str
    unit: str
    variants: Mapping[str, Variant]
    bars: Sequence[Bar] = ()
    rounds: int = 7
    clock: Literal["processor", "passed"] = "processor"
    notes: Sequence[str] = ()
