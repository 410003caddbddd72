"""Terminals and pipes that are not UTF-8, and packages that are not installed: one line, and never a traceback."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from support import Command, ToyRun

_LATIN = {"PYTHONIOENCODING": "iso-8859-15"}
_ASCII = {"PYTHONIOENCODING": "ascii"}
_C = {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
SUITE = """
[suite]
name = "terminals"
title = "Gesichter → Ähnlichkeit, 顔"

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = [{ plugin = "noise", label = "Rauschen ≤ 0.3 顔" }]
pairs = 40
"""


@pytest.mark.parametrize("env", [_LATIN, _C], ids=["iso-8859-15", "c"])
def test_every_command_prints_what_it_can(bench: Command, toy_run: ToyRun, env: Mapping[str, str]) -> None:
    run = toy_run.folder
    first = bench("explain", run, "experiment=two", "repeat=0", "dataset=other", "--json", cwd=toy_run.out)
    cell = json.loads(first.out)["cell"]
    for words in (
        ("--help",),
        ("plugins",),
        ("info", "pmt"),
        ("plan", toy_run.suite),
        ("explain", run, cell),
        ("status", run),
        ("runs", "ls"),
        ("data", "status"),
        ("models", "status"),
        ("export", run, "--table", "VII", "--format", "md"),
        ("export", run, "--table", "VII", "--format", "latex"),
        ("diff", run, run),
    ):
        done = bench(*words, cwd=toy_run.out, env=env)
        assert done.code in (0, 1), (words, done.err)
        assert "Traceback" not in done.err, (words, done.err)
        assert "Encode" not in done.err, (words, done.err)


@pytest.mark.parametrize("env", [_LATIN, _ASCII, _C], ids=["iso-8859-15", "ascii", "c"])
def test_a_run_and_its_files_are_whole(bench: Command, tmp_path: Path, env: Mapping[str, str]) -> None:
    suite = tmp_path / "terminals.toml"
    suite.write_text(SUITE, encoding="utf-8")
    done = bench("run", suite, "--device", "cpu", "--workers", "1", cwd=tmp_path, env=env)
    assert (done.code, "Traceback" in done.err) == (0, False), done.err
    assert "?" in done.out, "characters that the terminal lacks are replaced"
    (folder,) = (tmp_path / "results" / "terminals").iterdir()
    title = json.loads((folder / "run.json").read_text(encoding="utf-8"))["suite"]["title"]
    assert title == "Gesichter → Ähnlichkeit, 顔"
    page = (tmp_path / "reports" / "terminals" / "index.html").read_text(encoding="utf-8")
    assert "Rauschen ≤ 0.3 顔" in page


def test_a_missing_package_names_its_extra(bench: Command, tmp_path: Path) -> None:
    """As if altair, with which charts are drawn, were not installed."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n\n\nclass Absent:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'altair':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n\n\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    suite = tmp_path / "terminals.toml"
    suite.write_text(SUITE, encoding="utf-8")
    done = bench("run", suite, "--device", "cpu", "--workers", "1", cwd=tmp_path, sites=[tmp_path])
    assert done.code == 2
    assert "expected the package altair, found none; install it with: pip install 'face-privacy-bench'" in done.err
    assert "Traceback" not in done.err
