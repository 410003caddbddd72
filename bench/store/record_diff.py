"""What differs between the records of two runs: suite, code, versions, data, weights and parameters, as text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.store.run_record import ComponentRecord, OriginRecord, RunRecord


def changes_between(before: RunRecord, after: RunRecord) -> dict[str, list[str]]:
    """Return the differences between two records by topic; a value that an older version did not record is None."""
    both = (before, after)
    origins = [{_plugin(c.origin): _version(c.origin) for c in record.components} for record in both]
    libraries = [_libraries(record) for record in both]
    commits = [{"commit": record.commit} for record in both]
    devices = [{"device": r.device, "device_name": r.device_name, "engine": r.engine} for r in both]
    lpips = [{"weights of LPIPS": record.lpips and record.lpips.sha256} for record in both]
    suites = _with_defaults(*(_leaves(record.suite.raw) for record in both))
    hosts, machines = [record.host or {} for record in both], [vars(record.machine) for record in both]
    return {
        "suite": list(_changes_in("", *suites)),
        "code": [
            *_changes_in("", *commits),
            *_changes_in("code of bench/", *hosts),
            *_changes_in("", *origins),
            *_changes_in("code of ", *libraries),
        ],
        "data and weights": [
            *changes_of_components(before.components, after.components),
            *_changes_in("", *lpips),
        ],
        "packages": list(_changes_in("version of ", before.versions, after.versions)),
        "machine": [*_changes_in("", *machines), *_changes_in("", *devices)],
    }


def changes_of_components(before: Sequence[ComponentRecord], after: Sequence[ComponentRecord]) -> Iterator[str]:
    """Yield the differences between two lists of components, label by label."""
    old: dict[tuple[str, str], list[ComponentRecord]] = defaultdict(list)
    new: dict[tuple[str, str], list[ComponentRecord]] = defaultdict(list)
    for found, components in ((old, before), (new, after)):
        for component in components:
            found[component.kind, component.label].append(component)
    for kind, label in {**old, **new}:
        yield from _changes_of(f"{kind} {label}", old[kind, label], new[kind, label])


def change(what: str, before: object, after: object) -> Iterator[str]:
    """Yield one line if two values differ."""
    if before != after:
        yield f"{what}: {shortened(before)} -> {shortened(after)}"


def shortened(value: object) -> str:
    """Return a value as text; a digest by its first 12 digits."""
    text = "none" if value is None else str(value)
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def _version(origin: OriginRecord) -> str:
    return f"{origin.version}, code {shortened(origin.digest)}"


def _libraries(record: RunRecord) -> dict[str, str]:
    """Return what identifies the further packages that the plugins of a run use."""
    origins = [component.origin for component in record.components]
    return {f"{name}, used by {_plugin(o)}": code for o in origins for name, code in o.libraries.items()}


def _plugin(origin: OriginRecord) -> str:
    return f"plugin {origin.package} ({origin.distribution})"


def _leaves(value: object, path: str = "") -> dict[str, Any]:
    """Return the values of a suite by their paths in it."""
    if isinstance(value, Mapping):
        parts = [(f"{path}.{key}" if path else str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        parts = [(f"{path}[{i}]", inner) for i, inner in enumerate(value)]
    else:
        return {path: value}
    return {place: leaf for name, inner in parts for place, leaf in _leaves(inner, name).items()}


def _with_defaults(*suites: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the values of suites, of which one that a suite does not set is its default."""
    every = dict.fromkeys((name for suite in suites for name in suite), "not set, the default")
    return [every | dict(suite) for suite in suites]


def _changes_in(what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        yield from change(f"{what}{name}", before.get(name), after.get(name))


def _changes_of(what: str, before: list[ComponentRecord], after: list[ComponentRecord]) -> Iterator[str]:
    """Yield the differences between the components of one label."""
    if not before or not after:
        yield f"{what}: {_what_it_is(before)} -> {_what_it_is(after)}"
        return
    for name in dict.fromkeys(name for c in (*before, *after) for name in c.params):
        old, new = (_distinct(c.params.get(name) for c in group) for group in (before, after))
        yield from change(f"{what}: {name}", old, new)
    content = "data" if what.startswith("dataset ") else "weights"
    for words, old, new in (
        (content, *(_distinct(c.weights for c in group) for group in (before, after))),
        ("stands in for", *(_distinct(c.instead_of for c in group) for group in (before, after))),
    ):
        yield from change(f"{what}: {words}", old, new)


def _what_it_is(components: list[ComponentRecord]) -> str:
    if not components:
        return "none"
    instead = components[0].instead_of
    return f"a stand-in for {instead}" if instead else f"the {components[0].name} itself"


def _distinct(values: Iterator[Any]) -> str:
    """Return the different values of a field as text."""
    return ", ".join(sorted({shortened(value) for value in values}))
