"""Take screenshots of the top of a report for the README, light and dark: ``python docs/images/make.py [REPORT]``.

The script needs Playwright, Pillow, and a Chromium on the PATH; ``make test`` installs them.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1280, 1440  # shown part of the page in CSS pixels: down to the plot of the verdict
COLOURS = 256  # size of the palette
NAMES = {"light": "report.png", "dark": "report-dark.png"}


def main(report: Path) -> None:
    """Write both screenshots of a report into the folder of this file."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("expected a Chromium on the PATH, found none (Debian: apt-get install chromium)")
    if not report.is_file():
        sys.exit(f"{report}: expected a report, found no file (make paper writes reports/paper/index.html)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme, name in NAMES.items():
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme, offline=True)
            page.goto(report.resolve().as_uri())
            if page.locator("[data-plot]").count():
                page.locator("[data-plot] svg").first.wait_for()
            picture = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
            picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
                HERE / name, optimize=True
            )
            print(f"{HERE / name}: {(HERE / name).stat().st_size / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else HERE.parent.parent / "reports" / "example" / "index.html"))
