"""The leakage ladder: its flags at their boundaries, which attacks count, and notes about attacks that were not
tried."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_run import (
    ABUSE,
    CHAIN,
    ESTIMATE,
    HOSTILE,
    INVERSIONS,
    LEAKY,
    RECFACE,
    FakeAttack,
    FakeRun,
    rewritten,
    write_fake_run,
)
from support import TESTS

from bench.analysis.chance_tests import ChanceTest
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement, TableMetric, absent
from bench.analysis.tables import build
from bench.analysis.tables.ladder_comparisons import BaselineComparison
from bench.analysis.tables.leakage_ladder import (
    BOTH,
    SAFE,
    TWO_FAMILIES,
    LadderEntry,
    counted,
    deceptive,
    ladder,
    untried,
)
from bench.analysis.tables.leakage_ladder import LEAKY as IDENTITY
from bench.analysis.tables.recommendation import recommend
from bench.report.export import FORMATS, export
from bench.report.page import write_report
from bench.report.page.leakage_ladder import drawn
from bench.store.reading import RunResults

PLAIN: dict[str, Any] = {
    "models": {"net-a": "MobileFace", "net-b": "ArcFace"},
    "datasets": {"synth-lfw": "LFW"},
    "authorised": (("net-a",),),
    "pairs": 8,
}
GOLDEN = TESTS / "golden"
CHANCE = 0.0125  # The share of strangers who are matched in made-up runs.


def outcome(p: float | None) -> ChanceTest | None:
    return None if p is None else ChanceTest(difference=0.1, p=p, family=3, people=8)


def comparison(
    value: float | None, baseline: float | None, *, above: float | None = 1.0, below: float | None = None
) -> BaselineComparison:
    """Return a comparison whose tests have these p-values: that it leaks, and that it is safe."""
    held = absent("missing", "no baselines were measured") if baseline is None else Measurement(value=baseline, n=8)
    found = absent("not tested", "no judge") if value is None else Measurement(value=value, n=8)
    return BaselineComparison(
        rung="pixels",
        label="SSIM",
        metric=TableMetric(label="SSIM", better="lower"),
        measurement=found,
        baseline=held,
        against="the mean face",
        above=outcome(above),
        below=outcome(below),
    )


def entry(
    ssim: BaselineComparison, match: BaselineComparison, *others: BaselineComparison, **about: Any
) -> LadderEntry:
    known: dict[str, Any] = {
        "experiment": "e",
        "defense": "PMT",
        "authorised": "net-a",
        "attack": "recface",
        "rebuilt": True,
        "kind": "authorised",
        "leaky": False,
        "synthetic": True,
    }
    return LadderEntry(comparisons=[ssim, match, *others], **known | about)


def matched(value: float | None, p: float | None, label: str = "matched to this photo") -> BaselineComparison:
    return replace(comparison(value, 0.01, above=p), rung="identity", label=label)


# ---- flags -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "safe"), [(0.05, True), (0.0501, False), (None, False)])
def test_pixel_safe_needs_a_corrected_test(p: float | None, safe: bool) -> None:
    assert comparison(0.3, 0.4, below=p).safe is safe


@pytest.mark.parametrize(("p", "leaks"), [(0.05, True), (0.0501, False), (None, None)])
def test_what_leaks_needs_a_corrected_test(p: float | None, leaks: bool | None) -> None:
    assert comparison(0.5, 0.4, above=p).leaks is leaks


def test_what_is_not_there_is_no_leak() -> None:
    assert comparison(None, 0.4, above=0.01).leaks is None
    assert comparison(0.5, None, above=0.01).leaks is None
    assert replace(comparison(None, 1), measurement=absent("infinite", "equal")).leaks is True


PHOTO, OTHER = "matched to this photo", "matched to another photo"


@pytest.mark.parametrize(
    ("safe", "photo", "other", "flags"),
    [
        (0.01, 0.01, 1.0, [BOTH]),
        (0.01, 1.0, 0.01, [BOTH]),  # Another photo of the person is found, which is what an adversary has.
        (0.01, 1.0, 1.0, [SAFE]),
        (1.0, 0.01, 1.0, [IDENTITY]),
        (1.0, 1.0, 1.0, []),
        (0.01, None, None, [SAFE]),
    ],
)
def test_flags(safe: float, photo: float | None, other: float | None, flags: Sequence[str]) -> None:
    found = entry(comparison(0.3, 0.4, below=safe), matched(0.5, photo), matched(0.5, other, OTHER))
    assert found.flags == flags


def test_attributes_that_leak_are_named() -> None:
    told = replace(comparison(0.9, 0.7, above=0.01), rung="attributes", label="gender")
    assert entry(comparison(0.5, 0.4), matched(0.0, 1.0), told).flags == ["attribute-leaky: gender"]


def test_only_honest_attacks_on_protections_count() -> None:
    low, found, more = comparison(0.3, 0.4, below=0.01), matched(0.5, 0.01), matched(0.9, 0.01)
    entries = [
        entry(low, found, attack="first"),
        entry(low, more, attack="worst"),
        entry(low, more, attack="leaky", leaky=True),
        entry(low, more, kind="clean", defense="Clean"),
    ]
    assert [e.attack for e in deceptive(entries)] == ["worst", "first"]
    assert len(counted(entries)) == 2


# ---- of a run --------------------------------------------------------------------------------------------------------


def attacked(tmp_path: Path, *attacks: FakeAttack, **changes: Any) -> RunResults:
    specs = [
        FakeRun(name="abuse", attacks=(ABUSE,), **PLAIN),
        FakeRun(name="rebuilt", table="VI", attacks=attacks or (*INVERSIONS[:2], RECFACE, LEAKY), **PLAIN | changes),
        FakeRun(name="described", table="VIII", attacks=(ESTIMATE,), **PLAIN),
        FakeRun(name="chained", table=None, attacks=(CHAIN,), **PLAIN),
    ]
    return write_fake_run(tmp_path / "run", specs)


@pytest.mark.slow
def test_attacks_are_sorted_by_what_they_match_and_leaky_ones_come_last(tmp_path: Path) -> None:
    results = attacked(tmp_path)

    def change(scores: pd.DataFrame) -> None:
        judged = scores["evaluated"] == "net-b"
        scores.loc[judged, "cos_self"] = np.where(scores["pair"][judged] < 2, 0.9, 0.1)
        for attack, least in (("recface", 5), ("inversion grey", 7), ("recface, leaky", 8)):
            chosen = judged & (scores["attack"] == attack)
            scores.loc[chosen, "cos_self"] = np.where(scores["pair"][chosen] < least, 0.9, 0.1)

    entries = [e for e in ladder(Rows(rewritten(results, verification=change))) if e.defense == "PMT"]
    assert [e.attack for e in entries] == [
        "inversion grey",
        "recface",
        "as uploaded (abuse)",
        "inversion random",
        "recface, leaky",
    ]
    assert [e.match.measurement.value for e in entries] == [7 / 8, 5 / 8, 2 / 8, 2 / 8, 1.0]
    assert {e.match.measurement.n for e in entries} == {8}  # The authorised model does not count.
    assert [e.match.baseline.value for e in entries] == pytest.approx([CHANCE] * 5)
    assert {e.match.against for e in entries} == {"strangers matched at the same threshold"}
    assert {e.comparison("first of all originals").baseline.value for e in entries} == {1 / 8}
    assert entries[0].ssim.baseline.value == pytest.approx(0.38, abs=0.02)  # This is the highest of the baselines.
    assert entries[0].ssim.against == "a flat grey image"


@pytest.mark.slow
def test_attributes_stand_with_the_pictures_that_they_are_of(tmp_path: Path) -> None:
    rows = Rows(attacked(tmp_path))
    found = {(e.defense, e.attack): e for e in ladder(rows)}
    cells = {c.cell: c for c in rows.cells}

    def asked(defense: str, attack: str) -> tuple[set[str], str]:
        own = found[defense, attack].comparison("gender").measurement
        return {cells[c].experiment for c in own.cells}, own.status

    assert asked("PMT", "as uploaded (abuse)") == ({"described"}, "ok")
    assert asked("PMT", "recface") == ({"chained"}, "ok")
    assert asked("PMT", "inversion grey") == (set(), "not tested")
    assert "no attribute attack" in str(found["PMT", "inversion grey"].comparison("gender").measurement.reason)


def test_attributes_alone_are_an_entry_of_their_own(tmp_path: Path) -> None:
    spec = FakeRun(name="described", table="VIII", attacks=(ESTIMATE,), **PLAIN)
    rows = Rows(write_fake_run(tmp_path / "run", spec))
    entries = ladder(rows)
    assert {(e.attack, e.match.measurement.status) for e in entries} == {("as uploaded", "not tested")}
    assert untried(entries)["no held-out recogniser"] == ["PMT", "Noise 0.3"]
    assert deceptive(entries) == []
    shown = drawn(rows)
    assert shown is not None
    assert (shown.judged, shown.total) == (0, 2)


def test_untried_attacks_are_named(results: RunResults) -> None:
    entries = ladder(Rows(results))
    assert untried(entries) == {
        "no reconstruction attack": ["PMT", "Noise 0.3"],
        "no attribute attack": ["PMT", "Noise 0.3"],
    }
    (table,) = build(Rows(results), "ladder")
    assert "2 defenses with no reconstruction attack: PMT, Noise 0.3." in table.notes


def html(results: RunResults) -> str:
    """Return the report of a run."""
    return write_report(results, results.folder / "index.html").read_text(encoding="utf-8")


def test_the_page_names_defenses_called_none_and_counts_a_single_attack(tmp_path: Path) -> None:
    defenses = [("Clean", "identity", False), ("none", "pmt", True)]
    results = write_fake_run(tmp_path / "run", FakeRun(attacks=(RECFACE,), defenses=defenses, **PLAIN))
    text = " ".join(html(results).split())
    assert "Not tried, which does not mean safe: no attribute attack on “none”." in text
    single = write_fake_run(tmp_path / "one", FakeRun(defenses=defenses, **PLAIN))
    shown = drawn(Rows(single))
    assert shown is not None
    assert shown.judged == 1
    if not shown.deceptive:
        assert f"The only attacked setting is not {BOTH}." in " ".join(html(single).split())
    assert "None of 1 attacked" not in html(single)


@pytest.mark.slow
def test_no_floors_no_lpips(tmp_path: Path) -> None:
    results = attacked(tmp_path)
    for file in (results.folder / "samples" / "baselines").rglob("*.parquet"):
        file.unlink()
    entries = ladder(Rows(RunResults(results.folder)))
    assert not any(e.ssim.safe or e.both for e in entries)
    assert {e.ssim.baseline.status for e in entries} == {"missing"}
    assert {e.comparison("LPIPS").measurement.status for e in entries} == {"missing"}
    shown = drawn(Rows(RunResults(results.folder)))
    assert shown is not None
    assert [c.label for c in shown.columns][:2] == ["SSIM", "PSNR"]
    assert shown.absent[0].startswith("LPIPS: LPIPS needs the VGG-16 weights")


@pytest.mark.slow
def test_lpips_leaks_where_it_is_low(tmp_path: Path) -> None:
    results = attacked(tmp_path, lpips=True)

    def change(images: pd.DataFrame) -> None:
        images.loc[images["attack"] == "recface", "lpips"] = np.linspace(
            0.1, 0.2, int((images["attack"] == "recface").sum())
        )

    found = {e.attack: e for e in ladder(Rows(rewritten(results, images=change))) if e.defense == "PMT"}
    lpips = found["recface"].comparison("LPIPS")
    assert lpips.leaks is True
    assert lpips.baseline.value == min(
        f.value for f in (e.comparison("LPIPS").baseline for e in found.values()) if f.value is not None
    )


@pytest.mark.slow
def test_a_run_in_which_every_attack_failed(tmp_path: Path) -> None:
    results = attacked(tmp_path, failed=lambda c: "no memory")
    entries = [e for e in ladder(Rows(results)) if e.experiment == "rebuilt"]
    assert {e.match.measurement.status for e in entries} == {"failed"}
    assert {e.match.measurement.reason for e in entries} == {"no memory"}
    assert not {SAFE, IDENTITY, BOTH} & {flag for e in entries for flag in e.flags}
    shown = drawn(Rows(results))
    assert shown is not None
    assert shown.judged < shown.total


# ---- exports ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("fmt", FORMATS)
def test_every_format(tmp_path: Path, fmt: str) -> None:
    assert BOTH in export(attacked(tmp_path), "ladder", fmt)


@pytest.mark.slow
def test_the_export_has_floors_and_flags(tmp_path: Path) -> None:
    results = attacked(tmp_path)
    found = list(csv.DictReader(io.StringIO(export(results, "ladder", "csv"))))
    own = {r["column"]: r for r in found if r["row"] == "PMT: recface (rebuilt)"}
    assert list(own)[:4] == ["SSIM", "baseline of SSIM", "PSNR", "baseline of PSNR"]
    assert own["baseline of SSIM"]["note"] == "a flat grey image"
    chance = own["chance of matched to this photo"]
    assert (float(chance["value"]), chance["n"]) == (pytest.approx(100 * CHANCE), "8")
    assert own["chance of matched to another photo"]["n"] == "4"  # Genuine pairs only.
    assert (own["chance of first of all originals"]["value"], own["matched to another photo"]["n"]) == ("12.5", "4")
    assert "PMT: recface, leaky (leakage) (rebuilt)" in {r["row"] for r in found}
    assert json.loads(export(results, "ladder", "json"))[0]["measurements"][0]["flags"]
    assert "\\textbf" not in export(results, "ladder", "latex")  # An attack is no protection, so none is the best one.


@pytest.mark.slow
@pytest.mark.parametrize("schema", [2, 3])
def test_old_results(schema: int) -> None:
    results = RunResults(GOLDEN / f"schema-{schema}")
    entries = ladder(Rows(results))
    assert {e.defense for e in entries} >= {"identity", "toy-step", "toy-mean"}
    assert any(e.match.measurement.value is not None for e in entries)
    assert "table" in export(results, "ladder", "csv")


@pytest.mark.slow
def test_hostile_names_are_text(tmp_path: Path) -> None:
    spec = FakeRun(
        name="rebuilt",
        table="VI",
        defenses=[(HOSTILE, "pmt", True)],
        attacks=(FakeAttack(label=f"<img src=x onerror=alert(1)> {HOSTILE}", plugin="recface", outputs="images"),),
        **PLAIN,
    )
    from bench.report.page import render

    page = render(write_fake_run(tmp_path / "run", spec))
    section = page[page.index('<section id="ladder"') : page.index("</section>", page.index('<section id="ladder"'))]
    assert "onerror=alert(1)&gt;" in section
    assert "<img" not in section
    assert "<script" not in section


@pytest.mark.slow
def test_the_verdict_says_the_same_of_an_attack(paper_rows: Rows) -> None:
    entries = [e for e in ladder(paper_rows) if not e.leaky]
    compared = 0
    for defense in recommend(paper_rows).entries:
        for tried in (a for a in defense.on_faces if a.channel != "linkage"):
            cells = set(tried.measurement.cells)
            same = [e for e in entries if set(e.match.measurement.cells) == cells]
            for entry in same:
                found = entry.match.measurement
                assert (found.value, found.n) == (tried.measurement.value, tried.measurement.n)
            rungs = [e for e in entries if set(e.match.measurement.cells) & cells]
            # Each set has the same held-out recognisers.
            assert {c for e in rungs for c in e.match.measurement.cells} == cells
            compared += len(same)
    assert compared


def test_the_reader_learns_why_the_verdict_may_say_something_else(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", FakeRun(attacks=(ABUSE, RECFACE), **PLAIN))
    (table,) = build(Rows(results), "ladder")
    assert TWO_FAMILIES in table.notes
    found = drawn(Rows(results))
    assert found is not None
    assert found.families == TWO_FAMILIES
    write_report(results, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.index(TWO_FAMILIES) < page.index('<table class="measurements ladder">')


def test_each_flag_carries_its_look(tmp_path: Path) -> None:
    found = drawn(Rows(write_fake_run(tmp_path / "run", FakeRun(attacks=(ABUSE, RECFACE), **PLAIN | {"pairs": 60}))))
    assert found is not None
    rows = [line.row for lines in found.groups.values() for line in lines]
    assert {SAFE, BOTH} & {flag for row in rows for flag in row.flags}
    assert all(row.looks == {BOTH: "both", SAFE: "safe"} for row in rows)
