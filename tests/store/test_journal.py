"""The journal: the events that a run records while it is computed, and what can be read after it was killed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support import SUITE

from bench.core.domain import Event, Stage, StageResult
from bench.core.errors import StorageError
from bench.planning.plan import Plan
from bench.store.journal import NAME, Journal, Reader, last_results, read


@pytest.fixture
def stage(plan_text: Callable[..., Plan]) -> Stage:
    """Any stage."""
    return next(iter(plan_text(SUITE).stages.values()))


def ended(stage: Stage, status: str = "ok", **more: object) -> StageResult:
    """A result of a stage."""
    about = {"key": stage.key, "status": status, "cached": False, "seconds": 1.5, "peak_mb": 2.0, "device": "cpu"}
    return StageResult(**{**about, **more})  # type: ignore[arg-type]


def test_events_are_lines_with_time_and_session(tmp_path: Path) -> None:
    with Journal(tmp_path / "run") as first:
        first.write("run-started", pid=1)
    with Journal(tmp_path / "run") as second:
        second.write("run-ended", status="complete", counts={"ok": 1})
    lines = (tmp_path / "run" / NAME).read_text().splitlines()
    assert len(lines) == 2
    one, other = read(tmp_path / "run")
    assert [json.loads(text) for text in lines] == [one, other]
    assert (one["event"], one["pid"], one["session"]) == ("run-started", 1, first.session)
    assert (other["event"], other["counts"], other["session"]) == ("run-ended", {"ok": 1}, second.session)
    assert first.session != second.session
    assert abs((datetime.fromisoformat(one["time"]) - datetime.now(UTC)).total_seconds()) < 60


def test_what_an_engine_tells(tmp_path: Path, stage: Stage) -> None:
    bad = ended(stage, "failed", reason="it broke", traceback="a traceback", log="a log\nof two lines", attempts=2)
    events = [
        Event(kind="planned", stages=[stage], cells=3, total=9, path_seconds={stage.key: 7.5}),
        Event(kind="started", stage=stage, attempt=2, batch=16),
        Event(kind="progress", stage=stage, share=0.5),
        Event(kind="retried", stage=stage, message="no memory", batch=8),
        Event(kind="damaged", stage=stage, message="a bit flipped"),
        Event(kind="stopping", stages=[stage]),
        Event(kind="finished", stage=stage, result=bad, worker="here:7"),
    ]
    with Journal(tmp_path) as journal:
        for event in events:
            journal.record(event)
    planned, started, retried, damaged, stopping, finished = read(tmp_path)
    assert (planned["event"], planned["cells"], planned["stages"]) == ("planned", 3, 9)
    assert planned["compute"][stage.key]["behind"] == 7.5
    about = {"key": stage.key, "kind": stage.kind, "name": stage.name}
    for event in (started, retried, damaged, finished):
        assert about.items() <= event.items()
    assert (started["event"], started["attempt"], started["batch"]) == ("stage-started", 2, 16)
    assert (retried["event"], retried["reason"], retried["batch"]) == ("stage-retried", "no memory", 8)
    assert (damaged["event"], damaged["message"]) == ("damaged", "a bit flipped")
    assert (stopping["event"], stopping["running"]) == ("run-interrupted", 1)
    assert (finished["event"], finished["worker"], finished["log"]) == ("stage-finished", "here:7", bad.log)
    assert last_results(tmp_path) == {stage.key: bad}


def test_the_last_end_of_a_stage_counts(tmp_path: Path, stage: Stage) -> None:
    with Journal(tmp_path) as journal:
        journal.record(Event(kind="finished", stage=stage, result=ended(stage, "failed", reason="it broke")))
        journal.record(Event(kind="finished", stage=stage, result=ended(stage)))
    assert last_results(tmp_path) == {stage.key: ended(stage)}


def test_a_torn_line_is_skipped_and_closed(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.write("run-started")
        journal.write("run-ended")
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:-20])
    assert [e["event"] for e in read(tmp_path)] == ["run-started"]
    with Journal(tmp_path) as journal:
        journal.write("run-ended", status="complete")
    assert [e["event"] for e in read(tmp_path)] == ["run-started", "run-ended"]
    assert [e.get("status") for e in read(tmp_path)] == [None, "complete"]


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"[]", b"3", b'"text"', b"{}", b'{"time": 1, "event": "x", "session": "y"}', b""]
)
def test_what_is_no_event_is_skipped(tmp_path: Path, line: bytes) -> None:
    with Journal(tmp_path) as journal:
        journal.write("run-started")
        os.write(journal._file, line + b"\n")
        journal.write("run-ended")
    assert [e["event"] for e in read(tmp_path)] == ["run-started", "run-ended"]


def test_a_reader_goes_on_where_it_was(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    assert list(reader.new()) == []
    with Journal(tmp_path) as journal:
        journal.write("run-started")
        os.write(journal._file, b'{"half": ')
        assert [e["event"] for e in reader.new()] == ["run-started"]
        os.write(journal._file, b"1}\n")
        journal.write("run-ended")
    assert [e["event"] for e in reader.new()] == ["run-ended"]
    assert list(reader.new()) == []


def test_who_listens_hears_every_line(tmp_path: Path) -> None:
    heard: list[str] = []
    with Journal(tmp_path, heard.append) as journal:
        journal.write("run-started")
    assert heard == (tmp_path / NAME).read_text().splitlines()


def test_no_journal_tells_nothing(tmp_path: Path) -> None:
    assert list(read(tmp_path)) == []
    assert last_results(tmp_path) == {}


def test_a_folder_in_its_place_is_one_message(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(StorageError, match=r"journal\.jsonl: cannot be written"), Journal(tmp_path):
        pass
    with pytest.raises(StorageError, match=r"journal\.jsonl: cannot be read"):
        list(read(tmp_path))


@pytest.mark.parametrize("room", [0, 10])
def test_a_full_disk_is_one_message_and_costs_no_other_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    real = os.write

    def write(file: int, data: bytes) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return real(file, data[:room])

    with Journal(tmp_path) as journal:
        journal.write("run-started")
        with monkeypatch.context() as full:
            full.setattr(os, "write", write)
            with pytest.raises(StorageError, match="No space left on device"):
                journal.write("run-ended", status="complete")
    with Journal(tmp_path) as journal:
        journal.write("run-started")
    assert [e["event"] for e in read(tmp_path)] == ["run-started", "run-started"]
