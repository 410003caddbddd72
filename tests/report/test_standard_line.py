"""On the first screen of the paper's report: what the standard suite says of the same defenses, or how to find out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fake_run import FakeAttack, FakeRun, write_fake_run
from pages import markup

from bench.analysis.rows import Rows
from bench.report.page import render
from bench.report.page.run_facts import facts
from bench.report.page.standard_line import quoted
from bench.store.reading import RunResults
from bench.suite.bundled import published
from bench.suite.suite import read


def run_of(folder: Path, head: dict[str, Any], run: FakeRun | None = None) -> RunResults:
    """Return a fake run whose suite has this head."""
    results = write_fake_run(folder, [run or FakeRun()])
    record = json.loads((results.folder / "run.json").read_text())
    record["suite"]["raw"] = {"suite": {"name": "fake", **head}}
    (results.folder / "run.json").write_text(json.dumps(record))
    return RunResults(results.folder)


def test_a_suite_that_names_none_has_no_line(tmp_path: Path) -> None:
    assert quoted(Rows(run_of(tmp_path / "run", {}))) is None


def test_without_a_reference_run_the_line_says_how_to_get_it(tmp_path: Path) -> None:
    line = quoted(Rows(run_of(tmp_path / "run", {"standard": "hard-7"})))
    assert line is not None
    assert line.words.startswith("What hard-7, the suite with adversaries who know the defense, says of pmt is not ")
    assert line.command == "bench run hard --defense pmt"


def test_the_line_quotes_the_reference_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_REFERENCE", str(tmp_path / "references"))
    of_reference = FakeRun(attacks=(FakeAttack(),))
    run_of(tmp_path / "references" / "hard-7", {"version": "hard-7"}, of_reference)
    line = quoted(Rows(run_of(tmp_path / "run", {"standard": "hard-7"})))
    assert line is not None
    assert line.words.startswith("Under hard-7, which also asks adversaries who know the defense: Use PMT: no ")
    assert re.fullmatch(r"PMT: leakage [\d.]+ % \([\d.]+–[\d.]+, N [\w, ]+\)\.", line.evidence), line.evidence
    assert line.command.startswith("bench run suites/fake.toml ")
    assert "--cell" in line.command
    assert "Noise" not in line.words


def test_a_defense_that_the_reference_run_lacks_has_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_REFERENCE", str(tmp_path / "references"))
    run_of(tmp_path / "references" / "hard-7", {"version": "hard-7"}, FakeRun(attacks=(FakeAttack(),)))
    added = FakeRun(defenses=[("Clean", "identity", False), ("PMT", "pmt", True), ("Mine", "my-cloak", True)])
    line = quoted(Rows(run_of(tmp_path / "run", {"standard": "hard-7"}, added)))
    assert line is not None
    assert line.words.startswith("Under hard-7, which also asks adversaries who know the defense: Use PMT: ")
    unknown = " What hard-7 says of my-cloak is not measured here: bench run hard --defense my-cloak"
    assert line.words.endswith(unknown)
    assert "--cell" in line.command


def test_the_verdict_holds_the_line(tmp_path: Path) -> None:
    page = render(run_of(tmp_path / "run", {"standard": "hard-7"}))
    assert page.index('class="ruling"') < page.index('id="standard"') < page.index("<figure")
    assert '<pre class="command" tabindex="0">bench run hard --defense pmt</pre>' in page
    assert "<code>docs/standard.md</code>" in markup(page)  # A page opens nothing but its own parts.


def test_what_the_command_line_added_is_a_fact_of_the_run(tmp_path: Path) -> None:
    results = run_of(tmp_path / "run", {})
    assert "Added with --defense" not in dict(facts(Rows(results)))
    record = json.loads((results.folder / "run.json").read_text())
    record["suite"]["added"] = ["Mine", "Yours"]
    (results.folder / "run.json").write_text(json.dumps(record))
    assert dict(facts(Rows(RunResults(results.folder))))["Added with --defense"] == "Mine, Yours"


def test_the_papers_suite_names_the_standard_suite() -> None:
    found = {name: read(path).tables.suite for name, path in published().items()}
    assert found["paper"].standard == found["standard"].version == "standard-1"
