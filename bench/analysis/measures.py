"""The registry of metrics, and how the per-sample rows of some cells become one measurement.

A `SampleMetric` says which score each sample of a cell has. `measure` pools the scores of several cells into a
`Measurement`: a value with N and a 95 % interval. Tables, charts and claims select different cells, but every one of
them calls `measure`, so that they all count in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from bench.analysis import sample_values
from bench.analysis.paper_values import paper_quantity
from bench.analysis.pooling import Floats, Pool, mean
from bench.analysis.rows import UPLOAD, CellRow, Rows, VerificationScores, why_absent
from bench.analysis.sample_values import OperatingPoint, ScoreFunction
from bench.analysis.table_model import Measurement, Metric, Role
from bench.core.text import plural
from bench.metrics import images
from bench.metrics.vocabulary import check_metric_name

AGE = "age"
_RECOGNISED = frozenset({"recognition", "images"})
_ESTIMATED = frozenset({"attributes"})
_ANY = _RECOGNISED | _ESTIMATED


@dataclass(frozen=True, kw_only=True)
class SampleMetric(Metric):
    """A metric that is computed from the per-sample rows of a run; ``name`` is its name in claims and exports.

    ``scores`` returns one score per sample of a cell, or None where the cell has no such rows. They come from the
    ``columns`` of the table ``samples/<table>``, whose rows are found by the columns ``by``, and from the
    ``cell_columns`` of ``cells.parquet``. ``about`` is the definition with its source.

    ``share``: the scores are decisions, 0 or 1. ``outputs``: the outputs of the attacks that have such scores.
    ``once_per``: the scores do not depend on the evaluated model, so of all cells with the same key only one counts.
    ``missing``: why a cell that ended well can have no such scores.
    """

    name: str
    about: str
    scores: ScoreFunction
    table: str
    by: tuple[str, ...]
    columns: tuple[str, ...]
    cell_columns: tuple[str, ...] = ()
    share: bool = False
    outputs: frozenset[str] = _ANY
    once_per: Callable[[CellRow], Hashable] | None = None
    missing: str = "the rows of the cell hold no such number"

    @property
    def source(self) -> str:
        """The table and the columns that the scores are computed from, as text for a reader."""
        text = f"samples/{self.table} by {', '.join(self.by)}: {', '.join(self.columns)}"
        return f"{text}; {', '.join(self.cell_columns)} of cells.parquet" if self.cell_columns else text

    def of(self, cells: Iterable[CellRow]) -> list[CellRow]:
        """Return the cells that count for this metric, in order."""
        cells = [c for c in cells if c.outputs in self.outputs]
        if self.once_per is None:
            return cells
        chosen: dict[Hashable, CellRow] = {}
        for cell in cells:
            key = self.once_per(cell)
            if key not in chosen or (chosen[key].status != "ok" and cell.status == "ok"):
                chosen[key] = cell
        return list(chosen.values())


def select(rows: Rows, **where: Any) -> list[CellRow]:
    """Return the cells whose fields equal the given values, in the suite's order; a collection matches any member.

    Raises TypeError for a name that is not a field of `CellRow`.
    """
    unknown = sorted(set(where) - CellRow.__dataclass_fields__.keys())
    if unknown:
        raise TypeError(f"expected fields of a cell, got {', '.join(unknown)}")
    wanted = {k: v if isinstance(v, list | tuple | set | frozenset) else (v,) for k, v in where.items()}
    return [c for c in rows.cells if all(getattr(c, k) in v for k, v in wanted.items())]


def measure(
    rows: Rows,
    cells: Sequence[CellRow],
    metric: SampleMetric | str,
    *,
    sigma: float | None = None,
    kappa: float | None = None,
    paper: float | None = None,
    role: Role | None = None,
) -> Measurement:
    """Return the measurement of a metric over all samples of all cells; one without a value has a reason instead.

    ``role`` is by default the role that the cells share. The interval is Wilson's for the decisions of one cell,
    otherwise a bootstrap over the people whose faces the samples show.
    """
    metric = metric_named(metric) if isinstance(metric, str) else metric
    at = OperatingPoint(sigma=sigma, kappa=kappa)
    cells = metric.of(cells)
    key = (metric.name, sigma, kappa, tuple(c.cell for c in cells))
    if key not in rows.measurements:
        pool, without = pooled(rows, cells, metric, at)
        rows.measurements[key] = measurement_of(pool, cells, without, metric, at)
    found = rows.measurements[key]
    role, paper = role or found.role, None if found.value is None else paper
    if (role, paper) == (found.role, found.paper):
        return found
    return replace(found, role=role, paper=paper, paper_of="" if paper is None else paper_quantity(metric.name))


def measurement_of(
    pool: Pool, cells: Sequence[CellRow], without: Sequence[CellRow], metric: SampleMetric, at: OperatingPoint
) -> Measurement:
    """Return the measurement of pooled scores, with the role that the cells share.

    ``cells`` are all cells that count, ``without`` the ones among them that have no scores.
    """
    about: dict[str, Any] = {"role": _one({c.role for c in cells}) or "any", "cells": tuple(c.cell for c in cells)}
    about |= {"attack": _one({c.attack for c in cells}) or "", "metric": metric.name, "at": str(at)}
    status, reason = _why_absent(without, metric)
    measured = len(cells) - len(without)
    if not measured:
        return Measurement(status=status, reason=reason, **about)
    if pool.infinite and not pool.n + pool.undefined:
        reason = f"the images equal the originals: {metric.label} is infinite"
        return Measurement(status="infinite", reason=reason, **about)
    method: Literal["Wilson", "bootstrap"] = "Wilson" if metric.share and measured == 1 else "bootstrap"
    notes = [f"without {plural(pool.infinite, 'image')} for which it is infinite"] if pool.infinite else []
    if without:
        others = f"the others: {status}, {reason or 'no reason was recorded'}"
        notes.append(f"{measured} of {plural(len(cells), 'cell')}; {others}")
    return replace(mean(pool, method=method, share=metric.share, **about), note="; ".join(notes) or None)


def pooled(
    rows: Rows, cells: Iterable[CellRow], metric: SampleMetric, at: OperatingPoint
) -> tuple[Pool, list[CellRow]]:
    """Pool the scores of cells, and return the cells that have none; only one cell's scores are in memory at a time."""
    pool, without = Pool(), []
    for cell in cells:
        scores = metric.scores(rows, cell, at)
        if scores is None:
            without.append(cell)
        else:
            pool.add(scores)
    return pool, without


