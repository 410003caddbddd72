"""The page in a real browser: it loads nothing, logs nothing, does not overflow, and is accessible."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from browsing import Scheme, Tabs, unfold, violations
from claims_run import Answer, write_run
from fake_run import ABUSE, ESTIMATE, RECFACE, Cell, FakeRun, write_fake_run
from playwright.sync_api import Browser, Page

from bench.analysis.compare import diff
from bench.analysis.rows import Rows
from bench.analysis.tables.assessed_defense import LEAKAGE
from bench.analysis.tables.recommendation import recommend
from bench.api.types import Section
from bench.report.compare_page import write_page
from bench.report.page import write_report
from bench.store.reading import RunResults

pytestmark = pytest.mark.browser

Opens = Callable[..., Page]
Files = Callable[[str], Path]
NASTY = '<img src=x onerror="window.hacked=1">'
ENDING = "</script><script>window.hacked=1</script><!--"
QUOTED = """"' onmouseover='window.hacked=1' onfocus="window.hacked=1" autofocus x="""
ADDRESS = "javascript:window.hacked=1"
FORMULA = "{{7*7}} ${window.hacked=1} datum.hacked"


# ---- the pages -------------------------------------------------------------------------------------------------------


def _half(cell: Cell) -> dict[str, object]:
    """Change outcomes so that one data set is done, with a failed and a skipped cell, and the other one is queued."""
    if cell["dataset"] == "synth-calfw":
        return {"status": "queued", "reason": None}
    if cell["defense"] == "Noise 0.3":
        log = "\n".join(
            f"step {i}: a line that is rather long, so that it must be scrolled or broken" for i in range(60)
        )
        return {"status": "failed", "reason": "RuntimeError: broke", "traceback": "Traceback: broke", "log": log}
    return {}


def _hostile(folder: Path) -> RunResults:
    """Write a run in which every name that a plugin, a suite or a file may choose contains HTML or scripts."""
    attacks = [replace(a, label=f"{a.label} {NASTY}") for a in (RECFACE, ESTIMATE)]
    common = {
        "models": {f"net-a {NASTY}": f"A {NASTY}", f"net-b {ENDING}": f"B {ENDING}"},
        "authorised": ((f"net-a {NASTY}",), (f"net-b {ENDING}",)),
        "datasets": {f"set {NASTY}": f"set {NASTY}", f"set {ADDRESS}": f"set {QUOTED}"},
        "defenses": [
            (f"Clean {ENDING}", "identity", False),
            (f"Mine {QUOTED}", "pmt", True),
            (f"Other {FORMULA}", "noise", False),
        ],
        "pairs": 8,
    }

    def failing(cell: Cell) -> dict[str, object]:
        if cell["defense"].startswith("Other") and cell["outputs"] == "recognition":
            return {"status": "failed", "reason": f"broke {NASTY}", "traceback": f"T {ENDING}", "log": f"L {NASTY}"}
        return {}

    learners = [
        replace(
            ABUSE, label=f"learns {n} {ENDING}", plugin=f"learns {NASTY}", params={"faces": n}, knowledge=4,
            budget={"faces": n},
        )
        for n in (100, 400)
    ]  # fmt: skip
    using = [replace(ABUSE, label=f"abuse {NASTY}", knowledge=0), *learners]
    kinds = {f"kind {NASTY}": lambda i: f"{'one' if i % 2 else 'other'} {ENDING}"}
    runs = [
        FakeRun(name=f"use {NASTY}", attacks=using, ended=failing, people=kinds, **common),
        FakeRun(name=f"pictures {ENDING.replace('/', '')}", table="VI", attacks=attacks[:1], claims=None, **common),
        FakeRun(name=f"levels {ADDRESS}", table="VIII", attacks=attacks[1:], claims=None, **common),
        FakeRun(
            name=f"noise {QUOTED}", table=None, figures=("8", "10"), attacks=attacks[1:], claims=None,
            noise_levels=(0.0, 0.1, 0.2), **common,
        ),
    ]  # fmt: skip
    write_fake_run(folder, runs)
    run = json.loads((folder / "run.json").read_text())
    run["suite"] |= {"title": f"Title {NASTY}", "description": f"About {ENDING}", "path": f"suites/{ADDRESS}.toml"}
    run["command"] = ["bench", "run", NASTY, ENDING]
    run["machine"]["processor"] = f"CPU {NASTY}"
    run["versions"] |= {f"package {NASTY}": ENDING}
    (folder / "run.json").write_text(json.dumps(run))
    return RunResults(folder)


