"""Rows on disk: limits of row groups and files, equal bytes for equal rows, and reading only the requested rows."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SUITE, compute, ended_well

from bench.core.errors import StorageError
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry
from bench.store import writing
from bench.store.artifacts import Artifact, Cache
from bench.store.cell_rows import CellLabels
from bench.store.reading import RunResults
from bench.store.row_index import Recent
from bench.store.run_folders import is_complete
from bench.store.run_record import RunRecord, SuiteRecord
from bench.store.schema import SCHEMA_VERSION
from bench.store.writing import SampleWriter, write_run
from bench.suite.suite import load


def rows_of(cell: str, n: int, **columns: Any) -> pa.Table:
    """Rows of a cell as the writer gets them."""
    experiment, dataset = cell.split("/")[:2]
    about = {"cell": [cell] * n, "experiment": [experiment] * n, "dataset": [dataset] * n, "defense": ["none"] * n}
    return pa.table({**about, "number": range(n), **columns})


COMPLETE = RunRecord(suite=SuiteRecord(name="rows"), status="complete")


# The columns of a cell that every reader needs and that these tests do not look at.
CELL = {"defense": "none", "attack": "abuse", "role": "any", "status": "ok", "repeat": 0, "pairs": 2, "kappa": 0.2}


def write(folder: Path, tables: Iterable[pa.Table], name: str = "verification") -> RunResults:
    """A run folder with one table."""
    cells: dict[str, None] = {}
    with SampleWriter(folder) as samples:
        for table in tables:
            samples.add(name, table["experiment"][0].as_py(), table)
            cells |= dict.fromkeys(table["cell"].to_pylist())
    labels = "experiment", "dataset", "evaluated"
    known = [{"cell": c, **dict(zip(labels, c.split("/"), strict=False))} for c in cells]
    pq.write_table(pa.Table.from_pylist([{**c, **CELL} for c in known]), folder / "cells.parquet")
    (folder / "run.json").write_text(json.dumps({"schema": SCHEMA_VERSION, "suite": {"name": "rows"}}))
    return RunResults(folder)


def files(folder: Path) -> dict[str, str]:
    """The files of a folder with the digests of their bytes."""
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "run.json")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def groups(path: Path) -> list[int]:
    """The rows of each row group of a file."""
    about = pq.ParquetFile(path).metadata
    return [about.row_group(i).num_rows for i in range(about.num_row_groups)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of at most 10 rows, files of at most 40."""
    monkeypatch.setattr(writing, "GROUP_ROWS", 10)
    monkeypatch.setattr(writing, "PART_ROWS", 40)


# ---- files and row groups --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_row_groups_end_where_cells_do(tmp_path: Path) -> None:
    write(tmp_path, [rows_of(f"one/a/{i}", n) for i, n in enumerate((4, 4, 4, 9, 25, 1, 1, 1))])
    place = tmp_path / "samples" / "verification" / "experiment=one"
    assert groups(place / "part-00000.parquet") == [8, 4, 9]
    assert groups(place / "part-00001.parquet") == [10, 10, 5, 3]


def test_row_groups_of_pictures_are_no_larger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "GROUP_BYTES", 10_000)
    tables = [rows_of(f"one/a/{i}", n, picture=[b"x" * 1000] * n) for i, n in enumerate((4, 4, 4, 30))]
    write(tmp_path, tables, "examples")
    sizes = groups(tmp_path / "samples" / "examples" / "experiment=one" / "part-00000.parquet")
    assert sizes[:2] == [8, 4]
    assert max(sizes) < 10
    assert sum(sizes) == 42


def test_a_picture_that_many_rows_share_takes_its_bytes_once(tmp_path: Path) -> None:
    faces = [bytes([i]) * 300_000 for i in range(8)]  # more than a megabyte, which is the dictionary of other writers
    write(tmp_path, [rows_of(f"one/a/{i}", 8, original=faces) for i in range(6)], "examples")
    (path,) = (tmp_path / "samples").rglob("*.parquet")
    about = pq.ParquetFile(path).metadata.row_group(0)
    original = next(c for c in map(about.column, range(about.num_columns)) if c.path_in_schema == "original")
    assert original.total_uncompressed_size < 1.1 * sum(map(len, faces))


