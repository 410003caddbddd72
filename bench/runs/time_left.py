"""Estimates how much longer a run takes, from the plan's estimates and the measured times of finished stages."""

from __future__ import annotations

import statistics
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.core.domain import Stage

_LEAST_SHARE = 0.05  # A stage with less progress than this is not extrapolated.
_PLAN_WEIGHT = 0.05  # The weight of the plan's own estimate, so that one short stage cannot dominate the forecast.
_OVERTIME = 0.1  # The rest of an overdue stage, as a fraction of the time that it has taken.


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """A planned stage: its estimated seconds, the name under which costs are stored, and the estimated seconds of the
    longest path from its beginning to the end of the graph (``behind``)."""

    cost: float
    cost_name: str
    behind: float


@dataclass(slots=True)
class _Begun:
    """A stage that a worker has received: when that was (``received``), since when it computes (``since``, None until
    it reports), and the fraction that was done at its last report (``share``, ``at``)."""

    received: float
    since: float | None = None
    share: float = 0.0
    at: float = 0.0

    def passed(self, now: float) -> float:
        """Return for how many seconds it has been computed."""
        return 0.0 if self.since is None else max(0.0, now - self.since)

    def projected(self) -> float | None:
        """Return its total duration at the speed so far, or None if too little of it is done."""
        return self.passed(self.at) / self.share if self.share >= _LEAST_SHARE else None


def expected(stages: Iterable[Stage], behind: Mapping[str, float]) -> dict[str, Expected]:
    """Return the estimates of planned stages by key. ``behind`` holds the seconds of the longest path from each stage
    to the end."""
    return {s.key: Expected(cost=s.cost, cost_name=s.cost_name, behind=behind.get(s.key, s.cost)) for s in stages}


