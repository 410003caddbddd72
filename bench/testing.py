"""What the tests of a plugin use: the host's checks around every plugin call, without a suite or a run.

Each function calls one method of a component as the host does, and raises `ContractError` for what a run would refuse.
"""

from __future__ import annotations

from bench.api.context import sample_generator
from bench.stages.contracts import (
    check_faces,
    check_pairs,
    check_state,
    estimate_checked,
    protect_checked,
    reconstruct_checked,
)

__all__ = [
    "check_faces",
    "check_pairs",
    "check_state",
    "estimate_checked",
    "protect_checked",
    "reconstruct_checked",
    "sample_generator",
]
