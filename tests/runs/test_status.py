"""The status of a run as another process sees it: from its journal, locks of runs in progress, and progress notes."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import SUITE

from bench.cli import main, progress
from bench.core.domain import Event, Stage, StageResult
from bench.core.errors import StorageError
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry
from bench.runs.status import RunStatus, Watch, runs_at
from bench.runs.time_left import expected
from bench.store.active_runs import alive, announce
from bench.store.artifacts import Cache, Note
from bench.store.journal import NAME, Journal
from bench.store.run_record import RunRecord, SuiteRecord
from bench.store.writing import start_run
from bench.suite.suite import load


@pytest.fixture
def plan(tmp_path: Path, registry: Registry) -> Plan:
    """The plan of the toy suite."""
    (tmp_path / "toy.toml").write_text(SUITE)
    return make_plan(load(tmp_path / "toy.toml", registry), registry, "cpu")


class Session:
    """A session of a run whose events a test writes."""

    def __init__(self, plan: Plan, results: Path, run: str = "1-a", *, announced: bool = True) -> None:
        self.plan = plan
        self.folder = results / "toy" / run
        self.cache = Cache(results / ".cache")
        self.stages = list(plan.stages.values())
        self.contexts = ExitStack()
        self.journal = self.contexts.enter_context(Journal(self.folder))
        if announced:
            about = (self.cache, self.journal.session, "toy", self.folder, plan.stages)
            self.contexts.enter_context(announce(*about))
        start_run(self.folder, self.cache, RunRecord(suite=SuiteRecord(name="toy"), status="running"))
        who = {"pid": os.getpid(), "host": "here", "version": "0", "engine": "local", "workers": 2, "device": "cpu"}
        self.journal.write("run-started", **who)

    def planned(self, *stages: Stage) -> None:
        behind = {stage.key: stage.cost for stage in stages}
        self.journal.record(Event(kind="planned", stages=stages, path_seconds=behind, cells=24, total=len(self.stages)))

    def begin(self, stage: Stage) -> None:
        self.journal.record(Event(kind="started", stage=stage))

    def end(self, stage: Stage, status: Any = "ok", reason: str | None = None, *, cached: bool = False) -> None:
        result = StageResult(
            key=stage.key, status=status, cached=cached, seconds=1, peak_mb=1, device="cpu", reason=reason
        )
        self.journal.record(Event(kind="finished", stage=stage, result=result, worker="here:7"))

    def ended(self, status: str) -> None:
        self.journal.write("run-ended", status=status, seconds=12.5, counts={})
        self.die()

    def die(self) -> None:
        """The process is gone, and its locks with it."""
        self.contexts.close()


@pytest.fixture
def begin(plan: Plan, tmp_path: Path) -> Iterator[Callable[..., Session]]:
    """Begins sessions of the toy suite below ``results``."""
    begun: list[Session] = []

    def make(run: str = "1-a", **more: Any) -> Session:
        begun.append(Session(plan, tmp_path / "results", run, **more))
        return begun[-1]

    yield make
    for session in begun:
        session.die()


def test_a_run_at_work_tells_everything(begin: Callable[..., Session]) -> None:
    run = begin()
    first, second, third, fourth, *rest = run.stages
    run.planned(first, second, third, fourth)
    run.begin(first)
    run.end(first)
    run.begin(second)
    run.begin(third)
    run.cache.note_progress(second.key, Note(share=0.5, worker="here:8", since=time.time() - 30))
    found = Watch(run.folder).look()
    assert (found.state, found.suite, found.cells, found.stages) == ("running", "toy", 24, len(run.stages))
    assert (found.cached, found.done, found.queued) == (len(rest), len(rest) + 1, 1)
    assert [(s.name, s.worker, s.share) for s in found.running] == [
        (second.name, "here:8", 0.5), (third.name, None, None),
    ]  # fmt: skip
    assert 30 <= (found.running[0].seconds or 0) < 60
    assert found.running[1].seconds is None
    assert found.left is not None
    assert found.left > 0
    assert found.session["pid"] == os.getpid()
    assert found.failed == ()


def test_failures_have_reasons_and_followers(begin: Callable[..., Session]) -> None:
    run = begin()
    first, second, third, fourth, *_ = run.stages
    run.planned(first, second, third, fourth)
    run.end(first, "failed", f"{first.name}: ValueError: no good")
    run.end(second, "failed", f"{first.name}: ValueError: no good")
    run.end(third, "timeout", f"{third.name}: killed after its time limit of 5 s")
    found = Watch(run.folder).look()
    told = [(f.name, f.status, f.reason, f.followers) for f in found.failed]
    assert told == [
        (first.name, "failed", "ValueError: no good", 1),
        (third.name, "timeout", "killed after its time limit of 5 s", 0),
    ]
    assert found.queued == 1


@pytest.mark.parametrize("status", ["complete", "incomplete", "interrupted"])
def test_a_run_that_ended_says_how(begin: Callable[..., Session], status: str) -> None:
    run = begin()
    run.planned(*run.stages)
    for stage in run.stages:
        run.end(stage)
    run.ended(status)
    found = Watch(run.folder).look()
    assert (found.state, found.seconds, found.left, found.running) == (status, 12.5, None, ())
    assert (found.done, found.queued) == (len(run.stages), 0)


def test_a_run_that_was_killed_died(begin: Callable[..., Session]) -> None:
    run = begin()
    first, *_ = run.stages
    run.planned(*run.stages)
    run.begin(first)
    watch = Watch(run.folder)
    assert watch.look().state == "running"
    run.die()
    found = watch.look()
    assert (found.state, found.running, found.queued) == ("died", (), len(run.stages))
    assert (found.seconds or 0) < 60
    with (run.folder / NAME).open("a") as file:
        file.write('{"time": "2026-')
    assert watch.look() == found
    again = begin()
    again.planned(*run.stages[1:])
    assert (watch.look().state, watch.look().done) == ("running", 1)


def test_rows_that_were_written_are_an_end(begin: Callable[..., Session]) -> None:
    """Killed between the rows and the last line of the journal; not so when they were written by an earlier session."""
    run = begin()
    run.planned(*run.stages)
    run.die()
    path = run.folder / "run.json"
    record = {**json.loads(path.read_text()), "status": "complete"}
    for finished, state in (("2999-01-01T00:00:00+00:00", "complete"), ("2001-01-01T00:00:00+00:00", "died")):
        path.write_text(json.dumps({**record, "finished": finished}))
        assert Watch(run.folder).look().state == state


def test_only_what_is_new_is_read(begin: Callable[..., Session]) -> None:
    run = begin()
    run.planned(*run.stages)
    watch = Watch(run.folder)
    watch.look()
    before = watch._reader._place
    run.begin(run.stages[0])
    watch.look()
    assert 0 < watch._reader._place - before < 1000


def test_two_runs_of_one_plan_share_one_status(begin: Callable[..., Session]) -> None:
    one = begin()
    first, second, third, *rest = one.stages
    one.planned(first, second, third)
    one.begin(first)
    two = begin()
    two.planned(first, second, third)
    two.begin(first)  # and is told to wait
    two.begin(second)
    one.end(first)
    two.end(first, cached=True)
    watch = Watch(one.folder)
    found = watch.look()
    assert (found.done, [s.name for s in found.running], found.queued) == (len(rest) + 1, [second.name], 1)
    one.ended("interrupted")
    found = watch.look()
    assert (found.state, [s.name for s in found.running]) == ("running", [second.name])
    two.die()
    assert watch.look().state == "died"


def test_a_run_of_an_earlier_bench_has_no_journal(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "old" / "1-a"
    folder.mkdir(parents=True)
    counts = {"cells": 3, "stages": 10, "cached": 2, "computed": 6, "failed_stages": 2}
    stages = [
        {"key": "a", "name": "one", "status": "failed", "reason": "one: bad"},
        {"key": "b", "name": "two", "status": "failed", "reason": "one: bad"},
    ]
    record = {
        "schema": 2,
        "suite": {"name": "old"},
        "status": "incomplete",
        "seconds": 7.0,
        "started": "2025-01-01T00:00:00+00:00",
    }
    (folder / "run.json").write_text(json.dumps({**record, "counts": counts, "stages": stages}))
    found = Watch(folder).look()
    assert (found.state, found.seconds, found.stages, found.done, found.queued) == ("incomplete", 7.0, 10, 8, 0)
    assert [(f.name, f.followers) for f in found.failed] == [("one", 1)]
    assert "ended with failures" in progress.status_text([found]).plain


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 2, "suite": {"name": "toy"}}'])
def test_a_record_that_is_none_is_one_message_or_a_death(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "results" / "toy" / "1-a"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(text)
    if text.startswith('{"schema"'):
        assert Watch(folder).look().state == "died"
    else:
        with pytest.raises(StorageError, match=r"run\.json: expected the record of a run"):
            Watch(folder).look()


def test_a_strange_event_is_one_message(begin: Callable[..., Session]) -> None:
    run = begin()
    run.journal.write("planned", cells=3)
    with pytest.raises(StorageError, match="an event 'planned' that this bench does not understand"):
        Watch(run.folder).look()


def test_without_a_name_all_runs_at_work_else_the_latest(begin: Callable[..., Session], tmp_path: Path) -> None:
    results = tmp_path / "results"
    with pytest.raises(StorageError, match="expected runs, found none; start one with: bench run"):
        runs_at(results, pytest.fail)
    one, two = begin("1-a"), begin("2-b")
    assert sorted(runs_at(results, pytest.fail)) == [one.folder, two.folder]
    one.ended("complete")
    assert runs_at(results, pytest.fail) == [two.folder]
    two.die()
    os.utime(one.folder / "run.json", (time.time() + 5, time.time() + 5))
    assert runs_at(results, pytest.fail) == [one.folder]


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")}


def test_looking_writes_nothing(begin: Callable[..., Session], tmp_path: Path) -> None:
    run = begin()
    run.planned(*run.stages)
    dead = tmp_path / "results" / ".cache" / "running"
    (dead / "0000.json").write_text(
        json.dumps({"session": "0000", "suite": "toy", "folder": "x", "pid": 1, "host": ""})
    )
    (dead / "0000.lock").touch()
    before = snapshot(tmp_path)
    Watch(run.folder).look()
    assert [r.session for r in alive(run.cache)] == [run.journal.session]
    assert snapshot(tmp_path) == before


def status_of(tmp_path: Path, *args: str) -> Any:
    return CliRunner().invoke(main, ["status", *args, "--out", str(tmp_path)], catch_exceptions=False)


def test_the_command_says_it_in_words_and_as_json(begin: Callable[..., Session], tmp_path: Path) -> None:
    run = begin()
    first, second, *_ = run.stages
    run.planned(*run.stages)
    run.begin(first)
    run.cache.note_progress(first.key, Note(share=0.25, worker="here:8", since=time.time()))
    run.end(second, "failed", f"{second.name}: [red]bad[/red]")
    said = status_of(tmp_path, "toy").stdout
    for text in (
        "toy: running for",
        str(run.folder),
        f"led by process {os.getpid()} on here: local engine, 2 workers, cpu",
        f"stages: 0 of {len(run.stages)} done, 1 running, {len(run.stages) - 2} queued, 1 failed",
        " left\n",
        f"here:8: {first.name}, 25 % in ",
        f"failed: {second.name}: [red]bad[/red]",
    ):
        assert text in said, text
    assert re.search(r"25 % in \d+ ms\n", said)
    (told,) = json.loads(status_of(tmp_path, "--json").stdout)
    assert set(told) == set(RunStatus.__dataclass_fields__)
    assert told["running"][0]["worker"] == "here:8"


def test_watching_ends_with_the_run(
    begin: Callable[..., Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin()
    run.planned(*run.stages)
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            run.ended("interrupted")

    monkeypatch.setattr("bench.cli.progress.time.sleep", nap)
    said = status_of(tmp_path, "--watch")
    assert naps == [2.0] * 3
    assert "toy: interrupted after 12.5 s; the same command continues from there" in said.stdout
    assert status_of(tmp_path, "--watch", "--json").exit_code == 2


def test_an_unknown_run_is_one_message(begin: Callable[..., Session], tmp_path: Path) -> None:
    begin().ended("complete")
    done = status_of(tmp_path, "toi")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "did you mean 'toy'?" in done.stderr


def test_the_journal_knows_what_estimates_need(begin: Callable[..., Session]) -> None:
    """From the journal and from the engine the same is expected."""
    run = begin()
    run.planned(*run.stages)
    watch = Watch(run.folder)
    watch.look()
    assert watch._left._todo == expected(run.stages, {s.key: s.cost for s in run.stages})
