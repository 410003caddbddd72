"""The installed command: its exit codes and messages; wrong input writes no files."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from support import BENCH, SUITE, Command, Done, ToyRun, environment

from bench import __version__
from bench.cli import main
from bench.cli.results import TABLE_FORMATS
from bench.core.errors import BenchError
from bench.registry.discovery import Registry

COMMANDS = [
    "init",
    "new",
    "try",
    "check",
    "judge",
    "guide",
    "explain",
    "cache",
    "runs",
    "run",
    "rescore",
    "plan",
    "report",
    "export",
    "diff",
    "claims",
    "site",
    "bundle",
    "verify",
    "status",
    "plugins",
    "info",
    "doctor",
    "train",
    "data",
    "models",
]


def files(folder: Path) -> list[str]:
    """Return the relative path of every file and folder below a folder."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def assert_complains(done: Done, *fragments: str) -> None:
    """Check that a command ended with exit code 2, a message with these fragments on stderr, and no traceback."""
    assert done.code == 2, done
    assert done.out == ""
    assert "Traceback" not in done.err
    for fragment in fragments:
        assert fragment in done.err


# ---- help ------------------------------------------------------------------------------------------------------------


def test_help_lists_every_command(bench: Command) -> None:
    done = bench("--help")
    assert done.code == 0
    assert done.err == ""
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", done.out, re.MULTILINE), command
    assert set(main.commands) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_its_options(command: str) -> None:
    done = CliRunner().invoke(main, [command, "-h"])
    assert done.exit_code == 0
    assert main.commands[command].help
    for parameter in main.commands[command].params:
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.name in {"fmt"}, parameter.name


def test_the_version(bench: Command) -> None:
    assert bench("--version").out == f"bench, version {__version__}\n"


# ---- bad input: exit code 2, one message, nothing written ------------------------------------------------------------

