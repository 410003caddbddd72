"""The output of ``bench explain``, as text for the terminal or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.cli.cleanup_output import amount
from bench.cli.console import out, table_of
from bench.cli.terminal import say_json
from bench.core.text import duration
from bench.runs.explain import ExplainedComponent, ExplainedStage, Explanation


def show_cell(cell: Explanation, *, as_json: bool) -> None:
    """Print an explanation of a cell: its coordinates and components, its status, its stages, and the commands that
    compute it again."""
    if as_json:
        say_json(asdict(cell))
        return
    out.print(f"cell {cell.cell} of {cell.run}", soft_wrap=True)
    coordinates = ", ".join(f"{axis} {value}" for axis, value in cell.axes.items())
    out.print(f"  {coordinates}", soft_wrap=True)
    _show_words(cell.words)
    out.print("components", style="bold")
    for part in cell.parts:
        _show_part(part)
    _show_end(cell.facts)
    if cell.stages:
        _show_stages(cell.stages, incomplete=cell.incomplete)
    for what, command in cell.commands.items():
        out.print(f"{what}:", style="bold")
        out.print(f"  {command}", soft_wrap=True)


def _show_words(words: Mapping[str, str]) -> None:
    for heading, text in words.items():
        out.print(f"{heading}: {text}", soft_wrap=True)


def _show_part(part: ExplainedComponent) -> None:
    """Print a component with its parameters, and mark those that the suite sets."""
    of = f"{part.name} of {part.distribution}"
    named = "" if part.label == part.name else f" {part.label}:"
    out.print(f"  {part.role}:{named} {of}", soft_wrap=True)
    if part.instead_of:
        why = f", because {part.because}" if part.because else ""
        out.print(f"    stands in for {part.instead_of}{why}", soft_wrap=True, style="yellow")
    for note in part.notes:
        out.print(f"    note: {note}", soft_wrap=True, style="yellow")
    values = [f"{k} = {_value(v)}{' (from the suite)' if k in part.passed else ''}" for k, v in part.params.items()]
    if values:
        out.print(f"    {', '.join(values)}", soft_wrap=True)


def _value(value: Any) -> str:
    return json.dumps(value, default=str)


def _show_end(facts: Mapping[str, Any]) -> None:
    """Print the status of a cell and its cost, the reason for it, and the traceback and output of a failed stage."""
    status = facts["status"]
    style = {"ok": "green", "failed": "red", "timeout": "red"}.get(status, "yellow")
    took = ""
    if facts["seconds"] is not None:
        took = f" ({duration(facts['seconds'])} of stages, {facts['peak_mb'] or 0:.0f} MB at most, {facts['device']})"
    out.print(f"status: {status}{took}", style=style, soft_wrap=True)
    if facts["reason"]:
        out.print(f"reason: {facts['reason']}", soft_wrap=True)
    if facts["batch"] is not None:
        out.print(f"memory allowed no more than {facts['batch']:.0f} samples at a time", soft_wrap=True)
    for name, heading in (("traceback", "traceback:"), ("log", "what was printed:")):
        if facts[name]:
            out.print(heading, style="bold")
            out.print(str(facts[name]).rstrip(), soft_wrap=True)


def _show_stages(stages: Sequence[ExplainedStage], *, incomplete: bool) -> None:
    """Print the stages of a cell with their keys, status and cost, and the folders of their artifacts."""
    table = table_of("stage", "key", "status", "time", "memory", "batch", numbers=range(3, 6))
    for stage in stages:
        status = f"{stage.status}, cached" if stage.cached else stage.status
        took = [duration(stage.seconds), amount(round(stage.peak_mb * 1e6))]
        took.append("as planned" if stage.batch is None else f"{stage.batch:.0f}")
        style = None if stage.status == "ok" else "red" if stage.status in ("failed", "timeout") else "yellow"
        name = f"{stage.kind}: {stage.name}"
        table.add_row(name, stage.key[:16], status, *(took if stage.status != "queued" else ()), style=style)
    out.print(table)
    kept = [stage.artifact for stage in stages if stage.artifact]
    if kept:
        out.print("artifacts", style="bold")
        for folder in kept:
            out.print(f"  {folder}", soft_wrap=True)
    if incomplete:
        out.print("some stages are not in the cache: what those were made from is not known", style="yellow")
