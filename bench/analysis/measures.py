"""What the report measures: the one place where per-sample rows become numbers.

A `Measure` says which values a cell has, one per sample; `figure` pools the values of some cells to a `Figure` with N
and a 95 % interval. Tables, plots and claims differ in the cells that they select, never in how they count.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from bench.analysis import sample_values
from bench.analysis.pooling import Floats, Pool, mean
from bench.analysis.rows import CellRow, Rows, Scores, why_absent
from bench.analysis.sample_values import At, Values
from bench.analysis.table_model import Figure, Quantity, Role
from bench.core.text import plural
from bench.metrics import images
from bench.metrics.vocabulary import check_metric_name

AGE = "age"
_VERIFICATION = "samples/verification by cell"
_IMAGES = "samples/images by experiment, dataset, defense, authorised, repeat, attack"
_ATTRIBUTES = "samples/attributes by cell, attribute"
_UP = "samples/up by cell, sigma"


_RECOGNISED = frozenset({"recognition", "images"})
_ESTIMATED = frozenset({"attributes"})
_ANY = _RECOGNISED | _ESTIMATED


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure: ``values`` gives one number per sample of a cell, or none where the cell has no such rows.

    ``share``: the numbers are decisions, 0 or 1. ``outputs``: which attacks have such numbers. ``once_per``: the
    numbers do not depend on the evaluated model, so of the cells that share this key one counts. ``missing`` says why
    a cell that ended well can be without the number.
    """

    name: str
    about: str
    quantity: Quantity
    values: Values
    source: str
    share: bool = False
    outputs: frozenset[str] = _ANY
    once_per: Callable[[CellRow], Hashable] | None = None
    missing: str = "the rows of the cell hold no such number"

    def of(self, cells: Iterable[CellRow]) -> list[CellRow]:
        """Those of the cells that count, in order."""
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
    """The cells whose fields have the given values, in the suite's order; a collection means any of its members.

    Raises TypeError for what is no field of `CellRow`.
    """
    unknown = sorted(set(where) - CellRow.__dataclass_fields__.keys())
    if unknown:
        raise TypeError(f"expected fields of a cell, got {', '.join(unknown)}")
    wanted = {k: v if isinstance(v, list | tuple | set | frozenset) else (v,) for k, v in where.items()}
    return [c for c in rows.cells if all(getattr(c, k) in v for k, v in wanted.items())]


def figure(
    rows: Rows,
    cells: Sequence[CellRow],
    measure: Measure | str,
    *,
    sigma: float | None = None,
    kappa: float | None = None,
    paper: float | None = None,
    role: Role | None = None,
) -> Figure:
    """All samples of all cells together; the reason where there is none. ``role`` is by default that of the cells.

    Wilson's interval for the decisions of one cell, otherwise a bootstrap over the people that the samples show.
    """
    measure = measure_named(measure) if isinstance(measure, str) else measure
    at = At(sigma=sigma, kappa=kappa)
    cells = measure.of(cells)
    key = (measure.name, sigma, kappa, tuple(c.cell for c in cells))
    if key not in rows.figures:
        rows.figures[key] = _figure(rows, cells, measure, at)
    found = rows.figures[key]
    role, paper = role or found.role, None if found.value is None else paper
    return found if (role, paper) == (found.role, found.paper) else replace(found, role=role, paper=paper)


def _figure(rows: Rows, cells: Sequence[CellRow], measure: Measure, at: At) -> Figure:
    """The figure of cells that count."""
    pool, without = pooled(rows, cells, measure, at)
    return figure_of(pool, cells, without, measure, at)


def figure_of(pool: Pool, cells: Sequence[CellRow], without: Sequence[CellRow], measure: Measure, at: At) -> Figure:
    """The figure of the pooled values of cells that count, with the role that they share; ``without`` are those of the
    cells that have no values."""
    about: dict[str, Any] = {"role": _one({c.role for c in cells}) or "any", "cells": tuple(c.cell for c in cells)}
    about |= {"attack": _one({c.attack for c in cells}) or "", "measure": measure.name, "at": str(at)}
    status, reason = _why_absent(without, measure)
    measured = len(cells) - len(without)
    if not measured:
        return Figure(status=status, reason=reason, **about)
    if pool.infinite and not pool.n + pool.undefined:
        reason = f"the images equal the originals: {measure.quantity.name} is infinite"
        return Figure(status="infinite", reason=reason, **about)
    method: Literal["Wilson", "bootstrap"] = "Wilson" if measure.share and measured == 1 else "bootstrap"
    notes = [f"without {plural(pool.infinite, 'image')} for which it is infinite"] if pool.infinite else []
    if without:
        others = f"the others: {status}, {reason or 'no reason given'}"
        notes.append(f"{measured} of {plural(len(cells), 'cell')}; {others}")
    return replace(mean(pool, method=method, share=measure.share, **about), note="; ".join(notes) or None)


