"""The data behind the numbers of a page, as compact JSON for its scripts: every printed measurement, the cells that it
was computed from, and the components and stages of these cells.

A column of that data is a list that holds each distinct value once: ``[values]`` if all rows have the same value,
``[values, codes]`` if some rows share values (``codes`` are indices into ``values``), and ``[values, null]`` if all
rows differ.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from markupsafe import Markup, escape

from bench.analysis.cells import CellRow
from bench.analysis.measures import extra_metric, measure, metric_in, metric_named
from bench.analysis.rows import Rows
from bench.analysis.table_model import Column, Measurement, Row, TableMetric
from bench.analysis.tables.attributes import estimated
from bench.analysis.threshold_words import adversary, linking, service
from bench.core.errors import SuiteError
from bench.core.text import duration
from bench.report.page.provenance import place
from bench.report.page.run_facts import params
from bench.store.reading import RunResults
from bench.store.recorded_commands import offered_words
from bench.store.several_runs import Joined

DIGITS = 16  # The number of digits of a hash that the page shows.
# Metrics that the table of all cells shows for each cell, besides the similarity of every attribute.
MAIN = ("accuracy", "rank-1")
_FIELDS = (
    *("experiment", "table", "dataset", "defense", "authorised", "attack", "via", "upload", "outputs", "evaluated"),
    *("role", "repeat", "pairs", "kappa", "threat", "status", "reason", "traceback", "log", "batch"),
    *("unstable", "attack_unstable", "threshold_note"),
)
_AXES = ("dataset", "defense", "attack")
Columns = dict[str, list[Any]]


@dataclass
class Codes:
    """A list of distinct values in the order in which they were added; the code of a value is its index."""

    values: list[Any] = field(default_factory=list)
    _known: dict[Hashable, int] = field(default_factory=dict)

    def of(self, value: Any, key: Hashable | None = None) -> int:
        """Return the code of a value, which is added if it is new. Two values are the same if their keys are equal; the
        key of a hashable value is the value itself unless another one is passed."""
        key = value if key is None else key
        if key not in self._known:
            self._known[key] = len(self.values)
            self.values.append(value)
        return self._known[key]


def coded(values: Iterable[Any]) -> list[Any]:
    """Return a column in the compact form that the docstring of this module describes."""
    codes = Codes()
    found = [codes.of(v) for v in values]
    if len(codes.values) <= 1:
        return [codes.values]
    return [codes.values, None if len(codes.values) == len(found) else found]


class Evidence:
    """Collects the measurements that the templates print, each once, and returns the `data` behind all of them.

    It is created for the rows of one page; its methods are functions of the templates.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._cells: dict[str, CellRow] = {}
        self._index: dict[str, int] = {}
        for i, cell in enumerate(rows.cells):
            self._cells.setdefault(cell.cell, cell)
            self._index.setdefault(cell.cell, i)
        self._measurements, self._metrics, self._definitions, self._sets = Codes(), Codes(), Codes(), Codes()

    # ---- for templates and charts ------------------------------------------------------------------------------------

    def of(self, metric: TableMetric, found: Measurement) -> int | None:
        """Return the index of a measurement in `data`; None if it was not computed from cells."""
        if not found.cells:
            return None
        return self._measurements.of((metric, found), (*_shown_as(metric), found))

    def mark(self, metric: TableMetric, found: Measurement) -> Markup:
        """Return the HTML attribute that leads a script from a printed number to its data; empty if it has none."""
        at = self.of(metric, found)
        return Markup("") if at is None else Markup(f' data-measurement="{at}"')

    def number(self, metric: TableMetric, found: Measurement, with_unit: bool, own: bool) -> Markup:
        """Return the number of a measurement as HTML. ``own``: whether it is a measurement of an authorised model."""
        text = escape(metric.shown(found.value))
        if own:
            text = Markup(f'<u>{text}</u><span class="sr"> (authorised)</span>')
        unit = f'<small class="unit"> {escape(metric.unit)}</small>' if with_unit and metric.unit else ""
        return Markup(f'<span class="v"{self.mark(metric, found)}>{text}{unit}</span>')

    def measured(self, column: Column, found: Measurement, own: bool, heat: bool, noted: bool) -> Markup:
        """Return the cell of a table with a measurement that has a value, with its interval and N in small print.

        ``own``: see `number`; ``heat``: the depth of its colour says how high it is; ``noted``: its note is printed.
        """
        metric, value = column.metric, cast(float, found.value)
        kind = f"{'own' if own else ''}{' average' if column.average else ''}"
        style = f' style="--v:{max(0, min(1, value)):.3f}"' if heat else ""
        number = self.number(metric, found, with_unit=False, own=own)
        paper = note = ""
        if found.paper is not None:
            difference = found.difference
            sign = "+" if difference is not None and difference > 0 else ""
            beside = "" if difference is None else f" ({sign}{escape(metric.shown(difference))})"
            paper = f"<small>paper {escape(found.published(metric))}{beside}</small>"
        if found.note and noted:
            note = f'<small class="remark">{escape(found.note)}</small>'
        return Markup(
            f'<td data-order="{order(found)}" class="{kind}"{style}>{number}\n'
            f"<small>{escape(support(metric, found))}</small>\n{paper}{note}</td>"
        )

    def axes(self, group: str, row: Row) -> Markup:
        """Return the HTML attributes by which a table row is filtered: its data sets, defenses and attacks, one per
        line.

        A row that was not computed from cells, such as a baseline, belongs to the data set that names its ``group``.
        """
        ids = dict.fromkeys(i for f in row.measurements for i in f.cells)
        cells = [self._cells[i] for i in ids if i in self._cells]
        found = {axis: dict.fromkeys(getattr(c, axis) for c in cells) for axis in _AXES}
        if not cells and group in self._datasets:
            found["dataset"] = {group: None}
        joined = {axis: Markup("&#10;").join(values) for axis, values in found.items() if values}
        return Markup("").join(Markup(' data-{}="{}"').format(axis, values) for axis, values in joined.items())

    @cached_property
    def _datasets(self) -> set[str]:
        return {c.dataset for c in self._cells.values()}

    # ---- for scripts -------------------------------------------------------------------------------------------------

    def data(self) -> dict[str, Any]:
        """Return the whole data as JSON values. Call it when all measurements are printed."""
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
        """Return for every cell the index of its run and its id in that run."""
        results, cells = self._rows.results, self._rows.cells
        if not isinstance(results, Joined):
            return [(0, c.cell) for c in cells]
        numbers = {id(run): i for i, run in enumerate(results.runs)}
        homes = (results.home(c.cell) for c in cells)
        return [(numbers[id(run)], own) for run, own in homes]

    def _main(self) -> dict[str, list[int | None]]:
        """Return for the label of each main metric the index of every cell's measurement (None if a cell has none).

        A metric that no cell has is left out.
        """
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

    def _measurement(self, metric: TableMetric, found: Measurement) -> list[Any]:
        """Return one measurement as a list: index of the metric, value, interval, N, method of the interval, index of
        the definition, index of the set of cells, published value, difference to it, note, number of people, repeats.

        Zeros stand for what is missing and are cut off at the end. Without a value, the value is the status of the
        measurement and the note is the reason.
        """
        q = self._metrics.of([metric.label, metric.unit, metric.direction], _shown_as(metric))
        m = self._definitions.of((found.metric, found.at))
        cells = self._sets.of(_ranges(self._index[c] for c in found.cells if c in self._index))
        if found.value is None:
            values: list[Any] = [q, found.status, 0, 0, 0, m, cells, 0, 0, found.reason or 0]
        else:
            span = metric.span(found.low, found.high) or 0
            paper = found.published(metric) or 0
            difference = _signed(metric, found.difference) if found.difference is not None else 0
            values = [q, metric.shown(found.value), span, found.n, found.interval or 0, m, cells]
            values += [paper, difference, found.note or 0, found.people if found.people < found.n else 0]
            values.append(found.repeated or 0)
        while values[-1] == 0 and len(values) > 7:
            values.pop()
        return values

    def _definition(self, name: str, at: str) -> dict[str, str]:
        """Return the definition of a metric: how it is computed, from which rows, and the table of samples that holds
        them. ``at`` is the noise level and threshold of the measurement as text."""
        if not name:
            return {"about": "", "source": "", "rows": "", "at": ""}
        try:
            metric = metric_in(self._rows, name)
        except SuiteError:  # It is not a metric of bench, but one of a plugin.
            metric = extra_metric(name)
        return {"about": metric.about, "source": metric.source, "rows": metric.table, "at": at}

    # ---- cells -------------------------------------------------------------------------------------------------------

    def _adversary(self, cell: CellRow) -> str:
        """Return the adversary's threshold of a cell in words; empty if it has none."""
        if (threshold := self._rows.scores.threshold(cell.cell)) is not None:
            return adversary(threshold)
        links = self._rows.threshold_of_links(cell)
        return "" if links is None else linking(links)

    def _columns(self) -> dict[str, Any]:
        """Return all cells as columns, and the components and stages that the cells refer to by number."""
        cells, table = self._rows.cells, self._rows.results.cells
        found: dict[str, Any] = {"cell": coded(c.cell for c in cells)}
        found |= {name: coded(getattr(c, name) for c in cells) for name in _FIELDS}
        homes = self._homes()
        found["run"] = coded(run for run, _ in homes)
        if any(own != c.cell for c, (_, own) in zip(cells, homes, strict=True)):
            found["own"] = coded(own for _, own in homes)
        thresholds = [self._rows.scores.threshold(c.cell) for c in cells]
        found["service"] = coded(service(t) if t else "" for t in thresholds)
        found["adversary"] = coded(map(self._adversary, cells))
        found["seconds"] = coded(_duration(v) for v in _column(table, "seconds"))
        found["device"] = coded(v or "" for v in _column(table, "device"))
        parts, stages = _ComponentTable(), _StageTable(self._rows.results.stages)
        found["parts"] = coded(map(parts.of, _column(table, "components")))
        found["stages"] = coded(map(stages.of, _column(table, "stages")))
        return {
            "size": len(cells),
            "columns": found,
            "parts": parts.components.values,
            "stages": stages.data(),
        }


