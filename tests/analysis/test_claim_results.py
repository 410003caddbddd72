"""Claims: which ones a suite may contain, what each relation means, and the verdict where a measurement is missing."""

from __future__ import annotations

import json
import operator
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claims_run import Answer, write_run
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support import TESTS

from bench.analysis.claim_results import (
    ClaimVerdict,
    as_markdown,
    claims_of,
    judge,
    tally,
    verdict_record,
    verdict_rows,
)
from bench.analysis.rows import Rows
from bench.core.errors import StorageError, SuiteError
from bench.core.text import json_text
from bench.store.reading import RunResults
from bench.suite.claims import CELL_AXES, ClaimTable, SideTable
from bench.suite.suite import read

BASE = {"id": "mine", "section": "6.4", "text": "It works.", "experiment": "one", "metric": "accuracy"}
THREE_OF_FOUR = [True, True, True, False]


def claim(**changes: Any) -> ClaimTable:
    """A claim that the accuracy of PMT is at least 0.7, with changes."""
    made = {**BASE, "left": {"defense": "PMT"}, "relation": ">=", "right": 0.7, **changes}
    return ClaimTable.model_validate(made)


def verdict(folder: Path, answers: list[Answer], **changes: Any) -> ClaimVerdict:
    """What becomes of `claim` on some rows."""
    (found,) = judge(Rows(write_run(folder / "run", answers)), [claim(**changes)])
    return found


# ---- relations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relation", "right", "margin", "holds"),
    [
        (">", 0.74, 0.0, True),
        (">", 0.75, 0.0, False),
        (">=", 0.75, 0.0, True),
        (">=", 0.8, 0.0, False),
        (">=", 0.8, -0.05, True),  # 0.8 - 0.05 is not 0.75 in binary
        (">", 0.8, -0.05, False),
        ("<", 0.75, 0.0, False),
        ("<", 0.7, 0.1, True),
        ("<=", 0.75, 0.0, True),
        ("<=", 0.8, -0.1, False),
        ("about", 0.8, 0.05, True),
        ("about", 0.7, 0.05, True),
        ("about", 0.9, 0.1, False),
    ],
)
def test_a_relation_with_a_number(tmp_path: Path, relation: str, right: float, margin: float, holds: bool) -> None:
    answers = [Answer("PMT", hits=THREE_OF_FOUR)]
    found = verdict(tmp_path, answers, relation=relation, right=right, margin=margin)
    assert found.outcome == ("holds" if holds else "does not hold")
    (only,) = found.comparisons
    assert found.decisive is only
    assert only.holds is holds
    assert (only.left.value, only.left.n, only.right.value) == (0.75, 4, right)


@pytest.mark.slow
@given(
    hits=st.lists(st.booleans(), min_size=1, max_size=20),
    right=st.integers(-20, 20),
    margin=st.integers(-10, 10),
)
def test_relations_are_those_of_arithmetic(
    tmp_path_factory: pytest.TempPathFactory, hits: list[bool], right: int, margin: int
) -> None:
    """Against the comparison of whole numbers: hits * 20 with (right + margin) * n."""
    rows = Rows(write_run(tmp_path_factory.mktemp("run") / "run", [Answer("PMT", hits=hits)]))
    signs = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
    claims = [claim(relation=sign, right=right / 20, margin=margin / 20) for sign in signs]
    expected = [compare(sum(hits) * 20, (right + margin) * len(hits)) for compare in signs.values()]
    assert [v.decisive.holds for v in judge(rows, claims)] == expected


def test_two_sides_of_the_same_people_are_compared_person_by_person(tmp_path: Path) -> None:
    """Every picture loses 0.1, so the difference is certain although the intervals of the two measurements overlap."""
    values = np.linspace(0.2, 0.8, 25)
    answers = [Answer("PMT", ssim=list(values - 0.1)), Answer("Noise", ssim=list(values))]
    found = verdict(tmp_path, answers, metric="ssim", relation="<", right={"defense": "Noise"})
    left, right, difference = found.decisive.left, found.decisive.right, found.decisive.difference
    assert left.high is not None
    assert right.low is not None
    assert left.high > right.low
    assert (difference.value, difference.low, difference.high) == pytest.approx((-0.1, -0.1, -0.1))
    assert found.outcome == "holds"
    assert found.decisive.clear is True


