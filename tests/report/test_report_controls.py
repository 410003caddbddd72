"""The self-check of attackers on the controls of a run, and what follows from it in verdict, tables and exports."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from channels_run import ALL_OF_CLEAN, BREAK, CLEAN, EVERY, LEARNER, OBLIVION, A, B, channels_run
from fake_run import ABUSE, ESTIMATE, LEAKY, LINKAGE, RECFACE, FakeAttack

from bench.analysis.rows import Rows
from bench.analysis.tables import build
from bench.analysis.tables.controls import control_results
from bench.analysis.tables.leakage_ladder import counted, ladder
from bench.analysis.tables.recommendation import recommend, recommendations
from bench.analysis.tables.row_layout import CONTROL
from bench.analysis.tables.self_checks import FALSE_ALARM, NO_SUCCESS, WEAK, AttackerCheck, self_checks
from bench.analysis.tables.summary import summaries
from bench.report.export import export
from bench.report.export.samples import export_rows
from bench.report.page import render
from bench.report.page.headlines import answers
from bench.report.page.recommendation import controls_section
from bench.report.page.verdict_words import headline, sentences
from bench.runs.explain import explain, find_cell
from bench.store.artifacts import Cache

WITH_CONTROLS = (CLEAN, OBLIVION, A)
GOALS = {"Clean": "recognition", "A": "recognition", "B": "appearance"}
CHECKED = "succeeds on unprotected faces, at chance where nothing can leak"


def checks(rows: Rows) -> Mapping[str, AttackerCheck]:
    return {a.label: check for a, check in self_checks(rows).items()}


def labels(rows: Rows) -> list[str]:
    (found,) = recommendations(rows)
    return [e.name for e in found.entries]


# ---- the states of an attacker ---------------------------------------------------------------------------------------


def test_attackers_of_every_channel_pass(tmp_path: Path) -> None:
    found = checks(channels_run(tmp_path / "run", ALL_OF_CLEAN, defenses=WITH_CONTROLS))
    assert {name: check.words for name, check in found.items()} == {attack.label: CHECKED for attack in EVERY}
    assert [found[attack.label].channel for attack in EVERY] == [
        *("recognition", "reconstruction", "linkage", "attributes")
    ]


@pytest.mark.parametrize("attack", [a.label for a in EVERY])
def test_an_attacker_that_fails_on_unprotected_faces_is_broken(tmp_path: Path, attack: str) -> None:
    rows = channels_run(tmp_path / "run", {**ALL_OF_CLEAN, ("Clean", attack): 0.0}, defenses=WITH_CONTROLS)
    assert {n: c.broken for n, c in checks(rows).items() if c.broken} == {attack: NO_SUCCESS}


@pytest.mark.parametrize("attack", [a.label for a in EVERY])
def test_an_attacker_that_finds_what_cannot_leak_is_broken(tmp_path: Path, attack: str) -> None:
    rows = channels_run(tmp_path / "run", {**ALL_OF_CLEAN, ("Oblivion", attack): 0.5}, defenses=WITH_CONTROLS)
    assert {n: c.broken for n, c in checks(rows).items() if c.broken} == {attack: FALSE_ALARM}


@pytest.mark.parametrize(
    ("defenses", "words"),
    [
        ((A,), "unchecked"),
        ((CLEAN, A), "unchecked where nothing can leak; succeeds on unprotected faces"),
        ((OBLIVION, A), "unchecked on unprotected faces; at chance where nothing can leak"),
    ],
)
def test_an_attacker_without_a_control_is_unchecked(tmp_path: Path, defenses: Any, words: str) -> None:
    found = checks(channels_run(tmp_path / "run", ALL_OF_CLEAN, defenses=defenses, attacks=(ABUSE, LINKAGE)))
    assert {check.words for check in found.values()} == {words}
    assert not any(check.mark for check in found.values())


def test_few_people_break_no_attacker(tmp_path: Path) -> None:
    rows = channels_run(tmp_path / "run", {}, defenses=(CLEAN, A), attacks=(ABUSE,), pairs=16)
    assert checks(rows)["abuse"].words == "unchecked"


def test_an_attacker_that_learnt_from_the_evaluated_people_is_not_checked(tmp_path: Path) -> None:
    rows = channels_run(tmp_path / "run", ALL_OF_CLEAN, attacks=(ABUSE, LEAKY))
    assert list(checks(rows)) == ["abuse"]


LEARNABLE = (CLEAN, OBLIVION, BREAK, A)
BOTH: Mapping[str, Any] = {"attacks": (ABUSE, LEARNER), "knowledge": {"abuse": 0, "adapted": 4}}
ALL_OF_BOTH = {("Clean", "abuse"): 1.0, ("Clean", "adapted"): 1.0}


def test_a_learner_must_break_the_control_that_can_be_learnt(tmp_path: Path) -> None:
    leaks = {**ALL_OF_BOTH, ("Break", "adapted"): 0.9}
    rows = channels_run(tmp_path / "run", leaks, defenses=LEARNABLE, **BOTH)
    found = checks(rows)
    assert (found["adapted"].learns, found["adapted"].undoes, found["adapted"].words) == (True, True, CHECKED)
    assert (found["abuse"].learns, found["abuse"].undoes, found["abuse"].words) == (False, False, CHECKED)
    assert [r.wrong for r in control_results(rows)] == ["", "", ""]


def test_a_learner_that_does_not_is_weak_and_still_counts(tmp_path: Path) -> None:
    rows = channels_run(tmp_path / "run", {**ALL_OF_BOTH, ("A", "adapted"): 0.5}, defenses=LEARNABLE, **BOTH)
    assert checks(rows)["adapted"].words == WEAK
    a = next(e for e in recommend(rows).entries if e.name == "A")
    assert a.leaking == ["recognition"]
    assert not a.aside
    assert any(e.attack == "as uploaded (adapted)" and WEAK in e.flags for e in counted(ladder(rows)))
    assert control_results(rows)[2].wrong == "Not shown by adapted"


def test_an_attacker_that_breaks_it_without_learning_is_named(tmp_path: Path) -> None:
    leaks = {**ALL_OF_BOTH, ("Break", "adapted"): 0.9, ("Break", "abuse"): 0.9}
    rows = channels_run(tmp_path / "run", leaks, defenses=LEARNABLE, **BOTH)
    assert control_results(rows)[2].wrong == "Yet chance was beaten by abuse"
    assert not checks(rows)["abuse"].mark


def test_it_is_not_known_whether_an_old_run_learns(tmp_path: Path) -> None:
    rows = channels_run(tmp_path / "run", ALL_OF_BOTH, defenses=LEARNABLE, **BOTH | {"knowledge": {"adapted": None}})
    assert checks(rows)["adapted"].learns is None
    assert checks(rows)["adapted"].words == CHECKED


# ---- what follows ----------------------------------------------------------------------------------------------------


def test_controls_are_no_candidates(tmp_path: Path) -> None:
    rows = channels_run(tmp_path / "run", ALL_OF_CLEAN, defenses=LEARNABLE)
    assert labels(rows) == ["A", "Clean"]
    assert "Oblivion" not in {e.defense for e in counted(ladder(rows))}


def test_a_run_of_controls_has_no_verdict(tmp_path: Path) -> None:
    rows = channels_run(tmp_path / "run", ALL_OF_CLEAN, defenses=(CLEAN, OBLIVION), goal="anonymity")
    (found,) = recommendations(rows)
    assert (found.goal, headline(found)) == ("recognition", "No verdict: this run protects nothing.")


@pytest.mark.parametrize(
    "broken", [{("Oblivion", "linkage"): 0.9}, {("Clean", "linkage"): 0.0}], ids=["false alarm", "no success"]
)
def test_a_broken_attacker_does_not_decide_and_is_named(tmp_path: Path, broken: Any) -> None:
    leaks = {**ALL_OF_CLEAN, ("A", "linkage"): 0.9, **broken}
    rows = channels_run(tmp_path / "run", leaks, defenses=WITH_CONTROLS)
    found = recommend(rows)
    a = next(e for e in found.entries if e.name == "A")
    why = NO_SUCCESS if ("Clean", "linkage") in broken else FALSE_ALARM
    assert (a.leaks, a.leaking, a.untried) == (False, [], [])
    assert [(attack.label, reason) for attack, reason in a.aside] == [("linkage", why)]
    said = " ".join(p for sentence in sentences(found, False) for p in sentence if isinstance(p, str))
    assert f"Not counted, because the attacker failed on a control: linkage ({why})." in said
    (verdict,) = build(rows, "verdict")
    row = next(r for g in verdict.groups for r in g.rows if r.label == "A")
    assert f"linkage: {why}" in row.flags
    assert not [e for e in counted(ladder(rows)) if e.links]


def test_every_table_marks_the_rows_of_a_broken_attacker(tmp_path: Path) -> None:
    leaks = {**ALL_OF_CLEAN, **{("Oblivion", attack.label): 0.9 for attack in EVERY}}
    rows = channels_run(tmp_path / "run", leaks, defenses=WITH_CONTROLS)
    of = {"linkage": LINKAGE, "reconstruction": RECFACE, "attributes": ESTIMATE, "summary": ABUSE}
    for name, attack in of.items():
        (table,) = build(rows, name)
        shown = [r for g in table.groups for r in g.rows if any(m.cells for m in r.measurements)]
        assert shown
        for row in shown:
            assert f"{attack.label}: {FALSE_ALARM}" in row.flags, name
    assert all(FALSE_ALARM in e.flags for e in ladder(rows))
    page = render(rows.results)
    assert page.count(FALSE_ALARM) > 4 * len(EVERY)
    assert "Controls: do the attackers work? 4 attackers failed" in page


def test_exported_tables_and_rows_name_a_broken_attacker(tmp_path: Path) -> None:
    rows = channels_run(tmp_path / "run", {**ALL_OF_CLEAN, ("Oblivion", "linkage"): 0.9}, defenses=WITH_CONTROLS)
    table = list(csv.DictReader(export(rows.results, "linkage", "csv").splitlines()))
    assert {r["flags"] for r in table} == {f"linkage: {FALSE_ALARM}"}
    for name, expected in {"links": {FALSE_ALARM}, "verification": {None}}.items():
        path = tmp_path / f"{name}.parquet"
        export_rows(rows.results, name, "parquet", path)
        assert set(pq.read_table(path)["self_check"].to_pylist()) == expected


@pytest.mark.parametrize(("leak", "said"), [(0.0, CHECKED), (0.9, FALSE_ALARM)])
def test_explain_says_what_the_controls_say(tmp_path: Path, leak: float, said: str) -> None:
    rows = channels_run(tmp_path / "run", {**ALL_OF_CLEAN, ("Oblivion", "linkage"): leak}, defenses=WITH_CONTROLS)
    cell = next(c.cell for c in rows.cells if c.attack == "linkage" and c.defense == "A")
    found = explain(rows.results, find_cell(rows.results, [cell]), tmp_path, Cache(tmp_path / "cache"))
    assert found.words["self-check"] == said


def test_the_controls_are_a_table_of_attackers(tmp_path: Path) -> None:
    leaks = {**ALL_OF_CLEAN, ("Oblivion", "recface"): 0.5, ("Clean", "attributes"): 0.0}
    (table,) = build(channels_run(tmp_path / "run", leaks, defenses=WITH_CONTROLS), "controls")
    assert [c.label for c in table.columns] == ["Clean", "Oblivion"]
    rows = {r.label: r for g in table.groups for r in g.rows}
    assert {name: list(r.flags) for name, r in rows.items()} == {
        "abuse (recognition)": [CHECKED],
        "recface (reconstruction)": [FALSE_ALARM],
        "linkage (linkage)": [CHECKED],
        "attributes (attributes)": [NO_SUCCESS],
    }
    clean, safe = rows["recface (reconstruction)"].measurements
    chance = 0.01  # Of the made-up run: the share of strangers who are matched.
    assert clean.value == pytest.approx(1)
    assert safe.value == pytest.approx((0.5 - chance) / (1 - chance), abs=0.01)
    assert list(table.notes) == [
        "Clean: it protects nothing, so every attack must succeed. Not shown by attributes.",
        "Oblivion: what it sends does not depend on the face, so no attack may succeed. Yet chance was beaten by "
        "recface.",
    ]


@pytest.mark.parametrize(
    ("defenses", "leaks", "words"),
    [
        (
            WITH_CONTROLS,
            {},
            "of 4 attackers, 4 of 4 tested beat chance on unprotected faces; 4 of 4 tested stayed at chance where "
            "nothing can leak.",
        ),
        (
            WITH_CONTROLS,
            {("Oblivion", "linkage"): 0.9},
            "1 attacker failed; of 4 attackers, 4 of 4 tested beat chance on unprotected faces; 3 of 4 tested stayed "
            "at chance where nothing can leak.",
        ),
        (
            (CLEAN, A),
            {},
            "of 4 attackers, 4 of 4 tested beat chance on unprotected faces; none was tested where nothing can leak.",
        ),
    ],
    ids=["all", "one fails", "no safe control"],
)
def test_the_page_says_what_the_controls_tested(tmp_path: Path, defenses: Any, leaks: Any, words: str) -> None:
    found = controls_section(channels_run(tmp_path / "run", {**ALL_OF_CLEAN, **leaks}, defenses=defenses))
    assert found is not None
    assert found.words == words


def test_learners_are_counted_on_the_control_that_can_be_learnt(tmp_path: Path) -> None:
    rows = channels_run(tmp_path / "run", ALL_OF_BOTH, defenses=LEARNABLE, **BOTH)
    found = controls_section(rows)
    assert found is not None
    assert found.words.endswith("; 0 of 1 tested broke it on the control that can be learnt.")


def test_flags_that_warn_of_nothing_are_carried_as_such(tmp_path: Path) -> None:
    leaks = {**ALL_OF_CLEAN, ("Oblivion", "recface"): 0.5, ("A", "abuse"): 0.9}
    rows = channels_run(tmp_path / "run", leaks, defenses=(*WITH_CONTROLS, B))
    (table,) = build(rows, "controls")
    looks = {r.label: dict(r.looks) for g in table.groups for r in g.rows}
    assert (looks["abuse (recognition)"], looks["recface (reconstruction)"]) == ({CHECKED: "safe"}, {})
    (summary,) = build(rows, "summary")
    found = {r.defense: (list(r.flags), dict(r.looks)) for g in summary.groups for r in g.rows}
    assert "leaks in recognition" in found["A"][0]
    assert found["A"][1]["leaks in recognition"] == "leaks"
    assert found["B"][1]["no attack beat chance"] == "safe"


def test_the_summary_marks_a_control(tmp_path: Path) -> None:
    rows = channels_run(tmp_path / "run", ALL_OF_CLEAN, defenses=WITH_CONTROLS)
    (table,) = build(rows, "summary")
    marked = [r.defense for g in table.groups for r in g.rows if CONTROL in r.flags]
    assert marked == ["Oblivion"]
    (matrix,) = rows.matrices
    answers_of = {a.defense: a.control for a in answers(rows, matrix, summaries(rows, matrix))}
    assert answers_of == {"A": False, "Oblivion": True, "Clean": False}
    assert render(rows.results).count("control: tests the attackers, no protection</span>") >= 2


@pytest.mark.parametrize(("goal", "better"), [("recognition", "lower"), ("appearance", "higher")])
def test_similarity_is_better_as_the_goal_says(tmp_path: Path, goal: str, better: str) -> None:
    rows = channels_run(tmp_path / "run", {}, goal=goal)
    (table,) = build(rows, "summary")
    assert [c.metric.better for c in table.columns if c.label in ("SSIM", "PSNR")] == [better] * 2
    (matrix,) = rows.matrices
    (a,) = [a for a in answers(rows, matrix, summaries(rows, matrix)) if a.defense == "A"]
    assert [m.metric.better for m in a.measurements if m.label.startswith("SSIM")] == [better]


def test_similarity_has_no_direction_in_a_table_of_defenses_with_mixed_goals(tmp_path: Path) -> None:
    rows = channels_run(tmp_path / "run", {}, defenses=(CLEAN, A, B), ended=lambda c: {"goal": GOALS[c["defense"]]})
    (table,) = build(rows, "summary")
    assert [c.metric.better for c in table.columns if c.label in ("SSIM", "PSNR")] == ["", ""]
    (matrix,) = rows.matrices
    found = {a.defense: a.measurements[-1].metric.better for a in answers(rows, matrix, summaries(rows, matrix))}
    assert (found["A"], found["B"]) == ("lower", "higher")


def test_a_control_may_have_parameters(tmp_path: Path) -> None:
    twice = (("Oblivion", "oblivion", False), ("Oblivion 2", "oblivion", False))
    rows = channels_run(
        tmp_path / "run",
        {**ALL_OF_CLEAN, ("Oblivion", "abuse"): 0.5},
        defenses=(CLEAN, *twice, A),
        params={"Oblivion": {"seed": 1}, "Oblivion 2": {"seed": 2}},
        attacks=(ABUSE, replace(ABUSE, label="other", plugin="other")),
    )
    assert checks(rows)["abuse"].broken == FALSE_ALARM  # Once is enough, whatever follows.


def test_reading_an_old_run_takes_the_upload_as_it_is_for_the_control_that_leaks(tmp_path: Path) -> None:
    attack = FakeAttack()
    rows = channels_run(tmp_path / "run", ALL_OF_CLEAN, attacks=(attack,), ended=lambda _: {})
    assert [c.control for c in rows.cells if c.defense == "Clean"] == ["leaks", "leaks"]
    assert {c.control for c in rows.cells if c.defense == "A"} == {None}
    assert checks(rows)["abuse"].succeeds is True
