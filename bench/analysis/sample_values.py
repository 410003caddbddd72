"""The scores of a cell, one per sample: the functions that read them from rows, for each kind of metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.cells import CellRow
from bench.analysis.pooling import Floats, Pulls, SampleScores
from bench.analysis.rows import ImageScores, Rows
from bench.analysis.verification_scores import VerificationScores
from bench.metrics import recognition
from bench.store.schema import INFINITE

# An attribute of the paper, and the attribute that replaces it where a classifier does not estimate it.
ALIASES = {"race": "group"}


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """The noise level and the threshold at which to measure; neither needs a cell of its own.

    ``sigma`` is the noise level of Equation 9, by default the lowest of the experiment. ``kappa`` is the threshold, by
    default the calibrated one. Metrics named "fixed" always use the threshold of the experiment.
    """

    sigma: float | None = None
    kappa: float | None = None

    def __str__(self) -> str:
        return ", ".join(f"{name} = {v:g}" for name, v in (("σ", self.sigma), ("κ", self.kappa)) if v is not None)


ScoreFunction = Callable[[Rows, CellRow, OperatingPoint], SampleScores | None]


# ---- recognition -----------------------------------------------------------------------------------------------------


def scored(
    values: Callable[[VerificationScores, CellRow, OperatingPoint], Floats | None], *, of_both: bool
) -> ScoreFunction:
    """Turn a function of verification scores into a score function.

    ``of_both``: a score belongs to both people of its pair, and otherwise to the person whose face was protected.
    """

    def of(rows: Rows, cell: CellRow, at: OperatingPoint) -> SampleScores | None:
        scores = rows.scores.get(cell.cell)
        found = None if scores is None else values(scores, cell, at)
        if scores is None or found is None:
            return None
        others = scores.other if of_both else None
        return SampleScores(found, scores.person, cell.people_of, others, cell.repeat, rows.repeats_of(cell))

    return of


def above(scores: VerificationScores, kappa: float | None) -> Floats:
    """Return 1 where the similarity to the original exceeds ``kappa``, by default the calibrated threshold; else 0."""
    return (scores.cos_self > (scores.kappa_calibrated if kappa is None else kappa)).astype(np.float64)


def chance(scores: VerificationScores, kappa: float | None) -> Floats | None:
    """Return the chance level of Equation 10 as one score per impostor pair, NaN for genuine pairs; their mean is the
    level. None without impostor pairs.

    It bounds the expectation of Equation 10 if each upload is replaced by that of a random other person. The upload of
    a stranger matches an original with the probability p, the share of impostor pairs with ``cos_cross`` above
    ``kappa`` (by default the calibrated threshold). In a genuine pair it succeeds if it matches two pictures of one
    person: with at most p. In an impostor pair it succeeds if it matches the first picture and not the second: with
    p (1 - p), or less if an upload that matches one stranger is likelier to match another. With the share g of genuine
    pairs, the level is ``g p + (1 - g) p (1 - p)``: 0 where nothing matches a stranger, and g where everything does.
    """
    impostor = ~scores.same
    if not impostor.any():
        return None
    matched = scores.cos_cross > (scores.kappa_calibrated if kappa is None else kappa)
    genuine = float(scores.same.mean())
    factor = genuine + (1 - genuine) * (1 - float(matched[impostor].mean()))
    return np.where(impostor, matched * factor, np.nan)


def above_adversary(similarity: Floats, kappa: Floats) -> Floats | None:
    """Return 1 where a similarity ``(n,)`` exceeds the adversary's threshold ``(n,)``, else 0, and NaN where there is
    none; None if there is none at all."""
    defined = np.isfinite(kappa)
    return np.where(defined, similarity > kappa, np.nan) if defined.any() else None


def drop(scores: VerificationScores, kappa: float | None) -> Floats | None:
    """Return the decision of Equation 10 on unprotected faces minus that on protected ones, pair by pair; None if
    nothing recognises unprotected faces."""
    clean = scores.clean_hits(kappa)
    return None if clean is None else clean - scores.hits(kappa)


def enrolled_matches(scores: VerificationScores) -> Floats | None:
    """Return for each genuine pair 1 if the adversary matches the other picture, else 0, and NaN for impostor pairs;
    None if there is no value."""
    matched = above_adversary(scores.cos_cross, scores.kappa_enrolled)
    return None if matched is None else known(np.where(scores.same, matched, np.nan))


def known(values: Floats) -> Floats | None:
    """Return values; None if all of them are NaN."""
    return values if np.isfinite(values).any() else None


def ten_fold(values: Floats, of: VerificationScores) -> Floats | None:
    """Return the 10-fold decisions on similarities ``(n,)``, 0 or 1; None if they are not finite or in one fold."""
    if not np.isfinite(values).all():
        return None
    found = recognition.ten_fold_accuracy(values, of.same, of.fold)
    return None if found.accuracy is None else found.hits.astype(np.float64)


# ---- images ----------------------------------------------------------------------------------------------------------


def of_image(column: str) -> ScoreFunction:
    """Return the score function of a column of images; a value that is marked as infinite becomes infinity."""

    def of(rows: Rows, cell: CellRow, at: OperatingPoint) -> SampleScores | None:
        found = rows.image_scores.get((cell.upload_key, column), lambda: _image_scores(rows.images_of(cell), column))
        if found is None:
            return None
        values, people = found
        return SampleScores(values, people, cell.people_of, None, cell.repeat, rows.repeats_of(cell, "picture"))

    return of


def _image_scores(table: pd.DataFrame, column: str) -> ImageScores | None:
    """Return a column of images with their people; None if it has no number."""
    values = numbers(table, column)
    if values is None:
        return None
    if (marks := f"{column}{INFINITE}") in table:
        values = np.where(table[marks].fillna(False).astype(bool), np.inf, values)
    return values, table["subject"].to_numpy()


def numbers(table: pd.DataFrame, column: str) -> Floats | None:
    """Return a column as floats with nulls as NaN; None if it has no number and no value that is marked as infinite."""
    if table.empty or column not in table:
        return None
    found = table[column]
    found = found if found.dtype == np.float64 else pd.to_numeric(found, errors="coerce")
    values: Floats = found.to_numpy(np.float64, na_value=np.nan)
    marks = f"{column}{INFINITE}"
    infinite = marks in table and bool(table[marks].fillna(False).any())
    return values if infinite or not np.isnan(values).all() else None


# ---- attributes and UP -----------------------------------------------------------------------------------------------


def of_attribute(attribute: str, column: Literal["value", "permuted", "excess", "baseline"]) -> ScoreFunction:
    """Return the score function of an attribute, or of the attribute that replaces it (`ALIASES`).

    The ``excess`` is the value minus that of permuted answers, sample by sample: what varies with the original or with
    the answer alone cancels, so that its interval is narrower than that of the value.
    """

    def of(rows: Rows, cell: CellRow, at: OperatingPoint) -> SampleScores | None:
        known = rows.attribute_scores(cell)
        found = known.get(attribute) or known.get(ALIASES.get(attribute, ""))
        if found is None:
            return None
        values: Floats | None = getattr(found, "permuted" if column == "excess" else column)
        if values is None or np.isnan(values).all():
            return None
        values = found.value - values if column == "excess" else values
        repeats = rows.repeats_of(cell, "estimate")
        return SampleScores(values, found.people, cell.people_of, None, cell.repeat, repeats)

    return of


def of_links(
    values: Callable[[Rows, CellRow, pd.DataFrame], Floats | None],
    second: Callable[[Rows, CellRow, pd.DataFrame], NDArray[Any]],
    pulls: Callable[[Rows, CellRow, pd.DataFrame], Floats | None] | None = None,
) -> ScoreFunction:
    """Turn a function of a cell and the rows of its pairs of two uploads into a score function. A score belongs to both
    people, of whom ``second`` returns the other one, and a pull to those of the two uploads."""

    def of(rows: Rows, cell: CellRow, at: OperatingPoint) -> SampleScores | None:
        table = rows.links_of(cell)
        found = None if table.empty else values(rows, cell, table)
        if found is None or np.isnan(found).all():
            return None
        left, right = table["left_subject"].to_numpy(), second(rows, cell, table)
        scores = SampleScores(found, left, cell.people_of, right, cell.repeat, rows.repeats_of(cell))
        pulled = None if pulls is None else pulls(rows, cell, table)
        if pulled is None:
            return scores
        return replace(scores, pulls=Pulls(pulled, left, right_people(rows, cell, table)))

    return of


def right_people(rows: Rows, cell: CellRow, table: pd.DataFrame) -> NDArray[Any]:
    """Return the person of the right upload of each pair."""
    return table["right_subject"].to_numpy()


def linked(table: pd.DataFrame) -> Floats | None:
    """Return 1 for genuine pairs whose score exceeds the adversary's threshold, else 0, and NaN for all others."""
    scores, kappa = numbers(table, "score"), numbers(table, "kappa")
    if scores is None or kappa is None:
        return None
    known = np.isfinite(scores) & np.isfinite(kappa) & table["same"].to_numpy(bool)
    return np.where(known, scores > kappa, np.nan)


def of_up(utility: bool, privacy: Literal["dist", "lpips"] | None) -> ScoreFunction:
    """Return the score function that adds up the requested terms of Equation 9 for each sample."""

    def of(rows: Rows, cell: CellRow, at: OperatingPoint) -> SampleScores | None:
        table = rows.up_of(cell, at.sigma)
        if table.empty:
            return None
        total: Floats = np.zeros(len(table))
        if utility:
            pictures = table["sample_id" if "sample_id" in table else "subject"].to_numpy()
            kappa = rows.calibrated(cell, pictures) if at.kappa is None else at.kappa
            total = total + (table["cosine"].to_numpy(np.float64) > kappa)
        if privacy:
            distances = numbers(table, privacy)
            if distances is None:
                return None
            total = total + distances
        repeats = rows.repeats_of(cell)
        return SampleScores(total, table["subject"].to_numpy(), cell.people_of, None, cell.repeat, repeats)

    return of
