"""What has changed since a run: its plan made again from ``run.json`` alone, or a list of what differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.core.content_keys import digest_of
from bench.core.errors import BenchError, ReplayError
from bench.core.provenance import NUMERIC_PACKAGES, device_name, host_digests, package_versions
from bench.metrics.lpips import find_vgg
from bench.planning.plan import Plan, make_plan, select
from bench.registry.discovery import Registry
from bench.store.record_diff import _change, _changes_of_all, _short
from bench.suite.suite import restore

# Versions that decide the rows, and that of what writes them into files whose bytes are compared.
_PACKAGES = (*NUMERIC_PACKAGES, "pyarrow")
_NEEDED = {"suite", "digest", "device", "versions", "lpips", "components", "host"}


def plan_again(
    folder: Path,
    record: Mapping[str, Any],
    registry: Registry,
    *,
    costs: Mapping[str, float] | None = None,
    timeout_s: float | None = None,
    strict: bool = False,
) -> Plan:
    """The plan of a run, made again from its record; `ReplayError` lists what has changed when it is another one now,
    or, if ``strict``, when anything has changed that may decide the bytes of rows.

    ``costs`` as in `bench.planning.plan.make_plan`; ``timeout_s``: the limit of the command line, by default that of
    the record.
    """
    require_told(folder, record, "cannot be made again")
    found = list(changes_around(record, registry))
    plan, problem = None, None
    try:
        limit = timeout_s if timeout_s is not None else record.get("timeout_s")
        plan = make_plan(restore(record["suite"], registry), registry, record["device"], costs, limit)
        plan = select(plan, record["only"]) if record.get("only") else plan
    except BenchError as error:  # data, weights or a plugin that are not there any more
        problem = str(error)
    except (ValidationError, LookupError, TypeError) as error:
        problem = f"the suite in its record cannot be read: {' '.join(str(error).split())}"
    if plan is not None and plan.digest == record["digest"] and not (strict and found):
        return plan
    if plan is not None:
        found += changes_of_components(record["components"], plan)
        found = found or [
            f"the plan that bench makes of the suite: {_short(record['digest'])} -> {_short(plan.digest)}"
        ]
    lines = "\n".join(f"  {line}" for line in dict.fromkeys([*found, *([problem] if problem else [])]))
    raise ReplayError(
        f"{folder}: its plan cannot be made again; since it was made this has changed (recorded -> now):\n{lines}"
    )


def require_told(folder: Path, record: Mapping[str, Any], refused: str) -> None:
    """`ReplayError`, with what is ``refused``, unless a record says all that a plan is made of."""
    if missing := sorted(_NEEDED - record.keys()):
        raise ReplayError(
            f"{folder}: {refused} from its record, which does not say its {', '.join(missing)}; "
            "it was written by an earlier bench"
        )


def changes_around(record: Mapping[str, Any], registry: Registry) -> Iterator[str]:
    """What has changed in the code of bench and of the plugins that took part, in packages, and in the device."""
    now: Mapping[str, Any] = host_digests()
    for name in sorted(record["host"].keys() | now.keys()):
        yield from _change(f"code of bench/{name}", record["host"].get(name), now.get(name))
    now = package_versions()
    for name in _PACKAGES:
        yield from _change(f"version of {name}", record["versions"].get(name), now.get(name))
    yield from _change("weights of LPIPS", record["lpips"]["sha256"], find_vgg().sha256)
    for recorded in record["components"]:
        yield from _changes_of_code(recorded, registry)
    device = record["device"]
    if device != "cpu":
        yield from _change(f"device {device}", record.get("device_name"), device_name(device))


def _changes_of_code(recorded: Mapping[str, Any], registry: Registry) -> Iterator[str]:
    origin = recorded["origin"]
    plugin = f"plugin {origin['package']} ({origin['distribution']})"
    registration = registry.components.get((recorded["kind"], recorded["name"]))
    if registration is None:
        yield f"{plugin}: provides the {recorded['kind']} {recorded['name']} -> does not, or cannot be used"
        return
    now = asdict(registration.origin)
    for field, what in (("distribution", "distribution"), ("version", "version"), ("digest", "code")):
        yield from _change(f"{what} of {plugin}", origin[field], now[field])


def changes_of_components(recorded: list[Mapping[str, Any]], plan: Plan) -> Iterator[str]:
    """What has changed in parameters, weights and data, and in what is real."""
    seen = dict.fromkeys(c for cell in plan.cells for c in cell.components)
    distinct = {digest_of([c.kind, c.label, c]): c for c in reversed(seen)}.values()
    yield from _changes_of_all(recorded, [json.loads(json.dumps(asdict(c), default=str)) for c in distinct])
