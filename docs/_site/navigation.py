"""The pages of the site in the order of its menu."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

DOCS = Path(__file__).parent.parent
REST = "More"
# A page that does not exist is left out; one that is not named here stands under `REST`, or is a page of its folder.
SECTIONS: Mapping[str, Sequence[str]] = {
    "First steps": ["installation", "tutorial", "glossary", "faq"],
    "Measure": [
        "standard",
        "defenses",
        "suites",
        "running",
        "rescoring",
        "comparing",
        "exporting",
        "site",
        "claims",
        "repeatability",
        "publishing",
    ],
    "Understand": ["threat-models", "tables", "design/metrics", "design/verdict", "design/ladder", "design/exposed"],
    "Real faces and networks": ["real-data", "real-weights", "training"],
    "Write a plugin": [
        *("plugins", "plugins/defense", "plugins/attack", "plugins/model", "plugins/dataset", "plugins/metric"),
        "checking",
    ],
    "Large runs": ["clusters", "design/performance", "reference/benchmarks", "design/scale"],
    "Look up": [
        *("commands", "reference/commands", "reference/suite", "reference/api", "reference/hooks"),
        *("reference/metrics", "reference/testing", "reference/security", "reference/changelog"),
    ],
    "Design": ["design/architecture", "design/decisions", "design/contract", "design/engine", "design/*"],
    REST: ["*", "reference/*", "plugins/*"],
}


def menu() -> str:
    """Return the menu as hidden tables of contents: every page once."""
    return "\n\n".join(
        "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```"])
        for title, pages in sections().items()
        if pages
    )


def sections() -> Mapping[str, Sequence[str]]:
    """Return the pages of each section, as paths in docs/ without their ending."""
    named = {page for pages in SECTIONS.values() for page in pages}
    return {title: [page for entry in pages for page in _pages(entry, named)] for title, pages in SECTIONS.items()}


def _pages(entry: str, named: set[str]) -> Iterator[str]:
    for path in sorted(DOCS.glob(f"{entry}.md")):
        page = path.relative_to(DOCS).with_suffix("").as_posix()
        if page != "index" and (page == entry or page not in named):
            yield page
