"""The threat models and the provenance on the page: adversaries, promises, licenses, and the steps to reproduce a
run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_run import ABUSE, CHAIN, HOSTILE, LEAKY, RECFACE, FakeAttack, FakeRun, write_fake_run
from support import TESTS

from bench.analysis.rows import Rows
from bench.registry.components import instantiate
from bench.registry.discovery import discover
from bench.report.page import render
from bench.report.page.provenance import components, identity, steps
from bench.report.page.run_facts import about
from bench.report.page.threat_models import UNRECORDED, UNSTATED, ThreatModelEntry, adversaries, promises
from bench.store.reading import RunResults

GOLDEN = TESTS / "golden"
INVERSION = FakeAttack(label="inversion", plugin="inversion", outputs="images", features=True)
ADAPTIVE = FakeAttack(label="adaptive", plugin="recface", outputs="images", features=True)
DECLARED: Mapping[str, Mapping[str, Any]] = {
    "abuse": {"sees": ["images"], "trains_on": "nothing"},
    "recface": {"sees": ["features", "pairs"], "trains_on": "clean"},
    "recface, leaky": {"sees": ["features", "pairs"], "trains_on": "evaluated"},
    "adaptive": {"sees": ["defense", "features", "pairs"], "trains_on": "defense"},
    "inversion": {"sees": ["features", "shallow_weights"], "trains_on": "nothing"},
    "attributes via recface": {"sees": ["images"], "trains_on": "nothing", "weights": "b" * 64, "synthetic": True},
    "PMT": {
        "needs": ["shallow"],
        "max_authorised": 1,
        "promise": "that nobody else sees it",
        "trusts": f"the service {HOSTILE}",
        "not_promised": "a bound",
    },
    "Noise 0.3": {"needs": [], "max_authorised": None, "promise": "", "trusts": "nobody", "not_promised": ""},
}


def declared(results: RunResults, more: Mapping[str, Any] | None = None) -> RunResults:
    """A run whose plugins have the declarations `DECLARED`."""
    run = json.loads((results.folder / "run.json").read_text())
    for component in run["components"]:
        said = DECLARED.get(component["label"], {})
        own = {name: value for name, value in said.items() if name in ("weights", "synthetic")}
        component |= own | ({component["kind"]: {k: v for k, v in said.items() if k not in own}} if said else {})
    run |= more or {}
    (results.folder / "run.json").write_text(json.dumps(run))
    return RunResults(results.folder)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    spec = FakeRun(
        models={"net-a": "MobileFace", "net-b": "ArcFace"},
        datasets={"synth-lfw": "LFW"},
        attacks=(ABUSE, RECFACE, LEAKY, ADAPTIVE, INVERSION, CHAIN),
        pairs=4,
    )
    results = write_fake_run(tmp_path_factory.mktemp("described") / "run", spec)
    run = json.loads((results.folder / "run.json").read_text())
    run["suite"]["experiments"][0]["auxiliary"] = {"label": "synth-lfw", "params": {"auxiliary_identities": 1000}}
    return declared(results, {"suite": run["suite"]})


def one(models: Sequence[ThreatModelEntry], name: str) -> ThreatModelEntry:
    return next(m for m in models if m.name == name)


def test_what_adversaries_see_know_and_lack(described: RunResults) -> None:
    found = adversaries(Rows(described))
    white, black = one(found, "inversion").facts, one(found, "recface").facts
    assert white["knows"] == "white box: the weights of the authorised shallow model"
    assert "the weights of the shallow model" not in white["does not have"]
    assert black["knows"] == "black box: no weights; pairs of features and pictures"
    assert black["does not have"].startswith("the weights of the shallow model; the deep part")
    assert one(found, "abuse").facts["receives"] == "the uploaded image"
    assert "as features" in black["receives"]


@pytest.mark.parametrize(
    ("attack", "learns", "adapts"),
    [
        ("abuse", "nothing in this run", "no"),
        ("recface", "clean uploads of 1,000 other people of synth-lfw, none of whom is scored", "no"),
        (
            "adaptive",
            "what the defense makes of 1,000 other people of synth-lfw, none of whom is scored",
            "yes: learns",
        ),
        ("recface, leaky", "LEAKAGE: clean uploads of the evaluated faces themselves", "no"),
        (
            "attributes via recface",
            "clean uploads of 1,000 other people of synth-lfw, none of whom is scored; brings weights of its own, "
            "learnt from generated faces",
            "no",
        ),
    ],
)
def test_what_adversaries_learn_from(described: RunResults, attack: str, learns: str, adapts: str) -> None:
    found = one(adversaries(Rows(described)), attack)
    assert found.facts["learns from"] == learns
    assert found.facts["adapts to the defense"].startswith(adapts)
    assert ("never counted" in found.mark) == (attack == "recface, leaky")


def test_whether_the_people_learnt_from_are_scored(tmp_path: Path) -> None:
    def ended(cell: Mapping[str, Any]) -> Mapping[str, Any]:
        learns = "recface: 3 people left out; noise: none by name" if cell["attack"] == "recface" else None
        return {"learner_overlap": learns, "training_overlap": "net-a: 17 people of casia-webface"}

    spec = FakeRun(datasets={"calfw": "CALFW"}, attacks=(ABUSE, RECFACE), pairs=4, ended=ended)
    rows = Rows(declared(write_fake_run(tmp_path / "run", spec)))
    learns = one(adversaries(rows), "recface").facts["learns from"]
    assert (
        learns
        == "clean uploads of other people of each data set; people learnt from who are also scored: 3 people left out"
    )
    facts = about(rows, "data-abuse")
    assert ("People learnt from who are also scored", "calfw: recface: 3 people left out; noise: none by name") in facts
    assert ("People trained on who are also scored", "calfw: net-a: 17 people of casia-webface") in facts


def test_what_defenses_promise(described: RunResults) -> None:
    found = promises(Rows(described))
    pmt, noise, clean = (one(found, name) for name in ("PMT", "Noise 0.3", "Clean"))
    assert pmt.words == "that nobody else sees it"
    assert pmt.facts["the client needs"] == "the shallow model of net-a, net-b"
    assert pmt.facts["authorises"] == "at most 1 model per picture"
    assert (noise.words, noise.facts["authorises"]) == (UNSTATED, "no model: it is the same for all")
    assert {clean.words, clean.facts["the client needs"], clean.facts["must be trusted"]} == {UNRECORDED}


@pytest.mark.slow
def test_hostile_words_are_text(described: RunResults) -> None:
    page = render(described)
    section = page[page.index('<section id="threats"') :]
    section = section[: section.index("</section>")]
    assert "the service &lt;script&gt;" in section
    assert "<script" not in section


@pytest.mark.parametrize("schema", [2, 3])
def test_old_results_say_that_nothing_was_recorded(schema: int) -> None:
    rows = Rows(RunResults(GOLDEN / f"schema-{schema}"))
    assert {m.facts["knows"] for m in adversaries(rows)} == {UNRECORDED}
    assert all(m.words not in ("", UNRECORDED) for m in adversaries(rows))  # The cells of older runs have it as text.
    assert {m.words for m in promises(rows)} == {UNRECORDED}


def test_every_plugin_of_this_project_says_what_it_promises() -> None:
    registry = discover()
    for name in ("identity", "noise", "pmt", "mr-pmt", "pmt-noise"):
        defense = instantiate(registry.find("defense", name, name).cls, {}, name)
        assert all((defense.promise, defense.trusts, defense.not_promised)), name


# ---- provenance ------------------------------------------------------------------------------------------------------


def test_licenses(described: RunResults, tmp_path: Path) -> None:
    shutil.copytree(described.folder, tmp_path / "run")
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    for component in run["components"]:
        if component["label"] == "net-a":
            component["license"] = "research only"
    (tmp_path / "run" / "run.json").write_text(json.dumps(run))
    grid = components(Rows(RunResults(tmp_path / "run")))
    found = {row[0]: row[grid.columns.index("license")] for row in grid.rows}
    assert found["net-a"] == "research only"
    assert (found["net-b"], found["synth-lfw"]) == ("unknown", "unknown")
    assert found["attributes via recface"] == "unknown"  # It brings weights without a license.
    assert (found["PMT"], found["abuse"]) == ("–", "–")


@pytest.mark.parametrize(
    ("commit", "command", "remark"),
    [
        ("a" * 40, f"git checkout {'a' * 40}", ""),
        ("a" * 40 + "+dirty", f"git checkout {'a' * 40}", "Files differed"),
        (None, "", "not made from a checkout"),
    ],
)
def test_the_sources_of_a_run(
    described: RunResults, tmp_path: Path, commit: str | None, command: str, remark: str
) -> None:
    shutil.copytree(described.folder, tmp_path / "run")
    results = declared(RunResults(tmp_path / "run"), {"commit": commit})
    first = steps(results)[0]
    assert first.command == command
    assert remark in first.remark
    shown = dict(identity(results))["Commit"]
    assert ("nothing changed" in shown, "not committed" in shown) == (command != "" and not remark, "+" in str(commit))


def test_doing_a_run_again_ends_with_a_comparison(described: RunResults) -> None:
    commands = [s.command for s in steps(described)]
    assert "bench run suites/fake.toml --pairs 4" in commands
    assert any(c.startswith("bench diff ") for c in commands)
    assert commands[-1].startswith("bench run --replay ")
    assert "bench data status --data-dir DIR" in commands  # These data are not marked as generated.
