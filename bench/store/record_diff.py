"""What differs between the records of two runs: code, versions, data, weights and parameters, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_DEVICE = ("device", "device_name", "engine")


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
