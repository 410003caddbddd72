"""Places the labels of a plot of points so that no two overlap, however many points coincide.

Points at the same position share a block of labels, and a line leads from the points to their block. Positions are
shares of the plot's width and height, from the top left. They are computed for the smallest plot: in a larger one with
the same font size, labels are further apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# In pixels: half the size of a mark, the height of a label, the width of a character, and the gap between labels.
MARK, HIGH, WIDE, BETWEEN = 6.0, 13.0, 6.8, 5.0
_RADII = np.arange(9.0, 110.0, 8.0)
_ANGLES = np.deg2rad(np.arange(-45.0, 315.0, 15.0))
_AROUND = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_ALONG = np.linspace(0.0, 1.0, 8)[:, None]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Place:
    """The centre of a label, and the end of the line from its point to the label, as shares of the plot."""

    x: float
    y: float
    end: tuple[float, float]


def placed(spots: Sequence[tuple[float, float]], texts: Sequence[str], size: tuple[float, float]) -> list[Place | None]:
    """Return a place near each spot for its label, or None if there is no room.

    ``spots`` are positions as shares of the plot (x from the left, y from the top), ``texts`` their labels, and
    ``size`` is the width and height of the smallest plot in pixels.
    """
    at: Array = np.asarray(spots, dtype=np.float64).reshape(-1, 2) * size
    marks = _boxes(at, np.full((len(at), 2), MARK))
    labels, leaders = np.empty((0, 4)), np.empty((0, 2))  # The boxes of placed labels, and points on their lines.
    made: list[Place | None] = [None] * len(at)
    for group in sorted(_tied(at), key=len, reverse=True):
        spot, grid = at[group[0]], _grid([texts[i] for i in group])
        half = np.array([WIDE * max(len(texts[i]) for i in group), HIGH]) / 2 + grid.max(axis=0)
        found = _free_place(spot, half, size, np.vstack([marks, labels]), labels, leaders)
        if found is None:
            continue
        centre, leader = found
        for i, place in zip(group, (centre + grid) / size, strict=True):
            made[i] = Place(x=float(place[0]), y=float(place[1]), end=tuple((leader[-1] / size).tolist()))
        labels, leaders = np.vstack([labels, _boxes(centre, half)]), np.vstack([leaders, leader])
    return made


def _free_place(
    spot: Array, half: Array, size: tuple[float, float], taken: Array, labels: Array, leaders: Array
) -> tuple[Array, Array] | None:
    """Return the free centre of a block that is nearest to its spot, and points on the line from the spot to the block.

    ``half`` is half the size of the block; ``taken`` and ``labels`` are boxes that the block or its line must not meet,
    and ``leaders`` are points on other lines. All are in pixels. Return None if no place is free.
    """
    for radius in _RADII:
        centres = spot + _AROUND * (radius + half)
        boxes = _boxes(centres, half)
        free = np.all(boxes[:, :2] >= 0, axis=1) & np.all(boxes[:, 2:] <= size, axis=1)
        free &= ~_meet(boxes, taken) & ~_hold(boxes, leaders)
        for centre in centres[free]:
            way = centre - spot
            within = np.min(half / np.maximum(np.abs(way), 1e-9))  # The share of the way that lies within the block.
            leader = spot + _ALONG * way * max(0.0, 1 - within)
            if not _hold(labels, leader).any():
                return centre, leader
    return None


def _tied(at: Array) -> list[list[int]]:
    """Return groups of indices of spots whose marks overlap."""
    groups: list[list[int]] = []
    for i, spot in enumerate(at):
        near = (g for g in groups if float(np.abs(at[g[0]] - spot).max()) < MARK)
        if (group := next(near, None)) is not None:
            group.append(i)
        else:
            groups.append([i])
    return groups


def _grid(texts: Sequence[str]) -> Array:
    """Return the centres of labels that are arranged row by row in a block around (0, 0)."""
    wide = WIDE * max(map(len, texts)) + BETWEEN
    columns = min(len(texts), max(1, round(math.sqrt(len(texts) * 1.5 * HIGH / wide))))
    rows = -(-len(texts) // columns)
    cells = [(i % columns - (columns - 1) / 2, i // columns - (rows - 1) / 2) for i in range(len(texts))]
    return np.asarray(cells, dtype=np.float64) * (wide, HIGH)


def _boxes(centres: Array, half: Array) -> Array:
    """Return boxes as rows of left, top, right and bottom."""
    return np.atleast_2d(np.hstack([centres - half, centres + half]))


def _meet(some: Array, others: Array) -> Flags:
    """Return for each box in ``some`` whether it overlaps one of ``others``."""
    apart = (some[:, None, :2] >= others[None, :, 2:]) | (some[:, None, 2:] <= others[None, :, :2])
    return np.array(np.any(~np.any(apart, axis=2), axis=1), dtype=bool)


def _hold(boxes: Array, points: Array) -> Flags:
    """Return for each box whether one of the points lies in it."""
    inside = (points[None] > boxes[:, None, :2]) & (points[None] < boxes[:, None, 2:])
    return np.array(np.any(np.all(inside, axis=2), axis=1), dtype=bool)
