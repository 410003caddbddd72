"""What is small on the disk and large in memory, and what takes for ever, is refused before it is begun."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from stranger import GOLDEN, Stranger

from bench.cli import main
from bench.core import table_sizes
from bench.core.errors import StorageError, SuiteError
from bench.core.table_sizes import memory_of, require_readable_size
from bench.store.run_record import LARGEST_RECORD
from bench.suite.expand import MAX_CELLS
from bench.suite.suite import _check_distinct, read

ENDLESS = 10**12


def written(path: Path, table: pa.Table, groups: int = 1) -> Path:
    """Write a table several times into a file."""
    with pq.ParquetWriter(path, table.schema) as file:
        for _ in range(groups):
            file.write_table(table)
    return path


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.int32(), pa.bool_()])
def test_numbers_count_by_their_rows(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"a": pa.array(np.zeros(10_000), pa.float64()).cast(kind)})
    found = memory_of(written(tmp_path / "a", table), ENDLESS)
    assert table.nbytes <= found <= 9 * 10_000 + 1_000


def test_repeated_texts_count_as_often_as_they_are_repeated(tmp_path: Path) -> None:
    table = pa.table({"a": ["x" * 10_000] * 10_000})
    path = written(tmp_path / "a", table)
    assert path.stat().st_size < 10_000
    assert memory_of(path, ENDLESS) >= table.nbytes
    assert memory_of(path, 1_000_000) > 1_000_000


@pytest.mark.parametrize(
    "column",
    [["x" * 1_000, *["y"] * 9_999], [["x" * 1_000], *[["y", "z"]] * 9_999], [b"x" * 1_000, *[b"y"] * 9_999]],
    ids=["texts", "lists", "pictures"],
)
def test_one_long_text_among_short_ones_is_no_reason_to_refuse(tmp_path: Path, column: list[object]) -> None:
    path = written(tmp_path / "a", pa.table({"a": column}))
    assert memory_of(path, 1_000_000) < 500_000


def test_a_file_that_is_small_on_the_disk_only_is_refused(tmp_path: Path) -> None:
    table = pa.table({f"column {i}": np.zeros(1_000_000) for i in range(8)})
    path = written(tmp_path / "a", table, groups=20)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(StorageError, match=r"expected a table that takes at most 1\.1 GB of memory, found one of 0\."):
        require_readable_size([path])
    with pytest.raises(StorageError, match="expected at most 1,000 rows, found 20,000,000"):
        require_readable_size([path], 1_000)


def test_metadata_that_say_too_little_do_not_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages of a file decide what is read, so that it is counted again while it is read."""
    path = written(tmp_path / "a", pa.table({"a": np.zeros(1_000_000)}))
    assert table_sizes.read_table(path).equals(pq.read_table(path))
    monkeypatch.setattr(table_sizes, "memory_of", lambda source, limit: 0)
    monkeypatch.setattr(table_sizes, "LARGEST", 1_000_000)
    with pytest.raises(StorageError, match=r"expected a table that takes at most 0\.0 GB of memory, found one of 0\."):
        table_sizes.read_table(path)


def test_many_files_count_together(tmp_path: Path) -> None:
    table = pa.table({f"column {i}": np.zeros(1_000_000) for i in range(8)})
    paths = [written(tmp_path / str(i), table) for i in range(20)]
    require_readable_size(paths[:10])
    with pytest.raises(StorageError, match="expected a table that takes"):
        require_readable_size(paths)


def test_every_file_of_bench_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in GOLDEN.rglob("*.parquet"):
        require_readable_size([path])
        assert pq.read_table(path, partitioning=None).nbytes <= memory_of(path, ENDLESS)
        monkeypatch.setattr(table_sizes, "LARGEST", 1)
        monkeypatch.setattr(table_sizes, "_DENSEST", 1_000)
        require_readable_size([path])


@pytest.mark.parametrize("name", ["cells.parquet", "stages.parquet", "samples"])
def test_reading_commands_refuse_such_a_file(stranger: Stranger, name: str) -> None:
    path = stranger.folder / name
    path = path if path.is_file() else next(path.glob("verification/*/*.parquet"))
    table = pq.read_table(path, partitioning=None)
    more = {f"more {i}": np.zeros(2_000_000) for i in range(16)}
    size = 2_000_000
    wide = pa.table({n: pa.nulls(size, table.schema.field(n).type) for n in table.column_names} | more)
    written(path, wide, groups=6)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = stranger.bench("report", stranger.folder)
    assert done.exit_code == 2
    assert "it is not read" in done.stderr
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def test_a_record_of_many_bytes_is_not_read(stranger: Stranger) -> None:
    with (stranger.folder / "run.json").open("r+b") as file:
        file.truncate(LARGEST_RECORD + 1)  # without taking room on the disk
    for command in stranger.reading_commands():
        assert stranger.bench(*command).exit_code in (0, 2)


