"""Texts of strangers cannot run in a page, and neither control nor reorder it; no spreadsheet runs them as formulas."""

from __future__ import annotations

import ast
import csv
import html.parser
import io
import json
import re
import struct
import warnings
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from stranger import Stranger
from test_terminal import HOSTILE, relabel

from bench.core.text import printable
from bench.report.export.spreadsheets import safe_table, safe_value
from bench.report.page import assets
from bench.report.page.image_budget import encoded
from bench.report.page_text import environment, finished, script_data

BENCH = Path(__file__).parents[2] / "bench"


def visible(page: str) -> str:
    """Return a page without its scripts, whose libraries hold such characters."""
    for script in assets.scripts(charts=True, tables=True):
        page = page.replace(script, "")
    return page


def test_no_page_holds_them(stranger: Stranger) -> None:
    run, diff = stranger.folder, stranger.home / "diff.html"
    relabel(stranger, " and ".join(HOSTILE.values()))
    assert stranger.bench("report", run).exit_code == 0
    assert stranger.bench("diff", run, run, "--html", diff).exit_code == 0
    page = (stranger.home / "reports" / "golden" / "index.html").read_text()
    for found in (page, diff.read_text()):
        assert printable(visible(found)) == visible(found)
        assert "\ufffd" in found
    data = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)
    assert data
    values = json.dumps(json.loads(data[1]), ensure_ascii=False)
    assert not re.search(r"\\u00[01]|\\[bfr]", values.replace("\\\\", ""))
    assert printable(values) == values


def test_the_scripts_of_a_page_still_have_the_hashes_of_its_policy(stranger: Stranger) -> None:
    relabel(stranger, HOSTILE["title"])
    stranger.bench("report", stranger.folder)
    page = (stranger.home / "reports" / "golden" / "index.html").read_text()
    scripts = assets.scripts(charts=True, tables=True)
    assert all(script in page for script in scripts)
    assert assets.policy(scripts).replace("'", "&#39;") in page


def test_labels_are_elements_of_their_own_direction(stranger: Stranger) -> None:
    relabel(stranger, "\u05d0\u05d1")
    stranger.bench("report", stranger.folder)
    page = (stranger.home / "reports" / "golden" / "index.html").read_text()
    assert re.search(r"<bdi>[^<]*\u05d0\u05d1</bdi>", page)


def test_text_is_escaped_and_lines_stay_lines() -> None:
    made = environment("bench.report").from_string("<p title='{{ t }}'>{{ t }}</p>").render(t="<b>'\r\nx\x1b")
    assert finished(made) == "<p title='&lt;b&gt;&#39;\nx\ufffd'>&lt;b&gt;&#39;\nx\ufffd</p>"


def test_scripts_in_a_page_stay_as_they_are() -> None:
    assert finished("a\x02<s>\x01</s>b\x03", ["<s>\x01</s>"]) == "a\ufffd<s>\x01</s>b\ufffd"


@pytest.mark.parametrize(
    "text", ["\\u001b", "\\\\u001b", "\\", "a\\b", "\x1b", "\\\x1b", "\\\\\x1b", "</script>", "\u2028"]
)
def test_data_for_scripts_keep_backslashes(text: str) -> None:
    found = script_data({"text": text})
    assert json.loads(found)["text"] == printable(text)
    assert "</" not in found


def png(width: int, height: int, content: bytes = b"") -> bytes:
    """A PNG that declares this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [1_025, 9_500, 14_000, 60_000])
def test_a_picture_of_many_pixels_is_not_shown_and_nothing_is_printed(side: int) -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        assert encoded(png(side, side, zlib.compress(b""))) is None
    assert found == []


@pytest.mark.parametrize("content", [b"", b"no zlib", zlib.compress(b"too short")])
def test_a_damaged_picture_is_not_shown(content: bytes) -> None:
    assert encoded(png(8, 8, content)) is None
    assert encoded(png(8, 8, zlib.compress((b"\0" + b"abc" * 8) * 8))) is not None


# ---- CSV -------------------------------------------------------------------------------------------------------------

SIGNS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
BEFORE = ("", " ", "\u00a0", "\ufeff", "\u200b", "\u3000")
FORMULAS = [*(f"{before}{sign}1" for sign in SIGNS for before in BEFORE), "\tx", "\rx", "\nx", "\n=1", "\r\n=1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text: str) -> None:
    assert safe_value(text) == f"'{text}"
    table = safe_table(pa.table({text: [text, "fine", None]}))
    assert table.column_names == [f"'{text}"]
    assert table.column(0).to_pylist() == [f"'{text}", "fine", None]
    buffer = io.BytesIO()
    pacsv.write_csv(table, buffer)
    rows = list(csv.reader(io.StringIO(buffer.getvalue().decode(), newline="")))
    assert rows[1][0] == f"'{text}"


@pytest.mark.parametrize("value", ["", "a=1", "1-2", "pmt", -1.5, None, True, "é"])
def test_other_values_stay(value: object) -> None:
    assert safe_value(value) == value


@pytest.mark.parametrize("text", ["\n=1", "\uff1d1", " =1"])
def test_exported_files_hold_no_formulas(stranger: Stranger, text: str) -> None:
    for path in [stranger.folder / "cells.parquet", *stranger.folder.glob("samples/verification/*/*.parquet")]:
        table = pq.read_table(path, partitioning=None)
        column = pa.array([f"{text}{value}" for value in table["defense"].to_pylist()])
        pq.write_table(table.set_column(table.column_names.index("defense"), "defense", column), path)
    for options in (["--table", "VII"], ["--rows", "verification"]):
        file = stranger.home / "exported.csv"
        assert stranger.bench("export", stranger.folder, *options, "--format", "csv", "-o", file).exit_code == 0
        rows = list(csv.DictReader(io.StringIO(file.read_bytes().decode(), newline="")))
        assert rows
        assert {row["defense"][0] for row in rows if row["defense"].strip("'") != ""} == {"'"}


# ---- the one place ---------------------------------------------------------------------------------------------------


def test_pages_are_made_in_one_module() -> None:
    """Only `bench.report.page_text` makes an environment of templates, and only known modules make markup."""
    found = set()
    for path in sorted((BENCH / "report").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Environment", "Template", "Markup"):
                found.add((path.relative_to(BENCH / "report").as_posix(), ast.unparse(node.func)))
    assert {name for name, kind in found if kind != "Markup"} == {"page_text.py"}
    assert {name for name, kind in found if kind == "Markup"} == {
        "page_text.py",
        "page/assets.py",  # its own files
        "page/evidence.py",  # numbers, and what `escape` returned
        "page/image_budget.py",  # pictures in base64
        "charts/theme.py",  # its own marks
        "site/assets.py",  # its own files
    }


class Parser(html.parser.HTMLParser):
    """Collects what could run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [tag] if tag in ("img", "iframe", "object", "embed", "base", "form") else []
        self.found += [name for name, _ in attrs if name.startswith("on") or name in ("src", "srcdoc")]


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=alert(1)>", "' onmouseover='alert(1)", '" autofocus onfocus="x', "</script><img>"]
)
def test_markup_stays_text(stranger: Stranger, text: str) -> None:
    relabel(stranger, text)
    assert stranger.bench("report", stranger.folder).exit_code == 0
    parser = Parser()
    parser.feed(visible((stranger.home / "reports" / "golden" / "index.html").read_text()))
    assert not parser.found