def _compared(folder: Path) -> Path:
    """Write a comparison of two runs with a regression, an improvement, many small differences and unmatched cells."""

    def answers(kept: float, leaked: float, name: str, status: str = "ok") -> list[Answer]:
        def hits(share: float) -> list[bool]:
            return [i % 20 < round(20 * share) for i in range(60)]

        mine = [Answer("identity", hits=hits(1)), Answer("identity", evaluated="net-b", hits=hits(1))]
        for defense in ("PMT", f"Mine {NASTY}"):
            mine.append(Answer(defense, authorised="net-a", role="authorised", hits=hits(kept)))
            mine.append(Answer(defense, authorised="net-a", evaluated="net-b", role="unauthorised", hits=hits(leaked)))
        broken = Answer("late", status=status, reason=f"broke {NASTY}" if status == "failed" else None, hits=hits(0.5))
        return [*mine, broken, Answer(f"only {name} {ENDING}", hits=hits(0.5))]

    before = write_run(folder / "a", answers(0.5, 0.1, "before"))
    after = write_run(folder / "b", answers(0.95, 0.7, "after", "failed"))
    return write_page(diff(before, after), folder / "diff.html")


@pytest.fixture(scope="module")
def file_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that returns the file of a page, and makes it at the first call."""
    home = tmp_path_factory.mktemp("pages")

    def page(name: str, results: RunResults, *sections: Section) -> Path:
        return write_report(results, home / name / "index.html", sections)

    @cache
    def make(case: str) -> Path:
        run = home / "runs" / case
        match case:
            case "small" | "paper":
                return request.getfixturevalue({"small": "report_file", "paper": "paper_file"}[case])
            case "empty":
                return page(case, write_fake_run(run, FakeRun(datasets={})))
            case "partial":
                return page(case, write_fake_run(run, FakeRun(ended=_half)))
            case "hostile":
                section = Section(title=f"Section {NASTY}", columns=(f"column {ENDING}",), rows=((f"value {NASTY}",),))
                return page(case, _hostile(run), section)
            case "diff":
                return _compared(home)
        raise AssertionError(case)

    return make


CASES = ("small", "paper", "empty", "partial", "hostile", "diff")
each_page = pytest.mark.parametrize("case", CASES)


def draw_all(page: Page) -> None:
    """Open all folded parts, and draw all plots, which are otherwise drawn when they are near the window."""
    unfold(page)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function("[...document.querySelectorAll('[data-plot]')].every((e) => e.querySelector('svg'))")


def assert_no_overflow(page: Page) -> None:
    """Check that the page is no wider than the window: wider content scrolls in its own box."""
    wide = page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          if (document.documentElement.scrollWidth <= width) return [];
          return [...document.querySelectorAll("body *")]
            .filter((e) => e.getBoundingClientRect().right + scrollX > width + 1 && !e.parentElement.closest(".scroll"))
            .map((e) => `${e.tagName}.${e.getAttribute("class")} ${e.textContent.trim().slice(0, 60)}`)
            .slice(0, 8).concat(`${document.documentElement.scrollWidth} of ${width}`);
        }"""
    )
    assert not wide, wide


# ---- properties of every page ----------------------------------------------------------------------------------------


@each_page
@pytest.mark.parametrize(("width", "scheme", "other"), [(1280, "light", "dark"), (400, "dark", "light")])
def test_pages_load_quietly_and_fit(
    file_of: Files,
    open_report: Opens,
    keep_picture: Callable[..., Path],
    case: str,
    width: int,
    scheme: Scheme,
    other: Scheme,
) -> None:
    page = open_report(file_of(case), width, scheme)
    assert_no_overflow(page)
    assert keep_picture(page).stat().st_size > 10_000
    draw_all(page)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme=other)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != paper
    assert_no_overflow(page)


