"""Tables of cells with more rows than become Arrow's at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from stranger import GOLDEN

from bench.core.errors import StorageError
from bench.core.table_sizes import MOST_CELLS, read_table
from bench.store.reading import RunResults
from bench.store.schema import CELLS
from bench.store.writing import _ROWS_AT_ONCE, _write_table


def test_a_table_of_many_cells_with_lists_of_texts_can_be_read(tmp_path: Path) -> None:
    """pyarrow cannot read lists of texts as a dictionary across row groups, which counting their size does."""
    count = 2 * _ROWS_AT_ONCE + 96
    rows = [{"cell": f"{i:016x}", "authorised": [f"net {i % 7}", "other"], "status": "ok"} for i in range(count)]
    path = tmp_path / "cells.parquet"
    _write_table(path, rows, CELLS)
    table = read_table(path, MOST_CELLS)
    assert table.num_rows == count
    assert table["authorised"][count - 1].as_py() == [f"net {(count - 1) % 7}", "other"]


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "cells.parquet"
    _write_table(path, [], CELLS)
    assert read_table(path, MOST_CELLS).schema.names == CELLS.names


def test_rows_that_a_run_has_lost_are_one_error(tmp_path: Path) -> None:
    run = shutil.copytree(GOLDEN, tmp_path / "run")
    shutil.rmtree(run / "samples" / "verification")
    with pytest.raises(StorageError, match=r"expected samples/verification/.*, which run\.json lists, found none"):
        RunResults(run).samples("verification")
