"""What the search of a site finds: the title, kind, path and some words of each page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.core.text import shortened

if TYPE_CHECKING:
    from bench.report.site import SitePage

_KINDS = {
    "index.html.j2": "leaderboard",
    "defense.html.j2": "defense",
    "attack.html.j2": "attack",
    "facts.html.j2": "facts",
    "run.html.j2": "run",
}
_LONGEST = 110  # characters of words and of a title: every page holds the whole index


def entries(pages: Sequence[SitePage]) -> list[list[str]]:
    """Return one entry for each page: title, kind, path, words."""
    return [
        [shortened(page.title, _LONGEST), _kind(page), page.path, shortened(_words(page), _LONGEST)] for page in pages
    ]


def _kind(page: SitePage) -> str:
    return str(page.about.get("what", _KINDS[page.template])).lower()


def _words(page: SitePage) -> str:
    """Return further words by which a page is found."""
    about = page.about
    if page.template == "defense.html.j2":
        one = about["one"]
        return " ".join([one.cell.plugin, one.entry.goal, one.family, one.badge, one.mark, one.source.name])
    if page.template == "attack.html.j2":
        return f"{about['page'].channel} {about['page'].attacker.plugin} {about['page'].knowledge}"
    if page.template == "facts.html.j2":
        return str(about["page"].facts[0][1])
    return ""
