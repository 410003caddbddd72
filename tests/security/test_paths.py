"""Names and links in the files of strangers lead nowhere: not when they are read, and not when they are written."""

from __future__ import annotations

import ast
import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stranger import Stranger, files_of

from bench.core.errors import StorageError, SuiteError
from bench.core.paths import LONGEST_NAME, LONGEST_WRITTEN, child, inside, is_file_name
from bench.registry.discovery import discover
from bench.store.row_index import RowIndex, TableFile
from bench.suite.suite import load

BENCH = Path(__file__).parents[2] / "bench"
HOSTILE = ("/abs/path", "../..", "..", ".", "", "a/b", "a\\b", "a\0b", "a\nb", "a\u202eb", "n" * 250, "é" * 150)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    assert not is_file_name(name)
    with pytest.raises(StorageError, match="expected the name of a file or folder"):
        child(tmp_path, "fine", name)


@pytest.mark.parametrize("name", ["a", "..a", "a b", "20260101-120000-1a2b3c4d", "é", "n" * LONGEST_NAME])
def test_other_names_are_taken(tmp_path: Path, name: str) -> None:
    assert child(tmp_path, "suite", name) == tmp_path / "suite" / name


PLACES: dict[str, Callable[[dict[str, Any], str], object]] = {
    "suite.name": lambda record, name: record["suite"].update(name=name),
    "digest": lambda record, name: record.update(digest=name),
    "replay_of": lambda record, name: record.update(replay_of=name),
    "rescored.run": lambda record, name: record.update(rescored={"run": name}),
    "files": lambda record, name: record["files"].update({f"samples/{name}": "0" * 64}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["/abs/path", "../..", "..", "n" * 250, "x\x1b]0;title\x07"])
def test_names_in_a_record_are_checked_when_it_is_read(stranger: Stranger, place: str, name: str) -> None:
    stranger.change(lambda record: PLACES[place](record, name.replace("/abs", str(stranger.home / "abs"))))
    before = files_of(stranger.home)
    for command in stranger.reading_commands()[:8]:
        done = stranger.bench(*command)
        assert done.exit_code == 2, done.output
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1
        assert "\x1b" not in done.stderr
    assert stranger.bench("runs", "ls").exit_code == 0
    assert stranger.bench("run", "--replay", stranger.folder).exit_code == 2
    assert stranger.bench("rescore", stranger.folder).exit_code == 2
    assert files_of(stranger.home) == before


@pytest.mark.parametrize("column", ["stages", "protect"])
def test_keys_of_stages_lead_to_no_other_folder(stranger: Stranger, column: str) -> None:
    path = stranger.folder / "cells.parquet"
    table = pq.read_table(path)
    keys = pa.array([json.dumps(["../../../secret"])] * len(table))
    pq.write_table(table.set_column(table.column_names.index(column), column, keys), path)
    for status in ("running", "complete"):
        stranger.change(lambda record, status=status: record.update(status=status))
        done = stranger.bench("explain", stranger.folder, "defense=toy-mean")
        assert done.exit_code == 2
        assert "expected a list of keys of stages as JSON" in done.stderr


# ---- links -----------------------------------------------------------------------------------------------------------


def linked(folder: Path) -> Iterator[Path]:
    yield from (folder / name for name in ("run.json", "cells.parquet", "stages.parquet", "journal.jsonl"))
    yield next(folder.glob("samples/verification/*/*.parquet"))


@pytest.mark.parametrize("which", range(5))
def test_links_out_of_a_run_folder_are_not_followed(stranger: Stranger, tmp_path: Path, which: int) -> None:
    path = list(linked(stranger.folder))[which]
    elsewhere = tmp_path / "elsewhere"
    if path.exists():
        path.rename(elsewhere)
    else:
        elsewhere.write_text("{}\n")
    path.symlink_to(elsewhere)
    # The table of stages is only read where it is shown, and the journal by bench status.
    command = ["status", stranger.folder] if path.suffix == ".jsonl" else ["report", stranger.folder]
    done = stranger.bench(*command)
    assert done.exit_code == 2
    assert "found a link to" in done.stderr


@pytest.mark.parametrize("name", ["run.json", "cells.parquet", "journal.jsonl"])
def test_a_pipe_is_not_waited_for(stranger: Stranger, name: str) -> None:
    path = stranger.folder / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    for command in (["status", stranger.folder], ["report", stranger.folder], ["runs", "ls"]):
        assert stranger.bench(*command).exit_code in (0, 2)


def test_links_within_a_run_folder_are_followed(stranger: Stranger) -> None:
    path = stranger.folder / "cells.parquet"
    path.rename(stranger.folder / "kept.parquet")
    path.symlink_to("kept.parquet")
    assert inside(stranger.folder, path) == path
    assert stranger.bench("report", stranger.folder).exit_code == 0


def test_a_whole_run_folder_may_be_a_link(stranger: Stranger, tmp_path: Path) -> None:
    stranger.folder.rename(tmp_path / "disk")
    stranger.folder.symlink_to(tmp_path / "disk")
    assert stranger.bench("report", stranger.folder).exit_code == 0


# ---- where commands write --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["running", "complete"])
@pytest.mark.parametrize("place", ["run", "data/run", "data/suite/run", "a/b/c/run"])
def test_reading_writes_to_reports_and_nowhere_else(
    stranger: Stranger, tmp_path: Path, status: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run lies right below the root of the file system, or deeper."""
    stranger.change(lambda record: record.update(status=status))
    folder = tmp_path / "root" / place
    folder.parent.mkdir(parents=True, exist_ok=True)
    stranger.folder.rename(folder)
    before = files_of(tmp_path)
    times = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    for command in (["report", folder], ["export", folder, "--table", "VII"], ["claims", folder], ["status", folder]):
        assert stranger.bench(*command).exit_code in (0, 1)
    after = files_of(tmp_path)
    assert {path for path in after if after[path] != before.get(path)} == {"home/reports/golden/index.html"}
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == times


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder in the root folder")
def test_a_run_right_below_the_root_folder_stays_as_it_is(stranger: Stranger) -> None:
    """Three parts of its path, joined to a temporary folder, would begin with the root folder itself."""
    import shutil
    import tempfile

    stranger.change(lambda record: record.update(status="running"))
    place = Path(tempfile.mkdtemp(dir="/"))
    try:
        folder = place / "run"
        shutil.copytree(stranger.folder, folder)
        before = files_of(folder)
        assert stranger.bench("report", folder).exit_code == 0
        assert files_of(folder) == before
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("place", ["golden", "golden/index.html"])
def test_a_link_below_reports_is_not_written_through(stranger: Stranger, tmp_path: Path, place: str) -> None:
    """A stranger may send the folder of reports as well."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "index.html").write_text("mine")
    link = stranger.home / "reports" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere / "index.html" if link.suffix else elsewhere)
    done = stranger.bench("report", stranger.folder)
    assert done.exit_code == 2
    assert "found a link to" in done.stderr
    assert files_of(elsewhere) == {"index.html": b"mine"}


def test_reports_may_lie_on_another_disk(stranger: Stranger, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (stranger.home / "reports").symlink_to(tmp_path / "disk")
    assert stranger.bench("report", stranger.folder).exit_code == 0
    assert (tmp_path / "disk" / "golden" / "index.html").exists()


# ---- lengths and numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["suite", "experiment"])
def test_a_plan_refuses_names_that_no_folder_can_have(tmp_path: Path, table: str) -> None:
    names = {"suite": "small", "experiment": "one", table: "n" * 250}
    path = tmp_path / "suite.toml"
    path.write_text(
        f'[suite]\nname = "{names["suite"]}"\n[[experiment]]\nname = "{names["experiment"]}"\npairs = 4\n'
        'datasets = ["synth-lfw"]\nauthorised = ["zoo-mobileface"]\nevaluated = ["zoo-resnet"]\n'
        'defenses = ["identity"]\n'
    )
    with pytest.raises(SuiteError, match=f"at most {LONGEST_WRITTEN} characters"):
        load(path, discover())


def test_an_index_keeps_few_files_open(tmp_path: Path) -> None:
    parts = []
    for i in range(200):
        path = tmp_path / f"{i}.parquet"
        pq.write_table(pa.table({"cell": [f"cell {i}"] * 3, "value": [i] * 3}), path)
        parts.append(TableFile(path, "images"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    already = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (already + 2 * RowIndex.OPEN, hard))
    try:
        index = RowIndex(parts, ["cell"])
        found = [index.rows((f"cell {i}",)) for i in (*range(200), 0, 199)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [table["value"].to_pylist() for table in found if table] == [[i] * 3 for i in (*range(200), 0, 199)]


# ---- the one place ---------------------------------------------------------------------------------------------------

# Modules and what they append to a folder beside constants. None of it is a name from a file of somebody else.
OWN_NAMES = {
    "analysis/": "numbers, not paths",
    "metrics/": "numbers, not paths",
    "report/charts/": "numbers, not paths",
    "judging/choice.py": "numbers, not paths",
    "report/site/assets.py": "files of bench itself",
    "report/site/pictures.py": "numbers, not paths",
    "report/page/leakage_ladder.py": "numbers, not paths",
    "report/page/threshold_tables.py": "numbers, not paths",
    "report/page/assets.py": "files of bench itself",
    "core/provenance.py": "files of bench itself",
    "api/context.py": "numbers, not paths",
    "stages/": "numbers, not paths",
    "runs/time_left.py": "numbers, not paths",
    "runs/cleanup.py": "names that were listed in the folder itself, or constants",
    "engine/": "numbers and random names",
    "kit/": "numbers, and constants below temporary folders",
    "store/active_runs.py": "random names of sessions",
    "store/workspace.py": "the name of the cache, which a program sets",
    "store/reading.py": "names of tables, which the schema lists",
}


def divisions(path: Path) -> Iterator[str]:
    """Yield what a module appends with ``/`` to something, unless it is a constant or a random name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            right = node.right
            constant = isinstance(right, ast.Constant) or (isinstance(right, ast.Name) and right.id.isupper())
            if not constant and "uuid4" not in ast.unparse(right):
                yield ast.unparse(node)


ALLOWED = {
    "planning/adversary_stages.py": {"ENOUGH / self.experiment.fmr"},
    "judging/figures.py": {"above / (1 + self.service_impostors)"},
    "judging/scoring.py": {
        *("(pictures[more] - 1) / (m - 1)", "1 / len(genuine)", "1 / len(impostor)", "pictures / m"),
    },
    "judging/thresholds.py": {"1 / fmr", "needed_pairs(c.fmr) / c.strangers.count"},
    "api/search_paths.py": {"suite / path", "folder / path"},  # A path that the suite names on purpose; suites may.
    "runs/run.py": {"seconds / declared"},
    "store/artifacts.py": {
        *("self.root / name", "made / Path(name).name"),
        *("beside / f'{name}.npy'", "beside / f'{name}.parquet'"),
    },
    "store/writing.py": {"self._folder / f'part-{self._files:05d}.parquet'"},
    "suite/paper_tables.py": {"float(line['value']) / (100 if line['unit'] == '%' else 1)"},
    "suite/suite.py": {"folder / table.claims"},  # A path that the suite names on purpose; suites are trusted to.
}


def test_names_become_paths_in_one_module() -> None:
    found: dict[str, set[str]] = {}
    for path in sorted(BENCH.rglob("*.py")):
        name = path.relative_to(BENCH).as_posix()
        if not name.startswith(tuple(OWN_NAMES)):
            others = set(divisions(path)) - ALLOWED.get(name, set())
            found |= {name: others} if others else {}
    assert not found, "append names with bench.core.paths.child"
