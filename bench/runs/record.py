"""Makes the record of a run: what was run, on what machine, by which code, data and weights, and how it ended."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from bench.api.metric import Metric
from bench.core.content_keys import digest_of
from bench.core.domain import CellRole, Component, ComponentRole, Stage, StageKind, StageResult, Status
from bench.core.provenance import device_name, git_commit, host_digests, machine, package_versions
from bench.engine.scheduler import cached_result
from bench.metrics.lpips import find_vgg
from bench.planning.plan import Plan
from bench.registry.discovery import Registry
from bench.store.artifacts import Cache, DamagedError
from bench.store.badges import badge_key, badge_of
from bench.store.declarations import MetricDeclaration
from bench.store.run_record import (
    AttackDeclaration,
    AuxiliaryRecord,
    ComponentRecord,
    DefenseDeclaration,
    ExperimentRecord,
    LpipsRecord,
    MachineRecord,
    ModelDeclaration,
    PluginRecord,
    RunCounts,
    RunRecord,
    SuiteRecord,
    component_record,
)
from bench.suite.suite import Experiment, Suite

CELL_STATUSES: Sequence[Status] = ("ok", "skipped", "failed", "timeout", "queued")


def of_plan(
    plan: Plan,
    registry: Registry,
    engine: str,
    started: datetime,
    components: Sequence[ComponentRecord] | None = None,
) -> RunRecord:
    """Return the record of a run that starts now. ``components`` replaces the components of the plan."""
    lpips = find_vgg()
    return RunRecord(
        suite=_suite(plan.suite),
        status="running",
        command=("bench", *sys.argv[1:]),
        started=started.isoformat(timespec="seconds"),
        digest=plan.digest,
        only=None if plan.whole is None else tuple(cell.id for cell in plan.cells),
        device=plan.device,
        device_name=device_name(plan.device),
        timeout_s=plan.timeout_s,
        engine=engine,
        machine=MachineRecord(**machine()),
        versions=package_versions(),
        host=host_digests(),
        lpips=LpipsRecord(sha256=lpips.sha256, reason=lpips.reason),
        commit=git_commit(),
        plugins=tuple(
            PluginRecord(name=p.name, distribution=p.distribution, version=p.version, reason=p.reason)
            for p in registry.plugins
        ),
        checked={badge_key(c): badge_of(c) for c, _ in components_of(plan)},
        components=_components(plan, registry) if components is None else components,
    )


def _suite(suite: Suite) -> SuiteRecord:
    return SuiteRecord(
        name=suite.name,
        title=suite.title,
        description=suite.description,
        path=str(suite.path),
        sha256=suite.sha256,
        raw=suite.raw,
        experiments=tuple(map(_experiment, suite.experiments)),
        added=suite.added,
    )


def _experiment(experiment: Experiment) -> ExperimentRecord:
    source = experiment.auxiliary
    return ExperimentRecord(
        name=experiment.name,
        table=experiment.table,
        figures=tuple(experiment.figures),
        upload=experiment.upload,
        noise_levels=tuple(experiment.noise_levels),
        pairs=experiment.pairs,
        kappa=experiment.kappa,
        fmr=experiment.fmr,
        claims=experiment.claims,
        auxiliary=None if source is None else AuxiliaryRecord(label=source.label, params=dict(source.params)),
        metrics=tuple(metric.label for metric in experiment.metrics),
    )


def components_of(plan: Plan) -> list[tuple[Component, tuple[CellRole, ...]]]:
    """Return every component of a plan with its roles in cells and experiments; components with the same content key
    once. An attack that is no part of a cell and trains one (`bench.Attack.trained_as`) is among them."""
    pairs = dict.fromkeys(pair for cell in plan.cells for pair in cell.roles)
    pairs |= dict.fromkeys(("auxiliary", e.auxiliary) for e in plan.suite.experiments if e.auxiliary)
    pairs |= dict.fromkeys(("metric", metric) for e in plan.suite.experiments for metric in e.metrics)
    found: dict[str, tuple[Component, dict[CellRole, None]]] = {}
    for role, c in pairs:
        _, roles = found.setdefault(digest_of([c.kind, c.label, c]), (c, {}))
        roles.setdefault(role)
    known = {digest_of(c) for c, _ in found.values()}
    # Stages that are only scored again have no components.
    trainers = (s.components["attack"] for s in plan.stages.values() if s.kind == "fit_attack" and s.components)
    for c, *_ in trainers:
        if (digest := digest_of(c)) not in known:
            known.add(digest)
            found[digest] = (c, {"attack": None})
    return [(c, tuple(roles)) for c, roles in found.values()]


def _components(plan: Plan, registry: Registry) -> tuple[ComponentRecord, ...]:
    return tuple(component_record(c, roles, **_declared(c, registry)) for c, roles in components_of(plan))


def _declared(component: Component, registry: Registry) -> dict[str, Any]:
    """Return what the plugin of a component declares, as fields of `ComponentRecord`."""
    plugin: Any = registry.build(component)
    found: dict[str, Any] = {
        "license": getattr(plugin, "license", None),
        "synthetic": bool(getattr(plugin, "synthetic", False)),
    }
    if component.kind in ("dataset", "model"):
        status = plugin.status()
        found |= {"source": asdict(status), "notes": tuple(status.notes)}
        if component.kind == "model":
            found["model"] = ModelDeclaration(**_declarations(plugin, ModelDeclaration))
    elif component.kind == "defense":
        found["defense"] = DefenseDeclaration(**_declarations(plugin, DefenseDeclaration))
    elif component.kind == "metric":
        found["metric"] = _metric_declaration(plugin)
    else:
        found["attack"] = AttackDeclaration(**_declarations(plugin, AttackDeclaration))
    return found


def _metric_declaration(plugin: Metric) -> MetricDeclaration:
    low, high = (float(end) if math.isfinite(end) else None for end in plugin.range)
    return MetricDeclaration(
        formula=str(plugin.formula),
        source=str(plugin.source),
        heading=str(plugin.heading),
        unit=str(plugin.unit),
        low=low,
        high=high,
        share=bool(plugin.share),
        infinite=bool(plugin.infinite),
        better={str(goal): str(better) for goal, better in plugin.better.items()},
        digits=int(plugin.digits) if _sets_digits(type(plugin)) else None,
        per_sample=plugin.defines("compute"),
        of_set=plugin.defines("compute_set"),
    )


def _sets_digits(cls: type[Metric]) -> bool:
    """Return True if a metric sets its number of decimals, instead of leaving that of the base class."""
    return next(c for c in cls.__mro__ if "digits" in vars(c)) is not Metric


def _declarations(plugin: Any, kind: type[DefenseDeclaration | AttackDeclaration | ModelDeclaration]) -> dict[str, Any]:
    """Return the attributes of a plugin that a declaration records, and what its methods of these names return: sets as
    sorted tuples, tables as those of JSON, other objects as text."""
    found: dict[str, Any] = {}
    for field in fields(kind):
        value = getattr(plugin, field.name)
        found[field.name] = _plain(value() if callable(value) else value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return tuple(sorted(value))
    if isinstance(value, Mapping):
        return json.loads(json.dumps(dict(value), default=str))
    return value if value is None or isinstance(value, int | str) else str(value)


def ended(
    record: RunRecord,
    stages: int,
    results: Mapping[str, StageResult],
    cells: Sequence[Status],
    status: str,
    seconds: float,
) -> RunRecord:
    """Return the record of a run that ends now, or that is interrupted or in progress, with the counts of its results.

    ``stages`` is the number of stages of its plan, and ``cells`` has the status of each cell. ``status`` as in
    `RunRecord`.
    """
    computed = sum(r.status == "ok" and not r.cached for r in results.values())
    failed = sum(r.status != "ok" for r in results.values())
    counts = RunCounts(
        cells=len(cells),
        **{status: cells.count(status) for status in CELL_STATUSES},
        stages=stages,
        computed=computed,
        failed_stages=failed,
        cached=stages - computed - failed,
    )
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    return replace(record, finished=finished, seconds=seconds, status=status, counts=counts)


_NOTICED_BY: Mapping[StageKind, ComponentRole] = {
    "faces": "dataset",
    "embed": "model",
    "fit_defense": "defense",
    "protect": "defense",
    "fit_attack": "attack",
    "attack": "attack",
}


Noticed = dict[str, dict[str, None]]  # The notes of stages, by the digest of the component that they are about.


def noticed_by(plan: Plan, stages: Iterable[Stage], cache: Cache) -> Noticed:
    """Return the notes of stages of a plan whose artifacts exist.

    An attack meets several defenses, so that a note about it begins with the label of the defense that it met.
    """
    found: Noticed = {}
    for stage in stages:
        role = _NOTICED_BY.get(stage.kind)
        manifest = None if role is None else cache.manifest(stage.key)
        if role is None or manifest is None:
            continue
        met = _defense_behind(stage, plan) if "attack" in stage.components else None
        notes = [f"{met.label}: {note}" if met else str(note) for note in manifest.get("notes", ())]
        if notes := [*notes, *_fewer_faces(stage, plan, cache)]:
            # An attack embeds with a model that it did not make, and the recogniser of a defense without a model.
            by = stage.components.get("attack") or stage.components.get(role) or stage.components.get("defense", ())
            for component in by:
                found.setdefault(digest_of(component), {}).update(dict.fromkeys(notes))
    return found


def _defense_behind(stage: Stage, plan: Plan) -> Component | None:
    """Return the defense of a stage, or of what the stage reads; None if all that it reads is unprotected."""
    if own := stage.components.get("defense"):
        return own[0]
    inputs = (plan.stages[key] for key in stage.inputs.values() if key in plan.stages)
    return next(filter(None, (_defense_behind(one, plan) for one in inputs)), None)


def _fewer_faces(stage: Stage, plan: Plan, cache: Cache) -> Iterator[str]:
    """Yield a note if the attack of a stage has learnt from fewer faces than its budget names."""
    learning = plan.stages.get(stage.inputs.get("state", ""))
    source = plan.stages.get(learning.inputs["faces"]) if learning else None
    most = source.options.get("most") if source else None
    if source is None or most is None or cache.manifest(source.key) is None:
        return
    with contextlib.suppress(DamagedError):  # Whoever computes with these faces reports it.
        found = _faces_in(cache, source.key)
        if found < most:
            (dataset,) = source.components["dataset"]
            yield f"its budget is {most} faces, but it learnt from {found}: {dataset.label} has no more to learn from"


@lru_cache(maxsize=256)
def _faces_in(cache: Cache, key: str) -> int:
    """Return the number of faces of an artifact, which never changes; each is read once by a process."""
    return int(cache.read(key).tables["faces"].num_rows)


def with_notes(record: RunRecord, plan: Plan, noticed: Noticed) -> RunRecord:
    """Return the record of a run with the notes of its stages added to those of the components that they use."""
    if not noticed:
        return record
    contents = {(c.kind, c.label, digest_of(c)) for c, _ in components_of(plan)}
    return replace(record, components=[_noting(c, contents, noticed) for c in record.components])


def _noting(
    recorded: ComponentRecord, contents: Collection[tuple[str, str, str]], noticed: Mapping[str, Mapping[str, None]]
) -> ComponentRecord:
    """Return a component with the notes about each component of the plan that has its kind and label."""
    mine = [digest for kind, label, digest in contents if (kind, label) == (recorded.kind, recorded.label)]
    added = [note for digest in mine for note in noticed.get(digest, ())]
    return replace(recorded, notes=tuple(dict.fromkeys([*recorded.notes, *added]))) if added else recorded


def of_stages(plan: Plan, results: Mapping[str, StageResult], cache: Cache) -> list[dict[str, Any]]:
    """Return how every stage ended, as rows of `bench.store.schema.STAGES`. The inputs of a cached artifact have no
    result in this run; of these, stages that protect or attack get a row from their artifact, for the client cost and
    the check in it."""
    behind = {
        key: cached_result(key, manifest)
        for key, stage in plan.stages.items()
        if (stage.kind == "protect" or stage.attacks)
        and key not in results
        and (manifest := cache.manifest(key)) is not None
    }
    known = {**behind, **results}
    return [{**asdict(known[key]), **_about(stage)} for key, stage in plan.stages.items() if key in known]


def of_planned_stages(plan: Plan) -> Iterator[dict[str, Any]]:
    """Yield a row for every stage of a run that begins: the results of reused stages; the others are ``queued``."""
    for key, stage in plan.stages.items():
        result = plan.reused.get(key)
        yield {**(asdict(result) if result else {"key": key, "status": "queued"}), **_about(stage)}


def _about(stage: Stage) -> dict[str, Any]:
    metric = stage.options.get("metric")
    inputs = json.dumps(dict(stage.inputs))
    return {"kind": stage.kind, "name": stage.name, "metric": metric, "seed": stage.seed, "inputs": inputs}
