"""Whether a plugin makes the same of a face whatever it gets together with it: the host's check of a result.

A result should depend on the face and on the random stream of its sample only. What draws from another source, or
depends on the batch or on the order, gives figures that nobody reproduces. So a few faces are processed again, and what
differs is recorded in words.

How results are compared: `bench.stages.comparison`.

Defenses protect four faces again. An attack may optimise for long, so a single face is attacked alone first, and two
faces in each way by themselves only if the result is not that of its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.core.errors import error_text
from bench.stages.comparison import Results, another_order, loose_difference, rows_of, strict_difference
from bench.stages.stage_inputs import Job, build

AMONG = 256  # The faces that are processed again are chosen among so many, which are in memory at a time.
FACES = 4  # that are protected again
ATTACKED = 1  # that is attacked again
_COMPARED = 2  # that are attacked again in each way, if something may differ
_SLOW = 30.0  # forward passes for each face, above which an attack is slow

Again = Callable[[NDArray[np.int64]], Results]


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
        words = strict_difference(rows_of(first, row), alone)
        if words is None or not slow:
            return words
        return strict_difference(alone, again(row)) or loose_difference(rows_of(first, row), alone, first)

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
        return strict_difference(reference, again(rows))

    def in_another_order() -> str | None:
        order = another_order(len(rows))
        return strict_difference(rows_of(reference, order), again(rows[order]))

    def in_another_batch() -> str | None:
        others = np.setdiff1d(np.arange(n), rows)[: len(rows) // 2]
        kept = range(len(rows) - len(others))
        if len(others):
            again_with_others = again(np.append(rows[kept], others))
            if words := strict_difference(rows_of(reference, kept), rows_of(again_with_others, kept)):
                return words
        return loose_difference(rows_of(first, rows), reference, first)

    def alone() -> str | None:
        return loose_difference(rows_of(reference, [0]), again(rows[:1]), first)

    tried: dict[str, Callable[[], str | None]] = {"in another order": in_another_order}
    if not whole_set:
        tried |= {"in another batch": in_another_batch, "alone": alone}
    found = {where: words for where, call in tried.items() if (words := _tried(call))}
    if (found or len(rows) == 1) and (words := _tried(each_time)):
        found = {"each time": words}
    parts = [f"{where} ({words})" for where, words in found.items()]
    return f"a face gives another result {', '.join(parts)}" if parts else None


def _tried(call: Callable[[], str | None]) -> str | None:
    try:
        return call()
    except (Exception, SystemExit) as error:
        return f"it fails: {error_text(error)}"
