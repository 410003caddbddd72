"""Numbers as text for people."""

from __future__ import annotations

import pytest

from bench.core.text import duration, joined_labels, printable, shortened_message


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"),
        (0, "0 ms"),
        (0.02, "20 ms"),
        (0.25, "250 ms"),
        (1, "1.0 s"),
        (2.5, "2.5 s"),
        (59.4, "59.4 s"),
        (200, "3 min 20 s"),
        (760.4, "12 min 40 s"),
        (3599.6, "60 min 0 s"),
        (7500, "2 h 5 min"),
        (9000, "2 h 30 min"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë 名前 a\tb\nc", "Zoë 名前 a\tb\nc"),
        ("\x1b[31mred\x07\r\x9b", "\ufffd[31mred\ufffd\ufffd\ufffd"),
        ("\u202egnp.exe\u2066\u200f", "\ufffdgnp.exe\ufffd\ufffd"),
        ("half a pair \ud800", "half a pair \ufffd"),
    ],
)
def test_what_could_control_a_terminal_is_replaced(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_label_that_reads_like_a_word_is_in_quotes() -> None:
    assert joined_labels(["PMT", "none", "All"]) == "PMT, “none”, “All”"
    assert joined_labels([]) == ""


def test_a_long_line_of_a_message_keeps_its_beginning_and_its_end() -> None:
    text = "suite.toml: expected a number, found " + "9" * 5_000 + "; correct it"
    found = shortened_message(text)
    assert found.startswith("suite.toml: expected a number, found 999")
    assert " [... 4,299 characters left out ...] " in found
    assert found.endswith("9; correct it")
    assert shortened_message("a" * 1_000) == "a" * 1_000


def test_a_long_list_in_a_message_says_how_much_longer_it_is() -> None:
    lines = [f"line {i}" for i in range(102)]
    assert shortened_message("\n".join(lines)) == "\n".join([*lines[:100], "... and 2 further lines"])
    assert shortened_message("\n".join(lines[:100])) == "\n".join(lines[:100])
