"""The record of a run is read into a `RunRecord` or refused with one error; a damaged file causes no traceback."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import StorageError
from bench.store.run_record import READABLE, RunRecord, read_record, salvage_record, write_record

GOLDEN = Path(__file__).parents[1] / "golden"
STRANGE: tuple[Any, ...] = (None, 3, -1.5, "text", True, [], ["x", 4], {}, {"name": 5}, [[{}]])


def raw(schema: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / f"schema-{schema}" / "run.json").read_text())
    return found


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a record, except inside the suite file and parameters, which hold anything."""
    if place:
        yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        if key not in ("raw", "params", "passed", "stages"):
            yield from places(child, (*place, key))


def changed(record: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The record with another value at a place."""
    made = copy.deepcopy(record)
    holder: Any = made
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    return made


def write(folder: Path, record: Any) -> Path:
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize("schema", READABLE)
def test_a_record_that_was_read_is_written_and_read_again(schema: int, tmp_path: Path) -> None:
    record = read_record(GOLDEN / f"schema-{schema}")
    assert (record.schema, record.suite.name, record.status) == (schema, "golden", "incomplete")
    assert record.counts is not None
    assert (record.counts.cells, record.counts.without_result) == (20, 2)
    assert {c.kind for c in record.components} == {"dataset", "model", "defense", "attack"}
    assert bool(record.stages) == (schema == 2)
    write_record(tmp_path, record)
    found = json.loads((tmp_path / "run.json").read_text())
    assert found["schema"] == schema
    write(tmp_path, {**found, "schema": max(READABLE)})
    again = read_record(tmp_path)
    assert again.components == record.components
    assert again.suite == record.suite


@pytest.mark.slow
@pytest.mark.parametrize("schema", READABLE)
def test_whatever_stands_in_a_record_is_read_or_refused_in_one_line(schema: int, tmp_path: Path) -> None:
    record = raw(schema)
    draw = random.Random(schema)
    for place in draw.sample(list(places(record)), 150):
        write(tmp_path, changed(record, place, draw.choice(STRANGE)))
        with contextlib.suppress(StorageError):
            read_record(tmp_path)
        if place not in (("schema",), ("suite",)):
            assert isinstance(salvage_record(tmp_path), RunRecord)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("suite",), "toy", "suite: expected a table, found 'toy'"),
        (("suite", "name"), 3, "suite.name: expected a text, found 3"),
        (("suite", "experiments", 1, "pairs"), "many", "suite.experiments[1].pairs: expected a whole number, found"),
        (("components", 0, "origin"), ["x"], "components[0].origin: expected a table, found ['x']"),
        (("components", 2, "params"), 7, "components[2].params: expected a table, found 7"),
        (("counts", "ok"), True, "counts.ok: expected a whole number, found True"),
        (("command",), "bench run", "command: expected a list, found 'bench run'"),
        (("seconds",), "long", "seconds: expected a number, found 'long'"),
        (("files",), {"cells.parquet": 1}, "files.cells.parquet: expected a text, found 1"),
    ],
)
@pytest.mark.parametrize("schema", READABLE)
def test_a_wrong_type_is_named(schema: int, place: tuple[Any, ...], value: Any, words: str, tmp_path: Path) -> None:
    write(tmp_path, changed(raw(schema), place, value))
    with pytest.raises(StorageError) as caught:
        read_record(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'run.json'}: {words}")


def test_a_missing_value_is_named(tmp_path: Path) -> None:
    record = raw(max(READABLE))
    del record["suite"]
    with pytest.raises(StorageError, match=r"run\.json: suite: expected a value, found none$"):
        read_record(write(tmp_path, record))
    record = raw(max(READABLE))
    del record["components"][0]["label"]
    with pytest.raises(StorageError, match=r"run\.json: components\[0\]\.label: expected a value, found none$"):
        read_record(write(tmp_path, record))


def test_schema_1_is_refused_and_listed(tmp_path: Path) -> None:
    """Its tables had other columns; commands that list and remove runs still read its record."""
    write(tmp_path, {**raw(2), "schema": 1})
    with pytest.raises(StorageError, match=r"schema 1, this bench reads .*; run the suite again, or install the bench"):
        read_record(tmp_path)
    assert salvage_record(tmp_path).suite == read_record(GOLDEN / "schema-2").suite


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("suite", "name"), "../../outside"),
        (("suite", "name"), "/etc"),
        (("suite", "name"), ".."),
        (("digest",), "../../.."),
        (("replay_of",), "../other"),
        (("files",), {"samples/../../x": "0"}),
        (("files",), {"/etc/passwd": "0"}),
    ],
)
def test_a_name_that_leads_out_of_its_folder_is_refused(place: tuple[Any, ...], value: Any, tmp_path: Path) -> None:
    """The names in a record become parts of paths: of the page, of a cache, of the original of a replay."""
    write(tmp_path, changed(raw(max(READABLE)), place, value))
    name = next(iter(value)) if isinstance(value, dict) else value
    with pytest.raises(StorageError) as caught:
        read_record(tmp_path)
    expected = f"{'.'.join(place)}: expected the name of a file or folder, found {name!r}"
    assert str(caught.value) == f"{tmp_path / 'run.json'}: {expected}"
    assert salvage_record(tmp_path).suite.name in ("golden", tmp_path.parent.name)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("suite", "name"), "a\x1b[31m", "suite.name: expected the name of a file or folder, found 'a"),
        (("seconds",), float("nan"), "seconds: expected a number, found nan"),
        (("timeout_s",), float("inf"), "timeout_s: expected a number, found inf"),
        (("seconds",), 10**400, "seconds: expected a number, found 1000"),
        (("suite", "title"), "\ud800", "expected the record of a run, found none (a text that is not valid Unicode)"),
        (
            ("suite", "raw", "x"),
            json.loads("[" * 70 + "]" * 70),
            "expected the record of a run, found none (tables and",
        ),
    ],
)
def test_a_value_that_cannot_be_printed_or_written_is_refused(
    place: tuple[Any, ...], value: Any, words: str, tmp_path: Path
) -> None:
    write(tmp_path, changed(raw(max(READABLE)), place, value))
    with pytest.raises(StorageError) as caught:
        read_record(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'run.json'}: {words}")
    if place[-1] != "x":  # What is nested too deep is not listed either.
        assert salvage_record(tmp_path).suite.name in ("golden", tmp_path.parent.name)


def test_a_record_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()
    with pytest.raises(StorageError, match="found something else"):
        read_record(tmp_path)


@pytest.mark.parametrize("strange", [None, 3, "text", [None], [3], [[]], {"name": 4}, [{}]])
def test_the_tables_of_a_recorded_suite_may_be_anything(strange: Any, tmp_path: Path) -> None:
    suite = read_record(
        write(tmp_path, changed(raw(4), ("suite", "raw"), {"suite": strange, "experiment": strange}))
    ).suite
    assert (suite.seed, suite.table("attacks")) == (0, {})
    assert isinstance(suite.head, dict)
