"""The scripts of ``make controls`` and ``make reference``: which seeds raise an alarm, and what leaves the machine."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_run import FakeRun, write_fake_run
from support import benchmark

from bench.core.errors import StorageError
from bench.store.reading import RunResults
from bench.store.reference_writing import write_reference
from bench.store.run_record import write_record

controls: Any = benchmark("controls")


# ---- make controls ---------------------------------------------------------------------------------------------------


def test_each_repeat_is_judged_alone(tmp_path: Path) -> None:
    """The fake uploads are matched far above chance in every repeat, so every repeat is an alarm."""
    run = FakeRun(defenses=[("noise", "noise", False)], repeats=3, pairs=40)
    folder = write_fake_run(tmp_path / "run", run).folder
    assert len(controls.OneRepeat(folder, 1).cells) * 3 == len(RunResults(folder).cells)
    assert set(controls.OneRepeat(folder, 2).cells["repeat"]) == {2}
    alarms = controls.judged(folder, 3)
    assert alarms.seeds == 3
    assert alarms.raised == 3
    assert max(alarms.by_attack.values()) == 3


@pytest.mark.parametrize(("raised", "too_many"), [(0, False), (1, False), (3, False), (4, True), (20, True)])
def test_few_alarms_of_twenty_can_be_chance(raised: int, too_many: bool) -> None:
    """With a rate of 5 %, at least 3 of 20 seeds have a probability of 7.5 %, and at least 4 one of 1.6 %."""
    assert controls.Alarms(seeds=20, raised=raised).too_many is too_many


def test_the_table_says_how_often_and_by_which_attack() -> None:
    alarms = controls.Alarms(seeds=20, raised=1, by_attack=Counter({("abuse", "recognition"): 1}))
    assert alarms.table.splitlines()[2:] == [
        "| any attack of the suite | 1 of 20 (5 %, 95 %: 1 to 24 %) |",
        "| abuse (recognition) | 1 |",
    ]


def test_the_small_setting_can_be_planned(tmp_path: Path) -> None:
    from bench.registry.discovery import discover
    from bench.suite.bundled import published
    from bench.suite.suite import load

    command = controls.command("standard", 20, tmp_path, controls.SMALL)
    sets = [text for option, text in itertools.pairwise(command) if option == "--set"]
    suite = load(published()["standard"], discover(), sets, 40)
    assert {e.repeats for e in suite.experiments} == {20}
    assert {d.name for e in suite.experiments for d in e.defenses} == {"oblivion"}
    assert {a.name for e in suite.experiments for a in e.attacks} == {"abuse", "averaged", "linked"}


def test_the_shorter_setting_asks_every_attack_with_fewer_steps(tmp_path: Path) -> None:
    """A tenth of the steps, those of defaults included; all other questions are those of the suite."""
    from bench.registry.discovery import discover
    from bench.suite.bundled import published
    from bench.suite.suite import load

    command = controls.command("standard", 20, tmp_path, ["--set", controls.shortened("standard", 10)])
    sets = [text for option, text in itertools.pairwise(command) if option == "--set"]
    registry = discover()
    suite, full = load(published()["standard"], registry, sets), load(published()["standard"], registry)
    assert {d.name for e in suite.experiments for d in e.defenses} == {"oblivion"}
    assert {e.repeats for e in suite.experiments} == {20}
    for short, long in zip(suite.experiments, full.experiments, strict=True):
        assert (short.name, short.pairs) == (long.name, long.pairs)
        for ours, theirs in zip(short.attacks, long.attacks, strict=True):
            fewer = {name: steps // 10 for name, steps in theirs.params.items() if name in controls.STEPS}
            assert ours.label == theirs.label
            assert ours.params == dict(theirs.params) | fewer


# ---- make reference --------------------------------------------------------------------------------------------------


def finished(folder: Path, **changes: Any) -> Path:
    """Write a fake run of a whole suite with a version, and return its folder."""
    results = write_fake_run(folder, FakeRun())
    raw = {"suite": {"name": "fake", "version": "fake-1"}, "experiment": [{"name": "data-abuse", "defenses": []}]}
    suite = replace(results.run.suite, raw=raw, path=str(folder / "suite.toml"))
    about = {"status": "complete", "suite": suite, "components": (), "only": None} | changes
    files = {p.relative_to(folder).as_posix(): "" for p in folder.rglob("*.parquet")}
    write_record(folder, replace(results.run, files=files, **about))
    return folder


def test_a_reference_run_has_no_pictures_and_no_paths(tmp_path: Path) -> None:
    folder = write_reference(finished(tmp_path / "run"), tmp_path / "references")
    assert folder == tmp_path / "references" / "fake-1"
    assert not (folder / "samples" / "examples").exists()
    assert (folder / "samples" / "verification").is_dir()
    record = (folder / "run.json").read_text()
    assert str(tmp_path) not in record
    assert json.loads(record)["suite"]["path"] == "suite.toml"
    assert len(RunResults(folder).samples("verification")) == len(RunResults(tmp_path / "run").samples("verification"))
    assert RunResults(folder).cells["log"].isna().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "incomplete"}, "expected a complete run of a whole suite, found one that is incomplete"),
        ({"only": ("a",)}, "expected a complete run of a whole suite"),
    ],
)
def test_only_a_whole_run_becomes_a_reference(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=message):
        write_reference(finished(tmp_path / "run", **changes), tmp_path / "references")


def test_a_changed_suite_makes_no_reference(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    record = RunResults(folder).run
    raw = {"suite": {"name": "fake", "version": "fake-1+changed"}}
    write_record(folder, replace(record, suite=replace(record.suite, raw=raw)))
    with pytest.raises(StorageError, match=r"unchanged suite with a version, found fake-1\+changed"):
        write_reference(folder, tmp_path / "references")


def test_a_path_that_would_remain_is_an_error(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    record = RunResults(folder).run
    write_record(folder, replace(record, suite=replace(record.suite, description="faces of /home/me/faces")))
    with pytest.raises(StorageError, match="expected no path of a machine, found '/home/me/faces'"):
        write_reference(folder, tmp_path / "references")
