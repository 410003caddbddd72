"""Reads text, JSON and TOML of strangers: whatever a file holds, the result is a value or one `ValueError` of one line.

The parsers of Python also fail with a `RecursionError`, and accept texts that no file can hold.
"""

from __future__ import annotations

import codecs
import json
import re
import tomllib
from typing import Any

DEEPEST = 64  # Most levels of tables and lists; no suite and no record comes near.
# A key of more parts than any table has levels; the parser takes quadratic time for such a key.
_LONG_KEY = re.compile(r"""(?<![\w"'-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""")
_TOO_DEEP = f"tables and lists in more than {DEEPEST} levels"
_NO_UNICODE = "a text that is not valid Unicode"
# The byte order marks that editors and shells of Windows write, and the encoding that each stands for. That of UTF-16
# (little endian) is the beginning of that of UTF-32, so the longer ones come first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode_text(data: bytes, what: str = "text") -> str:
    """Return the content of a text file whose lines end with ``\\n``, whichever line ends it has.

    It is UTF-8, or what its byte order mark says: UTF-8, UTF-16 or UTF-32, as programs of Windows write them. Raises
    `ValueError` for any other encoding, such as Latin-1 or UTF-16 without the mark; its message says that ``what`` was
    expected.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding in ("utf-8", "utf-8-sig"):
            line = data[: error.start].count(b"\n") + 1
            found = f"the byte 0x{data[error.start]:02X} in line {line}, as a file in Latin-1 or Windows-1252 has it"
        else:
            found = f"a byte order mark of {encoding.upper()} and bytes in another encoding"
        raise ValueError(f"expected {what} in UTF-8, found {found}; save the file as UTF-8") from None
    if "\0" in text:
        raise ValueError(
            f"expected {what} in UTF-8, found bytes that are zero, as a file in UTF-16 without a byte order mark has; "
            "save the file as UTF-8"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_json(text: str | bytes, *, replace: bool = False) -> Any:
    """Return the value of a JSON text. Raises `ValueError` if it is not valid JSON, is nested too deep, or holds a half
    of a surrogate pair; ``replace``: such halves become question marks."""
    try:
        text = text if isinstance(text, str) else decode_text(text)
    except ValueError as error:
        raise ValueError(f"bytes that are not UTF-8: {error}") from None
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
    if _LONG_KEY.search(text):
        raise ValueError(_TOO_DEEP)
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