def test_a_new_column_begins_a_new_file(tmp_path: Path) -> None:
    tables = [
        rows_of("one/a/0", 2),
        rows_of("one/a/1", 2, extra_loss=[1, 2]),
        rows_of("one/a/2", 2),
        rows_of("one/a/3", 2, extra_loss=[0.5, 1.5]),
    ]
    found = write(tmp_path, tables).samples("verification")
    assert found["extra_loss"].isna().tolist() == [True, True, False, False, True, True, False, False]
    assert found["extra_loss"].dropna().tolist() == [1.0, 2.0, 0.5, 1.5]
    assert len(list((tmp_path / "samples").rglob("*.parquet"))) == 3  # the last one widens the numbers
    assert found["number"].tolist() == [0, 1] * 4


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), st.integers(1, 30)), min_size=1, max_size=12),
    limits=st.tuples(st.integers(1, 12), st.integers(1, 40)),
)
def test_what_is_written_is_read(
    sizes: list[tuple[str, int]], limits: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    sizes = [pair for e in dict.fromkeys(e for e, _ in sizes) for pair in sizes if pair[0] == e]
    tables = [rows_of(f"{e}/{'ab'[i % 2]}/{i}", n) for i, (e, n) in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "GROUP_ROWS", limits[0])
        patch.setattr(writing, "PART_ROWS", limits[1])
        results = write(tmp_path_factory.mktemp("run"), tables)
    expected = pa.concat_tables(tables).to_pandas()
    pd.testing.assert_frame_equal(results.samples("verification"), expected)
    batches = list(results.batches("verification"))
    pd.testing.assert_frame_equal(pd.concat(batches, ignore_index=True), expected)
    index = results.index("verification", ["cell"], level="number", first=["dataset"])
    assert [key for (key,) in index] == list(dict.fromkeys(expected["cell"]))
    for i, (experiment, n) in enumerate(sizes):
        cell = f"{experiment}/{'ab'[i % 2]}/{i}"
        own = expected[expected["cell"] == cell].reset_index(drop=True)
        pd.testing.assert_frame_equal(results.samples("verification", {"cell": cell}), own)
        found, entry = index.rows((cell,)), index.get((cell,))
        assert found is not None
        assert entry is not None
        pd.testing.assert_frame_equal(found.to_pandas(), own.drop(columns="experiment"))
        assert (list(entry.levels), entry.first) == (list(range(n)), {"dataset": "ab"[i % 2]})


# ---- writing again ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_the_same_rows_are_the_same_bytes_and_nothing_stale_stays(tmp_path: Path) -> None:
    few = [rows_of("one/a/0", 30), rows_of("two/a/1", 5)]
    write(tmp_path / "few", few)
    write(tmp_path / "again", [*few, *(rows_of(f"three/a/{i}", 30) for i in range(9))])
    write(tmp_path / "again", few)
    assert files(tmp_path / "again") == files(tmp_path / "few")
    assert not list(tmp_path.rglob("experiment=three"))


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path, [rows_of("one/a/0", 3)])
    before = files(tmp_path)

    def broken() -> Iterator[pa.Table]:
        yield rows_of("one/a/0", 50_000)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write(tmp_path, broken())
    assert files(tmp_path) == before


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".samples.0badc0de" / "verification" / "part"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    write(tmp_path, [rows_of("one/a/0", 3)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.parquet", "run.json", "samples"]


class Counting(Cache):
    """A cache that counts what is read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read_keys: Counter[str] = Counter()

    def read(self, key: str) -> Artifact:
        """Read and count."""
        self.read_keys[key] += 1
        return super().read(key)


@pytest.fixture(scope="module")
def computed(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Counting]:
    """The toy suite with few pairs, and all its artifacts."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "toy.toml").write_text(SUITE.replace("pairs = 40", "pairs = 6").replace("pairs = 20", "pairs = 4"))
    plan = make_plan(load(folder / "toy.toml", registry), registry, "cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.stages.stage_inputs.discover", lambda: registry)
        cache = Counting(folder / "cache")
        compute(plan, cache)
    return plan, cache


def test_every_score_is_read_once_and_runs_repeat(
    computed: tuple[Plan, Counting], registry: Registry, tmp_path: Path
) -> None:
    plan, cache = computed
    cache.read_keys.clear()
    write_run(tmp_path / "one", ended_well(plan), cache, registry, COMPLETE)
    keys = {key for cell in plan.cells if not cell.skip for key in cell.stages}
    assert cache.read_keys == Counter(keys)
    write_run(tmp_path / "two", ended_well(plan), cache, registry, COMPLETE)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len(files(tmp_path / "one")) > 6


@pytest.mark.slow
def test_two_writers_of_one_run_take_turns(computed: tuple[Plan, Counting], registry: Registry, tmp_path: Path) -> None:
    plan, cache = computed
    with ThreadPoolExecutor(4) as pool:
        about = ended_well(plan), cache, registry, COMPLETE
        for done in [pool.submit(write_run, tmp_path / "run", *about) for _ in range(8)]:
            done.result()
    assert is_complete(tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"cells.parquet", "run.json", "samples", "stages.parquet"}


def test_a_full_disk_is_one_message(
    computed: tuple[Plan, Counting], registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, cache = computed
    write_run(tmp_path / "run", ended_well(plan), cache, registry, COMPLETE)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(StorageError, match=r"run: cannot write the results: No space left on device"):
        write_run(tmp_path / "run", ended_well(plan), cache, registry, COMPLETE)
    assert is_complete(tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"cells.parquet", "run.json", "samples", "stages.parquet"}


# ---- selecting -------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path: Path) -> RunResults:
    """Three cells of two experiments."""
    return write(tmp_path, [rows_of("two/a/0", 4), rows_of("one/a/1", 4), rows_of("one/b/2", 4)])


def test_rows_are_those_that_were_asked_for(asked: RunResults) -> None:
    assert list(dict.fromkeys(asked.samples("verification")["experiment"])) == ["two", "one"]  # as in the suite
    assert len(asked.samples("verification", {"experiment": "one"})) == 8
    assert len(asked.samples("verification", {"experiment": ["one", "two"], "dataset": "a"})) == 8
    assert len(asked.samples("verification", {"cell": ("one/b/2", "two/a/0"), "number": {1, 2}})) == 4
    assert len(asked.samples("verification", {"number": range(100)})) == 12
    assert asked.samples("verification", {"cell": "three"}).empty
    assert asked.samples("verification", {"cell": []}).empty
    only = asked.samples("verification", {"cell": "one/a/1"}, ["number", "experiment"])
    assert only.to_dict("list") == {"number": [0, 1, 2, 3], "experiment": ["one"] * 4}
    assert asked.columns("verification").names == ["cell", "experiment", "dataset", "defense", "number"]


def test_an_unknown_column_is_one_message(asked: RunResults) -> None:
    message = r"samples/verification has no column 'numbre'; did you mean 'number'\?"
    with pytest.raises(StorageError, match=message):
        asked.samples("verification", {"numbre": 1})
    with pytest.raises(StorageError, match=message):
        list(asked.batches("verification", columns=["numbre"]))


def test_a_value_of_another_kind_is_one_message(asked: RunResults) -> None:
    with pytest.raises(
        StorageError, match=r"samples/verification: number holds int64, and the condition is \['many'\]"
    ):
        asked.samples("verification", {"number": "many"})


def test_what_cannot_hold_such_rows_is_not_read(asked: RunResults) -> None:
    """A damaged file of another experiment, and damaged row groups of other data sets, do not matter."""
    for path in (asked.folder / "samples").rglob("part-*.parquet"):
        about = pq.ParquetFile(path).metadata
        if "experiment=two" in str(path):
            data = bytearray(path.read_bytes())
            start = about.row_group(0).column(0).dictionary_page_offset or 4
            data[start : start + 60] = b"\xff" * 60
            path.write_bytes(data)
    results = RunResults(asked.folder)
    assert len(results.samples("verification", {"experiment": "one"})) == 8
    assert len(results.samples("verification", {"cell": "one/a/1"})) == 4
    with pytest.raises(StorageError, match="cannot be read"):
        results.samples("verification", {"experiment": "two"})


def test_a_run_that_has_just_begun_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        json.dumps({"schema": SCHEMA_VERSION, "suite": {"name": "rows"}, "status": "running"})
    )
    with pytest.raises(StorageError, match="this run has just begun and has no rows yet"):
        _ = RunResults(tmp_path).cells


def test_people_are_written_once_whichever_sides_of_pairs_are_protected() -> None:
    """Cells that protect different sides have different scores of baselines, which name the same people."""
    people = pa.table({"subject": [1], "attribute": ["gender"], "label": ["woman"], "value": [None], "pictures": [2]})

    class OfTwoSides(Cache):
        def __init__(self) -> None: ...

        def read(self, key: str) -> Artifact:
            return Artifact(tables={"baselines": pa.table({"sample_id": [key]}), "people": people})

    about: dict[str, Any] = {"experiment": "e", "dataset": "d", "synthetic": True, "authorised": "", "repeat": 0}
    about |= {"evaluated": "", "attack": "abuse", "via": "", "suite_version": None}
    cells = [CellLabels(cell=side, defense=side, stages=(side,), **about) for side in ("probe", "gallery")]
    written = [(name, table.num_rows) for name, _, table in writing._samples(cells, OfTwoSides())]
    assert written == [("baselines", 1), ("people", 1), ("baselines", 1)]


def test_the_baselines_of_a_picture_are_written_once_if_both_sides_of_pairs_were_scored() -> None:
    class OfTwoSides(Cache):
        def __init__(self) -> None: ...

        def read(self, key: str) -> Artifact:
            names = {"probe": ["a", "b"], "both": ["a", "b", "c"]}[key]
            return Artifact(
                tables={"baselines": pa.table({"sample_id": names, "ssim_grey": [len(names) / 10] * len(names)})}
            )

    about: dict[str, Any] = {"experiment": "e", "dataset": "d", "synthetic": True, "authorised": "", "repeat": 0}
    about |= {"evaluated": "", "attack": "abuse", "via": "", "suite_version": None}
    cells = [CellLabels(cell=side, defense=side, stages=(side,), **about) for side in ("probe", "both")]
    rows = [row for _, _, table in writing._samples(cells, OfTwoSides()) for row in table.to_pylist()]
    assert [(row["sample_id"], row["ssim_grey"]) for row in rows] == [("a", 0.2), ("b", 0.2), ("c", 0.3)]


def test_recent_values_are_held_while_there_is_room() -> None:
    made: list[str] = []

    def make(text: str) -> str:
        made.append(text)
        return text

    held: Recent[str] = Recent(5, len)
    for text in ("aa", "bb", "aa", "cc", "aa", "bb", "long, and alone", "long, and alone", "aa"):
        assert held.get(text, lambda text=text: make(text)) == text
    assert made == ["aa", "bb", "cc", "bb", "long, and alone", "aa"]