@pytest.mark.slow
def test_the_paired_interval_is_that_of_the_differences(tmp_path: Path) -> None:
    """For one value per person and side: a bootstrap of the differences, written down anew."""
    rng = np.random.default_rng(5)
    a, b = rng.random(60), rng.random(60)
    answers = [Answer("PMT", ssim=list(a)), Answer("Noise", ssim=list(b))]
    difference = verdict(tmp_path, answers, metric="ssim", right={"defense": "Noise"}).decisive.difference
    means = [(a - b)[rng.integers(60, size=60)].mean() for _ in range(20_000)]
    assert difference.interval == "clustered"
    assert (difference.low, difference.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)


def test_other_people_are_compared_by_both_intervals(tmp_path: Path) -> None:
    """Newcombe 1998, Table II (a): 56/70 against 48/80 has the interval 0.0524 to 0.3339 by method 10."""
    answers = [
        Answer("PMT", dataset="set-a", hits=[True] * 56 + [False] * 14),
        Answer("PMT", dataset="set-b", hits=[True] * 48 + [False] * 32),
    ]
    sides = {"left": {"dataset": "set-a"}, "right": {"dataset": "set-b"}}
    found = verdict(tmp_path, answers, relation=">", **sides)
    difference = found.decisive.difference
    assert difference.value == pytest.approx(0.2)
    assert (difference.low, difference.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert found.decisive.clear is True


@pytest.mark.parametrize("hits", [[False] * 4, THREE_OF_FOUR])
def test_decisions_that_all_agree_are_not_certain(tmp_path: Path, hits: list[bool]) -> None:
    """No draw of people shows a spread, but four pairs are still only four pairs."""
    answers = [Answer("PMT", hits=hits), Answer("Noise", hits=hits)]
    found = verdict(tmp_path, answers, relation="<=", right={"defense": "Noise"})
    difference = found.decisive.difference
    assert difference.value == 0
    assert difference.low is not None
    assert difference.high is not None
    assert difference.low < -0.3 < 0.3 < difference.high
    assert found.outcome == "holds"
    assert found.decisive.clear is False


@pytest.mark.parametrize(
    ("relation", "right", "margin", "outcome", "clear"),
    [
        (">", 0.5, 0.0, "holds", True),
        (">", 0.74, 0.0, "holds", False),
        (">", 0.76, 0.0, "does not hold", False),
        (">", 0.95, 0.0, "does not hold", True),
        ("about", 0.75, 0.3, "holds", True),
        ("about", 0.75, 0.01, "holds", False),
        ("about", 0.7, 0.01, "does not hold", False),
        ("about", 0.2, 0.1, "does not hold", True),
    ],
)
def test_the_interval_says_how_sure_a_verdict_is(
    tmp_path: Path, relation: str, right: float, margin: float, outcome: str, clear: bool
) -> None:
    """75 of 100: Wilson's interval is 0.66 to 0.82."""
    answers = [Answer("PMT", hits=THREE_OF_FOUR * 25)]
    found = verdict(tmp_path, answers, relation=relation, right=right, margin=margin)
    assert (found.outcome, found.decisive.clear) == (outcome, clear)


# ---- axes ------------------------------------------------------------------------------------------------------------


def test_without_axes_everything_is_pooled(tmp_path: Path) -> None:
    answers = [Answer("PMT", dataset=d, hits=h) for d, h in (("a", [True] * 4), ("b", [False] * 4))]
    found = verdict(tmp_path, answers, right=0.5)
    assert len(found.comparisons) == 1
    assert (found.decisive.left.value, found.decisive.left.n) == (0.5, 8)


def test_each_must_hold_and_the_weakest_is_shown(tmp_path: Path) -> None:
    good, weak = [True] * 4, [True, False, False, False]
    answers = [
        Answer(defense, dataset=d, hits=h)
        for defense in ("PMT", "Noise")
        for d, h in (("a", good), ("b", weak if defense == "PMT" else good), ("c", good))
    ]
    found = verdict(tmp_path, answers, right={"defense": "Noise"}, each="dataset")
    assert [c.at for c in found.comparisons] == [{"dataset": "a"}, {"dataset": "b"}, {"dataset": "c"}]
    assert found.outcome == "does not hold"
    assert found.held == 2
    assert found.decisive.at == {"dataset": "b"}
    assert (found.decisive.left.value, found.decisive.right.value) == (0.25, 1.0)


def test_a_side_that_names_one_value_keeps_to_it(tmp_path: Path) -> None:
    shares = {"PMT": 1, "Blur": 2, "Sort": 3, "Other": 0}
    answers = [Answer(d, hits=[i < n for i in range(4)]) for d, n in shares.items()]
    found = verdict(tmp_path, answers, relation="<", right={"defense": ["Blur", "Sort"]}, each="defense")
    assert [(c.left.value, c.right.value) for c in found.comparisons] == [(0.25, 0.5), (0.25, 0.75)]
    assert found.outcome == "holds"
    assert found.decisive.at == {"defense": "Blur"}


@pytest.mark.parametrize(("at_least", "outcome", "decisive"), [(0.5, "holds", "b"), (0.7, "does not hold", "c")])
def test_a_share_of_comparisons(tmp_path: Path, at_least: float, outcome: str, decisive: str) -> None:
    """Two of three hold; shown is the weakest of those that are needed."""
    answers = [Answer("PMT", dataset=d, hits=[i < n for i in range(4)]) for d, n in (("a", 4), ("b", 3), ("c", 1))]
    found = verdict(tmp_path, answers, right=0.7, each="dataset", at_least=at_least)
    assert (found.outcome, found.held, found.decisive.at) == (outcome, 2, {"dataset": decisive})


def test_combinations_of_another_role_are_left_out(tmp_path: Path) -> None:
    models = ("net-a", "net-b")
    answers = [
        Answer("PMT", authorised=a, evaluated=e, role="authorised" if a == e else "unauthorised", hits=[a == e] * 4)
        for a in models
        for e in models
    ]
    left = {"defense": "PMT", "role": "unauthorised", "authorised": list(models), "evaluated": list(models)}
    found = verdict(tmp_path, answers, left=left, relation="<", right=0.5, each=["authorised", "evaluated"])
    points = [dict(c.at) for c in found.comparisons]
    assert points == [{"authorised": "net-a", "evaluated": "net-b"}, {"authorised": "net-b", "evaluated": "net-a"}]
    assert found.outcome == "holds"


def test_sides_that_never_meet_are_not_pooled_instead(tmp_path: Path) -> None:
    """No evaluated model is both authorised and not."""
    answers = [Answer("PMT", evaluated=e, role=r, hits=[True]) for e, r in (("a", "authorised"), ("b", "unauthorised"))]
    left, right = ({"defense": "PMT", "role": role} for role in ("authorised", "unauthorised"))
    found = verdict(tmp_path, answers, left=left, right=right, each="evaluated")
    assert found.outcome == "not measured"
    assert len(verdict_rows([found])) == 1


def test_noise_levels_and_thresholds(tmp_path: Path) -> None:
    """UP by hand: at sigma 0.1 the cosines .9, .4 pass kappa 0.3 both and kappa 0.5 once; the distances average .2."""
    up = {0.0: ([1.0, 1.0], [0.1, 0.1]), 0.1: ([0.9, 0.4], [0.1, 0.3])}
    answers = [Answer("PMT", attack="attributes", up=up)]
    left = {"defense": "PMT", "sigma": 0.1, "kappa": [0.3, 0.5]}
    found = verdict(
        tmp_path, answers, metric="up", left=left, right={"defense": "PMT", "sigma": 0.0}, each="kappa", relation=">"
    )
    assert [(c.left.value, c.right.value) for c in found.comparisons] == [
        (pytest.approx(1.2), pytest.approx(1.1)),
        (pytest.approx(0.7), pytest.approx(1.1)),
    ]
    assert [c.holds for c in found.comparisons] == [True, False]


def test_sides_of_two_experiments(tmp_path: Path) -> None:
    answers = [Answer("PMT", experiment="one", hits=[True] * 4), Answer("PMT", experiment="two", hits=THREE_OF_FOUR)]
    found = verdict(tmp_path, answers, relation=">", right={"experiment": "two", "defense": "PMT"})
    assert (found.decisive.left.value, found.decisive.right.value) == (1.0, 0.75)


def test_age_in_years(tmp_path: Path) -> None:
    answers = [
        Answer("PMT", attack="attributes", years=[8.0, 10.0]),
        Answer("N", attack="attributes", years=[4.0, 5.0]),
    ]
    found = verdict(tmp_path, answers, metric="age-difference", relation=">", right={"defense": "N"}, margin=4)
    assert found.outcome == "holds"
    ((_, _, left, sign, right, said),) = verdict_rows([found])
    assert left.startswith("PMT: 9.00 years (N 2")
    assert sign == ">"
    assert right.endswith("+ 4.00 years")
    assert said.startswith("holds")


# ---- what is not there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"left": {"defense": "Failed"}}, "failed: out of memory"),
        ({"right": {"defense": "Skipped"}}, "skipped: needs gradients"),
        ({"left": {"defense": "Nobody"}}, "the suite does not contain this combination"),
        ({"experiment": "gone"}, "the suite does not contain this combination"),
        ({"metric": "up", "left": {"defense": "PMT", "sigma": 0.1}}, "missing"),
        ({"metric": "lpips"}, "VGG"),
        ({"left": {"role": "authorised"}, "each": "evaluated"}, "the suite does not contain this combination"),
        ({"left": {"defense": ["PMT", "Failed"]}, "each": "defense"}, "failed: out of memory"),
    ],
)
def test_a_missing_figure_is_no_verdict(tmp_path: Path, changes: Mapping[str, Any], reason: str) -> None:
    answers = [
        Answer("PMT", hits=[True] * 4),
        Answer("Failed", status="failed", reason="out of memory"),
        Answer("Skipped", status="skipped", reason="needs gradients"),
    ]
    found = verdict(tmp_path, answers, **changes)
    assert found.outcome == "not measured"
    assert found.reason is not None
    assert reason in found.reason
    assert found.decisive.holds is found.decisive.clear is None
    assert found.decisive.gap is not None
    ((*_, said),) = verdict_rows([found])
    assert "not measured" in said
    assert reason in said


