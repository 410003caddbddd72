"""The page: self-contained, escaped, complete, small."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fake_run import HOSTILE, FakeRun, write_fake_run
from markupsafe import escape
from pages import markup

from bench.analysis.table_model import Column, Measurement, Row, RowGroup, Table, TableMetric, absent
from bench.core.errors import StorageError
from bench.report.page import render, write_report
from bench.report.page.trimmed_tables import by_head, reasons, with_common_notes, without_empty
from bench.store.reading import RunResults

VOID = {"meta", "link", "br", "img"}


@dataclass
class PluginSection:
    """Return a section as a plugin returns it."""

    title: str = f"Mine {HOSTILE}"
    columns: Sequence[str] = ("what", "value")
    rows: Sequence[Sequence[Any]] = field(default_factory=lambda: [["<img src=x onerror=alert(1)>", 3], ["none", None]])


class Outline(HTMLParser):
    """Collects tags and attributes, and checks that elements nest."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text.append(data)


@pytest.fixture(scope="module")
def page(results: RunResults) -> str:
    return render(results, [PluginSection()])


@pytest.fixture(scope="module")
def paper_page(paper_results: RunResults, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run with all kinds of experiments, and with claims."""
    folder = tmp_path_factory.mktemp("claimed") / "run"
    shutil.copytree(paper_results.folder, folder)
    run = json.loads((folder / "run.json").read_text())
    run["suite"]["raw"]["claims"] = [
        _claim("low", "PMT is less similar & safer.", "ssim", "<"),
        _claim("high", "PMT is more similar.", "ssim", ">"),
        _claim("far", "PMT is further away.", "lpips", ">"),
    ]
    (folder / "run.json").write_text(json.dumps(run))
    return render(RunResults(folder))


def _claim(name: str, text: str, metric: str, relation: str) -> dict[str, Any]:
    sides = {"left": {"defense": "PMT"}, "right": {"defense": "Feature noise"}}
    about = {"id": name, "section": "6.3", "text": text, "experiment": "reconstruction"}
    return {**about, **sides, "metric": metric, "relation": relation}


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return _outline(page)


def _outline(page: str) -> Outline:
    found = Outline()
    found.feed(page)
    found.close()
    assert found.open == []
    return found


@pytest.fixture(scope="module", params=["one experiment", "the paper's"])
def either(request: pytest.FixtureRequest, page: str, paper_page: str) -> str:
    return page if request.param == "one experiment" else paper_page


@pytest.mark.slow
def test_nothing_is_loaded_from_anywhere(either: str) -> None:
    assert not re.search(r"https?://", markup(either))


def test_hostile_names_are_text(page: str, outline: Outline) -> None:
    rest = markup(page)
    assert "<script" not in rest
    assert "<img src=x" not in page
    assert HOSTILE in " ".join(outline.text)
    assert "<img src=x onerror=alert(1)>" in " ".join(outline.text)


@pytest.mark.slow
def test_headings_links_and_tables(either: str) -> None:
    outline = _outline(either)
    levels = [int(t[1]) for t, _ in outline.tags if re.fullmatch(r"h[1-6]", t)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    ids = [a["id"] for _, a in outline.tags if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {str(a["href"])[1:] for t, a in outline.tags if t == "a"}
    assert targets <= set(ids)
    tags = [t for t, _ in outline.tags]
    assert tags.count("caption") == tags.count("table")
    assert all("scope" in a for t, a in outline.tags if t == "th")
    assert all(a.get("alt") for t, a in outline.tags if t == "img")


@pytest.mark.slow
def test_sections_come_in_order(outline: Outline, paper_page: str) -> None:
    last = ["run", "provenance"]
    assert _sections(outline) == ["verdict", "ladder", "exposed", "experiment-1", "threats", "gaps", "plugins", *last]
    paper = [f"experiment-{i}" for i in range(1, 10)]
    assert _sections(_outline(paper_page)) == [
        "verdict",
        "ladder",
        "exposed",
        *paper,
        "claims",
        "threats",
        "gaps",
        *last,
    ]


def _sections(outline: Outline) -> list[str | None]:
    return [a["id"] for t, a in outline.tags if t == "section"]


def _data(page: str) -> dict[str, Any]:
    """Return the data for the scripts of the page."""
    found = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_contents_name_every_experiment(paper_page: str) -> None:
    contents = paper_page[paper_page.index("<nav") : paper_page.index("</nav>")]
    for i, label in enumerate(("Table VII", "Table VI", "Table VIII", "Table IX", "Table X", "Table III"), 1):
        assert f'<a href="#experiment-{i}">{label}: ' in contents
    assert "Figures 8 and 10: " in contents


def test_every_experiment_shows_what_applies_to_it(paper_page: str) -> None:
    parts = re.split(r'<section id="', paper_page)
    by_id = {p[: p.index('"')]: p for p in parts[1:]}
    recognition, reconstruction, attribute_scores = (by_id[f"experiment-{i}"] for i in (1, 2, 3))
    assert "Against the bars" in recognition
    assert 'class="dots"' in recognition
    for other in (reconstruction, attribute_scores):
        assert "Against the bars" not in other
        assert 'class="dots"' not in other
    assert "White-Box" in reconstruction
    assert "Black-Box" in reconstruction
    assert "Every reconstruction attack by itself" in reconstruction
    assert "constant predictor" in attribute_scores
    assert "in place of Race" in attribute_scores
    assert by_id["experiment-5"].count("paper 1.8") >= 8  # the paper's UP of Table X
    assert by_id["experiment-9"].count("data-plot=") == 2  # Figures 8 and 10
    files = {p["file"] for p in _data(paper_page)["charts"]["plots"].values()}
    assert {"figure-8-tradeoff", "figure-10-tradeoff"} <= files
    assert (
        "The form by LPIPS, which the paper plots, is absent: LPIPS needs the VGG-16 weights" in by_id["experiment-9"]
    )


def test_several_authorised_models_are_spoken_of_as_several(page: str, paper_page: str) -> None:
    assert "Authorised models decide " in paper_page
    assert re.search(r"(of|for) \d sets of authorised models|each of 2 sets of authorised models", paper_page)
    assert "The authorised model decides " in page
    assert "sets of authorised models" not in page


def table(columns: Sequence[str], rows: Sequence[Sequence[Measurement]]) -> Table:
    metric = TableMetric(label="x")
    return Table(
        name="t",
        title="T",
        caption="",
        columns=[Column(label=c, metric=metric) for c in columns],
        groups=[
            RowGroup(label="g", rows=[Row(label=str(i), kind="clean", measurements=f) for i, f in enumerate(rows)])
        ],
        experiment="e",
        source="",
    )


def test_columns_without_any_figure_become_a_note() -> None:
    one, none, other = Measurement(value=1.0), absent("missing", "no weights"), absent("failed", "no memory")
    blank = absent("not applicable", None)
    tidy = without_empty(table(["a", "b", "c"], [[one, none, other], [one, blank, other]]))
    # A column of failures stays, because they are no property of the column.
    assert [c.label for c in tidy.columns] == ["a", "c"]
    assert [len(r.measurements) for r in tidy.groups[0].rows] == [2, 2]
    assert list(tidy.notes) == ["b: absent. no weights."]
    assert reasons(table(["a", "b", "c"], [[one, none, other], [one, blank, other]]).groups) == [
        ("missing", "no weights")
    ]
    empty = table(["b"], [[none]])
    assert without_empty(empty) is empty


def test_a_note_that_all_measurements_share_is_printed_once() -> None:
    noted, plain = Measurement(value=1.0, note="by K"), Measurement(value=1.0)
    tidy = with_common_notes(table(["a", "b", "c"], [[noted, noted, noted], [noted, noted, plain]]))
    assert list(tidy.notes) == ["a, b: by K."]
    assert [[f.note for f in r.measurements] for r in tidy.groups[0].rows] == [[None, None, "by K"], [None, None, None]]


def test_wide_tables_are_cut_where_their_columns_say() -> None:
    labels = [f"{box} {name}" for box in ("White", "Black") for name in "abcde"]
    whole = table(labels, [[Measurement(value=float(i)) for i in range(10)]])
    white, black = by_head(whole)
    assert (white.title, black.title) == ("T White", "T Black")
    assert [c.label for c in black.columns] == list("abcde")
    assert [f.value for f in black.groups[0].rows[0].measurements] == [5.0, 6.0, 7.0, 8.0, 9.0]
    assert by_head(table(labels[:6], [[Measurement()] * 6]))[0].columns[0].label == "White a"


def test_leaks_are_described_plainly(paper_page: str) -> None:
    text = " ".join(_outline(paper_page).text)
    assert "A low SSIM does not show that nothing leaks" in text
    assert "The strongest of 4 attacks" in text  # The fifth attack learnt from the evaluated people.
    assert "recface, leaky: trained on the evaluated identities, which is leakage; not counted above" in text
    assert '<small class="leak">trained on the evaluated identities: leakage</small>' in paper_page
    assert "What would break it" in text
    assert "Pictures that hold nothing of the face reach up to" in text


def test_claims_and_what_was_found(paper_page: str) -> None:
    part = paper_page[paper_page.index('<section id="claims">') :]
    part = part[: part.index("</section>")]
    plain = re.sub(r"<(?!/?tr)[^>]+>", " ", part).replace("&nbsp;", " ")
    rows = [" ".join(row.split()) for row in re.findall(r"<tr>(.*?)</tr>", plain)[1:]]
    assert len(rows) == 3
    assert "PMT is less similar &amp; safer." in rows[0]
    assert "section 6.3" in rows[0]
    assert "✓ holds" in rows[0]
    assert re.search(r"PMT: 0\.0\d+ \([\d.–]+, N 80\) &lt; Feature noise: 0\.5\d+ \([\d.–]+, N 80\)", rows[0])
    assert "✗ does not hold" in rows[1]
    assert "not measured" in rows[2]
    assert "VGG-16 weights" in rows[2]
    assert "1 hold, 1 do not hold, 1 not measured" in part


def test_the_methods_are_those_of_the_run(page: str, paper_page: str) -> None:
    for text in ("Equation 11", "Equation 9", "Success rate of the reconstruction attack"):
        assert text in paper_page
        assert text not in page
    for text in ("Equation 10: cos(f(x̃₁), f(x₁)) &gt; κ", "Wilson 1927", "ISO/IEC 19795-1"):
        assert text in page
        assert text in paper_page


@pytest.mark.slow
def test_synthetic_data_are_marked(page: str, results: RunResults, tmp_path: Path) -> None:
    assert 'class="badge"' in page
    assert "Nothing here is a claim about real faces" in page
    assert page.count('class="tag">synthetic stand-in') >= 4
    real = render(write_fake_run(tmp_path / "real", FakeRun(synthetic=False)))
    assert 'class="badge"' not in real
    assert "claim about real faces" not in real


@pytest.mark.slow
def test_gaps_have_reasons(outline: Outline, tmp_path: Path) -> None:
    text = " ".join(outline.text)
    assert f"out of memory {HOSTILE}" in text
    assert "takes 160x160 images & not 112x112" in text
    assert "PMT for net-b, evaluated by net-a on synth-calfw" in text
    complete = render(write_fake_run(tmp_path / "complete"))
    assert "Nothing was skipped and nothing failed." in complete
    assert "This run is not complete" not in complete


BROKE = f"Traceback (most recent call last):\n  File {HOSTILE}\nRuntimeError: broke"


def _breaks(cell: dict[str, Any]) -> dict[str, Any]:
    """Change outcomes so that one defense fails with much output, another one needs a smaller batch, and the second
    data set is queued."""
    if cell["dataset"] == "synth-calfw":
        return {"status": "queued", "reason": None}
    if cell["defense"] == "Noise 0.3":
        log = f"\x1b[31m{HOSTILE}\x1b[0m\n  0 %\r 50 %\r\n</pre>\x00\n"
        return {"status": "failed", "reason": "RuntimeError: broke", "traceback": BROKE, "log": log}
    return {"batch": 8} if cell["evaluated"] == "net-a" else {}


def _page_text(results: RunResults) -> str:
    """Return the text of the page of a run."""
    return " ".join(" ".join(_outline(render(results)).text).split())


@pytest.mark.slow
def test_a_run_that_has_not_ended_says_so_at_its_top(tmp_path: Path) -> None:
    text = _page_text(write_fake_run(tmp_path / "run", FakeRun(ended=_breaks)))
    assert "This run has not ended: 12 of 24 cells are still missing, and 3 failed. What is missing, and why" in text
    assert text.index("This run has not ended") < text.index("Verdict", text.index("Provenance"))  # below the contents
    assert "9 with a result, 0 skipped, 3 failed, 12 still missing" in text
    assert "so far" in text
    assert "queued 12 not computed yet" in text
    assert text.index("RuntimeError: broke") < text.index("not computed yet")


@pytest.mark.slow
def test_an_interrupted_run_says_so_at_its_top(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", FakeRun(ended=_breaks))
    record = json.loads((results.folder / "run.json").read_text())
    (results.folder / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    text = _page_text(RunResults(results.folder))
    assert "This run was interrupted: 12 of 24 cells are still missing, and 3 failed. The command that began" in text


@pytest.mark.slow
def test_failures_show_where_they_failed_and_what_was_printed(tmp_path: Path) -> None:
    page = render(write_fake_run(tmp_path / "run", FakeRun(ended=_breaks)))
    (folded,) = [d for d in page.split("<details>")[1:] if "Where it failed" in d]
    folded = folded.partition("</details>")[0]
    assert "<summary>Noise 0.3, evaluated by net-a on synth-lfw: failed</summary>" in folded
    assert str(escape(BROKE)) in folded
    assert f'<pre tabindex="0">{escape(HOSTILE)}\n  0 %\n 50 %\n&lt;/pre&gt;</pre>' in folded
    quiet = render(write_fake_run(tmp_path / "quiet", FakeRun(failed=lambda c: "no memory")))
    assert "Where it failed" not in quiet
    assert "What it printed" not in quiet


@pytest.mark.slow
def test_smaller_batches_are_listed(tmp_path: Path) -> None:
    text = _page_text(write_fake_run(tmp_path / "run", FakeRun(ended=_breaks)))
    assert "Computed with batches of 8, because memory ran out: 3 cells. Clean, evaluated by net-a on synth-lfw" in text
    assert "batches of" not in render(write_fake_run(tmp_path / "other"))


def test_provenance_is_there(outline: Outline) -> None:
    text = " ".join(outline.text)
    for expected in (
        "bench run suites/fake.toml --pairs 20",
        "f" * 40,
        "torch 2.11.0",
        "d" * 16,
        "12 min 40 s",
        "12,345",
    ):
        assert expected in text


@pytest.mark.slow
def test_a_run_without_samples_or_cells_renders(tmp_path: Path) -> None:
    failed = render(write_fake_run(tmp_path / "failed", FakeRun(failed=lambda c: "no memory", synthetic=True)))
    assert "no memory" in failed
    assert "No example faces were stored" in failed
    empty = write_fake_run(tmp_path / "empty", FakeRun(datasets={}))
    assert "This run has no cells." in render(empty)


@pytest.mark.slow
def test_the_file_is_written_whole(results: RunResults, tmp_path: Path) -> None:
    path = write_report(results, tmp_path / "reports" / "index.html")
    html, mark, seal = path.read_text(encoding="utf-8").rpartition("<!-- bench-page ")
    assert html.rstrip().endswith("</html>")
    assert mark
    assert seal.endswith(" -->\n")  # The last line, by which the page is recognised.
    assert path.stat().st_size < 3_000_000
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(results, tmp_path / "file" / "index.html")


@pytest.mark.slow
def test_the_same_rows_make_the_same_page(results: RunResults) -> None:
    assert render(RunResults(results.folder)) == render(RunResults(results.folder))


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _blend(over: str, alpha: float, under: str) -> str:
    red, green, blue = (int(p) for p in over.split())
    mixed = [round(alpha * c + (1 - alpha) * int(under[i : i + 2], 16)) for c, i in ((red, 1), (green, 3), (blue, 5))]
    return "#" + "".join(f"{c:02x}" for c in mixed)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_wcag_aa(page: str, scheme: str) -> None:
    style = page[page.index("<style>") : page.index("</style>")]
    block = style.split(":root {")[1 if scheme == "light" else 2].split("}")[0]
    light = dict(re.findall(r"--([\w-]+): ([^;]+);", style.split(":root {")[1].split("}")[0]))
    colours = light | dict(re.findall(r"--([\w-]+): ([^;]+);", block))
    paper, soft, ink = colours["paper"], colours["soft"], colours["ink"]
    hottest = _blend(colours["heat"], float(colours["depth"]), paper)
    pairs = [(ink, paper), (ink, soft), (ink, hottest), (colours["badge-ink"], colours["badge"])]
    pairs += [(colours[name], paper) for name in ("quiet", "link", "kept", "leaked")] + [(colours["quiet"], soft)]
    pairs += [(colours[f"c{i}"], paper) for i in range(8)] + [(colours["first"], paper), (colours["last"], paper)]
    for foreground, background in pairs:
        # The contrast that WCAG requires of lines, and of text.
        least = 3.0 if foreground in (colours["first"], colours["last"]) else 4.5
        assert _contrast(foreground, background) >= least, (foreground, background)


def test_the_report_imports_no_torch() -> None:
    code = "import sys, bench.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
