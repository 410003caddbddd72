"""What a report sees of a run that has not ended, or that was killed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from support import InlineWorkers
from support import in_process as bench

from bench.cli import main
from bench.core.domain import Event, Stage
from bench.core.errors import StorageError
from bench.planning.plan import Plan
from bench.registry.discovery import Registry
from bench.runs.run import plan_suite, run_plan
from bench.runs.snapshot import results_of
from bench.runs.status import Watch
from bench.store.reading import RunResults
from bench.store.workspace import Folders

SUITE = """\
[suite]
name = "small"
[[experiment]]
name = "one"
table = "VII"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["identity", "toy-mean", "toy-flaky", "toy-targets"]
pairs = 6
"""


@pytest.fixture
def folders(tmp_path: Path, inline: None) -> Folders:
    return Folders(out=tmp_path)


@pytest.fixture
def plan(folders: Folders) -> Plan:
    path = folders.out / "small.toml"
    path.write_text(SUITE)
    return plan_suite(path, folders, "cpu", [], None)


def run_folder(folders: Folders) -> Path:
    (found,) = (folders.results / "small").iterdir()
    return found


@pytest.fixture
def killed(plan: Plan, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A function: the folder of a run whose process died when a stage was to be begun."""

    def at(name: str) -> Path:
        submit = InlineWorkers.submit

        def die(self: InlineWorkers, stage: Stage, batch: int) -> Any:
            if stage.name == name:
                raise SystemExit
            return submit(self, stage, batch)

        with monkeypatch.context() as patch:
            patch.setattr(InlineWorkers, "submit", die)
            with pytest.raises(SystemExit):
                run_plan(plan, folders)
        return run_folder(folders)

    return at


def statuses(results: RunResults) -> dict[str, str]:
    return dict(zip(results.cells["defense"], results.cells["status"], strict=True))


def test_while_a_run_goes_on_its_rows_are_there_as_they_come(plan: Plan, folders: Folders) -> None:
    seen: list[tuple[str, dict[str, str], pd.DataFrame]] = []

    def look(event: Event) -> None:
        verified = event.stage is not None and event.stage.name.startswith("verification")
        if verified and event.result is not None and event.result.status == "ok":
            with results_of(run_folder(folders)) as results:
                seen.append((results.run.status, statuses(results), results.samples("verification")))

    folder, _ = run_plan(plan, folders, look)
    final = RunResults(folder).samples("verification")
    assert [status for status, *_ in seen] == ["running", "running"]
    assert sorted(seen[0][1].values()) == ["failed", "ok", "queued", "skipped"]
    assert seen[0][1]["toy-flaky"] == "failed"
    assert seen[1][1] == statuses(RunResults(folder))
    (defense,) = set(seen[0][2]["defense"])
    pd.testing.assert_frame_equal(seen[0][2], final[final["defense"] == defense].reset_index(drop=True))
    pd.testing.assert_frame_equal(seen[1][2], final)


NOTE = "the mask was scaled"


