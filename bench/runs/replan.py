"""Makes the plan of a run again from its record alone, or lists what has changed since the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.core.errors import BenchError, ReplayError, UntrustedError
from bench.core.provenance import NUMERIC_PACKAGES, device_name, host_digests, package_versions
from bench.metrics.lpips import find_vgg
from bench.planning.plan import Plan, make_plan, select
from bench.registry.components import instantiate, origin_of
from bench.registry.discovery import Registry
from bench.runs.record import components_of
from bench.store.record_diff import change, changes_of_components, shortened
from bench.store.run_record import ComponentRecord, RunRecord, component_record
from bench.suite.suite import restore

# The packages whose versions decide the rows or the bytes of their files.
_PACKAGES = (*NUMERIC_PACKAGES, "pyarrow")
_NEEDED = ("components", "device", "digest", "host", "lpips", "suite", "versions")


def plan_again(
    folder: Path,
    record: RunRecord,
    registry: Registry,
    *,
    costs: Mapping[str, float] | None = None,
    timeout_s: float | None = None,
    strict: bool = False,
    trust: bool = False,
) -> Plan:
    """Return the plan of a run, made again from its record.

    Raises `UntrustedError` without trust, and `ReplayError` with a list of changes if the plan would be another one
    today, or, if ``strict``, if anything has changed that may decide the bytes of rows.

    ``costs`` as in `bench.planning.plan.make_plan`; ``timeout_s``: the limit of the command line, by default that of
    the record; ``trust``: code outside the installed plugins that the record names may run.
    """
    require_recorded(folder, record, "cannot be made again")
    found = list(changes_around(record, registry))
    plan, problem = None, None
    try:
        limit = timeout_s if timeout_s is not None else record.timeout_s
        plan = make_plan(restore(record.suite, registry, trust=trust), registry, str(record.device), costs, limit)
        plan = select(plan, record.only) if record.only else plan
    except UntrustedError:
        raise
    except BenchError as error:  # Data, weights or a plugin no longer exist.
        problem = str(error)
    except (ValidationError, LookupError, TypeError) as error:
        problem = f"the suite in its record cannot be read: {' '.join(str(error).split())}"
    if plan is not None and plan.digest == record.digest and not (strict and found):
        return plan
    if plan is not None:
        found += changes_of_components(record.components, [component_record(c) for c, _ in components_of(plan)])
        found = found or [
            f"the plan that bench makes of the suite: {shortened(record.digest)} -> {shortened(plan.digest)}"
        ]
    lines = "\n".join(f"  {line}" for line in dict.fromkeys([*found, *([problem] if problem else [])]))
    raise ReplayError(
        f"{folder}: its plan cannot be made again{_why(record)}; "
        f"since it was made this has changed (recorded -> now):\n{lines}"
    )


def _why(record: RunRecord) -> str:
    """Return the main reason as the middle of a sentence, if the code of bench that decides results has changed."""
    host, now = record.host or {}, host_digests()
    if host == now:
        return ""
    other = host.keys() != now.keys()
    keys = ", and content keys are now made from other files of it" if other else ""
    return f" because the code of bench that decides results has changed{keys}"


def require_recorded(folder: Path, record: RunRecord, refused: str) -> None:
    """Raise `ReplayError` unless a record holds all that a plan is made from. ``refused`` is the beginning of the
    message."""
    if missing := [name for name in _NEEDED if not getattr(record, name)]:
        raise ReplayError(
            f"{folder}: {refused} from its record, which lacks its {', '.join(missing)}; "
            "it was written by an earlier bench"
        )


def changes_around(record: RunRecord, registry: Registry) -> Iterator[str]:
    """Yield what has changed in the code of bench and of the plugins of a run, in packages and in the device."""
    now: Mapping[str, Any] = host_digests()
    host = record.host or {}
    for name in sorted(host.keys() | now.keys()):
        yield from change(f"code of bench/{name}", host.get(name), now.get(name))
    now = package_versions()
    for name in _PACKAGES:
        yield from change(f"version of {name}", record.versions.get(name), now.get(name))
    yield from change("weights of LPIPS", record.lpips and record.lpips.sha256, find_vgg().sha256)
    for recorded in record.components:
        yield from changes_of_code(recorded, registry)
    device = str(record.device)
    if device != "cpu":
        yield from change(f"device {device}", record.device_name, device_name(device))


def changes_of_code(recorded: ComponentRecord, registry: Registry) -> Iterator[str]:
    """Yield what has changed in the code of the plugin of a recorded component."""
    origin = recorded.origin
    plugin = f"plugin {origin.package} ({origin.distribution})"
    registration = registry.components.get((recorded.kind, recorded.name))
    if registration is None:
        yield f"{plugin}: provides the {recorded.kind} {recorded.name} -> does not, or cannot be used"
        return
    now = registration.origin
    try:  # What a plugin declares may depend on its parameters.
        now = origin_of(registration, instantiate(registration.cls, recorded.params, plugin), plugin)
    except BenchError as error:
        yield " ".join(str(error).split())
        now = replace(now, libraries={**origin.libraries, **now.libraries})
    yield from change(f"distribution of {plugin}", origin.distribution, now.distribution)
    yield from change(f"version of {plugin}", origin.version, now.version)
    yield from change(f"code of {plugin}", origin.digest, now.digest)
    for name in sorted(origin.libraries.keys() | now.libraries.keys()):
        what = f"code of {name}, which {plugin} uses"
        yield from change(what, origin.libraries.get(name), now.libraries.get(name))