# The following two are functions of the templates, not macros: a large page calls them a hundred thousand times.


def support(metric: TableMetric, found: Measurement) -> str:
    """Return the interval and N of a measurement as text."""
    span = f"{metric.span(found.low, found.high)} · " if found.low is not None else ""
    return f"{span}N\u00a0{found.support}"


def _shown_as(metric: TableMetric) -> tuple[str, str, int, str]:
    """Return what a reader sees of a metric; the page treats metrics that look alike as one."""
    return metric.label, metric.unit, metric.digits, metric.better


def order(found: Measurement) -> str:
    """Return the text by which a script sorts a measurement; empty if it has no value."""
    return "" if found.value is None else f"{found.value:.6g}"


class _ComponentTable:
    """The distinct components of all cells. A cell refers to its components by their codes, joined by blanks."""

    def __init__(self) -> None:
        self.components = Codes()
        self._known: dict[str, str] = {}

    def of(self, text: str | None) -> str:
        """Return the codes of a cell's components, from the JSON of its column ``components``."""
        text = text or "[]"
        if text not in self._known:
            self._known[text] = " ".join(str(self._code(c)) for c in json.loads(text))
        return self._known[text]

    def _code(self, component: Mapping[str, Any]) -> int:
        """Return the code of a component, by everything that the page shows of it."""
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
            f"{instead}: {component.get('because') or 'no reason was recorded'}" if instead else "",
        )
        return self.components.of(about)