@pytest.mark.parametrize(
    ("case", "width", "scheme"),
    [(case, 1280, "light") for case in ("paper", "empty", "partial", "diff")]
    + [(case, 400, "dark") for case in ("small", "hostile", "diff")],
)
def test_pages_are_accessible(
    file_of: Files,
    open_report: Opens,
    assert_accessible: Callable[..., None],
    case: str,
    width: int,
    scheme: Scheme,
) -> None:
    page = open_report(file_of(case), width, scheme)
    draw_all(page)
    # The rows of a table have the same structure, and axe takes a millisecond for each element.
    page.evaluate("for (const row of document.querySelectorAll('tbody tr:nth-child(n+3)')) row.remove()")
    assert_accessible(page)


@each_page
def test_pages_can_be_read_large_and_still(file_of: Files, open_report: Opens, case: str) -> None:
    """The page works with text of twice the size, in a window of 320 px (1280 px at a zoom of 400 %; WCAG 1.4.4 and
    1.4.10), and without motion if the reader has turned it off."""
    page = open_report(file_of(case), 320, reduced_motion="reduce")
    draw_all(page)
    assert_no_overflow(page)
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    assert page.evaluate("document.getAnimations().length") == 0
    page.set_viewport_size({"width": 1280, "height": 900})
    size = "parseFloat(getComputedStyle(document.body).fontSize)"
    before = page.evaluate(size)
    page.add_style_tag(content=":root { font-size: 200% }")
    assert page.evaluate(size) == 2 * before
    assert_no_overflow(page)


@each_page
def test_pages_are_complete_without_scripts(file_of: Files, open_report: Opens, case: str) -> None:
    page = open_report(file_of(case), java_script_enabled=False)
    unfold(page)
    dead = "button:enabled, input, select, textarea, [role=button], [role=tab], [role=slider], dialog"
    assert page.locator(dead).locator("visible=true").all_inner_texts() == []
    unread = page.evaluate(
        """() => [...document.querySelectorAll("table")]
          .filter((e) => !e.checkVisibility() || e.innerText.split(/\\s+/).length < 2)
          .map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert unread == []
    empty = page.evaluate(
        """() => [...document.querySelectorAll("main :is(section, figure, div, article, ul, ol, p)")]
          .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height > 24)
          .filter((e) => !e.innerText.trim() && !e.querySelector("img, svg") && !e.closest("svg"))
          .map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert empty == []


@each_page
def test_pages_can_be_printed(file_of: Files, open_report: Opens, case: str) -> None:
    """In print all folded parts are open, no element is sticky, and colours are light, even in dark mode."""
    page = open_report(file_of(case), scheme="dark")
    page.emulate_media(media="print")
    colours = page.evaluate("(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))")
    assert colours == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    folded = page.evaluate(
        """() => [...document.querySelectorAll("main details > :not(summary, .filter, [hidden])")]
          .filter((e) => !e.checkVisibility({contentVisibilityAuto: true}) || !e.getBoundingClientRect().height)
          .map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert folded == []
    sticky = page.evaluate(
        """() => [...document.querySelectorAll("body *")]
          .filter((e) => ["sticky", "fixed"].includes(getComputedStyle(e).position) && e.checkVisibility())
          .map((e) => `${e.tagName}.${e.className}`)"""
    )
    assert sticky == []
    assert not page.locator("nav").first.is_visible()
    dark = page.evaluate(
        """() => {
          const lightness = (c) => Math.max(...c.match(/[\\d.]+/g).slice(0, 3).map(Number));
          const opaque = (c) => !/, 0\\)|\\/ 0\\)|transparent/.test(c);
          return [...document.querySelectorAll("body *")].filter((e) => e.checkVisibility())
            .filter((e) => { const c = getComputedStyle(e).backgroundColor; return opaque(c) && lightness(c) < 90; })
            .map((e) => `${e.tagName}.${e.className} ${getComputedStyle(e).backgroundColor}`).slice(0, 5);
        }"""
    )
    assert dark == []
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert len(printed) < 10_000_000


# The page of the paper begins like the small one.
@pytest.mark.parametrize("case", [case for case in CASES if case != "paper"])
def test_the_keyboard_reaches_everything(file_of: Files, open_report: Opens, case: str) -> None:
    """Tab reaches all controls in the order of the page, and the focus is visible (WCAG 2.1.1, 2.4.3, 2.4.7)."""
    page = open_report(file_of(case))
    unfold(page)
    page.evaluate(
        """() => {
          window.stops = [];
          const controls = [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")];
          window.controls = controls.filter((e) => e.checkVisibility({visibilityProperty: true}) && !e.disabled);
          document.addEventListener("focusin", (event) => {
            const style = getComputedStyle(event.target);
            const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
            window.stops.push([event.target, seen || style.boxShadow !== "none"]);
          });
        }"""
    )
    expected = page.evaluate("window.controls.length")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    box = page.locator(".skip").bounding_box()
    assert box is not None
    assert min(box["x"], box["y"]) >= 0
    for _ in range(min(expected, 150) - 1):
        page.keyboard.press("Tab")
    unseen = page.evaluate("window.stops.filter(([, seen]) => !seen).map(([e]) => e.outerHTML.slice(0, 120))")
    assert unseen == []
    missed = page.evaluate(
        """() => window.controls.slice(0, window.stops.length).filter((e, i) => e !== window.stops[i][0])
          .map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert missed == []
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector(location.hash).closest('main') !== null")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('header, nav') === null")


