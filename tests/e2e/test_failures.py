"""A defense that misbehaves fails its own cells only."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from processes import manifests, run_folders
from support import Command, Done

from bench.store.reading import RunResults

SUITE = """\
[suite]
name = "trouble"
stage_timeout_s = LIMIT

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
pairs = 8
defenses = [
    "identity",
    "toy-flaky",
    { plugin = "toy-misbehave", how = "raises", label = "raises" },
    { plugin = "toy-misbehave", how = "exits", label = "exits" },
    { plugin = "toy-misbehave", how = "leaves", label = "leaves" },
    { plugin = "toy-misbehave", how = "segfaults", label = "segfaults" },
    { plugin = "toy-misbehave", how = "shape", label = "shape" },
    { plugin = "toy-misbehave", how = "hangs", label = "hangs" },
]
"""
WAYS = ["raises", "exits", "leaves", "segfaults", "shape", "hangs"]


class Trouble:
    """The finished run of the suite in this module."""

    def __init__(self, home: Path, done: Done) -> None:
        self.home = home
        self.done = done

    @property
    def cells(self) -> pd.DataFrame:
        """The cells of the run, by defense."""
        (folder,) = run_folders(self.home)
        return pd.read_parquet(folder / "cells.parquet").set_index("defense")


@pytest.fixture(scope="module")
def trouble(bench: Command, stage_limit: int, tmp_path_factory: pytest.TempPathFactory) -> Trouble:
    """Run the suite once for all tests of this module."""
    home = tmp_path_factory.mktemp("trouble")
    (home / "trouble.toml").write_text(SUITE.replace("LIMIT", str(stage_limit)))
    return Trouble(home, bench("run", "trouble.toml", "--device", "cpu", cwd=home))


def test_other_cells_are_not_affected(trouble: Trouble) -> None:
    assert trouble.done.code == 1
    assert trouble.done.left == []
    assert trouble.cells["status"].to_dict() == {
        "identity": "ok",
        "toy-flaky": "failed",
        **dict.fromkeys(WAYS, "failed"),
        "hangs": "timeout",
    }
    (folder,) = run_folders(trouble.home)
    assert set(RunResults(folder).samples("verification")["defense"]) == {"identity"}
    assert json.loads((folder / "run.json").read_text())["status"] == "incomplete"


@pytest.mark.parametrize(
    ("way", "fragments"),
    [
        ("raises", ["RuntimeError: the toy broke [/red] {in} a <strange> way"]),
        ("exits", ["worker process died", "exit code 7"]),
        ("leaves", ["the toy called sys.exit"]),
        ("segfaults", ["worker process died", "SIGSEGV"]),
        ("shape", ["ContractError", "expected images of shape"]),
        ("hangs", ["killed after its time limit of LIMIT s"]),
    ],
)
def test_every_failure_has_its_reason(trouble: Trouble, stage_limit: int, way: str, fragments: list[str]) -> None:
    reason = trouble.cells.loc[way, "reason"]
    for fragment in [f"toy-faces protected by {way}", *fragments]:
        assert fragment.replace("LIMIT", str(stage_limit)) in reason
    assert reason.count("toy-faces protected by") == 1


def test_the_terminal_names_every_failure(trouble: Trouble) -> None:
    assert "Traceback" not in trouble.done.err
    for way in WAYS:
        assert re.search(rf"(failed|timeout): .*toy-faces protected by {way}", trouble.done.err), way
    assert "the toy broke [/red] {in} a <strange> way" in trouble.done.err
    assert "cells: 1 ok, 0 skipped, 7 failed" in trouble.done.out
    assert "the same command tries them again" in trouble.done.out


def test_the_report_names_every_failure(trouble: Trouble) -> None:
    page = (trouble.home / "reports" / "trouble" / "index.html").read_text(encoding="utf-8")
    assert "<strange>" not in page
    text = html.unescape(page)
    for fragment in ("the toy broke [/red] {in} a <strange> way", "SIGSEGV", "killed after its time limit"):
        assert fragment in text, fragment


def test_failures_are_tried_again_and_successes_are_not(bench: Command, trouble: Trouble) -> None:
    before = manifests(trouble.home)
    fewer = 'experiment[0].defenses=["identity", "toy-flaky", { plugin = "toy-misbehave", how = "raises" }]'
    done = bench(
        *("run", "--no-report", "trouble.toml", "--device", "cpu", "--workers", "1"),
        *("--set", fewer, "--set", "suite.name=again"),
        cwd=trouble.home,
        env={"TOY_MENDED": "1"},
    )
    assert done.code == 1, done.err
    (folder,) = [f for f in run_folders(trouble.home) if f.parent.name == "again"]
    cells = pd.read_parquet(folder / "cells.parquet").set_index("defense")
    assert cells["status"].to_dict() == {"identity": "ok", "toy-flaky": "ok", "toy-misbehave": "failed"}
    assert cells["cached"].to_dict()["identity"]
    after = manifests(trouble.home)
    assert {key: after[key] for key in before} == before
    assert len(after) - len(before) == 4  # protect, embed, verification and image similarity of toy-flaky
    assert "toy-faces protected by toy-misbehave: RuntimeError" in done.err
