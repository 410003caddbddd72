"""What differs between a run and the reference run of its suite is said in one sentence, with what to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_run import FakeRun, write_fake_run
from support import in_process as bench

from bench.analysis.claim_results import claims_of, judge
from bench.analysis.rows import Rows
from bench.cli import main
from bench.core.errors import StorageError
from bench.registry.discovery import Registry
from bench.report.page import several_runs
from bench.runs.beside_reference import BesideReference, changed_since, with_reference
from bench.store.reading import RunResults
from bench.store.reference import find_reference, find_run_to_read, is_reference
from bench.store.run_record import ComponentRecord, OriginRecord, RunRecord, SuiteRecord, write_record

SUITE = SuiteRecord(name="hard", raw={"suite": {"name": "hard", "version": "hard-1"}})
NETWORK = ComponentRecord(
    kind="model", name="net", label="judge", weights="1" * 64, origin=OriginRecord(digest="a" * 64)
)
RUN = RunRecord(
    suite=SUITE,
    command=("bench", "run", "hard", "--defense", "mine"),
    host={"stages": "0" * 64},
    versions={"torch": "2.11"},
    device="cpu",
    components=(NETWORK,),
)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": {"stages": "f" * 64}}, "code of bench/stages: ffffffffffff -> 000000000000"),
        ({"components": (replace(NETWORK, weights="2" * 64),)}, "weights of model judge: 222222222222 -> 111111111111"),
        (
            {"components": (replace(NETWORK, origin=OriginRecord(digest="b" * 64)),)},
            "code of model judge: bbbbbbbbbbbb -> aaaaaaaaaaaa",
        ),
        ({"versions": {"torch": "2.12"}}, "version of torch: 2.12 -> 2.11"),
        ({"device": "cuda"}, "device: cuda -> cpu"),
    ],
)
def test_each_kind_of_change_is_named(changes: Mapping[str, Any], words: str, registry: Registry) -> None:
    (sentence,) = changed_since(RUN, replace(RUN, **changes), registry)
    assert words in sentence
    assert sentence.endswith("compute them here with: bench run hard --defense mine --recompute-reference")


def test_many_changes_are_one_sentence(registry: Registry) -> None:
    host = {f"part{i}": "0" * 64 for i in range(6)}
    (sentence,) = changed_since(replace(RUN, host=host), replace(RUN, host={}), registry)
    assert "code of bench/part2" in sentence
    assert "code of bench/part3" not in sentence
    assert "and 3 more" in sentence


def test_without_a_change_nothing_is_said(registry: Registry) -> None:
    assert changed_since(RUN, RUN, registry) == []


def test_a_foreign_command_is_not_offered(registry: Registry) -> None:
    (sentence,) = changed_since(replace(RUN, command=("rm", "-rf", "/"), device="cuda"), RUN, registry)
    assert sentence.endswith("with: bench run hard --recompute-reference")


# ---- which rows are shown --------------------------------------------------------------------------------------------


def versioned(folder: Path, defenses: Any, **changes: Any) -> RunResults:
    """Write a fake run of a suite with a version."""
    results = write_fake_run(folder, FakeRun(defenses=defenses))
    suite = replace(results.run.suite, raw={"suite": {"name": "fake", "version": "hard-1"}})
    write_record(folder, replace(results.run, suite=suite, **changes))
    return RunResults(folder)


@pytest.fixture
def reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunResults:
    """The reference run of two defenses."""
    monkeypatch.setenv("BENCH_REFERENCE", str(tmp_path / "references"))
    both = [("Clean", "identity", False), ("PMT", "pmt", True)]
    return versioned(tmp_path / "references" / "hard-1", both)


def test_only_what_the_run_lacks_is_shown_and_marked(reference: RunResults, tmp_path: Path, registry: Registry) -> None:
    own = versioned(tmp_path / "run", [("Clean", "identity", False), ("Mine", "noise", False)])
    found = with_reference(own, registry)
    assert isinstance(found, BesideReference)
    assert list(dict.fromkeys(found.cells["defense"])) == ["Clean", "Mine", "PMT (reference)"]
    assert found.run.suite.name == own.run.suite.name
    assert list(found.opened) == [own]
    assert found.notes[0].startswith("1 defense marked (reference): PMT. ")
    marked = found.samples("verification", {"defense": "PMT (reference)"})
    assert len(marked) == len(reference.samples("verification", {"defense": "PMT"})) > 0
    assert "PMT (reference)" in {c.defense for c in Rows(found).cells}


def test_a_run_that_has_everything_stands_alone(reference: RunResults, tmp_path: Path, registry: Registry) -> None:
    own = versioned(tmp_path / "run", [("Clean", "identity", False), ("PMT", "pmt", True)])
    assert with_reference(own, registry) is own


@pytest.mark.parametrize("changes", [{"only": ("a",)}, {"replay_of": "earlier"}])
def test_a_part_of_a_run_stands_alone(
    changes: dict[str, Any], reference: RunResults, tmp_path: Path, registry: Registry
) -> None:
    own = versioned(tmp_path / "run", [("Mine", "noise", False)], **changes)
    assert with_reference(own, registry) is own


def test_other_questions_stand_alone(reference: RunResults, tmp_path: Path, registry: Registry) -> None:
    own = versioned(tmp_path / "run", [("Mine", "noise", False)])
    raw = {"suite": {"name": "fake", "version": "hard-1", "seed": 5}}
    write_record(own.folder, replace(own.run, suite=replace(own.run.suite, raw=raw)))
    own = RunResults(own.folder)
    assert with_reference(own, registry) is own


def test_claims_may_be_about_rows_of_the_reference_run(
    reference: RunResults, tmp_path: Path, registry: Registry
) -> None:
    """`PMT` is in the reference run alone, `Mine` in the run alone; the page judges them as the command does."""
    own = versioned(tmp_path / "run", [("Mine", "noise", False)])
    claim = {"id": "a", "text": "Mine is no PMT.", "metric": "cosine", "relation": "<", "right": {"defense": "PMT"}}
    claim |= {"left": {"defense": "Mine"}, "experiment": own.run.suite.experiments[0].name}
    raw = {**own.run.suite.raw, "claims": [claim]}
    write_record(own.folder, replace(own.run, suite=replace(own.run.suite, raw=raw)))
    found = with_reference(RunResults(own.folder), registry)
    (verdict,) = judge(Rows(found), claims_of(found))
    assert verdict.outcome in ("holds", "does not hold")
    assert verdict.decisive.right.value is not None
    assert [v.outcome for v in several_runs.judge(Rows(found))] == [verdict.outcome]
    (alone,) = judge(Rows(RunResults(own.folder)), claims_of(RunResults(own.folder)))
    assert alone.outcome == "not measured"


# ---- by its version --------------------------------------------------------------------------------------------------


def test_a_run_of_this_name_comes_before_the_reference_run(reference: RunResults, tmp_path: Path) -> None:
    assert find_run_to_read("hard-1", tmp_path / "results") == reference.folder
    assert find_run_to_read(str(reference.folder), tmp_path / "results") == reference.folder
    own = versioned(tmp_path / "results" / "hard-1" / "20260101-000000-aa", [("Mine", "noise", False)])
    assert find_run_to_read("hard-1", tmp_path / "results") == own.folder
    assert is_reference(reference)
    assert not is_reference(own)
    with pytest.raises(StorageError, match="hard-9: expected a run folder or the name of a suite"):
        find_run_to_read("hard-9", tmp_path / "results")


def test_commands_that_read_a_run_find_it_from_an_empty_folder(reference: RunResults, tmp_path: Path) -> None:
    place = tmp_path / "empty"
    cell = reference.cells["cell"].iloc[0]
    for command in (
        ("export", "hard-1", "--rows", "verification", "-o", place / "rows.csv"),
        ("report", "hard-1"),
        ("claims", "hard-1"),
        ("status", "hard-1"),
        ("explain", "hard-1", cell),
        ("runs", "show", "hard-1"),
        ("diff", "hard-1", "hard-1"),
    ):
        found = bench(*command, "--out", place)
        assert found.exit_code == 0, (command, found.output)
    assert (place / "rows.csv").is_file()
    assert (place / "reports" / "hard-1" / "index.html").is_file()
    gone = CliRunner().invoke(main, ["runs", "rm", "hard-1", "--out", str(place)])
    assert gone.exit_code != 0
    assert reference.folder.is_dir()


# ---- what lies in the place of a reference run -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ({"suite": {"name": "fake", "version": "hard-2"}}, "found one of hard-2"),
        ({"suite": {"name": "fake"}}, "found a run of a suite without a version"),
        ({"experiment": 5}, "found a record whose suite has experiments of another form"),
        ({"experiment": [5]}, "experiments of another form"),
        ({"experiment": [{"defenses": []}]}, "experiments of another form"),
        ({"experiment": [{"name": ["one"]}]}, "experiments of another form"),
        ({"experiment": [{"name": "one", "defenses": 5}]}, "experiments of another form"),
        ({"experiment": [{"name": "one", "defenses": [["blur"]]}]}, "experiments of another form"),
    ],
)
def test_what_is_no_reference_run_of_the_version_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: dict[str, Any], found: str
) -> None:
    folder = tmp_path / "references" / "hard-1"
    folder.mkdir(parents=True)
    written = {"suite": {"name": "fake", "version": "hard-1"}, **raw}
    write_record(folder, replace(RUN, suite=replace(RUN.suite, raw=written)))
    monkeypatch.setenv("BENCH_REFERENCE", str(folder.parent))
    with pytest.raises(StorageError, match=r"hard-1: expected the reference run of hard-1, .*" + found):
        find_reference("hard-1")


@pytest.mark.parametrize("name", ["hard-1", "hard-1/run.json"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_reference_run_that_is_a_link_is_refused(
    name: str, exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(tmp_path / "elsewhere" / "hard-1", RUN)
    link = tmp_path / "references" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / ("elsewhere" if exists else "nowhere") / name)
    monkeypatch.setenv("BENCH_REFERENCE", str(tmp_path / "references"))
    with pytest.raises(StorageError, match=r"found a link to .*; remove the link"):
        find_reference("hard-1")


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        (
            "hard-1",
            Path.touch,
            r"hard-1: expected a folder of .*, found a file; remove .*hard-1, or its parent from \$",
        ),
        ("hard-1", os.mkfifo, "hard-1: expected a folder of the reference run of hard-1, found a pipe or device"),
        ("hard-1", Path.mkdir, r"run\.json: expected a file of the reference run of hard-1, found nothing"),
        ("hard-1/run.json", Path.mkdir, r"run\.json: expected a file of .*, found a folder"),
        ("hard-1/run.json", os.mkfifo, r"run\.json: expected a file of .*, found a pipe or device"),
    ],
)
def test_what_is_no_run_is_one_error(
    name: str, make: Callable[[Path], object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    make(place)
    monkeypatch.setenv("BENCH_REFERENCE", str(tmp_path))
    with pytest.raises(StorageError, match=message):
        find_reference("hard-1")
