"""What each number of the page rests on, as compact data for its scripts: figures, the cells behind them, and what was
computed for these.

Values that repeat are written once: a column is ``[values]`` where all rows share one, ``[values, codes]`` where rows
share some, and ``[values, null]`` where each has its own.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from markupsafe import Markup, escape

from bench.analysis.measures import extra_metric, measure, metric_named
from bench.analysis.rows import CellRow, Rows
from bench.analysis.table_model import Measurement, Metric, Row
from bench.analysis.tables.attributes import estimated
from bench.core.errors import SuiteError
from bench.core.text import duration
from bench.report.page.provenance import place
from bench.report.page.run_facts import params
from bench.store.reading import Results
from bench.store.several_runs import Joined

DIGITS = 16  # of hashes
MAIN = ("accuracy", "rank-1")  # of every cell that has them, and the similarity of every attribute
_FIELDS = ("experiment", "table", "dataset", "defense", "authorised", "attack", "via", "upload", "outputs", "evaluated")
_ASKED = ("role", "repeat", "pairs", "kappa", "threat", "status", "reason", "traceback", "log", "batch")
_AXES = ("dataset", "defense", "attack")
Columns = dict[str, list[Any]]


@dataclass
class Codes:
    """Values, each once, by the order in which they came."""

    values: list[Any] = field(default_factory=list)
    _known: dict[Hashable, int] = field(default_factory=dict)

    def of(self, value: Any, key: Hashable | None = None) -> int:
        """The code of a value; ``key`` stands for one that cannot be hashed."""
        key = value if key is None else key
        if key not in self._known:
            self._known[key] = len(self.values)
            self.values.append(value)
        return self._known[key]


def coded(values: Iterable[Any]) -> list[Any]:
    """A column, as the head of this module says."""
    codes = Codes()
    found = [codes.of(v) for v in values]
    if len(codes.values) <= 1:
        return [codes.values]
    return [codes.values, None if len(codes.values) == len(found) else found]


class Evidence:
    """The figures that a page has printed so far, each once, and `data` about everything behind them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._cells: dict[str, CellRow] = {}
        self._index: dict[str, int] = {}
        for i, cell in enumerate(rows.cells):
            self._cells.setdefault(cell.cell, cell)
            self._index.setdefault(cell.cell, i)
        self._measurements, self._metrics, self._definitions, self._sets = Codes(), Codes(), Codes(), Codes()

    # ---- for templates and charts ------------------------------------------------------------------------------------

    def of(self, metric: Metric, found: Measurement) -> int | None:
        """The number under which a figure is in `data`; none where it rests on no cell."""
        if not found.cells:
            return None
        return self._measurements.of((metric, found), (*_shown_as(metric), found))

    def mark(self, metric: Metric, found: Measurement) -> Markup:
        """The attribute by which a script finds what a printed number rests on."""
        at = self.of(metric, found)
        return Markup("") if at is None else Markup(f' data-measurement="{at}"')

    def number(self, metric: Metric, found: Measurement, with_unit: bool, own: bool) -> Markup:
        """A number as the page prints it. ``own``: it is that of an authorised model."""
        text = escape(metric.shown(found.value))
        if own:
            text = Markup(f'<u>{text}</u><span class="sr"> (authorised)</span>')
        unit = f'<small class="unit"> {escape(metric.unit)}</small>' if with_unit and metric.unit else ""
        return Markup(f'<span class="v"{self.mark(metric, found)}>{text}{unit}</span>')

    def axes(self, group: str, row: Row) -> Markup:
        """The attributes by which rows of a table are filtered: its data sets, defenses and attacks, a line each.

        A row of no cell, such as a floor, belongs to the data set of its group.
        """
        ids = dict.fromkeys(i for f in row.measurements for i in f.cells)
        cells = [self._cells[i] for i in ids if i in self._cells]
        found = {axis: dict.fromkeys(getattr(c, axis) for c in cells) for axis in _AXES}
        if not cells and group in self._datasets:
            found["dataset"] = {group: None}
        said = {axis: Markup("&#10;").join(values) for axis, values in found.items() if values}
        return Markup("").join(Markup(' data-{}="{}"').format(axis, values) for axis, values in said.items())

    @cached_property
    def _datasets(self) -> set[str]:
        return {c.dataset for c in self._cells.values()}

    # ---- for scripts -------------------------------------------------------------------------------------------------

    def data(self) -> dict[str, Any]:
        """Everything as JSON values; to be called when all figures are printed."""
        main = self._main()
        return {
            "runs": [_run(run) for run in self._rows.results.runs],
            "cells": self._columns(),
            "main": main,
            "measurements": [self._measurement(q, f) for q, f in self._measurements.values],
            "metrics": self._metrics.values,
            "definitions": [self._definition(*m) for m in self._definitions.values],
            "sets": self._sets.values,
        }

    def _homes(self) -> list[tuple[int, str]]:
        """Of every cell, the number of its run and its id there."""
        results, cells = self._rows.results, self._rows.cells
        if not isinstance(results, Joined):
            return [(0, c.cell) for c in cells]
        numbers = {id(run): i for i, run in enumerate(results.runs)}
        homes = (results.home(c.cell) for c in cells)
        return [(numbers[id(run)], own) for run, own in homes]

    def _main(self) -> dict[str, list[int | None]]:
        """Of each main measure that the run has, the figure of every cell."""
        found = {}
        rows = self._rows
        attributes = dict.fromkeys(a for e in rows.experiments for a in estimated(rows, e))
        for metric in map(metric_named, (*MAIN, *(f"similarity:{a}" for a in attributes))):
            fitting = [c.status == "ok" and c.outputs in metric.outputs for c in rows.cells]
            measurements = [
                measure(rows, [c], metric) if fits else Measurement()
                for c, fits in zip(rows.cells, fitting, strict=True)
            ]
            if any(f.value is not None for f in measurements):
                found[metric.label] = [None if f.value is None else self.of(metric, f) for f in measurements]
        return found

    def _measurement(self, metric: Metric, found: Measurement) -> list[Any]:
        """One figure: quantity, value, interval, N, method of the interval, measure, cells, paper, difference, note;
        without what is empty at the end. One that does not exist has its status as value and its reason as note."""
        q = self._metrics.of([metric.label, metric.unit, metric.direction], _shown_as(metric))
        m = self._definitions.of((found.metric, found.at))
        cells = self._sets.of(_ranges(self._index[c] for c in found.cells if c in self._index))
        if found.value is None:
            values: list[Any] = [q, found.status, 0, 0, 0, m, cells, 0, 0, found.reason or 0]
        else:
            span = metric.span(found.low, found.high) or 0
            paper = metric.shown(found.paper) if found.paper is not None else 0
            difference = _signed(metric, found.difference) if found.difference is not None else 0
            values = [q, metric.shown(found.value), span, found.n, found.interval or 0, m, cells]
            values += [paper, difference, found.note or 0]
        while values[-1] == 0 and len(values) > 7:
            values.pop()
        return values

    def _definition(self, name: str, at: str) -> dict[str, str]:
        """How a number is computed, from which rows, and the table of samples that holds these."""
        if not name:
            return {"about": "", "source": "", "rows": "", "at": ""}
        try:
            metric = metric_named(name)
        except SuiteError:  # none of ours
            metric = extra_metric(name)
        return {"about": metric.about, "source": metric.source, "rows": metric.table, "at": at}

    # ---- cells -------------------------------------------------------------------------------------------------------

    def _columns(self) -> dict[str, Any]:
        """All cells, column by column, with the components and stages that they refer to."""
        cells, table = self._rows.cells, self._rows.results.cells
        found: dict[str, Any] = {"cell": coded(c.cell for c in cells)}
        found |= {name: coded(getattr(c, name) for c in cells) for name in (*_FIELDS, *_ASKED)}
        homes = self._homes()
        found["run"] = coded(run for run, _ in homes)
        if any(own != c.cell for c, (_, own) in zip(cells, homes, strict=True)):
            found["own"] = coded(own for _, own in homes)
        found["seconds"] = coded(_spent(v) for v in _plain(table, "seconds"))
        found["device"] = coded(v or "" for v in _plain(table, "device"))
        parts, stages = _ComponentTable(), _StageTable(self._rows.results.stages)
        found["parts"] = coded(map(parts.of, _plain(table, "components")))
        found["stages"] = coded(map(stages.of, _plain(table, "stages")))
        return {
            "size": len(cells),
            "columns": found,
            "parts": parts.components.values,
            "stages": stages.data(),
        }


