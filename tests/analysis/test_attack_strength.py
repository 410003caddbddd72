"""Leakage over budgets and over knowledge: which attacks form a curve, the best of a step, and who is overtaken."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_run import FakeAttack, FakeRun, rewritten, write_fake_run

from bench.analysis.budget_curves import BudgetCurve, budget_curves
from bench.analysis.channel_leaks import ChannelLeak, channel_leaks
from bench.analysis.knowledge_steps import KnowledgeOfDefense, knowledge_steps
from bench.analysis.rows import Rows
from bench.core.errors import StorageError, SuiteError
from bench.report.charts.attack_strength import budget_charts, knowledge_chart, strength_charts
from bench.report.export.charts import export_figure
from bench.report.page.attack_strength import section
from bench.store.reading import RunResults

N = 40  # People, each in one pair.


def attack(
    label: str,
    plugin: str,
    knowledge: int | None,
    budget: Mapping[str, int] | None = None,
    outputs: str = "recognition",
    **params: object,
) -> FakeAttack:
    return FakeAttack(label=label, plugin=plugin, outputs=outputs, knowledge=knowledge, budget=budget, params=params)


def adapted(faces: int, steps: int = 200, **params: object) -> FakeAttack:
    about = {"faces": faces, "steps": steps}
    label = "adapted-" + "-".join(map(str, (faces, steps, *params.values())))
    return attack(label, "adapted", 4, about, **{**about, **params})


def averaged(uploads: int) -> FakeAttack:
    return attack(f"averaged-{uploads}", "averaged", 1, {"uploads": uploads} if uploads > 1 else None, uploads=uploads)


def run(folder: Path, attacks: Sequence[FakeAttack], matched: Mapping[str, int] | None = None) -> RunResults:
    """Write a run of one defense; the judges net-b and net-c match the first people, as many as ``matched`` says of
    each attack."""
    spec = FakeRun(
        name="standard",
        table=None,
        pairs=N,
        claims=None,
        datasets={"synth-lfw": "LFW"},
        models={name: name.upper() for name in ("net-a", "net-b", "net-c")},
        authorised=(("net-a",),),
        defenses=[("PMT", "pmt", True)],
        attacks=attacks,
    )

    def change(table: pd.DataFrame) -> None:
        table["cos_self"] = np.where(table["left_subject"] < table["attack"].map(matched or {}).fillna(0), 0.9, 0.0)

    results = write_fake_run(folder, spec)
    return rewritten(results, verification=change) if any(a.outputs != "attributes" for a in attacks) else results


def leaks(results: RunResults) -> list[ChannelLeak]:
    return channel_leaks(Rows(results))


def curves(results: RunResults) -> dict[tuple[str, str], BudgetCurve]:
    return {(c.budget, c.label): c for c in budget_curves(leaks(results))}


# ---- budgets ---------------------------------------------------------------------------------------------------------


def test_attacks_that_differ_only_in_faces_form_a_curve(tmp_path: Path) -> None:
    results = run(
        tmp_path, [adapted(1600), adapted(100), adapted(400)], {"adapted-1600-200": 36, "adapted-400-200": 20}
    )
    (curve,) = budget_curves(leaks(results))
    assert (curve.budget, curve.channel, curve.defense, curve.label) == ("faces", "recognition", "PMT", "adapted")
    assert curve.xs == [100, 400, 1600]
    assert [leak.found.value for leak in curve.leaks] == [0.0, 0.5, 0.9]
    assert [leak.chance.value for leak in curve.leaks] == pytest.approx([0.01] * 3)  # A fifth of probes match 5 %.


def test_two_budgets_make_a_curve_for_each_value_of_the_other_one(tmp_path: Path) -> None:
    found = curves(run(tmp_path, [adapted(f, s) for f in (100, 400) for s in (50, 200)]))
    assert {key: c.xs for key, c in found.items()} == {
        ("faces", "adapted, steps 50"): [100, 400],
        ("faces", "adapted, steps 200"): [100, 400],
        ("steps", "adapted, faces 100"): [50, 200],
        ("steps", "adapted, faces 400"): [50, 200],
    }


def test_steps_may_grow_with_the_faces(tmp_path: Path) -> None:
    results = run(tmp_path, [adapted(100, 60), adapted(400, 120), adapted(1600, 200)], {"adapted-1600-200": 36})
    (curve,) = budget_curves(leaks(results))
    assert (curve.budget, curve.grows, curve.label) == ("faces", "steps", "adapted")
    assert curve.xs == [100, 400, 1600]
    assert [leak.found.value for leak in curve.leaks] == [0.0, 0.0, 0.9]
    (chart,) = budget_charts(leaks(results))
    assert "differ only in auxiliary faces and in optimisation steps, which grow with them; data" in chart.caption


def test_steps_that_do_not_grow_with_the_faces_keep_attacks_apart(tmp_path: Path) -> None:
    assert not curves(run(tmp_path / "fewer", [adapted(100, 200), adapted(400, 60)]))
    found = curves(run(tmp_path / "both", [adapted(100, 60), adapted(400, 60), adapted(400, 120)]))
    assert {key: (c.grows, c.xs) for key, c in found.items()} == {
        ("faces", "adapted"): (None, [100, 400]),
        ("steps", "adapted"): (None, [60, 120]),
    }


def test_another_setting_is_another_curve(tmp_path: Path) -> None:
    settings = [adapted(f, learns=how) for f in (100, 400) for how in ("pairs", "head")]
    found = curves(run(tmp_path, settings))
    assert set(found) == {("faces", "adapted, learns pairs"), ("faces", "adapted, learns head")}


def test_a_setting_that_equals_one_budget_by_chance_keeps_attacks_apart(tmp_path: Path) -> None:
    """A batch of 100 and one of 400 are no budgets: the batch of the third attack is not its number of faces."""
    batches = [adapted(100, batch=100), adapted(400, batch=400), adapted(1600, batch=100)]
    found = curves(run(tmp_path, batches))
    assert {key: c.xs for key, c in found.items()} == {("faces", "adapted"): [100, 1600]}


def test_one_upload_is_the_begin_of_a_curve(tmp_path: Path) -> None:
    results = run(tmp_path, [averaged(1), averaged(2), averaged(8)], {"averaged-2": 10, "averaged-8": 30})
    (curve,) = budget_curves(leaks(results))
    assert (curve.budget, curve.xs) == ("uploads", [1, 2, 8])
    assert [leak.found.value for leak in curve.leaks] == [0.0, 0.25, 0.75]


def test_attacks_without_a_budget_make_no_curve(tmp_path: Path) -> None:
    assert budget_curves(leaks(run(tmp_path, [attack("abuse", "abuse", 0), adapted(100)]))) == []


def test_attributes_are_curves_of_their_own_and_their_chance_is_0(tmp_path: Path) -> None:
    learners = [attack(f"probe-{n}", "probe", 4, {"faces": n}, outputs="attributes", faces=n) for n in (100, 400)]
    found = curves(run(tmp_path, learners))
    assert {label for _, label in found} == {"probe, emotion", "probe, group", "probe, gender"}  # Not age, in years.
    gender = found["faces", "probe, gender"]
    assert [leak.found.value for leak in gender.leaks] == pytest.approx([0.1, 0.1], abs=0.03)  # .5 minus .4.
    assert {leak.chance.value for leak in gender.leaks} == {0.0}


def test_links_are_their_own_channel(tmp_path: Path) -> None:
    linkers = [attack(f"linked-{n}", "linked", 4, {"faces": n}, outputs="links", faces=n) for n in (100, 400)]
    (curve,) = budget_curves(leaks(run(tmp_path, [*linkers, attack("abuse", "abuse", 0)])))
    assert (curve.channel, curve.xs) == ("linkage", [100, 400])
    assert curve.leaks[0].found.value == pytest.approx(0.75)  # A quarter of genuine pairs is missed.
    assert curve.leaks[0].chance.value == 0.0


def test_attacks_that_learnt_from_the_evaluated_people_do_not_count(tmp_path: Path) -> None:
    cheats = [replace(adapted(n), leaky=True) for n in (100, 400)]
    assert leaks(run(tmp_path, cheats)) == []


def test_the_chart_shows_curves_and_chance(tmp_path: Path) -> None:
    results = run(tmp_path, [adapted(100), adapted(400)], {"adapted-400-200": 20})
    (chart,) = budget_charts(leaks(results))
    (panel,) = chart.panels
    assert [c.label for c in panel.curves] == ["adapted", "chance"]
    assert (chart.log, chart.xs, panel.title) == (True, [100, 400], "PMT")
    assert panel.spoken(chart) == (
        "Recognition: leakage over auxiliary faces, PMT: matched against auxiliary faces from 100 to 400. "
        "adapted: 0.0 to 50.0; chance: 1.0 to 1.0."
    )


# ---- knowledge -------------------------------------------------------------------------------------------------------

LADDER = [
    attack("abuse", "abuse", 0),
    attack("restored", "restored", 0),
    attack("learnt", "learnt", 3),
    adapted(100),
]


def known(results: RunResults) -> KnowledgeOfDefense:
    rows = Rows(results)
    (found,) = knowledge_steps(rows, channel_leaks(rows))
    return found


def test_each_step_shows_its_best_attack(tmp_path: Path) -> None:
    found = known(run(tmp_path, LADDER, {"abuse": 4, "restored": 10, "learnt": 14, "adapted-100-200": 38}))
    steps = found.steps["recognition"]
    assert [(s.knowledge, s.best.attack, s.tried) for s in steps] == [
        (0, "restored", 2),
        (3, "learnt", 1),
        (4, "adapted-100-200", 1),
    ]
    assert [s.found.value for s in steps] == [0.25, 0.35, 0.95]
    assert [s.found.interval for s in steps] == ["drawn", "clustered", "clustered"]
    assert steps[0].found.note == "restored, best of 2"
    assert found.overtaken == []


def test_a_weaker_attack_that_leaks_more_on_the_same_people_is_a_warning(tmp_path: Path) -> None:
    found = known(run(tmp_path, LADDER, {"restored": 20, "learnt": 8, "adapted-100-200": 30}))
    (one,) = found.overtaken
    assert (one.weaker.attack, one.stronger.attack) == ("restored", "learnt")
    assert one.shares == (0.5, 0.2)
    assert one.test.family == 5  # Both weak attacks against two steps, and the learnt one against the last.
    assert one.words == (
        "Recognition: restored (the upload alone) leaks 50.0 %, and learnt (faces of other people, unprotected), the "
        f"best of those that know as much, 20.0 % on the same people ({one.test.words}): then the stronger one is "
        "broken, or the defense hides its gradients."
    )


def test_a_weaker_attack_that_may_leak_more_by_chance_is_none(tmp_path: Path) -> None:
    assert known(run(tmp_path, LADDER, {"restored": 11, "learnt": 9, "adapted-100-200": 30})).overtaken == []


def test_only_the_best_attack_of_the_stronger_step_is_held_against_it(tmp_path: Path) -> None:
    broken = attack("broken", "broken", 4)
    found = known(run(tmp_path, [*LADDER, broken], {"restored": 20, "learnt": 20, "adapted-100-200": 30}))
    assert found.overtaken == []


def test_attacks_with_different_judges_are_not_compared(tmp_path: Path) -> None:
    """One experiment is judged by net-b, the other by net-c: nobody has judged both attacks."""
    models = [{"net-a": "A", judge: judge} for judge in ("net-b", "net-c")]
    specs = [
        FakeRun(name=f"e{i}", table=None, pairs=N, claims=None, datasets={"synth-lfw": "LFW"}, models=of, attacks=[a],
                authorised=(("net-a",),), defenses=[("PMT", "pmt", True)])
        for i, (of, a) in enumerate(zip(models, (LADDER[0], LADDER[2]), strict=True))
    ]  # fmt: skip

    def change(table: pd.DataFrame) -> None:
        table["cos_self"] = np.where(table["attack"] == "abuse", 0.9, 0.0)

    found = known(rewritten(write_fake_run(tmp_path, specs), verification=change))
    assert [s.found.value for s in found.steps["recognition"]] == [1.0, 0.0]
    assert found.overtaken == []


def test_channels_are_panels_with_scales_of_their_own(tmp_path: Path) -> None:
    attacks = [
        *LADDER,
        attack("attributes", "attributes", 0, outputs="attributes"),
        attack("probe", "probe", 4, outputs="attributes"),
    ]
    chart = knowledge_chart(known(run(tmp_path, attacks, {"adapted-100-200": 38})))
    assert [p.title for p in chart.panels] == ["Recognition", "Attributes"]
    assert [m.unit for m in chart.metrics] == ["%", ""]
    assert [t.columns[0].label for t in chart.tables] == ["0 (the upload alone)"] * 2
    assert "from 0 (the upload alone) to 4 (faces of other people, protected)" in chart.spoken


@pytest.mark.parametrize("known", [None, 0])
def test_runs_of_older_versions_and_a_single_step_have_no_picture(tmp_path: Path, known: int | None) -> None:
    results = run(tmp_path, [replace(a, knowledge=known, budget=None) for a in LADDER])
    rows = Rows(results)
    assert knowledge_steps(rows, channel_leaks(rows)) == []
    assert strength_charts(rows) == []
    assert section(rows) is None


# ---- exports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["budget", "knowledge"])
def test_figures_are_exported_with_their_numbers(tmp_path: Path, name: str) -> None:
    results = run(tmp_path / "run", [*LADDER, adapted(400)], {"adapted-400-200": 38, "adapted-100-200": 20})
    export_figure(results, name, "csv", tmp_path / "numbers.csv")
    with (tmp_path / "numbers.csv").open() as file:
        records = list(csv.DictReader(file))
    assert {r["table"] for r in records} == {f"figure-{name}"}
    assert {r["defense"] for r in records} == {"PMT"}
    last = next(r for r in records if r["row"] in ("adapted", "best attack") and r["column"][0] == "4")
    assert (last["value"], last["unit"], last["n"], last["people"]) == ("95.0", "%", "80", "40")
    assert {r["value"] for r in records if r["row"] == "chance" and r["value"]} == {"1.0"}
    export_figure(results, name, "svg", tmp_path / "figure.svg")
    assert "chance" in (tmp_path / "figure.svg").read_text()


def test_a_run_without_budgets_names_the_figures_that_it_has(tmp_path: Path) -> None:
    results = run(tmp_path, LADDER)
    with pytest.raises(StorageError, match=r"makes no figure 'budget'; it has .*knowledge"):
        export_figure(results, "budget", "svg", tmp_path / "figure.svg")
    with pytest.raises(SuiteError, match="expected one of svg, pdf, png, csv for --figure"):
        export_figure(results, "knowledge", "json", tmp_path / "figure.json")
