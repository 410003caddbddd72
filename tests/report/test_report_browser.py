"""The page in a real browser: nothing is requested, nothing is said, nothing overflows, and everybody can use it."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import Tabs, violations
from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


BAD = """<!doctype html><title>bad</title>
<meta http-equiv="Content-Security-Policy" content="script-src 'unsafe-inline'; style-src 'none'">
<p style="color: red">red</p><img alt="" src="http://nowhere.invalid/x.png">
<script>console.log("hello"); alert("hi"); setTimeout(() => { throw new Error("thrown"); });</script>
"""


def test_the_watch_sees_what_a_page_does(browser: Browser, tmp_path: Path) -> None:
    """Else the other tests would prove nothing."""
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
    file.write_text(BAD.replace(' alt=""', "").replace('"red"', '"red"').replace("style-src 'none'", "img-src data:"))
    tabs = Tabs(browser)
    found = "\n".join(violations(tabs(file)))
    tabs.close()
    for rule in ("html-has-lang", "image-alt", "landmark-one-main"):
        assert rule in found
