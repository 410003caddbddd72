"""From a suite to a run folder, with stages run in this process."""

from __future__ import annotations

import json
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support import SUITE, InlineWorkers

from bench.api.search_paths import places_named
from bench.core.domain import Outcome, Stage
from bench.core.errors import BenchError, StorageError
from bench.engine import scheduler
from bench.engine.factory import resolve_device
from bench.planning.plan import Plan
from bench.registry.discovery import Registry
from bench.registry.hook_calls import report_sections
from bench.runs import cleanup
from bench.runs.run import computed, plan_suite, run_plan
from bench.store import journal
from bench.store.artifacts import Artifact, Cache
from bench.store.reading import RunResults
from bench.store.run_record import as_json
from bench.store.workspace import Folders

SMALL = """\
[suite]
name = "small"
[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["identity", "toy-flaky", "toy-targets"]
pairs = 6
"""


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Where results go."""
    return Folders(out=tmp_path / "out")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A small suite with a cell that is done, one that fails and one that is skipped."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def plan(suite: Path, folders: Folders, inline: None) -> Plan:
    """Its plan."""
    return plan_suite(suite, folders, "cpu", [], None)


def quiet(_: Any) -> None:
    """A listener that ignores all events."""


# ---- devices ---------------------------------------------------------------------------------------------------------


def fake_tool(folder: Path, script: str) -> str:
    """Write an nvidia-smi that runs this script, and return a PATH on which it comes first."""
    folder.mkdir()
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'GPU 0: NVIDIA H200'", "cuda"),
        ("echo 'No devices found'", "cpu"),
        ("echo 'GPU 0'; exit 9", "cpu"),
        ("exit 1", "cpu"),
    ],
)
def test_the_device_is_what_the_driver_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: str
) -> None:
    monkeypatch.setenv("PATH", fake_tool(tmp_path / "bin", script))
    assert resolve_device("auto") == expected
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("cuda") == "cuda"


def test_without_a_driver_the_device_is_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert resolve_device("auto") == "cpu"


def test_a_gpu_that_torch_cannot_use_is_one_message(
    suite: Path, folders: Folders, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan = plan_suite(suite, folders, "cuda", [], None)
    with pytest.raises(BenchError, match="--device cuda: torch sees no usable GPU"):
        run_plan(plan, folders, quiet)
    assert not folders.out.exists()


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_failures_and_skips_are_rows_beside_results(plan: Plan, folders: Folders) -> None:
    folder, outcomes = run_plan(plan, folders, quiet)
    assert [(o.cell.defense.label, o.status) for o in outcomes] == [
        ("identity", "ok"), ("toy-flaky", "failed"), ("toy-targets", "skipped"),
    ]  # fmt: skip
    results = RunResults(folder)
    reasons = dict(zip(results.cells["defense"], results.cells["reason"], strict=True))
    assert "RuntimeError: not mended yet" in reasons["toy-flaky"]
    assert "needs further pictures" in reasons["toy-targets"]
    assert set(results.samples("verification")["defense"]) == {"identity"}
    assert results.run.status == "incomplete"
    counts = results.run.counts
    assert (counts.cells, counts.ok, counts.failed, counts.skipped, counts.timeout) == (3, 1, 1, 1, 0)


def test_relative_paths_start_in_the_folder_of_the_suite_that_runs(
    plan: Plan, folders: Folders, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (suite.parent / "other").mkdir()
    other = suite.parent / "other" / "small.toml"
    other.write_text(SMALL)
    plan_suite(other, folders, "cpu", [], None)
    seen: list[tuple[Path, ...]] = []

    def compute(*_: Any) -> None:
        seen.append(places_named("faces", "path"))
        raise StorageError("far enough")

    monkeypatch.setattr(scheduler, "run", compute)
    with pytest.raises(StorageError, match="far enough"):
        run_plan(plan, folders, quiet)
    assert seen == [(suite.parent / "faces", Path("faces"))]


def test_the_record_says_what_ran_on_what(plan: Plan, folders: Folders, suite: Path) -> None:
    folder, _ = run_plan(plan, folders, quiet)
    run = RunResults(folder).run
    assert run.suite.raw["experiment"][0]["pairs"] == 6
    assert run.suite.path == str(suite)
    assert run.digest == plan.digest
    assert run.device == "cpu"
    assert {"torch", "numpy", "face-privacy-bench"} <= set(run.versions)
    assert {"platform", "processor", "cores", "python"} == set(vars(run.machine))
    names = {(c.kind, c.label) for c in run.components}
    assert {("dataset", "toy-faces"), ("model", "toy-a"), ("defense", "identity"), ("attack", "abuse")} <= names
    assert all(len(str(c.origin.digest)) == 64 for c in run.components)
    assert {p.name for p in run.plugins} >= {"toy", "noise"}
    stages = {s["name"]: s for s in RunResults(folder).stages}
    assert stages["toy-faces protected by toy-flaky"]["status"] == "failed"
    assert "Traceback" in stages["toy-faces protected by toy-flaky"]["traceback"]
    assert stages["toy-faces protected by identity"]["seconds"] > 0
    written = json.loads((folder / "run.json").read_text())
    assert json.loads(json.dumps(as_json(run), allow_nan=False)) == written


def test_the_record_is_that_of_the_suite_that_was_read(plan: Plan, folders: Folders, suite: Path) -> None:
    sha = plan.suite.sha256
    suite.unlink()
    folder, _ = run_plan(plan, folders, quiet)
    assert RunResults(folder).run.suite.sha256 == sha


def test_a_second_run_goes_on_in_the_same_folder(plan: Plan, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = run_plan(plan, folders, quiet)
    monkeypatch.setenv("TOY_MENDED", "1")
    again, outcomes = run_plan(plan, folders, quiet)
    assert again == folder
    assert [o.status for o in outcomes] == ["ok", "ok", "skipped"]
    assert [o.cached for o in outcomes] == [True, False, False]
    assert RunResults(again).run.status == "complete"


def test_another_plan_gets_a_folder_of_its_own(plan: Plan, folders: Folders, suite: Path) -> None:
    first, _ = run_plan(plan, folders, quiet)
    second, _ = run_plan(plan_suite(suite, folders, "cpu", ["suite.seed=1"], None), folders, quiet)
    assert first != second
    assert RunResults(first).run.suite.raw["suite"] == {"name": "small"}
    assert RunResults(second).run.suite.raw["suite"] == {"name": "small", "seed": 1}


def test_a_run_is_in_progress_until_what_it_made_was_read(plan: Plan, folders: Folders) -> None:
    """Between the last row and the report, ``bench runs rm`` would remove what the report is made of."""
    with computed(plan, folders, quiet) as (folder, _):
        assert RunResults(folder).run.status == "incomplete"
        with pytest.raises(StorageError, match="a command is at work on this run"):
            cleanup.check_removable(folder)
    assert cleanup.check_removable(folder).status == "incomplete"


def spoil(cache: Cache, stage: Stage) -> None:
    """Replace the artifact of a stage by one with valid checksums that has other columns or arrays."""
    about = {"kind": stage.kind, "seconds": 0.0, "peak_mb": 0.0, "device": "cpu"}
    cache.write(stage.key, Artifact(tables={"images": pa.table({"other": [1]})}), about)


@pytest.mark.parametrize("kind", ["faces", "embed", "protect"])
def test_an_artifact_with_valid_checksums_and_another_form_is_made_again(
    plan: Plan, folders: Folders, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_MENDED", "1")
    folder, _ = run_plan(plan, folders, quiet)
    rows = RunResults(folder).samples("verification")
    for stage in plan.stages.values():
        if stage.kind == kind:
            spoil(folders.cache, stage)
        elif stage.kind == "score":
            folders.cache.discard(stage.key)
    folder, outcomes = run_plan(plan, folders, quiet)
    assert [o.status for o in outcomes] == ["ok", "ok", "skipped"]
    assert RunResults(folder).samples("verification").equals(rows)


def test_scores_with_valid_checksums_and_other_columns_are_computed_again(
    plan: Plan, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_MENDED", "1")
    folder, _ = run_plan(plan, folders, quiet)
    rows = RunResults(folder).samples("verification")
    for stage in plan.stages.values():
        if stage.kind == "score":
            spoil(folders.cache, stage)
    (folder / "run.json").unlink()
    folder, _ = run_plan(plan, folders, quiet)
    assert RunResults(folder).samples("verification").equals(rows)


def test_fresh_computes_everything_again(plan: Plan, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_MENDED", "1")
    folder, _ = run_plan(plan, folders, quiet)
    before = RunResults(folder).samples("verification")
    folder, outcomes = run_plan(plan, folders, quiet, fresh=True)
    assert [o.cached for o in outcomes] == [False, False, False]
    assert RunResults(folder).samples("verification").equals(before)


def test_costs_are_learnt(plan: Plan, folders: Folders, suite: Path) -> None:
    run_plan(plan, folders, quiet)
    costs = folders.cache.costs()
    assert "cpu:protect:identity" in costs
    assert "cpu:protect:toy-flaky" not in costs
    again = plan_suite(suite, folders, "cpu", [], None)
    for stage in again.stages.values():
        if stage.cost_name in costs:
            assert stage.cost == stage.declared * costs[stage.cost_name]


def test_too_little_space_is_said_before_anything_runs(
    plan: Plan, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.runs.run.free_bytes", lambda _: 1000)
    with pytest.raises(StorageError, match=r"needs about \d+ MB, 0 MB are free; make room, lower --pairs"):
        run_plan(plan, folders, quiet)
    assert not folders.out.exists()


@pytest.mark.parametrize("place", ["results", "results/small", "results/.cache", "reports", "reports/small"])
def test_a_file_in_the_way_is_found_before_anything_runs(plan: Plan, folders: Folders, place: str) -> None:
    path = folders.out / place
    path.parent.mkdir(parents=True)
    path.write_text("in the way")
    with pytest.raises(StorageError, match=rf"{place}: expected a folder, found a file; choose another --out"):
        run_plan(plan, folders, quiet)
    assert [p for p in folders.out.rglob("*") if p.is_file()] == [path]


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function: Ctrl-C when the stage of that name has been begun."""
    submit = InlineWorkers.submit

    def at(name: str) -> None:
        def stop(self: InlineWorkers, stage: Stage, batch: int) -> Any:
            if stage.name == name:
                os.kill(os.getpid(), signal.SIGINT)
            return submit(self, stage, batch)

        monkeypatch.setattr(InlineWorkers, "submit", stop)

    return at


