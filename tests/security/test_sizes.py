"""What is small on the disk and large in memory, and what takes for ever, is refused before it is begun."""

from __future__ import annotations

import ast
import os
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from stranger import GOLDEN, Stranger
from support import TESTS

from bench.cli import main
from bench.core import table_sizes
from bench.core.errors import StorageError, SuiteError
from bench.core.parsing import parse_toml
from bench.core.table_sizes import memory_of, require_readable_size
from bench.core.whole_files import LARGEST_JOURNAL, LARGEST_JSON, LARGEST_SUITE, read_whole
from bench.store.artifacts import Cache
from bench.suite.expand import MAX_CELLS
from bench.suite.paper_tables import read_claims
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
    monkeypatch.setattr(table_sizes, "_bound", lambda source: 0)
    monkeypatch.setattr(table_sizes, "LARGEST", 1_000_000)
    with pytest.raises(StorageError, match=r"expected a table that takes at most 0\.0 GB of memory, found one of 0\."):
        table_sizes.read_table(path)


def test_many_files_count_together(tmp_path: Path) -> None:
    table = pa.table({f"column {i}": np.zeros(1_000_000) for i in range(8)})
    paths = [written(tmp_path / str(i), table) for i in range(20)]
    require_readable_size(paths[:10])
    with pytest.raises(StorageError, match="expected a table that takes"):
        require_readable_size(paths)


def test_many_small_files_are_no_reason_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the metadata allow each file adds up to far more than the files take."""
    monkeypatch.setattr(table_sizes, "LARGEST", 10_000_000)
    table = pa.table({"a": ["long " * 200, *["short"] * 5_000]})
    paths = [written(tmp_path / str(i), table) for i in range(10)]
    assert sum(memory_of(path, ENDLESS) for path in paths) > 10_000_000
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
        file.truncate(LARGEST_JSON + 1)  # without taking room on the disk
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
    for other in ("a ", "A", "a\u200b", "\uff41"):
        with pytest.raises(SuiteError, match=r"somewhere\[2\]: .* differs from 'a' only in spaces, case, invisible"):
            _check_distinct(["a", "b", other], "somewhere")
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


# ---- whole files -----------------------------------------------------------------------------------------------------


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert read_whole(path, 10) == b"x" * 10
    with pytest.raises(ValueError, match=r"expected a file of at most 9 bytes, found one of 10"):
        read_whole(path, 9)


@pytest.mark.parametrize("device", ["pipe", "/dev/zero"])
def test_what_is_no_file_is_not_read(tmp_path: Path, device: str) -> None:
    path = tmp_path / "pipe" if device == "pipe" else Path(device)
    if device == "pipe":
        os.mkfifo(path)
    with pytest.raises(ValueError, match="expected a file, found a pipe or device"):
        read_whole(path)
    with pytest.raises(IsADirectoryError):
        read_whole(tmp_path)


def endless(path: Path) -> Path:
    """Make a file of more bytes than any limit, without taking room on the disk."""
    with path.open("ab") as file:
        file.truncate(LARGEST_JOURNAL + 1)
    return path


@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_endless_suite_is_not_read(tmp_path: Path, command: str) -> None:
    done = CliRunner().invoke(main, [command, str(endless(tmp_path / "a.toml")), "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert f"a.toml: expected a file of at most {LARGEST_SUITE:,} bytes, found one of" in done.stderr


@pytest.mark.parametrize("place", ["/dev/zero", "pipe"])
def test_a_suite_is_no_pipe_and_no_device(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = CliRunner().invoke(main, ["plan", str(tmp_path / place), "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "expected a file, found a pipe or device" in done.stderr


def test_endless_published_numbers_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"claims: .*numbers\.csv: expected a file of at most 4,194,304 bytes"):
        read_claims(endless(tmp_path / "numbers.csv"), "experiment[0].claims")


def test_an_endless_journal_is_not_read(stranger: Stranger) -> None:
    endless(stranger.folder / "journal.jsonl")
    done = stranger.bench("status", stranger.folder)
    assert done.exit_code == 2
    assert "journal.jsonl: expected the journal of a run, of at most 1,073,741,824 bytes, found" in done.stderr


def test_an_endless_manifest_is_none(tmp_path: Path) -> None:
    cache, key = Cache(tmp_path), "ab" * 32
    cache.folder(key).mkdir(parents=True)
    endless(cache.folder(key) / "manifest.json")
    assert cache.manifest(key) is None
    endless(tmp_path / "cost-factors.json")
    assert cache.costs() == {}


@pytest.mark.parametrize("key", [".".join(["a"] * 100_000), ".".join(['"a b"'] * 65), " . ".join(["a"] * 65)])
def test_a_key_of_many_parts_takes_no_quadratic_time(key: str) -> None:
    for text in (f"{key} = 1", f"[{key}]", f"a = {{ {key} = 1 }}"):
        with pytest.raises(ValueError, match="tables and lists in more than 64 levels"):
            parse_toml(text)
    assert parse_toml('a."b.c".d = "1.2.3"') == {"a": {"b.c": {"d": "1.2.3"}}}


WHOLE = (".read_text", ".read_bytes", ".readlines", "json.load", "tomllib.load")
# Modules that read whole files of bench's own, or of the operating system, or whose limits are of another kind.
OWN = {
    "core/whole_files.py",
    "core/parsing.py",  # texts, no files
    "core/files.py",  # texts that bench keeps in the user's cache folder, checked by their digest
    "core/packages.py",  # installed metadata
    "core/provenance.py",  # /proc
    "cli/init.py",  # a part of the package
    "cli/new/__init__.py",  # parts of the package
    "suite/bundled.py",  # parts of the package
    "runs/trial/setting.py",  # a part of the package
    "runs/trial/faces.py",  # what a child of bench wrote about one picture
    "kit/other_process.py",  # what bench wrote for its child
    "engine/local.py",  # /sys, and logs, which are shortened while they grow
    "engine/worker.py",  # /proc
    "engine/ray_driver.py",  # the output of a process of its own
    "engine/ray_node.py",  # a secret of the driver
    "registry/sources.py",  # installed code
    "report/page/assets.py",  # parts of packages
    "report/page_key.py",  # a page in the user's folder of reports
    "store/artifacts.py",  # a file of an artifact, of at most 1 MB
}


def test_whole_files_are_read_in_one_module() -> None:
    for path in sorted((TESTS.parent / "bench").rglob("*.py")):
        if path.relative_to(TESTS.parent / "bench").as_posix() in OWN:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            text = ast.unparse(node) if isinstance(node, ast.Call) else ""
            assert not name.endswith(WHOLE) or "resources" in text or name == "file.read_text", f"{path}: {text}"