# What stands beside a number; functions, since a large page prints them a hundred thousand times.


def support(metric: Metric, found: Measurement) -> str:
    """Interval and N of a figure."""
    span = f"{metric.span(found.low, found.high)} · " if found.low is not None else ""
    return f"{span}N\u00a0{found.n:,}"


def _shown_as(metric: Metric) -> tuple[str, str, int, str]:
    """How a reader sees a metric: metrics that look alike are one."""
    return metric.label, metric.unit, metric.digits, metric.better


def order(found: Measurement) -> str:
    """The key by which a figure is sorted; empty where there is none."""
    return "" if found.value is None else f"{found.value:.6g}"


class _ComponentTable:
    """Components of cells, each once. A cell has the codes of its own, joined by a blank."""

    def __init__(self) -> None:
        self.components = Codes()
        self._known: dict[str, str] = {}

    def of(self, text: str | None) -> str:
        """The components of a cell from their JSON."""
        text = text or "[]"
        if text not in self._known:
            self._known[text] = " ".join(str(self._code(c)) for c in json.loads(text))
        return self._known[text]

    def _code(self, component: Mapping[str, Any]) -> int:
        origin = component.get("origin") or {}
        instead = component.get("instead_of")
        about = (
            str(component["kind"]).replace("dataset", "data set"),
            str(component["label"]),
            str(component["name"]),
            f"{origin.get('distribution', 'unknown')} {origin.get('version', '')}".strip(),
            params(component.get("params") or {}),
            str(origin.get("digest") or "")[:DIGITS],
            str(component.get("weights") or "")[:DIGITS],
            f"{instead}: {component.get('because') or 'no reason given'}" if instead else "",
        )
        return self.components.of(about)