def pooled(rows: Rows, cells: Iterable[CellRow], measure: Measure, at: At) -> tuple[Pool, list[CellRow]]:
    """The values of cells, and the cells that have none; the values of one cell at a time are in memory."""
    pool, without = Pool(), []
    for cell in cells:
        part = measure.values(rows, cell, at)
        if part is None:
            without.append(cell)
        else:
            pool.add(part)
    return pool, without


def _why_absent(cells: Sequence[CellRow], measure: Measure) -> tuple[str, str | None]:
    """Status and reason of the cells without such a number; those that did not end well first."""
    if cells and all(c.status == "ok" for c in cells):
        return "missing", measure.missing
    return why_absent(cells)


def _one(values: set[Any]) -> Any:
    return next(iter(values)) if len(values) == 1 else None


# ---- the registry ----------------------------------------------------------------------------------------------------


def _accuracy(name: str) -> Quantity:
    return Quantity(name=name, unit="%", digits=1, better="split")


def _percent(name: str, better: Literal["higher", "lower"]) -> Quantity:
    return Quantity(name=name, unit="%", digits=1, better=better)


def _of_pairs(
    *, values: Callable[[Scores, CellRow, At], Floats | None], columns: str, share: bool = True, **about: Any
) -> Measure:
    """A measure of verification rows, which says which columns it takes; usually a decision."""
    source = f"{_VERIFICATION}: {columns}"
    return Measure(values=sample_values.scored(values), source=source, outputs=_RECOGNISED, share=share, **about)


