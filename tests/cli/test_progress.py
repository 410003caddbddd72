"""The progress that is shown while a run is computed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support import SUITE

from bench.cli.progress import Progress
from bench.core.domain import Event, Stage, StageResult
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry
from bench.suite.suite import load


@pytest.fixture
def plan(tmp_path: Path, registry: Registry) -> Plan:
    """The plan of the toy suite."""
    (tmp_path / "toy.toml").write_text(SUITE)
    return make_plan(load(tmp_path / "toy.toml", registry), registry, "cpu")


def ended(stage: Stage, status: Any = "ok", reason: str | None = None) -> Event:
    """Return the event of a stage that ended with a status."""
    result = StageResult(
        key=stage.key,
        status=status,
        cached=False,
        seconds=1.0,
        peak_mb=1.0,
        device="cpu",
        reason=reason,
        failed_stage=None if status == "ok" else stage.key,
    )
    return Event(kind="finished", stage=stage, result=result)


def test_progress_counts_what_is_done(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, *_ = plan.stages.values()
    with Progress(plan, 1) as progress:
        progress.on_event(Event(kind="started", stage=first))
        progress.on_event(ended(first))
        progress.on_event(Event(kind="started", stage=second))
        progress.on_event(ended(second, "failed", f"{second.name}: ValueError: [bold]no[/bold] [/] good"))
        progress.on_event(Event(kind="damaged", stage=first, message="[red]damaged[/red]"))
    captured = capsys.readouterr()
    err = captured.err.replace("\n", " ")
    assert captured.out == ""
    assert f"suite toy: {len(plan.cells)} cells, {len(plan.stages)} stages, " in err
    assert "ValueError: [bold]no[/bold] [/] good" in err
    assert "note: [red]damaged[/red]" in err
    assert "1 stage computed" in err
    assert "1 failed" in err


def planned(plan: Plan) -> Event:
    """Return the event that lists all stages of a plan as to be computed."""
    return Event(kind="planned", stages=tuple(plan.stages.values()))


def test_progress_says_what_is_to_come(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(plan, 1) as progress:
        progress.on_event(Event(kind="planned", stages=tuple(plan.stages.values())[:3]))
    err = capsys.readouterr().err.replace("\n", " ")
    assert f"3 stages to compute, {len(plan.stages) - 3} in the cache or not needed" in err


def test_a_log_file_is_not_filled_with_progress(
    plan: Plan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line is printed when the first stage is done, then one every 30 seconds, however often stages report."""
    now = 1000.0
    monkeypatch.setattr("bench.cli.progress.time.monotonic", lambda: now)
    first, second, *_ = plan.stages.values()
    with Progress(plan, 1) as progress:
        progress.on_event(planned(plan))
        progress.on_event(Event(kind="started", stage=first))
        progress.on_event(ended(first))
        progress.on_event(Event(kind="started", stage=second))
        capsys.readouterr()
        for tick in range(1, 61):
            now = 1000.0 + 2 * tick
            progress.on_event(Event(kind="progress", stage=second, share=tick / 100))
        lines = [line for line in capsys.readouterr().err.splitlines() if " done, " in line]
    assert 3 <= len(lines) <= 5, lines
    assert "1 done, 1 running" in lines[-1]
    assert second.name in lines[-1]
    assert re.search(r"\d+ %", lines[-1])


def test_a_log_file_tells_of_a_long_first_stage(
    plan: Plan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("bench.cli.progress.time.monotonic", lambda: now)
    first = next(iter(plan.stages.values()))
    with Progress(plan, 1) as progress:
        progress.on_event(planned(plan))
        progress.on_event(Event(kind="started", stage=first))
        for _ in range(7):
            now += 10
            progress.on_event(Event(kind="progress", stage=first, share=0.25))
    lines = [line for line in capsys.readouterr().err.splitlines() if " done, " in line]
    assert len(lines) == 1  # after 40 s, and not again before 71 s
    assert "40.0 s: 0 done, 1 running" in lines[0]
    assert lines[0].endswith(f"{first.name} 25 %")


def test_the_reported_share_of_a_stage_counts_for_the_time_left(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.cli.progress._DRAW_S", -1.0)
    stage = max(plan.stages.values(), key=lambda s: s.cost)
    with Progress(plan, 1) as progress:
        progress.interactive = True
        progress.on_event(planned(plan))
        total = sum(s.cost for s in plan.stages.values())
        assert progress.time_left.total == pytest.approx(total)
        progress.on_event(Event(kind="started", stage=stage))
        progress.on_event(Event(kind="progress", stage=stage, share=0.5))
        half = progress.bar.tasks[0].completed
        assert half == pytest.approx(0.5 * stage.cost / total)
        progress.on_event(ended(stage))
        assert progress.bar.tasks[0].completed == pytest.approx(2 * half)
        assert (progress.shares, progress.running) == ({}, {})


def test_the_largest_running_stage_is_named_on_a_terminal(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.cli.progress._DRAW_S", -1.0)
    small, *_, large = sorted(plan.stages.values(), key=lambda s: s.cost)
    with Progress(plan, 1) as progress:
        progress.interactive = True
        progress.on_event(planned(plan))
        for stage, share in ((small, 0.9), (large, 0.25)):
            progress.on_event(Event(kind="started", stage=stage))
            progress.on_event(Event(kind="progress", stage=stage, share=share))
        assert progress.bar.tasks[0].fields["state"].endswith(f"; {large.name} 25 %")


@pytest.mark.parametrize(
    ("n", "says"), [(1, "1 stage is running and gets a moment"), (2, "2 stages are running and get")]
)
def test_progress_says_how_many_stages_are_stopped(
    plan: Plan, capsys: pytest.CaptureFixture[str], n: int, says: str
) -> None:
    with Progress(plan, 1) as progress:
        progress.on_event(Event(kind="stopping", stages=tuple(plan.stages.values())[:n]))
    assert f"stopping: {says}" in capsys.readouterr().err.replace("\n", " ")


def test_progress_says_nothing_more_when_it_is_interrupted(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Progress(plan, 1):
        raise KeyboardInterrupt
    assert "computed" not in capsys.readouterr().err
