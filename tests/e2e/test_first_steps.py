"""The first steps of a new user: the quick suite by its name, and a suite of their own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from support import Command, Done


def test_the_quick_suite_makes_a_complete_report(quick_run: tuple[Path, Done]) -> None:
    home, done = quick_run
    assert done.code == 0, done.err
    assert "0 skipped, 0 failed" in done.out
    (folder,) = (home / "results" / "quick").iterdir()
    assert {path.name for path in (folder / "samples").iterdir()} >= {
        "verification",
        "images",
        "attributes",
        "examples",
    }
    assert set(pd.read_parquet(folder / "cells.parquet")["status"]) == {"ok"}
    assert (home / "reports" / "quick" / "index.html").is_file()


def test_a_suite_of_ones_own_runs_as_it_is(bench: Command, tmp_path: Path) -> None:
    assert bench("init", "mine", cwd=tmp_path).code == 0
    done = bench("run", "mine/suite.toml", "--pairs", "8", "--device", "cpu", "--workers", "1", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "0 skipped, 0 failed" in done.out
    explained = bench("explain", "mine", "defense=Noise", "evaluated=zoo-resnet", cwd=tmp_path)
    assert explained.code == 0, explained.err
    assert "status: ok" in explained.out
