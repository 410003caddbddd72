"""Exports can be parsed, keep the order of the paper, and print names with markup or formulas as text."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from fake_run import ONE, RECFACE, FakeRun, rewritten, write_fake_run

from bench.analysis.rows import Rows
from bench.analysis.tables import NAMES, build
from bench.core.errors import StorageError, SuiteError
from bench.report.export import FORMATS, export, latex_escape
from bench.store.reading import RunResults
from bench.store.schema import NEWER_COLUMNS


def test_csv_parses_back(results: RunResults) -> None:
    rows = list(csv.DictReader(io.StringIO(export(results, "VII", "csv"))))
    assert len(rows) == 2 * 4 * 6  # data sets, rows, columns with the average
    first = rows[0]
    assert (first["dataset"], first["defense"], first["column"], first["paper"]) == (
        "synth-lfw",
        "Clean",
        "net-a",
        "99.4",
    )
    assert (first["paper_of"], first["difference"]) == ("at the fixed κ", "")
    assert float(first["low"]) <= float(first["value"]) <= float(first["high"])
    assert (first["n"], first["interval"], first["unit"], first["synthetic"]) == ("20", "Wilson", "%", "True")
    failed = next(r for r in rows if r["status"] == "failed")
    assert failed["value"] == failed["n"] == failed["low"] == ""
    assert failed["reason"].startswith("out of memory <script>")
    assert [r["better"] for r in rows if r["authorised"] == "net-a"][:3] == ["higher", "lower", "lower"]


def test_json_agrees_with_csv(results: RunResults) -> None:
    made = json.loads(export(results, "VII", "json"))
    rows = list(csv.DictReader(io.StringIO(export(results, "VII", "csv"))))
    measurements = [f for table in made for f in table["measurements"]]
    assert [f["value"] for f in measurements] == [float(r["value"]) if r["value"] else None for r in rows]
    assert made[0]["source"].startswith("samples/verification")


def test_markdown_is_aligned(results: RunResults) -> None:
    lines = [line for line in export(results, "VII", "md").splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "<script>" not in "\n".join(lines)
    assert re.search(r"<u>[\d.]+ \([\d.]+–[\d.]+\) N=20, paper 99\.0 \(at the fixed κ\)</u>", "\n".join(lines))
    assert "Synthetic stand-in" in export(results, "VII", "md")


@pytest.mark.parametrize(("fmt", "mark", "note"), [
    ("md", r" \[1\]", r"\[1\] scored by an older version"),
    ("latex", r"\textsuperscript{1}", r"\par{\footnotesize \textsuperscript{1} scored by an older version"),
])  # fmt: skip
def test_notes_on_measurements_are_exported(tmp_path: Path, fmt: str, mark: str, note: str) -> None:
    def older(table: pd.DataFrame) -> None:
        newer = {"threshold_rule", "fmr_realised", "calibration_people", "adversary_impostors", "adversary_people"}
        for name in (*NEWER_COLUMNS, *newer):
            del table[name]

    spec = FakeRun(attacks=(RECFACE,), table="VI", claims=None, **ONE)
    text = export(rewritten(write_fake_run(tmp_path / "run", spec), verification=older), "verdict", fmt)
    assert note in text
    assert "bench rescore" in text
    assert text.count(mark) > 1


def test_latex_is_escaped_and_balanced(results: RunResults) -> None:
    text = export(results, "VII", "latex")
    for environment in ("table*", "tabular"):
        assert text.count(f"\\begin{{{environment}}}") == text.count(f"\\end{{{environment}}}") == 1
    assert "\\toprule" in text
    assert "\\bottomrule" in text
    assert "\\underline{" in text
    assert "\\textless{}script\\textgreater{}" in text
    bare = re.sub(r"\\[\\{}&%$#_]", "", text)
    assert bare.count("{") == bare.count("}")
    body = text[text.index("\\midrule") : text.index("\\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith("\\\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {7}


def test_latex_escapes_every_special_character() -> None:
    assert latex_escape("a_b & 5 % $x$ #1 {y} ~^\\") == (
        "a\\_b \\& 5 \\% \\$x\\$ \\#1 \\{y\\} \\textasciitilde{}\\textasciicircum{}\\textbackslash{}"
    )


@pytest.mark.parametrize("table", [name for name in NAMES if name not in ("linkage", "kept")])  # not the paper's
def test_every_table_in_every_format(paper_rows: Rows, table: str) -> None:
    made = build(paper_rows, table)
    for fmt, write in FORMATS.items():
        text = write(made)
        assert "synth" in text.lower(), fmt
        assert not re.search(r"\b(nan|None|inf)\b", text), fmt


@pytest.mark.parametrize("table", ["III", "IV", "V", "VI", "VII", "VIII", "IX", "X"])
def test_every_figure_has_a_value_or_a_reason(paper_rows: Rows, table: str) -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](build(paper_rows, table)))))
    assert len({r["experiment"] for r in rows}) == 1
    assert any(r["paper"] for r in rows)
    for r in rows:
        assert r["value"] or (r["status"] != "ok" and r["reason"]), r
        assert not r["value"] or int(r["n"]) > 0


def test_wide_tables_have_one_cell_per_column(paper_rows: Rows) -> None:
    text = FORMATS["latex"](build(paper_rows, "VI"))
    body = text[text.index("\\midrule") : text.index("\\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith("\\\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {1 + 14}
    assert "White-Box SSIM $\\downarrow$" in text


def test_a_table_that_a_run_does_not_make_names_those_that_it_does(results: RunResults) -> None:
    with pytest.raises(
        StorageError, match=r"no experiment of this run makes table VI; it has VII, VII-fixed, ten-fold"
    ):
        export(results, "VI", "csv")


def test_unknown_tables_and_formats_list_the_known(results: RunResults) -> None:
    with pytest.raises(SuiteError, match=r"expected one of III, III-fixed, IV, .*summary.*did you mean 'summary'"):
        export(results, "sumary", "csv")
    with pytest.raises(SuiteError, match="expected one of csv, json, md, latex"):
        export(results, "VII", "xml")
