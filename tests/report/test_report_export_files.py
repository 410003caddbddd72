"""Rows and figures as files: tidy, written atomically, and always the same bytes."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from fake_run import HOSTILE, FakeRun, paper_run, rewritten, write_fake_run

from bench.analysis.rows import Rows
from bench.analysis.tables import build
from bench.cli import main
from bench.core.errors import StorageError, SuiteError
from bench.report.export import FORMATS
from bench.report.export import samples as module
from bench.report.export.charts import FIGURE_FORMATS, export_figure
from bench.report.export.samples import export_rows
from bench.store.reading import RunResults

OF_THE_PAPER = ("verification", "images", "baselines", "attributes", "up")


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_rows_are_those_that_are_stored_with_their_cells(paper_results: RunResults, tmp_path: Path, name: str) -> None:
    path = tmp_path / "rows.parquet"
    count = export_rows(paper_results, name, "parquet", path)
    stored, made = paper_results.samples(name), pd.read_parquet(path)
    assert count == len(stored) == len(made)
    pd.testing.assert_frame_equal(made[stored.columns], stored, check_dtype=False)
    assert made["dataset_stands_in_for"].isin(["LFW", "AgeDB-30"]).all()
    if "cell" in stored:
        cells = paper_results.cells.set_index("cell")
        for column in ("role", "threat", "kappa", "defense_params"):
            assert made[column].tolist() == cells.loc[made["cell"], column].tolist()
    assert list(tmp_path.iterdir()) == [path]


def test_csv_has_the_same_rows(paper_results: RunResults, tmp_path: Path) -> None:
    export_rows(paper_results, "verification", "csv", tmp_path / "rows.csv")
    export_rows(paper_results, "verification", "parquet", tmp_path / "rows.parquet")
    text, binary = pd.read_csv(tmp_path / "rows.csv"), pd.read_parquet(tmp_path / "rows.parquet")
    assert list(text.columns) == list(binary.columns)
    assert text["cos_self"].to_numpy() == pytest.approx(binary["cos_self"].to_numpy())
    assert text["cell"].tolist() == binary["cell"].tolist()


@pytest.mark.slow
def test_rows_are_written_a_bounded_number_at_a_time(
    paper_results: RunResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.store.reading._BATCH_ROWS", 10)
    monkeypatch.setattr(module, "_GROUP_ROWS", 40)
    count = export_rows(paper_results, "verification", "parquet", tmp_path / "rows.parquet")
    file = pq.ParquetFile(tmp_path / "rows.parquet")
    assert file.metadata.num_rows == count
    assert all(file.metadata.row_group(i).num_rows < 60 for i in range(file.num_row_groups))


def test_text_that_a_spreadsheet_would_run_is_quoted(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", FakeRun(pairs=4))

    def change(table: pd.DataFrame) -> None:
        table["left_id"] = "=1+1"

    export_rows(rewritten(results, verification=change), "verification", "csv", tmp_path / "rows.csv")
    assert set(pd.read_csv(tmp_path / "rows.csv")["left_id"]) == {"'=1+1"}


def test_what_cannot_be_exported_says_what_can(results: RunResults, tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(SuiteError, match=r"--rows pairs: expected one of verification, images"):
        export_rows(results, "pairs", "csv", path)
    with pytest.raises(SuiteError, match="expected one of parquet, csv"):
        export_rows(results, "images", "xlsx", path)
    with pytest.raises(StorageError, match="no rows of up; it has verification, images"):
        export_rows(results, "up", "csv", path)
    with pytest.raises(StorageError, match="makes no figure '8'; it has sensitivity"):
        export_figure(results, "8", "svg", path)
    with pytest.raises(SuiteError, match="shows faces"):
        export_figure(results, "7", "svg", path)
    with pytest.raises(StorageError, match="cannot be written"):
        export_rows(results, "images", "csv", Path("/proc/none/rows.csv"))
    assert not path.exists()


# ---- figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("number", ["8", "10", "sensitivity"])
def test_figures_in_every_format(paper_results: RunResults, tmp_path: Path, number: str) -> None:
    starts = {"svg": b"<svg", "pdf": b"%PDF", "png": b"\x89PNG"}
    for fmt in FIGURE_FORMATS:
        for name in ("one", "two"):
            export_figure(paper_results, number, fmt, tmp_path / f"{name}.{fmt}")
        one = (tmp_path / f"one.{fmt}").read_bytes()
        assert one.startswith(starts[fmt])
        assert one == (tmp_path / f"two.{fmt}").read_bytes()
        assert not re.search(rb"CreationDate|ModDate|tEXt|tIME|20\d\d-\d\d-\d\d", one)
    assert b"/FontFile" in (tmp_path / "one.pdf").read_bytes()  # embedded, and no Type 3
    assert b"/Type3" not in (tmp_path / "one.pdf").read_bytes()


@pytest.mark.slow
def test_a_figure_shows_every_panel_and_names_are_text(tmp_path: Path) -> None:
    spec = next(s for s in paper_run() if s.name == "tradeoff")
    spec.defenses = [*spec.defenses, (HOSTILE, "noise", False), ("_$x_1$", "noise", False)]
    export_figure(write_fake_run(tmp_path / "run", spec), "8", "svg", tmp_path / "8.svg")
    root = ElementTree.fromstring((tmp_path / "8.svg").read_text(encoding="utf-8"))
    texts = {"".join(e.itertext()).strip() for e in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Unprotected", "PMT", HOSTILE, "_$x_1$", "utility", "privacy"} <= texts
    assert not [e for e in root.iter() if e.tag.rpartition("}")[2] in ("script", "image", "a")]
    assert "var(" not in (tmp_path / "8.svg").read_text(encoding="utf-8")


# ---- LaTeX -----------------------------------------------------------------------------------------------------------


def test_the_best_protection_is_bold_in_latex(tmp_path: Path) -> None:
    spec = FakeRun(defenses=[("Clean", "identity", False), ("PMT", "pmt", True), ("MR-PMT", "mr-pmt", True)])
    table = build(Rows(write_fake_run(tmp_path / "run", spec)), "VII")
    text = FORMATS["latex"](table)
    assert "Bold: the best protection." in text
    for group in table[0].groups:
        for i in range(len(table[0].columns)):
            for role in ("authorised", "unauthorised"):
                known = [
                    r.measurements[i].value
                    for r in group.rows
                    if r.kind == "authorised" and r.measurements[i].role == role
                ]
                if len(known) < 2:
                    continue
                best = max(known) if role == "authorised" else min(known)
                shown = f"\\textbf{{{best * 100:.1f}}}"
                assert (f"\\underline{{{shown}}}" if role == "authorised" else shown) in text
    clean = next(line for line in text.splitlines() if "Clean" in line and line.endswith("\\\\"))
    assert "textbf" not in clean


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_exports_one_thing(paper_results: RunResults, tmp_path: Path) -> None:
    runner, run = CliRunner(), str(paper_results.folder)
    for args in (
        ["--rows", "verification", "-o", str(tmp_path / "v.csv")],
        ["--rows", "up", "--format", "parquet", "-o", str(tmp_path / "up.parquet")],
        ["--figure", "8", "-o", str(tmp_path / "8.pdf")],
        ["--table", "VII", "-o", str(tmp_path / "vii.tex")],
    ):
        done = runner.invoke(main, ["export", run, *args])
        assert done.exit_code == 0, done.output
        assert Path(args[-1]).stat().st_size > 500
    assert "\\toprule" in (tmp_path / "vii.tex").read_text()
    assert (tmp_path / "8.pdf").read_bytes().startswith(b"%PDF")
    for args, fragment in (
        ([], "exactly one of --table, --rows and --figure"),
        (["--table", "VII", "--figure", "8"], "exactly one of"),
        (["--rows", "up"], "-o up.parquet"),
        (["--figure", "8", "-o", "x.gif"], "expected one of svg, pdf, png"),
        (["--table", "VII", "--format", "pdf"], "--format pdf: expected one of csv, json, md, latex"),
    ):
        done = runner.invoke(main, ["export", run, *args])
        assert done.exit_code == 2
        assert re.search(re.escape(fragment), " ".join(done.output.split()))
