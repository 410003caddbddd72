"""Numbers as text for people."""

from __future__ import annotations

import pytest

from bench.core.text import duration, joined_labels, printable


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
