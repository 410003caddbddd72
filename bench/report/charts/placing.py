"""Where the labels of a plot of points stand, so that no two overlap, however many points tie.

Positions are shares of the plot, from left to right and from top to bottom. They are worked out for a small plot: in a
larger one with the same type everything is further apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MARK, HIGH, WIDE = 6.0, 13.0, 7.2  # pixels: half a mark, the height of a label, the width of a character
_RADII = np.arange(12.0, 130.0, 6.0)
_ANGLES = np.deg2rad(np.arange(-45.0, 315.0, 15.0))
_SAMPLES = np.linspace(0.0, 1.0, 12)

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Place:
    """The centre of a label, and the end of the line that leads to it, as shares of the plot."""

    x: float
    y: float
    end: tuple[float, float]


def placed(spots: Sequence[tuple[float, float]], texts: Sequence[str], size: tuple[float, float]) -> list[Place | None]:
    """A place for the label of each spot, near it; none where there is no room.

    ``spots`` are shares of the plot (x from the left, y from the top), ``size`` is that of the smallest plot in pixels.
    """
    at = np.asarray(spots, dtype=np.float64).reshape(-1, 2) * size
    boxes = _boxes(at, np.full((len(at), 2), MARK))  # what is taken: marks, then labels
    leaders = np.empty((0, 2))  # points on the lines to labels
    around = np.stack([np.outer(_RADII, f(_ANGLES)).ravel() for f in (np.cos, np.sin)], axis=1)  # nearest first
    made: list[Place | None] = []
    for spot, text in zip(at, texts, strict=True):
        half = np.array([WIDE * len(text) / 2 + 1, HIGH / 2])
        centres = spot + around * (1 + (half - half.min()) / _RADII[0] * (np.abs(around) > _RADII[0] / 2))
        found = _boxes(centres, half)
        inside = (found[:, :2] >= 0).all(axis=1) & (found[:, 2:] <= size).all(axis=1)
        free = inside & ~_meet(found, boxes) & ~_hold(found, leaders)
        lines = spot + _SAMPLES[None, 3:, None] * (centres - spot)[:, None, :]
        labels = boxes[len(at) :]
        crossing = np.array([_hold(labels, line).any() for line in lines[free]], dtype=bool)
        left = np.flatnonzero(free)[~crossing] if free.any() else np.empty(0, dtype=int)
        if not len(left):
            made.append(None)
            continue
        best = left[0]
        way = centres[best] - spot
        reach = np.min(np.divide(half + 1, np.abs(way), out=np.full(2, np.inf), where=way != 0))
        end = centres[best] - way * min(1.0, reach)
        made.append(
            Place(
                x=float(centres[best][0] / size[0]),
                y=float(centres[best][1] / size[1]),
                end=(float(end[0] / size[0]), float(end[1] / size[1])),
            )
        )
        boxes = np.vstack([boxes, found[best]])
        leaders = np.vstack([leaders, spot + _SAMPLES[:, None] * (end - spot)])
    return made


def _boxes(centres: Array, half: Array) -> Array:
    """Left, top, right, bottom."""
    return np.hstack([centres - half, centres + half])


def _meet(some: Array, others: Array) -> NDArray[np.bool_]:
    """Which of some boxes overlap one of the others."""
    apart = (some[:, None, :2] >= others[None, :, 2:]) | (some[:, None, 2:] <= others[None, :, :2])
    return ~apart.any(axis=2).all(axis=1)


def _hold(boxes: Array, points: Array) -> NDArray[np.bool_]:
    """Which boxes hold one of the points."""
    inside = (points[None] > boxes[:, None, :2]) & (points[None] < boxes[:, None, 2:])
    return inside.all(axis=2).any(axis=1)