def test_one_that_fails_is_enough_even_if_another_is_missing(tmp_path: Path) -> None:
    answers = [
        Answer("PMT", dataset="a", hits=[False] * 4),
        Answer("PMT", dataset="b", status="failed", reason="out of memory"),
    ]
    assert verdict(tmp_path, answers, each="dataset").outcome == "does not hold"


@pytest.mark.parametrize(("at_least", "outcome"), [(0.3, "holds"), (0.6, "not measured"), (1.0, "does not hold")])
def test_missing_figures_count_neither_way(tmp_path: Path, at_least: float, outcome: str) -> None:
    """One holds, one is missing, one does not hold."""
    answers = [
        Answer("PMT", dataset="a", hits=[True] * 4),
        Answer("PMT", dataset="b", status="failed", reason="out of memory"),
        Answer("PMT", dataset="c", hits=[False] * 4),
    ]
    assert verdict(tmp_path, answers, each="dataset", at_least=at_least).outcome == outcome


def test_figures_of_fewer_cells_say_so(tmp_path: Path) -> None:
    answers = [
        Answer("PMT", dataset="a", hits=[True] * 4),
        Answer("PMT", dataset="b", status="failed", reason="out of memory"),
    ]
    found = verdict(tmp_path, answers)
    assert found.outcome == "holds"
    ((*_, said),) = verdict_rows([found])
    assert "1 of 2 cells" in said


