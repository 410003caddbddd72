"""A figure as a file for a paper: the charts of the report as SVG, PDF or PNG, on white, with their legends."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench.analysis.rows import Rows
from bench.core.errors import StorageError, SuiteError
from bench.report.charts import Chart, Scatter
from bench.report.charts.sensitivity import sensitivity
from bench.report.charts.utility_privacy import charts, settings
from bench.store.reading import Results

FIGURE_FORMATS = ("svg", "pdf", "png")
SENSITIVITY = "sensitivity"
_PICTURES = ("6", "7")  # of faces, which the report shows
_RESOLUTION = 300  # dots per inch of a PNG
_RESOURCES = re.compile(rb"(?:^ +/[a-z]+\d+ \d+ 0 R\n){2,}", re.MULTILINE)  # which a PDF lists in an order of chance


def export_figure(results: Results, number: str, fmt: str, path: Path) -> None:
    """Write a figure of the paper, or ``sensitivity``, to a file, whole or not at all; the same bytes every time.

    Raises `SuiteError` for an unknown format or figure, and `StorageError` where the run makes no such figure.
    """
    if fmt not in FIGURE_FORMATS:
        raise SuiteError(f"--format {fmt}: expected one of {', '.join(FIGURE_FORMATS)} for --figure")
    content = _converted(_found(Rows(results), number), fmt)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        os.replace(beside, path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _converted(found: Sequence[Chart | Scatter], fmt: str) -> bytes:
    """Charts below one another as a file's bytes."""
    import vl_convert  # with drawing, a third of a second to import

    from bench.report.charts import drawing

    several = len({chart.experiment for chart in found}) > 1
    titled = [(f"{c.title} ({c.experiment})" if several else c.title, c) for c in found]
    spec = json.dumps(drawing.sheet(titled))
    if fmt == "svg":
        return vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]).encode("utf-8")
    if fmt == "pdf":
        made = vl_convert.vegalite_to_pdf(spec, allowed_base_urls=[])
        return _RESOURCES.sub(lambda found: b"".join(sorted(found[0].splitlines(keepends=True))), made)
    return vl_convert.vegalite_to_png(spec, allowed_base_urls=[], scale=1, ppi=_RESOLUTION)


def _found(rows: Rows, number: str) -> list[Chart | Scatter]:
    """The charts of a number, those of all experiments."""
    made: dict[str, list[Chart | Scatter]] = {}
    for experiment in rows.experiments:
        for chart in charts(rows, experiment):
            made.setdefault(chart.number or "noise", []).append(chart)
    asked = [e for e in rows.experiments if SENSITIVITY in settings(rows, e).figures]
    swept = [scatter for e in asked or rows.experiments if (scatter := sensitivity(rows, e))]
    made |= {SENSITIVITY: list(swept)} if swept else {}
    if number in made:
        return made[number]
    where = rows.results.folder
    if number in _PICTURES:
        raise SuiteError(f"--figure {number}: shows faces, and is a part of the page; see: bench report")
    there = ", ".join(made) or "none"
    raise StorageError(f"{where}: makes no figure {number!r}; it has {there}")
