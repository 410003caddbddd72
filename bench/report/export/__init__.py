"""Exports tables as CSV, JSON, Markdown or LaTeX.

CSV and JSON are tidy: one record per measurement, in the order of the paper's rows and columns, with shares in per
cent. Markdown and LaTeX keep the layout of the paper.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.analysis.rows import Rows
from bench.analysis.table_model import Column, Measurement, Row, RowGroup, Table
from bench.analysis.tables import build
from bench.core.errors import SuiteError
from bench.core.text import json_text, printable
from bench.report.export.spreadsheets import safe_value
from bench.store.badges import unchecked
from bench.store.reading import RunResults

FIELDS = (
    "table",
    "experiment",
    "dataset",
    "dataset_stands_in_for",
    "synthetic",
    "defense",
    "authorised",
    "authorised_stands_in_for",
    "attack",
    "row",
    "column",
    "column_stands_in_for",
    "role",
    "metric",
    "unit",
    "better",
    "value",
    "n",
    "people",
    "repeats",
    "low",
    "high",
    "interval",
    "paper",
    "paper_of",
    "difference",
    "status",
    "reason",
    "note",
    "cells",
    "flags",
)


def export(results: RunResults, table: str, fmt: str) -> str:
    """Return the table of a name (see `bench.analysis.tables.TABLES`) as text in a format.

    No character of the text controls a terminal, also when the file that holds it is printed later: such characters are
    escaped in JSON, and become marks in the other formats. Raise `SuiteError` for an unknown table or format; the
    message lists those that exist.
    """
    if fmt not in FORMATS:
        raise SuiteError(f"--format {fmt}: expected one of {', '.join(FORMATS)}")
    found = build(Rows(results), table)
    if text := unchecked(run.run for run in results.runs):
        found = [replace(one, notes=(*one.notes, f"{text[:1].upper()}{text[1:]}.")) for one in found]
    return printable(FORMATS[fmt](found))


def records(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Return one record per measurement, with the keys `FIELDS`; entries without a value are None."""
    return [_record(t, g, r, c, f) for t in tables for g, r, c, f in t.measurements()]


def _record(table: Table, group: RowGroup, row: Row, column: Column, measurement: Measurement) -> dict[str, Any]:
    """Return the record of one measurement of a table."""

    def scaled(value: float | None) -> float | None:
        return None if value is None else float(f"{value * column.metric.scale:.6g}")

    return {
        "table": table.name,
        "experiment": table.experiment,
        "dataset": group.label,
        "dataset_stands_in_for": group.stands_in_for,
        "synthetic": group.synthetic,
        "defense": row.defense or None,
        "authorised": row.authorised or None,
        "authorised_stands_in_for": row.stands_in_for,
        "attack": measurement.attack or None,
        "row": row.label,
        "column": column.label,
        "column_stands_in_for": column.stands_in_for,
        "role": measurement.role,
        "metric": column.metric.label,
        "unit": column.metric.unit or None,
        "better": _better(column, measurement),
        "value": scaled(measurement.value),
        "n": measurement.n if measurement.value is not None else None,
        "people": measurement.people or None,
        "repeats": measurement.repeated.removesuffix(" repeats") or "1" if measurement.value is not None else None,
        "low": scaled(measurement.low),
        "high": scaled(measurement.high),
        "interval": measurement.interval or None,
        "paper": scaled(measurement.paper),
        "paper_of": measurement.paper_of or None,
        "difference": scaled(measurement.difference),
        "status": measurement.status,
        "reason": measurement.reason,
        "note": measurement.note,
        "cells": " ".join(measurement.cells) or None,
        "flags": "; ".join(row.flags) or None,
    }


def _better(column: Column, measurement: Measurement) -> str | None:
    """Return which direction is better for a measurement, which may depend on its role; None if neither is."""
    better = column.metric.better
    if better == "split":
        return {"authorised": "higher", "unauthorised": "lower"}.get(measurement.role)
    return better or None


