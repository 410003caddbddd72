"""A site of a stranger's run: it writes its pages and nothing else, and texts of the run neither run nor control it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stranger import Stranger, files_of
from test_pages import Parser
from test_terminal import HOSTILE, relabel

from bench.core.text import printable
from bench.report.site import assets


def visible(page: str) -> str:
    """Return a page without its scripts."""
    for script in assets.scripts(board=True):
        page = page.replace(script, "")
    return page


def made(stranger: Stranger) -> list[Path]:
    """Return the pages of the site of the run."""
    done = stranger.bench("site", stranger.folder, "-o", stranger.home / "site")
    assert done.exit_code == 0, done.output
    return sorted((stranger.home / "site").rglob("*"))


def test_it_writes_into_its_folder_and_nowhere_else(stranger: Stranger) -> None:
    before = files_of(stranger.home)
    assert made(stranger)
    after = files_of(stranger.home)
    assert {name for name in after if after[name] != before.get(name)} == {
        name for name in after if name.startswith("site/")
    }
    assert all(name.endswith(".html") for name in after if name.startswith("site/"))


@pytest.mark.parametrize("text", [" and ".join(HOSTILE.values()), "</script><img src=x onerror=alert(1)>"])
def test_texts_stay_texts(stranger: Stranger, text: str) -> None:
    relabel(stranger, text)
    for path in made(stranger):
        if path.is_file():
            page = path.read_text(encoding="utf-8")
            assert printable(visible(page)) == visible(page)
            parser = Parser()
            parser.feed(visible(page))
            assert not set(parser.found) - {"src", "img"}  # Pictures of generated faces are images.
            assert page.count('<img src="data:') == page.count("<img ")


def test_a_folder_of_something_else_is_left_alone(stranger: Stranger) -> None:
    page = stranger.home / "site" / "index.html"
    page.parent.mkdir()
    page.write_text("mine")
    done = stranger.bench("site", stranger.folder, "-o", page.parent)
    assert done.exit_code == 2
    assert "expected no page, or one that bench site has made" in done.stderr
    assert page.read_text() == "mine"


def test_a_link_in_the_folder_is_not_written_through(stranger: Stranger, tmp_path: Path) -> None:
    (stranger.home / "site").mkdir()
    (stranger.home / "site" / "index.html").write_text(
        '<meta name="generator" content="bench site">'
    )  # an earlier site
    (stranger.home / "site" / "defenses").symlink_to(tmp_path)
    done = stranger.bench("site", stranger.folder, "-o", stranger.home / "site")
    assert done.exit_code == 2
    assert "found a link to" in done.stderr
    assert not list(tmp_path.glob("*.html"))


ODD: dict[str, Any] = {
    "experiment": {"suite": {"raw": {"experiment": [1, {"name": [], "defenses": 3}]}}},
    "suite": {"suite": {"raw": {"suite": [1]}}},
    "version": {"suite": {"raw": {"suite": {"version": "../../x"}}}},
    "checked": {"checked": {}, "host": None},
    "dates": {"started": "\u202e\ud800", "finished": ""},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_records_are_pages_or_one_error(stranger: Stranger, name: str) -> None:
    def change(record: dict[str, Any]) -> None:
        for key, value in ODD[name].items():
            if isinstance(value, dict) and key == "suite":
                record["suite"]["raw"] |= value["raw"]
            else:
                record[key] = value

    stranger.change(change)
    done = stranger.bench("site", stranger.folder, "-o", stranger.home / "site")
    assert done.exit_code in (0, 2), done.output
    assert done.exit_code == 0 or (done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1)
