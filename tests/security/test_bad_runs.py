"""One bad run folder is one line in a list and one message elsewhere, and locks nobody out of the others."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stranger import GOLDEN, Stranger


def written(content: bytes) -> Callable[[Path], object]:
    return lambda record: record.write_bytes(content)


def dangling(record: Path) -> None:
    record.unlink()
    record.symlink_to("gone")


def loop(record: Path) -> None:
    record.unlink()
    record.symlink_to(record)


def infinite(record: Path) -> None:
    about = json.loads(record.read_text())
    record.write_text(json.dumps({**about, "seconds": float("inf"), "timeout_s": float("nan"), "started": 10**400}))


BAD: dict[str, Callable[[Path], object]] = {
    "brackets": written(b"[" * 100_000),
    "braces": written(b'{"a":' * 100_000),
    "infinity": written(b'{"schema": Infinity, "suite": {"name": "golden"}}'),
    "many digits": written(b'{"schema": ' + b"9" * 5_000 + b"}"),
    "infinite numbers": infinite,
    "no text": written(bytes(range(256))),
    "empty": written(b""),
    "dangling": dangling,
    "loop": loop,
    "a folder": lambda record: (record.unlink(), record.mkdir()),
    "a pipe": lambda record: (record.unlink(), os.mkfifo(record)),
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_a_bad_record_is_one_line_and_one_message(stranger: Stranger, change: Callable[[Path], object]) -> None:
    sound = stranger.folder.with_name("20250101-000000-00000000")
    shutil.copytree(GOLDEN, sound)
    change(stranger.folder / "run.json")
    listed = stranger.bench("runs", "ls")
    assert listed.exit_code == 0
    lines = [line for line in listed.stdout.splitlines() if "golden" in line]
    assert sorted(line.split()[1] for line in lines) == [sound.name, stranger.folder.name]
    run = stranger.folder
    for command in (["report", run], ["claims", run], ["export", run, "--table", "VII"], ["status", run]):
        done = stranger.bench(*command)
        # The status of a run whose record is a link to nothing comes from its journal, as before it has a record.
        assert done.exit_code == 2 or (command[0] == "status" and change in (dangling, loop))
        assert done.exit_code == 0 or (done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1)
    assert stranger.bench("report", sound).exit_code == 0
    everything = stranger.bench("status")
    assert everything.exit_code == 0
    assert sound.name in everything.stdout


@pytest.mark.parametrize("run", ["n" * 300, "a/" * 3000, "\0", "", "..", "/", "~"])
def test_an_argument_that_names_no_run_is_one_message(stranger: Stranger, run: str) -> None:
    for command in ("report", "status", "claims"):
        done = stranger.bench(command, run)
        assert (done.exit_code, done.stderr.count("\n")) in ((2, 1), (0, 0))


FURTHER: dict[str, pa.Array] = {
    "a time zone of a path": pa.array([0], pa.timestamp("us", tz="../../../etc/passwd")),
    "a day in the year 2,941,775": pa.array([2**30], pa.int32()).cast(pa.date32()),
    "bytes that are no text": pa.array([b"\xff\x00"]),
}


@pytest.mark.parametrize("further", FURTHER.values(), ids=FURTHER)
@pytest.mark.parametrize("table", ["cells", "samples/verification", "samples/images"])
def test_a_further_column_of_any_type_is_no_traceback(stranger: Stranger, table: str, further: pa.Array) -> None:
    places = [stranger.folder / f"{table}.parquet"]
    if "/" in table:
        places = sorted((stranger.folder / table).rglob("*.parquet"))
    assert places
    for place in places:
        rows = pq.read_table(place, partitioning=None)
        column = pa.chunked_array([pa.concat_arrays([further] * rows.num_rows)])
        pq.write_table(rows.append_column("extra_x", column), place)
    commands = stranger.reading_commands()
    commands.append(["export", str(stranger.folder), "--rows", "verification", "-o", str(stranger.home / "x.csv")])
    commands.append(["export", str(stranger.folder), "--rows", "images", "-o", str(stranger.home / "y.csv")])
    for command in commands:
        done = stranger.bench(*command)
        assert done.exit_code in (0, 2), command
        assert done.exit_code == 0 or done.stderr.startswith("Error: "), command


@pytest.mark.parametrize("command", [["report"], ["export", "--table", "VII"], ["claims"], ["diff"]])
def test_lost_rows_are_no_smaller_n(stranger: Stranger, command: list[str]) -> None:
    path = stranger.folder / "samples/verification/experiment=recognition/part-00000.parquet"
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.slice(0, len(table) - 3), path)
    run = [str(stranger.folder)] * (2 if command == ["diff"] else 1)
    done = stranger.bench(command[0], *run, *command[1:])
    assert done.exit_code == 2
    assert "one per pair" in done.stderr
    assert "run the suite again" in done.stderr
