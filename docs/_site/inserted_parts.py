"""What Sphinx reads beside the pages of docs/: parts that are made from the code, and files outside of docs/.

A page says where with a comment, which GitHub does not show: ``<!-- made from the code: suite -->``, or
``<!-- the file SECURITY.md -->``.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import api_reference
import command_reference
import metric_reference
import navigation
import suite_reference

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent.parent
MADE: Mapping[str, Callable[[], str]] = {
    "bench": lambda: api_reference.module("bench"),
    "bench.metrics": lambda: api_reference.module("bench.metrics"),
    "bench.testing": lambda: api_reference.module("bench.testing"),
    "hooks": api_reference.hooks,
    "suite": suite_reference.tables,
    "commands": command_reference.commands,
    "metrics": metric_reference.metrics,
    "navigation": navigation.menu,
}
# Files outside of docs/ that are pages of the site, and these pages.
FILES = {
    "SECURITY.md": "docs/reference/security.md",
    "CHANGELOG.md": "docs/reference/changelog.md",
    "benchmarks/RESULTS.md": "docs/reference/benchmarks.md",
}
_MADE = re.compile(r"^<!-- made from the code: (.+) -->$", re.MULTILINE)
_FILE = re.compile(r"\A.*^<!-- the file (.+) -->$.*\Z", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[([^][]*)\]\(([^()\s:#]+)(#[^()\s]*)?\)")


def text_of(page: str, text: str) -> tuple[str, str | None]:
    """Return the text of a page as it is read, and the file outside of docs/ that it shows, if any.

    ``page`` is the path of the page in the repository.
    """
    shown = found.group(1) if (found := _FILE.search(text)) else None
    if shown:
        text = (ROOT / shown).read_text(encoding="utf-8")
    text = _LINK.sub(lambda m: _link(m, shown or page, page), text)
    return _MADE.sub(lambda m: MADE[m.group(1)](), text), shown


def _link(match: re.Match[str], written_in: str, page: str) -> str:
    """Return a link of a file as a page needs it; of a link to a file that the site does not show, its words."""
    words, target, anchor = match.groups()
    path = posixpath.normpath(posixpath.join(posixpath.dirname(written_in), target))
    path = FILES.get(path, path)
    if not path.startswith("docs/"):
        return words if (ROOT / path).exists() else match.group()
    return f"[{words}]({posixpath.relpath(path, posixpath.dirname(page))}{anchor or ''})"


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    source[0], shown = text_of(f"docs/{page}.md", source[0])
    if shown:
        app.env.note_dependency(str(ROOT / shown))


def setup(app: Sphinx) -> dict[str, bool]:
    """Insert the parts when a page is read."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
