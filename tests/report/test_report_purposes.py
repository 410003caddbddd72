"""What threat models, plans, explanations and `bench info` say of goal, side, surrogates, guarantee and recogniser."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_run import ABUSE, ESTIMATE, FakeRun, write_fake_run
from support import write_plugin

from bench.analysis.rows import Rows
from bench.analysis.tables.goals import bound_in_words
from bench.analysis.tables.kept import kept_tables
from bench.analysis.tables.leakage_ladder import ladder
from bench.cli import console
from bench.planning.plan import make_plan
from bench.registry.discovery import Registry
from bench.report.page.experiments import parts
from bench.report.page.image_budget import Album
from bench.report.page.threat_models import promises
from bench.runs.explain import explain, find_cell
from bench.store.artifacts import Cache
from bench.store.reading import RunResults
from bench.suite.suite import load

BOUND = json.dumps({"words": "It is private.", "epsilon": 2.0, "k": None})


def cloaked(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a cell records of a cloak in place of noise; other cells record nothing, like those of older versions."""
    if cell["defense"] != "Noise 0.3":
        return {"goal": None, "protects": None, "surrogates": [], "bound": None, "control": None}
    return {"goal": "appearance", "protects": "gallery", "surrogates": ["net-a"], "bound": BOUND, "control": "safe"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    spec = FakeRun(datasets={"synth-lfw": "LFW"}, attacks=(ABUSE,), pairs=8, ended=cloaked)
    results = write_fake_run(tmp_path_factory.mktemp("purposes") / "run", spec)
    run = json.loads((results.folder / "run.json").read_text())
    declared = {"needs": ["enrolment", "surrogates"], "goal": "appearance", "own_recogniser": False}
    for component in run["components"]:
        if component["label"] == "Noise 0.3":
            component["defense"] = declared
        if component["label"] == "PMT":
            component["defense"] = {"needs": [], "goal": "template", "own_recogniser": True}
    (results.folder / "run.json").write_text(json.dumps(run))
    return RunResults(results.folder)


def test_threat_models_say_what_a_defense_is_for(recorded: RunResults) -> None:
    found = {entry.name: entry.facts for entry in promises(Rows(recorded))}
    cloak = found["Noise 0.3"]
    assert cloak["goal"] == "appearance: people still see the same face, and no model recognises it"
    assert cloak["protects"] == "the picture that is enrolled"
    assert cloak["the client needs"] == (
        "surrogate models in place of unknown ones: net-a; further pictures of the same people"
    )
    assert cloak["is recognised by"] == "no model"
    assert cloak["formal guarantee"] == "It is private. (epsilon = 2)"
    assert found["PMT"]["is recognised by"] == "its own recogniser, which compares protected with protected pictures"
    assert found["PMT"]["formal guarantee"] == "none is declared"
    assert found["PMT"]["goal"].startswith("recognition: ")


def test_an_explanation_says_what_a_defense_is_for(recorded: RunResults, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    words = explain(recorded, find_cell(recorded, ["defense=Noise 0.3", "evaluated=net-b"]), tmp_path, cache).words
    assert words["goal"].startswith("appearance: ")
    assert words["protects"] == "the picture that is enrolled"
    assert words["surrogates"] == "net-a; the client uses them in place of unknown models"
    assert words["formal guarantee"] == "It is private. (epsilon = 2)"
    assert words["control"] == "what it sends does not depend on the face, so no attack may succeed"
    terms = ["defense=Clean", "evaluated=net-b"]
    assert not {"goal", "protects", "surrogates", "control"} & set(
        explain(recorded, find_cell(recorded, terms), tmp_path, cache).words
    )


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ({"words": "w", "epsilon": 0.5, "k": 3}, "w (epsilon = 0.5, k = 3)"),
        ({"words": "w"}, "w"),
        ({"words": "w", "epsilon": "much"}, "w"),
    ],
)
def test_a_guarantee_in_words(bound: Mapping[str, Any], words: str) -> None:
    assert bound_in_words(json.dumps(bound)) == words


def test_the_ladder_flags_no_pixels_where_the_picture_is_meant_to_stay(recorded: RunResults) -> None:
    found = {entry.defense: entry for entry in ladder(Rows(recorded))}
    assert not found["Noise 0.3"].hides_pixels
    assert not any("pixel" in flag for flag in found["Noise 0.3"].flags)
    assert found["PMT"].hides_pixels


