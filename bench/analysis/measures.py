"""The registry of metrics, and how the per-sample rows of some cells become one measurement.

A `SampleMetric` says which score each sample of a cell has. `measure` pools the scores of several cells into a
`Measurement`: a value with N and a 95 % interval. Tables, charts and claims select different cells, but every one of
them calls `measure`, so that they all count in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import pandas as pd

from bench.analysis import link_areas, link_chance, sample_values
from bench.analysis.cells import UPLOAD, CellRow
from bench.analysis.pair_metrics import CHANCE, RECOGNITION, VERIFICATION
from bench.analysis.paper_values import paper_quantity
from bench.analysis.plugin_metrics import metrics_of, set_measurement
from bench.analysis.pooling import Floats, Pool, SummedScores, mean, summed
from bench.analysis.rows import Rows, why_absent
from bench.analysis.sample_metric import ESTIMATED, LINKED
from bench.analysis.sample_metric import SampleMetric as SampleMetric
from bench.analysis.sample_values import OperatingPoint
from bench.analysis.table_model import Better, Measurement, Role
from bench.core.text import plural
from bench.metrics import images
from bench.metrics.vocabulary import IMAGE_METRICS, check_metric_name

AGE = "age"
_OLDER = "scored by an older version: threshold of clean faces, chance not measured; update the run with bench rescore"


def select(rows: Rows, **where: Any) -> list[CellRow]:
    """Return the cells whose fields equal the given values, in the suite's order; a collection matches any member.

    Raises TypeError for a name that is not a field of `CellRow`.
    """
    unknown = sorted(set(where) - CellRow.__dataclass_fields__.keys())
    if unknown:
        raise TypeError(f"expected fields of a cell, got {', '.join(unknown)}")
    experiment = where.get("experiment")
    found = rows.of_experiment(experiment) if isinstance(experiment, str) else rows.cells
    for name, wanted in where.items():
        values = wanted if isinstance(wanted, list | tuple | set | frozenset) else (wanted,)
        found = [c for c in found if getattr(c, name) in values]
    return list(found)


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

    ``role`` is by default the role that the cells share. The interval is Wilson's for decisions that show every
    person once, otherwise it is clustered by the people whom the samples show.
    """
    metric = metric_in(rows, metric) if isinstance(metric, str) else metric
    at = OperatingPoint(sigma=sigma, kappa=kappa)
    cells = metric.of(cells)
    key = (metric.name, sigma, kappa, tuple(c.cell for c in cells))
    if key not in rows.measurements and metric.of_set:
        rows.measurements[key] = set_measurement(rows, cells, metric)
    if key not in rows.measurements:
        pool, without = pooled(rows, cells, metric, at)
        rows.measurements[key] = measurement_of(rows, pool, cells, without, metric, at)
    found = rows.measurements[key]
    role, paper = role or found.role, None if found.value is None else paper
    if (role, paper) == (found.role, found.paper):
        return found
    return replace(found, role=role, paper=paper, paper_of="" if paper is None else paper_quantity(metric.name))


