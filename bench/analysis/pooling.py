"""Averages of scores over many cells, with a 95 % interval.

Cells are added one after another. Only the sum and the number of the scores of each person are kept, because a mean and
its bootstrap over people need nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from bench.analysis.table_model import Measurement, absent
from bench.metrics import intervals

Floats = NDArray[np.float64]

DRAWS = 400  # Draws of a bootstrap: ten of them lie beyond each end of the interval.
SEED = 0  # Seed of every bootstrap, so that a report is the same whenever it is made.
_DRAWN_AT_ONCE = 1_000_000  # People of one block of draws.


@dataclass(frozen=True)
class SampleScores:
    """Scores ``values`` and the ``people`` whom they belong to, ``(n,)`` each.

    People of different ``group`` are different people, even with the same name.
    """

    values: Floats
    people: NDArray[Any]
    group: str = ""


class Pool:
    """Pooled scores, stored as the sum and the number of the scores of each person.

    ``n`` is the number of finite scores, ``total`` their sum, ``least`` the lowest and ``most`` the highest of them.
    ``infinite`` and ``undefined`` count the infinite scores and the NaN, which do not count otherwise.
    """

    def __init__(self, parts: Iterable[SampleScores] = ()) -> None:
        self.n = self.infinite = self.undefined = 0
        self.total, self.least, self.most = 0.0, np.inf, -np.inf
        self._index: dict[str, int] = {}
        self._sums: Floats = np.zeros(0)
        self._counts: Floats = np.zeros(0)
        # Positions in the arrays of the people that were entered.
        self._known: dict[tuple[int, str], tuple[Sequence[str], NDArray[np.int64]]] = {}
        # The scores of the last call of `add`. They enter the sums per person only when these are needed or more scores
        # are added: the sums of a pool with a single part are often not needed.
        self._last: SampleScores | None = None
        for part in parts:
            self.add(part)

    def add(self, part: SampleScores) -> Self:
        """Add scores, and return the pool itself."""
        values, people = part.values, part.people
        defined = np.isfinite(values)
        if not defined.all():
            self.infinite += int(np.isinf(values).sum())
            self.undefined += int(np.isnan(values).sum())
            values, people = values[defined], people[defined]
        if not len(values):
            return self
        self.n += len(values)
        self.total += float(values.sum())
        self.least, self.most = min(self.least, float(values.min())), max(self.most, float(values.max()))
        self._enter()
        self._last = SampleScores(values, people, part.group)
        return self

    def _enter(self) -> None:
        """Add the scores of the last call of `add`, which waited in ``_last``, to the sums of their people."""
        if self._last is None:
            return
        part, self._last = self._last, None
        names, who, counts = _named(part.people)
        known = self._known.get((id(names), part.group))
        if known is None:
            named = (f"{part.group}/{name}" if part.group else name for name in names)
            known = names, np.array([self._index.setdefault(name, len(self._index)) for name in named])
            # The cache keeps the names alive, so that no other object gets their id.
            self._known[id(names), part.group] = known
            more = np.zeros(len(self._index) - len(self._sums))
            self._sums, self._counts = np.append(self._sums, more), np.append(self._counts, more)
        at = known[1]
        self._sums[at] += np.bincount(who, weights=part.values)
        self._counts[at] += counts

    @property
    def mean(self) -> float:
        """The mean of the finite scores; NaN if there are none."""
        return self.total / self.n if self.n else np.nan

    @property
    def spread(self) -> bool:
        """True if not all scores are equal."""
        return self.least < self.most

    @property
    def people(self) -> list[str]:
        """The people, sorted by name."""
        self._enter()
        return sorted(self._index)

    def per_person(self, people: Iterable[str] | None = None) -> tuple[Floats, Floats]:
        """Return the sum and the number of the scores of each person, ``(p,)`` each; of all `people` by default."""
        self._enter()
        found = np.array([self._index.get(name, -1) for name in (self.people if people is None else people)], np.int64)
        sums, counts = (np.append(values, 0.0)[found] for values in (self._sums, self._counts))
        return sums, counts


_People = tuple[Sequence[str], NDArray[np.int64], NDArray[np.int64]]


def _named(people: NDArray[Any]) -> _People:
    """Return the distinct names, the index of the name of each entry, and the number of entries of each name."""
    if people.dtype == object:
        return _coded(people.astype(str))
    return _coded_bytes(people.dtype.str, people.tobytes())  # The cells of a data set show the same people.


@lru_cache(maxsize=64)
def _coded_bytes(kind: str, data: bytes) -> _People:
    return _coded(np.frombuffer(data, kind))


def _coded(people: NDArray[Any]) -> _People:
    names, who, counts = np.unique(people, return_inverse=True, return_counts=True)
    return [str(name) for name in names.tolist()], who, counts


def mean(
    pool: Pool,
    *,
    method: Literal["Wilson", "bootstrap", "none"] = "bootstrap",
    share: bool = True,
    **about: Any,
) -> Measurement:
    """Return the mean of the finite scores with its 95 % interval, as a measurement with the fields ``about``.

    ``Wilson`` is for independent decisions, ``bootstrap`` draws people and is for several scores per person. If all
    people have the same share of decisions, a bootstrap has no width; the interval is then Wilson's, with as many
    trials as people. Equal scores that are not decisions (``share`` is False) get no interval.
    """
    if not pool.n:
        return absent("undefined", "no measurement is defined", role=about.get("role", "any"))
    low: float | None = None
    high: float | None = None
    if method == "Wilson":
        low, high = intervals.wilson_interval(round(pool.total), pool.n)
    elif method == "bootstrap" and pool.spread:
        low, high = _bootstrap(*pool.per_person()) or (None, None)
    if share and method == "bootstrap" and low == high:
        trials = len(pool.people)
        low, high = intervals.wilson_interval(round(pool.mean * trials), trials)
        method = "Wilson"
    interval = method if low is not None and method != "none" else ""
    return Measurement(value=pool.mean, n=pool.n, low=low, high=high, interval=interval, **about)


def _bootstrap(sums: Floats, counts: Floats, level: float = 0.95) -> tuple[float, float] | None:
    """Return the interval of `bench.metrics.intervals.bootstrap_interval` for a mean, from the sum and the number of
    the scores of each person; None for fewer than two people. People are drawn in blocks."""
    if len(sums) < 2:
        return None
    means = [sums[taken].sum(1) / counts[taken].sum(1) for taken in _draws(len(sums))]
    found = np.sort(np.concatenate(means))
    return _quantile(found, 0.5 - level / 2), _quantile(found, 0.5 + level / 2)


def _quantile(rising: Floats, share: float) -> float:
    """Return `numpy.quantile` of sorted values, but faster: a large run has many thousand intervals."""
    at = share * (len(rising) - 1)
    low = int(at)
    below, above, rest = float(rising[low]), float(rising[min(low + 1, len(rising) - 1)]), at - low
    return below + (above - below) * rest if rest < 0.5 else above - (above - below) * (1 - rest)


def _draws(people: int) -> Iterable[NDArray[np.int64]]:
    """Return the indices of the drawn people, ``(draws, people)``, in blocks.

    A single block is cached, because most measurements of a run are about the same number of people.
    """
    return (_all_draws(people),) if people * DRAWS <= _DRAWN_AT_ONCE else _drawn(people)


@lru_cache(maxsize=4)
def _all_draws(people: int) -> NDArray[np.int64]:
    return np.concatenate(list(_drawn(people)))


def _drawn(people: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(SEED)
    block = max(1, _DRAWN_AT_ONCE // people)
    for start in range(0, DRAWS, block):
        yield rng.integers(people, size=(min(block, DRAWS - start), people))