class TimeLeftEstimator:
    """Estimates the time until all stages of a run have ended, on ``workers`` at a time. All times are seconds of one
    clock.

    The estimate of a stage is that of the plan, scaled by the ratio of measured to estimated seconds of finished stages
    of the same name, or of all finished stages if none had that name; the more of these exist, the less the plan's own
    estimate counts. A stage that reports its progress is extrapolated. A stage without reports is expected to take its
    estimate, and after that a tenth of the time that it has taken.
    """

    def __init__(self, workers: int, todo: Mapping[str, Expected]) -> None:
        self.workers = max(1, workers)
        self.total = sum(stage.cost for stage in todo.values())
        self._todo = dict(todo)
        self._begun: dict[str, _Begun] = {}
        # Estimated seconds of the stages that have not begun, by cost name.
        self._waiting: dict[str, float] = defaultdict(float)
        for stage in todo.values():
            self._waiting[stage.cost_name] += stage.cost
        self._by_path = sorted(todo, key=lambda key: todo[key].behind)  # The stage with the longest path comes last.
        self._ended = 0.0  # Estimated seconds of the stages that have ended.
        self._seen: dict[str, tuple[float, float]] = {}  # Measured and estimated seconds of these, by cost name.
        self._starting = self.workers  # The first stage of each worker also waits until the worker has started.
        # The seconds that passed at each of the other stages in addition to its own computation.
        self._around: deque[float] = deque(maxlen=101)

    def started(self, key: str, at: float) -> None:
        """Record that a worker has received a stage, for the first time or again."""
        stage = self._todo.get(key)
        if stage is not None:
            if key not in self._begun:
                self._waiting[stage.cost_name] -= stage.cost
            self._begun[key] = _Begun(received=at)

    def reported(self, key: str, share: float, at: float, since: float | None = None) -> None:
        """Record which fraction of a running stage is done; ``since`` is when its worker began, if that is known."""
        begun = self._begun.get(key)
        if begun is not None:
            if since is not None or begun.since is None:
                begun.since = at if since is None else since
            if share > begun.share:
                begun.share, begun.at = share, at

    def ended(self, key: str, at: float, seconds: float | None) -> None:
        """Record that a stage has ended, with its measured ``seconds``, or None if it was not computed."""
        stage = self._todo.pop(key, None)
        if stage is None:
            return
        begun = self._begun.pop(key, None)
        self._ended += stage.cost
        if begun is None:
            self._waiting[stage.cost_name] -= stage.cost
        if seconds is not None:
            took, cost = self._seen.get(stage.cost_name, (0.0, 0.0))
            self._seen[stage.cost_name] = (took + seconds, cost + stage.cost)
            if begun is not None and self._starting:
                self._starting -= 1
            elif begun is not None:
                self._around.append(max(0.0, at - begun.received - seconds))

    def share(self) -> float:
        """Return the fraction of the work that is done, by the estimates of the plan."""
        begun = sum(self._todo[key].cost * stage.share for key, stage in self._begun.items())
        return min(1.0, (self._ended + begun) / self.total) if self.total else 1.0

    def left(self, now: float) -> float:
        """Return the seconds until the last stage ends: the remaining work divided among the workers, or the longest
        path if that takes longer."""
        factors = self._factors(now)
        rests = {key: self._rest(key, factors, now) for key in self._begun}
        work = sum(rests.values()) + sum(cost * factors[name] for name, cost in self._waiting.items() if cost > 0)
        if self._around:
            work += statistics.median(self._around) * (len(self._todo) - len(self._begun))
        return max(work / min(self.workers, max(1, len(self._todo))), self._longest_path(rests, factors))

    def _factors(self, now: float) -> _Factors:
        """Return the factors by which estimates were wrong, including the projections of running stages."""
        known = _Factors(self._seen, _PLAN_WEIGHT * self.total)
        seen = dict(self._seen)
        for key, begun in self._begun.items():
            stage = self._todo[key]
            takes = begun.projected()
            if takes is None and begun.passed(now) > stage.cost * known[stage.cost_name]:
                takes = begun.passed(now)  # It takes at least this long.
            if takes is not None:
                took, cost = seen.get(stage.cost_name, (0.0, 0.0))
                seen[stage.cost_name] = (took + takes, cost + stage.cost)
        return _Factors(seen, overall=known.overall)

    def _rest(self, key: str, factors: _Factors, now: float) -> float:
        """Return the seconds that a running stage still takes."""
        stage, begun = self._todo[key], self._begun[key]
        takes, projected, passed = stage.cost * factors[stage.cost_name], begun.projected(), begun.passed(now)
        if projected is not None:
            takes = begun.share * projected + (1 - begun.share) * takes
        return max(takes - passed, _OVERTIME * (1 - begun.share) * passed)

    def _longest_path(self, rests: Mapping[str, float], factors: _Factors) -> float:
        """Return the seconds of the longest remaining path, from a running or a waiting stage."""
        while self._by_path and self._by_path[-1] not in self._todo:
            self._by_path.pop()
        waiting = next((key for key in reversed(self._by_path) if key in self._todo and key not in rests), None)
        after = {key: (self._todo[key].behind - self._todo[key].cost) * factors.overall for key in rests}
        paths = [rest + after[key] for key, rest in rests.items()]
        return max([*paths, self._todo[waiting].behind * factors.overall if waiting else 0.0])


class _Factors:
    """The factors by which estimates were wrong, by cost name. ``overall`` is the factor of all names together, for a
    name that is not known; in it ``believed`` estimated seconds count as correct."""

    def __init__(
        self, seen: Mapping[str, tuple[float, float]], believed: float = 0.0, overall: float | None = None
    ) -> None:
        took, cost = (believed + sum(values) for values in zip((0.0, 0.0), *seen.values(), strict=True))
        self.overall = overall if overall is not None else took / cost if cost else 1.0
        self._by_name = {name: took / cost for name, (took, cost) in seen.items() if cost}

    def __getitem__(self, name: str) -> float:
        return self._by_name.get(name, self.overall)
