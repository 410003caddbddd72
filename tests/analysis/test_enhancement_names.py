"""The letters of Table X are words wherever a reader sees them, and rows are still found by the suite's labels."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import paper_run, write_fake_run
from pages import markup

from bench.analysis.enhancement_names import spelled_out
from bench.analysis.rows import Rows
from bench.analysis.tables import build
from bench.report.page import render

LETTERS = {"000": "none", "100": "A", "010": "K", "001": "L", "110": "A+K", "101": "A+L", "011": "K+L", "111": "A+K+L"}


@pytest.mark.parametrize(
    ("label", "table", "words"),
    [
        ("L", "X", "PMT with layer aggregation"),
        ("A+K+L", "X", "PMT with augmentation + kernel + layer aggregation"),
        ("none", "X", "PMT with no enhancement"),
        ("PMT", "X", "PMT"),
        ("A+B", "X", "A+B"),
        ("L", "VII", "L"),
        ("L", None, "L"),
    ],
)
def test_letters_are_words_in_table_x_only(label: str, table: str | None, words: str) -> None:
    assert spelled_out(label, table) == words


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The experiment of Table X with the labels of the paper's suite."""
    (table_x,) = [spec for spec in paper_run() if spec.table == "X"]
    named = [(LETTERS[label], *others) for label, *others in table_x.defenses]
    folder = Path(tmp_path_factory.mktemp("letters")) / "run"
    return Rows(write_fake_run(folder, [replace(table_x, defenses=named)]))


def test_measurements_are_found_under_the_labels_of_the_suite(rows: Rows) -> None:
    (table,) = build(rows, "X")
    names = [row.defense for group in table.groups for row in group.rows]
    assert "PMT with kernel + layer aggregation" in names
    assert rows.defense_names["K+L"] == "PMT with kernel + layer aggregation"
    assert not [cell.defense for cell in rows.cells if cell.defense in LETTERS.values()]
    images = next(c for c in rows.cells if rows.images_of(c).shape[0])
    assert images.recorded in LETTERS.values()


def test_no_letter_is_left_on_the_page(rows: Rows) -> None:
    page = render(rows.results)
    text = re.sub(r"<[^>]+>", "\n", re.sub(r"<style.*?</style>", "", markup(page), flags=re.DOTALL))
    assert not set(LETTERS.values()) - {"none"} & {line.strip() for line in text.split("\n")}
    data = json.loads(re.findall(r'id="report-data">(.*?)</script>', page, re.DOTALL)[0])
    charts = json.dumps(data["charts"])
    assert "PMT with augmentation" in charts
    assert not [letters for letters in LETTERS.values() if f'"{letters}"' in charts and letters != "none"]
