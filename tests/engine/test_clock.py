"""The clock of time limits counts neither suspended time nor changes of the machine's time."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import SUITE

from bench.engine import clock, local
from bench.engine.clock import RunningClock
from bench.engine.interrupts import Interruption
from bench.engine.worker import WorkerSetup
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry
from bench.store.artifacts import Cache
from bench.suite.suite import load

WEEK = 7 * 86_400.0


class Clocks:
    """The clocks of a machine, which tests set."""

    def __init__(self) -> None:
        self.monotonic = self.wall = 1_000_000.0

    def pass_by(self, seconds: float, *, tick: float = 0.25) -> Iterator[None]:
        """Let time pass in small steps."""
        for _ in range(round(seconds / tick)):
            self.monotonic += tick
            self.wall += tick
            yield


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """The clocks that bench sees."""
    made = Clocks()
    monkeypatch.setattr(time, "monotonic", lambda: made.monotonic)
    monkeypatch.setattr(time, "time", lambda: made.wall)
    return made


def test_running_time_counts_and_suspended_time_does_not(clocks: Clocks) -> None:
    read = RunningClock()
    for _ in clocks.pass_by(100):
        read()
    assert read() == 100
    clocks.monotonic += WEEK
    assert read() == 100 + clock._USUAL_GAP_S
    clocks.wall -= WEEK
    assert read() == 100 + clock._USUAL_GAP_S


@pytest.fixture
def slot(clocks: Clocks, tmp_path: Path, toy_installed: Registry, monkeypatch: pytest.MonkeyPatch) -> local._Slot:
    """A slot that computes a stage with a limit of 60 s, without a process."""
    (tmp_path / "toy.toml").write_text(SUITE[: SUITE.rindex("[[experiment]]")])
    plan: Plan = make_plan(load(tmp_path / "toy.toml", toy_installed, (), 4), toy_installed, "cpu", timeout_s=60)
    made = local._Slot(Cache(tmp_path), WorkerSetup(1, tmp_path / "log"))
    made.take(next(iter(plan.stages.values())), 32)
    made.began = made.clock()
    return made


@pytest.mark.parametrize("jump", [WEEK, -WEEK, 3600.0])
def test_no_jump_of_a_clock_ends_a_stage(slot: local._Slot, clocks: Clocks, jump: float) -> None:
    for i, _ in enumerate(clocks.pass_by(50)):
        clocks.wall += jump * (-1) ** i
        slot.watch()
    clocks.monotonic += abs(jump)  # suspended
    clocks.wall += abs(jump)
    slot.watch()
    assert slot.ending is None
    for _ in clocks.pass_by(20):
        slot.watch()
    assert slot.ending == ("timeout", "killed after its time limit of 60 s")


# ---- signals ---------------------------------------------------------------------------------------------------------


def test_a_closed_terminal_interrupts_a_run() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGHUP)
        assert interruption.requested
    assert signal.getsignal(signal.SIGHUP) == before


def test_a_run_under_nohup_ignores_the_closed_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGHUP)
            assert not interruption.requested
    finally:
        signal.signal(signal.SIGHUP, before)
