"""``--set PATH=VALUE`` on the command line: changes of a suite, and parameters of a component."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bench.core.errors import SuiteError, did_you_mean
from bench.core.parsing import is_unicode, parse_toml
from bench.core.text import shortened, shortened_repr


def toml_path(parts: Sequence[int | str]) -> str:
    """Return a TOML path as text: ``("experiment", 0, "pairs")`` is ``experiment[0].pairs``."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "(top level)"


def override(raw: dict[str, Any], text: str) -> None:
    """Apply one ``--set path=value`` to the content of a suite file; the last key of the path may be new.

    Raise `SuiteError` if the rest of the path does not exist.
    """
    option = f"--set {shortened(text)}"
    if not is_unicode(text):
        raise SuiteError(f"{option}: expected text in UTF-8, found other bytes")
    path, equals, value_text = text.partition("=")
    if not equals or not path.strip():
        raise SuiteError(f"{option}: expected path=value, such as suite.seed=1 or experiment[0].pairs=32")
    value = toml_value(value_text)
    names = re.findall(r"[^.\[\]]+", path.strip())
    if not names:
        raise SuiteError(f"{option}: expected path=value, such as suite.seed=1 or experiment[0].pairs=32")
    parts: list[int | str] = [int(p) if re.fullmatch("[0-9]{1,6}", p) else p for p in names]
    node: Any = raw
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        where = toml_path(parts[: i + 1])
        if isinstance(node, list):
            if not isinstance(part, int) or part >= len(node):
                raise SuiteError(f"{option}: {where}: expected an index below {len(node)}, found {part!r}")
        elif not isinstance(node, dict):
            raise SuiteError(f"{option}: {toml_path(parts[:i])} is {shortened_repr(node)}, which has no parts")
        elif isinstance(part, int):
            raise SuiteError(f"{option}: {where}: expected a key, found an index")
        elif not last and part not in node:
            raise SuiteError(f"{option}: {where}: nothing there; {did_you_mean(part, node)}")
        if last:
            node[part] = value
        else:
            node = node[part]


def toml_value(text: str) -> Any:
    """Return a text as a TOML value, or the text itself if it is not valid TOML."""
    try:
        return (parse_toml(f"v = {text}") if "\n" not in text else {}).get("v", text)
    except ValueError:
        return text


def parameters_of(texts: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of a component from texts ``name=value``, whose values are as in ``--set`` for a suite."""
    params = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise SuiteError(f"--set {text}: expected name=value, such as path=~/faces")
        params[name.strip()] = toml_value(value)
    return params
