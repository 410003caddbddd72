"""The plots of the page in a real browser: light and dark, wide and narrow, with tooltips, legends and downloads."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from browsing import unfold
from fake_run import ESTIMATE, HOSTILE, FakeRun, write_fake_run
from playwright.sync_api import Locator, Page, expect

from bench.report.page import write_report

pytestmark = pytest.mark.browser
Opens = Callable[..., Page]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with Figures 5, 8 and 10, whose defenses have names with markup, and a sensitivity plot."""
    home = tmp_path_factory.mktemp("plots")
    common: dict[str, object] = {
        "table": None,
        "claims": None,
        "models": {"net-a": "MobileFace", "net-b": "ResNet50"},
        "datasets": {"synth-lfw": "LFW"},
        "authorised": (("net-a",),),
        "pairs": 12,
    }
    noise = FakeRun(
        name="noise", figures=("5", "8", "10"), attacks=(ESTIMATE,), noise_levels=(0.0, 0.1, 0.2), kappa=0.5,
        defenses=(("Unprotected", "identity", False), (HOSTILE, "pmt", True)), **common,
    )  # fmt: skip
    params = {f"{n}/{p}": {"layers": n, "pool": p} for n in ("last", "all") for p in (0, 4)}
    swept = FakeRun(
        name="swept",
        figures=("sensitivity",),
        params=params,
        defenses=[(n, "pmt", True) for n in params],
        **common,
    )
    return write_report(write_fake_run(home / "run", [noise, swept]), home / "index.html")


@pytest.fixture
def open_report(open_report: Opens) -> Opens:
    """A function that opens a page with all its parts; without scripts they stay folded."""

    def opened(*args: Any, **options: Any) -> Page:
        page = open_report(*args, **options)
        return page if options.get("java_script_enabled") is False else unfold(page)

    return opened


def plots(page: Page) -> list[Locator]:
    """Scroll to all plots of a page and return them when they are drawn."""
    found = page.locator("figure.drawn [data-plot]").all()
    for plot in found:
        plot.scroll_into_view_if_needed()
        expect(plot.locator("svg")).to_be_visible()
    return found


def measure(page: Page, heading: str) -> Locator:
    """Return the figure whose heading begins with a text, when it is drawn."""
    found = page.locator("figure.drawn").filter(has=page.get_by_role("heading", name=re.compile(f"^{heading}")))
    found.scroll_into_view_if_needed()
    expect(found.locator("[data-plot] svg")).to_be_visible()
    return found


def lines(of: Locator) -> Locator:
    """Return the lines of a figure's curves."""
    return of.locator("g.mark-line path")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_plots_are_drawn_in_both_modes_and_widths(
    open_report: Opens, page_file: Path, keep_picture: Callable[..., Path], width: int, scheme: str
) -> None:
    page = open_report(page_file, width, scheme)
    found = plots(page)
    assert len(found) >= 4
    for plot in found:
        room = plot.bounding_box()
        svg = plot.locator("svg").bounding_box()
        assert room
        assert svg
        assert svg["x"] >= room["x"]
        assert svg["x"] + svg["width"] <= room["x"] + room["width"]
        assert plot.get_attribute("role") == "img"
        assert len(plot.get_attribute("aria-label") or "") > 40
        assert plot.locator("> div").get_attribute("aria-hidden") == "true"
        sizes = plot.locator("svg text").evaluate_all("all => all.map(e => parseFloat(getComputedStyle(e).fontSize))")
        assert min(sizes) >= 11
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink = page.evaluate("getComputedStyle(document.querySelector('g.role-axis-label text')).fill")
    assert ink == {"light": "rgb(26, 29, 33)", "dark": "rgb(232, 234, 237)"}[scheme]
    keep_picture(page)


def test_plots_follow_the_mode_and_print_in_light_colours(open_report: Opens, page_file: Path) -> None:
    page = open_report(page_file)
    line = lines(measure(page, "Figure 5")).last
    colour = "e => getComputedStyle(e).stroke"
    light = line.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    assert line.evaluate(colour) != light
    page.emulate_media(color_scheme="dark", media="print")
    expect(line).to_have_css("stroke", light)  # Plots are drawn again before printing.


def test_plots_are_drawn_when_they_are_near_and_all_before_printing(open_report: Opens, page_file: Path) -> None:
    page = open_report(page_file, height=300)
    plots_there = page.locator("[data-plot]")
    assert page.locator("[data-plot] svg").count() < plots_there.count()
    page.pdf()
    expect(page.locator("[data-plot] svg")).to_have_count(plots_there.count())


