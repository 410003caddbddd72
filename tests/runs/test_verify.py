"""``bench verify``: an honest bundle agrees, and a forged one is found out, whichever part was changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from forger import change_record, change_value, forged
from support import in_process as bench

from bench.core.errors import StorageError, UntrustedError
from bench.core.provenance import file_sha256
from bench.registry.discovery import Registry
from bench.runs.named_files import require_no_files
from bench.runs.same_rows import RowComparison, _compare
from bench.runs.verify import choose, plan_cells, verifying
from bench.store.run_record import ExperimentRecord, SuiteRecord, read_record
from bench.store.verifications import RecomputedCell, Verification, read_verification

SUITE = """\
[suite]
name = "small"
seed = 5
[[experiment]]
name = "one"
table = "VII"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a", "toy-b"]
defenses = ["identity", { plugin = "noise", sigma = 0.1 }, "toy-flaky", "toy-targets"]
pairs = 6
"""
ALL = ("--cells", "50")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the bundle of `small`, which is made once for all tests."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def small(kept: Path, tmp_path: Path, inline: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle for each test: six cells have rows, a defense failed in two of them, and two were skipped."""
    if not (kept / "small.zip").exists():
        monkeypatch.chdir(kept)
        (kept / "small.toml").write_text(SUITE)
        done = bench("run", "--no-report", "small.toml", "--device", "cpu")
        assert done.exit_code == 1, done.output
        done = bench("bundle", "small", "-o", "small.zip")
        assert done.exit_code == 0, done.output
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(kept / "small.zip", tmp_path / "small.zip"))


def verification(bundle: Path) -> Verification:
    found = read_verification(bundle, file_sha256(bundle))
    assert found is not None
    return found


def rows_of(folder: Path, table: str = "verification") -> Path:
    return folder / "samples" / table / "experiment=one" / "part-00000.parquet"


# ---- honest bundles --------------------------------------------------------------------------------------------------


def test_an_honest_bundle_agrees(small: Path) -> None:
    done = bench("verify", small, *ALL)
    assert done.exit_code == 0, done.output
    assert "verified:  all that is compared agrees; 6 of 6 cells were recomputed, all exactly equal" in done.stdout
    found = verification(small)
    assert found.ok
    assert len({cell.cell for cell in found.cells}) == found.recomputable == 6
    assert max(cell.largest for cell in found.cells) == 0
    few, many = min(cell.rows for cell in found.cells), max(cell.rows for cell in found.cells)
    assert many == few + 6 + 3, "a defense fails here too, and has neither pairs nor uploads"
    assert (found.differences, found.unchecked, found.tolerance) == ((), (), 1e-3)
    assert sorted(path.name for path in small.parent.iterdir()) == ["small.zip", "small.zip.verified.json"]


def test_the_cells_follow_from_the_seed(small: Path) -> None:
    chosen = []
    for arguments in (("--seed", 1), ("--seed", 1), ()):
        assert bench("verify", small, "--cells", 2, *arguments).exit_code == 0
        chosen.append((verification(small).seed, [cell.cell for cell in verification(small).cells]))
    assert chosen[0] == chosen[1]
    assert len(chosen[0][1]) == 2
    assert chosen[2][0] != 1


def test_other_seeds_choose_other_cells() -> None:
    class Named:
        def __init__(self, id: str) -> None:
            self.id = id

    cells: Any = [Named(f"cell-{i}") for i in range(30)]
    drawn = {tuple(cell.id for cell in choose(cells, 3, f"{seed}/abc")) for seed in range(50)}
    assert len(drawn) > 45
    assert {name for names in drawn for name in names} == {cell.id for cell in cells}


