"""What plugins declare is checked against the types of their base classes: one error, before anything is computed."""

from __future__ import annotations

import inspect
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import Command, write_plugin

from bench.api.attack import Attack
from bench.api.datasets import TrainingSet
from bench.api.defense import Defense
from bench.api.hookspecs import Model
from bench.api.metric import Metric
from bench.core.errors import MissingDataError, PluginError
from bench.registry.declarations import check_declarations, examined, problem_of
from bench.registry.discovery import KINDS, Registry

BASES: dict[str, tuple[type, dict[str, Any]]] = {
    "defense": (Defense, {"protect": lambda self, images, ctx: None}),
    "attack": (Attack, {}),
    "metric": (Metric, {"formula": "one", "compute": lambda self, original, other, ctx: [1.0]}),
    "model": (Model, {"load": lambda self: None, "weights": lambda self: Path("weights.pt")}),
    "training_set": (
        TrainingSet,
        {name: lambda self, rows=None: "" for name in ("fingerprint", "labels", "images")},
    ),
}


def component(kind: str, **declared: Any) -> Any:
    """Return the class of a component with these declarations."""
    base, methods = BASES[kind]
    made = type("Mine", (base,), {**methods, **declared, "__module__": __name__})
    return dataclass(frozen=True, kw_only=True)(made)


# The kind, what is declared, and the problem.
class Unprintable:
    def __repr__(self) -> str:
        raise TypeError("no")