_NO_RANKS = "the rows hold no ranks"
_NO_LPIPS = "LPIPS needs the VGG-16 weights, which were not there when this was run"
_RECOGNITION = (
    _of_pairs(
        name="accuracy",
        about="Equation 10: cos(f(x̃₁), f(x₁)) > κ and (cos(f(x̃₁), f(x₂)) > κ) = (same person), κ calibrated.",
        quantity=_accuracy("accuracy"),
        values=lambda s, _, at: s.hits(at.kappa),
        columns="cos_self, cos_cross, same, kappa_calibrated",
    ),
    _of_pairs(
        name="accuracy-fixed",
        about="Equation 10 at the fixed κ of the experiment.",
        quantity=_accuracy("accuracy at the fixed κ"),
        values=lambda s, c, _: s.hits(c.kappa),
        columns="cos_self, cos_cross, same; kappa of cells.parquet",
    ),
    _of_pairs(
        name="clean-accuracy",
        about="Equation 10 with x₁ in place of x̃₁, on the same pairs, κ calibrated.",
        quantity=_percent("clean accuracy", "higher"),
        values=lambda s, _, at: s.clean_hits(at.kappa),
        columns="cos_clean, same, kappa_calibrated",
    ),
    _of_pairs(
        name="clean-accuracy-fixed",
        about="Equation 10 with x₁ in place of x̃₁, on the same pairs, at the fixed κ.",
        quantity=_percent("clean accuracy at the fixed κ", "higher"),
        values=lambda s, c, _: s.clean_hits(c.kappa),
        columns="cos_clean, same; kappa of cells.parquet",
    ),
    _of_pairs(
        name="accuracy-drop",
        about="Clean accuracy minus accuracy, pair by pair.",
        quantity=Quantity(name="drop from clean", unit="points", digits=1, better="lower"),
        values=lambda s, _, at: s.clean_hits(at.kappa) - s.hits(at.kappa),
        columns="cos_self, cos_cross, cos_clean, same, kappa_calibrated",
        share=False,
    ),
    _of_pairs(
        name="ten-fold",
        about="10-fold verification accuracy of protected against clean faces (Huang et al. 2007, LFW, view 2).",
        quantity=_accuracy("10-fold accuracy"),
        values=lambda s, *_: sample_values.ten_fold(s.flip_cross, s),
        columns="flip_cross, same, fold",
        missing="scores are not finite, or all in one fold",
    ),
    _of_pairs(
        name="clean-ten-fold",
        about="10-fold verification accuracy of clean faces.",
        quantity=_percent("clean 10-fold accuracy", "higher"),
        values=lambda s, *_: sample_values.ten_fold(s.flip_clean, s),
        columns="flip_clean, same, fold",
        missing="scores are not finite, or all in one fold",
    ),
    _of_pairs(
        name="cosine",
        about="COS: cosine of the embeddings of what the attack ends with and of the original (section 6.2).",
        quantity=Quantity(name="cosine", digits=3, better="split"),
        values=lambda s, *_: s.cos_self,
        columns="cos_self",
        share=False,
    ),
    _of_pairs(
        name="srra",
        about="Success rate of the reconstruction attack: COS above the calibrated κ (section 6.2).",
        quantity=Quantity(name="SRRA", digits=2, better="higher"),
        values=lambda s, _, at: sample_values.above(s, at.kappa),
        columns="cos_self, kappa_calibrated",
    ),
    _of_pairs(
        name="srra-fixed",
        about="Success rate of the reconstruction attack: COS above the fixed κ of the experiment.",
        quantity=Quantity(name="SRRA at the fixed κ", digits=2, better="higher"),
        values=lambda s, c, _: sample_values.above(s, c.kappa),
        columns="cos_self; kappa of cells.parquet",
    ),
    _of_pairs(
        name="rank-1",
        about="Re-identification: the own original is the most similar of all originals. Chance is 1 / their number.",
        quantity=_percent("re-identified at rank 1", "lower"),
        values=lambda s, *_: sample_values.first(s.rank),
        columns="rank, gallery",
        missing=_NO_RANKS,
    ),
    _of_pairs(
        name="rank-1-enrolled",
        about="Re-identification: another picture of the person is the most similar of all enrolled ones.",
        quantity=_percent("enrolled picture at rank 1", "lower"),
        values=lambda s, *_: sample_values.first(s.rank_enrolled),
        columns="rank_enrolled (genuine pairs), gallery",
        missing=_NO_RANKS,
    ),
    _of_pairs(
        name="fmr-match",
        about="Re-identification: similarity to the original above the threshold of the calibrated false match rate.",
        quantity=_percent("matched at the calibrated FMR", "lower"),
        values=lambda s, *_: sample_values.above(s, None),
        columns="cos_self, kappa_calibrated, fmr",
    ),
)
_PICTURES = (
    Measure(
        name="ssim",
        about=f"SSIM to the original (Wang et al. 2004): {images.SSIM_VARIANT}.",
        quantity=Quantity(name="SSIM", digits=3, better="lower"),
        values=sample_values.of_image("ssim"),
        source=f"{_IMAGES}: ssim",
        once_per=lambda c: c.upload_key,
    ),
    Measure(
        name="psnr",
        about="10 log₁₀(255² / mean squared error); infinite values are counted, never averaged.",
        quantity=Quantity(name="PSNR", unit="dB", digits=2, better="lower"),
        values=sample_values.of_image("psnr"),
        source=f"{_IMAGES}: psnr, psnr_infinite",
        once_per=lambda c: c.upload_key,
    ),
    Measure(
        name="lpips",
        about="LPIPS distance to the original (Zhang et al. 2018, VGG).",
        quantity=Quantity(name="LPIPS", digits=3, better="higher"),
        values=sample_values.of_image("lpips"),
        source=f"{_IMAGES}: lpips",
        once_per=lambda c: c.upload_key,
        missing=_NO_LPIPS,
    ),
    Measure(
        name="upload-bytes",
        about="What leaves the client per face.",
        quantity=Quantity(name="upload", unit="bytes", digits=0, better="lower"),
        values=sample_values.of_image("upload_bytes"),
        source=f"{_IMAGES}: upload_bytes",
        once_per=lambda c: c.upload_key,
    ),
)
_NO_UP = "no attribute was estimated with noise on what is uploaded"
_TRADEOFF = (
    Measure(
        name="up",
        about="UP(σ, κ) of Equation 9 with the distances of the estimated attributes m_i.",
        quantity=Quantity(name="UP", digits=3, better="higher"),
        outputs=_ESTIMATED,
        values=sample_values.of_up(True, "dist"),
        source=f"{_UP}: cosine, dist",
        missing=_NO_UP,
    ),
    Measure(
        name="up-lpips",
        about="UP(σ, κ) of Equation 9 with LPIPS in place of the m_i (section 6.2): the paper's.",
        quantity=Quantity(name="UP by LPIPS", digits=3, better="higher"),
        outputs=_ESTIMATED,
        values=sample_values.of_up(True, "lpips"),
        source=f"{_UP}: cosine, lpips",
        missing=_NO_LPIPS,
    ),
    Measure(
        name="utility",
        about="The first term of Equation 9: cos(f(x̃), f(x)) > κ, with noise σ on both.",
        quantity=Quantity(name="utility", digits=3, better="higher"),
        outputs=_ESTIMATED,
        values=sample_values.of_up(True, None),
        source=f"{_UP}: cosine",
        share=True,
        missing=_NO_UP,
    ),
    Measure(
        name="privacy",
        about="The second term of Equation 9: the mean distance of the estimated attributes.",
        quantity=Quantity(name="privacy", digits=3, better="higher"),
        outputs=_ESTIMATED,
        values=sample_values.of_up(False, "dist"),
        source=f"{_UP}: dist",
        missing=_NO_UP,
    ),
    Measure(
        name="privacy-lpips",
        about="The second term of Equation 9 with LPIPS in place of the m_i.",
        quantity=Quantity(name="privacy by LPIPS", digits=3, better="higher"),
        outputs=_ESTIMATED,
        values=sample_values.of_up(False, "lpips"),
        source=f"{_UP}: lpips",
        missing=_NO_LPIPS,
    ),
    Measure(
        name="age-difference",
        about="Absolute difference of the estimated ages of what the attack sees and of the original.",
        quantity=Quantity(name="age difference", unit="years", digits=2, better="higher"),
        outputs=_ESTIMATED,
        once_per=lambda c: (c.upload_key, c.attack),
        values=sample_values.of_attribute(AGE, "value"),
        source=f"{_ATTRIBUTES}: value",
        missing="the attack estimates no age",
    ),
)
MEASURES: Mapping[str, Measure] = {m.name: m for m in (*_RECOGNITION, *_PICTURES, *_TRADEOFF)}


