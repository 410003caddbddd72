"""Who is exposed: leakage and utility of groups beside the rest, with right values, flags and words."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from channels_run import ALL_OF_CLEAN, A, B, channels_run
from fake_run import FakeRun, rewritten, write_fake_run

from bench.analysis.group_scores import GroupScores
from bench.analysis.measures import METRICS
from bench.analysis.people_groups import known_groups
from bench.analysis.rows import Rows
from bench.analysis.tables.exposed import MORE_EXPOSED, SERVED_WORSE, ExposedEntry, exposed, exposed_tables
from bench.analysis.tables.recommendation import recommendations
from bench.report.export import export
from bench.report.page.exposed import section
from bench.store.reading import RunResults

N = 120
Written = Callable[..., RunResults]


def _change(
    leaks: Callable[[np.ndarray], np.ndarray], fails: Callable[[np.ndarray], np.ndarray]
) -> Callable[..., None]:
    """Return a change of rows: PMT leaks the people of ``leaks`` to net-b and net-c, and does not serve those of
    ``fails`` at net-a; everybody is told apart alike by all."""

    def change(table: pd.DataFrame) -> None:
        person = table["left_subject"].to_numpy()
        judged = np.where(leaks(person), 0.9, 0.1)
        served = np.where(fails(person), 0.1, 0.9)
        protected = np.where(table["evaluated"] == "net-a", served, judged)
        table["cos_self"] = np.where(table["defense"] == "PMT", protected, 1.0)
        table["cos_cross"] = np.where(table["same"], table["cos_self"], 0.0)
        table["cos_clean"] = np.where(table["same"], 0.6 + person / 1000, 0.1)

    return change


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A function that writes a run of two groups, pairs of women and pairs of men: people with even numbers have
    genuine pairs, so that both groups have them."""

    def write(leaks: Callable[..., np.ndarray], fails: Callable[..., np.ndarray], **about: object) -> RunResults:
        spec = FakeRun(
            pairs=N,
            datasets={"synth-lfw": "LFW"},
            models={name: name.upper() for name in ("net-a", "net-b", "net-c")},
            authorised=(("net-a",),),
            defenses=[("Clean", "identity", False), ("PMT", "pmt", True)],
            people={"gender": lambda i: "woman" if i // 2 % 2 else "man"},
        )
        results = write_fake_run(tmp_path, FakeRun(**{**vars(spec), **about}))
        return rewritten(results, verification=_change(leaks, fails))

    return write


def nobody(person: np.ndarray) -> np.ndarray:
    return np.zeros(len(person), bool)


def man(person: np.ndarray) -> np.ndarray:
    return person // 2 % 2 == 0


def entry(found: list[ExposedEntry], group: str, defense: str = "PMT") -> ExposedEntry:
    return next(e for e in found if (e.defense, e.group.name) == (defense, group))


def test_the_gap_of_a_group_is_that_of_its_rows(written: Written) -> None:
    """Half of the men and a tenth of the women are matched, by two recognisers each."""
    results = written(lambda p: np.where(man(p), p % 4 == 0, p % 20 == 3), nobody)
    men = entry(exposed(Rows(results)), "gender: man")
    split, test = men.answers["leakage"].split, men.answers["leakage"].test
    assert split.inside.value == pytest.approx(0.5)
    assert split.rest.value == pytest.approx(0.1)
    assert split.gap.value == pytest.approx(0.4)
    assert (split.inside.n, split.inside.people, split.rest.people) == (120, 60, 60)
    assert split.gap.low is not None
    assert split.gap.high is not None
    assert 0.2 < split.gap.low < 0.3  # Newcombe's interval of 30 of 60 minus 6 of 60 is .23 to .54.
    assert 0.5 < split.gap.high < 0.6
    assert test is not None
    assert (test.significant, test.family) == (True, 3)  # Men, women and the tenth, under one defense.
    assert men.flags == [MORE_EXPOSED]
    assert entry(exposed(Rows(results)), "gender: woman").flags == []


def test_people_who_are_served_worse_are_found(written: Written) -> None:
    women = entry(exposed(Rows(written(nobody, lambda p: ~man(p)))), "gender: woman")
    split = women.answers["utility"].split
    assert (split.inside.value, split.rest.value) == (0.0, 1.0)
    assert women.flags == [SERVED_WORSE]


def test_the_tenth_told_apart_best_is_compared_with_the_others_of_known_rank(written: Written) -> None:
    """The last six of 60 people with genuine pairs are told apart best, and only they leak."""
    results = written(lambda p: p >= 108, nobody)
    tenth = entry(exposed(Rows(results)), "the tenth told apart best")
    split = tenth.answers["leakage"].split
    assert (split.inside.value, split.rest.value) == (1.0, 0.0)
    assert (split.inside.people, split.rest.people) == (6, 54)
    assert tenth.flags == [MORE_EXPOSED]


def test_a_defense_that_fails_all_alike_and_the_reference_get_no_flag(written: Written) -> None:
    found = exposed(Rows(written(lambda p: p % 3 == 0, nobody)))
    assert all(not e.flags for e in found)
    clean = entry(found, "gender: man", "Clean")
    assert clean.answers["leakage"].test is None
    assert clean.answers["leakage"].split.gap.value == 0.0


def test_a_group_of_few_people_has_no_gap(written: Written) -> None:
    results = written(lambda p: p < 4, nobody, people={"group": lambda i: "small" if i < 4 else "large"})
    answer = entry(exposed(Rows(results)), "group: small").answers["leakage"]
    assert answer.split.inside.value == 1.0
    assert (answer.split.gap.status, answer.test) == ("too few people", None)
    assert answer.split.gap.reason == "one side has scores of 4 people, and 5 are needed"


def test_links_are_the_worst_attack_and_the_leakage_of_groups_is_that_of_matches(tmp_path: Path) -> None:
    """90 % of links, and the first 30 of 60 faces as uploaded."""
    leaks = {**ALL_OF_CLEAN, ("A", "linkage"): 0.9, ("A", "abuse"): 0.5}
    rows = channels_run(tmp_path, leaks, people={"half": lambda i: "first" if i < 40 else "last"})
    (found,) = recommendations(rows)
    (a,) = [e for e in found.entries if e.name == "A"]
    assert a.worst is not None
    assert a.worst.channel == "linkage"
    one = entry(exposed(rows), "half: first", "A")
    assert one.attack == "abuse"
    split = one.answers["leakage"].split
    assert (split.inside.value, split.rest.value) == (0.75, 0.0)  # 30 of the first 40, and none of the last 20.
    (table,) = exposed_tables(rows)
    assert "are matched on average: abuse. Links belong to two uploads" in table.caption


def test_the_caption_names_the_attack_of_each_defense(tmp_path: Path) -> None:
    leaks = {**ALL_OF_CLEAN, ("A", "abuse"): 0.5, ("B", "recface"): 0.7}
    rows = channels_run(tmp_path, leaks, defenses=(A, B), people={"half": lambda i: "first" if i < 40 else "last"})
    (table,) = exposed_tables(rows)
    assert "on average: abuse on A; recface on B. " in table.caption


def test_groups_of_too_few_people_share_one_row_per_defense(written: Written) -> None:
    """Three people in each of two groups and 114 in the third; the tenth is 6 of 60."""
    of = lambda i: "a" if i < 3 else "b" if i < 6 else "c"  # noqa: E731
    rows = Rows(written(man, nobody, people={"group": of}))
    (table,) = exposed_tables(rows)
    shown = {r.label: r.measurements for g in table.groups for r in g.rows}
    few = "2 of 4 groups of people"
    assert [label for label in shown if label.startswith("PMT")] == [
        "PMT: the tenth told apart best",
        "PMT: group: c",
        f"PMT: {few}",
    ]
    (first, *others) = shown[f"PMT: {few}"]
    assert (first.status, first.reason) == (
        "too few people",
        "a gap needs scores of 5 people in the group and of 5 outside",
    )
    assert {m.status for m in others} == {"not applicable"}
    assert len(others) == len(table.columns) - 1


def test_a_small_run_says_once_that_its_people_are_too_few(written: Written) -> None:
    rows = Rows(written(man, nobody, pairs=8))
    found = section(rows)
    assert found is not None
    assert [[r.label for r in g.rows] for g in found.tables[0].groups] == [["3 of 3 groups of people"]] * 2
    assert found.tenth == ["PMT: too few people, because a gap needs scores of 5 people in the group and of 5 outside."]


def test_an_interval_of_a_mean_ends_at_the_bounds_of_its_metric(written: Written) -> None:
    """Five people with an SSIM of 1 and one with .4: the mean .9 with an interval by the spread reaches beyond 1."""
    results = written(nobody, nobody, people={"group": lambda i: "six" if i < 6 else "rest"})

    def change(table: pd.DataFrame) -> None:
        table["ssim"] = np.where(table["subject"] == 0, 0.4, 1.0)

    rows = Rows(rewritten(results, images=change))
    (group,) = [g for g in known_groups(rows.people) if g.label == "six"]
    split = GroupScores(rows, [c for c in rows.cells if c.defense == "PMT"], METRICS["ssim"]).split(group)
    assert split.inside.value == pytest.approx(0.9)
    assert split.inside.high == 1.0
    assert split.inside.low is not None
    assert split.inside.low < 0.7


def test_the_export_holds_a_record_for_each_number(written: Written) -> None:
    text = export(written(man, nobody), "exposed", "csv")
    records = [r for r in csv.DictReader(io.StringIO(text)) if r["row"] == "PMT: gender: man"]
    values = {r["column"]: (r["value"], r["unit"], r["people"]) for r in records}
    assert values["leakage"] == ("100.0", "%", "60")
    assert values["leakage of the rest"] == ("0.0", "%", "60")
    assert values["gap in leakage"] == ("100.0", "points", "60")
    assert float(values["p of the gap in leakage"][0]) < 0.01
    assert {r["flags"] for r in records} == {MORE_EXPOSED}


def test_the_page_says_who_is_exposed_in_words(written: Written) -> None:
    found = section(Rows(written(man, nobody)))
    assert found is not None
    (sentence,) = found.found
    assert sentence.startswith("PMT: gender: man: leakage 100.0 % against 0.0 % of the rest, gap 100.0 points (")
    assert sentence.endswith("N = 60 people, corrected p below 0.001 of 3 comparisons): more exposed.")
    assert len(found.tenth) == 1
    assert found.tenth[0].endswith(": not significant.")
    assert [g.label for g in found.tables[0].groups] == ["PMT", "Clean"]


def test_runs_without_labels_of_people_say_so(written: Written) -> None:
    found = section(Rows(written(man, nobody, people={})))
    assert found is not None
    assert {r.label for g in found.tables[0].groups for r in g.rows} == {"the tenth told apart best"}
    assert any("holds no labels of people" in note for note in found.tables[0].notes)


def test_nothing_is_known_with_one_recogniser_and_no_labels(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path, FakeRun(models={"net-a": "A"}, authorised=(("net-a",),)))
    assert exposed(Rows(results)) == []
    assert section(Rows(results)) is None
