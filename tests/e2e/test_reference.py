"""A defense is run under a suite that has a reference run, through the installed command, on a tiny suite."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from support import Command, environment

ROOT = Path(__file__).parents[2]
TINY = """\
[suite]
name = "tiny"
version = "tiny-1"
title = "A tiny standard"

[defaults]
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["identity", { plugin = "noise", sigma = 1.0, label = "Safe" }]
pairs = 20

[[experiment]]
name = "recognition"

[[experiment]]
name = "own"
evaluated = ["toy-a"]
"""
CPU = ("--device", "cpu", "--workers", "1")


class Tiny(NamedTuple):
    """A folder with the suite, and the environment in which it has a reference run."""

    home: Path
    sites: list[Path]
    references: Path


@pytest.fixture(scope="module")
def tiny(toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The tiny suite with its reference run, which the script of ``make reference`` has made."""
    home = tmp_path_factory.mktemp("tiny")
    (home / "tiny.toml").write_text(TINY)
    references = home / "references"
    command = [sys.executable, ROOT / "benchmarks" / "reference.py", "--suite", "tiny.toml", "--into", references]
    command += ["--out", home / "work", "--workers", "1", "--defense", "noise,sigma=0.5,label=Shipped"]
    done = subprocess.run(command, cwd=home, env=environment([toy_site], {}), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Tiny(home, [toy_site], references)


def test_the_reference_run_holds_rows_and_nothing_else(tiny: Tiny) -> None:
    folder = tiny.references / "tiny-1"
    names = {path.relative_to(folder).parts[0] for path in folder.rglob("*.parquet")}
    assert names == {"cells.parquet", "stages.parquet", "samples"}
    assert not (folder / "samples" / "examples").exists()
    text = (folder / "run.json").read_text()
    assert str(tiny.home) not in text
    command = ["bench", "run", "tiny", "--recompute-reference", "--defense", "noise,sigma=0.5,label=Shipped"]
    assert json.loads(text)["command"] == command
    cells = pd.read_parquet(folder / "cells.parquet")
    assert set(cells["defense"]) == {"identity", "Safe", "Shipped"}
    assert set(cells["suite_version"]) == {"tiny-1"}
    rows = pd.read_parquet(folder / "samples" / "verification")
    assert set(rows["suite_version"]) == {"tiny-1"}


def test_only_the_new_defense_is_computed_and_stands_beside_the_others(bench: Command, tiny: Tiny) -> None:
    known = {"sites": tiny.sites, "cwd": tiny.home, "env": {"BENCH_REFERENCE": str(tiny.references)}}
    planned = bench("plan", "tiny", "--defense", "noise,sigma=0.1", *CPU[:2], **known)
    assert "note: from the reference run of tiny-1, and not computed: identity, Safe, Shipped; " in planned.err

    done = bench("run", "tiny", "--defense", "noise,sigma=0.1", *CPU, **known)
    assert done.code == 0, done.err
    assert "note: 3 defenses marked (reference): identity, Safe, Shipped." in done.err
    assert "were made by something else" not in done.err
    assert "Shipped (reference)" in done.out
    (folder,) = (tiny.home / "results" / "tiny").iterdir()
    assert set(pd.read_parquet(folder / "cells.parquet")["defense"]) == {"noise sigma 0.1"}
    page = (tiny.home / "reports" / "tiny" / "index.html").read_text()
    for text in ("identity (reference)", "Shipped (reference)", "noise sigma 0.1", "the reference run"):
        assert text in page
    assert str(tiny.home) not in page
    assert f"bench report results/tiny/{folder.name}<" in page  # The reference run is found by the version.

    table = bench("export", "tiny", "--table", "summary", "--format", "json", **known)
    defenses = {m["defense"] for t in json.loads(table.out) for m in t["measurements"]}
    assert defenses == {"identity (reference)", "Safe (reference)", "Shipped (reference)", "noise sigma 0.1"}

    replayed = bench("run", "--replay", "tiny", *CPU[2:], **known)
    assert replayed.code == 0, replayed.err
    assert "the rows are the same bytes" in replayed.out
    rescored = bench("rescore", folder, "--fmr", "0.02", **known)
    assert rescored.code == 0, rescored.err
    (again,) = (tiny.home / "results" / "tiny").glob("*-rescored")
    rows = pd.read_parquet(again / "samples" / "verification")
    assert set(rows["suite_version"]) == {"tiny-1+changed"}
    assert set(rows["defense"]) == {"noise sigma 0.1"}


def test_other_code_is_said_in_one_sentence_and_the_reference_is_computed_on_request(
    bench: Command, tiny: Tiny, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(tiny.references, tmp_path / "references")
    record = tmp_path / "references" / "tiny-1" / "run.json"
    content = json.loads(record.read_text())
    content["host"] = dict.fromkeys(content["host"], "0" * 64)
    record.write_text(json.dumps(content))
    known = {"sites": tiny.sites, "cwd": tmp_path, "env": {"BENCH_REFERENCE": str(tmp_path / "references")}}
    command = ("run", tiny.home / "tiny.toml", "--defense", "noise,sigma=0.1", *CPU)
    done = bench(*command, **known)
    (line,) = (line for line in done.err.splitlines() if "were made by something else" in line)
    assert "code of bench/" in line
    assert "--recompute-reference" in line

    done = bench(*command, "--recompute-reference", **known)
    assert done.code == 0, done.err
    assert "(reference)" not in done.out
    newest = max((tmp_path / "results" / "tiny").iterdir())
    assert set(pd.read_parquet(newest / "cells.parquet")["defense"]) == {
        *("identity", "Safe", "Shipped", "noise sigma 0.1")
    }


def test_a_changed_suite_stands_alone(bench: Command, tiny: Tiny, tmp_path: Path) -> None:
    known = {"sites": tiny.sites, "cwd": tmp_path, "env": {"BENCH_REFERENCE": str(tiny.references)}}
    done = bench("run", tiny.home / "tiny.toml", "--pairs", "10", "--defense", "noise,sigma=0.1", *CPU, **known)
    assert done.code == 0, done.err
    (folder,) = (tmp_path / "results" / "tiny").iterdir()
    cells = pd.read_parquet(folder / "cells.parquet")
    assert set(cells["defense"]) == {"identity", "Safe", "noise sigma 0.1"}
    assert set(cells["suite_version"]) == {"tiny-1+changed"}
    assert "(reference)" not in done.out