PLUGIN = '''\
from dataclasses import dataclass
from bench import Bound, Defense, Protected, hookimpl

@dataclass(frozen=True, kw_only=True)
class Cloak(Defense):
    """A cloak."""

    goal = "appearance"
    control = "learnable"
    protects = frozenset({"gallery"})
    needs = frozenset({"surrogates"})
    strength: float = 2.0

    def bound(self):
        return Bound(words="It is private.", epsilon=self.strength)

    def protect(self, images, ctx):
        return Protected(images=images)

@hookimpl
def bench_defenses():
    return {"cloak": Cloak}
'''
SUITE = """\
[suite]
name = "plan"

[[experiment]]
name = "plan"
datasets = ["toy-faces"]
authorised = ["toy-a"]
surrogates = ["toy-b"]
evaluated = ["toy-a"]
defenses = ["identity", "cloak"]
pairs = 4
"""


def test_plan_and_info_say_what_a_defense_is_for(
    tmp_path: Path,
    toy_site: Path,
    monkeypatch: pytest.MonkeyPatch,
    sites_of_their_own: Callable[[Path], Registry],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(toy_site))
    registry = sites_of_their_own(write_plugin(tmp_path / "site", "plugin_cloak", PLUGIN))
    path = tmp_path / "plan.toml"
    path.write_text(SUITE, encoding="utf-8")
    plan, cache = make_plan(load(path, registry), registry, "cpu"), Cache(tmp_path / "cache")
    assert list(console._purposes(plan)) == [
        "goal recognition: the authorised models still recognise the person: identity",
        "goal appearance: people still see the same face, and no model recognises it: cloak (the picture that is "
        "enrolled; surrogates toy-b; It is private. (epsilon = 2))",
    ]
    console.print_plan(plan, cache, registry)
    cell = next(c for c in json.loads(capsys.readouterr().out)["cells"] if c["defense"] == "cloak")
    assert {name: cell[name] for name in ("goal", "protects", "surrogates", "bound", "control")} == {
        "goal": "appearance",
        "protects": "gallery",
        "surrogates": ["toy-b"],
        "bound": {"words": "It is private.", "epsilon": 2.0, "k": None},
        "control": "learnable",
    }
    declares = console._info(registry, "defense", "cloak")["declares"]
    assert isinstance(declares, dict)
    assert {name: declares[name] for name in ("goal", "protects", "own recogniser", "bound", "control")} == {
        "goal": "appearance",
        "protects": "gallery",
        "own recogniser": "False",
        "bound": "It is private., epsilon 2 (with the default parameters)",
        "control": "learnable",
    }


def _described(folder: Path, goals: Mapping[str, tuple[str, str | None]]) -> Rows:
    """Return a run that estimates attributes, in which defenses have these goals and are these controls."""

    def recorded(cell: Mapping[str, Any]) -> Mapping[str, Any]:
        goal, control = goals.get(cell["defense"], ("recognition", None))
        return {"goal": goal, "control": "leaks" if cell["defense"] == "Clean" else control}

    about = {"table": None, "claims": None, "datasets": {"synth-lfw": "LFW"}, "pairs": 8}
    return Rows(write_fake_run(folder, FakeRun(name="attributes", attacks=(ESTIMATE,), ended=recorded, **about)))


KEPT_HEADING = "What anonymised pictures keep"


@pytest.mark.parametrize(
    ("goals", "tables", "title"),
    [
        ({"Noise 0.3": ("anonymity", "safe")}, 0, "What does an upload reveal about the person?"),
        ({"Noise 0.3": ("anonymity", None)}, 1, "What does an upload reveal about the person?"),
        ({"Noise 0.3": ("anonymity", None), "PMT": ("anonymity", None)}, 1, KEPT_HEADING),
    ],
)
def test_what_anonymised_pictures_keep_heads_only_what_is_about_them(
    tmp_path: Path, goals: Mapping[str, tuple[str, str | None]], tables: int, title: str
) -> None:
    rows = _described(tmp_path / "run", goals)
    assert len(kept_tables(rows, "attributes")) == tables
    (part,) = parts(rows, False, Album())
    assert part.heading == f"Attributes: {title}"