def _why_absent(cells: Sequence[CellRow], metric: SampleMetric) -> tuple[str, str | None]:
    """Return the status and the reason of cells without scores; a cell that did not end well decides first."""
    if cells and all(c.status == "ok" for c in cells):
        return "missing", metric.missing
    return why_absent(cells)


def _one(values: set[Any]) -> Any:
    return next(iter(values)) if len(values) == 1 else None


# ---- the registry ----------------------------------------------------------------------------------------------------


def _of_pairs(
    *,
    scores: Callable[[VerificationScores, CellRow, OperatingPoint], Floats | None],
    share: bool = True,
    **about: Any,
) -> SampleMetric:
    """Build a metric of verification pairs; most of them are decisions."""
    found = sample_values.scored(scores)
    return SampleMetric(scores=found, table="verification", by=("cell",), outputs=_RECOGNISED, share=share, **about)


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
        missing="the rows hold no impostor pairs",
        unit="%",
        digits=1,
    )


def _of_images(column: str, **about: Any) -> SampleMetric:
    """Build a metric of images, whose score is a column of their rows."""
    about = {"name": column, "columns": (column,), **about}
    scores = sample_values.of_image(column)
    return SampleMetric(scores=scores, table="images", by=UPLOAD, once_per=lambda c: c.upload_key, **about)


def _of_noise(*, utility: bool, privacy: Literal["dist", "lpips"] | None, **about: Any) -> SampleMetric:
    """Build a metric of Equation 9 from the terms that it adds up."""
    columns = (*(["cosine"] if utility else []), *([privacy] if privacy else []))
    missing = _NO_LPIPS if privacy == "lpips" else "no attribute was estimated with noise on what is uploaded"
    return SampleMetric(
        scores=sample_values.of_up(utility, privacy),
        table="up",
        by=("cell", "sigma"),
        columns=columns,
        outputs=_ESTIMATED,
        digits=3,
        better="higher",
        missing=missing,
        **about,
    )


