"""Damaged artifacts, before and during a run: they are computed again with a notice and are never used."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from injecting import Lab, Tally, has
from processes import run_folders, wait_until

SEED = 20261
KINDS = {"faces", "embed", "fit_defense", "protect", "fit_attack", "attack", "score"}


def flip(path: Path, dice: random.Random) -> None:
    """Flip one random bit of a file."""
    data = bytearray(path.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, dice: random.Random) -> None:
    """Truncate a file at a random place."""
    path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)])


def remove(path: Path, dice: random.Random) -> None:
    """Remove a file."""
    path.unlink()


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "a bit flipped": flip,
    "truncated": truncate,
    "removed": remove,
}


def kind_of(folder: Path) -> str:
    """Return the kind of the stage whose artifact is in a folder."""
    return str(json.loads((folder / "manifest.json").read_text())["kind"])


def names(lab: Lab, choose: Callable[[list[Path]], Path]) -> dict[Path, str]:
    """Choose one file of every artifact. Return by path the kind of the file and of its stage."""
    found = {}
    for manifest in sorted((lab.out / "results" / ".cache").glob("??/*/manifest.json")):
        path = choose(sorted(manifest.parent.iterdir()))
        found[path] = f"{path.suffix if path.suffix != '.json' else path.name} of {kind_of(path.parent)}"
    return found


@pytest.mark.parametrize("round_", range(6))
def test_damage_before_a_run(lab: Lab, tally: Tally, full: bool, round_: int) -> None:
    """Each round damages one file of every artifact: first rounds of bit flips, then rounds of other damage."""
    if not full and round_ != 3:
        pytest.skip("a round of the full suite")
    dice = random.Random(SEED + round_)
    shutil.copytree(lab.reference.out, lab.out)
    before = lab.manifests()
    by_number = round_ % 3 if full else None

    def choose(files: list[Path]) -> Path:
        return dice.choice(files) if by_number is None else files[by_number % len(files)]

    chosen = names(lab, choose)
    assert {name.rpartition(" of ")[2] for name in chosen.values()} == KINDS
    done: dict[str, int] = {}
    for path, _ in chosen.items():
        how = "a bit flipped" if round_ < 3 else dice.choice(list(DAMAGES))
        DAMAGES[how](path, dice)
        done[how] = done.get(how, 0) + 1
    again = lab.run("--workers", 2)
    assert again.code == 0, again.err
    assert "Traceback" not in again.err
    noticed = {e["key"] for e in lab.events() if e["event"] == "damaged"}
    assert noticed == set(before), "every artifact was damaged, and every damage was noticed"
    assert again.err.count("note: damaged artifact, computing it again") == len(before)
    after = lab.manifests()
    assert all(after[key] != before[key] for key in before)
    for how, times in done.items():
        tally.compare(f"artifacts before a run: {how}", times, lab.folder, lab.reference.folder)


@pytest.mark.parametrize("how", ["a bit flipped", "truncated", "removed"])
def test_damage_during_a_run(gated: Lab, tally: Tally, tmp_path: Path, full: bool, how: str) -> None:
    """The inputs of later stages are damaged while nothing runs but the stages that wait for the gate."""
    if not full and how != "a bit flipped":
        pytest.skip("part of the full suite")
    lab = gated
    dice, gate = random.Random(SEED), tmp_path / "gate"
    running = lab.start("--workers", 3, env={"TOY_GATE": str(gate)})  # Two workers wait for the gate.
    damaged = [  # the stages, and a file of each artifact
        ("evaluation faces of toy-photos", "images.npy"),
        ("embeddings of calibration faces of toy-photos by toy-a", "tensors.safetensors"),
        ("embeddings of evaluation faces of toy-photos by toy-a", "manifest.json"),
        ("auxiliary faces of toy-photos", "faces.parquet"),
    ]
    last = [
        "image similarity of toy-learner against identity on toy-photos",
        "verification of identity by toy-a on toy-photos",
        "verification of toy-learner against identity by toy-a on toy-photos",
    ]
    wait_until(lambda: has(lab, *(name for name, _ in damaged), *last), "the stages without the gate")
    wait_until(Path(f"{gate}.reached").exists, "the gate")
    keys = set()
    found = [(lab.artifact(name), file) for name, file in damaged]  # before a manifest is damaged
    for folder, file in found:
        keys.add(folder.name)
        DAMAGES[how](folder / file, dice)
    gate.touch()
    code, _, err = running.end()
    assert code == 0, err
    assert "note: damaged artifact, computing it again before" in err
    noticed = {e["key"] for e in lab.events() if e["event"] == "damaged"}
    assert noticed == keys
    tally.compare(f"artifacts during a run: {how}", len(damaged), lab.folder, lab.reference.folder)


def test_damage_between_the_last_stage_and_the_rows(gated: Lab, tally: Tally, tmp_path: Path, full: bool) -> None:
    """A damaged score artifact, which no stage reads, is computed again before its rows are written."""
    if not full:
        pytest.skip("part of the full suite")
    lab = gated
    dice, gate = random.Random(SEED), tmp_path / "gate"
    running = lab.start("--workers", 3, env={"TOY_GATE": str(gate)})  # Two workers wait for the gate.
    wait_until(Path(f"{gate}.reached").exists, "the gate")
    name = "verification of identity by toy-a on toy-photos"
    wait_until(lambda: has(lab, name), "a score")
    (table,) = lab.artifact(name).glob("*.parquet")
    flip(table, dice)
    gate.touch()
    code, _, err = running.end()
    assert code == 0, err
    assert "note: damaged artifact, computing it again" in err
    assert len([e for e in lab.events() if e["event"] == "damaged"]) == 1
    assert len(run_folders(lab.out)) == 1
    tally.compare("a score damaged before its rows were written", 1, lab.folder, lab.reference.folder)
