"""How much longer a run takes: what is left, scaled by what its own finished stages cost against their estimates."""

from __future__ import annotations

import statistics
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.core.domain import Stage

_TELLING = 0.05  # a stage that has done less of itself says little about how long it takes
_BELIEVED = 0.05  # of the plan count as if they had come true, or the first short stage would speak for all others
_SILENT = 0.1  # of the time that it has taken, what a stage is given that should have ended by now


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """A stage as it was planned: the estimated seconds, what they are filed under, and the seconds of the longest path
    from its beginning to the end of the graph."""

    cost: float
    cost_name: str
    behind: float


@dataclass(slots=True)
class _Begun:
    """A stage that was given to a worker: when, since when the worker is at it (none until it tells), and how much of
    it was done when it last told."""

    given: float
    since: float | None = None
    share: float = 0.0
    at: float = 0.0

    def passed(self, now: float) -> float:
        """How long it has been computed."""
        return 0.0 if self.since is None else max(0.0, now - self.since)

    def projected(self) -> float | None:
        """How long it takes in all, if it goes on as it began; none when it has told too little."""
        return self.passed(self.at) / self.share if self.share >= _TELLING else None


def expected(stages: Iterable[Stage], behind: Mapping[str, float]) -> dict[str, Expected]:
    """What the plan says of its stages, by key; ``behind`` as in `bench.core.domain.Event`."""
    return {s.key: Expected(cost=s.cost, cost_name=s.cost_name, behind=behind.get(s.key, s.cost)) for s in stages}


class TimeLeft:
    """The time that the stages of a run still take, on ``workers`` at a time; all times are seconds of one clock.

    The estimate of a stage is that of the plan times what stages of the same name cost against theirs in this run, or
    finished ones where none had that name: the more of these there are, the less the plan counts. A stage that has told
    how much of it is done goes on at that speed; one that is silent goes on as estimated, and when that has passed is
    given a tenth of its time again.
    """

    def __init__(self, workers: int, todo: Mapping[str, Expected]) -> None:
        self.workers = max(1, workers)
        self.total = sum(stage.cost for stage in todo.values())
        self._todo = dict(todo)
        self._begun: dict[str, _Begun] = {}
        self._waiting: dict[str, float] = defaultdict(float)  # estimated seconds of what has not begun, by cost name
        for stage in todo.values():
            self._waiting[stage.cost_name] += stage.cost
        self._by_path = sorted(todo, key=lambda key: todo[key].behind)  # the longest path last
        self._ended = 0.0  # estimated seconds of what has ended
        self._seen: dict[str, tuple[float, float]] = {}  # measured and estimated seconds of it, by cost name
        self._starting = self.workers  # so many stages, the first of their workers, also wait for these to start
        self._around: deque[float] = deque(maxlen=101)  # seconds that the others took beside their own

    def started(self, key: str, at: float) -> None:
        """A stage was given to a worker, for the first time or again."""
        stage = self._todo.get(key)
        if stage is not None:
            if key not in self._begun:
                self._waiting[stage.cost_name] -= stage.cost
            self._begun[key] = _Begun(given=at)

    def told(self, key: str, share: float, at: float, since: float | None = None) -> None:
        """A running stage has done this share of itself; ``since`` when its worker began, if that is known."""
        begun = self._begun.get(key)
        if begun is not None:
            if since is not None or begun.since is None:
                begun.since = at if since is None else since
            if share > begun.share:
                begun.share, begun.at = share, at

    def ended(self, key: str, at: float, seconds: float | None) -> None:
        """A stage has ended, with the ``seconds`` that it measured; none where it was not computed."""
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
                self._around.append(max(0.0, at - begun.given - seconds))

    def share(self) -> float:
        """How much of the work is done, by the estimates of the plan."""
        begun = sum(self._todo[key].cost * stage.share for key, stage in self._begun.items())
        return min(1.0, (self._ended + begun) / self.total) if self.total else 1.0

    def left(self, now: float) -> float:
        """Seconds until the last stage ends: what is left on all workers, or the longest path where that is more."""
        factors = self._factors(now)
        rests = {key: self._rest(key, factors, now) for key in self._begun}
        work = sum(rests.values()) + sum(cost * factors[name] for name, cost in self._waiting.items() if cost > 0)
        if self._around:
            work += statistics.median(self._around) * (len(self._todo) - len(self._begun))
        return max(work / min(self.workers, max(1, len(self._todo))), self._longest_path(rests, factors))

    def _factors(self, now: float) -> _Factors:
        """By how much the plan was wrong, with what running stages say of others of their name."""
        known = _Factors(self._seen, _BELIEVED * self.total)
        seen = dict(self._seen)
        for key, begun in self._begun.items():
            stage = self._todo[key]
            takes = begun.projected()
            if takes is None and begun.passed(now) > stage.cost * known[stage.cost_name]:
                takes = begun.passed(now)  # at least
            if takes is not None:
                took, cost = seen.get(stage.cost_name, (0.0, 0.0))
                seen[stage.cost_name] = (took + takes, cost + stage.cost)
        return _Factors(seen, overall=known.overall)

    def _rest(self, key: str, factors: _Factors, now: float) -> float:
        """What a running stage still takes."""
        stage, begun = self._todo[key], self._begun[key]
        takes, projected, passed = stage.cost * factors[stage.cost_name], begun.projected(), begun.passed(now)
        if projected is not None:
            takes = begun.share * projected + (1 - begun.share) * takes
        return max(takes - passed, _SILENT * (1 - begun.share) * passed)

    def _longest_path(self, rests: Mapping[str, float], factors: _Factors) -> float:
        """The longest path that is left: from a running stage, or from one that waits."""
        while self._by_path and self._by_path[-1] not in self._todo:
            self._by_path.pop()
        waiting = next((key for key in reversed(self._by_path) if key in self._todo and key not in rests), None)
        after = {key: (self._todo[key].behind - self._todo[key].cost) * factors.overall for key in rests}
        paths = [rest + after[key] for key, rest in rests.items()]
        return max([*paths, self._todo[waiting].behind * factors.overall if waiting else 0.0])


class _Factors:
    """By how much estimates were wrong, by cost name; ``overall`` where a name is not known: that of all names and of
    the estimated seconds ``believed``."""

    def __init__(
        self, seen: Mapping[str, tuple[float, float]], believed: float = 0.0, overall: float | None = None
    ) -> None:
        took, cost = (believed + sum(values) for values in zip((0.0, 0.0), *seen.values(), strict=True))
        self.overall = overall if overall is not None else took / cost if cost else 1.0
        self._by_name = {name: took / cost for name, (took, cost) in seen.items() if cost}

    def __getitem__(self, name: str) -> float:
        return self._by_name.get(name, self.overall)
