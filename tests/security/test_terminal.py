"""Texts of strangers cannot control a terminal, and commands that their records hold are shown as such."""

from __future__ import annotations

import ast
import json
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stranger import Stranger
from support import in_process as bench

from bench.cli.terminal import say, say_lines, say_message
from bench.core.text import escaped_json, json_text, printable
from bench.store.recorded_commands import offered, offered_words

BENCH = Path(__file__).parents[2] / "bench"
HOSTILE = {
    "title": "\x1b]0;pwned\x07",
    "clear": "\x1b[2J\x1b[H",
    "link": "\x1b]8;;https://example.org\x1b\\text\x1b]8;;\x1b\\",
    "one byte": "\x9b2J",
    "backwards": "\u202egpj.exe",
    "isolate": "\u2066a\u2069",
    "mark": "\u200f\u061c",
    "carriage return": "good\rbad",
    "delete": "\x7f\x7f",
    "backspace": "abc\b\b\b",
    "zero width": "P\u200bM\u200dT\u2060\ufeff",
    "line separator": "good\u2028bad\u2029",
    "tags": "PMT\U000e0020\U000e0069\U000e007f",
    "variation selectors": "PMT\ufe0f\U000e0100",
    "soft hyphen": "P\xadMT",
    "filler": "PMT\u3164\u115f\uffa0",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_such_texts_become_marks(text: str) -> None:
    assert "\ufffd" in printable(f"a {text} b")
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_json_keeps_its_values(text: str) -> None:
    escaped = escaped_json(json.dumps([text], ensure_ascii=False))
    assert json.loads(escaped) == [text]
    assert printable(escaped) == escaped


@pytest.mark.parametrize("character", ["\u200c", "\u2028", "\U000e0041", "\u180e", "\u034f", "\ufffb"])
def test_each_character_that_nobody_sees_is_one_mark(character: str) -> None:
    assert printable(f"a{character}b") == "a\ufffdb"


def test_letters_and_signs_of_all_scripts_stay() -> None:
    text = "Zoë 名前 ẽ é שלום नमस्ते 안녕 \u0600 😀 a\u00a0b\u3000c"
    assert printable(text) == text


def test_json_holds_no_number_that_json_cannot_hold() -> None:
    text = json_text({"a": [float("nan"), (float("-inf"), 1.5)], "b": {"c": float("inf")}, "d": Path("e"), "f": "\x9b"})
    assert text == '{"a": [null, [null, 1.5]], "b": {"c": null}, "d": "e", "f": "\\u009b"}'


def relabel(stranger: Stranger, text: str) -> None:
    """Put a text into every place of a run that commands print."""

    def change(record: dict[str, Any]) -> None:
        record["suite"] |= {"title": text, "description": text}
        record |= {"command": ["bench", "run", text], "started": text, "commit": text, "device_name": text}
        record["machine"] = {"platform": text, "processor": text}
        for component in record["components"]:
            component |= {"label": text, "license": text, "because": text}

    stranger.change(change)
    path = stranger.folder / "cells.parquet"
    table = pq.read_table(path)
    for name in ("defense", "attack", "evaluated", "threat", "reason", "traceback", "log", "device"):
        column = pa.array([None if v is None else f"{v}{text}" for v in table[name].to_pylist()], pa.string())
        table = table.set_column(table.column_names.index(name), name, column)
    pq.write_table(table, path)
    event = {"event": "run-started", "session": "s", "time": "2026-01-01T00:00:00+00:00", "pid": 1, "host": text}
    bad = {"event": "stage-finished", "session": "s", "time": event["time"], "key": "k", "kind": "score", "name": text}
    result = {"status": "failed", "cached": False, "seconds": 1.0, "peak_mb": 1.0, "device": text, "reason": text}
    lines = (event, {**bad, **result})
    (stranger.folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_no_command_prints_them(stranger: Stranger) -> None:
    relabel(stranger, " and ".join(HOSTILE.values()))
    run = stranger.folder
    commands = [
        *stranger.reading_commands(),
        *(["export", run, "--table", "VII", "--format", fmt] for fmt in ("csv", "json", "md", "latex")),
        *(["claims", run, "--format", fmt] for fmt in ("md", "json")),
        ["runs", "show", run],
        *([*command, "--json"] for command in (["runs", "ls"], ["runs", "show", run], ["status", run])),
        ["diff", run, run, "--json"],
        ["explain", run, "status=ok"],  # The message lists the cells.
        ["run", "--replay", run],
        ["rescore", run],
    ]
    for command in commands:
        done = stranger.bench(*command)
        assert done.exit_code in (0, 1, 2)
        assert printable(done.stdout) == done.stdout, command
        assert printable(done.stderr) == done.stderr, command


def test_json_on_the_terminal_has_the_text_itself(stranger: Stranger) -> None:
    relabel(stranger, HOSTILE["backwards"])
    shown = json.loads(stranger.bench("runs", "show", stranger.folder, "--json").stdout)
    assert shown["suite"]["title"] == HOSTILE["backwards"]


@pytest.mark.parametrize("fmt", ["csv", "json", "md", "latex"])
def test_a_table_is_the_same_in_a_file_and_on_stdout(stranger: Stranger, fmt: str) -> None:
    relabel(stranger, HOSTILE["backwards"])
    command, file = ["export", stranger.folder, "--table", "VII", "--format", fmt], stranger.home / "table"
    shown = stranger.bench(*command).stdout_bytes
    assert stranger.bench(*command, "-o", file).exit_code == 0
    assert file.read_bytes() == shown
    mark = "\\u202e" if fmt == "json" else "\ufffd"
    assert mark in shown.decode()
    if fmt == "json":
        assert HOSTILE["backwards"] in json.dumps(json.loads(shown), ensure_ascii=False)


# ---- commands in records ---------------------------------------------------------------------------------------------


def test_a_recorded_command_of_bench_is_offered() -> None:
    assert offered(["bench", "run", "my suite.toml"]) == "bench run 'my suite.toml'"
    assert offered([], ("bench", "run")) == "bench run"


def test_trust_is_never_offered() -> None:
    assert offered(["bench", "run", "suite.toml", "--trust"]) == "bench run suite.toml"
    assert offered_words(["bench", "run", "--trust", "x"]) == ["bench", "run", "x"]


@pytest.mark.parametrize(
    "command",
    [
        ["rm", "-rf", "~"],
        ["bench", "runs", "rm", "x"],
        ["bench"],
        ["", "bench", "run"],
        ["x\n", "rm -rf ~"],
        ["bench\nrun"],
    ],
)
def test_any_other_command_does_nothing_if_it_is_pasted(command: list[str]) -> None:
    text = offered(command)
    assert text.startswith("# the record names another command; read it before you use it: ")
    assert "\n" not in text
    assert shlex.split(text, comments=True) == []


def test_commands_show_it_as_the_record_s(stranger: Stranger) -> None:
    stranger.change(lambda record: record.update(command=["rm", "-rf", "~"]))
    run = stranger.folder
    assert (
        "# the record names another command"
        in stranger.bench("explain", run, "defense=toy-mean", "evaluated=toy-a", "experiment=recognition").stdout
    )
    assert stranger.bench("report", run).exit_code == 0
    page = (stranger.home / "reports" / "golden" / "index.html").read_text()
    assert "# the record names another command" in page
    assert page.count("rm -rf") == page.count("use it: rm -rf")
    stranger.change(lambda record: record.update(status="interrupted"))
    for command in (["run", "--replay", run], ["rescore", run]):
        done = stranger.bench(*command)
        assert done.stderr.count("rm -rf") == done.stderr.count("use it: rm -rf") == 1


# ---- the one place ---------------------------------------------------------------------------------------------------

TERMINAL = {"cli/terminal.py", "cli/console.py"}
CALLS = ("click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write", "out.file", "err.file")
ELSEWHERE = {
    "engine/ray_driver.py",  # a process of its own, whose output is read as JSON and never shown
}


def prints(path: Path) -> Iterator[str]:
    """Yield the calls of a module that write to a terminal."""
    for node in ast.walk(ast.parse(path.read_text())):
        name = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
        if name in (
            "click.echo",
            "click.secho",
            "print",
            "sys.stdout.write",
            "sys.stderr.write",
            "out.file",
            "err.file",
        ):
            yield name


def test_texts_reach_a_terminal_in_one_module() -> None:
    found = {p.relative_to(BENCH).as_posix(): set(prints(p)) for p in sorted(BENCH.rglob("*.py"))}
    others = {name: calls for name, calls in found.items() if calls and name not in TERMINAL | ELSEWHERE}
    assert not others, "print with bench.cli.terminal.say, or with the consoles of bench.cli.console"


def test_a_name_with_a_line_break_is_one_line_of_a_list(stranger: Stranger) -> None:
    forged = stranger.folder.with_name("20260101\nquick  forged  2026-01-01  complete")
    stranger.folder.rename(forged)
    listed = stranger.bench("runs", "ls").stdout
    assert [line for line in listed.splitlines() if line.startswith("golden")]
    assert not [line for line in listed.splitlines() if line.startswith("quick")]


def test_a_line_is_one_line_and_a_message_has_no_other_at_its_margin(capsys: pytest.CaptureFixture[str]) -> None:
    say("picture: a\nverified:  all agrees")
    say_lines("one\ntwo \x1b[2J")
    say_message("Error: b\nverified:  x: expected\n  one, found\nnote: another")
    say("folder: x\n")
    said = capsys.readouterr()
    assert said.out == "picture: a\ufffdverified:  all agrees\none\ntwo \ufffd[2J\nfolder: x\ufffd\n"
    assert said.err == "Error: b\n  verified:  x: expected\n  one, found\n  note: another\n"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["site", "runs/x\n"], "Error: runs/x\ufffd: expected\n  a run\n"),
        (["x\n"], "Error: runs/x\ufffd: expected\n  a run\n"),
        (["\n"], "Error: runs/x\n  : expected\n  a run\n"),
        (["", "/", " "], "Error: runs/x\n  : expected\n  a run\n"),
    ],
)
def test_a_line_break_at_the_end_of_a_name_is_shown(
    names: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say_message("Error: runs/x\n: expected\na run", names)
    assert capsys.readouterr().err == said


NAME = "mine.zip\nverified:  all agrees\r.zip"


@pytest.mark.parametrize(
    "command", [["verify", NAME], ["site", NAME, "-o", "site"], ["bundle", NAME], ["report", NAME]]
)
def test_a_file_name_with_line_breaks_is_one_line_of_an_error(
    stranger: Stranger, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stranger.home)
    (stranger.home / NAME).write_text("no bundle")
    done = bench(*command)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "mine.zip\ufffdverified:  all agrees\ufffd.zip" in done.stderr


def test_commands_to_copy_are_quoted(stranger: Stranger) -> None:
    file = stranger.home / "it's mine; touch x.zip"
    done = stranger.bench("bundle", stranger.folder, "-o", file)
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("check it:")]
    assert shlex.split(line.removeprefix("check it:")) == ["bench", "verify", str(file)]
    assert f"{len(zipfile.ZipFile(file).namelist())} files, manifest.json among them" in done.stdout
