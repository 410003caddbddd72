"""Whether a bundle says what follows from the plan of its suite, which was made again: its record, cells and stages.

How a stage ended is what the publisher says. How each cell ended follows from it, and so do counts and reasons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from bench.core.table_sizes import MOST_CELLS, read_table
from bench.core.text import shortened
from bench.planning.plan import Plan
from bench.registry.discovery import Registry
from bench.runs import record as run_records
from bench.runs.recorded_stages import recorded_result
from bench.runs.run import outcome
from bench.store.cell_rows import MEASURED, cell_row
from bench.store.public_runs import Publish, as_published, public_record, public_text
from bench.store.reading import RunResults
from bench.store.run_record import RECORD, ComponentRecord, RunCounts, RunRecord
from bench.store.schema import CELLS
from bench.store.table_check import checked_cells

_OF_STAGE = ("kind", "name", "metric", "seed", "inputs")  # What a plan says of a stage.


def differences_from_plan(
    results: RunResults, record: RunRecord, plan: Plan, registry: Registry
) -> Iterator[Iterator[str]]:
    """Yield what does not agree with a plan, kind by kind: in the record of a run, in its cells, and in its stages.

    Each kind is an iterator of its own, so that a reader can stop after some lines of one and still has the others: a
    stranger may have made very many.
    """
    publish = as_published()
    yield _other_record(results, record, plan, registry, publish)
    yield _other_cells(results, plan, registry, publish)
    yield _other_stages(results, plan, publish)


def cells_by_id(results: RunResults) -> Mapping[str, Mapping[str, Any]]:
    """Return the rows of the cells of a run by their ids."""
    path = results.folder / "cells.parquet"
    return {row["cell"]: row for row in checked_cells(path, read_table(path, MOST_CELLS)).to_pylist()}


def _other_record(
    results: RunResults, record: RunRecord, plan: Plan, registry: Registry, publish: Publish
) -> Iterator[str]:
    """Yield which components, counts and texts of a record are not those of its plan."""
    public = public_record(run_records.of_plan(plan, registry, "local", datetime.now(UTC)), publish)
    for name in ("name", "title", "description", "experiments"):
        if getattr(record.suite, name) != getattr(public.suite, name):
            yield f"{RECORD}: suite.{name}: expected what its suite says, found something else"
    counts = record.counts or RunCounts()
    stages = Counter((row["status"] == "ok", bool(row["cached"])) for row in results.stages)
    computed = stages[True, False]
    cached = len(plan.stages) - computed - stages[False, False] - stages[False, True]
    for name, number in (("stages", len(plan.stages)), ("computed", computed), ("cached", cached)):
        if getattr(counts, name) != number:
            yield f"{RECORD}: counts.{name}: expected {number}, found {getattr(counts, name)}"
    recorded, expected = (list(map(_fixed, of.components)) for of in (record, public))
    for component in expected:
        if component not in recorded:
            words = f"{component.kind} {component.label}"
            yield f"{RECORD}: components: expected {words} as it is here, found another one, or none"
    for component in recorded:
        if component not in expected:
            words = f"{component.kind} {component.label}"
            yield f"{RECORD}: components: expected those that its cells use, as they are here, found {words}"


def _fixed(component: ComponentRecord) -> ComponentRecord:
    """Return a component without what is noticed on a machine: notes, and why a stand-in takes its place."""
    return replace(component, notes=(), because=None)


def _other_cells(results: RunResults, plan: Plan, registry: Registry, publish: Publish) -> Iterator[str]:
    """Yield which cells of a run are not those of its plan: missing, additional, with another label, or ended otherwise
    than their stages."""
    path = results.folder / "cells.parquet"
    stages = {row["key"]: recorded_result(row) for row in results.stages}
    unstable = {key: stage.unstable for key, stage in stages.items() if stage.unstable}
    rows = [cell_row(outcome(cell, plan, stages), registry, unstable) for cell in plan.cells]
    table = checked_cells(path, pa.Table.from_pylist(rows, schema=CELLS))
    planned = {row["cell"]: _public_row(row, publish) for row in table.to_pylist()}
    found = cells_by_id(results)
    for cell in sorted(planned.keys() - found.keys()):
        yield f"cells.parquet: expected the cell {cell} of its suite, found none"
    for cell in sorted(found.keys() - planned.keys()):
        yield f"cells.parquet: expected cells of its suite, found {cell}, which is none"
    for cell in sorted(planned.keys() & found.keys()):
        expected, given = planned[cell], found[cell]
        if _is_skipped(expected) != _is_skipped(given):
            yield f"cells.parquet: cell {cell}: expected one {_skip(expected)}, found one {_skip(given)}"
            continue
        for name in CELLS.names:
            if name not in MEASURED and expected[name] != given[name]:
                wanted, stands = (shortened(str(row[name])) for row in (expected, given))
                yield f"cells.parquet: cell {cell}: {name}: expected {wanted}, found {stands}"


def _other_stages(results: RunResults, plan: Plan, publish: Publish) -> Iterator[str]:
    """Yield which stages of a run are not those of its plan."""
    planned = {row["key"]: row for row in run_records.of_planned_stages(plan)}
    for row in results.stages:
        if row["key"] not in planned:
            yield f"stages.parquet: expected stages of its suite, found {shortened(str(row['name']))}, which is none"
            continue
        expected = {**_public_row(planned[row["key"]], publish), "traceback": None, "log": None}
        for name in (*_OF_STAGE, "traceback", "log"):
            if row[name] != expected[name]:
                wanted, stands = (shortened(str(of[name])) for of in (expected, row))
                yield f"stages.parquet: {name}: expected {wanted}, found {stands}"
        if row["device"] not in (plan.device, "", None):
            yield f"stages.parquet: device: expected {plan.device}, found {shortened(row['device'])}"


def _is_skipped(row: Mapping[str, Any]) -> bool:
    return bool(row["status"] == "skipped")


def _skip(row: Mapping[str, Any]) -> str:
    return f"that is skipped ({shortened(str(row['reason']))})" if _is_skipped(row) else "that is not skipped"


def _public_row(row: Mapping[str, Any], publish: Publish) -> dict[str, Any]:
    """Return the row of a cell or stage as a bundle holds it."""
    return {
        name: public_text(value, "", publish) if isinstance(value, str) and value else value
        for name, value in row.items()
    }
