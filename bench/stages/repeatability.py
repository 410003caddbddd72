"""Whether a plugin makes the same of a face whatever it gets together with it: the host's check of a result.

A result should depend on the face and on the random stream of its sample only. What draws from another source, or
depends on the batch or on the order, gives figures that nobody reproduces. So a few faces are processed again, and what
differs is recorded in words.

Results are compared as they are stored. Batches of one size are compared strictly: two 8-bit images count as equal
unless more than one value in a thousand differs by more than one level, since rounding alone moves a value by one
level. Between batches of different sizes the last bits of floating-point numbers differ, and an optimisation of many
steps can magnify them: two results of PMT for the same face may be some levels apart. They count as equal unless they
are half as far apart as the results of two faces. For floats, a thousandth of their standard deviation takes the place
of a level, and what is smaller than rounding counts as equal where all results are alike.

Defenses protect four faces again. An attack may optimise for long, so a single face is attacked alone first, and two
faces in each way by themselves only if the result is not that of its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.core.errors import error_text
from bench.stages.stage_inputs import Job, build

AMONG = 256  # The faces that are processed again are chosen among so many, which are in memory at a time.
FACES = 4  # that are protected again
ATTACKED = 1  # that is attacked again
_COMPARED = 2  # that are attacked again in each way, if something may differ
_SLOW = 30.0  # forward passes for each face, above which an attack is slow
SHARE = 1e-3  # of the values of a face may differ between batches of one size
APART = 0.5  # of the distance between two faces: how far apart results may be that batches of two sizes give
_LEVEL = 1  # by which an 8-bit value may differ
_OF_SPREAD = 1e-3  # of the standard deviation of a tensor, by which a float may differ
_ROUNDING = 1e-5  # of the size of the values of a tensor, by which a float may differ

Results = Mapping[str, NDArray[Any]]
Again = Callable[[NDArray[np.int64]], Results]
Rows = Sequence[int] | NDArray[np.int64]


def checked_defense(job: Job, first: Results, again: Again, *, whole_set: bool = False) -> dict[str, Any]:
    """Protect a few faces again, and return how many (``checked``), and in words what differs (``unstable``): the facts
    of an artifact. ``first`` and ``again`` as for `what_differs`."""
    words = _aside(job, lambda: what_differs(first, again, whole_set=whole_set))
    return {"checked": len(chosen(_count(first), whole_set=whole_set)), "unstable": words}


def checked_attack(job: Job, first: Results, again: Again) -> dict[str, Any]:
    """Attack a few faces again, and return the same facts as `checked_defense`; none if the stage leaves it out."""
    if not job.stage.options.get("check", True):
        return {}
    slow = build(job.component("attack")).passes() > _SLOW
    words = _aside(job, lambda: what_differs_of_attack(first, again, slow=slow))
    return {"checked": ATTACKED, "unstable": words}


def _aside(job: Job, check: Callable[[], str | None]) -> str | None:
    """Return what a check finds, which comes after everything that is stored and changes no result."""
    devices = range(torch.cuda.device_count()) if job.device.type == "cuda" else ()
    with torch.random.fork_rng(list(devices)), job.silent():
        return check()


def _count(results: Results) -> int:
    return len(next(iter(results.values())))


def chosen(n: int, *, whole_set: bool = False, faces: int = FACES) -> NDArray[np.int64]:
    """Return the positions of the faces that are processed again: some of ``n``, or all of a set that stays whole."""
    return np.arange(n) if whole_set else np.unique(np.linspace(0, n - 1, min(faces, n)).round().astype(np.int64))


def what_differs_of_attack(first: Results, again: Again, *, slow: bool = False) -> str | None:
    """Do the same as `what_differs` for an attack, with fewer calls if nothing differs.

    One face is attacked alone. If the result is that of its batch, it depends on nothing else. Otherwise last bits may
    differ: a ``slow`` attack, such as an optimisation, is then called once more for this face, and must give the same
    as before and nearly the same as in the batch; others are tried as thoroughly as a defense.
    """
    n = _count(first)
    row = np.array([min(1, n - 1)])  # Alone it is the first of its batch, which it was not before.

    def changed() -> str | None:
        alone = again(row)
        words = _strictly(_of(first, row), alone)
        if words is None or not slow:
            return words
        return _strictly(alone, again(row)) or _loosely(_of(first, row), alone, first)

    if (words := _tried(changed)) is None:
        return None
    found = what_differs(first, again, faces=_COMPARED)
    return found or (f"a face gives another result again ({words})" if slow else None)


def what_differs(first: Results, again: Again, *, whole_set: bool = False, faces: int = FACES) -> str | None:
    """Return in words how results change if some faces are processed again; None if they do not.

    ``first`` are the results of all faces, by name ``(n, ...)``. ``again`` processes the faces at some positions
    together, in that order. A ``whole_set`` is processed again as a whole only.
    """
    n = _count(first)
    rows = chosen(n, whole_set=whole_set, faces=faces)
    try:
        reference = first if whole_set else again(rows)
    except (Exception, SystemExit) as error:
        return f"a face gives another result in another batch (it fails: {error_text(error)})"

    def each_time() -> str | None:
        return _strictly(reference, again(rows))

    def in_another_order() -> str | None:
        order = _other_order(len(rows))
        return _strictly(_of(reference, order), again(rows[order]))

    def in_another_batch() -> str | None:
        others = np.setdiff1d(np.arange(n), rows)[: len(rows) // 2]
        kept = range(len(rows) - len(others))
        if len(others):
            again_with_others = again(np.append(rows[kept], others))
            if words := _strictly(_of(reference, kept), _of(again_with_others, kept)):
                return words
        return _loosely(_of(first, rows), reference, first)

    def alone() -> str | None:
        return _loosely(_of(reference, [0]), again(rows[:1]), first)

    tried: dict[str, Callable[[], str | None]] = {"in another order": in_another_order}
    if not whole_set:
        tried |= {"in another batch": in_another_batch, "alone": alone}
    found = {where: words for where, call in tried.items() if (words := _tried(call))}
    if (found or len(rows) == 1) and (words := _tried(each_time)):
        found = {"each time": words}
    parts = [f"{where} ({words})" for where, words in found.items()]
    return f"a face gives another result {', '.join(parts)}" if parts else None


def _other_order(n: int) -> NDArray[np.int64]:
    """Return an order of ``n`` faces other than theirs: a permutation, which is neither a reversal nor a rotation if
    there are enough of them."""
    order = np.random.default_rng(0).permutation(n)
    return order if (order != np.arange(n)).any() else order[::-1]


def _tried(call: Callable[[], str | None]) -> str | None:
    try:
        return call()
    except (Exception, SystemExit) as error:
        return f"it fails: {error_text(error)}"


def _of(results: Results, rows: Rows) -> Results:
    return {name: values[np.asarray(rows)] for name, values in results.items()}


def _alike(first: Results, second: Results) -> bool:
    return first.keys() == second.keys() and all(first[k].shape == second[k].shape for k in first)


def _strictly(first: Results, second: Results) -> str | None:
    """Return in words which share of the values of a face differs, of the face and tensor where most do; None if it is
    at most `SHARE`."""
    if not _alike(first, second):
        return "other tensors"
    share = max((_share(first[name], second[name]) for name in first), default=0.0)
    return f"{100 * share:.3g} % of its values differ" if share > SHARE else None


def _share(first: NDArray[Any], second: NDArray[Any]) -> float:
    allowed = float(_LEVEL)
    if first.dtype != np.uint8 and first.size:
        allowed = max(_OF_SPREAD * float(first.astype(np.float64).std()), _rounding(first))
    far = np.abs(first.astype(np.float64) - second.astype(np.float64)) > allowed
    return float(far.reshape(len(far), -1).mean(axis=1).max()) if far.size else 0.0


def _loosely(first: Results, second: Results, all_faces: Results) -> str | None:
    """Return in words how far apart two results are, in distances between two faces; None if it is at most `APART`."""
    if not _alike(first, second):
        return "other tensors"
    share = max((_apart(first[name], second[name], all_faces[name]) for name in first), default=0.0)
    return f"{share:.2g} times as far apart as two faces" if share > APART else None


def _apart(first: NDArray[Any], second: NDArray[Any], all_faces: NDArray[Any]) -> float:
    flat = all_faces.reshape(len(all_faces), -1).astype(np.float64)
    between = float(np.sqrt(((flat[1:] - flat[:-1]) ** 2).mean(axis=1)).mean()) if len(flat) > 1 else float(flat.std())
    difference = (first.astype(np.float64) - second.astype(np.float64)).reshape(len(first), -1)
    most = float(np.sqrt((difference**2).mean(axis=1)).max()) if difference.size else 0.0
    if most <= (_LEVEL if first.dtype == np.uint8 else _rounding(all_faces)):
        return 0.0
    return most / between if between else float(most > 0)


def _rounding(values: NDArray[Any]) -> float:
    return _ROUNDING * float(np.sqrt((values.astype(np.float64) ** 2).mean()))
