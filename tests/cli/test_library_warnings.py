"""Python warnings of libraries, which commands show as notes, and errors when memory is short."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable

import click
import pyarrow as pa
import pytest
from click.testing import CliRunner

from bench.cli import options
from bench.cli.error_messages import Main

TEXT = "Image size (100000000 pixels) exceeds limit"


def command(raise_warnings: Callable[[], None]) -> Main:
    """A command that raises warnings."""

    @click.command()
    @options.log_format
    def noisy(log_format: str) -> None:
        raise_warnings()

    return Main("bench", commands={"noisy": noisy})


def invoke(raise_warnings: Callable[[], None], *words: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        done = CliRunner().invoke(command(raise_warnings), ["noisy", *words], catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (0, "")
    return done.stderr


def test_a_warning_is_a_note_of_one_line_without_file_and_source() -> None:
    assert invoke(lambda: warnings.warn(TEXT, RuntimeWarning, stacklevel=1)) == f"note: {TEXT}\n"


def test_each_text_is_shown_once() -> None:
    def twice() -> None:
        for text in (TEXT, "another", TEXT):
            warnings.warn(text, UserWarning, stacklevel=1)

    assert invoke(twice) == f"note: {TEXT}\nnote: another\n"


def test_a_warning_controls_no_terminal_and_is_no_list() -> None:
    found = invoke(lambda: warnings.warn("a\x1b[2J\nError: b\u200b" + "x" * 5000, UserWarning, stacklevel=1))
    assert found.startswith("note: a\ufffd[2J Error: b\ufffdxxx")
    assert found.count("\n") == 1
    assert len(found) < 1_000


def test_the_log_in_json_has_them_too() -> None:
    found = json.loads(invoke(lambda: warnings.warn(TEXT, RuntimeWarning, stacklevel=1), "--log-format", "json"))
    assert (found["event"], found["message"]) == ("warning", TEXT)


# ---- short memory ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [MemoryError(), pa.ArrowMemoryError("malloc of size 64 failed"), ImportError("a.so: failed to map segment")],
)
def test_short_memory_is_one_error(error: BaseException) -> None:
    def fail() -> None:
        raise error

    done = CliRunner().invoke(command(fail), ["noisy"], catch_exceptions=False)
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: the memory that this command may use is not enough; give it more")


def test_another_import_that_fails_is_an_error_of_the_program() -> None:
    def fail() -> None:
        raise ImportError("cannot import name 'x'")

    with pytest.raises(ImportError, match="cannot import name"):
        CliRunner().invoke(command(fail), ["noisy"], catch_exceptions=False)
