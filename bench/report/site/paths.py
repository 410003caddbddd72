"""The pages of a site: where each lies, and how the search finds it.

Every page has a file name of its own, made of letters, digits and hyphens only.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.core.text import shortened
from bench.report.charts.theme import file_name

PageKind = Literal["defense", "attack", "data", "judge", "run"]
FOLDERS: dict[PageKind, str] = {
    "defense": "defenses",
    "attack": "attacks",
    "data": "data",
    "judge": "judges",
    "run": "runs",
}
_LONGEST = 60  # characters of a file name
_LONGEST_WORDS = 110  # characters of a title or of words in the search: every page holds those of all


@dataclass(frozen=True)
class SitePage:
    """A page before it is printed: its path, its template, its title, what it is about (``kind``), what the template
    shows (``about``), and further words by which it is found."""

    path: str
    template: str
    title: str
    kind: str
    about: Mapping[str, Any]
    words: str = ""


def entry(page: SitePage) -> list[str]:
    """Return what the search knows of a page: title, kind, path, words."""
    return [shortened(page.title, _LONGEST_WORDS), page.kind, page.path, shortened(page.words, _LONGEST_WORDS)]


@dataclass
class PagePaths:
    """Gives each page its path below the folder of the site: the same one whenever it is asked for the same page."""

    _known: dict[tuple[PageKind, Hashable], str] = field(default_factory=dict)

    def of(self, kind: PageKind, key: Hashable, title: str) -> str:
        """Return the path of a page; titles that give the same file name are told apart by a number."""
        if (kind, key) not in self._known:
            name = file_name(title)[:_LONGEST].strip("-") or kind
            taken = set(self._known.values())
            names = (f"{FOLDERS[kind]}/{name}{f'-{i}' if i > 1 else ''}.html" for i in range(1, len(taken) + 2))
            self._known[kind, key] = next(path for path in names if path not in taken)
        return self._known[kind, key]