def test_a_plot_is_drawn_again_for_another_width(open_report: Opens, page_file: Path) -> None:
    page = open_report(page_file)
    svg = measure(page, "Figure 8").locator("[data-plot] svg")
    before = float(svg.get_attribute("width") or 0)
    page.set_viewport_size({"width": 400, "height": 900})
    expect(svg).not_to_have_attribute("width", f"{before:g}")
    assert float(svg.get_attribute("width") or 0) < 400
    expect(svg).to_have_count(1)


def test_a_point_says_its_figure_interval_and_n(open_report: Opens, page_file: Path) -> None:
    page = open_report(page_file)
    found = measure(page, "Figure 5")
    tooltip = page.locator("#vg-tooltip-element")
    found.locator("g.mark-symbol").last.locator("path").last.hover()
    expect(tooltip).to_be_visible()
    told = tooltip.inner_text()
    for text in (HOSTILE, "noise σ", "0.2", "UP", "95 % interval", "N", "12"):
        assert text in told
    value = re.search(r"UP\s+([\d.]+)", told)
    assert value
    table = page.locator("details.numbers").filter(has_text="The numbers of Figure 5").first
    assert value[1] in (table.text_content() or "")
    assert not tooltip.locator("img, script").all()
    assert page.evaluate("getComputedStyle(document.querySelector('#vg-tooltip-element')).pointerEvents") == "none"


def test_the_legend_hides_and_stresses_a_series_with_pointer_and_keyboard(open_report: Opens, page_file: Path) -> None:
    page = open_report(page_file)
    found = measure(page, "Figure 5")
    assert lines(found).count() == 2
    button = found.locator(".legend button", has_text=HOSTILE)
    button.focus()
    expect(lines(found).first).to_have_attribute("opacity", "0.15")
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(lines(found)).to_have_count(1)
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(lines(found)).to_have_count(2)
    assert lines(measure(page, "Figure 10")).count() == 18  # The other figures do not change.


def test_the_legends_of_the_sensitivity_figure_hide_settings(open_report: Opens, page_file: Path) -> None:
    page = open_report(page_file)
    swept = page.locator(".swept figure.drawn")
    swept.scroll_into_view_if_needed()
    marks = swept.locator("g.mark-text").filter(has_text=re.compile("[1-4]")).last.locator("text")
    expect(marks).to_have_count(4)
    swept.get_by_role("button", name="last").click()
    expect(marks).to_have_count(2)
    swept.get_by_role("button", name="0", exact=True).click()
    expect(marks).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_saved_svg_stands_on_its_own(open_report: Opens, page_file: Path, tmp_path: Path, scheme: str) -> None:
    page = open_report(page_file, 400, scheme, accept_downloads=True)
    for heading, name in (("Figure 5", "figure-5-noise"), ("Figure 10", "figure-10-noise")):
        with page.expect_download() as loading:
            measure(page, heading).get_by_role("button", name="SVG").click()
        assert loading.value.suggested_filename == f"{name}.svg"
        loading.value.save_as(tmp_path / name)
        text = (tmp_path / name).read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag == f"{SVG}svg"
        assert not re.search(r"var\(|color-mix|<style|<script|<image|transparent;", text)
        assert root.find(f"{SVG}rect") is not None
        assert root.find(f"{SVG}rect").get("fill") == "white"  # type: ignore[union-attr]
        texts = {"".join(e.itertext()) for e in root.iter(f"{SVG}text")}
        assert {"noise σ", "UP"} <= texts
        # The file has a legend.
        assert ({HOSTILE, "Unprotected"} if heading == "Figure 5" else {"κ = 0.1", "κ = 0.9"}) <= texts


def test_a_saved_png_is_a_picture(open_report: Opens, page_file: Path) -> None:
    page = open_report(page_file, accept_downloads=True)
    with page.expect_download() as loading:
        page.locator(".swept").get_by_role("button", name="PNG").click()
    assert loading.value.suggested_filename == "figure-sensitivity-swept.png"
    content = Path(loading.value.path()).read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 10_000


def test_without_scripts_the_numbers_are_open(open_report: Opens, page_file: Path) -> None:
    page = open_report(page_file, java_script_enabled=False)
    expect(page.get_by_text("The picture is drawn by a script").first).to_be_visible()
    expect(page.locator("details.numbers table").first).to_be_visible()
    expect(page.locator("[data-plot]").first).to_be_hidden()
    expect(page.locator(".save").first).to_be_hidden()


def test_plots_are_accessible(open_report: Opens, page_file: Path, assert_accessible: Callable[..., None]) -> None:
    for scheme in ("light", "dark"):
        page = open_report(page_file, scheme=scheme)
        plots(page)
        assert_accessible(page, "figure.drawn")
