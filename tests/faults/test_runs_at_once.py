"""Two runs at once on one cache: both finish, and no stage is computed twice."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from injecting import REFERENCE, Lab, Reference, Tally, computed, has, tables
from processes import run_folders, wait_until

OVERLAPPING = REFERENCE.partition('[[experiment]]\nname = "attacks"')[0].replace('name = "faults"', 'name = "others"')


def test_the_same_suite_twice_and_one_that_overlaps(lab: Lab, tally: Tally, tmp_path: Path) -> None:
    others = tmp_path / "others.toml"
    others.write_text(OVERLAPPING)
    other = replace(lab, reference=replace(lab.reference, suite=others))
    running = [lab.start("--workers", 1), lab.start("--workers", 1), other.start("--workers", 1)]
    for run in running:
        code, _, err = run.end()
        assert code == 0, err
        assert "Traceback" not in err
        wait_until(run.alone, "the workers to end")
    count = computed(lab.events())
    assert max(count.values()) == 1, "a stage was computed twice"
    assert set(count) == set(lab.manifests())
    folders = run_folders(lab.out)
    twice = [folder for folder in folders if folder.parent.name == "faults"]
    assert 1 <= len(twice) <= 2
    for folder in twice:
        tally.compare("two runs of one suite at once", 1, folder, lab.reference.folder)

    def ours(row: dict[str, Any]) -> bool:
        return row["experiment"] != "attacks"

    (folder,) = [folder for folder in folders if folder.parent.name == "others"]
    found, expected = tables(folder, ours), tables(lab.reference.folder, ours)
    tally.compare_rows("two runs of overlapping suites at once", 1, found, expected)


def test_one_of_two_is_killed_while_it_computes(gated: Lab, tally: Tally, tmp_path: Path) -> None:
    """The system releases the locks of the killed run, and the other run computes its unfinished stages."""
    lab, gate = gated, tmp_path / "gate"
    first = lab.start("--workers", 3, env={"TOY_GATE": str(gate)})
    wait_until(lambda: has(lab, "verification of identity by toy-a on toy-photos"), "the stages without the gate")
    wait_until(Path(f"{gate}.reached").exists, "the gate")
    before = computed(lab.events())
    Path(f"{gate}.reached").unlink()
    second = lab.start("--workers", 2, env={"TOY_GATE": str(gate)})
    wait_until(lambda: sum(e["event"] == "planned" for e in lab.events()) == 2, "the second to begin")
    first.kill()
    wait_until(first.alone, "its workers to end")
    wait_until(Path(f"{gate}.reached").exists, "the second to take over")
    gate.touch()
    code, _, err = second.end()
    assert code == 0, err
    after = computed(lab.events())
    assert max(after.values()) == 1
    assert all(after[key] == before[key] for key in before)
    (folder,) = run_folders(lab.out)
    tally.compare("kill -9 of one of two runs at once", 1, folder, lab.reference.folder)


def test_workers_cache_and_order_change_no_row(lab: Lab, tally: Tally, tmp_path: Path, full: bool) -> None:
    """The rows are the same with three workers, from a full cache, and with the experiments in reverse order."""
    cold = lab.run("--workers", 3)
    assert cold.code == 0, cold.err
    tally.compare("three workers instead of one", 1, lab.folder, lab.reference.folder)
    shutil.rmtree(lab.folder)
    warm = lab.run("--workers", 2)
    assert warm.code == 0, warm.err
    assert "0 stages computed" in warm.err
    tally.compare("a warm cache", 1, lab.folder, lab.reference.folder)

    head, *experiments = REFERENCE.split("[[experiment]]")
    suite = tmp_path / "backwards.toml"
    suite.write_text("[[experiment]]".join([head, *reversed(experiments)]))
    backwards = Lab(Reference(suite, lab.reference.env, lab.reference.out), lab.bench, lab.popen, tmp_path / "back")
    done = backwards.run("--workers", 2)
    assert done.code == 0, done.err
    tally.compare_rows("experiments in another order", 1, tables(backwards.folder), tables(lab.reference.folder))
