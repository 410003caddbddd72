"""The verdict: which defenses dominate others, which one to use, and remarks on those that few attacks were tried
on."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_run import ABUSE, ESTIMATE, HOSTILE, INVERSIONS, LEAKY, RECFACE, FakeRun, rewritten, write_fake_run

from bench.analysis.dominance import dominates, draw
from bench.analysis.pooling import Pool, SampleScores
from bench.analysis.rows import Rows
from bench.analysis.tables import build
from bench.analysis.tables.assessed_defense import AssessedDefense
from bench.analysis.tables.recommendation import Recommendation, recommend
from bench.report.page import render
from bench.report.page.recommendation import pareto, rulings
from bench.report.page.verdict_words import headline
from bench.store.reading import RunResults

PAIRS = 40
CLEAN, A, B, C = ("Clean", "identity", False), ("A", "pmt", True), ("B", "pmt", True), ("C", "pmt", True)
PARAMS: dict[str, dict[str, Any]] = {"A": {"steps": 1}, "B": {"steps": 2}, "C": {"steps": 3}}
Shares = Mapping[tuple[str, str], float]


def spec(**changes: Any) -> FakeRun:
    """Return an experiment with one data set: net-a is authorised, and net-b is the held-out recogniser."""
    about: dict[str, Any] = {
        "name": "abuse",
        "models": {"net-a": "MobileFace", "net-b": "ArcFace"},
        "datasets": {"synth-lfw": "LFW"},
        "authorised": (("net-a",),),
        "defenses": (CLEAN, A, B),
        "params": PARAMS,
        "pairs": PAIRS,
        "claims": None,
    }
    return FakeRun(**about | changes)


def rebuilt(*attacks: Any, **changes: Any) -> FakeRun:
    """Return the same experiment with attacks that reconstruct images."""
    return spec(**{"name": "rebuilt", "table": "VI", "attacks": attacks or (RECFACE,)} | changes)


def scored(folder: Path, specs: Sequence[FakeRun], utility: Mapping[str, float], leaks: Shares) -> Rows:
    """Write a run in which the authorised model decides a share of pairs correctly (``utility``, by defense), and net-b
    matches a share of faces (``leaks``, by defense and attack).

    These are always the first pairs, so that a larger share contains every smaller one.
    """

    def change(scores: pd.DataFrame) -> None:
        for (defense, attack, role, model), rows in scores.assign(role=_roles(scores)).groupby(
            ["defense", "attack", "role", "evaluated"]
        ):
            share = leaks.get((str(defense), str(attack)), 0.0)
            if role == "authorised" or (role == "any" and model == "net-a"):
                share = utility.get(str(defense), 1.0)
            good = rows["pair"] < round(share * PAIRS)
            scores.loc[rows.index, "cos_self"] = np.where(good, 0.9, 0.0)
            scores.loc[rows.index, "cos_cross"] = np.where(good & rows["same"], 0.9, 0.0)

    return Rows(rewritten(write_fake_run(folder, list(specs)), verification=change))


def _roles(scores: pd.DataFrame) -> list[str]:
    pairs = zip(scores["authorised"], scores["evaluated"], strict=True)
    return ["any" if not a else "authorised" if m in a.split("+") else "unauthorised" for a, m in pairs]


def entry(found: Recommendation, name: str) -> AssessedDefense:
    return next(e for e in found.entries if e.name == name)


ALL_IN = {("Clean", "abuse"): 1.0, ("Clean", "recface"): 1.0}


# ---- pure numbers ----------------------------------------------------------------------------------------------------


def test_one_dominates_with_as_much_utility_as_little_leakage_and_one_of_them_better() -> None:
    utility, leakage = np.array([0.9, 0.9, 0.8, np.nan]), np.array([0.1, 0.2, 0.1, 0.0])
    everyone = ~np.eye(4, dtype=bool)
    found = dominates(utility, leakage, everyone)
    # 0 ties with each in one number, 1 and 2 trade off, and NaN never dominates.
    assert np.argwhere(found).tolist() == [[0, 1], [0, 2]]
    # Equal numbers do not dominate.
    assert not dominates(utility[[0, 0]], leakage[[0, 0]], ~np.eye(2, dtype=bool)).any()
    assert not dominates(utility, leakage, np.zeros((4, 4), dtype=bool)).any()
    both = dominates(np.stack([utility, utility]), np.stack([leakage, leakage]), everyone)
    assert both.shape == (2, 4, 4)
    assert (both == found).all()


def _pool(*shares: float) -> Pool:
    return Pool([SampleScores(np.array(shares), np.arange(len(shares)))])


def test_the_worst_attack_is_chosen_again_in_each_draw_of_the_same_people() -> None:
    one, other = _pool(1, 0, 0, 0), _pool(0, 0, 0, 1)
    drawn = draw([one, None], [[one, other], []])
    assert np.isnan(drawn.utility[:, 1]).all()
    assert np.isnan(drawn.leakage[:, 1]).all()
    assert set(drawn.worst[:, 1]) == {-1}
    alone = draw([one, other], [[one], [other]])
    assert (drawn.utility[:, 0] == alone.utility[:, 0]).all()
    assert (drawn.leakage[:, 0] == np.maximum(alone.leakage[:, 0], alone.leakage[:, 1])).all()
    assert set(drawn.worst[:, 0]) == {0, 1}
    assert drawn.leakage[:, 0].mean() > 0.25  # The highest of two is on average higher than either.
    same = draw([one, one], [[one], [one]])
    assert (same.leakage[:, 0] == same.leakage[:, 1]).all()  # The draws are paired.


def test_a_single_person_says_little_and_nobody_says_nothing() -> None:
    rare = Pool([SampleScores(np.ones(1), np.array([99]))])
    drawn = draw([_pool(1, 0, 1), rare], [[], []])
    assert np.quantile(drawn.utility[:, 1], 0.025) < 0.3
    assert draw([], []).utility.shape == (2000, 0)


# ---- defenses --------------------------------------------------------------------------------------------------------


def test_utility_and_leakage_are_those_of_the_rows(tmp_path: Path) -> None:
    leaks = {("A", "abuse"): 0.1, ("A", "recface"): 0.6, ("A", "recface, leaky"): 1.0, ("B", "abuse"): 0.2} | ALL_IN
    specs = [spec(), rebuilt(RECFACE, LEAKY, defenses=(CLEAN, A))]
    found = recommend(scored(tmp_path / "run", specs, {"A": 0.95}, leaks))
    a = entry(found, "A")
    assert (a.utility.value, a.utility.n) == (0.95, PAIRS)
    assert (a.leakage.value, a.leakage.n, a.baseline) == (0.6, PAIRS, 0.01)
    assert a.worst is not None
    assert (a.worst.label, a.worst.experiment, a.worst.rebuilt) == ("recface", "rebuilt", True)
    # The leaky attack is left out.
    assert [(t.label, t.measurement.value) for t in a.attacks] == [("recface", 0.6), ("abuse", 0.1)]
    assert {c.evaluated for c in a.worst.cells} == {"net-b"}
    assert a.others.value == pytest.approx(0.1)
    assert a.leakage.low is not None
    assert a.leakage.low < 0.6 < (a.leakage.high or 0)
    clean = entry(found, "Clean")
    assert (clean.kind, clean.leakage.value, clean.dominators) == ("clean", 1.0, [])


def test_the_same_plugin_with_the_same_parameters_is_one_defense_whatever_it_is_called(tmp_path: Path) -> None:
    specs = [
        spec(defenses=(A,)),
        rebuilt(defenses=(("another name", "pmt", True),), params={"another name": PARAMS["A"]}),
    ]
    leaks = {("A", "abuse"): 0.1, ("another name", "recface"): 0.7}
    (one,) = recommend(scored(tmp_path / "run", specs, {}, leaks)).entries
    assert (one.name, one.also, one.leakage.value) == ("A", ["another name"], 0.7)
    told = recommend(scored(tmp_path / "two", [spec(defenses=(A, B))], {}, {})).entries
    assert [e.name for e in told] == ["A", "B"]


@pytest.mark.slow
def test_a_better_one_dominates_plainly_only_if_nearly_all_draws_say_so(tmp_path: Path) -> None:
    leaks = {("A", "abuse"): 0.1, ("B", "abuse"): 0.8, ("C", "abuse"): 0.125} | ALL_IN
    found = recommend(scored(tmp_path / "run", [spec(defenses=(CLEAN, A, B, C))], {"B": 0.9}, leaks))
    first = entry(found, "B").dominators[0]
    assert first.certain
    assert first.share > 0.95  # 40 of 40 pairs are kept, and 36 of 40.
    (weak,) = entry(found, "C").dominators
    assert (weak.name, weak.certain) == ("A", False)  # One pair of 40 is in favour of A.
    assert 0.3 < weak.share < 0.95
    assert entry(found, "A").on_pareto_front
    assert 0.7 < (entry(found, "A").front_share or 0) < 1  # C leaks in one pair more.
    assert not entry(found, "C").on_pareto_front
    (shown,) = rulings(Rows(RunResults(tmp_path / "run")))
    said = {line.entry.name: line.dominated for line in shown.lines}
    assert said["B"].startswith("by A (97 % of draws)")
    assert said["C"].startswith("by A, but only in ")
    assert said["Clean"] == ""


def test_what_is_equal_is_not_dominated(tmp_path: Path) -> None:
    found = recommend(scored(tmp_path / "run", [spec()], {}, {("A", "abuse"): 0.1, ("B", "abuse"): 0.1} | ALL_IN))
    assert [entry(found, n).dominators for n in "AB"] == [[], []]
    assert found.best == entry(found, "A")


@pytest.mark.parametrize(("upload", "lacking"), [("images", ["abuse"]), ("a representation", [])])
def test_what_is_asked_of_pictures_is_not_asked_of_a_representation(
    tmp_path: Path, upload: str, lacking: list[str]
) -> None:
    rows = scored(tmp_path / "run", [spec(defenses=(CLEAN, A)), rebuilt(defenses=(B,), upload=upload)], {}, ALL_IN)
    assert list(entry(recommend(rows), "B").untried) == lacking


@pytest.mark.slow
def test_a_defense_that_less_was_tried_on_neither_wins_nor_dominates(tmp_path: Path) -> None:
    leaks = {("A", "abuse"): 0.1, ("A", "recface"): 0.7, ("B", "abuse"): 0.0} | ALL_IN
    rows = scored(tmp_path / "run", [spec(), rebuilt(defenses=(CLEAN, A))], {"A": 0.95}, leaks)
    found = recommend(rows)
    assert set(found.attackers) == {"recface", "abuse"}
    assert list(entry(found, "B").untried) == ["recface"]
    assert entry(found, "A").dominators == []
    assert found.best is not None
    assert found.best.name == "A"
    assert [e.name for e in found.fair] == ["A"]
    (shown,) = rulings(rows)
    line = next(line for line in shown.lines if line.entry.name == "B")
    assert line.remarks[0] == "only 1 attack was tried on it; no claim beyond it (untried: recface)"
    asked = "Not attacked as the others were, and so not compared: B (not attacked by recface)."
    assert [f"{asked} Lower numbers for them are no evidence of better protection."] in shown.sentences
    assert shown.headline.startswith("None is safe. The only defense that faced every attack is A, and its faces are")


def test_the_other_way_round_more_tried_and_better_dominates(tmp_path: Path) -> None:
    leaks = {("A", "abuse"): 0.1, ("A", "recface"): 0.1, ("B", "abuse"): 0.9} | ALL_IN
    found = recommend(scored(tmp_path / "run", [spec(), rebuilt(defenses=(CLEAN, A))], {}, leaks))
    assert "A" in [d.name for d in entry(found, "B").dominators]


def test_one_upload_for_one_model_does_not_dominate_one_for_two(tmp_path: Path) -> None:
    several = ("Several", "mr-pmt", True)
    nets = {"net-a": "MobileFace", "net-b": "ArcFace", "net-c": "ResNet50"}
    specs = [spec(models=nets), spec(name="both", models=nets, defenses=(several,), authorised=(("net-a", "net-c"),))]
    leaks = {("A", "abuse"): 0.1, ("B", "abuse"): 0.1, ("Several", "abuse"): 0.9} | ALL_IN
    found = recommend(scored(tmp_path / "run", specs, {}, leaks))
    assert [d.name for d in entry(found, "Several").dominators if d.name != "Clean"] == []
    assert entry(found, "Several").serves == 2
    assert entry(found, "Clean").serves == np.inf


def test_a_defense_that_knows_no_model_is_judged_by_models_outside_of_some_authorised_set(tmp_path: Path) -> None:
    noise = ("Noise", "noise", False)
    leaks = {("Noise", "abuse"): 0.5, ("A", "abuse"): 0.1} | ALL_IN
    found = recommend(scored(tmp_path / "run", [spec(defenses=(CLEAN, noise, A))], {"Noise": 0.7}, leaks))
    own = entry(found, "Noise")
    assert (own.kind, own.utility.value, own.leakage.value) == ("model-free", 0.7, 0.5)
    assert {c.evaluated for c in own.attacks[0].cells} == {"net-b"}
    alone = recommend(Rows(write_fake_run(tmp_path / "alone", spec(defenses=(noise,)))))  # No model is authorised.
    (cells,) = [t.cells for t in alone.entries[0].attacks]
    assert {c.evaluated for c in cells} == {"net-a", "net-b"}
    crossed = spec(defenses=(noise, A), authorised=(("net-a",), ("net-b",)))
    (cells,) = [t.cells for t in entry(recommend(Rows(write_fake_run(tmp_path / "x", crossed))), "Noise").attacks]
    assert {c.evaluated for c in cells} == {"net-a", "net-b"}


@pytest.mark.slow
def test_what_is_not_there_has_its_reason(tmp_path: Path) -> None:
    broken = rebuilt(
        RECFACE, INVERSIONS[0], defenses=(A,), failed=lambda c: "broke" if c["attack"] == "recface" else None
    )
    found = recommend(Rows(write_fake_run(tmp_path / "run", [spec(defenses=(A,)), broken])))
    a = entry(found, "A")
    assert [t.measurement.status for t in a.attacks][-1] == "failed"
    assert len(a.tried) == 2
    (shown,) = rulings(Rows(RunResults(tmp_path / "run")))
    assert "without a measurement: recface (failed)" in shown.lines[0].remarks
    only = recommend(Rows(write_fake_run(tmp_path / "only", rebuilt(defenses=(A,)))))
    assert only.entries[0].utility.reason == "no experiment evaluates an authorised model on what this defense uploads"
    assert headline(only) == "No verdict: no defense of this run has both a utility and a leakage."
    assert pareto(only) is None
    estimated = recommend(Rows(write_fake_run(tmp_path / "e", spec(attacks=(ESTIMATE,), defenses=(A,), table="VIII"))))
    assert estimated.entries[0].leakage.reason == (
        "no attack of this run ends with something that held-out recognisers could match"
    )


# ---- the answer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("utility", "leaked", "said"),
    [
        (
            {},
            0.6,
            "None is safe. The best of 2 defenses that faced every attack is A, and its faces are matched more often "
            "than strangers are.",
        ),
        (
            {},
            0.0,
            "Use A: no attack of this run beat chance; with 40 independent people a leak of 9.4 points would have been "
            "seen with 80 % power.",
        ),
        (
            {"A": 0.5, "B": 0.4},
            0.0,
            "Use none: no defense that faced every attack and leaks less than no protection meets the bars of utility.",
        ),
    ],
)
def test_the_answer_may_be_none(tmp_path: Path, utility: dict[str, float], leaked: float, said: str) -> None:
    leaks = {("A", "abuse"): leaked, ("B", "abuse"): 0.9} | ALL_IN
    found = recommend(scored(tmp_path / "run", [spec()], utility, leaks))
    assert headline(found) == said
    assert found.best is not None
    assert found.best.name == "A"
    assert found.share is not None
    assert found.share > 0.9


def test_no_protection_is_never_chosen(tmp_path: Path) -> None:
    found = recommend(Rows(write_fake_run(tmp_path / "run", spec(defenses=(CLEAN,)))))
    assert found.best is None
    assert headline(found) == "No verdict: this run protects nothing."


def test_no_defense_is_chosen_if_none_faced_every_kind_of_attack(tmp_path: Path) -> None:
    some = spec(defenses=(A,), attacks=(ABUSE, INVERSIONS[0]))
    specs = [some, rebuilt(defenses=(B,)), spec(name="more", defenses=(B,))]
    found = recommend(Rows(write_fake_run(tmp_path / "run", specs)))
    assert found.best is None
    assert headline(found).startswith("No verdict: no defense faced every attack of this run (")


# ---- cost ------------------------------------------------------------------------------------------------------------


def with_costs(results: RunResults, cost: Mapping[str, Mapping[str, Any]]) -> RunResults:
    """Return the run with one stage that protects for each defense."""
    cells = pq.read_table(results.folder / "cells.parquet").to_pandas()
    cells["protect"] = [json.dumps([f"key of {d}"]) for d in cells["defense"]]
    pq.write_table(pa.Table.from_pandas(cells, preserve_index=False), results.folder / "cells.parquet")
    stage = {"kind": "protect", "name": "x", "status": "ok", "cached": False, "seconds": 2.0, "device": "cpu"}
    rows = [{"key": f"key of {d}", **stage, **about} for d, about in cost.items()]
    pq.write_table(pa.Table.from_pylist(rows), results.folder / "stages.parquet")
    return RunResults(results.folder)


def test_the_cost_is_that_of_the_stages_that_protect(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", spec())
    known = {"Clean": {"client_flops": 0, "client_seconds": 1e-5, "client_reason": None}}
    known["A"] = {"client_flops": 2_500_000_000, "client_seconds": 0.25, "client_reason": None}
    known["B"] = {"client_flops": None, "client_seconds": None, "client_reason": "not alone"}
    found = recommend(Rows(with_costs(results, known)))
    assert (entry(found, "A").cost.flops.value, entry(found, "A").cost.latency.value) == (2.5, 250.0)
    assert entry(found, "A").cost.latency.note == "of one stage; on cpu"
    assert entry(found, "Clean").cost.flops.value == 0
    assert (entry(found, "B").cost.flops.value, entry(found, "B").cost.flops.reason) == (None, "not alone")
    assert [(kind, f.value) for kind, f in entry(found, "A").cost.sent] == [("images", 37632.0)]


@pytest.mark.slow
def test_runs_of_before_have_no_cost_and_say_why(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", spec())
    assert entry(recommend(Rows(results)), "A").cost.flops.reason == (
        "this run was made before the cost for the client was measured"
    )
    assert "Operations and time per face are missing: this run was made before" in render(results)


# ---- the page --------------------------------------------------------------------------------------------------------


def section(page: str) -> str:
    part = page[page.index('<section id="verdict">') :]
    return part[: part.index("</section>")]


@pytest.mark.slow
def test_a_new_reader_finds_defense_attack_n_interval_and_command(tmp_path: Path) -> None:
    leaks = {("A", "abuse"): 0.1, ("A", "recface"): 0.6, ("B", "abuse"): 0.2, ("B", "recface"): 0.9} | ALL_IN
    rows = scored(tmp_path / "run", [spec(), rebuilt()], {"A": 0.95}, leaks)
    part = section(render(rows.results))
    plain = " ".join(unescape(re.sub(r"<[^>]+>", "", part)).split())
    best = "The best of 2 defenses that faced every attack is A"
    beyond = "its faces are matched more often than strangers are."
    spaced = " ".join(unescape(re.sub(r"<[^>]+>", " ", part)).split())
    assert spaced.startswith(
        f"Verdict None is safe. {best}, and {beyond} Best defense A Leakage under its worst attack "
    )
    assert "60.0 % (" in plain.partition("With A,")[0]
    assert re.search(r"after the strongest of 2 attacks \(recface; rebuilt\) held-out recognisers match 60.0 %", plain)
    assert re.search(r"60\.0 % \(\d\d\.\d–\d\d\.\d, N 40\) of faces to the very photo", plain)
    command = unescape(re.findall(r'<pre class="command"[^>]*>(.*?)</pre>', part)[0])
    a = entry(recommend(rows), "A")
    assert a.worst is not None
    (cell,) = a.worst.cells
    assert command.startswith("bench run suites/fake.toml --pairs 40 --cell ")
    (asked,) = shlex.split(command)[6:]
    assert asked == cell.cell
    assert 'data-plot="pareto"' in part
    assert part.count("data-measurement=") > 6


@pytest.mark.slow
def test_hostile_names_are_text_in_verdict_and_plot(tmp_path: Path) -> None:
    bad = (f"<img src=x onerror=alert(1)> {HOSTILE}", "pmt", True)
    attack = replace(RECFACE, label=f"attack {HOSTILE}", plugin=f"plugin {HOSTILE}")
    specs = [spec(defenses=(CLEAN, bad)), rebuilt(attack, defenses=(CLEAN, bad))]
    page = render(write_fake_run(tmp_path / "run", specs))
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in section(page)


def test_the_plot_says_who_is_dominated_and_who_is_not_comparable(tmp_path: Path) -> None:
    leaks = {("A", "abuse"): 0.1, ("A", "recface"): 0.2, ("B", "abuse"): 0.9, ("B", "recface"): 0.9} | ALL_IN
    specs = [spec(defenses=(CLEAN, A, B, C)), rebuilt(defenses=(CLEAN, A, B))]
    chart = pareto(recommend(scored(tmp_path / "run", specs, {"B": 0.8}, leaks)))
    assert chart is not None
    looks = {p.label: (p.kinds[0], p.hollow) for p in chart.points}
    assert looks == {"A": ("free", False), "B": ("over", True), "C": ("open", True), "Clean": ("none", False)}
    assert [p.mark for p in chart.points] == ["1", "2", "3", "4"]
    assert [(r.axis, round(r.value, 6)) for r in chart.references] == [("x", 1.0), ("y", 90.0)]
    assert chart.path == [(20.0, 100.0)]
    assert dict(chart.points[2].details)["not tried"] == "recface"


def test_the_verdict_is_exported(tmp_path: Path) -> None:
    leaks = {("A", "abuse"): 0.1, ("A", "recface"): 0.2, ("B", "abuse"): 0.9} | ALL_IN
    rows = scored(tmp_path / "run", [spec(), rebuilt(defenses=(CLEAN, A))], {}, leaks)
    (table,) = build(rows, "verdict")
    assert not table.ranked
    found = {row.label: row for row in table.groups[0].rows}
    assert found["A"].measurements[3].value == 0.2
    assert found["A"].flags == ["worst of 2 attacks: recface (rebuilt)", "leaks in recognition, reconstruction"]
    assert found["B"].flags == [
        "worst of 1 attack: abuse (abuse)",
        "leaks in recognition",
        "not tried: recface",
        "dominated by A",
    ]


def test_a_run_without_cells_has_none(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", spec(defenses=()))
    assert "This run has no cells." in section(render(results))


# ---- chance, the same attackers, no protection -----------------------------------------------------------------------

TWELVE = [replace(ABUSE, label=f"abuse {i}", params={"seed": i}) for i in range(12)]


def test_the_worst_of_twelve_attacks_at_chance_is_no_leak(tmp_path: Path) -> None:
    """One attack that matches 3 of 40 people is above its chance level of 1 %; the worst of twelve is not."""
    one = spec(attacks=TWELVE[:1], defenses=(CLEAN, A))
    leaks = {("A", "abuse 0"): 3 / 40, **{("A", f"abuse {i}"): 1 / 40 for i in range(1, 12)}}
    clean = {("Clean", f"abuse {i}"): 1.0 for i in range(12)}
    alone = entry(recommend(scored(tmp_path / "one", [one], {}, leaks | clean)), "A")
    assert alone.leaks is True
    found = recommend(scored(tmp_path / "twelve", [replace(one, attacks=TWELVE)], {}, leaks | clean))
    a = entry(found, "A")
    assert (a.leaks, a.leakage.value, a.people()) == (False, 3 / 40, 40)
    assert {t.test.family for t in a.tried if t.test is not None} == {12}
    assert a.worst is not None
    assert a.worst.enrolled.n == 20  # Genuine pairs only.
    assert headline(found).startswith("Use A: no attack of this run beat chance; with 40 independent people a leak of ")
    assert (a.detectable("recognition") or 0) > (alone.detectable("recognition") or 1)


def test_attackers_are_the_same_only_with_the_same_parameters(tmp_path: Path) -> None:
    """A defense that faced RecFace on clean pairs has not faced the adaptive one."""
    plain = replace(RECFACE, params={"pairs": "clean"})
    adaptive = replace(RECFACE, label="recface adaptive", params={"pairs": "defense"})
    leaks = {("A", "recface"): 0.5, ("A", "recface adaptive"): 0.6, ("B", "recface"): 0.2} | ALL_IN
    specs = [
        spec(),
        rebuilt(plain),
        rebuilt(adaptive, name="adaptive", defenses=(CLEAN, A)),
    ]
    found = recommend(scored(tmp_path / "run", specs, {}, leaks | {("Clean", "recface adaptive"): 1.0}))
    assert list(entry(found, "B").untried) == ["recface adaptive"]
    assert [d.name for d in entry(found, "A").dominators] == []
    assert found.best == entry(found, "A")
    same = replace(plain, label="the same under another name")
    specs[2] = rebuilt(same, name="again", defenses=(CLEAN, A))
    again = recommend(
        scored(tmp_path / "again", specs, {}, leaks | {("A", same.label): 0.6, ("Clean", same.label): 1.0})
    )
    assert entry(again, "B").untried == []
    other = replace(adaptive, label="recface")
    specs[2] = rebuilt(other, name="other", defenses=(CLEAN, A))
    named = entry(recommend(scored(tmp_path / "other", specs, {}, leaks)), "B").untried
    assert [name.startswith("recface (recface: ") for name in named] == [True]


@pytest.mark.parametrize("defenses", [(CLEAN, A, B), (A, B)])
def test_what_leaks_like_no_protection_is_best_at_nothing(tmp_path: Path, defenses: Sequence[Any]) -> None:
    leaks = {("A", "abuse"): 1.0, ("B", "abuse"): 1.0} | ALL_IN
    rows = scored(tmp_path / "run", [spec(defenses=defenses)], {}, leaks)
    found = recommend(rows)
    assert found.best is None
    assert [e.name for e in found.pointless] == ["A", "B"]
    assert headline(found) == (
        "None is safe, and none is best: both defenses that faced every attack leak like no protection."
    )
    (shown,) = rulings(rows)
    named = "A (100.0 % matched), B (100.0 % matched)"
    assert [f"Best at nothing, because as much leaks as without protection: {named}."] in shown.sentences
    assert {line.look.key for line in shown.lines if line.entry.name == "A"} == {"same"}
    assert any(text.startswith("leaks like no protection") for text in shown.lines[0].remarks)


def test_less_than_the_unprotected_upload_counts_and_a_missed_face_does_not(tmp_path: Path) -> None:
    leaks = {("A", "abuse"): 39 / 40, ("B", "abuse"): 0.7} | ALL_IN
    found = recommend(scored(tmp_path / "run", [spec()], {}, leaks))
    assert (entry(found, "A").protects, entry(found, "B").protects) == (False, True)
    assert found.best == entry(found, "B")
    weak = {("A", "recface"): 0.5, ("Clean", "recface"): 0.5, ("A", "abuse"): 0.5}
    rows = scored(tmp_path / "weak", [rebuilt(defenses=(CLEAN, A)), spec(defenses=(A,))], {}, weak)
    # The attack itself finds half of the unprotected faces.
    assert entry(recommend(rows), "A").protects is False
