"""How the results of two calls of a plugin are compared, as they are stored.

Batches of one size are compared strictly: two 8-bit images count as equal unless more than one value in a thousand
differs by more than one level, since rounding alone moves a value by one level. For floats, a thousandth of their
standard deviation takes the place of a level, and what is smaller than rounding counts as equal where all results are
alike. Everything else (labels, numbers of people, bits, whole numbers, texts) is equal or is not, and NaN and infinity
equal nothing but themselves in the same place.

Between batches of different sizes the last bits of floating-point numbers differ, and an optimisation of many steps can
magnify them: two results of PMT for the same face may be some levels apart. Numbers count as loosely equal unless they
are half as far apart as the results of two faces; texts, NaN and infinity are compared as above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARE = 1e-3  # of the values of a face may differ between batches of one size
APART = 0.5  # of the distance between two faces: how far apart results may be that batches of two sizes give
_LEVEL = 1  # by which an 8-bit value may differ
_OF_SPREAD = 1e-3  # of the standard deviation of a tensor, by which a float may differ
_ROUNDING = 1e-5  # of the size of the values of a tensor, by which a float may differ
_NUMBERS = "biuf"  # the kinds of numpy's types that have distances
_OTHER_TENSORS = "other tensors"

Array = NDArray[Any]
Results = Mapping[str, Array]
Rows = Sequence[int] | NDArray[np.int64]


def rows_of(results: Results, rows: Rows) -> Results:
    """Return the results of the faces at these positions, in this order."""
    return {name: values[np.asarray(rows)] for name, values in results.items()}


def another_order(n: int) -> NDArray[np.int64]:
    """Return an order of ``n`` faces other than theirs: a permutation, which is neither a reversal nor a rotation if
    there are enough of them."""
    order = np.random.default_rng(0).permutation(n)
    return order if (order != np.arange(n)).any() else order[::-1]


def strict_difference(first: Results, second: Results) -> str | None:
    """Return in words what differs between two results that must be the same; None if nothing does.

    The words name the share of the values of a face that differ, of the face and tensor where most do; `SHARE` may.
    """
    if words := _different_in_kind(first, second):
        return words
    share = max((_share(first[name], second[name]) for name in first), default=0.0)
    return f"{100 * share:.3g} % of its values differ" if share else None


def loose_difference(first: Results, second: Results, all_faces: Results) -> str | None:
    """Return in words how far apart two results are, in distances between two faces; None if it is at most `APART`."""
    if words := _different_in_kind(first, second):
        return words
    share = max((_apart(first[name], second[name], all_faces[name]) for name in first), default=0.0)
    return f"{share:.2g} times as far apart as two faces" if share > APART else None


def _different_in_kind(first: Results, second: Results) -> str | None:
    """Return in words what makes it useless to compare numbers: other tensors, or NaN and infinity elsewhere."""
    if first.keys() != second.keys() or not all(_same_form(first[name], second[name]) for name in first):
        return _OTHER_TENSORS
    for name in first:
        a, b = first[name], second[name]
        if a.dtype.kind == "f" and not np.array_equal(_infinite(a), _infinite(b), equal_nan=True):
            return f"NaN or infinity in other places of {name}"
    return None


def _infinite(values: Array) -> Array:
    """Return floats with 0 in place of finite ones."""
    return np.where(np.isfinite(values), 0, values)


def _same_form(first: Array, second: Array) -> bool:
    return first.shape == second.shape and first.dtype.kind == second.dtype.kind


def _share(first: Array, second: Array) -> float:
    """Return which share of the values of a face differs, of the face where most do; 0 if so many may."""
    if not first.size:
        return 0.0
    if _is_picture(first):
        far, most = np.abs(first.astype(np.int16) - second.astype(np.int16)) > _LEVEL, SHARE
    elif first.dtype.kind == "f":
        a, b = _finite(first), _finite(second)
        far, most = np.abs(a - b) > max(_OF_SPREAD * float(a.std()), _rounding(a)), SHARE
    else:
        far, most = np.asarray(first != second), 0.0
    share = float(far.reshape(len(far), -1).mean(axis=1).max())
    return share if share > most else 0.0


def _is_picture(values: Array) -> bool:
    return values.dtype == np.uint8 and values.ndim == 4


def _apart(first: Array, second: Array, all_faces: Array) -> float:
    """Return how far apart two results of some faces are, in distances between two faces."""
    if not first.size:
        return 0.0
    if first.dtype.kind not in _NUMBERS:
        return 0.0 if np.array_equal(first, second) else np.inf
    flat = _finite(all_faces).reshape(len(all_faces), -1)
    between = float(np.sqrt(((flat[1:] - flat[:-1]) ** 2).mean(axis=1)).mean()) if len(flat) > 1 else float(flat.std())
    difference = (_finite(first) - _finite(second)).reshape(len(first), -1)
    most = float(np.sqrt((difference**2).mean(axis=1)).max())
    if most <= (_LEVEL if _is_picture(first) else _rounding(flat)):
        return 0.0
    return most / between if between else np.inf


def _finite(values: Array) -> NDArray[np.float64]:
    """Return numbers with 0 in place of NaN and infinity, which are compared by their places."""
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _rounding(values: NDArray[np.float64]) -> float:
    return _ROUNDING * float(np.sqrt((values**2).mean())) if values.size else 0.0