BAD: dict[str, tuple[list[str], list[str]]] = {
    "missing suite": (["run", "none.toml"], ["none.toml", "expected a suite file", "toy.toml"]),
    "missing suite to plan": (["plan", "none.toml"], ["none.toml", "expected a suite file"]),
    "missing suite to train": (["train", "none.toml"], ["none.toml", "expected a suite file"]),
    "a folder": (["run", "."], ["expected a suite file, found a folder"]),
    "unknown key": (["run", "toy.toml", "--set", "suite.sed=1"], ["toy.toml", "suite.sed", "did you mean 'seed'?"]),
    "unknown plugin": (
        ["run", "toy.toml", "--set", 'experiment[0].defenses=["pmd"]'],
        ["experiment[0].defenses[0]", "'pmd'", "did you mean 'pmt'?"],
    ),
    "unknown model": (
        ["run", "toy.toml", "--set", 'experiment[0].evaluated=["toy-z"]'],
        ["experiment[0].evaluated[0]", "'toy-z'", "did you mean 'toy-"],
    ),
    "unknown parameter": (
        ["run", "toy.toml", "--set", 'experiment[0].defenses=[{plugin="noise", sigm=1}]'],
        ["experiment[0].defenses[0].sigm", "did you mean 'sigma'?"],
    ),
    "wrong type": (["run", "toy.toml", "--set", "suite.seed=x"], ["suite.seed", "integer", "'x'"]),
    "empty axis": (
        ["run", "toy.toml", "--set", "experiment[0].datasets=[]"],
        ["experiment[0].datasets", "at least one entry"],
    ),
    "missing weights": (
        ["run", "toy.toml", "--set", 'experiment[0].evaluated=["toy-lost"]'],
        ["lost.json", "unset TOY_WEIGHTS"],
    ),
    "bad override": (["plan", "toy.toml", "--set", "x"], ["--set x", "expected path=value"]),
    "too few pairs": (["run", "toy.toml", "--pairs", "1"], ["--pairs", "from 2 to 1000000", "1"]),
    "pairs of a wrong type": (["run", "toy.toml", "--pairs", "many"], ["--pairs", "many"]),
    "no workers": (["run", "toy.toml", "--workers", "0"], ["--workers", "0"]),
    "a timeout that is no time": (["run", "toy.toml", "--timeout", "1x"], ["--timeout", "90s, 30m or 2h", "'1x'"]),
    "a timeout of nothing": (["run", "toy.toml", "--timeout", "0s"], ["--timeout", "above 0", "'0s'"]),
    "unknown device": (["run", "toy.toml", "--device", "tpu"], ["--device", "tpu", "cuda"]),
    "out is a file": (
        ["run", "toy.toml", "--out", "toy.toml"], ["Error: --out: expected a folder, found the file toy.toml"],
    ),
    "out below a file": (["run", "toy.toml", "--out", "toy.toml/x"], ["toy.toml", "expected a folder", "--out"]),
    "a place that takes no files": (
        ["run", "toy.toml", "--out", "/proc/self/x"], ["/proc", "cannot be written", "choose another folder"],
    ),
    "unknown run": (["report", "none"], ["none", "expected a run folder or the name of a suite", "bench run"]),
    "unknown run to export": (["export", "none", "--table", "VII"], ["none", "expected a run folder"]),
    "no table": (["export", "none"], ["--table"]),
    "unknown format": (["export", "none", "--table", "VII", "--format", "pdf"], ["--format", "pdf", "latex"]),
    "empty cell": (["export", "none", "--rows", "up", "--cell", "", "-o", "x.csv"], ["--cell", "found an empty text"]),
    "no run in a site": (["site", "", "-o", "x"], ["RUN", "found an empty text"]),
    "unknown component": (["info", "pmd"], ["pmd", "expected the name of a component", "did you mean 'pmt'?"]),
    "unknown command": (["rum"], ["Error: bench: expected one of its commands, found 'rum'; did you mean 'run'?"]),
    "nothing to train": (["train", "toy.toml"], ["expected at least one [[train]]", "bench run"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_message_and_leaves_nothing(
    toy_installed: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    args, fragments = BAD[name]
    (tmp_path / "toy.toml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, args, prog_name="bench")
    assert_complains(Done(done.exit_code, done.stdout, done.stderr), *fragments)
    assert files(tmp_path) == ["toy.toml"]


@pytest.mark.parametrize("name", ["unknown key", "missing weights", "out below a file", "unknown run"])
def test_the_installed_command_says_the_same(bench: Command, tmp_path: Path, name: str) -> None:
    args, fragments = BAD[name]
    (tmp_path / "toy.toml").write_text(SUITE)
    assert_complains(bench(*args, cwd=tmp_path), *fragments)
    assert files(tmp_path) == ["toy.toml"]


def test_a_broken_plugin_fails_only_suites_that_use_it(bench: Command, tmp_path: Path) -> None:
    from support import write_plugin

    site = write_plugin(tmp_path / "site", "plugin_broken", "raise RuntimeError('no such luck')")
    (tmp_path / "toy.toml").write_text(SUITE)
    fine = bench("plan", "toy.toml", cwd=tmp_path, sites=[site])
    assert fine.code == 0, fine.err
    named = bench("plan", "toy.toml", "--set", 'experiment[0].defenses=["mine"]', cwd=tmp_path, sites=[site])
    assert_complains(named, "experiment[0].defenses[0]", "plugin 'plugin_broken'", "RuntimeError: no such luck")


def test_every_error_of_ours_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise BenchError("line one\nline [two]")

    monkeypatch.setattr("bench.registry.discovery.discover", fail)
    done = CliRunner().invoke(main, ["plugins"])
    assert done.exit_code == 2
    assert done.output == "Error: line one\n  line [two]\n"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("30m", 1800), ("2h", 7200), ("0.5", 0.5)]
)
def test_a_timeout_has_a_unit(
    toy_installed: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, seconds: float
) -> None:
    received: list[float] = []

    def stop(*args: Any, **options: Any) -> None:
        received.append(options["timeout_s"])
        raise BenchError("enough")

    monkeypatch.setattr("bench.runs.run.plan_suite", stop)
    CliRunner().invoke(main, ["run", "toy.toml", "--timeout", text])
    assert received == [seconds]


def test_an_interruption_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.registry.discovery.discover", interrupt)
    done = CliRunner().invoke(main, ["plugins"])
    assert done.exit_code == 130
    assert "interrupted" in done.output
    assert "the same command continues" in done.output


@pytest.mark.slow
def test_a_closed_stdout_prints_no_error(toy_site: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [str(BENCH), "plugins", "--json"],
            env=environment([toy_site], {}),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writing)
    assert (done.stderr, done.returncode) == ("", 1)


# ---- plan, plugins, info, doctor -------------------------------------------------------------------------------------


def test_plan_says_what_would_be_done_and_writes_nothing(bench: Command, tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(SUITE)
    done = bench("plan", "toy.toml", "--device", "cpu", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "cells: 24 of 40 combinations" in done.out
    assert "skipped: 4 cells:" in done.out
    assert "2 x toy-single" in done.out
    assert "2 x toy-targets needs further pictures" in done.out
    assert re.search(r"to compute: (\d+) of \1 stages .*, about .* of disk", done.out)
    assert "repeats: two 2 times, with other seeds of defenses and learners, on the same people" in done.out
    assert "learners: toy-mean from auxiliary faces of toy-faces" in done.out
    assert "held-out recognisers: toy-a, toy-b (each where no client authorises it)" in done.out
    assert "times are those that plugins declare" in done.out
    assert files(tmp_path) == ["toy.toml"]


@pytest.mark.slow
def test_plan_knows_what_is_cached(bench: Command, toy_run: ToyRun) -> None:
    done = bench("plan", toy_run.suite, "--device", "cpu", "--out", toy_run.out)
    assert re.search(r"to compute: 0 of (\d+) stages", done.out), done.out
    other = bench("plan", toy_run.suite, "--device", "cpu", "--out", toy_run.out, "--pairs", "6")
    found = re.search(r"to compute: (\d+) of (\d+) stages", other.out)
    assert found is not None
    assert 0 < int(found[1]) < int(found[2])


def test_plugins_lists_what_is_provided(bench: Command) -> None:
    done = bench("plugins")
    assert (done.code, done.err) == (0, "")
    assert "bench-toy-plugin 0.1.0" in done.out
    assert "noise (defense)" in done.out
    found = {p["name"]: p for p in json.loads(bench("plugins", "--json").out)}
    assert ["dataset", "toy-faces"] in found["toy"]["components"]
    assert ["training_set", "toy-training"] in found["toy"]["components"]
    assert found["toy"]["reason"] is None


def test_info_explains_a_component(bench: Command) -> None:
    done = bench("info", "toy-step")
    assert (done.code, done.err) == (0, "")
    for fragment in (
        "One signed gradient step",
        "bench-toy-plugin 0.1.0",
        "shallow",
        "split",
        "'block'",
        "rate",
        "0.2",
    ):
        assert fragment in done.out, fragment
    model = bench("info", "toy-a").out
    for fragment in ("Model A", "stem 8x16x16", "no parameters", "none needed"):
        assert fragment in model, fragment
    assert "one of 'raises', 'hangs'" in bench("info", "toy-misbehave").out


@pytest.mark.slow
def test_info_knows_every_component(registry: Registry, toy_installed: Registry) -> None:
    for _, name in registry.components:
        done = CliRunner().invoke(main, ["info", name])
        assert done.exit_code == 0, (name, done.output)
        assert name in done.output


def test_doctor_names_what_is_wrong(bench: Command, tmp_path: Path) -> None:
    from support import write_plugin

    site = write_plugin(tmp_path / "site", "plugin_broken", "raise RuntimeError('no such luck')")
    (tmp_path / "here").mkdir()
    done = bench("doctor", cwd=tmp_path / "here", sites=[site])
    lines = done.out.splitlines()
    assert done.code == 1
    assert done.err == ""
    assert any(re.match(r"problem plugin plugin_broken: .*no such luck", line) for line in lines), done.out
    assert any(re.match(r"problem weights of toy-lost: .*lost.json", line) for line in lines), done.out
    assert any(re.match(r"ok +weights of toy-a: toy-a.json, sha256 [0-9a-f]{12}", line) for line in lines), done.out
    assert any(re.match(r"ok +package torch: ", line) for line in lines)
    assert any(re.match(r"ok +output folder: ", line) for line in lines)
    assert files(tmp_path / "here") == []


def test_doctor_finds_a_folder_that_cannot_be_used(bench: Command, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    done = bench("doctor", "--out", tmp_path)
    assert done.code == 1
    assert re.search(r"problem output folder: .*results: expected a folder, found a file", done.out)


# ---- report, export --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_report_is_rendered_again_from_rows(bench: Command, toy_run: ToyRun, tmp_path: Path) -> None:
    out = toy_run.copy(tmp_path / "out")
    page = out / "reports" / "toy" / "index.html"
    before = page.read_text()
    page.unlink()
    done = bench("report", "toy", "--out", out)
    assert (done.code, done.err) == (0, "")
    assert f"report: {page}" in done.out
    assert page.read_text() == before
    elsewhere = bench("report", out / "results" / "toy" / toy_run.folder.name, "--out", tmp_path / "elsewhere")
    assert elsewhere.code == 0
    assert (tmp_path / "elsewhere" / "reports" / "toy" / "index.html").read_text() == before


@pytest.mark.slow
@pytest.mark.parametrize("fmt", TABLE_FORMATS)
def test_export_prints_a_table(bench: Command, toy_run: ToyRun, fmt: str) -> None:
    done = bench("export", "toy", "--table", "VII", "--format", fmt, "--out", toy_run.out)
    assert (done.code, done.err) == (0, "")
    assert "Model A" in done.out
    if fmt == "csv":
        rows = list(csv.DictReader(io.StringIO(done.out)))
        assert {row["experiment"] for row in rows} == {"one", "two"}
        assert {row["synthetic"] for row in rows} == {"True"}
        assert "little noise" in {row["defense"] for row in rows if row["experiment"] == "two"}
        assert "little noise" not in {row["defense"] for row in rows if row["experiment"] == "one"}
    if fmt == "json":
        assert json.loads(done.out)


@pytest.mark.slow
def test_export_of_an_unknown_table_lists_the_known(bench: Command, toy_run: ToyRun) -> None:
    assert_complains(bench("export", "toy", "--table", "XXL", "--out", toy_run.out), "XXL", "VII")


def test_the_script_is_the_one_of_this_python() -> None:
    assert BENCH.is_file()
    assert os.access(BENCH, os.X_OK)
    assert Path(sys.executable).parent == BENCH.parent


@pytest.mark.parametrize(
    ("command", "words"), [("judge", "the same command begins again"), ("report", "continues from")]
)
def test_an_interrupted_command_says_whether_it_continues(
    monkeypatch: pytest.MonkeyPatch, command: str, words: str
) -> None:
    def interrupted(_: click.Context) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main.commands[command], "invoke", interrupted)
    arguments = {"judge": [".", "."], "report": ["mine"]}[command]
    done = CliRunner().invoke(main, [command, *arguments])
    assert done.exit_code == 130
    assert words in done.output