def test_what_the_bundle_says_is_shown_when_it_is_made(
    kept: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(kept)
    done = bench("bundle", "small", "-o", small)
    assert "suite:     small; 8 cells" in done.stdout
    assert "names:     pictures of toy-faces are named in the rows, for example " in done.stdout
    assert "left out:  pictures, logs and tracebacks" in done.stdout
    assert f"check it:  bench verify {small}" in done.stdout
    assert small.read_bytes() == (kept / "small.zip").read_bytes()


# ---- forged rows -----------------------------------------------------------------------------------------------------


def test_a_changed_figure_is_found_with_its_cell(small: Path, tmp_path: Path) -> None:
    was: dict[str, Any] = {}

    def change(folder: Path) -> None:
        rows = rows_of(folder)
        was["cell"] = pq.read_table(rows, partitioning=None)["cell"][9].as_py()
        was["value"] = change_value(rows, "cos_self", 9, -0.25)

    bundle = forged(small, tmp_path / "forged.zip", change)
    done = bench("verify", bundle, *ALL)
    assert done.exit_code == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("differs:")]
    assert f"cell {was['cell']} (one: " in line
    assert f"samples/verification: pair 3: cos_self: expected {was['value']}, found -0.25" in line
    found = verification(bundle)
    assert not found.ok
    assert len(found.differences) == 1
    assert max(cell.largest for cell in found.cells) == pytest.approx(was["value"] + 0.25)


def test_a_small_change_agrees_within_the_tolerance_and_is_not_exact(small: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        table = pq.read_table(rows_of(folder), partitioning=None)
        change_value(rows_of(folder), "cos_cross", 7, table["cos_cross"][7].as_py() + 1e-5)

    bundle = forged(small, tmp_path / "forged.zip", change)
    assert bench("verify", bundle, *ALL, "--tolerance", "0").exit_code == 1
    done = bench("verify", bundle, *ALL)
    assert done.exit_code == 0
    assert "6 of 6 cells were recomputed, 5 exactly equal, the others within 0.001" in done.stdout
    assert done.stdout.count("numbers differ by up to 1e-05") == 1
    assert sum(cell.exact for cell in verification(bundle).cells) == 5


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([(3, 0.0), (1, 0.0)], "all exactly equal"),
        ([(3, 0.0), (0, 0.0)], "1 failed here as there, the others exactly equal"),
        ([(3, 0.0), (1, 1e-5), (0, 0.0)], "1 failed here as there, 1 exactly equal, the others within 0.001"),
        ([(0, 0.0), (0, 0.0)], "2 failed here as there, nothing to compare"),
    ],
)
def test_cells_without_a_row_are_not_called_equal(cells: list[tuple[int, float]], words: str) -> None:
    found = [RecomputedCell(cell="a", rows=rows, largest=largest) for rows, largest in cells]
    one = Verification(sha256="", ok=True, bench="", date="", seed=0, tolerance=1e-3, cells=found)
    assert one.agreement == words
    failed = [cell for cell in found if cell.agreement == "failed here as there, nothing to compare"]
    assert [cell.rows for cell in failed] == [0] * len(failed)
    assert [cell.exact for cell in failed] == [False] * len(failed)
    assert len(failed) == sum(not rows for rows, _ in cells)


