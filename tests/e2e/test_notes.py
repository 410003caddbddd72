"""What is noticed about data, weights and plugins is shown wherever somebody looks."""

from __future__ import annotations

import json
import re
from pathlib import Path

from support import Command, write_plugin

PLUGIN = """
import warnings
from dataclasses import dataclass, replace

from bench import Defense, Protected, hookimpl
from bench_toy.faces import ToyFaces


@dataclass(frozen=True, kw_only=True)
class Noting(ToyFaces):
    def status(self):
        return replace(super().status(), notes=("12 files <i>of a strange format</i> were passed over",))


@dataclass(frozen=True, kw_only=True)
class Warning_(Defense):
    def protect(self, images, ctx):
        warnings.warn("the mask <b>was</b> scaled")
        return Protected(images=images)


@hookimpl
def bench_datasets():
    return {"noting": Noting}


@hookimpl
def bench_defenses():
    return {"warning": Warning_}
"""
SUITE = """
[suite]
name = "notes"

[[experiment]]
name = "one"
datasets = ["noting"]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["{defense}"]
pairs = 40
"""
DATA, MASK = "12 files <i>of a strange format</i> were passed over", "the mask <b>was</b> scaled"


def test_notes_are_kept_and_shown(bench: Command, tmp_path: Path) -> None:
    site = write_plugin(tmp_path / "site", "plugin_noting", PLUGIN)
    suite = tmp_path / "notes.toml"
    suite.write_text(SUITE.format(defense="warning"), encoding="utf-8")

    def call(*words: object) -> str:
        done = bench(*words, cwd=tmp_path, sites=[site])
        assert done.code == 0, done.err
        return done.out + done.err

    assert f"note on noting: {DATA}" in call("plan", suite)
    plan = json.loads(call("plan", suite, "--json"))
    assert plan["notes"] == [{"component": "noting", "note": DATA}]
    told = call("run", suite, "--device", "cpu", "--workers", "1")
    assert f"note on noting: {DATA}" in told
    assert f"note on warning: {MASK}" in told

    (run,) = (tmp_path / "results" / "notes").iterdir()
    notes = {c["label"]: c["notes"] for c in json.loads((run / "run.json").read_text(encoding="utf-8"))["components"]}
    assert (notes["noting"], notes["warning"], notes["toy-b"]) == ([DATA], [MASK], [])

    page = (tmp_path / "reports" / "notes" / "index.html").read_text(encoding="utf-8")
    provenance = page[page.index('id="notes"') :]
    assert "12 files &lt;i&gt;of a strange format&lt;/i&gt; were passed over" in provenance
    assert "the mask &lt;b&gt;was&lt;/b&gt; scaled" in provenance
    assert DATA not in page

    told = call("explain", run, "experiment=one")
    assert re.search(rf"data set: noting .*\n    note: {re.escape(DATA)}\n", told)
    assert f"    note: {MASK}\n" in told

    suite.write_text(SUITE.format(defense="identity"), encoding="utf-8")
    call("run", suite, "--device", "cpu", "--workers", "1", "--no-report")
    both = sorted((tmp_path / "results" / "notes").iterdir(), key=lambda path: path != run)
    call("report", *both, "-o", "both.html")
    page = (tmp_path / "both.html").read_text(encoding="utf-8")
    assert page.count("were passed over</dd>") == 1, "the runs share the data set, and its note is shown once"
    assert "the mask &lt;b&gt;was&lt;/b&gt; scaled" in page
