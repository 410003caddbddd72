"""The style sheets, scripts and data of the page, and its content security policy.

JavaScript libraries are taken from installed packages when a page is made; none is in this repository. A page loads
nothing, and its policy lists the hash of each script, so that no text from a plugin or a file can run.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata, resources

from markupsafe import Markup

from bench.core.cache_folder import cache_folder
from bench.core.files import kept_text
from bench.report.vega import made_by_vega

SCRIPTS = ("page", "contents", "charts", "tables", "rows", "cells", "filters", "wall")  # in the order in which they run
STYLES = ("base", "verdict", "charts", "tables", "ladder", "threats", "rows", "cells", "wall", "filters")


def styles(names: Sequence[str] = STYLES) -> Markup:
    """Return the style sheets of these names as one."""
    return Markup("\n".join(_asset("style", f"{name}.css") for name in names))


def scripts(*, charts: bool, tables: bool) -> list[Markup]:
    """Return the scripts of a page in the order in which they run: the libraries for charts and for tables, if they are
    needed, then the scripts of bench as one."""
    found = [charts_library()] if charts else []
    found += [tables_library()] if tables else []
    own = "\n".join(_asset("script", f"{name}.js") for name in SCRIPTS)
    return [Markup(text) for text in [*found, own]]


def policy(found: Sequence[str]) -> str:
    """Return the content security policy of a page: it loads nothing and runs only the scripts ``found``."""
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in found) or "'none'"
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}"


@lru_cache(maxsize=1)
def charts_library() -> str:
    """Return Vega, Vega-Lite and vega-embed as `vl_convert` bundles them; they become globals of the page.

    Bundling takes two seconds and gives the same text each time, so the text is kept in the user's cache folder.
    """
    name = f"charts-vl-convert-{metadata.version('vl-convert-python')}.js"
    return kept_text(cache_folder() / name, _bundle_charts_library)


def _bundle_charts_library() -> str:
    return _inline(made_by_vega("bundle").decode())


@lru_cache(maxsize=1)
def tables_library() -> str:
    """Return DataTables as `itables` bundles it; the module is wrapped so that ``DataTable`` becomes a global.

    Raise RuntimeError if the bundle does not have the expected form.
    """
    module = (resources.files("itables") / "html" / "dt_bundle.js").read_text(encoding="utf-8")
    match = re.search(r"export\s*\{([^}]*)\}\s*;", module)
    if match is None:
        raise RuntimeError("itables: expected its bundle html/dt_bundle.js to export DataTable; found no export")
    exported = {name.strip(): own.strip() for own, name in (pair.split(" as ") for pair in match[1].split(","))}
    body = f"{module[: match.start()]}window.DataTable={exported['default']};{module[match.end() :]}"
    return _inline(f"(()=>{{{body}\n}})();")


def _inline(script: str) -> str:
    """Return a script that can be embedded in HTML: nothing in it looks like the end of a script element."""
    if re.search(r"</script|<!--", script, re.IGNORECASE):
        script = re.sub(r"<(?=/script|!--)", r"\\x3c", script, flags=re.IGNORECASE)
    return script.replace("\r\n", "\n")


def _asset(folder: str, name: str) -> str:
    """Return the text of a file of this package; empty if it does not exist."""
    found = resources.files(__package__ or "") / folder / name
    return found.read_text(encoding="utf-8") if found.is_file() else ""


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
