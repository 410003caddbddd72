"""A run is published and checked by the installed command, on a tiny suite."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from forger import change_value, forged
from support import Command

SUITE = """\
[suite]
name = "tiny"

[[experiment]]
name = "recognition"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["identity", "toy-mean"]
pairs = 6
"""


@pytest.fixture(scope="module")
def tiny(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a tiny run, in a folder that holds nothing else."""
    home = tmp_path_factory.mktemp("publisher")
    (home / "tiny.toml").write_text(SUITE)
    done = bench("run", "tiny.toml", "--no-report", "--device", "cpu", "--workers", "1", cwd=home)
    assert done.code == 0, done.err
    file = tmp_path_factory.mktemp("reader") / "tiny.zip"
    done = bench("bundle", "tiny", "-o", file, cwd=home)
    assert done.code == 0, done.err
    assert f"check it:  bench verify {file}\n" in done.out
    assert str(home).encode() not in file.read_bytes()
    return file


def test_a_published_run_is_verified(bench: Command, tiny: Path) -> None:
    done = bench("verify", tiny, "--cells", "2", cwd=tiny.parent)
    assert done.code == 0, done.err
    assert "verified:  all that is compared agrees; 2 of 2 cells were recomputed, all exactly equal\n" in done.out
    assert not done.left
    written = tiny.with_name("tiny.zip.verified.json")
    assert sorted(tiny.parent.iterdir()) == [tiny, written]
    found = json.loads(written.read_text())
    assert (found["ok"], found["recomputable"], [cell["largest"] for cell in found["cells"]]) == (True, 2, [0.0, 0.0])


def test_one_changed_figure_is_found(bench: Command, tiny: Path, tmp_path: Path) -> None:
    was = []

    def change(folder: Path) -> None:
        rows = folder / "samples" / "verification" / "experiment=recognition" / "part-00000.parquet"
        cell = pq.read_table(rows, partitioning=None)["cell"][0].as_py()
        was.extend([cell, change_value(rows, "cos_clean", 0, -1.0)])

    bundle = forged(tiny, tmp_path / "forged.zip", change)
    done = bench("verify", bundle, "--cells", "2", cwd=tmp_path)
    assert done.code == 1, done.err
    cell, value = was
    (line,) = [line for line in done.out.splitlines() if line.startswith("differs:")]
    assert line.startswith(f"differs:   cell {cell} (recognition: ")
    assert line.endswith(f"samples/verification: pair 0: cos_clean: expected {value}, found -1.0")


def test_a_bundle_that_was_unpacked_is_read_like_any_run(bench: Command, tiny: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tiny) as archive:
        archive.extractall(tmp_path / "run")
    done = bench("export", "run", "--rows", "verification", "-o", "rows.csv", cwd=tmp_path)
    assert done.code == 0, done.err
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 13
    done = bench("report", "run", cwd=tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "reports" / "tiny" / "index.html").exists()


def test_other_data_are_named_and_nothing_is_recomputed(bench: Command, tiny: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(tiny, tmp_path))
    done = bench("verify", file, cwd=tmp_path, env={"TOY_DATA": "other"})
    assert done.code == 2
    assert "unchecked: none of the 2 cells could be recomputed: " in done.out
    assert "dataset toy-faces: data: " in done.out
    assert "verified:  no; nothing differs, but not all could be checked\n" in done.out
