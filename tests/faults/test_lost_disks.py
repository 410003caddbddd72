"""Disks that are full, read-only or lost: one error, finished results are kept, and the same command resumes."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from injecting import Lab, Reference, Tally, computed, has, only_error
from processes import wait_until
from support import Command

Disk = Callable[..., Path]


def mount(*arguments: object) -> None:
    """Run ``mount``; the fixture that provides a disk has checked that this is allowed."""
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def large(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Run a suite whose artifacts need more than 50 MB, although the estimate is smaller."""
    sets = [f'{{ plugin = "toy-faces", seed = {i}, auxiliary_images = 4500, label = "faces {i}" }}' for i in range(4)]
    text = f"""\
[suite]
name = "large"

[[experiment]]
name = "one"
datasets = [{", ".join(sets)}]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["toy-mean"]
pairs = 8
"""
    return Reference.shared(tmp_path_factory, bench, "large-reference", text)


def test_a_disk_that_fills_up(large: Reference, lab: Lab, disk: Disk, tally: Tally) -> None:
    place = disk("50m")
    lab = Lab(large, lab.bench, lab.popen, place)
    done = lab.run("--workers", 1)
    assert done.code == 2
    error = only_error(done.err)
    assert "cannot store an artifact: No space left on device" in error
    assert done.left == []
    before = lab.manifests()
    assert before, "it did not fill up at once"
    assert list((place / "results" / ".cache" / "tmp").iterdir()) == []

    mount("-o", "remount,size=200m", place)
    again = lab.run("--workers", 1)
    assert again.code == 0, again.err
    after = lab.manifests()
    assert {key: after[key] for key in before} == before, "what was finished was computed again"
    assert max(computed(lab.events()).values()) == 1
    tally.compare("a disk of 50 MB that fills up", 1, lab.folder, large.folder)


def test_a_folder_that_becomes_read_only_and_a_disk_without_room_for_rows(lab: Lab, disk: Disk, tally: Tally) -> None:
    """All stages are finished, but their rows cannot be written."""
    place = disk("60m")
    lab = replace(lab, out=place)
    running = lab.start("--workers", 1)
    wait_until(lambda: has(lab, "verification of slow 3 by toy-a on toy-faces"), "the end of the stages")
    running.kill()
    wait_until(running.alone, "the workers to end")
    before = lab.manifests()

    mount("-o", "remount,ro", place)
    done = lab.run("--workers", 1)
    assert done.code == 2
    assert "cannot be written (Read-only file system)" in only_error(done.err)
    mount("-o", "remount,rw", place)

    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):  # until the disk is full
        while file.write(bytes(4096)):
            pass
    done = lab.run("--workers", 1)
    assert done.code == 2
    error = only_error(done.err)
    assert "No space left on device" in error or "MB are free" in error
    filler.unlink()

    again = lab.run("--workers", 1)
    assert again.code == 0, again.err
    after = lab.manifests()
    assert {key: after[key] for key in before} == before
    tally.compare("a folder that cannot be written", 1, lab.folder, lab.reference.folder)
    tally.compare("a disk that is full when rows are written", 1, lab.folder, lab.reference.folder)


@pytest.mark.parametrize("how", ["renamed", "unmounted"])
def test_a_folder_that_is_lost_in_the_middle(
    gated: Lab, tally: Tally, tmp_path: Path, disk: Disk, full: bool, how: str
) -> None:
    """A network folder disappears and comes back later; meanwhile nothing is written in its place."""
    if not full and how != "renamed":
        pytest.skip("part of the full suite")
    gate, there, away = tmp_path / "gate", tmp_path / "there", tmp_path / "away"
    there.mkdir()
    if how == "unmounted":
        disk("1m")  # This skips the test if mounting is not allowed.
        away.mkdir()
        mount("--bind", away, there)
    lab = replace(gated, out=there / "out")
    running = lab.start("--workers", 3, env={"TOY_GATE": str(gate)})
    wait_until(lambda: has(lab, "verification of identity by toy-a on toy-photos"), "the stages without the gate")
    wait_until(Path(f"{gate}.reached").exists, "the gate")
    before = lab.manifests()
    if how == "unmounted":
        subprocess.run(["umount", "--lazy", str(there)], check=True)
    else:
        there.rename(away)
    gate.touch()
    code, _, err = running.end()
    assert code == 2, err
    error = only_error(err)
    assert "cannot store an artifact" in error or "the folder is gone" in error
    wait_until(running.alone, "the workers to end")
    assert not there.exists() or list(there.iterdir()) == [], "something was written in the place of the lost folder"

    if how == "unmounted":
        mount("--bind", away, there)
    else:
        away.rename(there)
    try:
        again = lab.run("--workers", 1)
        assert again.code == 0, again.err
        after = lab.manifests()
        assert {key: after[key] for key in before} == before
        tally.compare(f"a folder that is lost in the middle: {how}", 1, lab.folder, lab.reference.folder)
    finally:
        if how == "unmounted":
            subprocess.run(["umount", "--lazy", str(there)], check=False, capture_output=True)
