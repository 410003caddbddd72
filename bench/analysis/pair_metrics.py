"""The metrics of verification pairs: utility, re-identification, and what chance gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.analysis import sample_values
from bench.analysis.cells import CellRow
from bench.analysis.pooling import Floats
from bench.analysis.sample_metric import RECOGNISED, SampleMetric
from bench.analysis.sample_values import OperatingPoint
from bench.analysis.verification_scores import VerificationScores

_NO_ADVERSARY = "too few people are scored to set the adversary's threshold without the group of the probe's person"
_NO_CLEAN = "the recogniser of the defense compares protected pictures only"
_NO_RANKS = "the rows hold no ranks"
_NO_FOLDS = "scores are not finite, or all in one fold"
# Columns that depend on the right picture of a pair. A score from other columns belongs to the left person alone.
_OF_BOTH = frozenset(
    {"cos_cross", "cos_clean", "flip_cross", "flip_clean", "same"}
    | {"rank_enrolled", "rank_enrolled_chance", "impostor_match_enrolled"}
)
_PERCENT: dict[str, Any] = {"unit": "%", "digits": 1}


def _of_pairs(
    *,
    scores: Callable[[VerificationScores, CellRow, OperatingPoint], Floats | None],
    columns: tuple[str, ...],
    share: bool = True,
    **about: Any,
) -> SampleMetric:
    """Build a metric of verification pairs; most of them are decisions."""
    about |= {"columns": columns, "share": share, "outputs": RECOGNISED}
    found = sample_values.scored(scores, of_both=not _OF_BOTH.isdisjoint(columns))
    return SampleMetric(scores=found, table="verification", by=("cell",), **about)


def _of_strangers(*, scores: Callable[[VerificationScores], Floats], **about: Any) -> SampleMetric:
    """Build a metric of what chance gives: a share for each probe, or NaN."""
    about |= {"share": False, "chance": True, **_PERCENT}
    return _of_pairs(scores=lambda s, *_: sample_values.known(scores(s)), **about)


def _of_chance(*, fixed: bool) -> SampleMetric:
    """Build the metric of the chance level of Equation 10 at the fixed or the calibrated threshold."""
    return _of_pairs(
        name=f"accuracy-chance{'-fixed' if fixed else ''}",
        about="Upper bound of Equation 10 for the upload of a random other person: g p + (1 − g) p (1 − p), where g is "
        "the share of genuine pairs and p that of impostor pairs with cos(f(x̃₁), f(x₂)) > κ; κ "
        f"{'fixed' if fixed else 'calibrated'}.",
        label=f"chance of the accuracy{' at the fixed κ' if fixed else ''}",
        scores=lambda s, c, at: sample_values.chance(s, c.kappa if fixed else at.kappa),
        columns=("cos_cross", "same") if fixed else ("cos_cross", "same", "kappa_calibrated"),
        cell_columns=("kappa",) if fixed else (),
        share=False,
        chance=True,
        missing="the rows hold no impostor pairs",
        unit="%",
        digits=1,
    )


VERIFICATION = (
    _of_pairs(
        name="accuracy",
        about="Equation 10: cos(f(x̃₁), f(x₁)) > κ and (cos(f(x̃₁), f(x₂)) > κ) = (same person), κ calibrated.",
        label="accuracy",
        better="split",
        scores=lambda s, _, at: s.hits(at.kappa),
        columns=("cos_self", "cos_cross", "same", "kappa_calibrated"),
        **_PERCENT,
    ),
    _of_pairs(
        name="accuracy-fixed",
        about="Equation 10 at the fixed κ of the experiment.",
        label="accuracy at the fixed κ",
        better="split",
        scores=lambda s, c, _: s.hits(c.kappa),
        columns=("cos_self", "cos_cross", "same"),
        cell_columns=("kappa",),
        **_PERCENT,
    ),
    _of_pairs(
        name="clean-accuracy",
        about="Equation 10 with x₁ in place of x̃₁, on the same pairs, κ calibrated.",
        label="clean accuracy",
        better="higher",
        scores=lambda s, _, at: s.clean_hits(at.kappa),
        columns=("cos_clean", "same", "kappa_calibrated"),
        missing=_NO_CLEAN,
        **_PERCENT,
    ),
    _of_pairs(
        name="clean-accuracy-fixed",
        about="Equation 10 with x₁ in place of x̃₁, on the same pairs, at the fixed κ.",
        label="clean accuracy at the fixed κ",
        better="higher",
        scores=lambda s, c, _: s.clean_hits(c.kappa),
        columns=("cos_clean", "same"),
        missing=_NO_CLEAN,
        cell_columns=("kappa",),
        **_PERCENT,
    ),
    _of_pairs(
        name="accuracy-drop",
        about="Clean accuracy minus accuracy, pair by pair.",
        label="drop from clean",
        unit="points",
        digits=1,
        better="lower",
        bounds=(-1.0, 1.0),
        scores=lambda s, _, at: sample_values.drop(s, at.kappa),
        columns=("cos_self", "cos_cross", "cos_clean", "same", "kappa_calibrated"),
        missing=_NO_CLEAN,
        share=False,
        change=True,
    ),
    _of_chance(fixed=False),
    _of_chance(fixed=True),
    _of_pairs(
        name="ten-fold",
        about="10-fold verification accuracy of protected against clean faces (Huang et al. 2007, LFW, view 2).",
        label="10-fold accuracy",
        better="split",
        scores=lambda s, *_: sample_values.ten_fold(s.flip_cross, s),
        columns=("flip_cross", "same", "fold"),
        missing=_NO_FOLDS,
        **_PERCENT,
    ),
    _of_pairs(
        name="clean-ten-fold",
        about="10-fold verification accuracy of clean faces.",
        label="clean 10-fold accuracy",
        better="higher",
        scores=lambda s, *_: sample_values.ten_fold(s.flip_clean, s),
        columns=("flip_clean", "same", "fold"),
        missing=_NO_FOLDS,
        **_PERCENT,
    ),
)
RECOGNITION = (
    _of_pairs(
        name="cosine",
        about="COS: cosine of the embeddings of what the attack ends with and of the original (section 6.2).",
        label="cosine",
        digits=3,
        better="split",
        bounds=(-1.0, 1.0),
        scores=lambda s, *_: s.cos_self,
        columns=("cos_self",),
        share=False,
    ),
    _of_pairs(
        name="srra",
        about="Success rate of the reconstruction attack: COS above the calibrated κ (section 6.2).",
        label="SRRA",
        better="higher",
        bounds=(0.0, 1.0),
        scores=lambda s, _, at: sample_values.above(s, at.kappa),
        columns=("cos_self", "kappa_calibrated"),
    ),
    _of_pairs(
        name="srra-fixed",
        about="Success rate of the reconstruction attack: COS above the fixed κ of the experiment.",
        label="SRRA at the fixed κ",
        better="higher",
        bounds=(0.0, 1.0),
        scores=lambda s, c, _: sample_values.above(s, c.kappa),
        columns=("cos_self",),
        cell_columns=("kappa",),
    ),
    _of_pairs(
        name="rank-1",
        about="Re-identification: of all originals, one of the person is the most similar. Equally "
        "similar ones are ordered at random. Chance is rank-1-chance.",
        label="re-identified at rank 1",
        better="lower",
        scores=lambda s, *_: sample_values.known(s.rank_first),
        columns=("rank_first", "rank", "gallery"),
        missing=_NO_RANKS,
        **_PERCENT,
    ),
    _of_pairs(
        name="rank-1-enrolled",
        about="Re-identification in genuine pairs: of all enrolled pictures but the probe's own, one of the person is "
        "the most similar. Chance is rank-1-enrolled-chance.",
        label="enrolled picture at rank 1",
        better="lower",
        scores=lambda s, *_: sample_values.known(s.rank_enrolled_first),
        columns=("rank_enrolled_first", "rank_enrolled"),
        missing=_NO_RANKS,
        **_PERCENT,
    ),
    _of_pairs(
        name="fmr-match",
        about="Re-identification: similarity to the original above the adversary's threshold. He sets it for the "
        "requested false match rate, on protected or reconstructed pictures of people of the calibration split, or of "
        "scored people outside of the probe's group, against originals of other people. Chance is impostor-match.",
        label="matched at the adversary's threshold",
        better="lower",
        scores=lambda s, *_: sample_values.above_adversary(s.cos_self, s.kappa_adversary),
        columns=("cos_self", "kappa_adversary"),
        missing=_NO_ADVERSARY,
        **_PERCENT,
    ),
    _of_pairs(
        name="enrolled-match",
        about="Re-identification in genuine pairs: similarity to another picture of the person above the threshold "
        "that the adversary sets. Chance is impostor-match-enrolled.",
        label="another picture matched at the adversary's threshold",
        better="lower",
        scores=lambda s, *_: sample_values.enrolled_matches(s),
        columns=("cos_cross", "same", "kappa_adversary", "kappa_enrolled"),
        missing=_NO_ADVERSARY,
        **_PERCENT,
    ),
    _of_pairs(
        name="fmr-match-deployed",
        about="Similarity to the original above the calibrated threshold of the deployed service, which was set on "
        "clean faces. Chance is impostor-match-deployed.",
        label="matched at the deployed threshold",
        better="lower",
        scores=lambda s, *_: sample_values.above(s, None),
        columns=("cos_self", "kappa_calibrated"),
        **_PERCENT,
    ),
)
# What chance gives, measured on the same rows; shares, not decisions.
CHANCE = (
    _of_strangers(
        name="impostor-match",
        about="Chance of fmr-match, the realised false match rate on the scored people: of the originals of other "
        "people, the share that the probe matches at the adversary's threshold.",
        label="impostors matched at the adversary's threshold",
        scores=lambda s: s.impostor_match_adversary,
        columns=("impostor_match_adversary",),
        missing=_NO_ADVERSARY,
    ),
    _of_strangers(
        name="impostor-match-enrolled",
        about="Chance of enrolled-match: of the enrolled pictures of other people, the share that the probe of a "
        "genuine pair matches at the adversary's threshold.",
        label="enrolled pictures of strangers matched at the adversary's threshold",
        scores=lambda s: np.where(s.same, s.impostor_match_enrolled, np.nan),
        columns=("impostor_match_enrolled", "same"),
        missing=_NO_ADVERSARY,
    ),
    _of_strangers(
        name="impostor-match-deployed",
        about="Chance of fmr-match-deployed: of the originals of other people, the share that the probe matches at "
        "the calibrated threshold of the deployed service.",
        label="impostors matched at the deployed threshold",
        scores=lambda s: s.impostor_match,
        columns=("impostor_match",),
        missing="nobody else is in the gallery",
    ),
    _of_strangers(
        name="rank-1-chance",
        about="Chance of rank-1: the share of the originals that show the probe's person. With m_s of n originals of "
        "person s, its mean over originals is the sum of m_s² / n².",
        label="chance of rank 1",
        scores=lambda s: s.rank_chance,
        columns=("rank_chance",),
        missing=_NO_RANKS,
    ),
    _of_strangers(
        name="rank-1-enrolled-chance",
        about="Chance of rank-1-enrolled: the share of the enrolled pictures, without the probe's own, that show the "
        "probe's person.",
        label="chance of an enrolled picture at rank 1",
        scores=lambda s: s.rank_enrolled_chance,
        columns=("rank_enrolled_chance",),
        missing=_NO_RANKS,
    ),
)
