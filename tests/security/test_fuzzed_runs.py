"""Whole run folders, changed at random as a stranger or a broken disk might: every command that reads ends with 0, 1 or
2 and one message, writes to reports and nowhere else, and prints nothing that controls a terminal."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stranger import GOLDEN, Stranger, files_of

from bench.core.text import printable

Change = Callable[[Path], object]

TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", "..", "/", "../../x", "\x1b]0;t\x07", "\u202e", "\ud800", "=1+1", "<b>", "running", "complete", "9" * 400]
    ),
)
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([10**400, -1, 0, 2**31, 2**63, 1e308, float("inf")])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places of all values in a JSON document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, one in inner for place in places(one, (*at, key)))]


RECORD = json.loads((GOLDEN / "run.json").read_text())
PLACES = places(RECORD)[1:]
TABLES = sorted(path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*.parquet"))
FILES = ["run.json", "journal.jsonl", *TABLES]
EVENTS = ("run-started", "planned", "stage-started", "stage-finished", "run-ended", "?")


def set_value(folder: Path, place: tuple[Any, ...], value: Any) -> None:
    """Replace a value of the record; nothing happens if an earlier change has removed its place."""
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text())
        holder = record
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = value
        path.write_text(json.dumps(record))
    except (OSError, ValueError, LookupError, TypeError):
        return


def set_column(folder: Path, name: str, column: int, value: Any, row: int | None) -> None:
    """Replace a column of a table, or one value of it; the column may get another type."""
    try:
        table = pq.read_table(folder / name, partitioning=None)
        column %= table.num_columns
        found = table.column(column).to_pylist()
        values = (
            [value] * len(found)
            if row is None
            else [value if i == row % len(found) else v for i, v in enumerate(found)]
        )
        pq.write_table(table.set_column(column, table.column_names[column], pa.array(values)), folder / name)
    except (OSError, pa.ArrowException, OverflowError, TypeError, ValueError, ZeroDivisionError):
        return


def put(folder: Path, name: str, content: bytes) -> None:
    if (folder / name).parent.is_dir():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content)


def remove(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)


def link(folder: Path, name: str, target: str) -> None:
    remove(folder, name)
    if (folder / name).parent.is_dir():
        (folder / name).symlink_to(target)


def cut(folder: Path, name: str, share: float) -> None:
    path = folder / name
    if path.is_file():
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])


def log(folder: Path, events: list[dict[str, Any]]) -> None:
    if not (folder / "journal.jsonl").is_symlink():
        with (folder / "journal.jsonl").open("a") as file:
            file.writelines(json.dumps(event) + "\n" for event in events)


def made(function: Callable[..., None], *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Change]:
    return st.tuples(*arguments).map(lambda given: lambda folder: function(folder, *given))


TIME = st.one_of(st.just("2026-01-01T00:00:00+00:00"), TEXTS)
KEYS = st.sampled_from([row["key"] for row in pq.read_table(GOLDEN / "stages.parquet").to_pylist()])
EVENT = st.fixed_dictionaries(
    {"event": st.sampled_from(EVENTS), "session": TEXTS, "time": TIME},
    optional={
        "key": st.one_of(KEYS, VALUES),
        "status": st.one_of(st.sampled_from(["ok", "failed"]), VALUES),
        "compute": st.one_of(st.dictionaries(TEXTS, VALUES, max_size=2), VALUES),
        **dict.fromkeys(
            ("cached", "seconds", "peak_mb", "device", "workers", "stages", "cells", "pid", "kind"), VALUES
        ),
        **dict.fromkeys(("name", "reason", "failed_stage", "retry", "counts", "traceback", "log", "batch"), VALUES),
    },
)
CHANGE: st.SearchStrategy[Change] = st.one_of(
    made(set_value, st.sampled_from(PLACES), VALUES),
    made(set_value, st.just(("status",)), st.sampled_from(["running", "interrupted", "complete"])),
    made(set_column, st.sampled_from(TABLES), st.integers(0, 60), VALUES, st.one_of(st.none(), st.integers(0, 99))),
    made(put, st.sampled_from(FILES), st.binary(max_size=40)),
    made(put, st.just("run.json"), st.sampled_from([b"[" * 100_000, b"null", b"{}", b"\xff", b'{"schema": Infinity}'])),
    made(remove, st.sampled_from(FILES)),
    made(link, st.sampled_from(FILES), st.sampled_from(["gone", "/etc/hostname", ".", "run.json", "/dev/zero"])),
    made(cut, st.sampled_from(FILES), st.floats(0, 1)),
    made(log, st.lists(EVENT, max_size=4)),
)


def check(changes: list[Change]) -> None:
    """Change a run folder, call every reading command, and check what each does."""
    with tempfile.TemporaryDirectory() as place:
        stranger = Stranger(Path(place) / "home")
        stranger.folder.parent.mkdir(parents=True)
        shutil.copytree(GOLDEN, stranger.folder)
        sound = stranger.folder.with_name("20250101-000000-00000000")
        shutil.copytree(GOLDEN, sound)
        for change in changes:
            change(stranger.folder)
        before = files_of(stranger.home / "results")
        run, other = str(stranger.folder), str(sound)
        together = [["report", run, other], ["export", other, run, "--table", "VII"], ["diff", other, run]]
        for command in [*stranger.reading_commands(), *together, ["rescore", run]]:
            done = stranger.bench(*command)
            assert done.exit_code in (0, 1, 2), (command, done.output)
            assert "Traceback" not in done.stderr, (command, done.stderr)
            assert (done.exit_code == 2) == ("Error: " in done.stderr), (command, done.stderr)
            assert printable(done.output) == done.output, command
        assert files_of(stranger.home / "results") == before
        assert {p.name for p in stranger.home.iterdir()} <= {"results", "reports", "exported.parquet", "exported.svg"}
        assert "20250101" in stranger.bench("runs", "ls").output
        assert stranger.bench("report", sound).exit_code == 0


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(changes=st.lists(CHANGE, min_size=1, max_size=3))
def test_any_run_folder_is_read_or_refused(changes: list[Change]) -> None:
    check(changes)
