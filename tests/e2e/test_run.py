"""``bench run``: rows and report; a second run computes nothing."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

import pandas as pd
from pages import markup
from processes import assert_same_rows, manifests, rows, run_folders
from support import Command, ToyRun

from bench.analysis.rows import Rows
from bench.analysis.tables import build
from bench.report.export import records
from bench.store.reading import RunResults


def test_the_run_prints_a_table_and_the_paths(toy_run: ToyRun) -> None:
    done = toy_run.done
    assert done.left == []
    assert "Traceback" not in done.err
    assert "Warning" not in done.err
    assert re.search(r"cells: 20 ok, 4 skipped, 0 failed", done.out)
    assert re.search(rf"rows: +{re.escape(str(toy_run.folder))}", done.out)
    assert f"report: {toy_run.out / 'reports' / 'toy' / 'index.html'}" in done.out
    assert "synthetic" in done.out
    assert re.search(r"(\d+) stages to compute, 0 in the cache", done.err)
    assert re.search(r"(\d+) stages computed, in", done.err)


def test_rows_hold_every_cell(toy_run: ToyRun) -> None:
    found = rows(toy_run.folder)
    assert found["cells"]["status"].value_counts().to_dict() == {"ok": 20, "skipped": 4}
    assert len(found["verification"]) == 16 * 40 + 4 * 20
    assert set(found) == {"cells", "verification", "images", "baselines", "people", "examples"}
    assert not found["cells"]["cell"].duplicated().any()


def test_protection_works_with_the_toy_plugins(toy_run: ToyRun) -> None:
    """The results distinguish protected from unprotected faces, and the authorised model from another."""
    verification = rows(toy_run.folder)["verification"]
    verification["hit"] = verification["cos_self"] > verification["kappa_calibrated"]
    hits = verification.groupby(["defense", "authorised", "evaluated"])["hit"].mean()
    assert hits["identity", "", "toy-a"] == hits["identity", "", "toy-b"] == 1
    for authorised, evaluated in (("toy-a", "toy-b"), ("toy-b", "toy-a")):
        assert hits["toy-step", authorised, authorised] > 0.9
        assert hits["toy-step", authorised, evaluated] < 0.2
    assert min(hits["toy-step", "toy-a+toy-b", model] for model in ("toy-a", "toy-b")) > 0.9


def test_repeats_and_seeds_give_other_rows(toy_run: ToyRun) -> None:
    found = rows(toy_run.folder)["verification"]
    noise = found[found["defense"] == "little noise"].groupby(["dataset", "repeat"])["cos_self"].mean()
    assert noise.index.to_list() == [("other", 0), ("other", 1), ("toy-faces", 0), ("toy-faces", 1)]
    assert noise.nunique() == 4


def test_tables_show_repeats_as_one_setting(toy_run: ToyRun) -> None:
    found = [r for r in records(build(Rows(RunResults(toy_run.folder)), "cosine")) if r["experiment"] == "two"]
    (own,) = [r for r in found if (r["dataset"], r["column"], r["row"]) == ("toy-faces", "toy-b", "little noise")]
    cells = rows(toy_run.folder)["verification"]
    cells = cells[(cells["defense"] == "little noise") & (cells["dataset"] == "toy-faces")]
    assert (own["n"], own["repeats"]) == (20, "2")
    assert len(cells) == 40
    assert abs(own["value"] - cells.groupby("repeat")["cos_self"].mean().mean()) < 1e-5
    page = (toy_run.out / "reports" / "toy" / "index.html").read_text(encoding="utf-8")
    assert "2 repeats" in page


def test_the_record_is_complete(toy_run: ToyRun) -> None:
    run = json.loads((toy_run.folder / "run.json").read_text())
    assert run["status"] == "complete"
    assert run["command"][:2] == ["bench", "run"]
    assert run["suite"]["name"] == "toy"
    assert run["counts"]["computed"] == run["counts"]["stages"] == len(manifests(toy_run.out))
    stages = RunResults(toy_run.folder).stages
    assert len(stages) == run["counts"]["stages"]
    for stage in stages:
        assert stage["status"] == "ok"
        assert stage["peak_mb"] > 10
        assert stage["seconds"] > 0


def test_plugins_receive_every_cell(toy_run: ToyRun) -> None:
    heard = [line.split() for line in (toy_run.suite.parent / "heard").read_text().splitlines()]
    cells = pd.read_parquet(toy_run.folder / "cells.parquet")
    assert heard == cells[["cell", "status"]].to_numpy().tolist()


def test_the_report_shows_what_ran(toy_run: ToyRun) -> None:
    page = (toy_run.out / "reports" / "toy" / "index.html").read_text(encoding="utf-8")
    for text in ("A toy suite", "toy-step", "little noise", "Model A", "bench-toy-plugin", "synthetic stand-in"):
        assert text in page, text
    assert "toy-targets needs further pictures" in html.unescape(page)
    assert "What the toy plugin counted" in page
    assert "&lt;b&gt;not bold&lt;/b&gt;" in page
    assert "<b>not bold</b>" not in page
    assert page.count("data:image/") >= 4
    markup(page)  # This fails if the page loads anything from elsewhere.


def test_nothing_but_results_and_report_is_written(toy_run: ToyRun) -> None:
    assert sorted(p.name for p in toy_run.out.iterdir()) == ["reports", "results"]
    assert sorted(p.name for p in (toy_run.out / "results").iterdir()) == [".cache", "toy"]
    leftovers = [p for p in toy_run.out.rglob("*") if p.is_file() and p.name.startswith(".")]
    assert leftovers == []
    tmp = toy_run.cache / "tmp"
    assert not tmp.exists() or list(tmp.iterdir()) == []


def test_a_second_run_computes_nothing(bench: Command, toy_run: ToyRun, tmp_path: Path) -> None:
    out = toy_run.copy(tmp_path / "out")
    file = out / "reports" / "toy" / "index.html"
    page, rendered = file.read_text(), file.stat().st_mtime_ns
    before = manifests(out)
    done = bench("run", toy_run.suite, "--out", out, "--device", "cpu", "--workers", "1")
    assert done.code == 0, done.err
    assert f"0 stages to compute, {len(before)} in the cache" in done.err
    assert "0 stages computed" in done.err
    assert manifests(out) == before
    (folder,) = run_folders(out)
    assert folder.name == toy_run.folder.name
    assert_same_rows(folder, toy_run.folder)
    record = (toy_run.folder / "run.json").read_text()
    assert (folder / "run.json").read_text() == record, "the record must go on telling when the rows were computed"
    assert (file.read_text(), file.stat().st_mtime_ns) == (page, rendered)
    assert f"report: {file} (unchanged)" in done.out


def test_a_second_run_renders_a_damaged_page_again(bench: Command, toy_run: ToyRun, tmp_path: Path) -> None:
    out = toy_run.copy(tmp_path / "out")
    file = out / "reports" / "toy" / "index.html"
    page = file.read_text()
    file.write_text(page[:-100])
    done = bench("run", toy_run.suite, "--out", out, "--device", "cpu", "--workers", "1")
    assert done.code == 0, done.err
    assert "(unchanged)" not in done.out
    assert file.read_text() == page


def test_rows_without_a_report(bench: Command, toy_run: ToyRun, tmp_path: Path) -> None:
    out = toy_run.copy(tmp_path / "out")
    shutil.rmtree(out / "reports")
    done = bench("run", "--no-report", toy_run.suite, "--out", out, "--device", "cpu", "--workers", "1")
    assert done.code == 0, done.err
    (folder,) = run_folders(out)
    assert f"report: not written; bench report {folder} writes it" in done.out
    assert not (out / "reports").exists()
    assert bench("report", folder, "--out", out).code == 0
    assert (out / "reports" / "toy" / "index.html").is_file()


def test_more_defenses_compute_only_what_is_new(bench: Command, toy_run: ToyRun, tmp_path: Path) -> None:
    out = toy_run.copy(tmp_path / "out")
    before = manifests(out)
    noise = 'experiment[0].defenses=["identity", { plugin = "noise", sigma = 0.9 }]'
    done = bench("run", toy_run.suite, "--out", out, "--device", "cpu", "--workers", "1", "--set", noise)
    assert done.code == 0, done.err
    after = manifests(out)
    assert {key: after[key] for key in before} == before
    assert len(after) - len(before) == 6  # protect, embed and verification by two models, image similarity
    assert len(run_folders(out)) == 2