def _of_attributes(
    attribute: str, column: Literal["value", "permuted", "excess", "baseline"], **about: Any
) -> SampleMetric:
    """Build a metric of one estimated attribute."""
    missing = f"the attack estimates no {attribute}"
    if column in ("permuted", "excess"):
        missing += ", or the run is older than its permuted answers, which bench rescore adds"
    return SampleMetric(
        scores=sample_values.of_attribute(attribute, column),
        table="attributes",
        by=("cell", "attribute"),
        columns=("value", "permuted") if column == "excess" else (column,),
        outputs=_ESTIMATED,
        once_per=lambda c: (c.upload_key, c.attack),
        missing=missing,
        **about,
    )


_NO_RANKS = "the rows hold no ranks"
_NO_FOLDS = "scores are not finite, or all in one fold"
_NO_LPIPS = "LPIPS needs the VGG-16 weights, which were not there when this was run"
_PERCENT: dict[str, Any] = {"unit": "%", "digits": 1}
_VERIFICATION = (
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
        **_PERCENT,
    ),
    _of_pairs(
        name="clean-accuracy-fixed",
        about="Equation 10 with x₁ in place of x̃₁, on the same pairs, at the fixed κ.",
        label="clean accuracy at the fixed κ",
        better="higher",
        scores=lambda s, c, _: s.clean_hits(c.kappa),
        columns=("cos_clean", "same"),
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
        scores=lambda s, _, at: s.clean_hits(at.kappa) - s.hits(at.kappa),
        columns=("cos_self", "cos_cross", "cos_clean", "same", "kappa_calibrated"),
        share=False,
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
_RECOGNITION = (
    _of_pairs(
        name="cosine",
        about="COS: cosine of the embeddings of what the attack ends with and of the original (section 6.2).",
        label="cosine",
        digits=3,
        better="split",
        scores=lambda s, *_: s.cos_self,
        columns=("cos_self",),
        share=False,
    ),
    _of_pairs(
        name="srra",
        about="Success rate of the reconstruction attack: COS above the calibrated κ (section 6.2).",
        label="SRRA",
        better="higher",
        scores=lambda s, _, at: sample_values.above(s, at.kappa),
        columns=("cos_self", "kappa_calibrated"),
    ),
    _of_pairs(
        name="srra-fixed",
        about="Success rate of the reconstruction attack: COS above the fixed κ of the experiment.",
        label="SRRA at the fixed κ",
        better="higher",
        scores=lambda s, c, _: sample_values.above(s, c.kappa),
        columns=("cos_self",),
        cell_columns=("kappa",),
    ),
    _of_pairs(
        name="rank-1",
        about="Re-identification: the own original is the most similar of all originals. Chance is 1 / their number.",
        label="re-identified at rank 1",
        better="lower",
        scores=lambda s, *_: sample_values.first(s.rank),
        columns=("rank", "gallery"),
        missing=_NO_RANKS,
        **_PERCENT,
    ),
    _of_pairs(
        name="rank-1-enrolled",
        about="Re-identification in genuine pairs: another picture of the person is the most similar of all enrolled "
        "ones.",
        label="enrolled picture at rank 1",
        better="lower",
        scores=lambda s, *_: sample_values.first(s.rank_enrolled),
        columns=("rank_enrolled", "gallery"),
        missing=_NO_RANKS,
        **_PERCENT,
    ),
    _of_pairs(
        name="fmr-match",
        about="Re-identification: similarity to the original above the threshold of the calibrated false match rate.",
        label="matched at the calibrated FMR",
        better="lower",
        scores=lambda s, *_: sample_values.above(s, None),
        columns=("cos_self", "kappa_calibrated", "fmr"),
        **_PERCENT,
    ),
)
_PICTURES = (
    _of_images(
        "ssim",
        about=f"SSIM to the original (Wang et al. 2004): {images.SSIM_VARIANT}.",
        label="SSIM",
        digits=3,
        better="lower",
    ),
    _of_images(
        "psnr",
        about="10 log₁₀(255² / mean squared error); infinite values are counted, never averaged.",
        label="PSNR",
        unit="dB",
        better="lower",
        columns=("psnr", "psnr_infinite"),
    ),
    _of_images(
        "lpips",
        about="LPIPS distance to the original (Zhang et al. 2018, VGG).",
        label="LPIPS",
        digits=3,
        better="higher",
        missing=_NO_LPIPS,
    ),
    _of_images(
        "upload_bytes",
        name="upload-bytes",
        about="What leaves the client per face.",
        label="upload",
        unit="bytes",
        digits=0,
        better="lower",
    ),
)
_TRADEOFF = (
    _of_noise(
        name="up",
        about="UP(σ, κ) of Equation 9 with the distances of the estimated attributes m_i.",
        label="UP",
        utility=True,
        privacy="dist",
    ),
    _of_noise(
        name="up-lpips",
        about="UP(σ, κ) of Equation 9 with LPIPS in place of the m_i (section 6.2): the paper's.",
        label="UP by LPIPS",
        utility=True,
        privacy="lpips",
    ),
    _of_noise(
        name="utility",
        about="The first term of Equation 9: cos(f(x̃), f(x)) > κ, with noise σ on both.",
        label="utility",
        utility=True,
        privacy=None,
        share=True,
    ),
    _of_noise(
        name="privacy",
        about="The second term of Equation 9: the mean distance of the estimated attributes.",
        label="privacy",
        utility=False,
        privacy="dist",
    ),
    _of_noise(
        name="privacy-lpips",
        about="The second term of Equation 9 with LPIPS in place of the m_i.",
        label="privacy by LPIPS",
        utility=False,
        privacy="lpips",
    ),
    _of_attributes(
        AGE,
        "value",
        name="age-difference",
        about="Absolute difference of the estimated ages of what the attack sees and of the original.",
        label="age difference",
        unit="years",
        better="higher",
    ),
)
METRICS: Mapping[str, SampleMetric] = {m.name: m for m in (*_VERIFICATION, *_RECOGNITION, *_PICTURES, *_TRADEOFF)}


@cache
def metric_named(name: str) -> SampleMetric:
    """Return a metric by name: one of `METRICS`, or a family and an attribute, such as ``permuted:age``.

    Where a classifier estimates groups instead of races, ``race`` means its groups. Raises `SuiteError` for an unknown
    name.
    """
    check_metric_name(name)
    family, _, attribute = name.partition(":")
    return _attribute_metric(family, attribute) if attribute else METRICS[name]


# The columns of the metrics of an attribute, whose answer each compares with that on the original, and their labels.
_ATTRIBUTE_ROWS: Mapping[str, tuple[Literal["value", "permuted", "excess", "baseline"], str, str]] = {
    "similarity": ("value", "what the attack sees", ""),
    "permuted": ("permuted", "what the attack sees of every other person (mean)", " of permuted answers"),
    "excess": ("excess", "what the attack sees, minus the same with permuted answers,", " beyond permuted answers"),
    "baseline": ("baseline", "the best constant answer", " of a constant predictor"),
}


def _attribute_metric(family: str, attribute: str) -> SampleMetric:
    years = attribute == AGE
    column, answer, label = _ATTRIBUTE_ROWS[family]
    what = "Absolute difference of the estimated ages of" if years else f"Cosine of the {attribute} vectors of"
    return _of_attributes(
        attribute,
        column,
        name=f"{family}:{attribute}",
        about=f"{what} {answer} and of the original{'' if years else ' (Equation 11)'}.",
        label=f"{attribute} {'difference' if years else 'similarity'}{label}",
        unit="years" if years else "",
        better="higher" if years else "lower",
    )


@cache
def extra_metric(column: str) -> SampleMetric:
    """Return the metric of a column that a plugin added to the rows of images, such as ``extra_loss_end``."""
    return _of_images(column, about="A number of the plugin's own.", label=column, digits=4)
