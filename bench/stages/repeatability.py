"""Whether a plugin makes the same of a face whatever it gets together with it: the host's check of a result.

A result should depend on the face and on the random stream of its sample only. What draws from another source, or
depends on the batch or on the order, gives figures that another machine or batch size does not reproduce. So a few
faces are processed again, and what differs is recorded in words.

Results are compared as they are stored. The last bits of floating-point numbers depend on the size of a batch, and an
optimisation can magnify that. Two 8-bit images therefore count as equal unless more than one value in a thousand
differs by more than one level: rounding alone moves a value by one level, and a change of the last bits moves few
values further. For floats, a thousandth of their standard deviation takes the place of a level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import error_text

FACES = 4  # that are processed again
SHARE = 1e-3  # of the values of a face may differ
_LEVEL = 1  # by which an 8-bit value may differ
_OF_SPREAD = 1e-3  # of the standard deviation of a tensor, by which a float may differ

Results = Mapping[str, NDArray[Any]]
Again = Callable[[NDArray[np.int64]], Results]


def chosen(n: int, *, whole_set: bool = False) -> NDArray[np.int64]:
    """Return the positions of the faces that are processed again: some of ``n``, or all of a set that stays whole."""
    return np.arange(n) if whole_set else np.unique(np.linspace(0, n - 1, min(FACES, n)).round().astype(np.int64))


def what_differs(first: Results, again: Again, *, whole_set: bool = False) -> str | None:
    """Return in words how results change if some faces are processed again; None if they do not.

    ``first`` are the results of all faces, by name ``(n, ...)``. ``again`` processes the faces at some positions
    together, in that order. A ``whole_set`` is processed again as a whole only, in another order.
    """
    n = len(next(iter(first.values())))
    rows = chosen(n, whole_set=whole_set)
    before = _of(first, rows)

    def alone() -> float:
        return max(_differing(_of(before, [i]), again(rows[i : i + 1])) for i in range(len(rows)))

    together: Results = {}

    def in_another_batch() -> float:
        nonlocal together
        together = again(rows)
        return _differing(before, together)

    def in_another_order() -> float:
        order = _other_order(len(rows))
        return _differing(_of(before if whole_set else together or before, order), again(rows[order]))

    tried = {"in another order": in_another_order}
    if not whole_set:
        tried = {"alone": alone, "in another batch": in_another_batch, **tried}
    found = {where: share for where, call in tried.items() if (share := _tried(call)) is not None}
    if not found:
        return None
    reference = before if whole_set else together
    each_time = _tried(lambda: _differing(reference, again(rows))) if reference else None
    if each_time is not None:
        found = {"each time": each_time}
    return "a face gives another result " + ", ".join(f"{where} ({words})" for where, words in found.items())


def _other_order(n: int) -> NDArray[np.int64]:
    """Return an order of ``n`` faces other than theirs: a permutation, which is neither a reversal nor a rotation if
    there are enough of them."""
    order = np.random.default_rng(0).permutation(n)
    return order if (order != np.arange(n)).any() else order[::-1]


def _tried(call: Callable[[], float]) -> str | None:
    """Return in words how large the difference is that a call finds, or why it fails; None if there is none."""
    try:
        share = call()
    except (Exception, SystemExit) as error:
        return f"it fails: {error_text(error)}"
    return f"{100 * share:.3g} % of its values differ" if share > SHARE else None


def _of(results: Results, rows: Sequence[int] | NDArray[np.int64]) -> Results:
    return {name: values[rows] for name, values in results.items()}


def _differing(first: Results, second: Results) -> float:
    """Return the share of the values of a face that differ, of the face and tensor where most do; 1 if names or shapes
    differ."""
    if first.keys() != second.keys() or any(first[k].shape != second[k].shape for k in first):
        return 1.0
    return max((_share(first[name], second[name]) for name in first), default=0.0)


def _share(first: NDArray[Any], second: NDArray[Any]) -> float:
    allowed = float(_LEVEL) if first.dtype == np.uint8 else _OF_SPREAD * float(first.astype(np.float64).std())
    far = np.abs(first.astype(np.float64) - second.astype(np.float64)) > allowed
    return float(far.reshape(len(far), -1).mean(axis=1).max()) if far.size else 0.0
