"""The version of a suite, and ``[defaults]``: what holds for all experiments, and what was changed for one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import SuiteError
from bench.planning.plan import make_plan
from bench.registry.discovery import Registry
from bench.suite.suite import Suite, load

BASE = """\
[suite]
name = "toy"
version = "toy-1"
title = "A toy"

[defaults]
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["identity"]
pairs = 20

[[experiment]]
name = "one"

[[experiment]]
name = "two"
evaluated = ["toy-a"]
pairs = 30
"""


@pytest.fixture
def written(tmp_path: Path, registry: Registry) -> Any:
    """A function that writes a suite and loads it."""

    def write_and_load(text: str, *overrides: str, **how: Any) -> Suite:
        path = tmp_path / "suite.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, registry, overrides, **how)

    return write_and_load


# ---- defaults --------------------------------------------------------------------------------------------------------


def test_defaults_hold_for_experiments_that_do_not_set_them(written: Any) -> None:
    one, two = written(BASE).experiments
    assert ([c.label for c in one.evaluated], one.pairs) == (["toy-b"], 20)
    assert ([c.label for c in two.evaluated], two.pairs) == (["toy-a"], 30)


def test_the_record_holds_complete_experiments(written: Any) -> None:
    raw = written(BASE).raw
    assert "defaults" not in raw
    assert raw["experiment"][1]["datasets"] == ["toy-faces"]


def test_an_override_of_defaults_holds_for_all_experiments(written: Any) -> None:
    suite = written(BASE, 'defaults.authorised=["toy-b"]', "experiment[0].pairs=22")
    assert [[c.label for c in e.authorised[0]] for e in suite.experiments] == [["toy-b"], ["toy-b"]]
    assert [e.pairs for e in suite.experiments] == [22, 30]


def test_an_override_of_one_experiment_leaves_the_others(written: Any) -> None:
    suite = written(BASE, 'experiment[0].defenses[0]="noise"')
    assert [[d.label for d in e.defenses] for e in suite.experiments] == [["noise"], ["identity"]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pairs = 20", "pears = 20", "defaults: 'pears' cannot hold for every experiment; did you mean 'pairs'?"),
        ("pairs = 20", 'name = "x"', "'name' cannot hold for every experiment; each experiment has a name of its own"),
        ("pairs = 20", "pairs = 1", "suite.toml: defaults.pairs: input should be greater than or equal to 2, found 1"),
        ("[defaults]", "[[defaults]]", "defaults: expected a table, found "),
    ],
)
def test_a_mistake_in_defaults_is_named_there(old: str, new: str, message: str, written: Any) -> None:
    with pytest.raises(SuiteError) as error:
        written(BASE.replace(old, new, 1))
    assert message in str(error.value)
    assert str(error.value).count("\n") == 0


# ---- version ---------------------------------------------------------------------------------------------------------


def test_every_cell_has_the_version(written: Any, registry: Registry) -> None:
    plan = make_plan(written(BASE), registry, "cpu")
    assert {cell.suite_version for cell in plan.cells} == {"toy-1"}


def test_a_suite_without_a_version_has_none(written: Any, registry: Registry) -> None:
    plan = make_plan(written(BASE.replace('version = "toy-1"\n', ""), pairs=8), registry, "cpu")
    assert {cell.suite_version for cell in plan.cells} == {None}


@pytest.mark.parametrize(
    "override",
    ["experiment[0].pairs=22", "suite.seed=1", 'defaults.authorised=["toy-b"]', 'experiment[1].attacks=["abuse"]'],
)
def test_a_changed_suite_is_not_the_version(override: str, written: Any) -> None:
    assert written(BASE, override).version == "toy-1+changed"


@pytest.mark.parametrize("override", ["suite.title=Other", "suite.stage_timeout_s=9", 'suite.data="stand-in"'])
def test_what_changes_no_question_leaves_the_version(override: str, written: Any) -> None:
    assert written(BASE, override).version == "toy-1"


def test_fewer_pairs_change_the_version_and_added_defenses_do_not(written: Any) -> None:
    assert written(BASE, pairs=8).version == "toy-1+changed"
    assert written(BASE, defenses=["noise"]).version == "toy-1"


def test_the_mark_is_recorded_once(written: Any) -> None:
    suite = written(BASE.replace('"toy-1"', '"toy-1+changed"'), pairs=8)
    assert suite.raw["suite"]["version"] == "toy-1+changed"


@pytest.mark.parametrize("version", ['"Toy 1"', '""', "1", '"-a"'])
def test_a_wrong_version_is_an_error(version: str, written: Any) -> None:
    with pytest.raises(SuiteError, match=r"suite\.version: "):
        written(BASE.replace('"toy-1"', version))


@pytest.mark.parametrize(
    ("standard", "message"),
    [
        (
            "nosuch-9",
            r"suite\.standard: expected the version of a published suite \(standard-1\) .*, found 'nosuch-9'",
        ),
        ("standrad-1", "found 'standrad-1'; did you mean 'standard-1'"),
        ("standard-1+changed", r"found 'standard-1\+changed'; did you mean 'standard-1'"),
    ],
)
def test_an_unknown_standard_is_refused(standard: str, message: str, written: Any) -> None:
    with pytest.raises(SuiteError, match=message):
        written(BASE.replace('title = "A toy"', f'standard = "{standard}"'))


def test_the_version_of_a_published_suite_is_a_standard(written: Any) -> None:
    assert written(BASE.replace('title = "A toy"', 'standard = "standard-1"')).raw["suite"]["standard"] == "standard-1"
