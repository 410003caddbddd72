"""Values of sample rows that cannot be, and rows that occur twice: one error, for every command that reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from fake_run import ABUSE, ESTIMATE, LINKAGE, ONE, RECFACE, FakeRun, rewritten, write_fake_run

from bench.analysis.rows import Rows
from bench.cli import main
from bench.core.errors import StorageError
from bench.store.reading import RunResults
from bench.store.sample_check import RowsInOrder

ATTACKS = (ABUSE, RECFACE, ESTIMATE, LINKAGE)
AGAIN = r"expected every row once.* again"
SPEC = replace(FakeRun(attacks=ATTACKS, **ONE), noise_levels=(0.0, 0.1), repeats=2)


@pytest.fixture
def results(tmp_path: Path) -> RunResults:
    """A run with rows of every table, in which everything was repeated."""
    return write_fake_run(tmp_path / "run", SPEC)


def setter(column: str, value: Any, measure: str | None = None) -> Callable[[pd.DataFrame], None]:
    """A change of a table: another value in its last row, or in the last row of a measure."""

    def change(table: pd.DataFrame) -> None:
        rows = table.index if measure is None else table.index[table["measure"] == measure]
        table.loc[rows[-1], column] = value

    return change


def failed(arguments: Sequence[str]) -> str:
    """Return what a command prints that ends with an error of a user, in one line."""
    found = CliRunner().invoke(main, list(arguments))
    assert found.exit_code == 2, found.output
    return " ".join(found.output.split())


def commands(folder: Path, table: str) -> list[list[str]]:
    """Return the commands that read rows of a table."""
    run, out = str(folder), str(folder.parent)
    return [
        ["report", run, "-o", f"{out}/page.html"],
        ["export", run, "--rows", table, "-o", f"{out}/rows.parquet"],
        ["diff", run, run],
        ["export", run, "--table", "verdict"],
    ]


CASES = [
    ("verification", "cos_self", np.nan, "cos_self: expected a value in every row, found none in one"),
    ("verification", "cos_clean", 1.5, "cos_clean: expected numbers from -1 to 1, found 1.5"),
    ("verification", "flip_cross", -2.0, "flip_cross: expected numbers from -1 to 1, found -2"),
    ("verification", "kappa_calibrated", 3.0, "kappa_calibrated: expected numbers from -1 to 1, found 3"),
    ("verification", "kappa_adversary", -np.inf, "kappa_adversary: expected numbers from -1 to 1, found -inf"),
    ("verification", "rank_chance", np.inf, "rank_chance: expected numbers from 0 to 1, found inf"),
    ("verification", "rank_first", -0.5, "rank_first: expected numbers from 0 to 1, found -0.5"),
    ("verification", "fmr_realised", 7.0, "fmr_realised: expected numbers from 0 to 1, found 7"),
    ("verification", "gallery", 0, "gallery: expected numbers from 1 on, found 0"),
    ("verification", "gallery", 2**62, "gallery: expected numbers from 1 to 9,007,199,254,740,992, found 4.61169e+18"),
    ("verification", "rank", -1, "rank: expected numbers from 1 on, found -1"),
    ("verification", "calibration_people", -2, "calibration_people: expected numbers from 0 on, found -2"),
    ("verification", "threshold_rule", "mine", "threshold_rule: expected fmr or accuracy, found mine"),
    ("images", "ssim", 1.2, "ssim: expected numbers from -1 to 1, found 1.2"),
    ("images", "psnr", -3.0, "psnr: expected numbers from 0 on, found -3"),
    ("images", "lpips", -0.5, "lpips: expected numbers from 0 on, found -0.5"),
    ("baselines", "ssim_grey", -5.0, "ssim_grey: expected numbers from -1 to 1, found -5"),
    ("examples", "ssim", 9.0, "ssim: expected numbers from -1 to 1, found 9"),
    ("attributes", "permuted", np.inf, "permuted: expected numbers from 0 to 9,007,199,254,740,992, found inf"),
    ("up", "cosine", 4.0, "cosine: expected numbers from -1 to 1, found 4"),
    ("links", "auc", 1.5, "auc: expected numbers from 0 to 1, found 1.5"),
    ("links", "score", float("inf"), "score: expected"),
    ("up", "dist", -1.0, "dist: expected numbers from 0 to 1, found -1"),
]


@pytest.mark.parametrize(("table", "column", "value", "words"), CASES)
def test_a_value_that_cannot_be_is_refused_where_rows_are_read(
    results: RunResults, table: str, column: str, value: Any, words: str
) -> None:
    changed = rewritten(results, **{table: setter(column, value)})
    with pytest.raises(StorageError, match=re.escape(words)):
        changed.samples(table)
    with pytest.raises(StorageError, match=re.escape(words)):
        list(changed.batches(table))


@pytest.mark.parametrize(("measure", "value", "low"), [("cosine", 40.0, "-1 to 1"), ("years", -0.5, "0 on")])
def test_the_range_of_an_attribute_is_that_of_its_measure(
    results: RunResults, measure: str, value: float, low: str
) -> None:
    assert results.samples("attributes")["permuted"].max() == 14  # Years may differ by so much.
    changed = rewritten(results, attributes=setter("permuted", value, measure))
    with pytest.raises(StorageError, match=f"permuted: expected numbers from {low}, found {value:g}"):
        changed.samples("attributes")


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(("column", "value"), [("cos_cross", 2.0), ("calibration_people", -1)])
def test_every_command_refuses_it_with_the_same_words(
    results: RunResults, number: int, column: str, value: float
) -> None:
    rewritten(results, verification=setter(column, value))
    shown = failed(commands(results.folder, "verification")[number])
    assert f"{column}: expected numbers from" in shown
    assert "run the suite again to write it anew" in shown


# ---- rows that occur twice -------------------------------------------------------------------------------------------


def again(folder: Path, table: str, which: Callable[[pa.Table], pa.Table]) -> RunResults:
    """Append some rows of a table again, in a further file, as a second copy of a file would."""
    (path,) = (folder / "samples" / table).rglob("part-00000.parquet")
    pq.write_table(which(pq.read_table(path, partitioning=None)), path.with_name("part-00001.parquet"))
    return RunResults(folder)


@pytest.mark.parametrize("table", ["verification", "images", "examples", "attributes", "up", "links"])
@pytest.mark.parametrize("which", [lambda rows: rows, lambda rows: rows.slice(0, 1), lambda rows: rows.slice(2, 1)])
def test_rows_again_are_refused(results: RunResults, table: str, which: Callable[[pa.Table], pa.Table]) -> None:
    found = again(results.folder, table, which)
    for read in (found.samples, lambda name: list(found.batches(name))):
        with pytest.raises(StorageError, match=AGAIN):
            read(table)
    rows = Rows(found)
    with pytest.raises(StorageError, match=AGAIN):
        _ = {
            "verification": lambda: rows.scores,
            "images": lambda: rows.images_of(rows.cells[0]),
            "examples": lambda: rows.example_of("0", *rows.cells[0].upload_key),
            "attributes": lambda: rows.attributes("data-abuse"),
            "up": lambda: [rows.noise_levels(cell) for cell in rows.cells],
            "links": lambda: [rows.links_of(cell) for cell in rows.cells],
        }[table]()


def test_a_row_again_within_its_cell_is_refused_where_the_cell_is_read(results: RunResults) -> None:
    def change(table: pd.DataFrame) -> None:
        table.loc[table.index[1], "pair"] = table.loc[table.index[0], "pair"]

    changed = rewritten(results, verification=change)
    cell = changed.cells["cell"][0]
    with pytest.raises(StorageError, match=f"pair: expected every row once.*found pair 0, cell {cell} again"):
        _ = Rows(changed).scores[cell]
    for command in commands(results.folder, "verification"):
        assert "found pair 0, cell" in failed(command)


def in_parts(rows: pa.Table, size: int) -> None:
    """Check rows of verification, so many at a time."""
    checked = RowsInOrder(Path("here"), "verification")
    for start in range(0, rows.num_rows, size):
        checked.add(rows.slice(start, size))


def test_rows_of_a_group_may_come_in_several_parts() -> None:
    rows = pa.table({"cell": ["a", "a", "b", "b", "b"], "pair": [0, 1, 0, 1, 2]})
    for size in (1, 2, 3, 5):
        in_parts(rows, size)
    for wrong in ({"cell": ["a", "a", "a"], "pair": [0, 1, 0]}, {"cell": ["a", "b", "a"], "pair": [0, 0, 1]}):
        for size in (1, 2, 3):
            with pytest.raises(StorageError, match="again"):
                in_parts(pa.table(wrong), size)
