"""Damaged tables of a run folder: each is refused with one error that names file, column, expectation and finding."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.analysis.rows import Rows
from bench.core.errors import StorageError
from bench.store.reading import RunResults
from bench.store.schema import SAMPLES, SAMPLES_NEEDED

GOLDEN = Path(__file__).parents[1] / "golden"
Change = Callable[[pa.Table], pa.Table]


@pytest.fixture(params=[2, 3, 4])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / f"schema-{request.param}", tmp_path / "run"))


def put(name: str, values: Callable[[int], Any]) -> Change:
    """A change of a table: another column in the place of one."""
    return lambda table: table.set_column(table.column_names.index(name), name, pa.array(values(len(table))))


def first(name: str, value: Any) -> Change:
    """A change of a table: another value in the first row."""
    return lambda table: table.set_column(
        table.column_names.index(name), name, pa.array([value, *table[name].to_pylist()[1:]], table[name].type)
    )


def append(name: str, values: Callable[[int], list[Any]]) -> Change:
    return lambda table: table.append_column(name, pa.array(values(len(table))))


def drop(name: str) -> Change:
    return lambda table: table.drop_columns([name])


def damage(path: Path, change: Change) -> None:
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)


CELLS: list[tuple[Change, str]] = [
    (append("budget", lambda n: ["[1]"] * n), "budget: expected a table of numbers as JSON, found [1]"),
    (append("budget", lambda n: ['{"faces": "many"}'] * n), "budget: expected a table of numbers as JSON, found"),
    (append("budget", lambda n: ["{"] * n), "budget: expected a table of numbers as JSON, found {"),
    (append("knowledge", lambda n: [6] * n), "knowledge: expected numbers from 0 to 5, found 6"),
    (append("knowledge", lambda n: [-1] * n), "knowledge: expected numbers from 0 to 5, found -1"),
    (append("embeds", lambda n: ["yes"] * n), "embeds: expected true or false, found string"),
    (put("cell", lambda n: [0.5] * n), "cell: expected texts, found double"),
    (put("cell", lambda n: [b"\xff"] * n), "cell: expected texts, found binary"),
    (put("repeat", lambda n: ["a"] * n), "repeat: expected whole numbers, found string"),
    (put("repeat", lambda n: [[1]] * n), "repeat: expected whole numbers, found list"),
    (first("repeat", -1), "repeat: expected numbers from 0 to 999, found -1"),
    (first("repeat", 10**12), "repeat: expected numbers from 0 to 999, found 1000000000000"),
    (put("synthetic", lambda n: ["yes"] * n), "synthetic: expected true or false, found string"),
    (put("threat", lambda n: [{"a": 1}] * n), "threat: expected texts, found struct"),
    (put("kappa", lambda n: [float("nan")] * n), "kappa: expected a value in every row, found none in one"),
    (put("kappa", lambda n: [float("inf")] * n), "kappa: expected finite numbers, found an infinite one"),
    (put("cell", lambda n: ["same"] * n), "cell: expected ids that occur once"),
    (drop("pairs"), "pairs: expected a value in every row, found none in one"),
    (first("experiment", None), "experiment: expected a value in every row, found none in one"),
    (first("status", "fine"), "status: expected one of ok, skipped, failed, timeout, queued, found fine"),
    (first("role", ""), "role: expected one of authorised, unauthorised, surrogate, any, found "),
    (first("components", "3"), "components: expected a list of components as JSON, found 3"),
    (first("components", "[[]]"), "components: expected a list of components as JSON, found [[]]"),
    (first("components", '[{"kind": "model"}]'), "components: expected a list of components as JSON"),
    (first("components", "[" * 3000), "components: expected a list of components as JSON"),
    (first("stages", "[1]"), "stages: expected a list of keys of stages as JSON, found [1]"),
    (first("stages", "no"), "stages: expected a list of keys of stages as JSON, found no"),
    (first("defense_params", "[]"), "defense_params: expected a table as JSON, found []"),
]


@pytest.mark.parametrize(("change", "words"), CELLS)
def test_a_wrong_column_of_cells_is_named(folder: Path, change: Change, words: str) -> None:
    path = folder / "cells.parquet"
    damage(path, change)
    with pytest.raises(StorageError) as caught:
        _ = RunResults(folder).cells
    assert str(caught.value).startswith(f"{path}: {words}")
    assert str(caught.value).endswith("; run the suite again to write it anew")


def test_a_repeat_that_occurs_twice_is_refused(folder: Path) -> None:
    """The rows of a cell again, under another id: they would count as a second measurement."""

    def again(table: pa.Table) -> pa.Table:
        copy = table.slice(0, 1)
        return pa.concat_tables([table, copy.set_column(copy.column_names.index("cell"), "cell", pa.array(["copy"]))])

    cell = RunResults(folder).cells["cell"][0]
    damage(folder / "cells.parquet", again)
    words = f"repeat: expected another number in each cell with the same labels, found 0 in the cells {cell} and copy"
    with pytest.raises(StorageError, match=words):
        _ = RunResults(folder).cells


@pytest.mark.parametrize("table", ["cells", "verification"])
def test_a_column_that_occurs_twice_is_refused(table: str, folder: Path) -> None:
    path = folder / "cells.parquet" if table == "cells" else RunResults(folder).parts(table)[0].path
    damage(path, lambda table: pa.table([*table.columns, table["cell"]], [*table.column_names, "cell"]))
    with pytest.raises(StorageError, match=f"^{path}: "):
        _ = RunResults(folder).cells if table == "cells" else RunResults(folder).parts(table)


@pytest.mark.parametrize("name", ["authorised", "authorised_stand_in_for", "splits"])
@pytest.mark.parametrize("strange", [[["a"]], [1], "text", [["a"], None]])
def test_lists_that_hold_something_else_are_refused(name: str, strange: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "schema-4", tmp_path / "run"))
    damage(folder / "cells.parquet", put(name, lambda n: [strange] * n))
    with pytest.raises(StorageError, match=f"{name}: expected lists of texts"):
        _ = RunResults(folder).cells


def test_each_authorised_model_has_a_name(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "schema-4", tmp_path / "run"))
    damage(folder / "cells.parquet", first("authorised_stand_in_for", [f"m{i}" for i in range(10_000)]))
    with pytest.raises(StorageError, match="authorised_stand_in_for: expected a name for each authorised model"):
        _ = RunResults(folder).cells


def test_columns_of_types_that_convert_without_loss_are_read(folder: Path) -> None:
    before = RunResults(folder).cells

    def converted(table: pa.Table) -> pa.Table:
        wide = put("defense", lambda n: pa.array(table["defense"].to_pylist(), pa.large_string()))(table)
        coded = wide.set_column(wide.column_names.index("attack"), "attack", wide["attack"].dictionary_encode())
        return coded.set_column(coded.column_names.index("pairs"), "pairs", coded["pairs"].cast(pa.int32()))

    damage(folder / "cells.parquet", converted)
    assert RunResults(folder).cells.equals(before)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("seconds", "<script>", "seconds: expected numbers, found"),
        ("status", None, "status: expected a value in every row, found none in one"),
        ("status", ["ok"], "status: expected texts, found"),
        ("seconds", float("inf"), "seconds: expected finite numbers, found an infinite one"),
        ("batch", "many", "batch: expected whole numbers, found"),
    ],
)
def test_a_wrong_value_of_a_stage_is_named(folder: Path, name: str, value: Any, words: str) -> None:
    if (path := folder / "stages.parquet").exists():
        kind = pa.array([value])
        damage(path, put(name, lambda n: [kind[0].as_py()] * n))
    else:
        path, words = folder / "run.json", f"stages: {words}"
        record = json.loads(path.read_text())
        record["stages"][1][name] = value
        path.write_text(json.dumps(record))
    with pytest.raises(StorageError) as caught:
        _ = RunResults(folder).stages
    assert str(caught.value).startswith(f"{path}: {words}")


def test_the_inputs_of_a_stage_are_a_table_of_texts(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "schema-4", tmp_path / "run"))
    damage(folder / "stages.parquet", first("inputs", "[1]"))
    with pytest.raises(StorageError, match="inputs: expected a table of keys of stages as JSON"):
        _ = RunResults(folder).stages


@pytest.mark.parametrize("name", ["seconds", "peak_mb", "attempts", "client_flops", "client_seconds"])
def test_amounts_of_a_stage_are_not_negative(tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(GOLDEN / "schema-4", tmp_path / "run"))
    damage(folder / "stages.parquet", first(name, -5))
    with pytest.raises(StorageError, match=f"{name}: expected numbers that are not negative, found -5"):
        _ = RunResults(folder).stages


@pytest.mark.parametrize("table", sorted({*SAMPLES} - {"links", "people", "sets"}))  # Older runs have none.
def test_a_table_of_samples_without_a_needed_column_is_refused(table: str, folder: Path) -> None:
    results = RunResults(folder)
    part = results.parts(table)[0]
    for column in (c for c in SAMPLES_NEEDED[table] if c not in part.constant):
        content = part.path.read_bytes()
        damage(part.path, drop(part.renamed.get(column, column)))
        with pytest.raises(StorageError, match=f"{part.path}: {column}: expected a column, found none"):
            results.require(table)
        part.path.write_bytes(content)


@pytest.mark.parametrize("name", ["fmr", "cos_self", "left_id", "fold"])
def test_a_wrong_type_of_a_column_of_samples_is_named(name: str, folder: Path) -> None:
    path = RunResults(folder).parts("verification")[0].path
    damage(path, put(name, lambda n: pa.array([0] * n, pa.timestamp("us"))))
    with pytest.raises(StorageError, match=f"{path}: {name}: expected .*, found timestamp"):
        _ = Rows(RunResults(folder)).scores


def test_a_duration_that_is_no_number_counts_as_not_recorded(folder: Path) -> None:
    if (path := folder / "stages.parquet").exists():
        damage(path, first("seconds", float("nan")))
    else:
        record = json.loads((folder / "run.json").read_text())
        record["stages"][0]["seconds"] = float("nan")
        (folder / "run.json").write_text(json.dumps(record))
    stages = RunResults(folder).stages
    assert stages[0]["seconds"] is None
    assert all(isinstance(stage["seconds"], float) for stage in stages[1:])
