"""The order of stages: which of those that can start is next.

A run should end early, and whole cells should be complete long before it ends. For an early end, the stage with the
longest path to the end of the graph must not start too late. While no such path takes a large part of the rest of the
run, any order ends equally early, and the stages of the cells that cost least come first.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.core.domain import Stage, StageResult

# The longest path comes first if it takes more than this share of the estimated rest of the run. The share is far below
# 1 because estimates are rough, and because the stages of several long paths compete for the same slots. How it was
# chosen: ``benchmarks/scheduling.py``, docs/design/performance.md.
URGENT = 0.25


@dataclass
class StageTask:
    """A stage that must be computed: the batch size of the next attempt, and the number of attempts by outcome."""

    stage: Stage
    batch: int
    attempts: int = 0
    lost: int = 0
    busy: int = 0


@dataclass
class StageQueue:
    """The stages that must be computed, as far as they have not ended.

    - ``results``: the results so far, by key
    - ``order``: by key, the position of a stage in the order in which cells are finished (see `finishing_order`); other
      stages come first
    - ``tasks``: the stages that have not ended, by key
    - ``unmet``: by key, the inputs for which a stage waits
    - ``followers``: by key, the stages that wait for a stage
    - ``path_seconds``: by key, the estimated seconds from the beginning of a stage to the end of the graph
    - ``left_s``: the estimated seconds of all stages that have not ended
    - ``ready``: the keys of the stages that can start
    - ``later``: a heap of the stages that can start at a later time, the earliest first
    """

    results: dict[str, StageResult]
    order: Mapping[str, int] = field(default_factory=dict)
    tasks: dict[str, StageTask] = field(default_factory=dict)
    unmet: dict[str, set[str]] = field(default_factory=dict)
    followers: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    path_seconds: dict[str, float] = field(default_factory=dict)
    left_s: float = 0.0
    ready: set[str] = field(default_factory=set)
    later: list[tuple[float, int, str]] = field(default_factory=list)
    # Heaps of the stages that can start; they also hold stages that have started since.
    _longest: list[tuple[float, int, str]] = field(default_factory=list)
    _first: list[tuple[float, int, str]] = field(default_factory=list)
    _count: int = 0

    def add(self, stages: dict[str, Stage]) -> list[Stage]:
        """Add stages. Return those that cannot be computed, because one of their inputs has failed."""
        self.path_seconds.update(longest_paths(stages))
        doomed = []
        for key, stage in stages.items():
            if key not in self.tasks:
                self.tasks[key] = StageTask(stage, stage.options["batch"])
                self.left_s += stage.cost
            inputs = [(source, self.results.get(source)) for source in stage.inputs.values()]
            if any(found is not None and found.status != "ok" for _, found in inputs):
                doomed.append(stage)
            self.unmet[key] = {source for source, found in inputs if found is None}
            for source in self.unmet[key]:
                self.followers[source].append(key)
            if not self.unmet[key]:
                self.push(key)
        return doomed

    def push(self, key: str) -> None:
        """Mark a stage as ready to start."""
        self._count += 1
        self.ready.add(key)
        heapq.heappush(self._longest, (-self.path_seconds.get(key, 0.0), self._count, key))
        heapq.heappush(self._first, (self.order.get(key, -1), self._count, key))

    def push_later(self, key: str, seconds: float) -> None:
        """Mark a stage as ready to start after some seconds."""
        self._count += 1
        heapq.heappush(self.later, (time.monotonic() + seconds, self._count, key))

    def next(self, slots: int) -> StageTask | None:
        """Remove and return the ready stage that starts next if ``slots`` stages run at once; None if none is ready.

        It is the one with the longest path to the end of the graph if that path is urgent (see `URGENT`), and otherwise
        the first in the order in which cells are finished.
        """
        while self.later and self.later[0][0] <= time.monotonic():
            self.push(heapq.heappop(self.later)[2])
        longest, first = self._top(self._longest), self._top(self._first)
        if longest is None or first is None:
            return None
        urgent = self.path_seconds.get(longest, 0.0) > URGENT * self.left_s / slots
        key = longest if urgent else first
        self.ready.discard(key)
        return self.tasks[key]

    def _top(self, heap: list[tuple[float, int, str]]) -> str | None:
        """Return the first stage of a heap that is still ready, after removing those before it."""
        while heap:
            key = heap[0][2]
            if key in self.ready and key in self.tasks and key not in self.results:
                return key
            heapq.heappop(heap)
        return None

    def end(self, result: StageResult) -> list[Stage]:
        """Record the final result of a stage. Return the stages that cannot be computed because it failed."""
        self.results[result.key] = result
        task = self.tasks.pop(result.key, None)
        self.left_s -= task.stage.cost if task else 0.0
        waiting = [key for key in self.followers.pop(result.key, []) if key in self.tasks]
        if result.status != "ok":
            return [self.tasks[key].stage for key in dict.fromkeys(waiting)]
        for key in waiting:
            if result.key in self.unmet[key]:
                self.unmet[key].discard(result.key)
                if not self.unmet[key]:
                    self.push(key)
        return []


def longest_paths(stages: Mapping[str, Stage]) -> dict[str, float]:
    """Return by key the estimated seconds of the longest path from the beginning of a stage to the end of the graph."""
    path_seconds = {key: stage.cost for key, stage in stages.items()}
    for key in reversed(inputs_first(stages)):
        for source in stages[key].inputs.values():
            if source in path_seconds:
                path_seconds[source] = max(path_seconds[source], stages[source].cost + path_seconds[key])
    return path_seconds


def inputs_first(stages: Mapping[str, Stage], ends: Iterable[str] | None = None) -> list[str]:
    """Return the keys of stages in an order in which every stage comes after its inputs: of all stages, or of ``ends``
    and those on which they depend."""
    order: dict[str, None] = {}

    def visit(key: str) -> None:
        if key not in order:
            for source in stages[key].inputs.values():
                if source in stages:
                    visit(source)
            order[key] = None

    for key in stages if ends is None else ends:
        if key in stages:
            visit(key)
    return list(order)


def finishing_order(stages: Mapping[str, Stage], cells: Iterable[Sequence[str]]) -> dict[str, int]:
    """Return the position of each stage, by key, in an order that completes cells early.

    ``stages`` are those that must be computed, and a cell is the keys of its last stages. Cells follow each other by
    what they still cost: the estimated seconds of their stages that no cell before them needs, each divided by the
    number of cells that share it. So a stage that many cells need comes before one of the same length that one needs.
    """
    paths = [inputs_first(stages, ends) for ends in cells]
    sharing = Counter(key for path in paths for key in path)
    cost = {key: stages[key].cost / n for key, n in sharing.items()}
    of_stage: dict[str, list[int]] = defaultdict(list)
    for i, path in enumerate(paths):
        for key in path:
            of_stage[key].append(i)
    left = [sum(cost[key] for key in path) for path in paths]
    heap = [(seconds, i) for i, seconds in enumerate(left)]
    heapq.heapify(heap)
    waiting = set(range(len(paths)))
    order: dict[str, int] = {}
    while heap:
        cell = heapq.heappop(heap)[1]
        if cell not in waiting:
            continue  # It was in the heap with an earlier, higher cost, too.
        waiting.remove(cell)
        for key in paths[cell]:
            if key not in order:
                order[key] = len(order)
                for other in waiting.intersection(of_stage[key]):
                    left[other] -= cost[key]
                    heapq.heappush(heap, (left[other], other))
    return order
