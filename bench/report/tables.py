"""The tables of a report by name. A new table is a function and one entry in `TABLES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from bench.errors import StorageError, SuiteError, did_you_mean
from bench.report.figures import Figure, Quantity, Table
from bench.report.recognition import MEASURES, recognition_table
from bench.report.rows import Matrix, Rows
from bench.report.summary import (
    AUTHORISED,
    CLEAN_ACCURACY,
    SSIM,
    UNAUTHORISED,
    WORST,
    image_table,
    summaries,
    summary_table,
)


@dataclass(frozen=True, kw_only=True)
class TableKind:
    """A kind of table: what it is about, and how to make it for one experiment."""

    about: str
    build: Callable[[Rows, Matrix], Table]


TABLES: Mapping[str, TableKind] = {
    **{m.name: TableKind(about=m.caption, build=partial(recognition_table, measure=m)) for m in MEASURES},
    "summary": TableKind(about="per defense and authorised model, data sets pooled", build=summary_table),
    "images": TableKind(about="SSIM and PSNR beside their floors", build=image_table),
}


def build(rows: Rows, name: str) -> list[Table]:
    """The tables of a name: one per experiment that has such rows. `SuiteError` names those that exist."""
    if name not in TABLES:
        available = ", ".join(TABLES)
        hint = did_you_mean(name, TABLES)
        hint = f"; {hint}" if hint.startswith("did") else ""
        raise SuiteError(f"--table {name}: expected one of {available}; found no table of that name{hint}")
    if not rows.matrices:
        raise StorageError(f"{rows.results.folder}: this run has no cells, so there is no table {name} to show")
    return [TABLES[name].build(rows, matrix) for matrix in rows.matrices]


def summary_rows(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """The summary in words, for a terminal: columns, and rows of text; the first two columns are names."""
    columns = ["defense", "authorised", "accuracy ↑", "clean ↑", "others ↓", "worst ↓", "SSIM ↓", "bars met"]
    found = []
    for matrix in rows.matrices:
        for s in summaries(rows, matrix):
            shown = [
                brief(quantity, figure)
                for quantity, figure in (
                    (AUTHORISED, s.kept),
                    (CLEAN_ACCURACY, s.clean),
                    (UNAUTHORISED, s.leaked),
                    (WORST, s.worst),
                    (SSIM, s.ssim),
                )
            ]
            met = sum(bool(m) for _, _, m in s.verdicts)
            bars = f"{met}/{len(s.verdicts)}" if s.verdicts else ""
            found.append([s.defense, s.authorised or "any model", *shown, bars])
    return columns, found


def brief(quantity: Quantity, figure: Figure) -> str:
    """A figure in one word: its value with unit, its status, or nothing where it does not apply."""
    if figure.value is None:
        return "" if figure.status == "not applicable" else figure.status
    return f"{quantity.shown(figure.value)} %" if quantity.unit == "%" else quantity.shown(figure.value)
