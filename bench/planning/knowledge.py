"""How much an adversary knows, as one number that orders attacks from weak to strong. No torch."""

from __future__ import annotations

from collections.abc import Collection


def knowledge(sees: Collection[str], trains_on: str, uploads: int) -> int:
    """Return the step of the strongest knowledge that an attack declares: an index of `bench.core.domain.KNOWLEDGE`.

    ``sees``, ``trains_on`` and ``uploads`` are those of `bench.Attack`. An attack that learns from the evaluated faces
    themselves knows at least unprotected faces; one that queries the defense can protect faces itself.
    """
    steps = (
        True,
        uploads > 1,
        "shallow_weights" in sees,
        trains_on in ("clean", "evaluated"),
        trains_on == "defense" or "defense" in sees,
        "full_model" in sees,
    )
    return max(step for step, known in enumerate(steps) if known)
