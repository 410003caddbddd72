"""``--defense``: defenses of the command line are added to every experiment, and every mistake names the option."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import BenchError, SuiteError
from bench.planning.plan import make_plan
from bench.registry.discovery import Registry
from bench.runs.record import of_plan
from bench.store.run_record import as_json
from bench.suite.added_defenses import parse_defenses
from bench.suite.suite import Suite, load, restore

TWO = """\
[suite]
name = "toy"

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["identity", { plugin = "noise", sigma = 0.1, label = "Little" }]
pairs = 20

[[experiment]]
name = "two"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["identity"]
pairs = 20
"""


@pytest.fixture
def with_defenses(tmp_path: Path, registry: Registry) -> Any:
    """A function that loads the suite `TWO` with values of ``--defense``."""
    path = tmp_path / "suite.toml"
    path.write_text(TWO, encoding="utf-8")

    def loaded(*defenses: str) -> Suite:
        return load(path, registry, defenses=defenses)

    return loaded


def labels(suite: Suite) -> list[list[str]]:
    return [[d.label for d in experiment.defenses] for experiment in suite.experiments]


def test_a_defense_is_added_to_every_experiment(with_defenses: Any) -> None:
    suite = with_defenses("noise,sigma=0.4")
    assert labels(suite) == [["identity", "Little", "noise sigma 0.4"], ["identity", "noise sigma 0.4"]]
    assert {dict(e.defenses[-1].params)["sigma"] for e in suite.experiments} == {0.4}


def test_several_defenses_keep_their_order_and_their_labels(with_defenses: Any) -> None:
    suite = with_defenses("noise", "noise,sigma=0.2", "noise,sigma=0.3,label=Mine")
    assert labels(suite)[1] == ["identity", "noise", "noise sigma 0.2", "Mine"]


def test_a_grid_is_several_defenses(with_defenses: Any) -> None:
    assert labels(with_defenses("noise,grid={sigma=[0.2, 0.3]}"))[1] == [
        "identity",
        "noise sigma 0.2",
        "noise sigma 0.3",
    ]


def test_what_an_experiment_asks_already_is_not_added_again(with_defenses: Any) -> None:
    suite = with_defenses("identity", "noise,sigma=0.4", "noise,sigma=0.4")
    assert labels(suite) == [["identity", "Little", "noise sigma 0.4"], ["identity", "noise sigma 0.4"]]


def test_a_label_that_the_suite_uses_for_something_else_is_marked(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "suite.toml"
    path.write_text(TWO.replace('label = "Little"', 'label = "Noise"'), encoding="utf-8")
    suite = load(path, registry, defenses=["noise"])
    assert labels(suite) == [["identity", "Noise", "noise (added)"], ["identity", "noise (added)"]]


def test_the_record_of_the_suite_holds_what_was_added(with_defenses: Any) -> None:
    tables = with_defenses("noise,sigma=0.4").raw["experiment"]
    added = {"plugin": "noise", "sigma": 0.4, "label": "noise sigma 0.4"}
    assert [table["defenses"][-1] for table in tables] == [added, added]


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("pmt", {"plugin": "pmt"}),
        ("pmt,steps=50", {"plugin": "pmt", "steps": 50}),
        ("pmt, steps = 50 , step_size=0.02", {"plugin": "pmt", "steps": 50, "step_size": 0.02}),
        ('pmt,layers=["a", "b"],init=noise', {"plugin": "pmt", "layers": ["a", "b"], "init": "noise"}),
        ('pmt,label="a, b",flag=true', {"plugin": "pmt", "label": "a, b", "flag": True}),
        ("pmt,on_stand_ins={steps=5,pool=4}", {"plugin": "pmt", "on_stand_ins": {"steps": 5, "pool": 4}}),
    ],
)
def test_values_are_those_of_toml(text: str, table: dict[str, Any]) -> None:
    assert parse_defenses([text]) == [table]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--defense : expected NAME or NAME,parameter=value"),
        (",sigma=1", "--defense ,sigma=1: expected NAME or"),
        ("sigma=1", "--defense sigma=1: expected NAME or"),
        ("noise,0.3", "found '0.3'"),
        ("noise,", "--defense noise,: expected NAME or"),
        ("noise,sigma=", "found 'sigma='"),
        ("noise,sigma=1,sigma=2", "--defense noise,sigma=1,sigma=2: sigma: it appears twice; remove it"),
        ("noise,plugin=pmt", "plugin: the name comes first; remove it"),
        ("noise\udcff", "expected text in UTF-8, found other bytes"),
    ],
)
def test_another_form_is_one_clear_error(text: str, message: str) -> None:
    with pytest.raises(SuiteError) as error:
        parse_defenses([text])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("noize", "--defense noize: expected the name of a defense plugin, found"),
        ("toy-a", "--defense toy-a: expected the name of a defense plugin, found"),
        ("noise,sigmas=1", "--defense noise.sigmas: unknown parameter 'sigmas'; did you mean 'sigma'?"),
        ("noise,sigma=much", "--defense noise.sigma: "),
        ("noise,label=", "--defense noise,label=: expected NAME or"),
        ("noise,label=3", "--defense noise.label: expected a text in one line, found 3"),
        (
            "noise,label=a\u202eb",
            r"no character that nobody sees or that controls a terminal, found 'a\u202eb'; remove it",
        ),
        (
            "noise,label=a\u200bb",
            r"no character that nobody sees or that controls a terminal, found 'a\u200bb'; remove it",
        ),
        ("noise,label=a\nb", r"--defense noise.label: expected a text in one line, found 'a\nb'"),
        ("noise,grid=3", "--defense noise.grid: expected a table of parameters"),
    ],
)
def test_what_cannot_be_built_names_the_option(text: str, message: str, with_defenses: Any) -> None:
    with pytest.raises(BenchError) as error:
        with_defenses(text)
    assert message in str(error.value)
    assert "experiment[" not in str(error.value)


def test_a_defense_that_the_suite_has_elsewhere_keeps_its_label(with_defenses: Any) -> None:
    suite = with_defenses("noise,sigma=0.1")
    assert labels(suite) == [["identity", "Little"], ["identity", "Little"]]


def test_the_suite_says_what_was_added(with_defenses: Any) -> None:
    assert with_defenses().added == ()
    added = with_defenses("identity", "noise,sigma=0.4", "noise,grid={sigma=[0.2, 0.3]}").added
    assert added == ("noise sigma 0.4", "noise sigma 0.2", "noise sigma 0.3")


def test_the_record_of_a_run_and_what_is_made_from_it_say_what_was_added(
    with_defenses: Any, registry: Registry
) -> None:
    plan = make_plan(with_defenses("noise,sigma=0.4"), registry, "cpu")
    record = of_plan(plan, registry, "local", datetime.now(UTC))
    assert as_json(record)["suite"]["added"] == ("noise sigma 0.4",)
    assert restore(record.suite, registry).added == ("noise sigma 0.4",)


@pytest.mark.parametrize("label", ["Little", " LITTLE "])
def test_a_label_of_another_defense_names_the_option(label: str, with_defenses: Any) -> None:
    with pytest.raises(SuiteError) as error:
        with_defenses(f"noise,sigma=0.4,label={label!r}")
    assert "--defense noise.label: experiment 'one' calls another defense" in str(error.value)
    assert "give this one another label" in str(error.value)


def test_two_added_defenses_cannot_share_a_label(with_defenses: Any) -> None:
    with pytest.raises(SuiteError, match=r"--defense identity\.label: experiment 'one' calls another defense 'Mine'"):
        with_defenses("noise,sigma=0.4,label=Mine", "identity,label=Mine")
