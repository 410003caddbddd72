"""What identifies the code behind a plugin."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import write_metadata

from bench.core.errors import PluginError
from bench.registry import sources


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with a plugin that imports packages in several ways, and those packages."""
    monkeypatch.syspath_prepend(str(tmp_path))
    sources._holders.cache_clear()
    (tmp_path / "plugin_importing.py").write_text(
        "import os, torch\nimport author_published.deep as deep\nfrom author_local import x\n"
        "from . import sibling\n\ndef later():\n    import author_loose, author_absent\n"
    )
    for name in ("author_published", "author_local"):
        write_metadata(tmp_path, name, "1.0", {})
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("x = 1\n")
        (tmp_path / f"{name}-1.0.dist-info" / "RECORD").write_text(f"{name}/__init__.py,,\n")
    (tmp_path / "author_local-1.0.dist-info" / "direct_url.json").write_text("{}")
    (tmp_path / "author_loose.py").write_text("import author_deeper\n")
    (tmp_path / "author_deeper.py").write_text("y = 1\n")
    yield tmp_path
    sources._holders.cache_clear()
    assert not {name for name in sys.modules if name.startswith("author_")}, "nothing is imported"


def test_published_packages_have_a_version_and_others_a_digest(site: Path) -> None:
    found = sources.imported_code("plugin_importing", "plugin-importing")
    assert found.keys() == {"author_published", "author_local", "author_loose", "author_deeper"}
    assert found["author_published"] == "author_published 1.0"
    digests = [found[name] for name in ("author_local", "author_loose", "author_deeper")]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)


def test_packages_of_the_own_distribution_are_hashed(site: Path) -> None:
    found = sources.imported_code("plugin_importing", "author_published")
    assert re.fullmatch("[0-9a-f]{64}", found["author_published"])


@pytest.mark.parametrize("name", ["author_local/__init__", "author_loose", "author_deeper"])
def test_a_change_of_code_is_seen(site: Path, name: str) -> None:
    before = sources.imported_code("plugin_importing", "plugin-importing")
    (site / f"{name}.py").write_text("x = y = 2\nimport author_deeper\n")
    after = sources.imported_code("plugin_importing", "plugin-importing")
    assert [n for n in after if after[n] != before[n]] == [name.partition("/")[0]]


def test_data_counts_on_request_and_hidden_files_never(site: Path) -> None:
    package = site / "author_local"
    code, everything = sources.source_digest("author_local"), sources.source_digest("author_local", data=True)
    assert code == everything
    (package / ".hidden").write_text("a")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"a")
    assert sources.source_digest("author_local", data=True) == everything
    (package / "weights.bin").write_bytes(b"a")
    assert sources.source_digest("author_local") == code
    assert sources.source_digest("author_local", data=True) != everything


def test_native_libraries_count_where_a_package_is_declared(site: Path) -> None:
    before = sources.library_digest("author_local", "defense mine")
    (site / "author_local" / "kernel.so").write_bytes(b"a")
    assert sources.library_digest("author_local.deep", "defense mine") != before
    with pytest.raises(PluginError, match="defense mine: libraries: expected an installed package, found no 'absent'"):
        sources.library_digest("absent", "defense mine")