def measure_named(name: str) -> Measure:
    """A measure by name: one of `MEASURES`, ``similarity:<attribute>`` or ``floor:<attribute>``.

    Where a classifier knows groups and no races, ``race`` means its groups. Raises `SuiteError` for another name.
    """
    check_metric_name(name)
    family, _, attribute = name.partition(":")
    return _attribute_measure(family, attribute) if attribute else MEASURES[name]


def _attribute_measure(family: str, attribute: str) -> Measure:
    floor = family == "floor"
    years = attribute == AGE
    of = "a constant predictor and" if floor else "what the attack sees and of"
    what = "Absolute difference of the estimated ages of" if years else f"Cosine of the {attribute} vectors of"
    return Measure(
        name=f"{family}:{attribute}",
        about=f"{what} {of} the original{'' if years else ' (Equation 11)'}.",
        quantity=Quantity(
            name=f"{attribute} {'difference' if years else 'similarity'}{' of a constant predictor' if floor else ''}",
            unit="years" if years else "",
            digits=2,
            better="higher" if years else "lower",
        ),
        outputs=_ESTIMATED,
        once_per=lambda c: (c.upload_key, c.attack),
        values=sample_values.of_attribute(attribute, "floor" if floor else "value"),
        source=f"{_ATTRIBUTES}: {'floor' if floor else 'value'}",
        missing=f"the attack estimates no {attribute}",
    )


def extra_measure(column: str) -> Measure:
    """A number of a plugin's own, such as ``extra_loss_end``."""
    return Measure(
        name=column,
        about="A number of the plugin's own.",
        quantity=Quantity(name=column, digits=4),
        values=sample_values.of_image(column),
        source=f"{_IMAGES}: {column}",
        once_per=lambda c: c.upload_key,
    )
