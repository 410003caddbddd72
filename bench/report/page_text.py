"""The one place where texts reach a page.

Texts of suites, plugins and runs may come from strangers. Jinja escapes each of them, so that none is markup; here all
characters that nobody sees, that control a terminal or that change the direction of writing become visible marks.
`<bdi>` and the style sheet keep writing from right to left within its own element.
`tests/security/test_pages.py` finds other places.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.core.text import printable

_LINES = re.compile(r"\r\n?")
# What `json.dumps` makes of control characters; escaped backslashes are consumed, so that none of them begins a match.
_ESCAPED = re.compile(r"\\\\|\\u00[01][0-9a-f]|\\[bfr]")


def environment(package: str) -> Environment:
    """Return a Jinja environment that escapes everything, with the templates of a package."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def finished(html: str, scripts: Sequence[str] = ()) -> str:
    """Return a page whose texts show marks in place of characters that control or reorder it. The ``scripts`` in it, in
    their order, stay as they are, because its policy has their hashes."""
    parts = []
    for script in scripts:
        before, found, html = html.partition(script)
        parts += [_visible(before), found]
    return "".join([*parts, _visible(html)])


def _visible(text: str) -> str:
    return printable(_LINES.sub("\n", text))


def script_data(about: Mapping[str, Any]) -> Markup:
    """Return data for the scripts of a page as JSON for a script element, escaped so that no text in it can end the
    element, and with the same marks as the page itself."""
    text = json.dumps(about, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = _ESCAPED.sub(lambda found: found[0] if found[0] == "\\\\" else "\ufffd", text)
    return Markup(printable(text).replace("<", "\\u003c"))
