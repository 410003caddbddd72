"""Shell completion of suites, components, runs and cells."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from support import TESTS

from bench.cli import main
from bench.core.errors import StorageError
from bench.registry.discovery import discover
from bench.store.reference import find_reference
from bench.suite.bundled import published

GOLDEN = TESTS / "golden"


def offered(*args: str) -> list[str]:
    """Return the completions of the last argument; ``<file>`` stands for the shell's own completion of paths."""
    items = ShellComplete(main, {}, "bench", "_BENCH_COMPLETE").get_completions(list(args[:-1]), args[-1])
    return ["<file>" if item.type == "file" else str(item.value) for item in items]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder ``results`` of the current folder, with three runs of two suites."""
    for run in ("mine/20260101-000000-aa", "mine/20260202-000000-bb", "other/20260101-000000-cc", ".cache/x"):
        folder = tmp_path / "results" / run
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"schema": 3}))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results"


@pytest.mark.parametrize("command", ["run", "plan", "train"])
def test_suites(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "questions.toml").touch()
    assert offered(command, "") == ["<file>", *published(), "questions.toml"]
    assert offered(command, "qu") == ["<file>", "quick", "questions.toml"]
    assert offered(command, "sub/") == ["<file>"]


def test_components() -> None:
    names = {name for _, name in discover().components}
    assert set(offered("info", "")) == names
    assert offered("info", "zoo-") == sorted(name for name in names if name.startswith("zoo-"))
    assert offered("info", "nothing-like-this") == []


@pytest.mark.parametrize(
    "command", [["report"], ["status"], ["export"], ["claims"], ["explain"], ["diff"], ["bundle"], ["runs", "show"]]
)
def test_runs(command: list[str], results: Path) -> None:
    folders = ["results/mine/20260101-000000-aa", "results/mine/20260202-000000-bb", "results/other/20260101-000000-cc"]
    assert offered(*command, "") == ["mine", "other", *folders, "standard-1"]
    assert offered(*command, "m") == ["mine"]
    assert offered(*command, "results/mine/20260202") == [folders[1]]


@pytest.mark.parametrize("command", [["runs", "rm"], ["rescore"], ["run", "--replay"]])
def test_a_command_that_needs_a_run_of_ones_own_offers_no_reference_run(command: list[str], results: Path) -> None:
    assert offered(*command, "m") == ["mine"]
    assert offered(*command, "standard") == []


def test_reference_runs_of_other_folders(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs" / "faces-2").mkdir(parents=True)
    (tmp_path / "theirs" / "faces-2" / "run.json").touch()
    monkeypatch.setenv("BENCH_REFERENCE", str(tmp_path / "theirs"))
    assert offered("report", "faces") == ["faces-2"]


def test_runs_of_another_output_folder(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path.parent)
    assert offered("report", "m") == []
    assert offered("report", "--out", str(tmp_path), "m") == ["mine"]
    assert offered("run", "--out", str(tmp_path), "--replay", "o") == ["other"]


def test_several_runs(results: Path) -> None:
    assert offered("runs", "rm", "mine", "o") == ["other"]


def test_cells_of_the_named_run() -> None:
    run = str(GOLDEN / "schema-3")
    found = offered("explain", run, "")
    assert len(found) == len(set(found)) > 10
    assert offered("explain", run, found[0][:6]) == [found[0]]


def test_a_run_that_cannot_be_read_offers_nothing(results: Path) -> None:
    assert offered("explain", "mine", "") == []
    assert offered("explain", "none", "") == []


@pytest.mark.parametrize("command", ["run", "plan"])
def test_defenses_and_their_parameters(command: str) -> None:
    assert {"identity", "noise", "pmt"} <= set(offered(command, "quick", "--defense", ""))
    assert "zoo-resnet" not in offered(command, "quick", "--defense", "")
    assert offered(command, "quick", "--defense", "noise,") == ["noise,sigma="]
    assert offered(command, "quick", "--defense", "pmt,steps=5,step_") == ["pmt,steps=5,step_size="]
    assert offered(command, "quick", "--defense", "nothing-like-this,") == []


def test_names_that_a_shell_cannot_show_are_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (b"d\xff", b"a\nplain,b", b"\x1b[31mred"):
        folder = os.fsencode(tmp_path) + b"/" + name
        os.mkdir(folder)
        with open(folder + b"/run.json", "wb"):
            pass
    with open(os.fsencode(tmp_path) + b"/q\xff.toml", "wb"):
        pass
    monkeypatch.setenv("BENCH_REFERENCE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert offered("claims", "") == ["standard-1"]
    assert offered("plan", "q") == ["<file>", "quick"]


def test_an_unknown_home_folder_offers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_REFERENCE", "~nobody-has-this-name/x")
    monkeypatch.chdir(tmp_path)
    assert offered("claims", "") == []
    with pytest.raises(StorageError, match=r"^\$BENCH_REFERENCE: expected folders"):
        find_reference("standard-1")