def fails(words: str) -> None:
    raise ValueError(words)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    (
        "defense",
        {"protects": 5},
        "defense mine: protects: expected a frozenset of probe, gallery, both, found 5; correct it, or leave it out "
        "for the default",
    ),
    (
        "defense",
        {"goal": "cloak"},
        "defense mine: goal: expected one of recognition, appearance, anonymity, template, found 'cloak'; declare one "
        "of them",
    ),
    ("defense", {"goal": "apearance"}, "found 'apearance'; did you mean 'appearance'?"),
    ("defense", {"needs": "shallow"}, "found 'shallow'; write frozenset({'shallow'})"),
    ("defense", {"needs": ("shallow", "key")}, "found ('shallow', 'key'); write frozenset({'shallow', 'key'})"),
    ("defense", {"needs": frozenset({"shalow"})}, "found 'shalow'; did you mean 'shallow'?"),
    ("defense", {"sends": "image"}, "sends: expected a frozenset of image, feature, representation, found 'image'"),
    ("defense", {"control": 5}, "control: expected one of leaks, safe, learnable, found 5"),
    ("defense", {"own_recogniser": "yes"}, "own_recogniser: expected True or False, found 'yes'"),
    ("defense", {"recogniser_size": -3}, "recogniser_size: expected a number of at least 0, found -3"),
    ("defense", {"max_authorised": 1.5}, "max_authorised: expected a whole number or None, found 1.5"),
    ("defense", {"max_authorised": 0}, "max_authorised: expected a number of at least 1, found 0; correct it"),
    (
        "defense",
        {"protects": frozenset()},
        "protects: expected at least one of probe, gallery, both, found none; declare",
    ),
    ("defense", {"sends": set()}, "sends: expected at least one of image, feature, representation, found none"),
    (
        "defense",
        {"need": frozenset()},
        "need: expected a declaration, found a name that bench does not know; did you mean",
    ),
    ("defense", {"licence": "MIT"}, "did you mean 'license'? Call an attribute of your own _licence"),
    ("defense", {"goals": property(lambda self: "template")}, "goals: expected a declaration, found a name"),
    ("defense", {"programs": 5}, "programs: expected a tuple, each part a text, found 5"),
    ("defense", {"promise": None}, "promise: expected a text, found None"),
    ("defense", {"time_limit_s": float("nan")}, "time_limit_s: expected a number or None, found nan"),
    ("defense", {"bound": 5}, "bound: expected a method, found 5; write def bound(self, ...) and return the value"),
    ("defense", {"passes": lambda self: "7"}, "passes(): expected a number, found '7'"),
    ("defense", {"passes": lambda self: 1 / 0}, "passes(): the plugin failed with ZeroDivisionError"),
    ("defense", {"representation": lambda self: {"a": (64)}}, "representation(): expected a dict, each key a text and"),
    ("defense", {"goal": property(lambda self: "cloak")}, "goal: expected one of recognition"),
    ("defense", {"goal": property(lambda self: 1 / 0)}, "goal: the plugin failed with ZeroDivisionError"),
    ("attack", {"sees": "images"}, "found 'images'; write frozenset({'images'})"),
    ("attack", {"outputs": ("images",)}, "outputs: expected one of recognition, images, attributes, links, found ("),
    ("attack", {"uploads": "3"}, "uploads: expected a whole number, found '3'"),
    ("attack", {"uploads": 10**9}, "uploads: expected a number from 1 to 1,000, found 1000000000; correct it"),
    ("attack", {"uploads": 0}, "uploads: expected a number from 1 to 1,000, found 0"),
    ("attack", {"output": "links"}, "output: expected a declaration, found a name that bench does not know"),
    ("attack", {"trains_on": "cleen"}, "found 'cleen'; did you mean 'clean'?"),
    ("attack", {"budget": {"steps": 3}}, "budget: expected a method, found {'steps': 3}; write def budget(self"),
    ("attack", {"classes": lambda self: {"gender": "male"}}, "classes(): expected a dict, each key a text"),
    ("attack", {"fit_seconds": lambda self: None}, "fit_seconds(): expected a number, found None"),
    ("defense", {"fit_seconds": lambda self: None}, "fit_seconds(): expected a number, found None"),
    ("defense", {"fit_seconds": lambda self: 1 / 0}, "fit_seconds(): the plugin failed with ZeroDivisionError"),
    (
        "metric",
        {"range": [0.0, 1.0]},
        "range: expected a tuple (a number, a number), found [0.0, 1.0]; write",
    ),
    ("metric", {"better": "higher"}, "better: expected a dict, each key one of recognition, appearance, anonymity"),
    ("metric", {"digits": 2.5}, "digits: expected a whole number, found 2.5"),
    ("metric", {"formula": 5}, "formula: expected a text, found 5"),
    ("model", {"input_size": [112, 112]}, "found [112, 112]; write the tuple (112, 112)"),
    (
        "model",
        {"splits": {"conv1": (1, 2)}},
        "splits: expected a dict, each key a text and each value a tuple",
    ),
    ("model", {"mflops": "a lot"}, "mflops: expected a number, found 'a lot'"),
    ("model", {"stand_in": 5}, "stand_in: expected a text or None, found 5"),
    ("defense", {"needs": property(lambda self: sys.exit(0))}, "needs: the plugin failed with SystemExit"),
    ("defense", {"passes": property(lambda self: 1 / 0)}, "passes(): the plugin failed with ZeroDivisionError"),
    ("defense", {"passes": lambda self: fails("x" * 10**6)}, "passes(): the plugin failed with ValueError: xxx"),
    ("defense", {"libraries": property(lambda self: itertools.repeat("numpy"))}, "libraries: expected a tuple"),
    ("defense", {"goal": Unprintable()}, "found a value of Unprintable that cannot be shown"),
    ("defense", {"needs": frozenset({Unprintable()})}, "found a value of Unprintable that cannot be shown"),
    ("defense", {"goal": 10**5000}, "found a value that is too large to show"),
    ("defense", {"time_limit_s": -(10**5000)}, "time_limit_s: expected"),
    ("defense", {"goal": "A" * 10**6}, "goal: expected at most 10,000 characters or parts, found 1,000,000"),
    ("attack", {"sees": frozenset(map(str, range(20_000)))}, "sees: expected at most 10,000 characters or parts"),
    ("training_set", {"image_size": 112}, "training set mine: image_size: expected a tuple (a whole number, a whole"),
]


@pytest.mark.parametrize(("kind", "declared", "problem"), WRONG)
def test_a_wrong_declaration_is_one_error(kind: str, declared: dict[str, Any], problem: str) -> None:
    cls = component(kind, **declared)
    found = problem_of(kind, "mine", cls)
    assert found is not None
    assert problem in found
    assert "\n" not in found
    with pytest.raises(PluginError) as caught:
        check_declarations(kind, "mine", cls())
    assert str(caught.value) == found


@pytest.mark.parametrize(
    ("kind", "declared"),
    [
        ("defense", {"needs": {"shallow"}}),
        ("defense", {"programs": "exiftool", "libraries": ["numpy"]}),
        ("defense", {"programs": (Path("/usr/bin/exiftool"),), "time_limit_s": 3}),
        ("metric", {"range": (0, float("inf")), "better": {"recognition": "lower"}}),
        ("model", {"splits": {"conv1": (8, 56, 56)}, "mflops": 3}),
    ],
)
def test_what_the_guide_allows_is_accepted(kind: str, declared: dict[str, Any]) -> None:
    assert problem_of(kind, "mine", component(kind, **declared)) is None


