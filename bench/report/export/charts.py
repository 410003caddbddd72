"""Exports figures for a paper: charts of the report as SVG, PDF or PNG files, on white, with their legends, or their
numbers as CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.analysis.rows import Rows
from bench.core.errors import StorageError, SuiteError
from bench.core.files import replacing
from bench.core.text import printable
from bench.report.charts import Chart, Scatter
from bench.report.charts.attack_strength import strength_charts
from bench.report.charts.sensitivity import sensitivity
from bench.report.charts.utility_privacy import charts, settings
from bench.report.export import csv_of
from bench.report.page_text import script_data
from bench.report.vega import Kind, made_by_vega
from bench.store.reading import RunResults

FIGURE_FORMATS: Mapping[str, Kind] = {"svg": "svg", "pdf": "pdf", "png": "png"}
SENSITIVITY = "sensitivity"
NUMBERS = "csv"
_PICTURES = ("6", "7")  # The paper's figures with faces, which only the page shows.
# The list of resources in a PDF. Its order is random, so it is sorted.
_RESOURCES = re.compile(rb"(?:^ +/[a-z]+\d+ \d+ 0 R\n){2,}", re.MULTILINE)


def export_figure(results: RunResults, number: str, fmt: str, path: Path) -> None:
    """Write a figure of the paper, or one with a name, such as ``budget``, to a file atomically; the same run gives the
    same bytes. As CSV, it is one record for each measurement of its charts.

    Raise `SuiteError` for an unknown format and for a figure with faces, and `StorageError` if the run has no such
    figure or the file cannot be written.
    """
    kind = FIGURE_FORMATS.get(fmt)
    if kind is None and fmt != NUMBERS:
        raise SuiteError(f"--format {fmt}: expected one of {', '.join((*FIGURE_FORMATS, NUMBERS))} for --figure")
    found = _charts_of(Rows(results), number)
    content = _converted(found, kind) if kind else _numbers(found)
    with replacing(path) as beside:
        beside.write_bytes(content)


def _numbers(found: Sequence[Chart | Scatter]) -> bytes:
    """Return the measurements of charts as CSV."""
    return f"{printable(csv_of([table for chart in found for table in chart.tables]))}\n".encode()


def _converted(found: Sequence[Chart | Scatter], kind: Kind) -> bytes:
    """Return charts below one another as the bytes of a file."""
    from bench.report.charts import drawing  # Importing it takes a third of a second.

    several = len({chart.experiment for chart in found}) > 1
    titled = [(f"{c.title} ({c.experiment})" if several else c.title, c) for c in found]
    made = made_by_vega(kind, script_data(drawing.sheet(titled)))
    if kind == "pdf":
        return _RESOURCES.sub(lambda found: b"".join(sorted(found[0].splitlines(keepends=True))), made)
    return made


def _charts_of(rows: Rows, number: str) -> list[Chart | Scatter]:
    """Return the charts of all experiments with the number of a figure. Raise as `export_figure` does if none
    exists."""
    made: dict[str, list[Chart | Scatter]] = {}
    for experiment in rows.experiments:
        for chart in charts(rows, experiment):
            made.setdefault(chart.number or "noise", []).append(chart)
    requested = [e for e in rows.experiments if SENSITIVITY in settings(rows, e).figures]
    swept = [scatter for e in requested or rows.experiments if (scatter := sensitivity(rows, e))]
    made |= {SENSITIVITY: list(swept)} if swept else {}
    for chart in strength_charts(rows) if number not in made else ():
        made.setdefault(chart.name, []).append(chart)
    if number in made:
        return made[number]
    where = rows.results.folder
    if number in _PICTURES:
        raise SuiteError(f"--figure {number}: shows faces, and is a part of the page; see: bench report")
    there = ", ".join(made) or "none"
    raise StorageError(f"{where}: makes no figure {number!r}; it has {there}")
