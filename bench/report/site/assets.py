"""The style sheet and the script of a site, which every page has in itself, so that it loads nothing."""

from __future__ import annotations

from importlib import resources

from markupsafe import Markup

from bench.report.page import assets

_OF_REPORT = ("base", "verdict")  # The site looks like the report: these are its style sheets.
STYLES = ("layout", "board", "pages", "pictures")
SCRIPTS = ("search", "board")


def styles() -> Markup:
    """Return the style sheets of a page as one."""
    own = Markup("\n".join(_asset("style", f"{name}.css") for name in STYLES))
    return Markup("\n").join([assets.styles(_OF_REPORT), own])


def scripts(*, board: bool) -> list[Markup]:
    """Return the scripts of a page: the search, and on a page with leaderboards their filters as well."""
    return [Markup(_asset("script", f"{name}.js")) for name in (SCRIPTS if board else SCRIPTS[:1])]


def _asset(folder: str, name: str) -> str:
    return (resources.files(__package__ or "") / folder / name).read_text(encoding="utf-8")
