"""Tests by shuffling people: does a group of people differ from the rest, does one attack beat another one?

Groups can be small, so their null distributions are not taken from a formula but from the same people, dealt anew
`DRAWS` times: which people form a group is drawn at random (`group_gaps`), or for each person which of two attacks is
which (`paired`). Every draw deals the people in the same way for all comparisons of a family, and the step-down
procedure of Westfall and Young (1993) on the maximum of the standardised differences (max-T, shared with
`bench.analysis.chance_tests`) corrects for their number: if nobody differs, any comparison of a family is called
significant in at most 5 % of families.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.analysis.chance_tests import LEVEL, step_down
from bench.analysis.pooling import DRAWS, SEED, Floats, Pool
from bench.core.text import plural

Ints = NDArray[np.int64]
_AT_ONCE = 4_000_000  # Numbers in memory at a time: draws times judges times people.


@dataclass(frozen=True, kw_only=True)
class ShuffleTest:
    """The result of one comparison: its ``difference`` and one-sided p-value, adjusted for the ``family`` of that many
    comparisons. NaN and 1 if there is nothing to compare."""

    difference: float
    p: float
    family: int

    @property
    def significant(self) -> bool:
        """True if the difference is significant."""
        return self.p <= LEVEL

    @property
    def words(self) -> str:
        """The corrected p-value and the number of comparisons as text."""
        p = f"{self.p:.3f}" if self.p >= 0.001 else "below 0.001"
        return f"corrected p {p} of {plural(self.family, 'comparison')}"


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupGap:
    """The scores of people inside and outside a group.

    - ``sums``, ``counts`` ``(judges, people)``: the sum and the number of the scores of each person by each judge
    - ``member (judges, people)``: 1 for people of the group, 0 for the rest, -1 for people of neither
    - ``sign``: 1 if a higher mean inside the group is looked for, -1 for a lower one
    """

    sums: Floats
    counts: Floats
    member: Ints
    sign: int = 1


def group_gaps(strata: Ints, family: Sequence[GroupGap]) -> list[ShuffleTest]:
    """Test whether the mean inside each group differs from that of the rest, on the side that its sign says.

    ``strata (people,)`` are numbers; only people with the same number are exchanged with each other. A person keeps all
    scores and gets the memberships of another one. The difference is that of the plain means; where a group is not
    spread evenly over the strata, the test asks whether it differs beyond what the strata alone explain.
    """
    family = [_one_judge(gap) for gap in family]
    observed = np.array([_gaps(g.member[None], [g])[0, 0] for g in family])
    drawn = np.full((DRAWS, len(family)), np.nan)
    alike: dict[bytes, list[int]] = {}
    for i, gap in enumerate(family):
        alike.setdefault(gap.member.tobytes() + bytes(str(gap.member.shape), "ascii"), []).append(i)
    most = max((gap.member.size for gap in family), default=1)
    for part, order in _orders(strata, max(1, _AT_ONCE // most)):
        for same in alike.values():
            dealt = family[same[0]].member[:, order].transpose(1, 0, 2)
            drawn[part, same] = _gaps(dealt, [family[i] for i in same])
    signs = np.array([gap.sign for gap in family], np.float64)
    return _tested(observed, observed * signs, drawn * signs)


def paired(family: Sequence[tuple[Pool, Pool]]) -> list[ShuffleTest]:
    """Test whether the mean of the first pool of each pair is higher than that of the second one.

    Both hold scores of the same samples, such as those of two attacks. In each draw, the two scores of a person are
    exchanged with probability one half, in all comparisons alike.
    """
    index = {name: i for i, name in enumerate(sorted({n for both in family for pool in both for n in pool.people}))}
    loads = np.zeros((len(index), len(family)))
    for k, both in enumerate(family):
        for pool, sign in zip(both, (1, -1), strict=True):
            pairs, sums, counts = pool.per_pair()
            own, number = pairs.per_person(sums), pairs.per_person(counts)
            at = [i for i, n in enumerate(number.tolist()) if n]
            np.add.at(loads[:, k], [index[pairs.people[i]] for i in at], sign * own[at] / max(number.sum(), 1))
    flips = np.random.default_rng(SEED).integers(0, 2, (DRAWS, len(index))) * 2.0 - 1
    observed = loads.sum(axis=0)
    observed[[not (first.n and second.n) for first, second in family]] = np.nan
    return _tested(observed, observed, flips @ loads)


def _one_judge(gap: GroupGap) -> GroupGap:
    """Return a gap with the scores of all judges added up, if the group is the same for all of them."""
    if len(gap.member) < 2 or (gap.member != gap.member[0]).any():
        return gap
    return replace(gap, sums=gap.sums.sum(0)[None], counts=gap.counts.sum(0)[None], member=gap.member[:1])


def _orders(strata: Ints, at_once: int) -> Iterator[tuple[slice, Ints]]:
    """Yield orders of people ``(n, people)``, in each of which people are exchanged within their stratum, with the
    slice of draws that they belong to."""
    rng = np.random.default_rng(SEED)
    groups = [np.flatnonzero(strata == s) for s in np.unique(strata)]
    for start in range(0, DRAWS, at_once):
        n = min(at_once, DRAWS - start)
        order = np.tile(np.arange(len(strata)), (n, 1))
        for people in groups:
            order[:, people] = people[rng.permuted(np.tile(np.arange(len(people)), (n, 1)), axis=1)]
        yield slice(start, start + n), order


def _gaps(member: Ints, gaps: Sequence[GroupGap]) -> Floats:
    """Return the difference of the means inside and outside groups ``(n, gaps)`` for n memberships
    ``(n, judges, people)``; NaN where a side has no scores."""
    flat = member.reshape(len(member), -1)
    values = np.stack([part.ravel() for gap in gaps for part in (gap.sums, gap.counts)], axis=1)
    inside, rest = ((flat == side).astype(np.float64) @ values for side in (1, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = inside[:, ::2] / inside[:, 1::2] - rest[:, ::2] / rest[:, 1::2]
    return found


def _tested(differences: Floats, observed: Floats, drawn: Floats) -> list[ShuffleTest]:
    """Return the results of a family from what was observed ``(k,)`` and what was drawn ``(DRAWS, k)``."""
    defined = np.isfinite(drawn)
    counts = np.maximum(1, defined.sum(axis=0))
    centre = np.where(defined, drawn, 0).sum(axis=0) / counts
    spread = np.sqrt((np.where(defined, drawn - centre, 0) ** 2).sum(axis=0) / counts)
    known = np.flatnonzero(np.isfinite(observed) & (spread > 1e-12))
    p = np.ones(len(observed))
    if len(known):
        standard = np.where(defined, drawn - centre, -np.inf)[:, known] / spread[known]
        # Draws that equal the observation count as reaching it, also where they differ by rounding.
        p[known] = step_down((observed - centre)[known] / spread[known] - 1e-9, standard)
    return [
        ShuffleTest(difference=float(d), p=float(value), family=len(known))
        for d, value in zip(differences, p, strict=True)
    ]
