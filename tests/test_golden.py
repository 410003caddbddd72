"""Results of every schema stay readable: real run folders of earlier versions, and what is known of them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path

import pytest
from support import Command

from bench.analysis.claim_results import claims_of, judge
from bench.analysis.rows import Rows
from bench.report.export import export
from bench.report.page import render
from bench.store.reading import LAYOUTS, RunResults
from bench.store.run_record import READABLE
from bench.store.schema import CELLS, SAMPLES, SCHEMA_VERSION

GOLDEN = Path(__file__).parent / "golden"
SCHEMAS = (2, 3, 4)
# Columns of cells that depend on when, by which code and from which stages they were computed.
_OF_ITS_RUN = {"cell", "failed_stage", "traceback", "seconds", "peak_mb", "stages", "protect", "components"}
ROWS = {"verification": 40, "images": 20, "baselines": 6, "examples": 20, "attributes": 24, "up": 16}


@pytest.fixture(scope="module", params=SCHEMAS)
def results(request: pytest.FixtureRequest) -> RunResults:
    return RunResults(GOLDEN / f"schema-{request.param}")


def test_every_schema_has_a_golden_run() -> None:
    assert set(LAYOUTS) == set(READABLE) == set(SCHEMAS)
    assert max(SCHEMAS) == SCHEMA_VERSION
    assert {p.name for p in GOLDEN.glob("schema-*")} == {f"schema-{s}" for s in SCHEMAS}
    assert [RunResults(GOLDEN / f"schema-{s}").run.schema for s in SCHEMAS] == list(SCHEMAS)


def test_files_are_as_they_were_written(results: RunResults) -> None:
    files = results.run.files
    for name, digest in files.items():
        assert hashlib.sha256((results.folder / name).read_bytes()).hexdigest() == digest
    assert len(files) == len(list(results.folder.rglob("*.parquet")))


def test_cells_have_the_columns_of_today(results: RunResults) -> None:
    cells = results.cells
    assert list(cells.columns) == CELLS.names
    assert cells["status"].value_counts().to_dict() == {"ok": 16, "skipped": 2, "failed": 2}
    failed = cells[cells["status"] == "failed"]
    assert set(failed["reason"]) == {
        "toy-faces protected by raises: RuntimeError: the toy broke [/red] {in} a <strange> way"
    }
    assert cells["batch"].isna().all()
    assert failed["traceback"].notna().all() == (results.run.schema > 2)
    assert cells.loc[cells["status"] != "failed", ["traceback", "log"]].isna().all().all()


def test_every_schema_gives_the_same_frames(results: RunResults) -> None:
    """What older schemas wrote as joined text, or did not write, is the same as what is written today."""
    latest = RunResults(GOLDEN / f"schema-{SCHEMA_VERSION}")
    same = [c for c in CELLS.names if c not in _OF_ITS_RUN]
    assert results.cells[same].equals(latest.cells[same])
    assert set(results.cells["authorised"]) == {(), ("toy-a",)}
    assert set(results.cells["splits"]) == {()}
    for mine, theirs in zip(results.cells["components"], latest.cells["components"], strict=True):
        found = [[(c["role"], c["kind"], c["label"]) for c in json.loads(text)] for text in (mine, theirs)]
        assert found[0] == found[1]


def test_the_stage_that_failed_is_a_column(results: RunResults) -> None:
    names = {stage["key"]: stage["name"] for stage in results.stages}
    cells = results.cells
    failed = cells["status"] == "failed"
    assert {names[key] for key in cells.loc[failed, "failed_stage"]} == {"toy-faces protected by raises"}
    assert cells.loc[~failed, "failed_stage"].isna().all()
    bad = [stage for stage in results.stages if stage["status"] == "failed"]
    assert len(bad) == 6
    assert {names[stage["failed_stage"]] for stage in bad} == {"toy-faces protected by raises"}
    metrics = {stage["metric"] for stage in results.stages if stage["kind"] == "score"}
    assert {"verification", "images", "baselines"} <= metrics


def test_older_runs_have_every_table_but_those_of_links_people_and_sets(results: RunResults) -> None:
    assert {*SAMPLES} - {*ROWS} == {"links", "people", "sets"}
    assert results.samples("links").empty
    assert results.samples("sets").empty


@pytest.mark.parametrize("name", ROWS)
def test_every_table_is_read(results: RunResults, name: str) -> None:
    rows = results.samples(name)
    assert len(rows) == ROWS[name]
    assert list(dict.fromkeys(rows["experiment"])) == [
        e for e in ("recognition", "attacks", "noisy") if e in set(rows["experiment"])
    ]
    latest = RunResults(GOLDEN / f"schema-{SCHEMA_VERSION}").samples(name)
    assert set(rows.columns) == set(latest.columns)
    own = results.samples(name, {"experiment": rows["experiment"].iloc[-1]}, ["dataset", "experiment"])
    assert 0 < len(own) <= len(rows)
    assert list(own.columns) == ["dataset", "experiment"]


def test_figures_are_what_they_were(results: RunResults) -> None:
    found = {
        (f["experiment"], f["defense"], f["attack"], f["column"]): (float(f["value"]), int(f["n"]))
        for name in ("VII", "images", "attributes", "reconstruction")
        for f in csv.DictReader(io.StringIO(export(results, name, "csv")))
        if f["value"] and f["defense"]
    }
    assert found["recognition", "identity", "abuse", "toy-b"] == (100.0, 4)
    assert found["recognition", "toy-step", "abuse", "toy-a"] == (100.0, 4)
    assert found["recognition", "toy-step", "abuse", "toy-b"] == (0.0, 4)
    assert found["recognition", "toy-mean", "abuse", "SSIM"] == (0.7895, 2)
    assert found["recognition", "toy-step", "abuse", "SSIM"] == (0.0921881, 2)
    assert found["noisy", "toy-step", "toy-attributes", "Age"] == (3.04898, 2)
    assert found["noisy", "toy-step", "toy-attributes", "Colour"] == (0.946907, 2)
    assert found["attacks", "identity", "toy-upsample", "upload"] == (3072.0, 2)


def test_claims_are_judged(results: RunResults) -> None:
    (verdict,) = judge(Rows(results), claims_of(results))
    assert verdict.outcome == "holds"
    assert (verdict.decisive.left.value, verdict.decisive.right.value) == (1.0, 0.0)


@pytest.mark.slow
def test_the_page_is_made(results: RunResults) -> None:
    page = render(results)
    assert "This run is not complete: some cells failed." in page
    assert "RuntimeError: the toy broke [/red] {in} a &lt;strange&gt; way" in page
    assert ("Where it failed" in page) == (results.run.schema > 2)
    assert page.count("data:image/") >= 10


def test_commands_take_them(results: RunResults, bench: Command, tmp_path: Path) -> None:
    done = bench("report", results.folder, "--out", tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "reports" / "golden" / "index.html").exists()
    done = bench("export", results.folder, "--table", "VII", "--out", tmp_path)
    assert done.code == 0, done.err
    assert done.out.startswith("table,experiment,dataset")
    done = bench("claims", results.folder, "--out", tmp_path)
    assert done.code == 0, done.err
    assert "1 claim: 1 hold" in done.out
