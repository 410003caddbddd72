"""Sites: which runs share a leaderboard, how defenses are ranked, and what the pages say, link to and never run."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from channels_run import BREAK, A, B
from fake_run import ABUSE, HOSTILE, FakeRun, rewritten, write_fake_run
from forger import change_value, forged
from site_runs import A_LEAKS, VERSION, first_run, hostile_defense, second_run, site_run, source
from stranger import GOLDEN

from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement, TableMetric, absent
from bench.analysis.tables.recommendation import recommend
from bench.core.errors import StorageError
from bench.core.provenance import file_sha256
from bench.registry.discovery import Registry
from bench.report.charts import Chart, Curve, Panel, Style
from bench.report.site import write_site
from bench.report.site.documentation import documentation
from bench.report.site.folder import MARK, replacing_site, require_site_folder
from bench.report.site.paths import PagePaths
from bench.report.site.pictures import panels
from bench.report.site.sources import Source, opened
from bench.report.site.standings import Board, GoalBoard, _reasons, boards
from bench.store.bundles import write_bundle
from bench.store.reading import RunResults
from bench.store.run_record import ComponentRecord, OriginRecord
from bench.store.verifications import Verification, write_verification


class Page(html.parser.HTMLParser):
    """What a page links to, and what could run in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.runs: list[str] = []
        self.words: list[str] = []
        self._silent = False
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        self._silent = tag in ("script", "style")
        self.ids += [str(about["id"])] if "id" in about else []
        self.targets += [str(value) for name, value in attrs if name in ("href", "src") and tag != "link"]
        self.runs += [tag] if tag in ("iframe", "object", "embed", "form", "base") else []
        self.runs += [tag] if tag == "script" and about.get("src") is not None else []
        self.runs += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    @property
    def shown(self) -> str:
        """The words of the page."""
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    """Two runs of one version: of A with the controls, and of B."""
    folder = tmp_path_factory.mktemp("runs")
    return [source(first_run(folder / "one")), source(second_run(folder / "two"))]


