"""A site in a real browser, from the disk: filters, sorting, search, accessibility; it requests only its own pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Scheme, Tabs, unfold, violations
from playwright.sync_api import Browser, Page, expect
from site_runs import first_run, hostile_defense, second_run, site_run, source

from bench.report.site import write_site

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of two runs of one version, and of one of another version with a hostile label."""
    folder = tmp_path_factory.mktemp("site")
    hostile = site_run(folder / "hostile", {}, (hostile_defense(),), params={}, version="other-1")
    found = [source(first_run(folder / "one")), source(second_run(folder / "two")), source(hostile)]
    write_site(found, folder / "site", ["one", "two", "hostile"], "site")
    return folder / "site"


@pytest.fixture
def visit(browser: Browser, site: Path) -> Iterator[Tabs]:
    """Opens pages of the site; the test fails if one of them asks for anything else, or complains."""
    tabs = Tabs(browser)
    yield tabs
    tabs.close()
    own = f"request: {site.resolve().as_uri()}/"
    seen = [line for line in tabs.watch.seen if not (line.startswith(own) and line.partition("#")[0].endswith(".html"))]
    if seen:
        pytest.fail("the site asked or complained:\n" + "\n".join(seen), pytrace=False)


def shown(page: Page, selector: str) -> list[str]:
    """Return the texts of the elements of a selector that are visible."""
    return [element.inner_text() for element in page.locator(selector).all() if element.is_visible()]


def names(page: Page) -> list[str]:
    """Return the names of the defenses that are visible, in their order."""
    return shown(page, ".standings tbody th > a")


def test_filters_hide_rows_and_leaderboards(visit: Tabs, site: Path) -> None:
    page = visit(site / "index.html")
    assert names(page)[:5] == ["A", "B", "Clean", "Oblivion", "Break"]
    page.get_by_label("Find").fill("obliv")
    assert names(page) == ["Oblivion"]
    expect(page.locator("#f-count")).to_have_text("1 of 7 rows")
    expect(page.locator("section.leaderboard").nth(1)).to_be_hidden()
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("Kind").select_option("control")
    assert names(page) == ["Clean", "Oblivion", "Break", "Clean"]
    page.get_by_label("Kind").select_option("made for authorised models")
    assert names(page)[:2] == ["A", "B"]
    page.get_by_label("Find").fill("nothing like it")
    assert names(page) == []


def test_columns_sort_within_their_part(visit: Tabs, site: Path) -> None:
    page = visit(site / "index.html")
    table = page.locator("table.standings").first
    sort = table.get_by_role("button", name="Recognition")
    sort.press("Enter")
    assert names(page)[:5] == ["B", "A", "Oblivion", "Break", "Clean"]
    expect(table.locator("th[aria-sort]")).to_have_attribute("aria-sort", "ascending")
    sort.press("Enter")
    assert names(page)[:3] == ["A", "B", "Clean"]
    expect(table.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")


def test_a_channel_opens_to_its_attackers(visit: Tabs, site: Path) -> None:
    page = visit(site / "index.html")
    table = page.locator("table.standings").first
    attacker = table.locator("th.of-reconstruction").first
    expect(attacker).to_be_hidden()
    more = table.get_by_role("button", name="+ 1 attacker").nth(1)
    more.click()
    expect(attacker).to_be_visible()
    assert "recface" in attacker.inner_text()
    table.get_by_role("button", name="− attackers").click()
    expect(attacker).to_be_hidden()


def test_search_finds_pages_and_the_keyboard_opens_them(visit: Tabs, site: Path) -> None:
    page = visit(site / "index.html")
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.type("recogniser net-b")
    expect(page.locator("#hit-count")).to_have_text("1 page found")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#hits a").first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("net-b")
    page.locator("#query").fill("nothing like it")
    expect(page.locator("#hits")).to_be_hidden()
    page.locator("#query").fill("A defense pmt")
    expect(page.locator("#hits a").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#hits")).to_be_hidden()


def test_a_row_and_a_point_lead_to_the_page_of_a_defense(visit: Tabs, site: Path) -> None:
    page = visit(site / "index.html")
    page.locator(".standings tbody th > a", has_text="B").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("B")
    assert "Rank 2." in page.inner_text("#verdict")
    page.get_by_role("link", name="recface").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("recface")
    page.get_by_role("link", name="Leaderboard", exact=True).click()
    page.locator(".front a").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_be_visible()


def test_without_scripts_everything_is_there(visit: Tabs, site: Path) -> None:
    page = visit(site / "index.html", java_script_enabled=False)
    assert names(page)[:3] == ["A", "B", "Clean"]
    expect(page.locator("#search")).to_be_hidden()
    expect(page.locator("#choices")).to_be_hidden()


PAGES = ("index", "defenses/a", "attacks/abuse", "judges/net-b", "data/synth-lfw", "runs/one")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_pages_are_accessible(visit: Tabs, site: Path, name: str, scheme: Scheme) -> None:
    page = visit(site / f"{name}.html", scheme=scheme)
    if name == "index":
        page.get_by_role("button", name="+ 1 attacker").first.click()
        page.locator("#query").fill("net")
    assert not violations(unfold(page))


@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_a_phone(visit: Tabs, site: Path, name: str) -> None:
    page = unfold(visit(site / f"{name}.html", width=400))
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_names_of_a_stranger_stay_text(visit: Tabs, site: Path) -> None:
    page = visit(site / "index.html")
    page.locator("#query").fill("mine script")
    expect(page.locator("#hits a").first).to_contain_text("<script>alert('x')</script>")
    page.locator("#hits a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Mine <script>")
