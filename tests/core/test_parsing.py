"""Whatever a text holds, parsing it gives a value or one `ValueError`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.core.parsing import DEEPEST, is_unicode, parse_json, parse_toml
from bench.core.text import printable, shortened_repr


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (parse_json, nested(DEEPEST + 1), "more than 64 levels"),
        (parse_json, nested(100_000), "more than 64 levels"),
        (parse_json, '{"a":' * 70 + "1" + "}" * 70, "more than 64 levels"),
        (parse_json, '["\\ud800"]', "not valid Unicode"),
        (parse_json, b'["\xff"]', "not UTF-8"),
        (parse_json, "1" * 5000, "limit"),
        (parse_json, "", "Expecting value"),
        (parse_toml, f"a = {nested(100_000)}", "more than 64 levels"),
        (parse_toml, f"a = {nested(100)}", "more than 64 levels"),
        (parse_toml, "a" + ".a" * 3000 + " = 1", "more than 64 levels"),
        (parse_toml, "a = " + "1" * 5000, "too many digits"),
        (parse_toml, "a = ", "Invalid value"),
    ],
)
def test_what_cannot_be_used_is_one_error(parse: Callable[[Any], Any], text: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_what_can_be_used_is_returned() -> None:
    assert parse_json(nested(DEEPEST)) == eval(nested(DEEPEST))
    assert parse_json('["\\ud83d\\ude00", "\\u001b"]') == ["\U0001f600", "\x1b"]
    assert parse_json('["a\\ud800b"]', replace=True) == ["a?b"]
    assert parse_toml("a.b = [1, 2]") == {"a": {"b": [1, 2]}}
    assert is_unicode("\U0001f600")
    assert not is_unicode("\udcff")


def test_a_terminal_gets_no_control_characters() -> None:
    assert printable("a\tb\nSöhne \u00a0κ") == "a\tb\nSöhne \u00a0κ"
    assert printable("\x1b[31mred\x07\r\u202egnp\ud800\x9b") == "\ufffd[31mred\ufffd\ufffd\ufffdgnp\ufffd\ufffd"


def test_a_value_in_a_message_is_short() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert all(len(shortened_repr(value)) <= 80 for value in ("x" * 1000, 10**5000, deep, list(range(1000))))
