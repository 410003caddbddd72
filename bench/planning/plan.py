"""The plan of a suite: its cells, why some are skipped, and the stage graph behind them. No torch."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from bench.core.domain import Cell, Stage, StageResult
from bench.core.errors import SuiteError
from bench.planning.cells import ExperimentPlanner
from bench.planning.graph import Graph
from bench.planning.instances import Instances
from bench.registry.discovery import Registry
from bench.suite.limits import Limits
from bench.suite.suite import Suite


@dataclass
class Plan:
    """The cells of a suite and the stage graph that computes them.

    ``stages`` are in an order in which the inputs of a stage come before it. ``requested`` is the number of
    combinations of all axes, of which several may be one cell. ``whole`` is the number of cells of the whole suite if
    only some of them are planned, else None. ``reused`` are the stages whose artifacts come from an earlier run, with
    their results; they are never computed. ``timeout_s`` is the time limit of the command line.
    """

    suite: Suite
    device: str
    timeout_s: float | None = None
    cells: list[Cell] = field(default_factory=list)
    stages: dict[str, Stage] = field(default_factory=dict)
    requested: int = 0
    whole: int | None = None
    reused: Mapping[str, StageResult] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The sha256 that identifies the plan: runs of plans with the same digest have the same rows."""
        text = json.dumps([[c.id, c.skip, c.stages] for c in self.cells])
        return hashlib.sha256(text.encode()).hexdigest()

    def path_of(self, cell: Cell) -> list[str]:
        """Return the keys of all stages that a cell depends on, from its scores back to the faces."""
        seen: dict[str, None] = {}
        stack = list(cell.stages)
        while stack:
            key = stack.pop()
            if key not in seen:
                seen[key] = None
                stack.extend(self.stages[key].inputs.values())
        return list(seen)

    def uses(self) -> Counter[str]:
        """Return how many cells depend on each stage, by the key of the stage."""
        return Counter(key for cell in self.cells for key in self.path_of(cell))


def make_plan(
    suite: Suite,
    registry: Registry,
    device: str,
    costs: Mapping[str, float] | None = None,
    timeout_s: float | None = None,
) -> Plan:
    """Plan a suite for a device type (``cpu`` or ``cuda``).

    ``costs`` are measured factors of the declared costs by cost name. ``timeout_s`` is the time limit of every stage,
    and overrides the limits of the suite and of plugins.
    """
    plan = Plan(suite=suite, device=device, timeout_s=timeout_s)
    limits = Limits(timeout_s=timeout_s, stage_timeout_s=suite.stage_timeout_s, stage_memory_mb=suite.stage_memory_mb)
    graph = Graph(plan.stages, Instances(registry), suite=suite, device=device, costs=costs or {}, limits=limits)
    with _no_collection():
        for experiment in suite.experiments:
            planner = ExperimentPlanner(experiment, graph)
            plan.cells += map(planner.cell, planner.combinations())
            plan.requested += planner.requested
    return plan


def left_out_metrics(plan: Plan, registry: Registry) -> list[tuple[str, str]]:
    """Return which metrics are not computed on which data sets, as pairs of a label and the reason."""
    instances = Instances(registry)
    found = {
        (metric.label, f"not computed on {dataset.label}, whose faces are real: it learnt from generated ones"): None
        for experiment in plan.suite.experiments
        for metric in experiment.metrics
        for dataset in experiment.datasets
        if not instances.can_judge(metric, dataset)
    }
    return list(found)


def select(plan: Plan, ids: Collection[str]) -> Plan:
    """Return the plan of some cells, named by their ids, and of the stages that they need.

    A cell and its id do not depend on the other cells of a plan, so its rows are the same as in a run of the whole
    plan.
    """
    cells = [cell for cell in plan.cells if cell.id in ids]
    needed = {key for cell in cells for key in plan.path_of(cell)}
    stages = {key: stage for key, stage in plan.stages.items() if key in needed}
    return replace(plan, cells=cells, stages=stages, whole=plan.whole or len(plan.cells))


def find_ids(plan: Plan, prefixes: Sequence[str]) -> list[str]:
    """Return the id of the cell that each prefix begins; raise `SuiteError` if a prefix begins no id, or several."""
    ids = [cell.id for cell in plan.cells]
    return [_find_id(prefix, ids, plan.suite) for prefix in prefixes]


def _find_id(prefix: str, ids: Sequence[str], suite: Suite) -> str:
    found = [name for name in ids if prefix and name.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    listed = f"bench plan {shlex.quote(str(suite.path))} --json, with the options of this command, lists them"
    if found:
        some = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
        raise SuiteError(
            f"--cell {prefix}: expected one cell, {len(found)} have an id that begins so ({some}); {listed}"
        )
    near = get_close_matches(prefix, dict.fromkeys(name[: len(prefix)] for name in ids), n=1) if prefix else []
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise SuiteError(
        f"--cell {prefix}: expected the id of a cell or its beginning, found no such one among the {len(ids):,} cells "
        f"of {suite.name}; {hint}{listed}. Other options, plugins, data or weights make other ids"
    )


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Context manager that pauses garbage collection: it takes 40 % of the time of a large plan and frees nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