@pytest.fixture(scope="module")
def site(runs: list[Source], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of both runs."""
    folder = tmp_path_factory.mktemp("site")
    write_site(runs, folder, ["one", "two"], "site")
    return folder


def only(found: list[Board]) -> GoalBoard:
    """Return the one table of the one board."""
    ((board,),) = ([*one.goals] for one in found)
    return board


# ---- boards ----------------------------------------------------------------------------------------------------------


def test_runs_of_one_version_are_ranked_together(runs: list[Source]) -> None:
    (board,) = boards(runs)
    assert board.title == VERSION
    goal = only([board])
    assert [(one.rank, one.name, one.source.name) for one in goal.ranked] == [(1, "A", "one"), (2, "B", "two")]
    assert [one.control for one in goal.controls] == ["leaks", "safe", "learnable"]
    assert [one.name for one in goal.controls] == ["Clean", "Oblivion", "Break"]
    assert not goal.unranked


def test_the_numbers_are_those_of_the_report(runs: list[Source]) -> None:
    goal = only(boards(runs))
    for one in goal.ranked:
        (own,) = recommend(one.source.rows).protections
        assert one.entry.leakage.value == own.leakage.value
        assert one.entry.utility.value == own.utility.value
        assert one.entry.leaks == own.leaks
        assert [a.measurement.value for a in one.entry.attacks] == [a.measurement.value for a in own.attacks]
    alone = only(boards(runs[:1]))
    assert alone.found.best is not None
    assert alone.ranked[0].entry.leakage == recommend(runs[0].rows).protections[0].leakage


def test_the_interval_of_a_worst_case_is_that_of_the_maximum_for_controls_and_older_measurements_too(
    tmp_path: Path,
) -> None:
    leaks = {(name, attack): 0.5 for name in ("A", "Break") for attack in ("abuse", "linkage")}
    old = source(site_run(tmp_path / "old", leaks, (BREAK, A)))
    new = source(site_run(tmp_path / "new", leaks, (A,), finished="2026-06-01T00:00:00+00:00"))
    goal = only(boards([old, new]))
    control = next(one for one in goal.controls if one.control == "learnable")
    (ranked,), (older,) = goal.ranked, goal.unranked
    for one in (control, older, ranked):
        assert one.entry.leakage.interval == "drawn", one.name
        what = "the worst of 3 attacks that match or link faces; the interval allows for the choice"
        assert one.entry.leakage.note == what
        single = one.entry.attacks[0].measurement
        assert one.entry.leakage.value == single.value
        assert one.entry.leakage.low is not None
        assert single.low is not None
        assert one.entry.leakage.low < single.low


def test_other_versions_and_suites_without_one_stand_apart(tmp_path: Path, runs: list[Source]) -> None:
    other = source(second_run(tmp_path / "other", version="small-2"))
    loose = [source(second_run(tmp_path / name, version=None)) for name in ("three", "four")]
    found = boards([*runs, other, *loose])
    assert [board.title for board in found][:2] == [VERSION, "small-2"]
    assert [len(board.sources) for board in found] == [2, 1, 1, 1]
    assert len({board.title for board in found}) == 4


def test_the_same_version_with_other_questions_is_another_board(tmp_path: Path, runs: list[Source]) -> None:
    changed = second_run(tmp_path / "changed")
    record = json.loads((changed.folder / "run.json").read_text())
    record["suite"]["raw"]["suite"]["seed"] = 8
    (changed.folder / "run.json").write_text(json.dumps(record))
    found = boards([*runs, source(RunResults(changed.folder))])
    assert [board.title for board in found] == [f"{VERSION} (one)", f"{VERSION} (changed)"]


def test_experiments_of_a_stranger_may_have_any_form(tmp_path: Path, runs: list[Source]) -> None:
    odd = second_run(tmp_path / "odd")
    record = json.loads((odd.folder / "run.json").read_text())
    for form in ("text", [1, None, "text"], {"name": "x"}):
        record["suite"]["raw"]["experiment"] = form
        (odd.folder / "run.json").write_text(json.dumps(record))
        assert len(boards([runs[0], source(RunResults(odd.folder))])) == 2


def test_of_a_defense_that_two_runs_measured_the_newest_counts(tmp_path: Path, runs: list[Source]) -> None:
    newer = source(site_run(tmp_path / "newer", {("A", "abuse"): 0.1}, (A,), finished="2026-06-01T00:00:00+00:00"))
    goal = only(boards([runs[0], newer]))
    assert [one.source.name for one in goal.ranked] == ["newer"]
    (older,) = goal.unranked
    assert older.name == "A (one)"
    assert older.reasons == [
        "the same defense with the same parameters was measured in newer, which counts: it is newer"
    ]


def test_a_bundle_that_nobody_verified_replaces_nothing_and_asks_for_nothing(
    tmp_path: Path, runs: list[Source]
) -> None:
    extra = replace(ABUSE, label="extra", plugin="extra")
    forged = site_run(tmp_path / "forged", {}, (A,), finished="2030-01-01T00:00:00+00:00", attacks=(ABUSE, extra))
    goal = only(boards([*runs, source(forged, "bundle")]))
    assert [(one.name, one.source.name) for one in goal.ranked] == [("A", "one"), ("B", "two")]
    (lost,) = goal.unranked
    assert lost.mark == "not verified"
    assert lost.reasons[0].endswith("it was verified or made here")


def test_what_did_not_face_every_attack_is_not_ranked(tmp_path: Path, runs: list[Source]) -> None:
    lazy = source(site_run(tmp_path / "lazy", {}, (B,), attacks=(ABUSE,)))
    goal = only(boards([runs[0], lazy]))
    (one,) = goal.unranked
    assert one.name == "B"
    assert "untried: recface, linkage, attributes" in one.reasons[0]


def test_what_does_not_keep_its_goal_is_not_ranked(tmp_path: Path) -> None:
    results = second_run(tmp_path / "blind")

    def forget(table: Any) -> None:
        own = (table["defense"] == "B") & (table["evaluated"] == "net-a")
        table.loc[own & (table["pair"] > 20), "cos_self"] = 0.0

    found = only(boards([source(rewritten(results, verification=forget))]))
    assert not found.ranked
    (one,) = found.unranked
    assert one.reasons[0].startswith("does not keep its goal, which asks for authorised accuracy at least 90 %")
    assert re.search(r"it has [0-9.]+ % and [0-9.]+ points$", one.reasons[0])


def test_what_may_not_keep_its_goal_is_not_ranked(tmp_path: Path) -> None:
    """Its accuracy meets the bar, and nobody knows by how much it fell."""
    made = only(boards([source(site_run(tmp_path / "run", {}, (A,)))]))
    (one,) = made.ranked
    unknown = replace(one.entry, drop=absent("missing", "no clean pictures"))
    assert unknown.useful is None
    (reason,) = _reasons(unknown, made.found)
    assert reason.startswith("may not keep its goal")
    assert reason.endswith("% and no known drop")


def test_equal_numbers_share_a_rank(tmp_path: Path) -> None:
    same = {("A", "abuse"): 0.5, ("B", "abuse"): 0.5}
    goal = only(boards([source(site_run(tmp_path / "same", same, (A, B)))]))
    assert [one.rank for one in goal.ranked] == [1, 1]


def test_a_defense_without_a_leak_comes_first(tmp_path: Path) -> None:
    goal = only(boards([source(site_run(tmp_path / "run", A_LEAKS, (A, B)))]))
    assert [(one.name, one.entry.leaks) for one in goal.ranked] == [("B", False), ("A", True)]
    assert goal.found.best is not None
    assert goal.found.best.name == goal.ranked[0].name


def test_two_defenses_of_one_label_get_the_names_of_their_runs(tmp_path: Path) -> None:
    one, two = (
        source(site_run(tmp_path / name, {}, (A,), params={"A": {"steps": steps}}))
        for name, steps in (("one", 1), ("two", 2))
    )
    names = sorted(standing.name for standing in only(boards([one, two])).ranked)
    assert names == ["A (one)", "A (two)"]


# ---- pages -----------------------------------------------------------------------------------------------------------


def test_every_link_leads_to_a_page_and_nothing_runs(site: Path) -> None:
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    assert len(pages) == len(list(site.rglob("*"))) - 5
    for path, page in pages.items():
        assert not page.runs
        for target in page.targets:
            name, _, anchor = target.partition("#")
            if name.startswith("data:image/"):
                continue
            to = (path.parent / name).resolve() if name else path
            assert to in pages, (path, target)
            assert not anchor or anchor in pages[to].ids, (path, target)
        policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page.text)
        assert len(policy) == 1
        assert policy[0].startswith("default-src &#39;none&#39;")
        assert MARK in page.text


def test_each_page_says_what_it_is_made_from(site: Path) -> None:
    for path in site.rglob("*.html"):
        shown = Page(path).shown
        assert "bench site one two -o site" in shown
        assert f"(bench 0.1.0, {VERSION}, 2026-01-02)" in shown


def test_the_leaderboard_says_what_it_must(site: Path) -> None:
    shown = Page(site / "index.html").shown
    assert f"{VERSION} · goal recognition" in shown
    assert "it protects nothing, so every attack must succeed" in shown
    assert "60 people; chance" in shown
    assert "+ " not in shown


def test_the_page_of_a_defense_says_what_it_must(site: Path) -> None:
    shown = Page(site / "defenses" / "a.html").shown
    assert "Rank 1. Its faces are matched more often than strangers are" in shown
    assert "held-out recognisers match 50.0 %" in shown
    assert "steps = 1" in shown
    assert "Code, sha256 " + "d" * 64 in shown
    assert "bench run suites/fake.toml" in shown or "bench run fake" in shown


def test_the_pages_of_an_attack_a_data_set_a_recogniser_and_a_run(site: Path) -> None:
    attack = Page(site / "attacks" / "abuse.html").shown
    assert "succeeds on unprotected faces, at chance where nothing can leak" in attack
    assert re.search(r"A all.* 50\.0 %.* yes B all.* 20\.0 %", attack)
    data = Page(site / "data" / "synth-lfw.html").shown
    assert "a" * 64 in data
    assert "Accuracy on clean pairs" in data
    judge = Page(site / "judges" / "net-b.html").shown
    assert "held-out recogniser" in judge
    assert "FMR" in judge
    run = Page(site / "runs" / "one.html").shown
    assert "a run folder of whoever made this site" in run
    assert "e" * 64 in run


def test_markup_in_runs_stays_text(tmp_path: Path) -> None:
    hostile = source(site_run(tmp_path / "run", {}, (hostile_defense(),), params={}))
    usual = source(write_fake_run(tmp_path / "usual", FakeRun()))
    written = write_site([hostile, usual], tmp_path / "site", [f"x {HOSTILE}"], "site")
    for path in written:
        page = Page(path)
        assert not page.runs
        assert HOSTILE not in page.text
        assert re.fullmatch(r"[a-z0-9/-]+\.html", path.relative_to(tmp_path / "site").as_posix())
        policy = re.findall(r"sha256-[^&]+", re.findall(r'Policy" content="([^"]*)"', page.text)[0])
        assert len(re.findall("<script>", page.text)) == len(policy)
    index = Page(tmp_path / "site" / "index.html")
    assert f"Mine {HOSTILE}" in index.shown


def test_a_run_without_defenses_has_a_site(tmp_path: Path) -> None:
    nothing = source(site_run(tmp_path / "run", {}, ()))
    written = write_site([nothing], tmp_path / "site", ["run"], "site")
    shown = Page(written[0]).shown
    assert "Leaderboard" in shown
    assert "No verdict: this run protects nothing." in shown or "there is no defense to rank" in shown


def test_pictures_only_of_generated_faces_and_of_no_unverified_bundle(tmp_path: Path, runs: list[Source]) -> None:
    def pictures(one: Source) -> int:
        folder = tmp_path / f"site-{one.kind}-{one.verified}-{one.name}"
        write_site([one], folder, ["x"], "site")
        return sum(path.read_text().count("<img ") for path in folder.rglob("*.html"))

    assert pictures(runs[0]) > 0
    assert pictures(replace(runs[0], kind="bundle")) == 0
    assert pictures(source(first_run(tmp_path / "real", synthetic=False))) == 0


def test_the_documentation_of_a_plugin_is_that_of_the_very_code(registry: Registry) -> None:
    origin = OriginRecord(digest=registry.components["attack", "decoder"].origin.digest)
    recorded = ComponentRecord(kind="attack", name="decoder", label="mine", origin=origin)
    assert any("Fantômas" in part for part in documentation(registry.components, recorded))
    assert documentation(registry.components, replace(recorded, origin=OriginRecord(digest="0" * 64))) == []
    assert documentation(registry.components, replace(recorded, name="unknown")) == []
    assert documentation(registry.components, None) == []


# ---- files -----------------------------------------------------------------------------------------------------------


def test_a_page_of_something_else_is_not_replaced(tmp_path: Path, runs: list[Source]) -> None:
    (tmp_path / "index.html").write_text("<title>mine</title>")
    with pytest.raises(StorageError, match="expected no page, or one that bench site has made"):
        write_site(runs[1:], tmp_path, ["two"], "site")
    assert (tmp_path / "index.html").read_text() == "<title>mine</title>"


def test_pages_of_an_earlier_site_are_removed_and_other_files_stay(tmp_path: Path, runs: list[Source]) -> None:
    write_site(runs, tmp_path, ["one", "two"], "site")
    assert (tmp_path / "defenses" / "a.html").exists()
    (tmp_path / "defenses" / "notes.html").write_text("mine")
    write_site(runs[1:], tmp_path, ["two"], "site")
    assert not (tmp_path / "defenses" / "a.html").exists()
    assert (tmp_path / "defenses" / "notes.html").read_text() == "mine"


def test_titles_with_the_same_file_name_are_told_apart() -> None:
    paths = PagePaths()
    assert paths.of("attack", 1, "A b") == "attacks/a-b.html"
    assert paths.of("attack", 2, "A  B!") == "attacks/a-b-2.html"
    assert paths.of("attack", 1, "A b") == "attacks/a-b.html"
    assert paths.of("defense", 1, "../../etc/passwd") == "defenses/etc-passwd.html"
    assert paths.of("run", 1, "日本") == "runs/run.html"
    assert len(paths.of("run", 2, "n" * 500)) < 80


# ---- sources ---------------------------------------------------------------------------------------------------------


def test_runs_bundles_and_their_verification_are_opened(tmp_path: Path) -> None:
    results = tmp_path / "results"
    first, second = first_run(results / "fake" / "20260101-one"), second_run(tmp_path / "elsewhere")
    write_bundle(second.folder, tmp_path / "mine.zip")
    earlier = second_run(tmp_path / "earlier", finished="2025-01-02T03:16:45+00:00")
    write_bundle(earlier.folder, tmp_path / "theirs.zip")
    about = {"bench": "0.1.0", "date": "2026-01-03", "seed": 1, "recomputable": 8}
    sha256 = file_sha256(tmp_path / "mine.zip")
    write_verification(tmp_path / "mine.zip", Verification(sha256=sha256, ok=True, **about))
    write_verification(tmp_path / "theirs.zip", Verification(sha256="0" * 64, ok=True, **about))
    with opened(["fake", str(tmp_path / "mine.zip"), str(tmp_path / "theirs.zip")], results) as found:
        assert [(one.name, one.kind, one.verified) for one in found] == [
            ("fake/20260101-one", "run", False),
            ("mine.zip", "bundle", True),
            ("theirs.zip", "bundle", False),
        ]
        assert len(found[1].rows.cells) == len(Rows(second).cells)
        assert found[1].sha256 == sha256
        assert found[0].run.digest == first.run.digest
        goal = only(boards(found))
        assert [(one.name, one.mark) for one in goal.ranked] == [("A", "own run"), ("B", "verified")]


def test_what_is_no_run_is_one_error(tmp_path: Path) -> None:
    for name in ("nothing", "none.zip"):
        with (
            pytest.raises(StorageError, match="expected a run folder or the name of a suite"),
            opened([name], tmp_path),
        ):
            raise AssertionError
    (tmp_path / "notes.txt").write_text("mine")
    with (
        pytest.raises(StorageError, match=r"or a bundle \(\.zip\), found another file"),
        opened([str(tmp_path / "notes.txt")], tmp_path),
    ):
        raise AssertionError
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(StorageError, match="expected a bundle"), opened([str(tmp_path / "bad.zip")], tmp_path):
        raise AssertionError
    run = str(first_run(tmp_path / "run").folder)
    with pytest.raises(StorageError, match="name each run once"), opened([run, run], tmp_path):
        raise AssertionError


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the golden run, which no test may change."""
    file = tmp_path_factory.mktemp("golden") / "golden.zip"
    write_bundle(GOLDEN, file)
    return file


def test_one_run_is_no_two_runs_whether_it_is_a_folder_a_bundle_or_a_copy(golden: Path, tmp_path: Path) -> None:
    copy = shutil.copy(golden, tmp_path / "copy.zip")
    for one, other in ((golden, golden), (golden, copy), (GOLDEN, golden), (golden, GOLDEN)):
        expected = rf"^{other}: expected different runs, found the same run twice, also as {one}; name each run once$"
        with pytest.raises(StorageError, match=expected), opened([str(one), str(other)], tmp_path):
            raise AssertionError


def _without_cells(folder: Path) -> None:
    path = folder / "cells.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)


RECOGNITION = "samples/verification/experiment=recognition/part-00000.parquet"
UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no cells": (
        _without_cells,
        "cells.parquet: expected cells, found none; get the bundle again",
    ),
    "pairs": (
        lambda folder: change_value(folder / "cells.parquet", "pairs", 0, -5),
        "cells.parquet: pairs: expected numbers from 1 on, found -5; get the bundle again from who published it",
    ),
    "no rows": (
        lambda folder: change_value(folder / RECOGNITION, "cos_self", 0, float("nan")),
        "samples/verification: cos_self: expected a value in every row, found none in one; get the bundle again",
    ),
    "another type": (
        lambda folder: pq.write_table(pa.table({"cell": [1]}), folder / "cells.parquet"),
        "cells.parquet: cell: expected texts, found int64; get the bundle again",
    ),
    "a damaged file": (
        lambda folder: (folder / "stages.parquet").write_bytes(b"PAR1"),
        "stages.parquet: cannot be read",
    ),
    "a reason": (
        lambda folder: change_value(folder / "cells.parquet", "reason", 0, "\x1b[2J"),
        "cells.parquet: reason: expected texts without characters that control a terminal",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_site_takes_no_bundle_that_verify_refuses(golden: Path, tmp_path: Path, name: str) -> None:
    change, expected = UNFIT[name]
    file = forged(golden, tmp_path / "b.zip", change)
    with (
        pytest.raises(StorageError, match=f"^{re.escape(str(file))}.*{re.escape(expected)}"),
        opened([str(file)], tmp_path),
    ):
        raise AssertionError


def test_the_reference_run_of_the_version_stands_on_the_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = first_run(tmp_path / "references" / VERSION)
    mine = second_run(tmp_path / "mine")
    monkeypatch.setenv("BENCH_REFERENCE", str(tmp_path / "references"))
    with opened([str(mine.folder)], tmp_path) as found:
        assert [(one.name, one.kind) for one in found] == [
            ("/".join(mine.folder.parts[-2:]), "run"),
            (f"reference run of {VERSION}", "reference"),
        ]
        assert [(one.name, one.mark) for one in only(boards(found)).ranked] == [("A", "reference"), ("B", "own run")]
    with opened([VERSION], tmp_path) as found:
        assert [one.results.folder for one in found] == [reference.folder]


def test_a_site_names_no_path_of_the_machine(tmp_path: Path) -> None:
    results = first_run(tmp_path / "run")
    record = json.loads((results.folder / "run.json").read_text())
    record["command"] += ["--out", str(tmp_path / "secret")]
    (results.folder / "run.json").write_text(json.dumps(record))
    with opened([str(results.folder)], tmp_path) as found:
        written = write_site(found, tmp_path / "site", ["run"], "site")
    assert written
    assert not [path for path in written if str(tmp_path) in path.read_text()]


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_curves_are_drawn_where_their_numbers_say() -> None:
    metric = TableMetric(label="matched", unit="%", digits=1, better="lower")
    values = [Measurement(value=v, low=v - 0.1, high=v + 0.1, n=10) for v in (0.2, 0.4, 0.8)]
    curve = Curve(label="best", xs=[100, 400, 1600], measurements=values, style=Style(index=0))
    chart = Chart(
        number="", title="t", caption="c", experiment="e", x="faces", metric=metric, source="s", log=True,
        panels=[Panel(title="p", curves=[curve])], from_zero=True,
    )  # fmt: skip
    (panel,) = panels(chart)
    (drawn,) = panel.curves
    xs, ys = [m.x for m in drawn.marks], [m.y for m in drawn.marks]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[0] - ys[2] == pytest.approx(3 * (ys[0] - ys[1]), abs=0.3)
    assert [t.text for t in panel.y_ticks] == ["0", "20", "40", "60", "80", "100"]
    assert [t.text for t in panel.x_ticks] == ["100", "400", "1600"]
    assert drawn.marks[0].words == "best, 100: 20.0 %, 10.0–30.0, N 10"
    assert len(drawn.band.split()) == 6


def test_a_single_value_stands_in_the_middle() -> None:
    metric = TableMetric(label="similarity", digits=3)
    curve = Curve(label="one", xs=[0.0], measurements=[Measurement(value=0.0)], style=Style(neutral=True))
    chart = Chart(number="", title="t", caption="c", experiment="e", x="x", metric=metric, panels=[Panel(title="", curves=[curve])], source="s")  # fmt: skip # noqa: E501
    (panel,) = panels(chart)
    assert panel.left < panel.curves[0].marks[0].x < panel.right
    assert panel.y_ticks


def test_a_site_is_written_only_where_nothing_else_is(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    require_site_folder(folder)
    (folder / "defenses").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "defenses" / "a.html").write_text(MARK)  # An interrupted command wrote it; the first page comes last.
    require_site_folder(folder)
    (folder / "defenses" / "mine.txt").write_text("mine")
    with pytest.raises(StorageError, match="found 'defenses' there"):
        require_site_folder(folder)
    (folder / ".bench-site").mkdir()  # A killed command has left it before it had a page of a defense.
    with pytest.raises(StorageError, match="found 'defenses' there"):
        require_site_folder(folder)
    (folder / ".bench-site" / "defenses").mkdir()  # It was replacing an earlier site, which had the same folders.
    require_site_folder(folder)
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"found 'mine\.txt' there"):
        require_site_folder(folder)
    (folder / "mine.txt").unlink()
    (folder / "index.html").write_text(MARK)
    require_site_folder(folder)
    (folder / "index.html").write_text("mine")
    with pytest.raises(StorageError, match="found another"):
        require_site_folder(folder)


