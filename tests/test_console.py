"""What the terminal shows: durations, progress, and text from strangers that is never taken for markup."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from support import SUITE

from bench.console import Progress, duration, show_plugins
from bench.engine import Event
from bench.plan import Plan, make_plan
from bench.plugins import Plugin, Registry
from bench.suite import load
from bench.types import Stage, StageResult


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.04, "0.0 s"),
        (0.25, "0.2 s"),
        (1, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.fixture
def plan(tmp_path: Path, registry: Registry) -> Plan:
    """The plan of the toy suite."""
    (tmp_path / "toy.toml").write_text(SUITE)
    return make_plan(load(tmp_path / "toy.toml", registry), registry, "cpu")


def ended(stage: Stage, status: Any = "ok", reason: str | None = None) -> Event:
    """The event of a finished stage."""
    result = StageResult(
        key=stage.key, status=status, cached=False, seconds=1.0, peak_mb=1.0, device="cpu", reason=reason
    )
    return Event(kind="finished", stage=stage, result=result)


def test_progress_counts_what_is_done(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, *_ = plan.stages.values()
    with Progress(plan) as progress:
        progress.on_event(Event(kind="started", stage=first))
        progress.on_event(ended(first))
        progress.on_event(Event(kind="started", stage=second))
        progress.on_event(ended(second, "failed", "ValueError: [bold]no[/bold] [/] good"))
        progress.on_event(Event(kind="damaged", stage=first, message="[red]damaged[/red]"))
    captured = capsys.readouterr()
    err = captured.err.replace("\n", " ")
    assert captured.out == ""
    assert f"suite toy: {len(plan.cells)} cells, {len(plan.stages)} stages, device cpu" in err
    assert "ValueError: [bold]no[/bold] [/] good" in err
    assert "note: [red]damaged[/red]" in err
    assert "1 stages computed" in err


def test_progress_says_nothing_more_when_it_is_interrupted(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Progress(plan):
        raise KeyboardInterrupt
    assert "computed" not in capsys.readouterr().err


def test_reasons_are_no_markup(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = Plugin(name="odd", module="odd", distribution="odd", version="[/]", reason="[/red] [bold]x")
    show_plugins(dataclasses.replace(registry, plugins=[plugin]), as_json=False)
    assert "[/red] [bold]x" in capsys.readouterr().out