def test_another_processor_has_a_note(small: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        machine = replace(read_record(folder).machine, processor="Abacus")
        change_record(folder, machine=machine, device_name="Abacus")

    bundle = forged(small, tmp_path / "forged.zip", change)
    done = bench("verify", bundle)
    assert done.exit_code == 0, done.output
    assert "note: recorded on Abacus, this is" in done.stderr


def drop_rows(folder: Path) -> None:
    table = pq.read_table(rows_of(folder), partitioning=None)
    pq.write_table(table.slice(1), rows_of(folder))


def drop_cell_rows(folder: Path) -> None:
    table = pq.read_table(rows_of(folder), partitioning=None).to_pandas()
    pq.write_table(to_table(table[table["cell"] != table["cell"].iloc[0]], rows_of(folder)), rows_of(folder))


def to_table(frame: pd.DataFrame, like: Path) -> Any:
    import pyarrow as pa

    return pa.Table.from_pandas(frame, schema=pq.read_schema(like), preserve_index=False)


def relabel_rows(folder: Path) -> None:
    change_value(rows_of(folder), "defense", 0, "mine")


def relabel_cell(folder: Path) -> None:
    """The cells and the rows of one defense get the name of another one, and the reverse."""
    names = {"identity": "noise sigma=0.1", "noise sigma=0.1": "identity"}
    for path in (folder / "cells.parquet", *sorted((folder / "samples").rglob("*.parquet"))):
        table = pq.read_table(path, partitioning=None)
        if "defense" in table.column_names:
            frame = table.to_pandas()
            frame["defense"] = frame["defense"].map(lambda name: names.get(name, name))
            pq.write_table(to_table(frame, path), path)


def drop_cell(folder: Path) -> None:
    """An unfavourable cell is removed with its rows, and the counts fit."""
    path = folder / "cells.parquet"
    frame = pq.read_table(path).to_pandas()
    gone = frame.loc[frame["status"] == "ok", "cell"].iloc[0]
    pq.write_table(to_table(frame[frame["cell"] != gone], path), path)
    rows = pq.read_table(rows_of(folder), partitioning=None).to_pandas()
    pq.write_table(to_table(rows[rows["cell"] != gone], rows_of(folder)), rows_of(folder))
    counts = read_record(folder).counts
    assert counts is not None
    assert counts.ok is not None
    change_record(folder, counts=replace(counts, ok=counts.ok - 1))


def fail_cell(folder: Path) -> None:
    """An unfavourable cell is said to have failed."""
    path = folder / "cells.parquet"
    frame = pq.read_table(path).to_pandas()
    row = frame.index[frame["status"] == "ok"][0]
    gone = frame.loc[row, "cell"]
    frame.loc[row, "status"], frame.loc[row, "reason"] = "failed", "too bad"
    pq.write_table(to_table(frame, path), path)
    rows = pq.read_table(rows_of(folder), partitioning=None).to_pandas()
    pq.write_table(to_table(rows[rows["cell"] != gone], rows_of(folder)), rows_of(folder))
    counts = read_record(folder).counts
    assert counts is not None
    assert counts.ok is not None
    assert counts.failed is not None
    change_record(folder, counts=replace(counts, ok=counts.ok - 1, failed=counts.failed + 1))


def skip_cell(folder: Path) -> None:
    fail_cell(folder)
    path = folder / "cells.parquet"
    frame = pq.read_table(path).to_pandas()
    frame.loc[frame["reason"] == "too bad", "status"] = "skipped"
    pq.write_table(to_table(frame, path), path)


def change_count(folder: Path) -> None:
    counts = read_record(folder).counts
    assert counts is not None
    change_record(folder, counts=replace(counts, failed=0), status="complete")


def change_control(folder: Path) -> None:
    change_value(folder / "cells.parquet", "control", 0, None)


def change_numbers_of_paper(folder: Path) -> None:
    suite = read_record(folder).suite
    experiment = replace(suite.experiments[0], claims="dataset,defense,row,column,value,unit\n")
    change_record(folder, suite=replace(suite, experiments=(experiment,)))


def change_license(folder: Path) -> None:
    components = [replace(c, license="public domain") for c in read_record(folder).components]
    change_record(folder, components=components)


def change_title(folder: Path) -> None:
    change_record(folder, suite=replace(read_record(folder).suite, title="The standard"))


def add_rows(folder: Path) -> None:
    """A row of a picture that the run has not scored makes a mean better."""
    frame = pq.read_table(rows_of(folder, "images"), partitioning=None).to_pandas()
    more = frame.iloc[-1:].assign(sample_id="another", ssim=1.0)
    pq.write_table(to_table(pd.concat([frame, more]), rows_of(folder, "images")), rows_of(folder, "images"))


def change_reason(folder: Path) -> None:
    """The end of a long reason, which messages cut, is another one."""
    path = folder / "cells.parquet"
    frame = pq.read_table(path).to_pandas()
    row = frame.index[frame["status"] == "skipped"][0]
    frame.loc[row, "reason"] += " and is of no interest"
    pq.write_table(to_table(frame, path), path)


def change_reason_of_stage(folder: Path) -> None:
    path = folder / "stages.parquet"
    frame = pq.read_table(path).to_pandas()
    frame.loc[(frame["kind"] == "score") & (frame["status"] == "failed"), "reason"] = "out of memory"
    pq.write_table(to_table(frame, path), path)


def change_device(folder: Path) -> None:
    change_record(folder, device_name="Cray-1")


def change_version(folder: Path) -> None:
    with_suite(folder, lambda raw: raw["suite"].update(version="standard-1+changed"))


def add_traceback(folder: Path) -> None:
    change_value(folder / "cells.parquet", "traceback", 0, "read this")


def say_unstable(folder: Path) -> None:
    change_value(folder / "cells.parquet", "unstable", 0, "everything differs")


def change_seed(folder: Path) -> None:
    change_value(folder / "stages.parquet", "seed", 0, 77)


def change_command(folder: Path) -> None:
    change_record(folder, command=["bench", "run", "standard"])


RECOMPUTED: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "a row is missing": (drop_rows, "expected 6 rows, found 5; 1 are missing and 0 are not of this cell"),
    "a row is added": (add_rows, "samples/images: expected 3 rows, found 4; 0 are missing and 1 are not of this cell"),
    "a cell failed": (fail_cell, "status: expected ok, found failed"),
}
FORGED: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "a cell without rows": (drop_cell_rows, ": expected rows, found none"),
    "other labels in rows": (relabel_rows, "samples/verification: expected rows of cells that ended well, found rows"),
    "exchanged labels": (relabel_cell, "defense: expected identity, found noise sigma=0.1"),
    "a cell is missing": (drop_cell, "of its suite, found none"),
    "a cell is skipped": (skip_cell, "expected one that is not skipped, found one that is skipped (too bad)"),
    "another count": (change_count, "run.json: counts.failed: expected 2, as cells.parquet has, found 0"),
    "no control": (change_control, "control: expected "),
    "other numbers of the paper": (change_numbers_of_paper, "one: expected the numbers of the paper, found others"),
    "another license": (change_license, "run.json: components: expected "),
    "another reason to be skipped": (change_reason, ": reason: expected "),
    "another reason of a failure": (change_reason_of_stage, ": reason: expected out of memory, found "),
    "another device": (change_device, "run.json: device_name: expected "),
    "another version": (change_version, "cells.parquet: suite_version: expected standard-1+changed, as run.json has"),
    "a traceback": (add_traceback, ": traceback: expected None, found read this"),
    "a wrong check": (say_unstable, ": unstable: expected None, found everything differs"),
    "another seed": (change_seed, "stages.parquet: seed: expected "),
    "another command": (change_command, "run.json: command: expected what bench bundle leaves of it"),
    "another title": (change_title, "run.json: suite.title: expected what its suite says, found something else"),
}