@pytest.mark.parametrize("case", ["small", "diff"])
def test_nothing_that_sticks_hides_the_focus(file_of: Files, open_report: Opens, case: str) -> None:
    """An element with the focus is never wholly hidden by others (WCAG 2.4.11)."""
    page = open_report(file_of(case), 400, height=700, reduced_motion="reduce")
    hidden = """() => {
      const e = document.activeElement, box = e.getBoundingClientRect();
      const points = [0.1, 0.5, 0.9].flatMap((x) => [0.1, 0.5, 0.9].map((y) => [x, y]));
      const seen = points.some(([x, y]) => {
        const top = document.elementFromPoint(box.x + x * box.width, box.y + y * box.height);
        return top && (e.contains(top) || top.contains(e) && top !== document.body && top !== document.documentElement);
      });
      return seen || e === document.body ? null : e.outerHTML.slice(0, 120);
    }"""
    found = []
    for _ in range(60):
        page.keyboard.press("Tab")
        found.append(page.evaluate(hidden))
    assert [e for e in found if e] == []


# ---- names that attack -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["hostile", "diff"])
def test_names_run_nothing_and_are_shown_as_they_are(file_of: Files, open_report: Opens, case: str) -> None:
    page = open_report(file_of(case))
    unfold(page)
    text = re.sub(r"\s+", " ", page.locator("body").inner_text())
    told = {
        "hostile": (
            *(
                f"{what} {NASTY}"
                for what in ("Title", "A", "set", "abuse", "recface", "attributes", "Section", "value")
            ),
            *(f"{what} {NASTY}" for what in ("CPU", "package", "broke", "L")),
            *(f"{what} {ENDING}" for what in ("About", "Clean", "B", "T", "column")),
            f"Mine {QUOTED}".strip(),
            f"Other {FORMULA}",
            f"suites/{ADDRESS}.toml",
        ),
        "diff": (f"Mine {NASTY}", f"broke {NASTY}", f"only before {ENDING}", f"only after {ENDING}"),
    }[case]
    assert [name for name in told if name not in text] == []
    for control in page.locator("main button, main [role=button], main summary, main canvas, main svg.marks").all()[
        :60
    ]:
        if control.is_visible():
            control.hover(force=True, timeout=2_000)
    page.mouse.move(2, 2)
    assert page.evaluate("typeof window.hacked") == "undefined"
    assert page.locator("img[src=x], [onerror], [onmouseover], [onfocus], [autofocus]").count() == 0
    assert page.locator("a[href^='javascript']").count() == 0


