"""The page in a real browser: no overflow on a phone, no console message, nothing fetched."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.report import write_report
from bench.store import Results

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)"),
]
_WIDTH = "<script>onload = () => {{ const f = frames[0].document.documentElement; {code} }}</script>"


def _chromium(page: Path, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --disable-default-apps --enable-logging=stderr --v=0"
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={profile}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module", params=["results", "paper_results"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results: Results = request.getfixturevalue(request.param)
    path = write_report(results, tmp_path_factory.mktemp("page") / "index.html")
    path.write_text(path.read_text(encoding="utf-8").replace("<details>", "<details open>"), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_is_no_wider_than_the_window(page: Path, tmp_path: Path, width: int) -> None:
    # Headless windows have a smallest width, so the page is measured in a frame of the width in question.
    frame = tmp_path / "frame.html"
    measure = "document.title = `width ${f.scrollWidth} of ${f.clientWidth}`;"
    frame.write_text(
        f"<!doctype html><iframe src='{page.as_uri()}' width='{width}' height='900' style='border:0'></iframe>"
        + _WIDTH.format(code=measure)
    )
    done = _chromium(frame, tmp_path / "profile", "--allow-file-access-from-files", "--dump-dom")
    found = re.search(r"<title>width (\d+) of (\d+)</title>", done.stdout)
    assert found, done.stdout[:500] + done.stderr[-500:]
    assert int(found[1]) <= int(found[2]) <= width


def test_the_browser_has_nothing_to_complain_about(page: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    done = _chromium(page, tmp_path / "profile", f"--screenshot={picture}", "--window-size=1280,2000")
    assert picture.stat().st_size > 20_000
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
