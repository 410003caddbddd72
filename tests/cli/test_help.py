"""Every help text has examples and is complete, every listing has JSON, every error message has the same form."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from support import BENCH, TESTS

from bench.cli import main

GOLDEN = TESTS / "golden" / "schema-3"


def commands(group: click.Group, *before: str) -> Iterator[list[str]]:
    """Yield the words of every command and subcommand, including those of plugins."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield [*before, name]
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)


ALL = [[], *commands(main)]


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_every_help_has_examples_that_call_the_command(command: list[str]) -> None:
    done = CliRunner().invoke(main, [*command, "--help"])
    assert done.exit_code == 0
    _, _, after = done.output.partition("Example")
    assert f"bench {' '.join(command)}".strip() in after
    assert "..." not in done.output.partition("\nCommands:")[2]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_list_of_commands_is_not_cut(width: int) -> None:
    listed = CliRunner().invoke(main, ["--help"], terminal_width=width).output
    assert "..." not in listed.partition("\nCommands:")[2]
    assert "how long it still takes" in " ".join(listed.split())


def test_help_explains_the_exit_codes() -> None:
    for command, words in {
        (): "1 a cell or a claim failed",
        ("claims",): "1 a claim does not hold",
        ("diff",): "1 --fail-on-regression",
        ("doctor",): "1 something is wrong",
        ("cache", "verify"): "1 an artifact is damaged",
        ("data", "verify"): "1 something is wrong with the data",
    }.items():
        shown = " ".join(CliRunner().invoke(main, [*command, "--help"]).output.split())
        assert words in shown, command
        assert "2 it could not be done, 130 it was interrupted." in shown


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder whose results hold a copy of the golden run."""
    shutil.copytree(GOLDEN, tmp_path / "results" / "golden" / "run")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ["plugins"], ["info", "pmt"], ["doctor", "--out"], ["plan", "quick", "--out"], ["runs", "ls", "--out"],
        ["runs", "show", "golden", "--out"], ["cache", "ls", "--out"], ["status", "golden", "--out"],
        ["claims", "golden", "--out"], ["data", "status"], ["models", "status"], ["diff", "golden", "golden", "--out"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_json_and_nothing_else_on_stdout(command: list[str], out: Path) -> None:
    done = CliRunner().invoke(main, [*command, *([str(out)] if command[-1] == "--out" else []), "--json"])
    assert done.exit_code in (0, 1), done.stderr
    assert json.loads(done.stdout) is not None


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["rum"], "bench: expected one of its commands, found 'rum'; did you mean 'run'?"),
        (["runs", "lss"], "bench runs: expected one of its commands, found 'lss'; did you mean 'ls'?"),
        (["--nonsense"], "bench: expected an option that it has, found --nonsense; see: bench --help"),
        (["run", "--paris"], "bench run: expected an option that it has, found --paris; did you mean --pairs?"),
        (["run", "quick", "--device", "gpu"], "--device: expected one of auto, cpu, cuda, found 'gpu'"),
        (["run", "quick", "--workers", "0"], "--workers: expected a number in the range 1<=x<=1024, found 0"),
        (["run", "quick", "--pairs", "few"], "--pairs: expected a whole number, found 'few'"),
        (["run", "quick", "--out"], "--out: expected a value, found none; see: bench run --help"),
        (["plan"], "bench plan: expected SUITE, found none; see: bench plan --help"),
        (["plan", "quick", "slow"], "bench plan: expected no further arguments, found slow; see: bench plan --help"),
        (["data", "status", "--data-dir", "/no/where"], "--data-dir: expected a folder, found none at /no/where"),
    ],
)
def test_wrong_arguments_give_one_form_of_message(args: list[str], message: str) -> None:
    done = CliRunner().invoke(main, args, prog_name="bench")
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"Error: {message}\n")


@pytest.mark.parametrize("form", [["--log-format", "json"], ["--log-format=json"]])
@pytest.mark.parametrize("wrong", [["--paris"], ["--pairs", "few"]])
def test_errors_in_options_are_json_if_requested(form: list[str], wrong: list[str]) -> None:
    for args in (["run", "quick", *form, *wrong], ["run", "quick", *wrong, *form]):
        done = CliRunner().invoke(main, args)
        assert done.exit_code == 2
        logged = json.loads(done.stderr)
        assert logged["event"] == "error"
        assert "expected" in logged["message"]


def test_a_question_answered_with_no(out: Path) -> None:
    done = CliRunner().invoke(main, ["runs", "rm", "golden", "--out", str(out)], input="n\n")
    assert done.exit_code == 1
    assert done.stderr.endswith("Error: expected a yes, found none; nothing was done\n")


@pytest.mark.slow
def test_a_real_bash_completes(out: Path) -> None:
    script = """
    eval "$(_BENCH_COMPLETE=bash_source bench)"
    complete() {
        COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()
        _bench_completion bench
        echo "${COMPREPLY[@]}"
    }
    complete bench rep
    complete bench report go
    complete bench report golden results/gol
    complete bench run qui
    complete bench info synth-l
    """
    env = {**os.environ, "PATH": f"{BENCH.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=out, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["report", "golden", "results/golden/run", "quick", "synth-lfw"], done.stderr
