"""What ``run.json`` says of a run: what was asked, on what, by which code, data and weights, and how stages ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from bench.core.content_keys import digest_of
from bench.core.domain import Component, Outcome, StageResult
from bench.core.provenance import device_name, git_commit, host_digests, machine, package_versions
from bench.engine.scheduler import cached_result
from bench.metrics.lpips import find_vgg
from bench.planning.plan import Plan
from bench.registry.discovery import Registry
from bench.store.artifacts import Cache
from bench.suite.suite import Suite

COUNTED = ("ok", "skipped", "failed", "timeout", "queued")
_NOTHING: Mapping[str, Any] = {}


def _suite_record(suite: Suite) -> dict[str, Any]:
    """The suite as it was run."""
    return {
        "name": suite.name,
        "title": suite.title,
        "description": suite.description,
        "path": str(suite.path),
        "sha256": suite.sha256,
        "raw": suite.raw,
        "experiments": [
            {
                "name": e.name,
                "table": e.table,
                "figures": e.figures,
                "upload": e.upload,
                "noise_levels": e.noise_levels,
                "pairs": e.pairs,
                "kappa": e.kappa,
                "fmr": e.fmr,
                "claims": e.claims,
                "auxiliary": None if e.auxiliary is None else _auxiliary(e.auxiliary),
            }
            for e in suite.experiments
        ],
    }


def _auxiliary(source: Component) -> dict[str, Any]:
    """Whose further faces attackers learn from, and how many people there are."""
    return {"label": source.label, "params": dict(source.params)}


_THREATS: Mapping[str, Sequence[str]] = {
    "defense": ("needs", "sends", "max_authorised", "promise", "trusts", "not_promised"),
    "attack": ("sees", "outputs", "trains_on", "threat"),
}  # what threat models are told from, so that a report needs no plugin


def _declared(component: Component, registry: Registry) -> dict[str, Any]:
    """What components declare. Data and weights: their license, whether they are synthetic (or learnt from what is),
    and where they were read from. Defenses and attacks: what they need, see and promise."""
    declared = registry.build(component)
    about = {"license": getattr(declared, "license", None), "synthetic": getattr(declared, "synthetic", False)}
    if component.kind in ("dataset", "model"):
        about["source"] = asdict(declared.status())
    for name in _THREATS.get(component.kind, ()):
        value = getattr(declared, name)
        plain = value is None or isinstance(value, int | str)
        about[name] = sorted(value) if isinstance(value, frozenset) else value if plain else str(value)
    return about


def of_plan(
    plan: Plan, registry: Registry, engine: str, started: datetime, about: Mapping[str, Any] = _NOTHING
) -> dict[str, Any]:
    """What is known of a run when it starts. ``about`` takes the place of what it knows better, or comes besides."""
    lpips = find_vgg()
    return {
        "suite": _suite_record(plan.suite),
        "command": ["bench", *sys.argv[1:]],
        "started": started.isoformat(timespec="seconds"),
        "digest": plan.digest,
        **({"only": [cell.id for cell in plan.cells]} if plan.whole is not None else {}),
        "device": plan.device,
        "device_name": device_name(plan.device),
        "timeout_s": plan.timeout_s,
        "engine": engine,
        "machine": machine(),
        "versions": package_versions(),
        "host": host_digests(),
        "lpips": {"sha256": lpips.sha256, "reason": lpips.reason},
        "commit": git_commit(),
        "plugins": [
            {"name": p.name, "distribution": p.distribution, "version": p.version, "reason": p.reason}
            for p in registry.plugins
        ],
        **({} if "components" in about else {"components": _components(plan, registry)}),
        **about,
    }


def _components(plan: Plan, registry: Registry) -> list[dict[str, Any]]:
    """Every component of a plan, with what it declares."""
    components: dict[str, Component] = {}
    for c in dict.fromkeys(component for cell in plan.cells for component in cell.components):
        components.setdefault(digest_of([c.kind, c.label, c]), c)
    return [{**asdict(c), **_declared(c, registry)} for c in components.values()]


def of_end(
    plan: Plan, results: Mapping[str, StageResult], outcomes: Sequence[Outcome], status: str, seconds: float
) -> dict[str, Any]:
    """What is known of it when it ends, or now: ``status`` is ``running``, ``complete``, ``incomplete`` (something
    failed) or ``interrupted``."""
    count = {status: sum(o.status == status for o in outcomes) for status in COUNTED}
    computed = sum(r.status == "ok" and not r.cached for r in results.values())
    failed = sum(r.status != "ok" for r in results.values())
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "status": status,
        "counts": {
            "cells": len(outcomes),
            **count,
            "stages": len(plan.stages),
            "computed": computed,
            "failed_stages": failed,
            "cached": len(plan.stages) - computed - failed,
        },
    }


def of_stages(plan: Plan, results: Mapping[str, StageResult], cache: Cache) -> list[dict[str, Any]]:
    """How every stage ended, as rows of `bench.store.schema.STAGES`. What is behind a cached artifact was not looked
    at; only stages that protect are told of from the cache, for what they cost the client."""
    behind = {
        key: cached_result(key, manifest)
        for key, stage in plan.stages.items()
        if stage.kind == "protect" and key not in results and (manifest := cache.manifest(key)) is not None
    }
    known = {**behind, **results}
    ended = ((stage, known[key]) for key, stage in plan.stages.items() if key in known)
    return [
        {**asdict(r), "kind": s.kind, "name": s.name, "seed": s.seed, "inputs": json.dumps(dict(s.inputs))}
        for s, r in ended
    ]
