"""Tables, and the dialog behind each number, in a real browser: sorting, filtering and opening with the keyboard
alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import unfold
from fake_run import FakeRun, large_run, write_fake_run
from playwright.sync_api import Locator, Page, expect

from bench.report.page import write_report

pytestmark = pytest.mark.browser
Opens = Callable[..., Page]
IMG, SCRIPT = "<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>"


@pytest.fixture
def open_report(open_report: Opens) -> Opens:
    """A function that opens a page with the tables of its experiments and of all cells."""
    return lambda *args, parts="section.part, #provenance", **options: unfold(open_report(*args, **options), parts)


def open_around(place: Locator) -> None:
    """Open the folded parts of a page that contain an element."""
    place.evaluate(
        "(e) => { for (let d = e.closest('details'); d; d = d.parentElement.closest('details')) d.open = true; }"
    )


def first_table(page: Page) -> Locator:
    return page.locator("table.heat:visible").first


def values(table: Locator, column: int) -> list[str]:
    """Return the sort keys of a column, from top to bottom."""
    return [
        str(c.get_attribute("data-order")) for c in table.locator(f"tbody tr > :nth-child({column})[data-order]").all()
    ]


def by_group(table: Locator, column: int) -> dict[str, list[str]]:
    """Return the sort keys of a column for the heading of each group of rows."""
    found: dict[str, list[str]] = {}
    for row in table.locator("tbody tr").all():
        if "group" in str(row.get_attribute("class")):
            own = found.setdefault(row.inner_text(), [])
        else:
            own.append(str(row.locator(f":scope > :nth-child({column})").get_attribute("data-order")))
    return found


def test_sorting_keeps_data_sets_together_and_puts_absent_figures_last(open_report: Opens, report_file: Path) -> None:
    page = open_report(report_file)
    table = first_table(page)
    before = by_group(table, 2)
    assert len(before) == 2
    assert any("" in own for own in before.values())  # a failed cell
    head = table.locator("thead th").nth(1)
    order = head.get_by_role("button")
    for direction in ("descending", "ascending"):
        order.click()
        expect(head).to_have_attribute("aria-sort", direction)
        for group, own in by_group(table, 2).items():
            known = sorted((float(v) for v in before[group] if v), reverse=direction == "descending")
            assert [float(v) for v in own if v] == known
            assert own[len(known) :] == [""] * (len(own) - len(known))
    order.click()
    expect(head).not_to_have_attribute("aria-sort", re.compile("."))
    assert by_group(table, 2) == before


def test_a_filter_leaves_the_rows_that_fit_and_says_how_many(open_report: Opens, report_file: Path) -> None:
    page = open_report(report_file)
    table = first_table(page)
    bar = table.locator("xpath=ancestor::div[contains(@class, 'scroll')]/preceding-sibling::div[1]")
    box = bar.get_by_role("searchbox")
    rows = table.locator("tbody tr:not(.group)")
    count = rows.count()
    box.fill("calfw noise")
    expect(rows).to_have_count(1)
    expect(bar.get_by_role("status")).to_have_text(f"1 of {count} rows")
    box.fill("nothing of that name")
    expect(table).to_contain_text("No rows fit.")
    box.fill("")
    expect(rows).to_have_count(count)


def test_a_number_opens_its_rows_and_the_command(
    open_report: Opens, report_file: Path, assert_accessible: Callable[..., None], keep_picture: Callable[..., Path]
) -> None:
    page = open_report(report_file)
    number = first_table(page).locator("tbody button.v").first
    label = str(number.get_attribute("aria-label"))
    assert number.inner_text() in label
    assert "accuracy" in label
    number.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Rests on 1 cell")
    expect(dialog).to_contain_text("Equation 10")
    cell = dialog.locator("dd a").inner_text()
    expect(dialog).to_contain_text(f"bench run suites/fake.toml --pairs 20 --cell {cell}")
    expect(dialog).to_contain_text(f"--rows verification --cell {cell}")
    expect(dialog).to_contain_text("sha256")
    keep_picture(page, "dialog")
    assert_accessible(page, "dialog")
    dialog.get_by_role("button", name="Copy: Compute this cell again").click()
    expect(dialog.get_by_role("button", name="Copy: Compute this cell again")).to_have_text(
        re.compile("Copied|Selected")
    )
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(number).to_be_focused()


def test_a_pooled_number_lists_all_its_cells(open_report: Opens, report_file: Path) -> None:
    page = open_report(report_file)
    at = page.evaluate("report.rows.measurements.findIndex((f) => report.rows.sets[f[6]].length > 12)")
    page.locator(f"button[data-measurement='{at}']").first.evaluate("button => button.click()")
    dialog = page.get_by_role("dialog")
    title = dialog.get_by_role("heading").first.inner_text()
    said = dialog.get_by_role("heading", name=re.compile("Rests on")).inner_text()
    entries = dialog.get_by_role("listitem")
    expect(entries).to_have_count(int(said.split()[2]))
    entries.first.get_by_role("button").click()
    expect(dialog).to_contain_text("What took part")
    assert "#cell-" in page.url
    dialog.get_by_role("button", name="Back to").click()
    assert dialog.get_by_role("heading").first.inner_text() == title
    assert "#cell-" not in page.url


def test_a_failed_cell_says_why(open_report: Opens, report_file: Path) -> None:
    page = open_report(report_file)
    page.locator("td.none button.v", has_text="failed").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("out of memory <script>alert('x')</script>")


def test_a_link_opens_a_cell(open_report: Opens, report_file: Path) -> None:
    page = open_report(report_file)
    id = page.evaluate("report.rows.cells.columns.cell[0][0]")
    page.goto(f"{report_file.resolve().as_uri()}#cell-{id}")
    page.reload()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(id)
    dialog.get_by_role("button", name="Close").click()
    assert "#" not in page.url


def test_everything_works_with_the_keyboard_alone(open_report: Opens, report_file: Path) -> None:
    page = open_report(report_file)
    table = first_table(page)
    head = table.locator("thead th").nth(1)
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    for _ in range(table.locator("thead th").count()):
        page.keyboard.press("Tab")
    focused = page.locator("button.v:focus")
    expect(focused).to_have_count(1)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    expect(focused).to_have_count(1)


def test_all_cells_are_listed_and_filtered(open_report: Opens, report_file: Path) -> None:
    page = open_report(report_file)
    place = page.locator("#all-cells")
    place.scroll_into_view_if_needed()
    count = page.evaluate("report.rows.cells.size")
    said = place.locator(".note[role=status]")
    expect(said).to_have_text(f"Showing {count} of {count} cells.")
    place.get_by_role("combobox", name="status").select_option("failed")
    expect(said).to_have_text(f"Showing 1 of {count} cells.")
    place.locator("tbody button.v").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("out of memory")


def test_one_bar_filters_tables_and_cells_and_is_not_printed(open_report: Opens, report_file: Path) -> None:
    page = open_report(report_file)
    bar = page.get_by_role("search", name="Filter all tables and faces")
    rows = first_table(page).locator("tbody tr:not(.group)")
    count = rows.count()
    bar.get_by_label("defense").select_option("Noise 0.3")
    expect(rows).to_have_count(2)
    expect(bar.get_by_role("status")).to_have_text(re.compile(r"Showing \d+ of \d+ rows"))
    page.locator("#all-cells").scroll_into_view_if_needed()
    expect(page.locator("#all-cells tbody tr").first).to_contain_text("Noise 0.3")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(rows).to_have_count(count)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(rows).to_have_count(2)
    bar.get_by_role("button", name="Show all").click()
    expect(rows).to_have_count(count)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_tables_are_accessible_on_a_phone(
    open_report: Opens,
    report_file: Path,
    scheme: str,
    assert_accessible: Callable[..., None],
    keep_picture: Callable[..., Path],
) -> None:
    page = open_report(report_file, width=400, scheme=scheme)
    page.locator("#all-cells").scroll_into_view_if_needed()
    expect(page.locator("#all-cells tbody tr").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    keep_picture(page)
    assert_accessible(page, "main")


def test_without_scripts_the_tables_are_whole(open_report: Opens, report_file: Path) -> None:
    page = open_report(report_file, java_script_enabled=False)
    table = first_table(page)
    assert table.locator("tbody").count() == 2
    expect(table.locator("a[href='#gaps']", has_text="failed")).to_have_count(1)
    expect(page.locator(".filter, .filters, button.v")).to_have_count(0)


def test_hostile_names_do_nothing(open_report: Opens, tmp_path: Path) -> None:
    models = {IMG: IMG, SCRIPT: SCRIPT}
    spec = FakeRun(models=models, authorised=[(IMG,)], claims=None, datasets={IMG: SCRIPT})
    page = open_report(write_report(write_fake_run(tmp_path / "run", spec), tmp_path / "page.html"))
    page.locator("#all-cells").scroll_into_view_if_needed()
    page.locator("#all-cells tbody button.v").first.click()
    expect(page.get_by_role("dialog")).to_contain_text(IMG)
    expect(page.locator("img[src=x]")).to_have_count(0)


def test_a_large_run_stays_usable(open_report: Opens, tmp_path: Path) -> None:
    """The run has more rows than a table shows at once, so that rows are also created later.

    See benchmarks/report.py for a run of 10,000 cells.
    """
    results = write_fake_run(tmp_path / "run", large_run(settings=7, pairs=4))
    file = write_report(results, tmp_path / "page.html")
    # Smooth scrolling on a long page would take long, as does a page with all of its parts open.
    page = open_report(file, reduced_motion="reduce", parts="#none")
    table = page.locator("table.heat", has_text="of each evaluated model").first
    open_around(table)
    table.scroll_into_view_if_needed()
    expect(page.locator(".dt-info").first).to_have_text(re.compile(r"Rows 1 to 200 of \d+"))
    head = table.locator("thead th").nth(1)
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    table.locator("tbody button.v").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("Rests on 1 cell")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    open_around(page.locator("#all-cells"))
    page.locator("#all-cells").scroll_into_view_if_needed()
    page.wait_for_selector("#all-cells tbody tr")
    expect(page.locator("#all-cells .note[role=status]")).to_contain_text(f"of {len(results.cells):,} cells")
