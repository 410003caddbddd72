"""Pages in a real browser: their requests and errors while they are open, pictures, accessibility."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, FloatRect, Page, expect, sync_playwright

ARTIFACTS = Path(__file__).parent.parent / "test-artifacts"
REQUIRED = "BENCH_REQUIRE_BROWSER"  # if set, tests fail without a browser and are not skipped
Scheme = Literal["light", "dark"]
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = ("--no-sandbox", "--disable-gpu", "--font-render-hinting=none")
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_LOCAL = ("data:", "blob:")
_PATIENCE = 60_000  # milliseconds; far more than anything takes on a busy machine
_HIGHEST = 16_000  # pixels of a picture: a higher one takes seconds, and nobody looks at all of it


@contextmanager
def chromium() -> Iterator[Browser]:
    """Return the Chromium of this machine; without one the test is skipped, or fails if one is required."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        message = f"no browser: none of {', '.join(_NAMES)} is on the PATH (Debian: apt-get install chromium)"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{message}; {REQUIRED} is set")
        pytest.skip(message)
    expect.set_options(timeout=_PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=_FLAGS)
        yield browser
        browser.close()


@dataclass
class Watch:
    """Records what happens in a browser tab: requests for anything but the file, console messages, errors, dialogs."""

    seen: list[str] = field(default_factory=list)

    def follow(self, context: BrowserContext, file: str) -> None:
        """Record the events of all pages of a browser context that shows a file."""

        def requested(url: str) -> None:
            if url.partition("#")[0] != file and not url.startswith(_LOCAL):
                self.seen.append(f"request: {url}")

        context.on("request", lambda r: requested(r.url))
        context.on("console", lambda m: self.seen.append(f"console {m.type}: {m.text}"))
        context.on("weberror", lambda e: self.seen.append(f"error: {e.error}"))
        context.on("dialog", self._dialog)

    def _dialog(self, dialog: Any) -> None:
        self.seen.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@dataclass
class Tabs:
    """Opens pages for one test and closes them at its end."""

    browser: Browser
    watch: Watch = field(default_factory=Watch)
    contexts: list[BrowserContext] = field(default_factory=list)

    def __call__(
        self, path: Path, width: int = 1280, scheme: Scheme = "light", *, height: int = 900, **context: Any
    ) -> Page:
        """Open a file in a window of ``width`` x ``height`` CSS pixels; ``context`` are options for Playwright."""
        tab = self.browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True, **context
        )
        tab.set_default_timeout(_PATIENCE)
        self.contexts.append(tab)
        url = path.resolve().as_uri()
        self.watch.follow(tab, url)
        page = tab.new_page()
        page.goto(url)
        return page

    def close(self) -> None:
        """Close all pages."""
        while self.contexts:
            self.contexts.pop().close()


def unfold(page: Page, inside: str = "body") -> Page:
    """Open all folded parts of the page that are inside the elements of a selector."""
    page.evaluate("(s) => document.querySelectorAll(`:is(${s}) details`).forEach((d) => { d.open = true; })", inside)
    return page


def keep(page: Page, test: str, name: str = "") -> Path:
    """Store a picture of the whole page among the test artifacts, named after the test."""
    file = re.sub(r"[^\w.=-]+", "-", "-".join(filter(None, (test, name)))).strip("-")
    path = ARTIFACTS / f"{file}.jpg"
    height = min(page.evaluate("document.documentElement.scrollHeight"), _HIGHEST)
    whole: FloatRect = {"x": 0, "y": 0, "width": page.evaluate("innerWidth"), "height": height}
    page.screenshot(path=path, full_page=True, clip=whole, animations="disabled", type="jpeg", quality=80)
    return path


def violations(page: Page, inside: str | None = None) -> list[str]:
    """Return the violations of WCAG 2.2 A and AA and of good practice that axe-core finds, one line per element."""
    options = {"runOnly": _RULES, "resultTypes": ["violations"], "preload": False}
    page.evaluate(AXE_SCRIPT)
    found = page.evaluate("([where, options]) => axe.run(where || document, options)", [inside, options])
    return [
        f"{v['id']} ({v['impact']}): {n['target']} {n['html'][:120]} | {n['failureSummary'].splitlines()[1].strip()}"
        for v in found["violations"]
        for n in v["nodes"]
    ]
