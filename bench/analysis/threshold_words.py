"""Thresholds in words: how they were set, on whom, and the false match rate (FMR) that they realise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.analysis.verification_scores import OF_LINKS, OF_THRESHOLD, CellScores, Threshold
from bench.store.reading import RunResults
from bench.store.schema import ADVERSARY_RULE

SERVICE, ADVERSARY = "threshold of the service", "threshold of the adversary"
# On whom an adversary sets his threshold, by the column `ADVERSARY_RULE`; older versions knew one rule only.
ON: Mapping[str | None, str] = {
    "calibration": "people of the calibration split, protected and attacked like the scored ones, against the same "
    "gallery",
    "scored": "scored people, without anybody of the probe's group",
    None: "scored people, without anybody of the probe's group",
}


def percent(share: float) -> str:
    """Return a share as a percentage with two significant digits."""
    return f"{100 * share:.2g} %"


def rule_of(threshold: Threshold) -> str:
    """Return how the threshold of a service was set."""
    if threshold.rule == "accuracy":
        return "the κ of the best balanced accuracy"
    return f"the smallest κ with an FMR of at most {100 * threshold.fmr:g} %"


def service(threshold: Threshold) -> str:
    """Return the threshold of a service, and what it rests on."""
    of = _behind(threshold.realised, threshold.impostors, threshold.people)
    return f"κ {threshold.kappa:.3f}, {rule_of(threshold)} on clean faces of the calibration split{of}"


def adversary(threshold: Threshold) -> str:
    """Return the threshold of an adversary, and what it rests on; empty where none is known."""
    if threshold.adversary_people is None:
        return ""
    if threshold.adversary is None:
        return "none: too few people are scored"
    of = _behind(threshold.adversary_realised, threshold.adversary_impostors, threshold.adversary_people)
    return (
        f"κ {threshold.adversary:.3f}, the smallest with an FMR of at most {100 * threshold.fmr:g} % on "
        f"{ON[threshold.adversary_rule]}{of}"
    )


def _behind(realised: float | None, impostors: float | None, people: float | None) -> str:
    if impostors is None:
        return ""
    rate = "" if realised is None else f"an FMR of {percent(realised)} on "
    of = "" if people is None else f" of {people:,.0f} people"
    return f"; it has {rate}{impostors:,.0f} impostor scores{of}"


def thresholds_of(results: RunResults, cell: str, note: str | None) -> dict[str, str]:
    """Return the thresholds of a cell in words, read from its rows; empty if it has none. ``note`` is a remark on that
    of the adversary."""
    scores = CellScores(results.index("verification", ["cell"], first=OF_THRESHOLD))
    found = {}
    if (threshold := scores.threshold(cell)) is not None:
        found = {SERVICE: service(threshold), ADVERSARY: adversary(threshold)}
        if not scores.older(cell) and threshold.adversary is not None:
            rates = scores[cell].impostor_match_adversary
            if np.isfinite(rates).any():
                found[ADVERSARY] += f"; on scored strangers it has {percent(float(np.nanmean(rates)))}"
    elif (entry := results.index("links", ["cell"], first=OF_LINKS).get((cell,))) is not None:
        found = {ADVERSARY: linking(entry.first)}
    if note and found.get(ADVERSARY):
        found[ADVERSARY] += f"; note: {note}"
    return {heading: words for heading, words in found.items() if words}


_LINKED: Mapping[str | None, str] = {
    "calibration": "an upload of people of the calibration split, protected like the scored ones, and one of a scored "
    "person",
    "scored": "two uploads of scored people, without anybody of the pair's group",
    None: "two uploads of scored people, without anybody of the pair's group",
}


def linking(first: Mapping[str, Any]) -> str:
    """Return the threshold of an adversary who links uploads, from a row of links."""
    if first["kappa"] is None or first["kappa"] != first["kappa"]:
        return "none: too few people are scored"
    of = _behind(first["kappa_fmr_realised"], first["kappa_impostors"], first["kappa_people"])
    return (
        f"κ {first['kappa']:.3f}, the smallest with an FMR of at most {100 * first['fmr']:g} % on pairs of "
        f"{_LINKED[first[ADVERSARY_RULE]]}{of}"
    )
