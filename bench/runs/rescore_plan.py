"""Plans a rescoring: the recorded cells of a run with today's score stages on their recorded artifacts."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from bench.core.content_keys import digest_of, joined_digest
from bench.core.domain import Cell, CellRole, Component, Origin, Side, Stage, StageResult
from bench.core.errors import ReplayError
from bench.planning.cell_stages import CellStages
from bench.planning.graph import BATCH, Graph
from bench.planning.instances import Client, Combination, Instances, Splits, Whose
from bench.planning.plan import Plan
from bench.registry.components import build_component, foreign_code, origin_of, require_trust
from bench.registry.discovery import Registry
from bench.runs.recorded_stages import RecordedStages, Row, rows_of_cells
from bench.store.artifacts import Cache
from bench.store.reading import RunResults
from bench.store.run_record import RunRecord, SuiteRecord
from bench.suite.limits import Limits
from bench.suite.overrides import override
from bench.suite.suite import Experiment, assemble, experiment_of, reread
from bench.suite.tables import ExperimentTable
from bench.suite.version import mark_changes

SETTINGS = ("fmr", "kappa", "threshold")  # The settings of an experiment that only affect scores.
_MEASURED_BY_PLUGINS = {"up", "metrics"}  # In these scores attacks run (Equation 9), or metrics of plugins.


@dataclass(frozen=True, kw_only=True)
class _RecordedCell:
    """A recorded cell with its components and their roles: as recorded (``before``), and with today's code of their
    plugins (``now``)."""

    row: Row
    before: Sequence[tuple[CellRole, Component]]
    now: Sequence[tuple[CellRole, Component]]


class Planner:
    """Makes the plan of a rescoring from the cells of a run. ``kept`` holds the keys of scores that are reused
    unchanged, ``unknown`` the keys of scores whose inputs are not recorded, with their names."""

    def __init__(
        self,
        run: Path,
        registry: Registry,
        cache: Cache,
        settings: Sequence[str],
        device: str,
        timeout_s: float | None,
        *,
        trust: bool = False,
    ) -> None:
        results = RunResults(run)
        self.run, self.registry, self.device, self.trust = run, registry, device, trust
        self.recorded = RecordedStages(results, cache)
        self.kept: set[str] = set()
        self.unknown: dict[str, str] = {}
        self._components: dict[str, tuple[Component, Component]] = {}
        self._scored: dict[tuple[str, str], str] = {}
        recorded = [self._recorded_cell(row) for row in rows_of_cells(results)]
        before, after, self.suite_record = _tables(results.run.suite, settings)
        by_experiment: dict[str, list[_RecordedCell]] = defaultdict(list)
        for one in recorded:
            by_experiment[one.row["experiment"]].append(one)
        experiments = {
            name: _experiment(after[name], found, self._metrics(results.run, name))
            for name, found in by_experiment.items()
        }
        source = reread(self.suite_record)
        suite = self.suite = assemble(source, list(experiments.values()))
        limits = Limits(
            timeout_s=timeout_s,
            stage_timeout_s=suite.stage_timeout_s,
            stage_memory_mb=suite.stage_memory_mb,
        )
        instances = Instances(registry)
        self.graph = Graph({}, instances, suite=suite, device=device, costs=cache.costs(), limits=limits)
        self.stages: dict[str, Stage] = {}
        self.reused: dict[str, StageResult] = {}
        cells = []
        for name, found in by_experiment.items():
            cell_stages = CellStages(experiments[name], self.graph, Splits(experiments[name], instances))
            cells += [self._cell(one, cell_stages, before[name], after[name]) for one in found]
        self.plan = Plan(
            suite=suite,
            device=device,
            timeout_s=timeout_s,
            cells=cells,
            stages=self.stages,
            requested=len(cells),
            reused=self.reused,
        )

    # ---- components --------------------------------------------------------------------------------------------------

    def _recorded_cell(self, row: Row) -> _RecordedCell:
        """Return the cell of a row with its components. Raises `ReplayError` if these cannot be read."""
        before, now = [], []
        try:
            for about in json.loads(row["components"]):
                role = about.pop("role")
                was, today = self._component(about)
                before.append((role, was))
                now.append((role, today))
            _in_roles(before)
        except (ValueError, LookupError, TypeError, AttributeError):
            raise ReplayError(f"{self.run}: cells.parquet: the components of {row['cell']} cannot be read") from None
        return _RecordedCell(row=row, before=before, now=now)

    def _component(self, about: Mapping[str, Any]) -> tuple[Component, Component]:
        """Return a component as recorded and with today's code of its plugin; equal components are the same objects."""
        text = json.dumps(about, sort_keys=True)
        if text not in self._components:
            self._components[text] = self._made(about)
        return self._components[text]

    def _made(self, about: Mapping[str, Any]) -> tuple[Component, Component]:
        where = f"{self.run}: {about['kind']} {about['label']}"
        registration = self.registry.find(about["kind"], about["name"], where)
        instance = build_component(about["kind"], about["name"], about["params"], where, self.registry)
        if not self.trust and (code := foreign_code(instance)):
            require_trust(where, [code])
        other = {name: self._component(about[name]) for name in ("via", "on_stand_ins") if about.get(name)}
        before = Component(
            kind=about["kind"],
            name=about["name"],
            label=about["label"],
            params={name: getattr(instance, name) for name in about["params"]},
            passed=about["passed"],
            origin=Origin(**about["origin"]),
            weights=about["weights"],
            instead_of=about.get("instead_of"),
            because=about.get("because"),
            **{name: pair[0] for name, pair in other.items()},
        )
        params = {f.name: getattr(instance, f.name) for f in fields(instance)}
        via = other["via"][1] if "via" in other else None
        origin = origin_of(registration, instance, where)
        return before, replace(before, params=params, origin=origin, via=via, on_stand_ins=None)

    def _metrics(self, run: RunRecord, experiment: str) -> tuple[Component, ...]:
        """Return the metrics of plugins that an experiment computed, with today's code."""
        recorded = run.suite.experiment(experiment)
        labels = recorded.metrics if recorded else ()
        found = {c.label: c for c in run.components if c.kind == "metric"}
        return tuple(self._component(asdict(found[label]))[1] for label in labels if label in found)

    # ---- cells -------------------------------------------------------------------------------------------------------

    def _cell(
        self, cell: _RecordedCell, cell_stages: CellStages, before: ExperimentTable, after: ExperimentTable
    ) -> Cell:
        """Return a recorded cell with today's scores."""
        row = cell.row
        dataset, authorised, defense, attack, evaluated = _in_roles(cell.before)
        skip = row["reason"] if row["status"] == "skipped" else None
        return Cell(
            id=_id(row["cell"], before, after),
            experiment=row["experiment"],
            table=row["table"],
            dataset=dataset,
            authorised=authorised,
            defense=defense,
            attack=attack,
            evaluated=evaluated,
            repeat=int(row["repeat"]),
            suite_version=self.suite.version,
            pairs=int(row["pairs"]),
            kappa=after.kappa,
            threat=row["threat"] or "",
            upload=row["upload"] or "images",
            splits=row["splits"] or (),
            surrogates=_surrogates(cell.before),
            goal=row["goal"] or "recognition",
            protects=row["protects"] or "probe",
            bound=row["bound"],
            control=row.get("control"),
            outputs=row["outputs"] or "recognition",
            embeds=bool(row.get("embeds")),
            adapts=bool(row.get("embeds")) and row["role"] == "unauthorised",
            insider=bool(row.get("insider")),
            budget=row.get("budget"),
            knowledge=row.get("knowledge"),
            leaky=bool(row["leaky"]),
            learner_overlap=row["learner_overlap"],
            training_overlap=row["training_overlap"],
            adversary_threshold=row.get("adversary_threshold"),
            threshold_note=row.get("threshold_note"),
            skip=skip,
            stages=() if skip is not None else self._scores(cell, cell_stages),
        )

    def _scores(self, cell: _RecordedCell, cell_stages: CellStages) -> tuple[str, ...]:
        """Return the keys of the scores of a cell. Each is planned as for a new run and then gets its recorded
        inputs."""
        dataset, authorised, defense, attack, evaluated = _in_roles(cell.now)
        repeat, side = int(cell.row["repeat"]), cast(Side, cell.row["protects"] or "probe")
        client = Client(dataset, authorised, defense, repeat, _surrogates(cell.now), side)
        strangers = cast(Whose, cell.row.get("adversary_threshold") or "scored")
        try:
            planned = cell_stages.scores(Combination(client, attack, evaluated, strangers))
        except ValueError as error:
            raise self._differs(cell.row["cell"], str(error)) from None
        recorded = json.loads(cell.row["stages"])
        if len(planned) != len(recorded):
            raise self._differs(cell.row["cell"], f"it had {len(recorded)} scores and has {len(planned)} now")
        return tuple(self._score(*pair, cell.row["cell"]) for pair in zip(planned, recorded, strict=True))

    def _score(self, planned: str, recorded: str, cell: str) -> str:
        """Return the key of the score that replaces a recorded one."""
        if (planned, recorded) not in self._scored:
            self._scored[planned, recorded] = self._made_score(self.graph.stages[planned], recorded, cell)
        return self._scored[planned, recorded]

    def _made_score(self, planned: Stage, recorded: str, cell: str) -> str:
        metric = planned.options["metric"]
        if (tables := self.recorded.tables(recorded)) and metric not in tables:
            raise self._differs(cell, f"a score of {metric} was one of {', '.join(sorted(tables))}")
        inputs = self.recorded.inputs(recorded)
        if inputs is None and planned.key == recorded:
            inputs = planned.inputs
        kept = metric in _MEASURED_BY_PLUGINS
        if kept or (inputs is None and self.recorded.failed(recorded)):
            self.kept |= {recorded} if kept else set()
            self._take(recorded, planned)
            return recorded
        if inputs is None:
            self.unknown[recorded] = planned.name
            return recorded
        if inputs.keys() != planned.inputs.keys():
            raise self._differs(cell, f"a score of {metric} had {sorted(inputs)} and has {sorted(planned.inputs)} now")
        for role, key in inputs.items():
            self._take(key, self.graph.stages[planned.inputs[role]])
        made = self.graph.again(planned, inputs)
        self.stages.setdefault(made.key, made)
        return made.key

    def _differs(self, cell: str, why: str) -> ReplayError:
        return ReplayError(f"{self.run}: cell {cell} is scored in another way by this bench: {why}; run it again")

    def _take(self, key: str, planned: Stage | None = None) -> bool:
        """Add a recorded stage to the plan as reused, after its inputs. Return True if it is known. ``planned`` gives
        its kind and name if neither run nor cache has them."""
        if key in self.stages:
            return True
        about = self.recorded.about(key) or ({"kind": planned.kind, "name": planned.name} if planned else {})
        if not about:
            return False
        inputs = {role: source for role, source in (self.recorded.inputs(key) or {}).items() if self._take(source)}
        self.stages[key] = Stage(
            kind=about["kind"],
            name=about["name"],
            key=key,
            components={},
            options={"batch": BATCH, "device": self.device, "metric": about.get("metric")},
            inputs=inputs,
            seed=int(about.get("seed") or 0),
            units=0,
            declared=0.0,
            cost=0.0,
            cost_name="reused",
            size=0,
        )
        self.reused[key] = self.recorded.result(key)
        return True


