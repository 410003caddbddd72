"""Simulate the order of stages: when a run ends, how many cells are complete at half of its time, what sharing saves.

    python benchmarks/scheduling.py

The graph is that of ``suites/paper.toml``: 1,370 stages and 492 cells, with the seconds that each stage took on one of
two cores (``paper_stages.json``). The order is that of the scheduler of bench (`bench.engine.stage_queue`), which knows
estimates of these seconds: the true ones, or the true ones times a random factor whose logarithm has a standard
deviation of 1. The other order is that of the longest path alone, which the scheduler used before. Nothing is computed,
so that the result is the same on every machine.
"""

from __future__ import annotations

import heapq
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ratio_row import RatioRow, table

from bench.core.domain import Stage, StageResult
from bench.engine.stage_queue import StageQueue, finishing_order, inputs_first

RECORDED = Path(__file__).with_name("paper_stages.json")
WORKERS = (1, 2, 4, 8, 16)
SEEDS = range(5)  # of the random factors of estimates


@dataclass(frozen=True)
class Recorded:
    """The stages of a run: their seconds and inputs by key, and the keys of the last stages of each cell."""

    seconds: Mapping[str, float]
    inputs: Mapping[str, Mapping[str, str]]
    cells: Sequence[Sequence[str]]

    def stages(self, spread: float = 0.0, seed: int = 0) -> dict[str, Stage]:
        """Return the stages with estimated costs: the recorded seconds times random factors of this spread."""
        rng = random.Random(seed)
        return {
            key: _stage(key, self.inputs[key], seconds * math.exp(rng.gauss(0, spread)))
            for key, seconds in self.seconds.items()
        }


@dataclass(frozen=True)
class Simulated:
    """The seconds until a run ends, and until each of its cells is complete, in rising order."""

    end: float
    cells: Sequence[float]

    def complete(self, share: float) -> float:
        """Return the share of the cells that are complete after this share of the time."""
        return sum(seconds <= share * self.end for seconds in self.cells) / len(self.cells)


def recorded(path: Path = RECORDED) -> Recorded:
    """Return the stages in a file."""
    found = json.loads(path.read_text(encoding="utf-8"))
    seconds = {str(i): float(seconds) for i, (_, seconds, _) in enumerate(found["stages"])}
    inputs = {str(i): {str(k): str(k) for k in inputs} for i, (_, _, inputs) in enumerate(found["stages"])}
    return Recorded(seconds, inputs, [[str(i) for i in ends] for ends in found["cells"]])


def _stage(key: str, inputs: Mapping[str, str], cost: float) -> Stage:
    return Stage(
        kind="score",
        name=key,
        key=key,
        components={},
        options={"batch": 1},
        inputs=inputs,
        seed=0,
        units=1,
        declared=cost,
        cost=cost,
        cost_name="",
        size=0,
    )


def simulated(run: Recorded, stages: dict[str, Stage], workers: int, order: Mapping[str, int]) -> Simulated:
    """Return when a run ends if every stage takes its recorded seconds. Without an ``order`` of cells, the stage with
    the longest path always starts first."""
    queue = StageQueue({}, order)
    queue.add(stages)
    now, running, ended = 0.0, list[tuple[float, str]](), dict[str, float]()
    slots = workers if order else 10**9  # With so many slots, every path is urgent.
    while queue.tasks:
        while len(running) < workers and (task := queue.next(slots)) is not None:
            heapq.heappush(running, (now + run.seconds[task.stage.key], task.stage.key))
        now, key = heapq.heappop(running)
        ended[key] = now
        queue.end(StageResult(key=key, status="ok", cached=False, seconds=0.0, peak_mb=0.0, device="cpu"))
    return Simulated(now, sorted(max(ended[key] for key in inputs_first(stages, ends)) for ends in run.cells))


def rows() -> Iterator[RatioRow]:
    """Yield what the suite costs beside its cells one by one; then, for each number of workers, the time of the run and
    the cells that are complete at half of it."""
    run = recorded()
    stages = run.stages()
    alone = sum(run.seconds[key] for ends in run.cells for key in inputs_first(stages, ends))
    note = "every cell computed by itself; bar: at most 0.25"
    yield RatioRow("compute of the suite", sum(run.seconds.values()), alone, "s", note)
    for spread, known in ((0.0, "exact estimates"), (1.0, "rough estimates")):
        for workers in WORKERS:
            both = []
            for seed in SEEDS if spread else (0,):
                stages = run.stages(spread, seed)
                order = finishing_order(stages, run.cells)
                both.append([simulated(run, stages, workers, chosen) for chosen in (order, {})])
            name = f"{workers} workers, {known}"
            ours, other = (median(pair[i].end for pair in both) for i in (0, 1))
            yield RatioRow(f"{name}: end of the run", ours, other, "s", "longest path alone; bar: at most 1.02")
            ours, other = (median(100 * pair[i].complete(0.5) for pair in both) for i in (0, 1))
            note = "longest path alone; bar: at least 33 %"
            yield RatioRow(f"{name}: cells complete at half of the time", ours, other, "%", note)


if __name__ == "__main__":
    print(table(rows()))
