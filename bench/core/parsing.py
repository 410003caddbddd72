"""Parses JSON and TOML from strangers: whatever a text holds, the result is a value or one `ValueError` in one line.

The parsers of Python also fail with a `RecursionError`, and accept texts that no file can hold.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any

DEEPEST = 64  # Most levels of tables and lists; no suite and no record comes near.
_TOO_DEEP = f"tables and lists in more than {DEEPEST} levels"
_NO_UNICODE = "a text that is not valid Unicode"


def parse_json(text: str | bytes, *, replace: bool = False) -> Any:
    """Return the value of a JSON text. Raises `ValueError` if it is not valid JSON, is nested too deep, or holds a half
    of a surrogate pair; ``replace``: such halves become question marks."""
    try:
        text = text if isinstance(text, str) else text.decode()
    except UnicodeDecodeError:
        raise ValueError("bytes that are not UTF-8") from None
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if text.count("[") + text.count("{") > DEEPEST:
        _check_depth(value)
    if "\\ud" not in text.lower():
        return value
    try:
        written = json.dumps(value, ensure_ascii=False).encode(errors="replace" if replace else "strict")
    except UnicodeEncodeError:
        raise ValueError(_NO_UNICODE) from None
    return json.loads(written)


def parse_toml(text: str) -> dict[str, Any]:
    """Return the table of a TOML text. Raises `ValueError` if it is not valid TOML, is nested too deep, or holds a
    whole number of some thousand digits."""
    try:
        value = tomllib.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:
        raise ValueError("a whole number of too many digits") from None
    _check_depth(value)
    return value


def is_unicode(text: str) -> bool:
    """Return False if a text holds half of a surrogate pair, as an argument of a command does that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_depth(value: Any) -> None:
    """Raise `ValueError` if tables and lists are nested in more than `DEEPEST` levels."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [v for v in level if isinstance(v, dict | list)]
        if not level:
            return
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
    raise ValueError(_TOO_DEEP)