def planned(bundle: Path, registry: Registry) -> tuple[list[str], list[str]]:
    """What differs in a bundle, and what cannot be checked, before any cell is recomputed."""
    with verifying(bundle, seed=1) as state:
        plan_cells(state, registry, 1)
        return state.differences, state.unchecked


@pytest.mark.parametrize("kind", FORGED)
def test_forged_cells_and_records_differ(small: Path, tmp_path: Path, registry: Registry, kind: str) -> None:
    """Whichever cells are chosen: all of them are compared with the plan of the suite, and with their rows."""
    change, expected = FORGED[kind]
    differences, unchecked = planned(forged(small, tmp_path / "forged.zip", change), registry)
    assert [line for line in differences if expected in line], differences
    assert not unchecked


def test_nothing_differs_in_an_honest_bundle(small: Path, registry: Registry) -> None:
    assert planned(small, registry) == ([], [])


@pytest.mark.parametrize("kind", RECOMPUTED)
def test_a_forged_bundle_differs(small: Path, tmp_path: Path, kind: str) -> None:
    change, expected = RECOMPUTED[kind]
    bundle = forged(small, tmp_path / "forged.zip", change)
    done = bench("verify", bundle, *ALL)
    assert done.exit_code == 1, done.output
    assert [line for line in verification(bundle).differences if expected in line], verification(bundle).differences
    assert "verified:  no; it differs" in done.stdout


