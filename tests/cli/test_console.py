"""Terminal output: text from suites, plugins and paths, which is never interpreted as Rich markup."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import SUITE

from bench.cli import main
from bench.cli.console import _console, show_plugins, table_of
from bench.registry.discovery import Plugin, Registry


def test_paths_are_no_markup(tmp_path: Path, registry: Registry, inline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a folder that contains brackets is printed unchanged by every command."""
    home = tmp_path / "with [red] and [x" / "] brackets"
    home.mkdir(parents=True)
    (home / "toy.toml").write_text(SUITE)
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "1000")
    for command in ("plan", "run"):
        args = [command, str(home / "toy.toml"), "--out", str(home), "--device", "cpu", "--pairs", "4"]
        done = CliRunner().invoke(main, args, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert str(home) in done.stdout


def test_reasons_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = Plugin(name="[/a]", module="odd", distribution="[/b]", version="[/c]", reason="[/red] [bold]x")
    conflicts = {("defense", "[/d]"): ["[/e]", "[/f]"]}
    show_plugins([plugin], conflicts, as_json=False)
    out = capsys.readouterr().out
    for text in ("[/a]", "[/b] [/c]", "[/red] [bold]x", "[/d]", "[/e]", "[/f]"):
        assert text in out


HOSTILE = "\x1b]0;title\x07 \u202egnp \ud800 \x9b2J"


def test_names_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table = table_of("name")
    table.add_row(HOSTILE)
    for console in (_console(), _console(stderr=True)):
        console.print(HOSTILE, style="red")
        console.print(table)
    for text in capsys.readouterr():
        assert text.count("\ufffdgnp") == 2
        assert not set(text) & set("\x1b\x07\u202e\ud800\x9b")


def test_errors_cannot_control_the_terminal() -> None:
    done = CliRunner().invoke(main, ["report", HOSTILE])
    assert done.exit_code == 2
    assert "gnp" in done.stderr
    assert not set(done.stderr) & set("\x1b\x07\u202e\ud800\x9b")


LONG = " ".join(["a-name-that-is-long"] * 20)
PRINTS = """
from bench.cli.console import err, out, table_of
for console in (out, err):
    console.print({text!r})
    table = table_of("name", "value")
    table.add_row({text!r}, "1")
    console.print(table)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [{}, {"COLUMNS": "80"}], ids=["as it is", "COLUMNS"])
def test_lines_that_a_program_may_read_are_never_cut(limit: dict[str, str]) -> None:
    """Neither lines of text nor cells in a pipe; only a table gets narrower if ``COLUMNS`` is set."""
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | limit
    code = PRINTS.format(text=LONG)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    for printed in (done.stdout, done.stderr):
        text, header, *cells = [line.rstrip() for line in printed.splitlines()]
        assert text == LONG
        assert header.split() == ["name", "value"]
        assert len(cells) == (7 if limit else 1)
        assert " ".join("".join(cells).split()).count("a-name-that-is-long") == 20
        assert "…" not in printed


@pytest.mark.parametrize("command", ["show", "diff", "claims", "report"])
def test_texts_of_a_record_do_not_control_the_terminal(command: str, tmp_path: Path) -> None:
    """Control characters and reversed writing in a stranger's run are printed as a sign, also in an error."""
    golden = Path(__file__).parents[1] / "golden" / "schema-4"
    hostile = "\x1b]0;mine\x07\u202egnp"
    for name in ("one", "two"):
        shutil.copytree(golden, tmp_path / "results" / "golden" / name)
    record = tmp_path / "results" / "golden" / "one" / "run.json"
    content = json.loads(record.read_text())
    content["commit"] = content["versions"]["numpy"] = content["suite"]["sha256"] = hostile
    content["suite"]["path"] = content["components"][1]["label"] = hostile
    if command == "report":
        content["suite"]["name"] = hostile
    record.write_text(json.dumps(content))
    folders = [str(record.parent), str(tmp_path / "results" / "golden" / "two")]
    commands = {"show": ["runs", "show", folders[0]], "diff": ["diff", *folders]}
    args = commands.get(command, [command, folders[0]])
    done = CliRunner().invoke(main, [*args, "--out", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == (2 if command == "report" else 0)
    assert not set(done.output) & set("\x1b\x07\u202e")


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    """A command whose caller closed stdout or stderr does its work and prints what it can."""
    command = f"{sys.executable} -m bench plugins {closed}; echo code $? >&3"
    done = subprocess.run(["bash", "-c", f"exec 3>&1; {command}"], capture_output=True, text=True, check=False)
    assert "code 0" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="the system has no device that is always full")
def test_a_full_disk_below_stdout_is_one_error() -> None:
    command = f"{sys.executable} -m bench plugins > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "Error: the output cannot be written: No space left on device; make room\n"
