"""Result files: what is written can be read, and an unreadable file gives one error message."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from support import SUITE, compute, ended_well

from bench.core.domain import Outcome
from bench.core.errors import StorageError
from bench.core.text import set_label
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry
from bench.store.artifacts import Cache
from bench.store.cell_rows import cell_row
from bench.store.reading import RunResults
from bench.store.run_folders import (
    find_run,
    free_bytes,
    is_complete,
    require_output_file,
    require_writable,
    run_folder,
)
from bench.store.run_record import RunRecord, SuiteRecord
from bench.store.schema import CELLS, SAMPLES, SCHEMA_VERSION
from bench.store.writing import write_run
from bench.suite.suite import load

TEXT = SUITE.replace("pairs = 40", "pairs = 8").replace("pairs = 20", "pairs = 6")


@pytest.fixture(scope="module")
def plan(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The toy suite, with few pairs."""
    path = tmp_path_factory.mktemp("store") / "toy.toml"
    path.write_text(TEXT)
    return make_plan(load(path, registry), registry, "cpu")


@pytest.fixture(scope="module")
def cache(plan: Plan, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """All its artifacts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.stages.stage_inputs.discover", lambda: registry)
        cache = Cache(tmp_path_factory.mktemp("cache"))
        compute(plan, cache)
    return cache


TOY = RunRecord(suite=SuiteRecord(name="toy"))


def outcomes(plan: Plan, **changes: Any) -> list[Outcome]:
    """Every cell as it ends when all goes well, or with changes."""
    return [replace(o, **changes) if o.status == "ok" else o for o in ended_well(plan)]


@pytest.fixture
def results(plan: Plan, cache: Cache, registry: Registry, tmp_path: Path) -> RunResults:
    """A run folder, written and opened."""
    write_run(tmp_path / "run", outcomes(plan), cache, registry, TOY)
    return RunResults(tmp_path / "run")


@pytest.mark.slow
def test_every_cell_is_a_row(results: RunResults, plan: Plan) -> None:
    cells = results.cells
    assert list(cells["cell"]) == [cell.id for cell in plan.cells]
    assert set(cells["status"]) == {"ok", "skipped"}
    assert list(cells["reason"].notna()) == [cell.skip is not None for cell in plan.cells]
    assert set(cells["synthetic"]) == {True}
    assert set(cells["dataset_stands_in_for"]) == {"Toy"}
    assert set(cells["evaluated_stands_in_for"]) == {"Model A", "Model B"}


@pytest.mark.slow
def test_the_schema_of_cells_is_fixed(results: RunResults, plan: Plan, cache: Cache, registry: Registry) -> None:
    assert pq.read_schema(results.folder / "cells.parquet").equals(CELLS)
    assert set(cell_row(outcomes(plan)[0], registry)) == set(CELLS.names)
    failed = [replace(o, status="failed", reason="broken") for o in outcomes(plan)]
    other = results.folder.parent / "other"
    write_run(other, failed, cache, registry, TOY)
    assert pq.read_schema(other / "cells.parquet").equals(CELLS)


def test_roles(results: RunResults) -> None:
    cells = results.cells
    roles = {(row.authorised, row.evaluated): row.role for row in cells[cells.experiment == "one"].itertuples()}
    assert roles == {
        ((), "toy-a"): "any",
        ((), "toy-b"): "any",
        (("toy-a",), "toy-a"): "authorised",
        (("toy-a",), "toy-b"): "unauthorised",
        (("toy-b",), "toy-a"): "unauthorised",
        (("toy-b",), "toy-b"): "authorised",
        (("toy-a", "toy-b"), "toy-a"): "authorised",
        (("toy-a", "toy-b"), "toy-b"): "authorised",
    }


def test_components_are_recorded_as_passed_and_as_used(results: RunResults) -> None:
    row = results.cells[results.cells.defense == "little noise"].iloc[0]
    components = {c["kind"]: c for c in json.loads(row["components"])}
    assert json.loads(row["defense_params"]) == {"sigma": 0.1}
    assert components["defense"]["name"] == "noise"
    assert components["defense"]["passed"] == {"sigma": 0.1}
    assert components["defense"]["origin"]["package"] == "bench_noise"
    assert len(components["model"]["weights"]) == len(components["dataset"]["weights"]) == 64
    other = results.cells[results.cells.dataset == "other"].iloc[0]
    dataset = {c["kind"]: c for c in json.loads(other["components"])}["dataset"]
    assert dataset["params"] == {"seed": 1, "auxiliary_images": 40}
    assert dataset["passed"] == {"seed": 1}


def test_verification_has_a_row_per_cell_and_pair(results: RunResults, plan: Plan) -> None:
    rows = results.samples("verification")
    expected = {cell.id: cell.pairs for cell in plan.cells if not cell.skip}
    assert rows.groupby("cell").size().to_dict() == expected
    cells = results.cells.set_index("cell")
    cells["authorised"] = cells["authorised"].map(set_label)
    for column in ("experiment", "dataset", "defense", "authorised", "repeat", "evaluated"):
        assert list(rows[column]) == list(cells.loc[rows["cell"], column]), column


def test_images_are_listed_once_for_all_evaluated_models(results: RunResults) -> None:
    rows = results.samples("images")
    keys = ["experiment", "dataset", "defense", "authorised", "repeat", "sample_id"]
    assert not rows.duplicated(keys).any()
    assert rows.groupby(keys[:-1]).size().to_dict() == {
        ("one", "toy-faces", "identity", "", 0): 4,
        ("one", "toy-faces", "toy-gate", "", 0): 4,
        ("one", "toy-faces", "toy-mean", "", 0): 4,
        ("one", "toy-faces", "toy-single", "toy-a", 0): 4,
        ("one", "toy-faces", "toy-single", "toy-b", 0): 4,
        ("one", "toy-faces", "toy-step", "toy-a", 0): 4,
        ("one", "toy-faces", "toy-step", "toy-a+toy-b", 0): 4,
        ("one", "toy-faces", "toy-step", "toy-b", 0): 4,
        ("two", "other", "little noise", "", 0): 3,
        ("two", "other", "little noise", "", 1): 3,
        ("two", "toy-faces", "little noise", "", 0): 3,
        ("two", "toy-faces", "little noise", "", 1): 3,
    }
    assert rows.loc[rows.defense == "toy-mean", "extra_moved"].notna().all()
    assert rows.loc[rows.defense != "toy-mean", "extra_moved"].isna().all()
    assert rows.loc[rows.defense == "identity", "psnr"].isna().all()


def test_other_readers_see_the_columns_that_only_one_defense_added(results: RunResults) -> None:
    """pandas and Arrow take the columns of a table from one of its files."""
    folder = results.folder / "samples" / "images"
    assert len({pq.read_schema(part) for part in folder.rglob("*.parquet")}) == 1
    rows = pd.read_parquet(folder)
    assert set(rows.columns) == {*results.columns("images").names, "experiment"}
    ours = results.samples("images")
    assert rows["extra_moved"].notna().sum() == ours["extra_moved"].notna().sum() > 0
    assert (rows.defense[rows["extra_moved"].notna()] == "toy-mean").all()


def test_floors_are_listed_once_per_data_set(results: RunResults) -> None:
    rows = results.samples("baselines")
    sizes = rows.groupby(["experiment", "dataset"]).size().to_dict()
    assert sizes == {("one", "toy-faces"): 4, ("two", "other"): 3, ("two", "toy-faces"): 3}


def test_only_cells_that_are_done_have_samples(
    plan: Plan, cache: Cache, registry: Registry, results: RunResults
) -> None:
    """A later write of the same run leaves nothing of an earlier one."""
    write_run(results.folder, outcomes(plan, status="failed", reason="broken"), cache, registry, TOY)
    again = RunResults(results.folder)
    assert set(again.cells["status"]) == {"failed", "skipped"}
    for name in SAMPLES:
        assert again.samples(name).empty


def test_nothing_unfinished_stays(results: RunResults) -> None:
    names = sorted(str(p.relative_to(results.folder)) for p in results.folder.rglob("*") if p.is_file())
    asked = ("examples", "baselines", "images", "people", "verification")  # no attack of the suite estimates attributes
    parts = [f"samples/{n}/experiment={e}/part-00000.parquet" for n in asked for e in ("one", "two")]
    assert names == sorted(["cells.parquet", "run.json", "stages.parquet", *parts])
    assert set(asked) < set(SAMPLES)


def test_a_damaged_artifact_is_one_message(plan: Plan, cache: Cache, registry: Registry, tmp_path: Path) -> None:
    damaged = Cache(tmp_path / "cache")
    damaged.root.mkdir()
    with pytest.raises(StorageError, match="run the same command again"):
        write_run(tmp_path / "run", outcomes(plan), damaged, registry, TOY)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_file_in_the_place_of_the_folder(plan: Plan, cache: Cache, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write the results"):
        write_run(tmp_path / "run", outcomes(plan), cache, registry, TOY)
    assert (tmp_path / "run").read_text() == "in the way"


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_run_json_is_read(results: RunResults) -> None:
    files = results.run.files
    assert results.run == replace(TOY, schema=SCHEMA_VERSION, files=files)
    for name, digest in files.items():
        assert digest == hashlib.sha256((results.folder / name).read_bytes()).hexdigest()
    assert "cells.parquet" in files
    assert "samples/verification/experiment=one/part-00000.parquet" in files


def test_a_run_is_complete_while_its_rows_are_as_written(
    tmp_path: Path, plan: Plan, cache: Cache, registry: Registry
) -> None:
    folder = tmp_path / "run"
    assert not is_complete(folder)
    write_run(folder, outcomes(plan), cache, registry, replace(TOY, status="incomplete"))
    assert not is_complete(folder)
    write_run(folder, outcomes(plan), cache, registry, replace(TOY, status="complete"))
    assert is_complete(folder)
    (folder / "cells.parquet").write_bytes(b"other rows")
    assert not is_complete(folder)
    write_run(folder, outcomes(plan), cache, registry, replace(TOY, status="complete"))
    next((folder / "samples" / "baselines").rglob("*.parquet")).unlink()
    assert not is_complete(folder)


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        (None, ["run.json", "expected the record of a run"]),
        ("{", ["run.json", "expected the record of a run"]),
        ("[]", ["run.json", "expected"]),
        ("{}", ["schema None", "reads 2, 3 and 4", "run the suite again"]),
        ('{"schema": 1}', ["schema 1", "run the suite again, or install the bench that wrote them"]),
        ('{"schema": "3"}', ["schema 3", "run the suite again"]),
        ('{"schema": 99}', ["schema 99", "reads 2, 3 and 4", "install a newer bench"]),
    ],
)
def test_a_damaged_record_is_one_message(results: RunResults, text: str | None, fragments: list[str]) -> None:
    path = results.folder / "run.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(StorageError) as caught:
        _ = RunResults(results.folder).run
    for fragment in fragments:
        assert fragment in str(caught.value)


VERIFICATION = "samples/verification/experiment=two/part-00000.parquet"
READERS: dict[str, Callable[[RunResults], Any]] = {
    "cells": lambda r: r.cells,
    "samples": lambda r: r.samples("verification"),
    "batches": lambda r: list(r.batches("verification")),
    "index": lambda r: r.index("verification", ["cell"]),
    "columns": lambda r: r.columns("verification"),
}


@pytest.mark.parametrize("reader", READERS)
def test_damaged_tables_are_one_message(results: RunResults, reader: str) -> None:
    path = results.folder / ("cells.parquet" if reader == "cells" else VERIFICATION)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(StorageError, match=r"(cells|samples/verification).*: cannot be read .*run the suite ag"):
        READERS[reader](RunResults(results.folder))


@pytest.mark.parametrize("reader", ["samples", "batches", "index"])
def test_damaged_rows_are_one_message(results: RunResults, reader: str) -> None:
    """The end of the file, which lists the positions of the columns, is intact; the columns are damaged."""
    path = results.folder / VERIFICATION
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes(len(data) // 2) + data[4 + len(data) // 2 :])
    with pytest.raises(StorageError, match=r"samples/verification.*: cannot be read .*run the suite again"):
        READERS[reader](RunResults(results.folder))


def test_a_sample_table_without_rows_is_empty(results: RunResults) -> None:
    shutil.rmtree(results.folder / "samples" / "baselines")
    record = json.loads((results.folder / "run.json").read_text(encoding="utf-8"))
    record["files"] = {name: digest for name, digest in record["files"].items() if "/baselines/" not in name}
    (results.folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert results.samples("baselines").equals(pd.DataFrame())
    assert list(results.batches("baselines")) == []
    assert len(results.index("baselines", ["dataset"])) == 0
    assert results.columns("baselines").names == []


# ---- finding runs ----------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs of one suite, the first of them touched last, and one of another."""
    for i, name in enumerate(["mine/20260101-000000-aa", "mine/20260202-000000-bb", "other/20260303-000000-cc"]):
        path = tmp_path / "results" / name / "run.json"
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        os.utime(path, (1000 - 10 * i, 1000 - 10 * i))
    (tmp_path / "results" / ".cache").mkdir()
    (tmp_path / "results" / "mine" / "20260404-000000-dd").mkdir()  # interrupted before run.json
    return tmp_path / "results"


def test_a_run_is_found_by_its_folder_or_its_suite(runs: Path) -> None:
    folder = runs / "mine" / "20260202-000000-bb"
    assert find_run(str(folder), runs) == folder
    assert find_run("mine", runs) == runs / "mine" / "20260101-000000-aa"
    assert find_run("other", runs) == runs / "other" / "20260303-000000-cc"


@pytest.mark.parametrize("derived", [{"only": ["0123"]}, {"rescored": {"run": "20260101-000000-aa"}}])
def test_a_suite_means_its_latest_whole_run(runs: Path, derived: dict[str, Any]) -> None:
    latest = runs / "mine" / "20260101-000000-aa" / "run.json"
    latest.write_text(json.dumps({"schema": SCHEMA_VERSION, "suite": {"name": "mine"}, **derived}))
    assert find_run("mine", runs) == runs / "mine" / "20260202-000000-bb"
    (runs / "mine" / "20260202-000000-bb" / "run.json").unlink()
    assert find_run("mine", runs) == latest.parent


@pytest.mark.parametrize(
    ("name", "hint"), [("mien", "did you mean 'mine'?"), ("zzz", "known: mine, other"), (".cache", "known: mine")]
)
def test_an_unknown_run_is_named(runs: Path, name: str, hint: str) -> None:
    with pytest.raises(StorageError) as caught:
        find_run(name, runs)
    assert f"{name}: expected a run folder or the name of a suite" in str(caught.value)
    assert hint in str(caught.value)


def test_without_any_run_the_first_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no suite has been run here yet: bench run"):
        find_run("mine", tmp_path / "results")


def test_a_plan_has_one_folder(plan: Plan, tmp_path: Path) -> None:
    first = run_folder(plan.suite.name, plan.digest, tmp_path, "20260101-000000")
    assert first == tmp_path / "toy" / f"20260101-000000-{plan.digest[:8]}"
    first.mkdir(parents=True)
    assert run_folder(plan.suite.name, plan.digest, tmp_path, "20270101-000000") == first


# ---- places ----------------------------------------------------------------------------------------------------------


def test_writable_places_are_left_as_they_were(tmp_path: Path) -> None:
    require_writable(tmp_path, tmp_path / "a" / "b" / "c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
def test_a_file_where_a_folder_should_be(tmp_path: Path, below: str) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(StorageError, match=r"results: expected a folder, found a file; choose another --out"):
        require_writable(tmp_path / "fine", tmp_path / "results" / below)


def test_a_link_to_nothing_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "site").symlink_to(tmp_path / "gone")
    for place in (tmp_path / "site", tmp_path / "site" / "deeper"):
        found = (
            r"site: expected a folder, found a link to .*gone, where nothing is; remove the link, or choose another -o"
        )
        with pytest.raises(StorageError, match=found):
            require_writable(place, option="-o")
    assert not (tmp_path / "gone").exists()


def test_an_empty_text_names_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"^RUN: expected a run folder or the name of a suite .* an empty text"):
        find_run("", tmp_path)