class _StageTable:
    """The stages of a run as columns. A cell refers to its stages and all their inputs by index, inputs first."""

    def __init__(self, stages: Sequence[Mapping[str, Any]]) -> None:
        self._stages = stages
        self._at = {str(s.get("key")): i for i, s in enumerate(stages)}
        self._inputs = [json.loads(s.get("inputs") or "{}") for s in stages]
        self._known: dict[str, str] = {}

    def of(self, text: str | None) -> str:
        """Return the indices of a cell's stages, joined by blanks, from the JSON of its column ``stages``.

        Stages that the record of the run does not list are left out.
        """
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
        """Return the columns of all stages. Seeds are text, because JavaScript has no exact integers above 2**53."""

        def column(name: str) -> Iterable[Any]:
            return (s.get(name) for s in self._stages)

        return {
            "name": coded(str(v) for v in column("name")),
            "key": coded(str(v)[:DIGITS] for v in column("key")),
            "status": coded(_stage_status(s) for s in self._stages),
            "seconds": coded(_duration(v) for v in column("seconds")),
            "device": coded(str(v or "") for v in column("device")),
            "seed": coded("" if v is None else str(v) for v in column("seed")),
        }


def _run(results: RunResults) -> dict[str, Any]:
    """Return the folder of a run, its seed, and its command, to which ``--cell`` can be added.

    The command is empty if it is not recorded, or is not a ``bench run`` of a suite (a replay or a rescoring).
    """
    run = results.run
    command = offered_words(run.command)
    again = command[:2] == ["bench", "run"] and "--replay" not in command
    return {"place": place(results), "command": command if again else [], "seed": str(run.suite.seed)}


def _stage_status(stage: Mapping[str, Any]) -> str:
    """Return ``computed`` or ``cached`` for a stage that ended well, its status for any other."""
    status = str(stage.get("status"))
    return status if status != "ok" else "cached" if stage.get("cached") else "computed"


def _duration(seconds: float | None) -> str:
    """Return seconds as text; empty for None."""
    return "" if seconds is None else duration(float(seconds))


def _column(table: Any, column: str) -> list[Any]:
    """Return a column with None for missing values; only None if the table, of an earlier schema, lacks the column."""
    if column not in table:
        return [None] * len(table)
    found = table[column]
    return list(found.astype(object).where(found.notna(), None))


def _signed(metric: TableMetric, value: float) -> str:
    """Return a difference as text with its sign."""
    return f"{'+' if value > 0 else ''}{metric.shown(value)}"


def _ranges(numbers: Iterable[int]) -> str:
    """Return numbers in rising order as text, with runs of consecutive numbers abbreviated: ``0-5,9``."""
    runs: list[list[int]] = []
    for n in sorted(set(numbers)):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
