"""What has changed since a run: its plan made again from ``run.json`` alone, or a list of what differs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import BenchError, ReplayError
from bench.keys import digest_of
from bench.perceptual import find_vgg
from bench.plan import Plan, make_plan, select
from bench.plugins import Registry
from bench.provenance import NUMERIC_PACKAGES, device_name, host_digests, package_versions
from bench.suite import restore

# Versions that decide the rows, and that of what writes them into files whose bytes are compared.
_PACKAGES = (*NUMERIC_PACKAGES, "pyarrow")
_DEVICE = ("device", "device_name", "engine")
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

    ``costs`` as in `bench.plan.make_plan`; ``timeout_s``: the limit of the command line, by default that of the record.
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


def _changes_of_all(recorded: Sequence[Mapping[str, Any]], later: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What differs between components as records say it, label by label."""
    before: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    now: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for found, components in ((before, recorded), (now, later)):
        for about in components:
            found[about["kind"], about["label"]].append(about)
    for kind, label in {**before, **now}:
        yield from _changes_of(f"{kind} {label}", before[kind, label], now[kind, label])


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[str]]:
    """What differs between the records of two runs, by kind; what a record of an earlier bench does not say is none."""
    both = (before, after)
    components = [
        [{"params": {}, "instead_of": None, "origin": {}} | c for c in r.get("components") or []] for r in both
    ]
    origins = [{_plugin(c): _version(c["origin"]) for c in found} for found in components]
    commits, devices = ([{k: r.get(k) for k in names} for r in both] for names in (("commit",), _DEVICE))
    lpips = [{"weights of LPIPS": _part(r, "lpips").get("sha256")} for r in both]
    suites = [_leaves(_part(r, "suite").get("raw") or {}) for r in both]
    hosts, versions, machines = ([_part(r, name) for r in both] for name in ("host", "versions", "machine"))
    return {
        "suite": list(_changes_in("", *suites)),
        "code": [
            *_changes_in("", *commits),
            *_changes_in("code of bench/", *hosts),
            *_changes_in("", *origins),
        ],
        "data and weights": [*_changes_of_all(*components), *_changes_in("", *lpips)],
        "packages": list(_changes_in("version of ", *versions)),
        "machine": [*_changes_in("", *machines), *_changes_in("", *devices)],
    }


def _part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a record; one that an earlier bench wrote as one value is that value by its name."""
    found = record.get(name)
    return found if isinstance(found, Mapping) else {} if found is None else {name: found}


def _version(origin: Mapping[str, Any]) -> str:
    return f"{origin.get('version')}, code {_short(origin.get('digest'))}"


def _plugin(component: Mapping[str, Any]) -> str:
    origin = component["origin"]
    return f"plugin {origin.get('package')} ({origin.get('distribution')})"


def _leaves(value: object, path: str = "") -> dict[str, Any]:
    """The values of a suite by their places in it."""
    if isinstance(value, Mapping):
        parts = [(f"{path}.{key}" if path else str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        parts = [(f"{path}[{i}]", inner) for i, inner in enumerate(value)]
    else:
        return {path: value}
    return {place: leaf for name, inner in parts for place, leaf in _leaves(inner, name).items()}


def _changes_in(what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        yield from _change(f"{what}{name}", before.get(name), after.get(name))


def _changes_of(what: str, before: list[Mapping[str, Any]], now: list[Mapping[str, Any]]) -> Iterator[str]:
    """What differs between the components of one label."""
    if not before or not now:
        yield f"{what}: {_what_it_is(before)} -> {_what_it_is(now)}"
        return
    for name in dict.fromkeys(name for c in (*before, *now) for name in c["params"]):
        yield from _change(f"{what}: {name}", *(_values([c["params"] for c in group], name) for group in (before, now)))
    content = "data" if what.startswith("dataset ") else "weights"
    for field, words in (("weights", content), ("instead_of", "stands in for")):
        yield from _change(f"{what}: {words}", *(_values(group, field) for group in (before, now)))


def _what_it_is(components: list[Mapping[str, Any]]) -> str:
    if not components:
        return "none"
    instead = components[0]["instead_of"]
    return f"a stand-in for {instead}" if instead else f"the {components[0]['name']} itself"


def _values(found: list[Mapping[str, Any]], name: str) -> str:
    """The different values of a field, in words."""
    return ", ".join(sorted({_short(about.get(name)) for about in found}))


def _change(what: str, before: object, now: object) -> Iterator[str]:
    if before != now:
        yield f"{what}: {_short(before)} -> {_short(now)}"


def _short(value: object) -> str:
    """A value in few characters: of digests, the beginning."""
    text = "none" if value is None else str(value)
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text
