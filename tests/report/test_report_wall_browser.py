"""The face wall in a real browser: enlarging a picture, moving between faces with the keyboard, and filters."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import ARTIFACTS, unfold
from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

Opens = Callable[..., Page]
WALL = "table.wall:has(th[data-attack='recface, leaky'])"  # The wall with reconstructions.


def faces(page: Page, row: str = "worst") -> Locator:
    """Return the visible pictures in a row of the first wall with reconstructions, the original first."""
    return page.locator(WALL).first.locator(f"tr[data-face={row}] .face:visible")


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.getAttribute('aria-label')"))


def choose(page: Page, label: str, value: str) -> None:
    page.locator("form.filters label", has_text=re.compile(f"^{label}")).locator("select").select_option(label=value)


def kinds(page: Page) -> set[str]:
    return set(
        page.evaluate(
            "[...document.querySelectorAll('tr[data-face]')].filter(r => r.checkVisibility()).map(r => r.dataset.face)"
        )
    )


def test_pictures_are_shown_without_scripts(paper_file: Path, open_report: Opens) -> None:
    page = unfold(open_report(paper_file, java_script_enabled=False))
    shown = faces(page)
    assert shown.count() > 5
    assert shown.first.get_attribute("role") == "img"
    assert "data:image/" in shown.first.evaluate("e => getComputedStyle(e).backgroundImage")
    assert page.locator("dialog").count() == 0
    assert page.locator(".face[tabindex]").count() == 0


def test_a_picture_enlarges_and_the_same_face_follows(
    paper_file: Path, open_report: Opens, assert_accessible: Callable[..., None]
) -> None:
    page = unfold(open_report(paper_file))
    shown = faces(page)
    first, second = (shown.nth(i).get_attribute("aria-label") for i in (1, 2))
    shown.nth(1).click()
    dialog = page.locator("dialog.enlarged")
    picture = dialog.get_by_role("img")
    assert dialog.is_visible()
    assert picture.get_attribute("aria-label") == first
    assert picture.evaluate("e => getComputedStyle(e).imageRendering") == "pixelated"
    assert picture.bounding_box()["width"] > 2 * shown.nth(1).bounding_box()["width"]  # type: ignore[index]
    assert {"SSIM", "cos, highest other"} <= set(dialog.locator("dt").all_inner_texts())
    assert "Worst of 6" in dialog.inner_text()
    assert_accessible(page, "dialog")
    page.screenshot(path=ARTIFACTS / "wall-enlarged.png")
    dialog.get_by_role("button", name="Next").click()
    assert picture.get_attribute("aria-label") == second
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert str(picture.get_attribute("aria-label")).endswith(", original")
    assert dialog.get_by_role("button", name="Previous").is_disabled()
    page.keyboard.press("ArrowDown")
    assert "Median of 6" in dialog.inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert focused(page) == faces(page, "median").first.get_attribute("aria-label")


def test_the_keyboard_goes_from_face_to_face(paper_file: Path, open_report: Opens) -> None:
    page = unfold(open_report(paper_file))
    wall = page.locator(WALL).first
    assert wall.locator(".face[tabindex='0']").count() == 1
    shown = faces(page)
    names = [shown.nth(i).get_attribute("aria-label") for i in range(3)]
    page.evaluate("e => e.closest('.scroll').focus()", wall.element_handle())
    page.keyboard.press("Tab")
    assert focused(page) == names[0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert focused(page) == names[2]
    page.keyboard.press("ArrowLeft")
    assert focused(page) == names[1]
    page.keyboard.press("ArrowDown")
    assert focused(page) == faces(page, "median").nth(1).get_attribute("aria-label")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert focused(page) == names[1]
    page.keyboard.press("Enter")
    assert page.locator("dialog.enlarged").is_visible()
    page.locator("dialog.enlarged").get_by_role("button", name="Close").press("Enter")
    assert focused(page) == names[1]
    page.keyboard.press("Space")
    assert page.locator("dialog.enlarged").is_visible()
    page.keyboard.press("Escape")
    assert page.locator(".face[tabindex='0']").count() == page.locator("table.wall").count()


def test_choices_hold_for_all_walls(paper_file: Path, open_report: Opens) -> None:
    page = unfold(open_report(paper_file))
    before = page.locator(".face:visible").count()
    assert kinds(page) >= {"worst", "median", "best"}
    choose(page, "face", "worst")
    assert not kinds(page) & {"median", "best"}
    assert "worst" in kinds(page)
    choose(page, "data set", "synth-agedb30")
    assert page.locator(".shelf[data-dataset='synth-lfw']:visible").count() == 0
    assert page.locator(".shelf[data-dataset='synth-agedb30']:visible").count() > 0
    choose(page, "attack", "recface")
    assert page.locator(".wall td[data-attack='recface, leaky']:visible").count() == 0
    assert page.locator(".wall td[data-attack='recface']:visible").count() > 0
    choose(page, "defense", "PMT")
    heads = page.locator(f"{WALL}:visible thead th:visible")
    assert [text.split("\n") for text in heads.all_inner_texts()] == [
        ["Original"],
        ["PMT", "as uploaded"],
        ["PMT", "recface"],
    ]
    page.locator(f"{WALL}:visible .face:visible").first.click()
    dialog = page.locator("dialog.enlarged")
    for expected in ("PMT, as uploaded", "PMT, recface"):
        page.keyboard.press("ArrowRight")
        assert dialog.locator("h2").inner_text() == expected
    assert dialog.get_by_role("button", name="Next").is_disabled()
    page.keyboard.press("Escape")
    page.screenshot(path=ARTIFACTS / "wall-filtered.png")
    page.get_by_role("button", name="Show all").click()
    assert page.locator(".face:visible").count() == before


def test_the_face_in_view_stays_in_view(paper_file: Path, open_report: Opens) -> None:
    page = unfold(open_report(paper_file, reduced_motion="reduce"))
    row = page.locator(WALL).nth(1).locator("tr[data-face=worst]")
    row.evaluate("e => e.scrollIntoView({block: 'start'})")
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(200)
    top = row.evaluate("e => e.getBoundingClientRect().top")
    choose(page, "face", "worst")
    assert row.evaluate("e => e.getBoundingClientRect().top") == pytest.approx(top, abs=2)
    choose(page, "defense", "PMT")
    assert row.evaluate("e => e.getBoundingClientRect().top") == pytest.approx(top, abs=2)
