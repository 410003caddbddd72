"""The page: self-contained, escaped, complete, small."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fake_run import HOSTILE, FakeRun, png, write_fake_run

from bench.errors import StorageError
from bench.report import render, write_report
from bench.report.faces import wall
from bench.report.rows import Rows
from bench.store import Results

VOID = {"meta", "link", "br", "img"}


@dataclass
class PluginSection:
    """A section as a plugin hands it over."""

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
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


@pytest.fixture(scope="module")
def page(results: Results) -> str:
    return render(results, [PluginSection()])


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    found = Outline()
    found.feed(page)
    found.close()
    assert found.open == []
    return found


def test_nothing_is_loaded_from_anywhere(page: str, outline: Outline) -> None:
    assert not re.search(r"https?://|@import|url\(", page)
    for tag, attributes in outline.tags:
        assert tag not in {"script", "iframe", "object", "embed", "form"}
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            target = attributes.get(name)
            assert target is None or target.startswith(("#", "data:")), target


def test_hostile_names_are_text(page: str, outline: Outline) -> None:
    assert "<script" not in page
    assert "<img src=x" not in page
    assert HOSTILE in " ".join(outline.text)
    assert "<img src=x onerror=alert(1)>" in " ".join(outline.text)


def test_headings_links_and_tables(outline: Outline) -> None:
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


def test_sections_come_in_order(outline: Outline) -> None:
    ids = [a["id"] for t, a in outline.tags if t == "section"]
    assert ids == ["answer", "run", "plot", "table", "bars", "images", "faces", "gaps", "plugins", "provenance"]


def test_synthetic_data_are_marked(page: str, results: Results, tmp_path: Path) -> None:
    assert 'class="badge"' in page
    assert "Nothing here is a claim about real faces" in page
    assert page.count('class="tag">synthetic stand-in') >= 4
    real = render(write_fake_run(tmp_path / "real", FakeRun(synthetic=False)))
    assert 'class="badge"' not in real
    assert "claim about real faces" not in real


def test_real_faces_are_shown_only_when_asked_for(tmp_path: Path) -> None:
    real = write_fake_run(tmp_path / "real", FakeRun(synthetic=False))
    assert "data:image/png" not in render(real)
    assert "are real and are not shown" in render(real)
    assert "data:image/png" in render(real, include_real_faces=True)


def test_gaps_have_reasons(outline: Outline, tmp_path: Path) -> None:
    text = " ".join(outline.text)
    assert f"out of memory {HOSTILE}" in text
    assert "takes 160x160 images & not 112x112" in text
    assert "PMT for net-b, evaluated by net-a on synth-calfw" in text
    complete = render(write_fake_run(tmp_path / "complete"))
    assert "Nothing was skipped and nothing failed." in complete
    assert "This run is not complete" not in complete


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


def test_a_run_without_samples_or_cells_renders(tmp_path: Path) -> None:
    failed = render(write_fake_run(tmp_path / "failed", FakeRun(failed=lambda c: "no memory", synthetic=True)))
    assert "no memory" in failed
    assert "No example faces were stored" in failed
    empty = write_fake_run(tmp_path / "empty", FakeRun(datasets={}))
    assert "This run has no cells." in render(empty)


def test_pictures_stay_within_the_budget(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "big", FakeRun(picture=lambda rng: png(rng, 100)))
    rows = Rows(results)
    found = wall(rows, rows.matrices[0], include_real=False, budget=400_000)
    pictures = [f.data for r in found.rows for f in r.faces] + [f.data for f in found.originals]
    assert sum(len(p or "") for p in pictures) < 450_000
    assert 2 <= len(found.heads) < 6
    assert len(wall(rows, rows.matrices[0], include_real=False).heads) == 6


def test_damaged_pictures_are_left_out(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "odd", FakeRun(picture=lambda rng: b"<svg onload=alert(1)>"))
    assert "No example faces were stored." in render(results)


def test_the_file_is_written_whole(results: Results, tmp_path: Path) -> None:
    path = write_report(results, tmp_path / "reports" / "index.html")
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert path.stat().st_size < 3_000_000
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(results, tmp_path / "file" / "index.html")


def test_the_same_rows_make_the_same_page(results: Results) -> None:
    assert render(Results(results.folder)) == render(Results(results.folder))


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
    for foreground, background in pairs:
        assert _contrast(foreground, background) >= 4.5, (foreground, background)


def test_the_report_imports_no_torch() -> None:
    code = "import sys, bench.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
