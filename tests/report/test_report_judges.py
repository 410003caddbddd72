"""What held-out recognisers share with the authorised models, in words and as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from fake_run import ONE, FakeRun, write_fake_run

from bench.analysis.rows import Rows
from bench.report.page import render
from bench.report.page.judges import judged_models, sentence, shared_facts
from bench.store.reading import RunResults

VICTIM = {"architecture": "ir", "loss_kind": "margin", "trained_on": "web", "trained_on_people": "web people"}
SIBLING = VICTIM | {"architecture": "resnet"}
STRANGER = {"architecture": "vgg", "loss_kind": "pairs", "trained_on": "street", "trained_on_people": "street people"}


def run(folder: Path, **declared: Mapping[str, str]) -> RunResults:
    """A run with the authorised model net-a and the held-out recognisers net-b and net-c."""
    models = {"net-a": "MobileFace", "net-b": "ArcFace", "net-c": "net-c"}
    results = write_fake_run(folder / "run", FakeRun(**{**ONE, "models": models}))
    record = json.loads((results.folder / "run.json").read_text())
    for component in record["components"]:
        facts = declared.get(component["label"].replace("-", "_"))
        if component["kind"] == "model" and facts:
            component["model"] = dict(facts)
    (results.folder / "run.json").write_text(json.dumps(record))
    return RunResults(results.folder)


def test_judge_and_victim_are_compared_by_what_is_declared(tmp_path: Path) -> None:
    results = run(tmp_path, net_a=VICTIM, net_b=SIBLING, net_c=STRANGER)
    rows = Rows(results)
    assert judged_models(rows) == {"net-b": ["net-a"], "net-c": ["net-a"]}
    text = sentence(rows)
    assert text.startswith(
        "2 held-out recognisers judged the uploads for authorised models: net-c shares no training picture"
    )
    assert "net-b learnt from the same pictures" in text
    found = {row[0]: list(row[1:]) for row in shared_facts(rows).rows}
    assert found["net-b"] == ["net-a", "the same (web)", "the same (web people)", "other (resnet)", "the same (margin)"]
    assert found["net-c"] == ["net-a", "other (street)", "other (street people)", "other (vgg)", "other (pairs)"]
    page = render(results)
    assert text in page.replace("&#39;", "'")
    assert 'id="judges"' in page


def test_what_is_not_declared_is_not_known(tmp_path: Path) -> None:
    rows = Rows(run(tmp_path / "a"))
    assert sentence(rows).endswith(": what net-b, net-c and they have in common is not known.")
    assert {cell for row in shared_facts(rows).rows for cell in row[2:]} == {"unknown"}
    half = STRANGER | {"trained_on_people": ""}
    rows = Rows(run(tmp_path / "b", net_a=VICTIM, net_b=half, net_c=STRANGER | {"architecture": "ir"}))
    assert "what net-b and they have in common is not known" in sentence(rows)
    assert "net-c has people, architecture or kind of loss in common with one of them" in sentence(rows)
    found = {row[0]: list(row[1:]) for row in shared_facts(rows).rows}
    assert found["net-b"][1:3] == ["other (street)", "unknown"]


def test_several_authorised_models_are_told_apart(tmp_path: Path) -> None:
    spec = FakeRun(
        **{**ONE, "models": {"net-a": "A", "net-b": "B", "net-c": "C"}, "authorised": (("net-a",), ("net-b",))}
    )
    results = write_fake_run(tmp_path / "run", spec)
    assert judged_models(Rows(results))["net-c"] == ["net-a", "net-b"]
    assert judged_models(Rows(results))["net-a"] == ["net-b"]


def test_without_held_out_recognisers_nothing_is_said(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", FakeRun(**{**ONE, "models": {"net-a": "MobileFace"}}))
    assert sentence(Rows(results)) == ""
    assert not shared_facts(Rows(results)).rows
    assert 'id="judges"' not in render(results)
