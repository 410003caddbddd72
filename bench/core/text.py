"""Texts for messages and reports: counts, durations, values from files, and characters that nothing should print."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

# Control characters except tab and newline; line and paragraph separators; halves of surrogate pairs; and what Unicode
# calls ignorable by default, which no font shows: characters of no width, those that change the direction of writing,
# fillers, variation selectors, and tags, with which a text can hide in another one.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Characters that no reader sees and that are of no invisible category: Unicode's Default_Ignorable_Code_Point (joiners,
# variation selectors, tags), but for fillers, which look like a space; so does the empty pattern of Braille.
_IGNORABLE = re.compile("[\u034f\u17b4\u17b5\u180b-\u180f\u2065\ufe00-\ufe0f\ufff0-\ufff8\U000e0000-\U000e0fff]")
_FILLERS = re.compile("[\u115f\u1160\u2800\u3164\uffa0]")
_INVISIBLE = frozenset({"Cc", "Cf", "Cs"})  # Unicode's categories of control, format and surrogate characters.
_WORDS = frozenset({"none", "nothing", "no", "all", "any"})
_LONGEST = 80  # characters of a value in a message
_LONGEST_LINE, _MOST_LINES = 1_000, 100  # characters of a line of a message, and lines of a message


def plural(n: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: ``1 cell``, ``2 cells``. ``many`` is the plural, by default ``one`` and an s."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def joined_labels(labels: Iterable[str]) -> str:
    """Return labels joined by commas; one that reads like a word of the sentence, such as ``none``, is in quotes."""
    return ", ".join(f"“{label}”" if label.lower() in _WORDS else label for label in labels)


def duration(seconds: float | None) -> str:
    """Format a number of seconds in suitable units: ``250 ms``, ``3.1 s``, ``2 min 5 s``, ``4 h 10 min``."""
    if seconds is None:
        return "unknown"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def set_label(labels: Iterable[str]) -> str:
    """Return the label of a set of models: their labels joined by ``+``; empty for no model.

    Within an experiment each label belongs to one set, so that it may serve as a key. Never split a label to get the
    models of a set.
    """
    return "+".join(labels)


def printable(text: str) -> str:
    """Return a text that shows every character in it, and cannot control a terminal.

    Each control character except newline and tab, each half of a surrogate pair, and each character that nobody sees,
    because it has no width or changes the direction of writing, becomes ``�``.
    """
    return _UNPRINTABLE.sub("\ufffd", text)


def without_invisible(text: str) -> str:
    """Return a text without characters that nobody sees, such as zero-width spaces, variation selectors and tags.

    Spaces of all kinds stay, and fillers that look like one become one; control characters, such as line breaks, do not
    stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in _IGNORABLE.sub("", _FILLERS.sub(" ", text)) if unicodedata.category(c) not in _INVISIBLE)


def spelling(label: str) -> str:
    """Return what two labels have in common that a reader cannot tell apart: labels that differ in nothing but spaces,
    case, invisible characters or Unicode form have one spelling."""
    return " ".join(unicodedata.normalize("NFKC", without_invisible(label)).casefold().split())


def one_line(text: str) -> str:
    """Return a text as `printable` does and without line breaks, so that it cannot look like another line of a list."""
    return "\ufffd".join(printable(text).splitlines())


def escaped_json(text: str) -> str:
    """Return a JSON text in which the characters that `printable` replaces are escaped, so that its values stay the
    same. JSON has them only within its texts."""
    return _UNPRINTABLE.sub(lambda found: _escaped(found[0]), text)


def _escaped(character: str) -> str:
    """Return a character as JSON escapes it: beyond U+FFFF as the two halves of a surrogate pair."""
    return re.sub("(....)", r"\\u\1", character.encode("utf-16-be", "surrogatepass").hex())


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON that can be printed, see `escaped_json`.

    Numbers that JSON cannot hold (NaN and infinite ones) become null, anything else that it cannot hold its text.
    """
    return escaped_json(json.dumps(_with_finite_numbers(value), indent=indent, default=str, allow_nan=False))


def _with_finite_numbers(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _with_finite_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_finite_numbers(inner) for inner in value]
    return value


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Return a text for a message, cut at ``longest`` characters."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def shortened_message(text: str) -> str:
    """Return an error or a note for people, without the middle of very long lines and without the end of a very long
    list of lines: what it repeats from a file of a stranger may have any length."""
    lines = text.split("\n")
    more = [f"... and {plural(len(lines) - _MOST_LINES, 'further line')}"] if len(lines) > _MOST_LINES else []
    return "\n".join([*map(_shortened_line, lines[:_MOST_LINES]), *more])


def _shortened_line(line: str) -> str:
    """Return a line with its beginning, which says where, and its end, which says what to do."""
    if len(line) <= _LONGEST_LINE:
        return line
    head, tail = line[: _LONGEST_LINE // 2], line[-_LONGEST_LINE // 4 :]
    return f"{head} [... {len(line) - len(head) - len(tail):,} characters left out ...] {tail}"


def shortened_repr(value: object) -> str:
    """Return a value from a file as text for a message, cut at `_LONGEST` characters."""
    try:
        return shortened(repr(value))
    except (ValueError, RecursionError):  # Python prints no whole number of some thousand digits and no deep nesting.
        return "a value that is too large to show"
    except Exception:  # The class of a plugin has a __repr__ that fails.
        return f"a value of {type(value).__name__} that cannot be shown"
