"""Rows -> one self-contained HTML page: no network, no script, everything from files and plugins escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bench.cache import write_atomically
from bench.hookspecs import Section
from bench.report import page
from bench.report.answers import Answer, answers
from bench.report.faces import Wall, wall
from bench.report.figures import Table, plural
from bench.report.page import Grid
from bench.report.plot import Line, lines
from bench.report.recognition import MEASURES, recognition_table
from bench.report.rows import Matrix, Rows
from bench.report.summary import BARS, Summary, image_table, summaries
from bench.store import Results


@dataclass(frozen=True, kw_only=True)
class Part:
    """What the page shows of one experiment."""

    experiment: str
    attack: str
    number: str | None
    answers: Sequence[Answer]
    subjects: Grid
    thresholds: Grid
    thresholds_about: str
    threats: Sequence[str]
    plot: Sequence[Line]
    tables: Sequence[Table]
    summaries: Sequence[Summary]
    images: Table
    wall: Wall


def render(results: Results, sections: Sequence[Section] = (), *, include_real_faces: bool = False) -> str:
    """The page of a run as HTML.

    ``sections`` are those of plugins, text only. Pictures of real faces are left out unless they are asked for;
    synthetic ones are always shown.
    """
    rows = Rows(results)
    context: dict[str, Any] = {
        "suite": results.run.get("suite") or {},
        "status": results.run.get("status"),
        "synthetic": rows.synthetic,
        "real": list(dict.fromkeys(c.dataset for c in rows.cells if not c.synthetic)),
        "parts": [_part(rows, matrix, include_real_faces) for matrix in rows.matrices],
        "bars": BARS,
        "facts": page.facts(rows),
        "gaps": page.gaps(rows),
        "methods": page.methods(),
        "commands": page.commands(rows),
        "identity": page.identity(rows),
        "components": page.components(rows),
        "unusable": page.plugins(rows),
        "stages": page.stages(rows),
        "totals": page.totals(rows),
        "sections": [_section(s) for s in sections],
    }
    return _environment().get_template("page.html.j2").render(context)


def write_report(
    results: Results, path: Path, sections: Sequence[Section] = (), *, include_real_faces: bool = False
) -> Path:
    """Write the page of a run, whole or not at all; return where it is. Raises `StorageError`."""
    write_atomically(path, render(results, sections, include_real_faces=include_real_faces))
    return path


def _part(rows: Rows, matrix: Matrix, include_real_faces: bool) -> Part:
    found = summaries(rows, matrix)
    grid, about = page.thresholds(rows, matrix)
    return Part(
        experiment=matrix.experiment,
        attack=matrix.attack,
        number=next((c.table for c in rows.of(matrix) if c.table), None),
        answers=answers(rows, matrix, found),
        subjects=page.subjects(rows, matrix),
        thresholds=grid,
        thresholds_about=about,
        threats=page.threats(rows, matrix),
        plot=lines(found),
        tables=[recognition_table(rows, matrix, measure) for measure in MEASURES],
        summaries=found,
        images=image_table(rows, matrix),
        wall=wall(rows, matrix, include_real_faces),
    )


def _section(section: Section) -> dict[str, Any]:
    columns = [str(c) for c in section.columns]
    rows = [["" if v is None else str(v) for v in row] for row in section.rows]
    return {"title": str(section.title), "grid": Grid(columns=columns, rows=rows)}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["plural"] = plural
    return environment