@pytest.fixture
def warning(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defense that warns while it protects."""
    cls = registry.components["defense", "toy-mean"].cls
    protect = cls.protect

    def warns(self: Any, images: Any, ctx: Any) -> Any:
        warnings.warn(NOTE, stacklevel=1)
        return protect(self, images, ctx)

    monkeypatch.setattr(cls, "protect", warns)


@pytest.mark.filterwarnings(f"always:{NOTE}")
def test_notes_of_stages_are_there_while_a_run_goes_on(warning: None, plan: Plan, folders: Folders) -> None:
    seen: dict[str, bool] = {}

    def look(event: Event) -> None:
        if event.stage is not None and event.kind == "finished":
            seen[event.stage.name] = ("toy-mean", NOTE) in Watch(run_folder(folders)).look().notes

    run_plan(plan, folders, look)
    names = list(seen)
    assert [seen[name] for name in names] == sorted(seen.values())
    assert not seen[names[0]]
    assert seen["verification of toy-mean by toy-a on toy-faces"]
    assert RunResults(run_folder(folders)).run.status == "incomplete"


@pytest.mark.filterwarnings(f"always:{NOTE}")
def test_notes_of_stages_of_a_killed_run_are_shown(
    warning: None, killed: Callable[[str], Path], folders: Folders
) -> None:
    folder = killed("verification of toy-mean by toy-a on toy-faces")
    assert ("toy-mean", NOTE) in Watch(folder).look().notes
    cell = next(row["cell"] for row in RunResults(folder).cells.to_dict("records") if row["defense"] == "toy-mean")
    for args in (["status"], ["explain", cell], ["report", "-o", str(folders.out / "page.html")]):
        done = CliRunner().invoke(main, [*args[:1], str(folder), *args[1:]])
        assert done.exit_code == 0, done.output
        shown = (folders.out / "page.html").read_text() if args[0] == "report" else done.output
        assert NOTE in shown, args


@pytest.mark.filterwarnings(f"always:{NOTE}")
def test_notes_of_stages_of_an_earlier_run_are_there_from_the_beginning(
    warning: None, killed: Callable[[str], Path], plan: Plan, folders: Folders
) -> None:
    killed("verification of toy-mean by toy-a on toy-faces")
    seen: list[bool] = []
    run_plan(plan, folders, lambda _: seen.append(("toy-mean", NOTE) in Watch(run_folder(folders)).look().notes))
    assert all(seen)


def test_of_a_killed_run_what_was_done_is_shown(killed: Callable[[str], Path], folders: Folders) -> None:
    folder = killed("verification of toy-mean by toy-a on toy-faces")
    before = {path: path.stat().st_mtime_ns for path in folders.results.rglob("*") if path.is_file()}
    with results_of(folder) as results:
        place = results.folder
        assert place.parts[-3:] == folder.parts[-3:]
        found = statuses(results)
        assert found["toy-mean"] == "queued"
        assert (found["toy-flaky"], found["toy-targets"]) == ("failed", "skipped")
        cells = results.cells.set_index("defense")
        assert "not mended yet" in cells.loc["toy-flaky", "reason"]
        assert cells.loc["toy-mean", "reason"] == "not computed yet; the same command continues"
        assert results.run.status == "interrupted"
        assert results.run.counts.queued == 1 + (found["identity"] == "queued")
        assert results.run.suite.name == "small"
    assert not place.exists()
    after = {path: path.stat().st_mtime_ns for path in folders.results.rglob("*") if path.is_file()}
    assert after == before, "whoever may only read may ask"


def test_a_failure_that_was_mended_is_none(
    killed: Callable[[str], Path], folders: Folders, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_plan(plan, folders)
    monkeypatch.setenv("TOY_MENDED", "1")
    folder = killed("image similarity of toy-flaky on toy-faces")
    with results_of(folder) as results:
        assert statuses(results)["toy-flaky"] == "queued"
        assert statuses(results)["identity"] == "ok"


def test_damaged_artifacts_are_still_to_come(killed: Callable[[str], Path], folders: Folders) -> None:
    folder = killed("verification of toy-mean by toy-a on toy-faces")
    for path in folders.cache.root.glob("??/*/*.parquet"):
        path.write_bytes(b"damaged")
    with results_of(folder) as results:
        assert set(statuses(results).values()) == {"queued", "failed", "skipped"}


def test_a_run_that_has_ended_is_shown_as_it_is(plan: Plan, folders: Folders) -> None:
    folder, _ = run_plan(plan, folders)
    with results_of(folder) as results:
        assert results.folder == folder


def test_rows_stay_those_of_the_data_that_they_were_computed_from(
    killed: Callable[[str], Path], folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys of artifacts are recorded: whatever data, code and plugins are here now, nothing else is read."""
    folder = killed("verification of toy-mean by toy-a on toy-faces")
    with results_of(folder) as results:
        before = results.cells, results.samples("verification")
    monkeypatch.setenv("TOY_DATA", "other")
    with results_of(folder) as results:
        pd.testing.assert_frame_equal(results.cells, before[0])
        pd.testing.assert_frame_equal(results.samples("verification"), before[1])


def test_a_run_that_began_without_rows_is_one_message(killed: Callable[[str], Path]) -> None:
    folder = killed("verification of toy-mean by toy-a on toy-faces")
    (folder / "cells.parquet").unlink()
    with pytest.raises(StorageError, match="has no rows yet"), results_of(folder):
        pass


def test_what_is_no_run_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(StorageError, match="expected the record of a run"), results_of(tmp_path):
        pass


def test_the_commands_say_what_is_missing(killed: Callable[[str], Path], folders: Folders) -> None:
    killed("verification of toy-mean by toy-a on toy-faces")
    for args in (["report", "small"], ["export", "small", "--table", "VII", "--format", "json"], ["claims", "small"]):
        done = bench(*args, "--out", folders.out)
        assert done.exit_code == 0, done.output
        assert "of 4 cells are not computed yet; see: bench status" in done.stderr
        if args[0] == "export":
            assert "queued" in {f["status"] for table in json.loads(done.stdout) for f in table["measurements"]}
    page = (folders.reports / "small" / "index.html").read_text()
    assert "not computed yet" in page
    assert "Toy" in page