def _in_roles(
    parts: Sequence[tuple[CellRole, Component]],
) -> tuple[Component, tuple[Component, ...], Component, Component, Component | None]:
    """Return data set, authorised models, defense, attack and evaluated model of a cell."""
    (dataset,), (defense,), (attack,) = (
        [part for role, part in parts if role == wanted] for wanted in ("dataset", "defense", "attack")
    )
    authorised = tuple(part for role, part in parts if role == "authorised")
    return dataset, authorised, defense, attack, next((part for role, part in parts if role == "evaluated"), None)


def _surrogates(parts: Sequence[tuple[CellRole, Component]]) -> tuple[Component, ...]:
    """Return the surrogate models of a cell."""
    return tuple(part for role, part in parts if role == "surrogates")


def _id(cell: str, before: ExperimentTable, after: ExperimentTable) -> str:
    """Return the id of a cell: the recorded one, or another one if a setting of its experiment has changed."""
    was, now = ({name: getattr(table, name) for name in SETTINGS} for table in (before, after))
    return cell if was == now else joined_digest(cell, digest_of(now))[:16]


def _tables(
    recorded: SuiteRecord, settings: Sequence[str]
) -> tuple[dict[str, ExperimentTable], dict[str, ExperimentTable], SuiteRecord]:
    """Return the experiments of a recorded suite by name, before and after a change of settings, and its record after
    it."""
    raw = copy.deepcopy(dict(recorded.raw))
    for text in settings:
        override(raw, text)
    mark_changes(raw, recorded.raw)
    before = {table.name: table for table in reread(recorded).tables.experiment}
    changed = reread(replace(recorded, raw=raw), "with these settings")
    after = {table.name: table for table in changed.tables.experiment}
    experiments = (replace(e, kappa=after[e.name].kappa, fmr=after[e.name].fmr) for e in recorded.experiments)
    return before, after, replace(recorded, raw=raw, experiments=tuple(experiments))


def _experiment(table: ExperimentTable, cells: Sequence[_RecordedCell], metrics: tuple[Component, ...]) -> Experiment:
    """Return the experiment of some cells, without the auxiliary data set, which is only needed to compute
    artifacts."""
    roles = [_in_roles(cell.now) for cell in cells]
    datasets, authorised, defenses, attacks, evaluated = (dict.fromkeys(axis) for axis in zip(*roles, strict=True))
    return experiment_of(
        table,
        datasets=tuple(datasets),
        authorised=tuple(authorised),
        surrogates=tuple(dict.fromkeys(model for cell in cells for model in _surrogates(cell.now))),
        defenses=tuple(defenses),
        attacks=tuple(attacks),
        evaluated=tuple(model for model in evaluated if model is not None),
        pairs=table.pairs,
        auxiliary=None,
        claims=None,
        metrics=metrics,
    )