def test_an_interrupted_run_keeps_what_is_done(
    plan: Plan, folders: Folders, interrupted: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_MENDED", "1")
    interrupted("verification of toy-flaky by toy-a on toy-faces")
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, folders, quiet)
    (folder,) = (folders.results / "small").iterdir()
    cells = RunResults(folder).cells.set_index("defense")
    assert cells["status"].to_dict() == {"identity": "queued", "toy-flaky": "ok", "toy-targets": "skipped"}
    assert "the same command continues" in cells.loc["identity", "reason"]
    assert RunResults(folder).run.status == "interrupted"
    assert "cpu:protect:identity" in folders.cache.costs()


def test_an_interruption_never_replaces_all_rows_by_fewer(
    plan: Plan, folders: Folders, interrupted: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_MENDED", "1")
    folder, _ = run_plan(plan, folders, quiet)
    before = (folder / "run.json").read_bytes()
    interrupted("evaluation faces of toy-faces")
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, folders, quiet, fresh=True)
    assert (folder / "run.json").read_bytes() == before
    assert [(e["status"]) for e in journal.read(folder) if e["event"] == "run-ended"] == ["complete", "interrupted"]


def test_a_run_that_fails_to_store_says_so_in_its_journal(
    plan: Plan, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = InlineWorkers.submit

    def full(self: InlineWorkers, stage: Stage, batch: int) -> Any:
        if stage.name == "toy-faces protected by identity":
            raise StorageError("the disk is full")
        return submit(self, stage, batch)

    monkeypatch.setattr(InlineWorkers, "submit", full)
    with pytest.raises(StorageError, match="the disk is full"):
        run_plan(plan, folders, quiet)
    (folder,) = (folders.results / "small").iterdir()
    *_, last = journal.read(folder)
    assert (last["event"], last["status"], last["reason"]) == ("run-ended", "interrupted", "the disk is full")
    assert "cpu:faces:toy-faces" in folders.cache.costs()


def test_whoever_listens_hears_the_journal(plan: Plan, folders: Folders) -> None:
    heard: list[str] = []
    folder, _ = run_plan(plan, folders, listen=heard.append)
    assert "".join(f"{line}\n" for line in heard) == (folder / journal.NAME).read_text()
    events = [json.loads(line)["event"] for line in heard]
    assert events[:2] == ["run-started", "planned"]
    assert events[-1] == "run-ended"


# ---- hooks -----------------------------------------------------------------------------------------------------------


def test_hook_bench_cell_done(plan: Plan, folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_CELLS", str(tmp_path / "heard"))
    _, outcomes = run_plan(plan, folders, quiet)
    heard = (tmp_path / "heard").read_text().splitlines()
    assert heard == [f"{o.cell.id} {o.status}" for o in outcomes]


@pytest.fixture
def with_hooks(toy_installed: Registry) -> Any:
    """A function that registers hook implementations for the time of a test."""
    from types import ModuleType

    from bench import hookimpl

    made = []

    def register(name: str, **functions: Callable[..., Any]) -> None:
        module = ModuleType(name)
        for hook, function in functions.items():
            setattr(module, hook, hookimpl(function))
        toy_installed.manager.register(module, name=name)
        made.append(module)

    yield register
    for module in made:
        toy_installed.manager.unregister(module)


def test_a_failing_hook_loses_no_rows(plan: Plan, folders: Folders, with_hooks: Any) -> None:
    def fail(outcome: Outcome) -> None:
        raise ValueError("the listener broke")

    heard: list[Outcome] = []
    with_hooks("listener", bench_cell_done=lambda outcome: heard.append(outcome))
    with_hooks("failing", bench_cell_done=fail)
    with pytest.warns(UserWarning, match="failing: bench_cell_done failed: ValueError: the listener broke"):
        folder, outcomes = run_plan(plan, folders, quiet)
    assert len(RunResults(folder).cells) == 3
    assert heard == outcomes


def test_hook_bench_report_sections(plan: Plan, folders: Folders, with_hooks: Any) -> None:
    def fail(results: RunResults) -> Any:
        raise ValueError("the author broke")

    def ask_for_nothing() -> Any:
        return []

    with_hooks("failing", bench_report_sections=fail)
    with_hooks("less", bench_report_sections=ask_for_nothing)
    folder, _ = run_plan(plan, folders, quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sections = {s.title: s for s in report_sections(RunResults(folder))}
    assert next(iter(sections["What the toy plugin counted"].rows)) == ["cells", 3]
    (problem,) = [s for title, s in sections.items() if "failing" in title]
    assert "ValueError: the author broke" in str(problem.rows)
    assert not [title for title in sections if "less" in title]


def test_a_suite_without_experiments_is_sent_to_train(tmp_path: Path, folders: Folders, inline: None) -> None:
    path = tmp_path / "train.toml"
    path.write_text('[suite]\nname = "t"\n[[train]]\nmodel = "toy-a"\ndata = "toy-training"\n')
    with pytest.raises(BenchError, match="bench train"):
        plan_suite(path, folders, "cpu", [], None)


def test_the_toy_suite_runs_in_one_process(tmp_path: Path, folders: Folders, inline: None) -> None:
    path = tmp_path / "toy.toml"
    path.write_text(SUITE)
    plan = plan_suite(path, folders, "cpu", [], 6)
    folder, outcomes = run_plan(plan, folders, quiet)
    assert {o.status for o in outcomes} == {"ok", "skipped"}
    assert set(RunResults(folder).cells["pairs"]) == {6}