class _StageTable:
    """Stages of a run, each once, by column. A cell has the numbers of its own and of their inputs, inputs first."""

    def __init__(self, stages: Sequence[Mapping[str, Any]]) -> None:
        self._stages = stages
        self._at = {str(s.get("key")): i for i, s in enumerate(stages)}
        self._inputs = [json.loads(s.get("inputs") or "{}") for s in stages]
        self._known: dict[str, str] = {}

    def of(self, text: str | None) -> str:
        """The stages of a cell from the JSON of their keys, joined by a blank; what the run did not look at is left
        out."""
        text = text or "[]"
        if text not in self._known:
            found: dict[int, None] = {}
            stack = [(key, False) for key in reversed(json.loads(text))]
            while stack:
                key, seen = stack.pop()
                at = self._at.get(key)
                if at is None or at in found:
                    continue
                if seen:
                    found[at] = None
                else:
                    stack += [(key, True), *((k, False) for k in self._inputs[at].values())]
            self._known[text] = " ".join(map(str, found))
        return self._known[text]

    def data(self) -> Columns:
        """The columns; seeds as text, since scripts know no integers above 2**53."""

        def column(name: str) -> Iterable[Any]:
            return (s.get(name) for s in self._stages)

        return {
            "name": coded(str(v) for v in column("name")),
            "key": coded(str(v)[:DIGITS] for v in column("key")),
            "status": coded(_how(s) for s in self._stages),
            "seconds": coded(_spent(v) for v in column("seconds")),
            "device": coded(str(v or "") for v in column("device")),
            "seed": coded("" if v is None else str(v) for v in column("seed")),
        }


def _run(results: Results) -> dict[str, Any]:
    """Where a run is, its seed, and the command that computes it; none where that is not known to compute one cell."""
    run = results.run
    command = list(run.command)
    again = command[:2] == ["bench", "run"] and "--replay" not in command
    return {"place": place(results), "command": command if again else [], "seed": str(run.suite.seed)}


def _how(stage: Mapping[str, Any]) -> str:
    status = str(stage.get("status"))
    return status if status != "ok" else "cached" if stage.get("cached") else "computed"


def _spent(seconds: float | None) -> str:
    return "" if seconds is None else duration(float(seconds))


def _plain(table: Any, column: str) -> list[Any]:
    """A column with none for what is not known; all none where an earlier schema lacks it."""
    if column not in table:
        return [None] * len(table)
    found = table[column]
    return list(found.astype(object).where(found.notna(), None))


def _signed(metric: Metric, value: float) -> str:
    return f"{'+' if value > 0 else ''}{metric.shown(value)}"


def _ranges(numbers: Iterable[int]) -> str:
    """Numbers as ``0-5,9``, sorted."""
    runs: list[list[int]] = []
    for n in sorted(set(numbers)):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
