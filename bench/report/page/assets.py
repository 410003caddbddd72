"""What makes the page interactive: the libraries, our scripts, the data that they show, and the policy that allows
nothing else.

The libraries come out of installed packages when a page is made; none is in this repository. A page loads nothing, and
its policy names the hash of each script, so that nothing that a plugin or a file says can run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

from markupsafe import Markup

SCRIPTS = ("page", "charts", "tables", "rows", "cells", "filters", "wall")  # ours, in the order in which they run
STYLES = ("base", "verdict", "charts", "tables", "ladder", "threats", "rows", "cells", "wall", "filters")


def styles(names: Sequence[str] = STYLES) -> Markup:
    """The style sheets of the page as one."""
    return Markup("\n".join(_own("style", f"{name}.css") for name in names))


def scripts(*, charts: bool, tables: bool) -> list[Markup]:
    """The scripts of a page, in the order in which they run: libraries as far as they are needed, then ours."""
    found = [charts_library()] if charts else []
    found += [tables_library()] if tables else []
    own = "\n".join(_own("script", f"{name}.js") for name in SCRIPTS)
    return [Markup(text) for text in [*found, own]]


def policy(found: Sequence[str]) -> str:
    """The content security policy of a page with some scripts: it loads nothing, and runs these and no other."""
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in found) or "'none'"
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}"


def data(about: Mapping[str, Any]) -> Markup:
    """Data for the scripts as JSON that no text in it can end."""
    text = json.dumps(about, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


@lru_cache(maxsize=1)
def charts_library() -> str:
    """Vega, Vega-Lite and vega-embed as `vl_convert` bundles them; they are globals of the page."""
    import vl_convert

    return _inline(vl_convert.javascript_bundle())  # type: ignore[call-arg]  # its stub lacks the default


@lru_cache(maxsize=1)
def tables_library() -> str:
    """DataTables as `itables` bundles it: a module, whose exports become globals of the page."""
    module = (resources.files("itables") / "html" / "dt_bundle.js").read_text(encoding="utf-8")
    match = re.search(r"export\s*\{([^}]*)\}\s*;", module)
    if match is None:
        raise RuntimeError("itables: expected its bundle html/dt_bundle.js to export DataTable; found no export")
    exported = {name.strip(): own.strip() for own, name in (pair.split(" as ") for pair in match[1].split(","))}
    body = f"{module[: match.start()]}window.DataTable={exported['default']};{module[match.end() :]}"
    return _inline(f"(()=>{{{body}\n}})();")


def _inline(script: str) -> str:
    """A script that can stand in a page: nothing in it may look like the end of one."""
    if re.search(r"</script|<!--", script, re.IGNORECASE):
        script = re.sub(r"<(?=/script|!--)", r"\\x3c", script, flags=re.IGNORECASE)
    return script.replace("\r\n", "\n")


def _own(folder: str, name: str) -> str:
    found = resources.files(__package__ or "") / folder / name
    return found.read_text(encoding="utf-8") if found.is_file() else ""


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