def measurement_of(
    rows: Rows,
    pool: Pool,
    cells: Sequence[CellRow],
    without: Sequence[CellRow],
    metric: SampleMetric,
    at: OperatingPoint,
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
    notes = [f"without {plural(pool.infinite, 'image')} for which it is infinite"] if pool.infinite else []
    if without:
        others = f"the others: {status}, {reason or 'no reason was recorded'}"
        notes.append(f"{measured} of {plural(len(cells), 'cell')}; {others}")
    if older := _older_note(rows, cells, metric):
        notes.append(older)
    change = metric.change and not all(c.clean for c in cells)  # Without protection, nothing can change.
    found = mean(pool, share=metric.share, change=change, **about)
    low, high = metric.within(found.low, found.high)
    return replace(found, low=low, high=high, note="; ".join(notes) or None)


def _older_note(rows: Rows, cells: Iterable[CellRow], metric: SampleMetric) -> str | None:
    """Return a note if a metric needs columns that an older version did not write for one of the cells, else None.

    Something else stands in their place (see `bench.analysis.verification_scores.VerificationScores`).
    """
    return _OLDER if metric.needs_newer and any(rows.scores.older(c.cell) for c in cells) else None


def pooled(
    rows: Rows, cells: Iterable[CellRow], metric: SampleMetric, at: OperatingPoint
) -> tuple[Pool, list[CellRow]]:
    """Pool the scores of cells, and return the cells that have none; only one cell's scores are in memory at a time."""
    pool, without = Pool(), []
    for cell in cells:
        scores = sums_of(rows, cell, metric, at)
        if scores is None:
            without.append(cell)
        else:
            pool.add_sums(scores)
    return pool, without


def sums_of(rows: Rows, cell: CellRow, metric: SampleMetric, at: OperatingPoint) -> SummedScores | None:
    """Return the sums of the scores of a cell, or None if it has none. A table, its averages and the charts pool the
    same cells, so the sums of the cells that were used last are kept."""

    def made() -> SummedScores | None:
        scores = metric.scores(rows, cell, at)
        return None if scores is None else summed(scores)

    return rows.sums.get((metric.name, at, cell.cell), made)


def _why_absent(cells: Sequence[CellRow], metric: SampleMetric) -> tuple[str, str | None]:
    """Return the status and the reason of cells without scores; a cell that did not end well decides first."""
    if cells and all(c.status == "ok" for c in cells):
        return "missing", metric.missing
    return why_absent(cells)


def _one(values: set[Any]) -> Any:
    return next(iter(values)) if len(values) == 1 else None


# ---- the registry ----------------------------------------------------------------------------------------------------


def _of_images(column: str, **about: Any) -> SampleMetric:
    """Build a metric of images, whose score is a column of their rows."""
    about = {"name": column, "columns": (column,), **about}
    scores = sample_values.of_image(column)
    lower, higher = ("lower", "higher") if about.get("better") == "lower" else ("higher", "lower")
    if column in IMAGE_METRICS:
        about["directions"] = {"recognition": lower, "template": lower, "appearance": higher, "anonymity": higher}
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
        outputs=ESTIMATED,
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
    hidden: Better = about["better"]
    shown: Better = "lower" if hidden == "higher" else "higher"
    about["directions"] = {"recognition": hidden, "template": hidden, "anonymity": shown}
    if column in ("permuted", "excess"):
        missing += ", or the run is older than its permuted answers, which bench rescore adds"
    return SampleMetric(
        scores=sample_values.of_attribute(attribute, column),
        table="attributes",
        by=("cell", "attribute"),
        columns=("value", "permuted") if column == "excess" else (column,),
        outputs=ESTIMATED,
        once_per=lambda c: (c.upload_key, c.attack),
        missing=missing,
        **about,
    )


_OfLinks = Callable[[Rows, CellRow, pd.DataFrame], Floats | None]


def _of_links(*, scores: _OfLinks, pulls: _OfLinks | None = None, **about: Any) -> SampleMetric:
    """Build a metric of pairs of two uploads."""
    chance = about.get("chance", False)
    second = link_chance.second_people if chance else sample_values.right_people
    found = sample_values.of_links(scores, second, pulls)
    better = "" if chance else "lower"
    about |= {"better": better, "outputs": LINKED, "missing": "the attack links no uploads", "bounds": (0.0, 1.0)}
    return SampleMetric(scores=found, table="links", by=("cell",), **about)


_PERCENT: dict[str, Any] = {"unit": "%", "digits": 1}
_FROM_ZERO = (0.0, math.inf)
_NO_LPIPS = "LPIPS needs the VGG-16 weights, which were not there when this was run"
_PICTURES = (
    _of_images(
        "ssim",
        about=f"SSIM to the original (Wang et al. 2004): {images.SSIM_VARIANT}.",
        label="SSIM",
        digits=3,
        better="lower",
        bounds=(-1.0, 1.0),
    ),
    _of_images(
        "psnr",
        about="10 log₁₀(255² / mean squared error); infinite values are counted, never averaged.",
        label="PSNR",
        unit="dB",
        better="lower",
        bounds=_FROM_ZERO,
        columns=("psnr", "psnr_infinite"),
    ),
    _of_images(
        "lpips",
        about="LPIPS distance to the original (Zhang et al. 2018, VGG).",
        label="LPIPS",
        digits=3,
        better="higher",
        bounds=_FROM_ZERO,
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
        bounds=_FROM_ZERO,
    ),
)
_TRADEOFF = (
    _of_noise(
        name="up",
        about="UP(σ, κ) of Equation 9 with the distances of the estimated attributes m_i.",
        label="UP",
        bounds=(0.0, 2.0),
        utility=True,
        privacy="dist",
    ),
    _of_noise(
        name="up-lpips",
        about="UP(σ, κ) of Equation 9 with LPIPS in place of the m_i (section 6.2): the paper's.",
        label="UP by LPIPS",
        bounds=_FROM_ZERO,
        utility=True,
        privacy="lpips",
    ),
    _of_noise(
        name="utility",
        about="The first term of Equation 9: cos(f(x̃), f(x)) > κ, with noise σ on both.",
        label="utility",
        bounds=(0.0, 1.0),
        utility=True,
        privacy=None,
        share=True,
    ),
    _of_noise(
        name="privacy",
        about="The second term of Equation 9: the mean distance of the estimated attributes.",
        label="privacy",
        bounds=(0.0, 1.0),
        utility=False,
        privacy="dist",
    ),
    _of_noise(
        name="privacy-lpips",
        about="The second term of Equation 9 with LPIPS in place of the m_i.",
        label="privacy by LPIPS",
        bounds=_FROM_ZERO,
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
        bounds=_FROM_ZERO,
    ),
)
_OF_CHANCE = ("score", "alike", "alike_subject", "permuted", "same", "left_subject", "right_subject")
_DIFFERENT = (
    "first uploads with a second one of somebody else in the same known groups, such as gender; where fewer than "
    f"{link_chance.FEWEST} such pairs are known, of all pairs if the second upload of each is that of another pair."
)
_LINKS = (
    _of_links(
        name="link-auc",
        about="Area under the ROC curve of the adversary's link scores: the share of pairs of two uploads of different "
        "people that score lower than a pair of one person (equal ones count half).",
        label="link AUC",
        columns=("auc", "score", "same"),
        scores=link_areas.auc,
        pulls=link_areas.auc_pulls,
        digits=3,
    ),
    _of_links(
        name="link-match",
        about="Share of pairs of two uploads of one person whose link score exceeds the threshold that the adversary "
        "sets on pairs of other people, for the requested false match rate: the true positive rate at this rate.",
        label="linked",
        columns=("score", "kappa", "same"),
        scores=lambda _, __, t: sample_values.linked(t),
        share=True,
        sampled=True,
        **_PERCENT,
    ),
    _of_links(
        name="link-auc-chance",
        about=f"The link AUC of {_DIFFERENT}",
        label="link AUC by chance",
        columns=_OF_CHANCE,
        scores=link_areas.auc_by_chance,
        pulls=link_areas.auc_pulls_by_chance,
        digits=3,
        chance=True,
    ),
    _of_links(
        name="link-match-chance",
        about=f"The share that is linked of {_DIFFERENT}",
        label="linked by chance",
        columns=(*_OF_CHANCE, "kappa"),
        scores=link_chance.linked_by_chance,
        share=True,
        chance=True,
        **_PERCENT,
    ),
)
METRICS: Mapping[str, SampleMetric] = {
    m.name: m for m in (*VERIFICATION, *RECOGNITION, *CHANCE, *_PICTURES, *_TRADEOFF, *_LINKS)
}


@cache
def metric_named(name: str) -> SampleMetric:
    """Return a metric by name: one of `METRICS`, or a family and an attribute, such as ``permuted:age``.

    Where a classifier estimates groups instead of races, ``race`` means its groups. Raises `SuiteError` for an unknown
    name.
    """
    check_metric_name(name)
    family, _, attribute = name.partition(":")
    return _attribute_metric(family, attribute) if attribute else METRICS[name]


def metric_in(rows: Rows, name: str) -> SampleMetric:
    """Return a metric by name: one of bench, as `metric_named` does, or one of a plugin that the run computed."""
    found = None if name in METRICS else metrics_of(rows).get(name)
    return found or metric_named(name)


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
    least, most = _FROM_ZERO if years else (-1.0, 1.0)
    return _of_attributes(
        attribute,
        column,
        name=f"{family}:{attribute}",
        about=f"{what} {answer} and of the original{'' if years else ' (Equation 11)'}.",
        label=f"{attribute} {'difference' if years else 'similarity'}{label}",
        unit="years" if years else "",
        better="higher" if years else "lower",
        bounds=(least - most, most - least) if column == "excess" else (least, most),
    )


@cache
def extra_metric(column: str) -> SampleMetric:
    """Return the metric of a column that a plugin added to the rows of images, such as ``extra_loss_end``."""
    return _of_images(column, about="A number of the plugin's own.", label=column, digits=4)
