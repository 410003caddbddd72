"""The report of a run: tables recomputed from per-sample rows, as a page, as exports, and as lines for a terminal."""

from __future__ import annotations

from bench.analysis.rows import Rows
from bench.analysis.tables import TABLES
from bench.analysis.tables import summary_rows as _summary_rows
from bench.report.export import export
from bench.report.page import render, write_report
from bench.store.reading import Results

__all__ = ["TABLES", "export", "render", "summary_rows", "write_report"]


def summary_rows(results: Results) -> tuple[list[str], list[list[str]]]:
    """The summary for a terminal: columns, and rows of text; the first two columns are names, the others figures."""
    return _summary_rows(Rows(results))
