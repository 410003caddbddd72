"""The documentation as a site: complete, built without a warning, loading nothing from elsewhere, searchable."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from browsing import Tabs, violations
from playwright.sync_api import Browser, expect
from sharing import shared_folder

import bench
from bench.analysis.measures import METRICS
from bench.analysis.tables import NAMES
from bench.cli import main
from bench.suite.strict_table import StrictTable

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
ELSEWHERE = re.compile(r"""(?:src|srcset|data|poster)\s*=\s*["'](?:https?:)?//|<link[^>]+href=["'](?:https?:)?//""")
LOADED_BY_CSS = re.compile(r"""@import|url\(\s*["']?(?:https?:)?//""")


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that makes parts of pages from the code."""
    monkeypatch.syspath_prepend(str(DOCS / "_site"))
    return importlib.import_module("inserted_parts")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site, in which a warning would have been an error."""
    if importlib.util.find_spec("myst_parser") is None or importlib.util.find_spec("furo") is None:
        pytest.skip("the extra docs is not installed: pip install 'face-privacy-bench[docs]'")

    def build(folder: Path) -> None:
        options = ["--quiet", "--fail-on-warning", "--keep-going", "--conf-dir", DOCS / "_site"]
        done = subprocess.run(
            [sys.executable, "-m", "sphinx", *options, DOCS, folder], text=True, capture_output=True, timeout=600
        )
        assert done.returncode == 0, done.stderr

    return shared_folder(tmp_path_factory, "site-of-docs", build)


# ---- what is made from the code --------------------------------------------------------------------------------------


def subclasses(cls: type) -> Iterator[type]:
    for each in cls.__subclasses__():
        yield each
        yield from subclasses(each)


def test_every_key_of_a_suite_is_described() -> None:
    tables = [t for t in subclasses(StrictTable) if t.__module__.startswith("bench.suite.")]
    assert len(tables) >= 7
    missing = [f"{t.__name__}.{k}" for t in tables for k, field in t.model_fields.items() if not field.description]
    assert not missing


def test_the_suite_reference_has_every_table_with_types_and_defaults(parts: ModuleType) -> None:
    text = parts.MADE["suite"]()
    shown = set(parts.suite_reference.TABLES.values())
    assert shown == {t for t in subclasses(StrictTable) if t.__module__.startswith("bench.suite.")}
    assert "| `pairs` | whole number, at least 2, at most 1,000,000 | `104` |" in text
    assert "| `datasets` | list of reference, not empty | **required** |" in text
    assert '| `data` | `"auto"`, `"real"`, `"stand-in"` | `"auto"` |' in text
    assert "| `stage_timeout_s` | number, above 0 or table |" in text


def test_the_references_have_every_name_and_command(parts: ModuleType) -> None:
    text = parts.MADE["bench"]()
    names = set(bench.__all__) - {"__version__"}
    assert {re.split(r"[(\s]", found)[0] for found in re.findall(r"^:+\{py:\w+\} (.+)$", text, re.M)} >= names
    commands = parts.MADE["commands"]()
    for name in main.commands:
        assert f"\n## bench {name}\n" in commands, name
    for name in ("data align", "models check", "cache gc"):
        assert f"\n## bench {name}\n" in commands, name
    assert "| `--pairs INTEGER RANGE` |" in commands
    assert all(f"| `{name}` |" in parts.MADE["metrics"]() for name in METRICS)


def test_every_table_of_a_report_is_explained() -> None:
    text = (DOCS / "tables.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in text and f"Table {name}" not in text] == [
        "III-fixed",
        "IV-fixed",
        "V-fixed",
    ]
    assert "Each also exists at the paper's fixed threshold" in text


def test_every_page_is_in_the_menu_once(parts: ModuleType) -> None:
    pages = [page for section in parts.navigation.sections().values() for page in section]
    there = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    assert len(pages) == len(set(pages))
    assert set(pages) == there - {"index"}


def test_an_index_stands_beside_a_letter_with_an_accent(parts: ModuleType) -> None:
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    from mathml import block  # type: ignore[import-not-found]  # found beside inserted_parts

    for tex in (r"\tilde{x}_1", r"\hat{x}_i^{a}"):
        assert "<msub><mover" in block(tex)
        assert "munder" not in block(tex)
    assert "<munderover>" in block(r"\sum_{i=1}^{n} s_i")


def test_links_to_files_that_the_site_lacks_become_words(parts: ModuleType) -> None:
    text = "[a](../SECURITY.md#here) [b](../tests/sample_plugin) [c](suites.md) [d](https://example.org) [e](#f)"
    assert parts.text_of("docs/page.md", text) == (
        "[a](reference/security.md#here) b [c](suites.md) [d](https://example.org) [e](#f)",
        None,
    )
    shown, file = parts.text_of("docs/reference/security.md", "# Security\n\n<!-- the file SECURITY.md -->\n")
    assert file == "SECURITY.md"
    assert shown.startswith((ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines()[0])


# ---- the site --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_is_complete(site: Path) -> None:
    assert (site / "index.html").is_file()
    assert (site / "searchindex.js").is_file()
    for page in DOCS.rglob("*.md"):
        html = (site / page.relative_to(DOCS)).with_suffix(".html").read_text(encoding="utf-8")
        assert "<!-- made from" not in html, page
    api = (site / "reference" / "api.html").read_text(encoding="utf-8")
    assert all(f'id="bench.{name}"' in api for name in ("Defense", "Defense.protect", "Context.randn", "cache_folder"))
    assert "<math" in (site / "tables.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages, styles = sorted(site.rglob("*.html")), sorted(site.rglob("*.css"))
    assert len(pages) > 40
    assert styles
    assert [str(page) for page in pages if ELSEWHERE.search(page.read_text(encoding="utf-8"))] == []
    assert [str(style) for style in styles if LOADED_BY_CSS.search(style.read_text(encoding="utf-8"))] == []
    assert ELSEWHERE.search('<script src="https://example.org/x.js">')
    assert LOADED_BY_CSS.search("src: url(//example.org/font)")


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_site_is_read_and_searched_from_the_disk(site: Path, browser: Browser, scheme: str) -> None:
    tabs = Tabs(browser)
    page = tabs(site / "index.html", scheme=scheme)  # type: ignore[arg-type]
    expect(page.get_by_role("heading", level=1)).to_contain_text("bench")
    page.get_by_role("searchbox").or_(page.get_by_placeholder("Search")).first.fill("adversary_threshold")
    page.keyboard.press("Enter")
    results = page.locator("#search-results ul.search li a")
    expect(results.filter(has_text="Suites")).to_be_visible()
    results.filter(has_text="Suites").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Suites")
    assert violations(page, "article") == []
    tabs.close()
    outside = [line for line in tabs.watch.seen if not line.startswith("request: file:")]
    assert outside == []


@pytest.mark.slow
@pytest.mark.browser
def test_no_page_is_wider_than_a_phone(site: Path, browser: Browser) -> None:
    tabs = Tabs(browser)
    page = tabs(site / "index.html", width=390)
    wide = []
    for each in sorted(site.rglob("*.html")):
        page.goto(each.as_uri())
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide.append(each.relative_to(site).as_posix())
    tabs.close()
    assert wide == []