def test_a_run_without_claims(tmp_path: Path) -> None:
    results = write_run(tmp_path / "run", [Answer("PMT", hits=[True])])
    assert judge(Rows(results), claims_of(results)) == []
    assert tally([]) == "the suite makes no claims"


def test_claims_of_a_damaged_run(tmp_path: Path) -> None:
    results = write_run(tmp_path / "run", [Answer("PMT", hits=[True])], [{**BASE, "relation": "="}])
    with pytest.raises(StorageError, match=r"run\.json: suite\.raw\.claims\[0\]\.left: expected a value, found none"):
        claims_of(results)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        (7, r"claims: input should be a valid list, found 7$"),
        (
            [{**BASE, "id": 1, "left": {"defense": "PMT"}, "relation": ">", "right": 0.7}],
            r"claims\[0\]\.id: .* found 1$",
        ),
        ([{**BASE, "ids": 1}], r"claims\[0\]\.ids: unknown key 'ids'; did you mean 'id'\?"),
    ],
)
def test_claims_of_another_form(tmp_path: Path, claims: Any, expected: str) -> None:
    results = write_run(tmp_path / "run", [Answer("PMT", hits=[True])])
    record = json.loads((results.folder / "run.json").read_text())
    record["suite"]["raw"]["claims"] = claims
    (results.folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(StorageError, match=rf"(?m)run\.json: suite\.raw\.{expected}"):
        claims_of(RunResults(results.folder))


# ---- text ------------------------------------------------------------------------------------------------------------


def test_the_table_and_json_say_the_same(tmp_path: Path) -> None:
    answers = [Answer("PMT", role="authorised", hits=THREE_OF_FOUR), Answer("Clean | *it*", hits=[True] * 4)]
    claims = [
        claim(left={"defense": "PMT", "role": "authorised"}, right={"defense": "Clean | *it*"}, margin=-0.5),
        claim(id="other", right=0.9),
        claim(id="absent", left={"defense": "Nobody"}),
    ]
    verdicts = judge(Rows(write_run(tmp_path / "run", answers)), claims)
    first = verdict_rows(verdicts)[0]
    assert first[:4] == ["It works.", "section 6.4", "PMT, authorised: 75.0 % (N 4, 30.1–95.4)", ">="]
    assert first[4] == "Clean | *it*: 100.0 % (N 4, 51.0–100.0) − 50.0 points"
    assert first[5] == "holds (within the interval)"
    records = json.loads(json_text([verdict_record(verdict) for verdict in verdicts]))
    assert [r["verdict"] for r in records] == ["holds", "does not hold", "not measured"]
    assert records[0]["comparisons"][0]["left"] | {"low": None, "high": None} == {
        "value": 0.75, "n": 4, "people": 4, "low": None, "high": None, "interval": "Wilson", "status": "ok",
        "reason": None, "note": None,
    }  # fmt: skip
    assert records[0]["left"] == {"defense": ["PMT"], "role": "authorised"}
    assert tally(verdicts) == "3 claims: 1 hold, 1 do not hold, 1 not measured"
    lines = as_markdown(verdicts).splitlines()
    assert len(lines) == 5
    assert r"Clean \| \*it\*" in lines[2]


# ---- what a suite may contain ----------------------------------------------------------------------------------------

NAMES = st.text("abc-1", min_size=1, max_size=6)
LEVELS = st.floats(0, 1)


@st.composite
def claims(draw: st.DrawFn) -> dict[str, Any]:
    """Claims as TOML gives them: any axes, scalars or lists."""
    axes = draw(st.lists(st.sampled_from(CELL_AXES), unique=True, max_size=3))
    right = draw(st.none() | st.fixed_dictionaries({}, optional={a: NAMES for a in CELL_AXES if a not in axes}))
    left = {a: draw(NAMES | st.lists(NAMES, min_size=2, max_size=3)) for a in axes[:1]}
    if axes and isinstance(left[axes[0]], str):
        left = {}
    if draw(st.booleans()):
        left["sigma"] = draw(LEVELS)
    return {
        **BASE,
        "relation": draw(st.sampled_from([">", ">=", "<", "<=", "about"])),
        "left": left,
        "right": draw(LEVELS) if right is None else right,
        "margin": draw(st.floats(0.01, 1)),
        "each": axes[0] if len(axes) == 1 and draw(st.booleans()) else axes,
        **({"at_least": draw(st.floats(0.01, 1))} if axes else {}),
    }


@given(claims())
def test_sound_claims_are_read_and_written_alike(table: dict[str, Any]) -> None:
    made = ClaimTable.model_validate(table)
    assert ClaimTable.model_validate(made.model_dump()) == made
    assert made.each == ([table["each"]] if isinstance(table["each"], str) else table["each"])
    for axis, value in table["left"].items():
        assert made.left.listed(axis) == (value if isinstance(value, list) else [value])


@given(claims(), st.sampled_from(["", "left", "right"]), NAMES)
def test_unknown_keys_are_never_ignored(table: dict[str, Any], where: str, key: str) -> None:
    if where == "right" and not isinstance(table["right"], dict):
        where = ""
    target = table[where] if where else table
    table = {**table, where: {**target, key: "x"}} if where else {**table, key: "x"}
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        ClaimTable.model_validate(table)


SUITE = """\
[suite]
name = "mine"
[[experiment]]
name = "one"
datasets = ["toy-faces", { plugin = "toy-faces", seed = 1, label = "other" }]
authorised = ["toy-a", ["toy-a", "toy-b"]]
evaluated = ["toy-a", "toy-b"]
defenses = ["identity", { plugin = "toy-mean", label = "Mean" }]
attacks = ["abuse", { plugin = "attributes", via = { plugin = "recface", label = "R" } }]
noise_levels = [0.0, 0.1]
"""
SOUND = """
[[claims]]
id = "mine"
section = "6.4"
text = "It works."
experiment = "one"
metric = "accuracy"
left = { defense = "Mean", authorised = "toy-a+toy-b", attack = "attributes via R", sigma = 0.1 }
relation = ">="
right = { defense = "identity", authorised = "", dataset = ["toy-faces", "other"] }
margin = -0.05
each = "dataset"
"""


def suite_claims(folder: Path, text: str, *overrides: str) -> list[ClaimTable]:
    """The claims of a suite with this text."""
    path = folder / "mine.toml"
    path.write_text(SUITE + text, encoding="utf-8")
    return read(path, overrides).tables.claims


def test_a_suite_with_claims(tmp_path: Path) -> None:
    (found,) = suite_claims(tmp_path, SOUND)
    assert found.left.authorised == ["toy-a+toy-b"]
    assert found.values("dataset") == ["toy-faces", "other"]


def test_the_names_of_earlier_versions_are_read(tmp_path: Path) -> None:
    older = SOUND.replace("metric =", "measure =")
    assert suite_claims(tmp_path, older) == suite_claims(tmp_path, SOUND)
    (found,) = suite_claims(tmp_path, older.replace('"accuracy"', '"floor:gender"'))
    assert found.metric == "baseline:gender"


@pytest.mark.parametrize(
    ("old", "new", "fragments"),
    [
        ("metric =", 'measure = "cosine"\nmetric =', ["claims[0]", "metric and measure", "keep metric"]),
        ('"accuracy"', '"acuracy"', ["claims[0].metric", "'acuracy'", "did you mean 'accuracy'?"]),
        ('"one"\nm', '"on"\nm', ["claims[0].experiment", "'on'", "did you mean 'one'?"]),
        ('experiment = "one"\n', "", ["claims[0]", "experiment"]),
        ('{ defense = "identity"', '{ experiment = "two", defense = "x"', ["claims[0].right.experiment", "'two'"]),
        ('"Mean"', '"mean"', ["claims[0].left.defense", "has no defense 'mean'", "did you mean 'Mean'?"]),
        ('"toy-a+toy-b"', '"toy-b"', ["claims[0].left.authorised", "'toy-b'", "did you mean 'toy-a"]),
        ('"attributes via R"', '"R"', ["claims[0].left.attack", "'R'"]),
        ('"other"', '"others"', ["claims[0].right.dataset", "did you mean 'other'?"]),
        ("sigma = 0.1", "sigma = 0.2", ["claims[0].left.sigma", "has no sigma 0.2"]),
        ('relation = ">="', 'relation = "="', ["claims[0].relation", "'about'", "found '='"]),
        ("margin", "margn", ["claims[0].margn", "did you mean 'margin'?"]),
        ('defense = "identity"', 'defence = "identity"', ["claims[0].right.defence", "did you mean 'defense'?"]),
        ('relation = ">="', 'relation = "about"', ["claims[0]", "positive margin"]),
        ('each = "dataset"', 'each = "sigma"', ["claims[0]", "each = 'sigma'", "several values"]),
        ('each = "dataset"', 'each = "pair"', ["claims[0].each[0]", "found 'pair'"]),
        ('each = "dataset"', 'each = ["dataset", "dataset"]', ["claims[0]", "twice"]),
        ('each = "dataset"', "at_least = 0.5", ["claims[0]", "at_least"]),
        ('each = "dataset"', "at_least = 1.5", ["claims[0].at_least", "1.5"]),
        ("sigma = 0.1", "sigma = [0.0, 0.1]", ["claims[0]", "sigma", "not pooled"]),
        ("margin = -0.05", "margin = nan", ["claims[0].margin", "finite"]),
        ('section = "6.4"', "section = 6.4", ["claims[0].section", "string"]),
        ('id = "mine"', 'id = "Mine!"', ["claims[0].id", "pattern"]),
        ("right = {", "right = true #", ["claims[0].right", "number"]),
    ],
)
def test_what_a_claim_cannot_be(tmp_path: Path, old: str, new: str, fragments: list[str]) -> None:
    assert SOUND.count(old) >= 1
    with pytest.raises(SuiteError) as caught:
        suite_claims(tmp_path, SOUND.replace(old, new, 1))
    for fragment in ["mine.toml: ", *fragments]:
        assert fragment in str(caught.value)


def test_ids_are_unique(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"claims\[1\]\.id: 'mine' is used twice"):
        suite_claims(tmp_path, SOUND + SOUND)


def test_what_an_override_takes_out_is_no_mistake(tmp_path: Path) -> None:
    """The suite is valid, but the run computes less of it, so the claim will not be measured."""
    overrides = ('experiment[0].defenses=["identity"]', 'experiment[0].datasets=["toy-faces"]')
    assert len(suite_claims(tmp_path, SOUND, *overrides)) == 1
    assert suite_claims(tmp_path, SOUND, "claims=[]") == []
    with pytest.raises(SuiteError, match=r"claims\[0\]\.left\.defense"):
        suite_claims(tmp_path, SOUND, 'claims[0].left.defense="Nobody"')


# ---- what is written -------------------------------------------------------------------------------------------------

ROOT = TESTS.parent


def test_the_examples_of_the_guide_are_sound() -> None:
    guide = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in guide.split("```toml\n")[1:]]
    made = [ClaimTable.model_validate(c) for block in blocks for c in tomllib.loads(block)["claims"]]
    assert len(made) == 3
    for name in [*ClaimTable.model_fields, *SideTable.model_fields]:
        assert f"`{name}`" in guide, name


