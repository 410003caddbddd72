"""Recognises a page that was rendered from the same rows, by the same code, with the same options.

Rendering a large run takes many seconds, so a run that computes nothing new keeps its page. The last line of every page
holds the key of everything that the page was made from, and the sha256 of the page itself, so that a page that was
edited or damaged is rendered again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.api.types import Section
from bench.core.content_keys import joined_digest
from bench.core.provenance import file_sha256

# Packages whose version decides how a page looks or which numbers it shows.
_PACKAGES = ("altair", "itables", "jinja2", "numpy", "pandas", "pillow", "pyarrow", "scipy", "vl-convert-python")
_BENCH = Path(__file__).resolve().parent.parent
_SEAL = re.compile(rb"<!-- bench-page ([0-9a-f]{64}) ([0-9a-f]{64}) -->\n\Z")
_SEAL_BYTES = len(b"<!-- bench-page  -->\n") + 2 * 64 + 1


def page_key(folder: Path, sections: Sequence[Section], *, include_real_faces: bool) -> str:
    """Return a digest of everything that decides the page of the run in ``folder``.

    It covers the part of the path that the page shows, ``run.json``, which holds the sha256 of every file with rows,
    the sections that plugins add, the option, all files of the package ``bench`` and the versions of the packages that
    draw.
    """
    code = [
        f"{path.relative_to(_BENCH).as_posix()}={file_sha256(path)}"
        for path in sorted(_BENCH.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]
    versions = [f"{name}={_version(name)}" for name in _PACKAGES]
    return joined_digest(
        *folder.parts[-3:],
        file_sha256(folder / "run.json"),
        hashlib.sha256(json.dumps([_as_shown(section) for section in sections]).encode()).hexdigest(),
        str(include_real_faces),
        *code,
        *versions,
    )


def _as_shown(section: Section) -> list[Any]:
    """Return all texts of a section. Its ``repr`` would not do: that of a long array leaves out values."""
    rows = [["" if value is None else str(value) for value in row] for row in section.rows]
    return [str(section.title), [str(column) for column in section.columns], rows]


def sealed(html: str, key: str) -> str:
    """Return the page with its last line: the key, and the sha256 of the page without that line."""
    body = html if html.endswith("\n") else html + "\n"
    return f"{body}<!-- bench-page {key} {hashlib.sha256(body.encode()).hexdigest()} -->\n"


def is_current(page: Path, key: str) -> bool:
    """Return True if the file is a whole, unedited page that was sealed with this key; a link is none."""
    try:
        if page.is_symlink() or not page.is_file():
            return False
        content = page.read_bytes()
    except OSError:
        return False
    body, seal = content[:-_SEAL_BYTES], _SEAL.search(content[-_SEAL_BYTES:])
    return seal is not None and seal[1].decode() == key and hashlib.sha256(body).hexdigest() == seal[2].decode()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
