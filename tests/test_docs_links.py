"""Every link in the documentation leads somewhere: to a file of the repository, and to a heading of that page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_docs_blocks import PAGES, ROOT

WRITTEN = [*PAGES, ROOT / "SECURITY.md", ROOT / "benchmarks" / "RESULTS.md", *sorted(ROOT.glob("tests/**/README.md"))]
# A link or an image, whose words may be an image again; code is removed before.
LINK = re.compile(r"!?\[(?:[^][]|\[[^][]*\])*\]\(([^()\s]+)\)")
CODE = re.compile(r"^( *)```.*?^\1```|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub names them."""
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        twice = sum(re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", each) is not None for each in found)
        found.append(f"{anchor}-{twice}" if twice else anchor)
    return set(found)


def broken_links(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    broken = []
    text = CODE.sub(lambda m: "" if "\n" in m.group() else "code", page.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and (target.suffix != ".md" or anchor not in anchors_of(target))):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# One heading, `and` more\n\n```\n# no heading\n```\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](there.md) [b](there.md#one-heading-and-more) [c](#here) [d](https://example.org/x)\n"
        "[e](gone.md) [f](there.md#no-heading) [g](#gone) `[h](code.md)`\n",
        encoding="utf-8",
    )
    assert broken_links(page) == ["gone.md", "there.md#no-heading", "#gone"]