SUITE = """\
[suite]
name = "large"
[[experiment]]
name = "one"
datasets = ["synth-lfw"]
authorised = ["zoo-mobileface"]
evaluated = ["zoo-resnet"]
defenses = [{ plugin = "noise", grid = { DEFENSES } }]
attacks = [ATTACKS]
repeats = REPEATS
pairs = 4
"""


def suite(folder: Path, defenses: int, attacks: int, repeats: int) -> Path:
    grid = f"sigma = {[i / 1000 for i in range(defenses)]}"
    some = ", ".join(f'{{ plugin = "inversion", grid = {{ steps = {list(range(1, 1001))} }} }}' for _ in range(attacks))
    path = folder / "large.toml"
    path.write_text(SUITE.replace("DEFENSES", grid).replace("ATTACKS", some).replace("REPEATS", str(repeats)))
    return path


@pytest.mark.parametrize("sizes", [(1000, 1000, 1000), (1000, 2, 1), (1000, 1, 2)])
def test_a_suite_without_end_is_refused_before_it_is_expanded(tmp_path: Path, sizes: tuple[int, int, int]) -> None:
    total = sizes[0] * sizes[1] * 1000 * sizes[2]
    done = CliRunner().invoke(main, ["plan", str(suite(tmp_path, *sizes)), "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert f"expected at most {MAX_CELLS:,} combinations of all axes in a suite, found {total:,}" in done.stderr


def test_many_entries_of_an_axis_take_no_quadratic_time() -> None:
    """Labels are compared with a set: pairs of 30,000 labels would be 450 million comparisons."""
    _check_distinct([f"label {i}" for i in range(300_000)], "somewhere")
    with pytest.raises(SuiteError, match=r"somewhere\[2\]: 'a' appears twice"):
        _check_distinct(["a", "b", "a"], "somewhere")


def test_the_largest_suite_is_read(tmp_path: Path) -> None:
    assert read(suite(tmp_path, 1000, 1, 1)).tables.suite.name == "large"


@pytest.mark.parametrize("command", [("run", "quick"), ("rescore", "quick")])
@pytest.mark.parametrize("workers", [0, 1025, 10**9])
def test_workers_have_a_bound(command: tuple[str, str], workers: int) -> None:
    done = CliRunner().invoke(main, [*command, "--workers", str(workers)])
    assert done.exit_code == 2
    assert f"--workers: expected a number in the range 1<=x<=1024, found {workers}" in done.stderr


def test_a_suite_in_a_record_is_counted_too(stranger: Stranger) -> None:
    stranger.change(lambda record: record["suite"]["raw"]["experiment"][0].update(repeats=1000))
    many = ["identity"] * 2000
    stranger.change(lambda record: record["suite"]["raw"]["experiment"][0].update(defenses=many))
    done = stranger.bench("run", "--replay", stranger.folder)
    assert done.exit_code == 2
    assert "combinations of all axes in a suite" in done.stderr


LEVELS = ", ".join(str(i / 5000) for i in range(5000))


@pytest.mark.parametrize(
    "defense",
    [
        f'{{ plugin = "noise", sigma = [{LEVELS}] }}',
        f'"{"x" * 100_000}"',
        '"noise"]\n' + "".join(f"k{i} = 1\n" for i in range(5000)) + "figures = [",
        f'"noise"]\n"{"y" * 50_000}" = 1\nfigures = [',
    ],
    ids=["a list of numbers", "a name", "many keys", "a key"],
)
@pytest.mark.parametrize("options", [[], ["--log-format", "json"]], ids=["text", "json"])
def test_a_message_does_not_repeat_a_long_text_of_a_suite(tmp_path: Path, defense: str, options: list[str]) -> None:
    text = SUITE.replace('{ plugin = "noise", grid = { DEFENSES } }', defense).replace("ATTACKS", '"abuse"')
    (tmp_path / "long.toml").write_text(text.replace("REPEATS", "1"))
    done = CliRunner().invoke(main, ["run", str(tmp_path / "long.toml"), "--out", str(tmp_path), *options])
    assert done.exit_code == 2
    assert "long.toml: experiment[0]" in done.stderr
    assert len(done.stderr) < 40_000
    assert max(map(len, done.stderr.splitlines())) < 1_100 or options
    assert "left out" in done.stderr or "further lines" in done.stderr
