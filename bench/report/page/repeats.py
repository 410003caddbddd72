"""What the verdict says about repeats: which draws of defenses and learners its intervals hold for."""

from __future__ import annotations

from bench.analysis.tables.recommendation import Recommendation


def draws(found: Recommendation) -> str:
    """Return the sentence that says which draws of defenses and learners the intervals hold for."""
    known = [m.repeats for e in found.entries for m in (e.utility, e.leakage) if m.value is not None]
    if not known:
        return ""
    fewest, most = min(r[0] for r in known), max(r[1] for r in known)
    if most == 1:
        return (
            "Every random defense was drawn once and every learning attack trained once. The intervals contain the "
            "spread between people, and hold for these draws only."
        )
    if fewest > 1:
        return "The intervals contain the spread between repeats (draws of defenses, seeds of learning attacks)."
    return (
        "Where N names repeats (draws of defenses, seeds of learning attacks), the interval contains the spread "
        "between them. Every other interval holds for the one draw that was made."
    )
