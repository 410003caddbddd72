"""The host's checks of plugin calls, for the tests of plugin authors. They need no suite and no run.

Each function calls one method of a component, or checks one of its results, exactly as a run does, and raises
`ContractError` where a run would.
"""

from __future__ import annotations

from bench.api.context import sample_generator
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
    "check_faces",
    "check_pairs",
    "check_state",
    "embed_checked",
    "enrol_checked",
    "estimate_checked",
    "link_checked",
    "protect_checked",
    "reconstruct_checked",
    "sample_generator",
]
