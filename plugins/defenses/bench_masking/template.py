"""Where eyes, nose and corners of the mouth are in an aligned face of 112 x 112 pixels. No torch.

The points are those to which ``bench data align`` aligns faces (`bench_facesets`); a test compares them. They are
repeated here so that a cover does not depend on the code that reads data sets.
"""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]  # x and y in pixels, whose centres have integer coordinates

SIZE = 112
EYES: Sequence[Point] = ((38.2946, 51.6963), (73.5318, 51.5014))
FACE: Sequence[Point] = (*EYES, (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
EYE_DISTANCE = 35.24  # pixels between the eyes


def box(points: Sequence[Point], margin: float, height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns of the box around points that reaches ``margin`` distances between the eyes beyond
    them, in a picture of ``height`` x ``width`` pixels.

    The height decides the scale: narrower aligned pictures, such as 112 x 96, lack the same columns on both sides.
    """
    scale = height / SIZE
    beyond = margin * EYE_DISTANCE
    xs, ys = zip(*points, strict=True)
    left = (width - SIZE * scale) / 2  # of the template in the picture
    rows = _covered((min(ys) - beyond) * scale, (max(ys) + beyond) * scale, height)
    columns = _covered(left + (min(xs) - beyond) * scale, left + (max(xs) + beyond) * scale, width)
    return rows, columns


def _covered(first: float, last: float, size: int) -> slice:
    """Return the pixels from ``first`` to ``last``, both rounded, out of ``size``."""
    return slice(min(max(round(first), 0), size), min(max(round(last) + 1, 0), size))
