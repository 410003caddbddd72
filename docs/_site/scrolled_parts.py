"""What is wider than the window is scrolled, with the keyboard too: code, tables and equations take the focus."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_SCROLLED = re.compile(r'<pre(?=>)|<div(?= class="(?:table-wrapper|equation)[ "])')


def _focusable(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    if "body" in context:
        context["body"] = _SCROLLED.sub(lambda m: f'{m.group()} tabindex="0"', context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Change the body of each page before it is written."""
    app.connect("html-page-context", _focusable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
