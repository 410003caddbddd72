"""How the page is read in a real browser: what it shows first, how folded parts open, and that the contents stay."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import Tabs, unfold
from fake_run import FakeAttack, FakeRun
from playwright.sync_api import Browser, Page, expect
from test_standard_line import run_of

from bench.report.page import write_report

pytestmark = pytest.mark.browser

Opens = Callable[..., Page]
SCREEN = 800  # the height of a window in CSS pixels
SCREENS = 12  # the most screens that a page shows before anything is opened
FOLDED = "main details:not([open])"


@pytest.fixture
def paper(open_report: Opens, paper_file: Path) -> Page:
    """The page of the paper's suite in a window of 1280 x 800 pixels."""
    return open_report(paper_file, 1280, height=SCREEN)


@pytest.fixture
def tabs(browser: Browser) -> Iterator[Tabs]:
    """Tabs whose addresses a test chooses itself."""
    found = Tabs(browser)
    yield found
    found.close()


def height_of(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollHeight"))


def is_open(page: Page, place: str) -> bool:
    """Return whether all folded parts around the element with this id are open."""
    return bool(
        page.evaluate(
            """(id) => {
              for (let e = document.getElementById(id); (e = e.parentElement?.closest("details")); )
                if (!e.open) return false;
              return true;
            }""",
            place,
        )
    )


# ---- what is shown first ---------------------------------------------------------------------------------------------


def test_a_page_is_twelve_screens_high_until_something_is_opened(paper: Page) -> None:
    paper.evaluate("document.fonts.ready")
    assert height_of(paper) < SCREENS * SCREEN
    unfold(paper)
    assert height_of(paper) > 3 * SCREENS * SCREEN


def test_every_experiment_shows_one_picture(paper: Page) -> None:
    pictures = paper.evaluate(
        """() => [...document.querySelectorAll("main > section.part")].map((section) =>
          [...section.querySelectorAll("figure, .shelf")].filter((e) => e.checkVisibility()).length)"""
    )
    assert pictures
    assert set(pictures) == {1}


def test_the_first_screen_answers_and_says_how_to_compute_it_again(
    open_report: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best defense of the run and of the standard suite, each with its leakage, interval, N and command."""
    monkeypatch.setenv("BENCH_REFERENCE", str(tmp_path / "references"))
    reference = run_of(tmp_path / "references" / "hard-7", {"version": "hard-7"}, FakeRun(attacks=(FakeAttack(),)))
    run = run_of(tmp_path / "run", {"standard": "hard-7"})
    page = open_report(write_report(run, tmp_path / "index.html"), 1280, height=SCREEN)
    assert reference.run.suite.version == "hard-7"
    for answer in (page.locator("#verdict .answers"), page.locator("#standard")):
        box = answer.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < SCREEN - 50  # above the bar of filters
        text = re.sub(r"\s+", " ", answer.inner_text())
        assert "PMT" in text
        assert re.search(r"\d % \([\d.]+–[\d.]+, N [\d,]+", text), text
        assert "bench run" in answer.locator(".command").inner_text()


# ---- folded parts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("place", ["methods", "judges", "cells"])
def test_an_address_opens_the_folded_part_that_it_names(
    tabs: Tabs, paper_file: Path, place: str, scripts: bool
) -> None:
    page = tabs(paper_file, java_script_enabled=scripts)
    assert not is_open(page, place)
    page.goto("about:blank")
    page.goto(f"{paper_file.as_uri()}#{place}")
    assert is_open(page, place)
    expect(page.locator(f"#{place}")).to_be_in_viewport()


def test_a_link_opens_a_folded_part_again_after_it_was_closed(paper: Page) -> None:
    link = paper.locator("a[href='#judges']").first
    link.evaluate("(e) => e.closest('details').open = true")
    for _ in range(2):
        link.click()
        expect(paper.locator("#judges")).to_be_in_viewport()
        paper.evaluate("document.querySelector('#judges').closest('details').open = false")


def test_a_search_of_the_browser_opens_the_folded_part_that_it_finds(browser: Browser, paper_file: Path) -> None:
    """A link to a text searches the page as a reader does; browsers follow such links on the web only."""
    context = browser.new_context()
    context.route("http://page.test/*", lambda r: r.fulfill(body=paper_file.read_text(), content_type="text/html"))
    page = context.new_page()
    page.goto("http://page.test/")
    assert not is_open(page, "methods")
    page.goto("about:blank")
    page.goto("http://page.test/#:~:text=Definitions")
    page.wait_for_function("document.querySelector('#methods').closest('details').open")
    context.close()


def test_print_opens_and_draws_everything_and_then_folds_it_again(paper: Page) -> None:
    folded = paper.locator(FOLDED).count()
    assert folded > 20
    paper.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert paper.locator(FOLDED).count() == 0
    assert paper.locator("[data-plot]").count() == paper.locator("[data-plot]:has(svg)").count()
    paper.evaluate("dispatchEvent(new Event('afterprint'))")
    assert paper.locator(FOLDED).count() == folded


def test_a_number_in_a_folded_part_leads_to_its_rows(paper: Page) -> None:
    part = paper.locator("main > section.part details.fold", has=paper.locator("table.measurements")).first
    part.locator("summary").first.click()
    part.locator("table button.v").first.click()
    expect(paper.get_by_role("dialog")).to_contain_text("Rests on")
    paper.keyboard.press("Escape")
    expect(part).to_have_attribute("open", "")


# ---- the contents ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1280, 390])
def test_the_contents_stay_in_view_and_say_where_the_reader_is(
    open_report: Opens, paper_file: Path, width: int
) -> None:
    page = open_report(paper_file, width, height=SCREEN, reduced_motion="reduce")
    contents = page.locator("nav")
    for place in ("experiment-3", "provenance", "verdict"):
        page.locator(f"#{place} h2").evaluate("(e) => e.scrollIntoView()")
        expect(contents.locator("a[aria-current]")).to_have_attribute("href", f"#{place}")
        expect(contents.locator("a[aria-current]")).to_be_in_viewport(ratio=0.99)
    box = contents.bounding_box()
    text = page.locator("main").bounding_box()
    assert box is not None
    assert text is not None
    beside = box["x"] + box["width"] <= text["x"] + 1
    assert beside == (width == 1280)
    assert beside or box["height"] < 60
