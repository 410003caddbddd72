"""The verdict over all channels: a defense that leaks in one of them only leaks, and what counts for which goal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from channels_run import ALL_OF_CLEAN, CLEAN, EVERY, PAIRS, A, B, channels_run
from fake_run import ABUSE, ESTIMATE, LINKAGE, RECFACE

from bench.analysis.rows import Rows
from bench.analysis.tables import build
from bench.analysis.tables.assessed_defense import AssessedDefense
from bench.analysis.tables.leakage_ladder import LINKABLE, counted, ladder
from bench.analysis.tables.recommendation import Recommendation, recommend
from bench.report.page import render
from bench.report.page.verdict_words import headline, power, sentences


def entry(found: Recommendation, name: str) -> AssessedDefense:
    return next(e for e in found.entries if e.name == name)


def text(found: Recommendation) -> str:
    """Return the sentences of a verdict as text, without their measurements."""
    return " ".join(piece for sentence in sentences(found, False) for piece in sentence if isinstance(piece, str))


@pytest.mark.parametrize(
    ("attack", "channel", "said"),
    [
        ("abuse", "recognition", "its faces are matched more often than strangers are."),
        ("recface", "reconstruction", "its faces are matched more often than strangers are."),
        ("linkage", "linkage", "two uploads of one person can be linked."),
        ("attributes", "attributes", "it reveals attributes (gender)."),
    ],
)
def test_a_leak_in_one_channel_only_is_a_leak(tmp_path: Path, attack: str, channel: str, said: str) -> None:
    found = recommend(channels_run(tmp_path / "run", {**ALL_OF_CLEAN, ("A", attack): 0.5}))
    a = entry(found, "A")
    assert a.leaks
    assert a.leaking == [channel]
    assert headline(found) == f"None is safe. The only defense that faced every attack is A, and {said}"


def test_without_a_leak_the_words_state_the_power(tmp_path: Path) -> None:
    a = entry(found := recommend(channels_run(tmp_path / "run", ALL_OF_CLEAN, version="standard-1")), "A")
    assert a.leaks is False
    assert a.leaking == []
    match, link = a.detectable("recognition", "reconstruction"), a.detectable("linkage")
    assert match is not None
    assert link is not None
    assert power(a) == (
        f"no attack of standard-1 beat chance; with {PAIRS} independent people a leak of {100 * match:.1f} points "
        f"would have been seen with 80 % power; with {PAIRS // 2} independent people links of {100 * link:.1f} points "
        "would have been seen with 80 % power"
    )
    assert headline(found) == f"Use A: {power(a)}."


def test_a_suite_without_a_version_is_this_run(tmp_path: Path) -> None:
    a = entry(recommend(channels_run(tmp_path / "run", ALL_OF_CLEAN)), "A")
    assert power(a).startswith("no attack of this run beat chance; with ")


def test_all_comparisons_of_all_channels_are_one_family(tmp_path: Path) -> None:
    a = entry(recommend(channels_run(tmp_path / "run", ALL_OF_CLEAN)), "A")
    # Two matches, a share and an area of links, and four attributes.
    assert {t.family for attack in a.attacks for t in attack.tests} == {8}


def test_links_are_leakage_and_attributes_are_not_a_share(tmp_path: Path) -> None:
    leaks = {**ALL_OF_CLEAN, ("A", "abuse"): 0.1, ("A", "linkage"): 0.8, ("A", "attributes"): 1.0}
    a = entry(found := recommend(channels_run(tmp_path / "run", leaks)), "A")
    assert a.worst is not None
    assert (a.worst.label, a.leakage.value, a.leakage.n) == ("linkage", 0.8, PAIRS // 2)
    assert "the strongest of 3 attacks (linkage) links" in text(found)
    assert "of pairs of uploads of one person." in text(found)


def test_the_worst_case_of_each_channel_is_exported(tmp_path: Path) -> None:
    leaks = {("A", "abuse"): 0.1, ("A", "recface"): 0.3, ("A", "linkage"): 0.2, ("A", "attributes"): 1.0}
    (table,) = build(channels_run(tmp_path / "run", {**ALL_OF_CLEAN, **leaks}), "verdict")
    row = next(r for g in table.groups for r in g.rows if r.label == "A")
    found = dict(zip((c.label for c in table.columns), row.measurements, strict=True))
    assert found["recognition: faces matched"].value == pytest.approx(0.1)
    assert found["reconstruction: faces matched"].value == pytest.approx(0.3)
    assert found["linkage: pairs linked"].value == pytest.approx(0.2)
    gender = found["attributes: recovered"]
    assert gender.value == pytest.approx((0.95 - 0.4) / (1 - 0.4))
    assert gender.note == "gender similarity: 0.95, by chance 0.40; by attributes (all)"
    assert found["faces matched or pairs linked by the worst attack"].value == pytest.approx(0.3)
    assert "leaks in recognition, reconstruction, attributes, linkage" in row.flags


def test_the_defense_on_which_no_attack_beat_chance_comes_first(tmp_path: Path) -> None:
    leaks = {**ALL_OF_CLEAN, ("A", "abuse"): 2 / PAIRS, ("B", "attributes"): 1.0}
    found = recommend(channels_run(tmp_path / "run", leaks, defenses=(CLEAN, A, B)))
    assert [entry(found, name).leaks for name in "AB"] == [False, True]
    assert (entry(found, "A").leakage.value or 0) > (entry(found, "B").leakage.value or 0)
    assert found.best is not None
    assert found.best.name == "A"
    assert "It is chosen because no attack beat chance on it" in text(found)
    assert not entry(found, "A").dominators  # What reveals attributes dominates nothing that does not.


def test_a_defense_that_faced_fewer_channels_cannot_be_chosen(tmp_path: Path) -> None:
    def skipped(cell: dict[str, object]) -> str | None:
        return "not asked" if cell["defense"] == "A" and cell["outputs"] in ("links", "attributes") else None

    rows = channels_run(tmp_path / "run", ALL_OF_CLEAN, defenses=(CLEAN, A, B), skipped=skipped)
    assert list(entry(recommend(rows), "A").untried) == ["linkage", "attributes"]


@pytest.mark.parametrize(
    ("goal", "counts"), [("recognition", True), ("template", True), ("appearance", False), ("anonymity", False)]
)
def test_attributes_count_where_the_goal_hides_them(tmp_path: Path, goal: str, counts: bool) -> None:
    rows = channels_run(tmp_path / "run", {**ALL_OF_CLEAN, ("A", "attributes"): 1.0}, goal=goal)
    a = entry(recommend(rows, goal), "A")  # type: ignore[arg-type]
    assert ("attributes" in a.leaking) is counts
    ladder_rows = [e for e in ladder(rows) if e.defense == "A" and any(r.label == "gender" for r in e.comparisons)]
    assert any(e.described == ["gender"] for e in ladder_rows) is counts


def test_one_missed_bar_is_enough_whatever_is_not_measured(tmp_path: Path) -> None:
    a = entry(recommend(channels_run(tmp_path / "run", ALL_OF_CLEAN)), "A")
    bad, none = replace(a.utility, value=0.625), replace(a.drop, value=None, status="skipped")
    assert a.useful is True
    assert replace(a, drop=none).useful is None
    assert replace(a, utility=bad).useful is False
    assert replace(a, utility=bad, drop=none).useful is False


def test_the_recogniser_of_a_representation_cannot_drop_from_clean_pictures(tmp_path: Path) -> None:
    a = entry(recommend(channels_run(tmp_path / "run", ALL_OF_CLEAN)), "A")
    sent = replace(a, upload="a representation", drop=replace(a.drop, value=None, status="skipped"))
    assert [bar.of for bar in a.utility_bars] == ["kept", "drop"]
    assert [bar.of for bar in sent.utility_bars] == ["kept"]
    assert sent.useful is True
    assert replace(sent, utility=replace(sent.utility, value=0.625)).useful is False


INSIDER = replace(ABUSE, label="insider", plugin="insider")


def test_the_service_recognises_by_design(tmp_path: Path) -> None:
    rows = channels_run(
        tmp_path / "run", {**ALL_OF_CLEAN, ("A", "insider"): 1.0}, attacks=(*EVERY, INSIDER), insiders=("insider",)
    )
    a = entry(recommend(rows), "A")
    assert a.leaks is False
    assert "insider" not in {attack.label for attack in a.attacks}
    assert [attack.label for attack in a.insiders] == ["insider"]
    page = render(rows.results)
    assert "the service itself (insider) matches 100.0 %: by design, and not counted as a leak" in page
    shown = next(e for e in ladder(rows) if e.defense == "A" and "insider" in e.attack)
    assert shown.flags == ["the service itself: recognises by design, not counted"]
    assert shown not in counted(ladder(rows))


@pytest.mark.parametrize(("attack", "channel"), [(RECFACE, "reconstruction"), (ESTIMATE, "attributes")])
def test_what_an_insider_rebuilds_or_describes_counts(tmp_path: Path, attack: object, channel: str) -> None:
    insider = replace(attack, label="insider", plugin="insider")  # type: ignore[type-var]
    leaks = {**ALL_OF_CLEAN, ("A", "insider"): 0.9, ("Clean", "insider"): 1.0}
    rows = channels_run(tmp_path / "run", leaks, attacks=(*EVERY, insider), insiders=("insider",))
    assert entry(recommend(rows), "A").leaking == [channel]


def test_nobody_recognises_by_design_where_the_goal_is_anonymity(tmp_path: Path) -> None:
    leaks = {**ALL_OF_CLEAN, ("A", "insider"): 0.9, ("Clean", "insider"): 1.0}
    rows = channels_run(tmp_path / "run", leaks, attacks=(*EVERY, INSIDER), insiders=("insider",), goal="anonymity")
    assert "recognition" in entry(recommend(rows, "anonymity"), "A").leaking


def test_the_ladder_has_a_rung_of_links(tmp_path: Path) -> None:
    rows = channels_run(tmp_path / "run", {**ALL_OF_CLEAN, ("A", "linkage"): 0.6})
    own = next(e for e in ladder(rows) if e.defense == "A" and e.links)
    assert own.attack == "linkage"
    assert own.linkable
    assert own.flags == [LINKABLE]
    linked, area = own.comparison("pairs linked"), own.comparison("link AUC")
    assert linked.measurement.value == pytest.approx(0.6)
    assert (linked.rung, linked.leaks, area.leaks) == ("linkage", True, True)
    assert linked.baseline.value == 0
    others = [e for e in ladder(rows) if e.defense == "A" and not e.links]
    assert not any(e.linkable for e in others)
    (table,) = build(rows, "ladder")
    assert [c.label for c in table.columns if "link" in c.label] == [
        *("pairs linked", "chance of pairs linked", "link AUC", "chance of link AUC"),
    ]


def test_a_ladder_without_links_has_no_rung_of_them(tmp_path: Path) -> None:
    (table,) = build(channels_run(tmp_path / "run", ALL_OF_CLEAN, attacks=(ABUSE,)), "ladder")
    assert not [c for c in table.columns if "link" in c.label]


def test_the_page_shows_the_channels_of_a_defense(tmp_path: Path) -> None:
    rows: Rows = channels_run(tmp_path / "run", {**ALL_OF_CLEAN, ("A", "linkage"): 0.6})
    page = render(rows.results)
    assert page.count('<ul class="channels">') == 2  # Of the reference and of A.
    assert LINKAGE.label in page


def test_the_summary_says_in_which_channels_a_defense_leaks(tmp_path: Path) -> None:
    leaks = {**ALL_OF_CLEAN, ("A", "linkage"): 0.6, ("A", "attributes"): 1.0}
    rows = channels_run(tmp_path / "run", leaks, defenses=(CLEAN, A, B))
    (table,) = build(rows, "summary")
    assert {r.defense: list(r.flags) for g in table.groups for r in g.rows} == {
        "Clean": [],
        "A": ["leaks in attributes, linkage"],
        "B": ["no attack beat chance"],
    }