def test_a_parameter_may_have_the_name_of_a_declaration_of_names() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Mine(component("defense")):  # type: ignore[misc]
        programs: int = 3
        passes: int = 4  # type: ignore[assignment]

    assert problem_of("defense", "mine", Mine) is None


def test_a_declaration_that_files_decide_is_left_to_the_fingerprint_while_they_are_missing() -> None:
    def missing(self: Model) -> int:
        raise MissingDataError("weights.pt: no weights; fetch them")

    cls = component("model", embedding_size=property(missing))
    assert problem_of("model", "mine", cls) is None
    check_declarations("model", "mine", cls())


@pytest.mark.parametrize("kind", KINDS)
def test_every_declaration_has_a_type_that_is_checked(kind: str) -> None:
    _, base = KINDS[kind]
    declared = [name for name, hint in inspect.get_annotations(base).items() if str(hint).startswith("ClassVar")]
    assert declared
    for name in declared:
        assert f"mine: {name}: expected" in str(problem_of(kind, "mine", type("Mine", (base,), {name: object()})))


def test_installed_plugins_declare_nothing_wrong(registry: Registry) -> None:
    assert [plugin.reason for plugin in examined(registry)] == [plugin.reason for plugin in registry.plugins]


CLOAK = """\
from dataclasses import dataclass
from bench import Defense, hookimpl

@dataclass(frozen=True, kw_only=True)
class Mine(Defense):
    goal = "cloak"
    def protect(self, images, ctx): ...


@hookimpl
def bench_defenses():
    return {"mine": Mine}
"""
SUITE = """\
[suite]
name = "mine"

[[experiment]]
name = "only"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a", "toy-b"]
defenses = ["mine"]
attacks = ["abuse"]
pairs = 20
"""


def test_every_command_names_it_and_lists_the_other_plugins(bench: Command, tmp_path: Path) -> None:
    sites = [write_plugin(tmp_path / "site", "plugin_mine", CLOAK)]
    (tmp_path / "mine.toml").write_text(SUITE)
    problem = "defense mine: goal: expected one of recognition, appearance, anonymity, template, found 'cloak'"
    listed = bench("plugins", sites=sites, env={"COLUMNS": "400"})
    (line,) = [row for row in listed.out.splitlines() if row.startswith("plugin_mine ")]
    assert f"cannot be used: {problem}" in line
    assert "identity (defense)" in listed.out
    checks = bench("doctor", sites=sites)
    assert f"problem plugin plugin_mine: {problem}" in checks.out
    assert "ok      plugin noise" in checks.out
    for command in (["info", "mine"], ["plan", tmp_path / "mine.toml"], ["run", tmp_path / "mine.toml"]):
        done = bench(*map(str, command), sites=sites)
        assert done.code == 2
        assert problem in done.err
        assert "Traceback" not in done.err + done.out


OF_ITS_OWN: list[dict[str, Any]] = [
    {"_need": 5},
    {"threshold": 0.5},
    {"goals": ("a", "b"), "goal": "template"},  # The plugin knows the declaration.
    {"need": lambda self: 5},
    {"trusted": staticmethod(len)},
    {"need": 5, "__annotations__": {"need": int}},  # A parameter.
]


@pytest.mark.parametrize("declared", OF_ITS_OWN, ids=lambda declared: ", ".join(declared))
def test_attributes_of_a_plugins_own_are_no_mistake(declared: dict[str, Any]) -> None:
    assert problem_of("defense", "mine", component("defense", **declared)) is None


def test_a_subclass_inherits_what_its_base_knows() -> None:
    known = component("defense", needs=frozenset({"shallow"}), need=5)
    inherits = dataclass(frozen=True, kw_only=True)(type("Yours", (known,), {"__module__": __name__}))
    assert problem_of("defense", "mine", inherits) is None


def test_info_says_whose_training_an_attack_uses() -> None:
    from bench.cli.declarations import declarations

    other = {"plugin": "adapted", "faces": 400}
    shares = component("attack", trains_on="clean", trained_as=lambda self: other)
    assert declarations(shares)["trained as"] == "adapted faces 400 (with the default parameters)"
    assert "trained as" not in declarations(component("attack"))
