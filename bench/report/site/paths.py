"""Where each page of a site lies: every page has a file name of its own, made of letters, digits and hyphens only."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Literal

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