def csv_of(tables: Sequence[Table]) -> str:
    """Return tables as CSV, one record per measurement."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: safe_value(v) for k, v in r.items()} for r in records(tables))
    return buffer.getvalue().rstrip("\n")


def _json(tables: Sequence[Table]) -> str:
    made = [
        {
            "table": t.name,
            "title": t.heading,
            "caption": t.caption,
            "experiment": t.experiment,
            "source": t.source,
            "notes": list(t.notes),
            "measurements": records([t]),
        }
        for t in tables
    ]
    return json_text(made, indent=1)


# ---- Markdown --------------------------------------------------------------------------------------------------------


def _markdown(tables: Sequence[Table]) -> str:
    return "\n\n".join(_markdown_table(t) for t in tables)


def _markdown_table(table: Table) -> str:
    """Return a table in Markdown, with its title, caption and notes above it."""
    head, numbered = ["data set", table.row_heading.lower(), *map(_plain_heading, table.columns)], _numbered(table)
    body = []
    for group in table.groups:
        for row in group.rows:
            measurements = [
                _markdown_measurement(c, f, numbered) for c, f in zip(table.columns, row.measurements, strict=True)
            ]
            body.append(
                [
                    _plain_name(group.label, group.stands_in_for),
                    _plain_name(_label(row), _stands_in_for(row)),
                    *measurements,
                ]
            )
    cells = [[_markdown_escape(t) for t in line] for line in [head, *body]]
    for line in cells[1:]:
        line[2:] = [_underlined(t) for t in line[2:]]
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(head))]
    rule = ["-" * w if i < 2 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines = []
    for line in [cells[0], rule, *cells[1:]]:
        padded = [t.ljust(w) if i < 2 else t.rjust(w) for i, (t, w) in enumerate(zip(line, widths, strict=True))]
        lines.append(f"| {' | '.join(padded)} |")
    about = [f"**{_markdown_escape(_title(table))}** {_markdown_escape(_caption(table, 'In brackets'))}"]
    about += [f"{_markdown_escape(n)}" for n in (*table.notes, *(f"[{k}] {n}." for n, k in numbered.items()))]
    return "\n".join(["\n\n".join(about), "", *lines])


_AUTHORISED = "\x00"  # A prefix that marks measurements of authorised models until the text is escaped.


def _underlined(text: str) -> str:
    return f"<u>{text.removeprefix(_AUTHORISED)}</u>" if text.startswith(_AUTHORISED) else text


def _markdown_escape(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text)


def _plain_heading(column: Column) -> str:
    unit = f", {column.metric.unit}" if column.metric.unit else ""
    arrow = f" {column.metric.arrow}" if column.metric.arrow else ""
    return f"{_plain_name(column.label, column.stands_in_for)}{unit}{arrow}"


def _plain_name(label: str, stands_in_for: str | None) -> str:
    return f"{label} (in place of {stands_in_for})" if stands_in_for else label


def _label(row: Row) -> str:
    """Return the label of a row with its flags; if the label only names the authorised models, with the defense too."""
    label = f"{row.defense}: {row.label}" if row.label == row.authorised else row.label
    return f"{label} [{'; '.join(row.flags)}]" if row.flags else label


def _stands_in_for(row: Row) -> str | None:
    """Return what the authorised models of a row stand in for, if the row is named after them; None otherwise."""
    return row.stands_in_for if row.label == row.authorised else None


def _numbered(table: Table) -> dict[str, int]:
    """Return the notes on the measurements of a table, each once, with a number from 1 on."""
    notes = dict.fromkeys(f.note for _, _, _, f in table.measurements() if f.note and f.value is not None)
    return {note: k for k, note in enumerate(notes, 1) if note}


def _markdown_measurement(column: Column, measurement: Measurement, numbered: Mapping[str, int]) -> str:
    """Return a measurement as text: value, interval, N, published value, and the number of its note; or its status."""
    metric = column.metric
    if measurement.value is None:
        return measurement.status
    text = metric.shown(measurement.value)
    if span := metric.span(measurement.low, measurement.high):
        text += f" ({span})"
    text += f" N={measurement.support}"
    if measurement.paper is not None:
        text += f", paper {measurement.published(metric)}"
    text += f" [{numbered[measurement.note]}]" if measurement.note else ""
    return _AUTHORISED + text if measurement.role == "authorised" and metric.better == "split" else text


def _title(table: Table) -> str:
    return f"{table.heading} ({table.experiment})"


def _caption(table: Table, where: str) -> str:
    direction = next((c.metric.direction for c in table.columns if c.metric.better == "split"), "")
    parts = [table.caption, f"{direction[:1].upper()}{direction[1:]}." if direction else ""]
    parts.append(f"{where}: 95 % interval.")
    if any(g.synthetic for g in table.groups):
        parts.append("Synthetic stand-in data: no measurement is a claim about real faces.")
    return " ".join(p for p in parts if p)


# ---- LaTeX -----------------------------------------------------------------------------------------------------------


def _latex(tables: Sequence[Table]) -> str:
    head = "% needs \\usepackage{booktabs} and \\usepackage{graphicx}"
    return "\n\n".join([head, *(_latex_table(t) for t in tables)])


def _latex_table(table: Table) -> str:
    """Return a table as a LaTeX ``table*`` with the layout of the paper; the best protections are bold."""
    columns, best, numbered = table.columns, _best(table), _numbered(table)
    caption = f"{_title(table)}. {_caption(table, 'Small print')}{_latex_n(table)}"
    caption += " Bold: the best protection." if best else ""
    lines = [
        "\\begin{table*}[tb]",
        "\\centering",
        f"\\caption{{{latex_escape(caption)}}}",
        f"\\label{{tab:{re.sub(r'[^A-Za-z0-9-]', '-', f'{table.experiment}-{table.name}')}}}",
        "\\resizebox{\\textwidth}{!}{%",
        f"\\begin{{tabular}}{{ll{'r' * len(columns)}}}",
        "\\toprule",
        " & ".join(["Data set", latex_escape(table.row_heading), *(_latex_heading(c) for c in columns)]) + " \\\\",
    ]
    for group in table.groups:
        lines.append("\\midrule")
        for i, row in enumerate(group.rows):
            name = _stack([group.label, _for(group.stands_in_for)]) if i == 0 else ""
            shown = zip(columns, row.measurements, strict=True)
            measurements = [_latex_measurement(c, f, table, numbered, best=id(f) in best) for c, f in shown]
            lines.append(" & ".join([name, _stack([_label(row), _for(_stands_in_for(row))]), *measurements]) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}}"]
    lines += [f"\\par{{\\footnotesize {_latex_mark(k)} {latex_escape(note)}.}}" for note, k in numbered.items()]
    return "\n".join([*lines, "\\end{table*}"])


def _latex_mark(number: int) -> str:
    return f"\\textsuperscript{{{number}}}"


def _best(table: Table) -> set[int]:
    """Return the ``id`` of each measurement that is the best of its column, data set and role, as it is shown.

    No protection and baselines are left out, and there is no best one among fewer than two.
    """
    found: set[int] = set()
    for group in table.groups if table.ranked else ():
        for i, column in enumerate(table.columns):
            measurements = [row.measurements[i] for row in group.rows if row.kind not in ("clean", "baseline")]
            for role in dict.fromkeys(f.role for f in measurements):
                known = [f for f in measurements if f.role == role and f.value is not None]
                better = _better(column, known[0]) if len(known) > 1 else None
                if better:
                    best = (max if better == "higher" else min)(f.value for f in known if f.value is not None)
                    shown = column.metric.shown
                    found |= {id(f) for f in known if shown(f.value) == shown(best)}
    return found


def _latex_n(table: Table) -> str:
    repeats = f", {table.repeated}," if table.repeated else ""
    return f" N = {table.common_n}{repeats} unless stated otherwise." if table.common_n else ""


def _latex_heading(column: Column) -> str:
    unit = f" ({column.metric.unit})" if column.metric.unit else ""
    arrow = {"higher": " $\\uparrow$", "lower": " $\\downarrow$"}.get(column.metric.better, "")
    stacked = _stack([f"{column.label}{unit}", _for(column.stands_in_for)])
    return f"{stacked}{arrow}"


def _latex_measurement(
    column: Column, measurement: Measurement, table: Table, numbered: Mapping[str, int], *, best: bool
) -> str:
    """Return a measurement in LaTeX: the value with the number of its note, and in small print its interval, N and
    published value."""
    metric = column.metric
    if measurement.value is None:
        return latex_escape(measurement.status)
    value = latex_escape(metric.shown(measurement.value))
    value = f"\\textbf{{{value}}}" if best else value
    if measurement.role == "authorised" and metric.better == "split":
        value = f"\\underline{{{value}}}"
    value += _latex_mark(numbered[measurement.note]) if measurement.note else ""
    small = [metric.span(measurement.low, measurement.high)]
    small += [] if measurement.n == table.common_n else [f"N = {measurement.support}"]
    small += [] if measurement.paper is None else [f"paper {measurement.published(metric)}"]
    lines = [value, *(f"{{\\tiny {latex_escape(s)}}}" for s in small if s)]
    stacked = " \\\\ ".join(lines)
    return f"\\shortstack[r]{{{stacked}}}" if len(lines) > 1 else value


def _for(stands_in_for: str | None) -> str:
    return f"in place of {stands_in_for}" if stands_in_for else ""


def _stack(lines: Sequence[str]) -> str:
    """Return LaTeX for two lines of which the second is small, or for one line if the second is empty."""
    first, second = latex_escape(lines[0]), latex_escape(lines[1])
    return f"\\shortstack[l]{{{first} \\\\ {{\\tiny {second}}}}}" if second else first


_LATEX = {
    "\\": "\\textbackslash{}",
    "&": "\\&",
    "%": "\\%",
    "$": "\\$",
    "#": "\\#",
    "_": "\\_",
    "{": "\\{",
    "}": "\\}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "–": "--",
    "−": "$-$",
    "κ": "$\\kappa$",
    "↑": "$\\uparrow$",
    "↓": "$\\downarrow$",
    "[": "{[}",
    "]": "{]}",
    "\n": " ",
}


def latex_escape(text: str) -> str:
    """Return text escaped so that LaTeX prints it as it is."""
    return "".join(_LATEX.get(c, c) for c in text)


FORMATS: Mapping[str, Callable[[Sequence[Table]], str]] = {
    "csv": csv_of,
    "json": _json,
    "md": _markdown,
    "latex": _latex,
}
