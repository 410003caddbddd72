"""Measure the page of a large run: seconds to make it, its size, and seconds until it can be used in a browser.

    python benchmarks/report.py [--settings 20] [--folder DIR]

The script makes a run of about 500 cells per setting (10,000 by default) with ten pairs each, makes its page, and opens
the page in Chromium. ``usable`` is the time from opening the file until all scripts have run; ``sorted`` the time from
a click on a column of the largest table until the new order is drawn; ``opened`` the time from a click on a number
until its rows are shown. For making the page, wall time and processor time are given; they differ on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report.page import write_report
from bench.store.reading import RunResults

TESTS = Path(__file__).parent.parent / "tests"
_LARGEST = """() => {
  const tables = [...document.querySelectorAll("table.heat")].filter((table) => table.checkVisibility());
  const rows = (table) => table.querySelectorAll("tbody tr").length;
  tables.reduce((most, table) => (rows(table) > rows(most) ? table : most)).id = "largest";
}"""


def rendered(folder: Path) -> dict[str, Any]:
    """Make the page of a run. Return seconds, processor seconds and the size in MB."""
    clock, processor = time.perf_counter(), time.process_time()
    page = write_report(RunResults(folder), folder / "index.html")
    spent = {"seconds": time.perf_counter() - clock, "processor_seconds": time.process_time() - processor}
    return {**spent, "mb": page.stat().st_size / 1e6}


def opened(page: Path) -> dict[str, float]:
    """Use a page in a browser. Return the seconds until it is usable, sorted, and opened at a number."""
    from playwright.sync_api import sync_playwright

    seconds = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.set_default_timeout(300_000)
        tab.goto(page.resolve().as_uri())
        seconds["usable"] = tab.evaluate("performance.getEntriesByType('navigation')[0].domComplete / 1000")
        tab.evaluate(_LARGEST)
        table = tab.locator("#largest")
        table.scroll_into_view_if_needed()
        order = table.locator("thead th").nth(1).get_by_role("button")
        order.wait_for()
        for name, press, shown in (
            ("sorted", order, "#largest th[aria-sort]"),
            ("opened", table.locator("tbody button.v").first, "dialog[open]"),
        ):
            start = time.perf_counter()
            press.click()
            tab.locator(shown).wait_for()
            seconds[name] = time.perf_counter() - start
        browser.close()
    return seconds


def main() -> None:
    """Measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, default=20, help="settings of a defense, with 500 cells each")
    parser.add_argument("--folder", type=Path, help="where to keep the run and its page")
    arguments = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    from fake_run import large_run, write_fake_run

    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "run"
        cells = len(write_fake_run(folder, large_run(settings=arguments.settings)).cells)
        measured = {"cells": cells, **rendered(folder), **opened(folder / "index.html")}
        print(json.dumps({name: round(value, 2) for name, value in measured.items()}))


if __name__ == "__main__":
    main()