def test_differences_are_cut_but_recorded(small: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        frame = pq.read_table(rows_of(folder), partitioning=None).to_pandas()
        frame["defense"] = [f"d{i}" for i in range(len(frame))]
        pq.write_table(to_table(frame, rows_of(folder)), rows_of(folder))

    bundle = forged(small, tmp_path / "forged.zip", change)
    done = bench("verify", bundle, "--cells", 1)
    assert done.exit_code == 1
    assert done.stdout.count("differs:") == 21
    assert len(verification(bundle).differences) >= 24


@pytest.mark.parametrize("place", ["a label of a row", "a reason", "a set of labels", "the record"])
def test_characters_that_control_a_terminal_are_refused(small: Path, tmp_path: Path, place: str) -> None:
    def change(folder: Path) -> None:
        if place == "a label of a row":
            change_value(rows_of(folder), "evaluated", 1, "toy\x1b[2Ja")
        elif place == "a set of labels":
            change_value(folder / "cells.parquet", "surrogates", 0, ["\x9b2J"])
        elif place == "a reason":
            change_value(folder / "cells.parquet", "reason", 0, "good\rbad")
        else:
            change_record(folder, suite=replace(read_record(folder).suite, description="\u202egpj.exe"))

    bundle = forged(small, tmp_path / "forged.zip", change)
    with (
        pytest.raises(StorageError, match=r"forged\.zip.*without characters that control a terminal"),
        verifying(bundle),
    ):
        raise AssertionError


# ---- what could not be checked ---------------------------------------------------------------------------------------


def unchecked(bundle: Path, *arguments: object) -> str:
    done = bench("verify", bundle, *arguments)
    assert done.exit_code == 2, done.output
    assert "verified:  no; nothing differs, but not all could be checked" in done.stdout
    found = verification(bundle)
    assert (found.ok, found.cells, found.differences) == (False, (), ())
    return "\n".join(found.unchecked)


def test_other_code_is_listed_and_nothing_is_recomputed(small: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        record = read_record(folder)
        host = {**(record.host or {}), "stages/scoring.py": "1" * 64}
        change_record(folder, host=host, versions={**record.versions, "torch": "9.9"})

    text = unchecked(forged(small, tmp_path / "forged.zip", change))
    assert text.startswith("none of the 8 cells could be recomputed: ")
    assert "code of bench/stages/scoring.py: 111111111111 -> " in text
    assert "version of torch: 9.9 -> " in text


def test_other_weights_are_listed(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bench_toy

    weights = tmp_path / "weights"
    weights.mkdir()
    shutil.copy(Path(bench_toy.__file__).parent / "toy-a.json", weights)
    (weights / "toy-b.json").write_text('{"seed": 77}')
    monkeypatch.setenv("TOY_WEIGHTS", str(weights))
    assert "model toy-b: weights: " in unchecked(small)


def test_a_plugin_that_is_not_installed_is_named(small: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        suite = read_record(folder).suite
        raw = json.loads(json.dumps(suite.raw).replace("toy-flaky", "their-cloak"))
        change_record(folder, suite=replace(suite, raw=raw))

    assert "their-cloak" in unchecked(forged(small, tmp_path / "forged.zip", change))


def with_suite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    suite = read_record(folder).suite
    raw = json.loads(json.dumps(suite.raw))
    change(raw)
    change_record(folder, suite=replace(suite, raw=raw))


def test_an_unknown_version_cannot_be_checked(small: Path, tmp_path: Path, registry: Registry) -> None:
    def change(folder: Path) -> None:
        with_suite(folder, lambda raw: raw["suite"].update(version="theirs-1"))

    _, found = planned(forged(small, tmp_path / "forged.zip", change), registry)
    assert found == [
        "no suite of the version theirs-1 comes with this bench, so that its questions could not be compared"
    ]


def test_another_suite_does_not_pass_for_the_standard(small: Path, tmp_path: Path, registry: Registry) -> None:
    def change(folder: Path) -> None:
        with_suite(folder, lambda raw: raw["suite"].update(version="standard-1"))

    differences, _ = planned(forged(small, tmp_path / "forged.zip", change), registry)
    assert (
        "run.json: suite.version: expected the questions of standard-1, found a suite that asks others" in differences
    )


@pytest.mark.parametrize(
    "broken", [{}, {"suite": 3}, {"suite": {"name": "x"}, "experiment": [3]}, {"experiment": None}]
)
def test_a_suite_that_was_spoilt_is_one_message(small: Path, tmp_path: Path, broken: dict[str, Any]) -> None:
    def change(folder: Path) -> None:
        change_record(folder, suite=replace(read_record(folder).suite, raw=broken))

    assert "the suite in its record cannot be read" in unchecked(forged(small, tmp_path / "forged.zip", change))


# ---- nothing of a stranger is executed or read -----------------------------------------------------------------------


def test_a_command_in_a_suite_is_not_run(small: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    def change(folder: Path) -> None:
        evil = {"plugin": "external-command", "command": ["touch", str(marker), "{input}", "{output}"], "label": "evil"}
        with_suite(folder, lambda raw: raw["experiment"][0].update(defenses=[evil]))

    bundle = forged(small, tmp_path / "forged.zip", change)
    assert "experiment[0].defenses[0].command = '" in unchecked(bundle)
    text = unchecked(bundle, "--allow-files")
    assert "this would run code that it names:" in text
    assert f"the program touch {marker} " in text
    assert not marker.exists()


def test_a_factory_in_a_suite_is_not_run(small: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath('marker').write_text('run')\n")
    (tmp_path / "net.pth").write_bytes(b"weights")

    def change(folder: Path) -> None:
        evil = {"plugin": "torch-module", "factory": "evil.py:build", "weights_file": "net.pth"}
        with_suite(folder, lambda raw: raw["experiment"][0].update(authorised=[evil], evaluated=[evil]))

    bundle = forged(small, tmp_path / "forged.zip", change)
    assert "experiment[0].authorised[0].weights_file = 'net.pth'" in unchecked(bundle)
    assert "factory evil.py:build" in unchecked(bundle, "--allow-files")
    assert not (tmp_path / "marker").exists()


def require(registry: Registry, **reference: Any) -> None:
    table = {
        "name": "one",
        "datasets": ["toy-faces"],
        "authorised": ["toy-a"],
        "evaluated": ["toy-a"],
        "defenses": [{"label": "it", **reference}],
        "pairs": 6,
    }
    raw = {"suite": {"name": "small"}, "experiment": [table]}
    experiments = [ExperimentRecord(name="one", pairs=6)]
    require_no_files(SuiteRecord(name="small", raw=raw, experiments=experiments), registry)


@pytest.mark.parametrize(
    "reference",
    [
        {"plugin": "external-images", "folder": "pictures"},
        {"plugin": "mine", "path": "x"},
        {"plugin": "mine", "weights_file": "x"},
        {"plugin": "mine", "network": "nets/x"},
        {"plugin": "mine", "network": "~"},
        {"plugin": "mine", "network": "$HOME"},
        {"plugin": "mine", "network": "x.onnx"},
        {"plugin": "mine", "options": {"more": ["a", "x.pt"]}},
        {"plugin": "mine", "on_stand_ins": {"network": "/x"}},
        {"plugin": "mine", "grid": {"network": ["a", "../b"]}},
    ],
)
def test_parameters_that_name_files_are_found(registry: Registry, reference: dict[str, Any]) -> None:
    with pytest.raises(UntrustedError, match=r"seem to name files:\n  experiment\[0\]\.defenses\[0\]"):
        require(registry, **reference)


@pytest.mark.parametrize(
    "reference",
    [{"plugin": "noise", "sigma": 0.5}, {"plugin": "mine", "mode": "soft", "kernel": "gaussian 1.5", "n": [1, 2]}],
)
def test_other_parameters_are_none(registry: Registry, reference: dict[str, Any]) -> None:
    require(registry, **reference)


def test_the_suite_lies_in_no_folder_that_the_stranger_chooses(small: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        change_record(folder, suite=replace(read_record(folder).suite, path="/etc/suite.toml"))

    bundle = forged(small, tmp_path / "forged.zip", change)
    done = bench("verify", bundle, "--cells", 1)
    assert done.exit_code == 1, done.output
    assert "/etc" not in done.output
    assert "run.json: suite: expected what bench bundle leaves of it, found something else" in done.stdout


def test_what_is_no_bundle_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_text("rows")
    done = bench("verify", tmp_path / "b.zip")
    assert done.exit_code == 2
    assert done.stderr == (
        f"Error: {tmp_path / 'b.zip'}: expected a bundle of bench, found a file that is too short; "
        "get the bundle again from who published it\n"
    )
    assert sorted(tmp_path.iterdir()) == [tmp_path / "b.zip"]


# ---- rows, number by number ------------------------------------------------------------------------------------------


def frame(**columns: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"pair": range(len(next(iter(columns.values())))), **columns}).set_index("pair", drop=False)


@pytest.mark.parametrize(
    ("expected", "given", "text"),
    [
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.0]}, None),
        ({"a": [1.0, None]}, {"a": [1.0, None]}, None),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.5]}, "pair 1: a: expected 2.0, found 2.5"),
        ({"a": [1.0, 2.0]}, {"a": [1.0, None]}, "pair 1: a: expected 2.0, found nan"),
        ({"a": ["x", "y"]}, {"a": ["x", "z"]}, "pair 1: a: expected y, found z"),
        ({"a": [1, 2]}, {"a": ["1", "2"]}, "pair 0: a: expected 1, found 1; 2 of 2 rows differ"),
        ({"a": [True, False]}, {"a": [True, True]}, "pair 1: a: expected False, found True"),
        ({"a": [1.0]}, {"b": [1.0]}, "a: expected values, found none"),
        ({"a": [1.0]}, {"a": [1.0], "b": [1.0]}, "b: expected none, found values"),
        ({"a": [1.0, 2.0]}, {"a": [1.0]}, "expected 2 rows, found 1; 1 are missing"),
        ({"a": [1.0]}, {"a": [1.0, 2.0]}, "expected 1 rows, found 2; 0 are missing and 1 are not of this cell"),
    ],
)
def test_rows_are_compared_number_by_number(expected: dict[str, Any], given: dict[str, Any], text: str | None) -> None:
    found = RowComparison()
    _compare(found, "verification", frame(**expected), frame(**given), 0.0)
    assert found.texts[:1] == ([] if text is None else [found.texts[0]])
    assert text is None or text in found.texts[0]


def test_rows_that_cannot_be_told_apart_are_a_difference() -> None:
    given = frame(a=[1.0, 2.0])
    given.index = pd.Index([0, 0])
    found = RowComparison()
    _compare(found, "verification", frame(a=[1.0, 2.0]), given, 0.0)
    assert found.texts == ["samples/verification: expected rows that can be told apart, found some that cannot"]
