"""Damaged artifacts, simultaneous runs, and disks that are full or read-only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from processes import Running, assert_same_rows, manifests, run_folders, wait_until
from support import Command, ToyRun

Disk = Callable[..., Path]
SMALL = """\
[suite]
name = "small"
[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["identity", "toy-mean"]
pairs = 8
"""


def stage_files(toy_run: ToyRun, out: Path, name: str) -> list[Path]:
    """Return the files of the artifact of the stage with this name."""
    import json

    for path in (out / "results" / ".cache").glob("??/*/manifest.json"):
        if json.loads(path.read_text())["name"] == name:
            return sorted(p for p in path.parent.iterdir() if p != path)
    raise AssertionError(f"no stage {name!r}")


def flip_a_byte(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_damaged_artifacts_are_computed_again(bench: Command, toy_run: ToyRun, tmp_path: Path) -> None:
    out = toy_run.copy(tmp_path / "out")
    before = manifests(out)
    damaged = [
        stage_files(toy_run, out, "image similarity of toy-mean on toy-faces")[0],
        stage_files(toy_run, out, "toy-faces protected by toy-mean")[0],
        stage_files(toy_run, out, "verification of identity by toy-b on toy-faces")[0],
    ]
    flip_a_byte(damaged[0])
    flip_a_byte(damaged[1])
    damaged[2].write_bytes(b"")
    done = bench("run", "--no-report", toy_run.suite, "--out", out, "--device", "cpu", "--workers", "1")
    assert done.code == 0, done.err
    for path in damaged:
        assert "note: damaged artifact, computing it again" in done.err
        assert path.parent.name in done.err.replace("\n", "")
    after = manifests(out)
    assert {key for key in before if after[key] != before[key]} == {path.parent.name for path in damaged}
    assert f"3 stages to compute, {len(before) - 3} in the cache" in done.err
    assert "3 stages computed" in done.err
    assert_same_rows(run_folders(out)[0], toy_run.folder)


def test_damage_to_unused_artifacts_computes_nothing(bench: Command, toy_run: ToyRun, tmp_path: Path) -> None:
    out = toy_run.copy(tmp_path / "out")
    flip_a_byte(stage_files(toy_run, out, "toy-faces protected by identity")[0])
    done = bench("run", "--no-report", toy_run.suite, "--out", out, "--device", "cpu", "--workers", "1")
    assert done.code == 0, done.err
    assert "0 stages computed" in done.err


def test_two_runs_at_once(start: Callable[..., Running], toy_run: ToyRun, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    command = ("run", "--no-report", "small.toml", "--device", "cpu", "--workers", "1")
    both = [start(*command, cwd=tmp_path) for _ in range(2)]
    for running in both:
        code, out, err = running.end()
        assert code == 0, err
        assert "Traceback" not in err
        assert "cells: 2 ok, 0 skipped, 0 failed" in out
        wait_until(running.alone, "the workers to end")
    folders = run_folders(tmp_path)
    assert 1 <= len(folders) <= 2
    assert_same_rows(folders[0], folders[-1])
    leftovers = list((tmp_path / "results" / ".cache" / "tmp").iterdir())
    assert leftovers == []


def test_a_disk_that_fills_up_is_one_error(bench: Command, disk: Disk, tmp_path: Path) -> None:
    """The size estimate does not know a parameter of this data set, so the disk fills up during the run."""
    (tmp_path / "small.toml").write_text(SMALL)
    place = disk("8m")
    large = 'experiment[0].datasets=[{ plugin = "toy-faces", auxiliary_images = 4000 }]'
    done = bench(
        "run",
        "--no-report",
        tmp_path / "small.toml",
        "--out",
        place,
        "--device",
        "cpu",
        "--workers",
        "1",
        "--set",
        large,
    )
    assert done.code == 2
    assert "Traceback" not in done.err
    errors = [line for line in done.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, done.err
    assert "cannot store an artifact" in errors[0]
    assert "No space left on device" in errors[0]
    assert list((place / "results" / ".cache" / "tmp").iterdir()) == []

    smaller = bench("run", "--no-report", tmp_path / "small.toml", "--out", place, "--device", "cpu", "--workers", "1")
    assert smaller.code == 0, smaller.err


def test_nothing_is_written_to_a_disk_that_is_too_small(bench: Command, disk: Disk, toy_run: ToyRun) -> None:
    place = disk("1m")
    done = bench("run", "--no-report", toy_run.suite, "--out", place, "--device", "cpu", "--workers", "1")
    assert done.code == 2
    assert "the run needs about" in done.err
    assert "make room, lower --pairs, or choose another disk with --out" in done.err
    assert list(place.iterdir()) == []


def test_a_read_only_disk_is_one_error(bench: Command, disk: Disk, toy_run: ToyRun) -> None:
    place = disk("8m", "ro")
    for command in (["run", toy_run.suite], ["report", toy_run.folder]):
        done = bench(*command, "--out", place)
        assert done.code == 2
        assert done.err.endswith(
            f"Error: {place}: cannot be written (Read-only file system); choose another folder with --out\n"
        )
    assert bench("doctor", "--out", place).code == 1
    assert bench("plan", toy_run.suite, "--out", place).code == 0
