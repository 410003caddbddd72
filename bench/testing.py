"""What the tests of a plugin author use: one call that checks a whole plugin, and the host's checks of single calls.

`check_plugin` asks all checks of ``bench check`` (docs/checking.md) and raises an `AssertionError` with a readable text
if one fails. The pytest plugin of bench offers faces, tiny networks and contexts as fixtures (`bench.kit.fixtures`).
The functions ``*_checked`` and ``check_*`` call one method of a component, or check one of its results, exactly as a
run does, and raise `ContractError` where a run would. None of this needs a suite or a run.
"""

from __future__ import annotations

from bench.api.context import sample_generator
from bench.kit.checking import check_plugin
from bench.kit.findings import CheckFailedError, KitFinding, KitResult
from bench.stages.contracts import (
    check_faces,
    check_pairs,
    check_state,
    embed_checked,
    enrol_checked,
    estimate_checked,
    link_checked,
    protect_checked,
    reconstruct_checked,
)

__all__ = [
    "CheckFailedError",
    "KitFinding",
    "KitResult",
    "check_faces",
    "check_pairs",
    "check_plugin",
    "check_state",
    "embed_checked",
    "enrol_checked",
    "estimate_checked",
    "link_checked",
    "protect_checked",
    "reconstruct_checked",
    "sample_generator",
]
