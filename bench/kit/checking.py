"""`check_plugin`, and the check of a target in this process with its badge."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench.kit.examine import Examination, Heard
from bench.kit.findings import CheckFailedError, KitResult
from bench.kit.targets import Target, component_for, target_of
from bench.store.badges import remove_badge, write_badge


def check_plugin(plugin: str | type | object, /, *, of_kind: str | None = None, **parameters: Any) -> KitResult:
    """Check a plugin, and return what was found; raise `CheckFailedError`, an `AssertionError`, if it fails.

    ``plugin`` is the name of an installed component (``"pmt"``, or ``"pmt,steps=2"``), its class or an object of it,
    and ``parameters`` are parameters of the component. ``of_kind`` is needed where components of several kinds have
    the name. It works on the CPU, with synthetic faces, in this process and one other. Raise `PluginError` or
    `SuiteError` if there is no such plugin, or a parameter is wrong.
    """
    result = checked_here(target_of(plugin, parameters, of_kind))
    if result.failed:
        raise CheckFailedError(result)
    return result


def checked_here(target: Target, hear: Heard = lambda check: None) -> KitResult:
    """Ask all checks of a target in this process. A registered component that fails loses its badge; one that passes
    with its default parameters gets one."""
    with tempfile.TemporaryDirectory(prefix="bench-check-", ignore_cleanup_errors=True) as work:
        result = Examination(target, Path(work), hear).result()
    if target.origin is not None and result.failed:
        remove_badge(component_for(target))
    elif result.component is not None and result.passed and not target.params:
        write_badge(result.component)
    return result