def test_two_commands_at_once_write_one_site_and_one_error(tmp_path: Path, runs: list[Source]) -> None:
    folder = tmp_path / "site"
    with replacing_site(folder) as unfinished:
        (unfinished / "index.html").write_text(MARK)
        with pytest.raises(StorageError, match="expected that no other bench site writes there, found one that does"):
            write_site(runs, folder, ["one", "two"], "site")
    assert [path.name for path in folder.iterdir()] == ["index.html"]


@pytest.mark.parametrize("killed", [True, False])
def test_a_page_of_somebody_else_is_not_replaced(tmp_path: Path, killed: bool) -> None:
    """Neither beside an earlier site nor beside what a killed command has left."""
    mine, first = tmp_path / "defenses" / "a.html", tmp_path / "index.html"
    mine.parent.mkdir()
    mine.write_text("mine")
    if killed:
        (tmp_path / ".bench-site" / "defenses").mkdir(parents=True)
    else:
        first.write_text(f"{MARK} earlier")

    def write() -> None:
        with replacing_site(tmp_path) as unfinished:
            (unfinished / "defenses").mkdir()
            for page in (first, mine):
                (unfinished / page.relative_to(tmp_path)).write_text(MARK)

    with pytest.raises(StorageError, match=r"defenses/a\.html: expected no page, or one that bench site has made"):
        write()
    assert mine.read_text() == "mine"
    assert (first.read_text() if first.exists() else "") == ("" if killed else f"{MARK} earlier")


def test_an_error_leaves_the_earlier_site(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(f"{MARK} earlier")

    with pytest.raises(KeyError), replacing_site(tmp_path) as unfinished:
        raise KeyError((unfinished / "index.html").write_text(f"{MARK} half"))
    assert (tmp_path / "index.html").read_text() == f"{MARK} earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