def test_the_suites_hold_what_each_section_claims() -> None:
    made = {s: read(ROOT / "suites" / f"{s}.toml").tables.claims for s in ("paper", "ablation")}
    sections = {c.section for claims in made.values() for c in claims}
    assert sections == {"6.1", "6.3", "6.4", "6.5", "6.6", "6.7", "6.8", "6.9"}
    ids = [c.id for claims in made.values() for c in claims]
    assert len(set(ids)) == len(ids)


# ---- what cannot be decided ------------------------------------------------------------------------------------------


def test_the_mean_of_those_that_exist_is_not_that_of_all(tmp_path: Path) -> None:
    found = verdict(tmp_path, [Answer("PMT", hits=[True] * 4)], left={"defense": ["PMT", "ghost"]})
    assert (found.outcome, found.reason) == ("not measured", "missing: the run has no cell of ghost")
    each = verdict(
        tmp_path / "each", [Answer("PMT", hits=[True] * 4)], left={"defense": ["PMT", "ghost"]}, each="defense"
    )
    assert [one.holds for one in each.comparisons] == [True, None]


def test_an_unknown_metric_in_a_record_names_its_claim(tmp_path: Path) -> None:
    rows = Rows(write_run(tmp_path / "run", [Answer("PMT", hits=[True] * 4)]))
    with pytest.raises(StorageError, match=r"run\.json: suite\.raw\.claims\[1\]\.metric: .*no metric 'nope'"):
        judge(rows, [claim(), claim(id="other", metric="nope")])


@pytest.mark.parametrize("level", [{"kappa": [-5]}, {"kappa": 1}, {"sigma": -0.1}])
def test_levels_are_those_that_a_metric_can_have(level: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"(greater|less) than"):
        SideTable.model_validate({"defense": "PMT", **level})