@pytest.mark.parametrize(("case", "width", "scheme"), [("hostile", 1280, "light"), ("small", 400, "dark")])
def test_the_rows_behind_a_number_are_accessible(
    file_of: Files,
    open_report: Opens,
    assert_accessible: Callable[..., None],
    case: str,
    width: int,
    scheme: Scheme,
) -> None:
    page = open_report(file_of(case), width, scheme)
    numbers = page.get_by_role("button", name=re.compile("show its rows"))
    for number in (numbers.first, numbers.last):
        number.click()
        dialog = page.get_by_role("dialog")
        assert re.search(r"Rests on \d+ cells?", dialog.inner_text())
        first = dialog.locator("ol.cells button")
        if first.count():
            first.first.click()
        assert NASTY in dialog.inner_text() or case != "hostile"
        assert_accessible(page, "dialog")
        assert_no_overflow(page)
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.getAttribute('aria-haspopup')") == "dialog"
    assert page.evaluate("typeof window.hacked") == "undefined"


# ---- a new reader ----------------------------------------------------------------------------------------------------


def test_a_new_reader_finds_the_answer(file_of: Files, open_report: Opens, paper_rows: Rows) -> None:
    """The first screens name the best defense, its leakage under the worst attack with N and interval, and a command
    that computes it again; one click shows the cells behind it."""
    best = recommend(paper_rows).best
    assert best is not None
    assert best.worst is not None
    page = open_report(file_of("paper"))
    section = page.locator("main section").filter(has=page.get_by_role("heading", name="Verdict", exact=True))
    ruling = section.locator("p").first
    assert best.name in ruling.inner_text()
    box = ruling.bounding_box()
    assert box is not None
    assert box["y"] < 900
    number = section.get_by_role("button", name=re.compile(LEAKAGE.label)).first
    sentence = re.sub(r"\s+", " ", number.locator("xpath=ancestor::dd").inner_text())
    shown = re.escape(LEAKAGE.shown(best.leakage.value))
    span = re.escape(LEAKAGE.span(best.leakage.low, best.leakage.high))
    assert re.search(rf"{shown} % \({span}, N {best.leakage.n:,}\)", sentence), sentence
    assert best.worst.label in sentence
    command = shlex.split(section.get_by_text("bench run").first.inner_text())
    assert command[:3] == ["bench", "run", "suites/fake.toml"]
    named = [value for flag, value in pairwise(command) if flag == "--cell"]
    computed = {c.cell for c in paper_rows.cells for prefix in named if c.cell.startswith(prefix)}
    assert not named or computed == {c.cell for c in best.worst.cells}
    number.click()
    dialog = page.get_by_role("dialog").inner_text()
    assert f"Rests on {len(best.worst.cells)} cell" in dialog
    assert LEAKAGE.span(best.leakage.low, best.leakage.high) in dialog


# ---- the checks of this file detect bad pages ------------------------------------------------------------------------

BAD = """<!doctype html><title>bad</title>
<meta http-equiv="Content-Security-Policy" content="script-src 'unsafe-inline'; style-src 'none'">
<p style="color: red">red</p><img src="http://nowhere.invalid/x.png">
<script>console.log("hello"); alert("hi"); setTimeout(() => { throw new Error("thrown"); });</script>
"""


def test_the_watch_sees_what_a_page_does(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text(BAD)
    tabs = Tabs(browser)
    tabs(file)
    tabs.close()
    seen = "\n".join(tabs.watch.seen)
    for expected in ("request: http://nowhere.invalid/x.png", "console log: hello", "error: thrown", "dialog: hi"):
        assert expected in seen
    assert "style-src 'none'" in seen


def test_axe_finds_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text(BAD)
    tabs = Tabs(browser)
    found = "\n".join(violations(tabs(file)))
    tabs.close()
    for rule in ("html-has-lang", "image-alt", "landmark-one-main"):
        assert rule in found


def test_a_page_that_is_too_wide_is_noticed(open_report: Opens, tmp_path: Path) -> None:
    file = tmp_path / "wide.html"
    file.write_text("<!doctype html><title>wide</title><link rel=icon href='data:,'><p style='width: 2000px'>wide")
    with pytest.raises(AssertionError, match="wide"):
        assert_no_overflow(open_report(file))