def test_a_place_that_takes_no_files() -> None:
    place = Path("/proc/self")
    if not place.is_dir():
        pytest.skip("needs /proc, where nobody can make files")
    with pytest.raises(StorageError, match=r"/proc/.*cannot be written .*choose another folder with --out"):
        require_writable(place / "results")


@pytest.mark.parametrize("ask", ["exists", "touch"])
def test_a_place_that_may_not_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: str) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, ask, refuse)
    with pytest.raises(StorageError, match=r"cannot be written \(Permission denied\); choose another folder"):
        require_writable(tmp_path / "results")


def test_free_space_is_that_of_the_nearest_folder(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "there") > 0


def test_output_takes_the_place_of_files_only(tmp_path: Path) -> None:
    assert require_output_file(tmp_path / "new" / "page.html", option="-o") == tmp_path / "new" / "page.html"
    target, link, pipe = tmp_path / "target", tmp_path / "link", tmp_path / "pipe"
    target.write_text("kept")
    link.symlink_to(target)
    assert require_output_file(link, option="-o") == target
    os.mkfifo(pipe)
    for wrong, kind in ((pipe, "pipe or device"), (Path("/dev/null"), "pipe or device"), (tmp_path, "folder")):
        with pytest.raises(StorageError, match=f"-o: {wrong}: expected a file, found a {kind}; choose another file"):
            require_output_file(wrong, option="-o")
