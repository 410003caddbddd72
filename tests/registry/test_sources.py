"""What identifies the code behind a plugin."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import write_metadata

from bench.core import packages
from bench.core.errors import PluginError
from bench.registry import sources
from bench.registry.discovery import discover


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with a plugin that imports packages in several ways, and those packages."""
    monkeypatch.syspath_prepend(str(tmp_path))
    packages._distributions.cache_clear()
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
    packages._distributions.cache_clear()
    assert not {name for name in sys.modules if name.startswith("author_")}, "nothing is imported"


def test_published_packages_have_a_version_and_others_a_digest(site: Path) -> None:
    found = sources.imported_code("plugin_importing", "plugin-importing")
    assert found.keys() == {"author_published", "author_local", "author_loose", "author_deeper"}
    assert found["author_published"] == "author_published 1.0"
    digests = [found[name] for name in ("author_local", "author_loose", "author_deeper")]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)


def test_all_folders_of_a_namespace_package_count(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site / "plugin_importing.py").write_text("import author_space.first, author_space.second\n")
    for folder, module in (("one", "first"), ("two", "second")):
        (site / folder / "author_space").mkdir(parents=True)
        (site / folder / "author_space" / f"{module}.py").write_text("x = 1\n")
        monkeypatch.syspath_prepend(str(site / folder))
    before = sources.imported_code("plugin_importing", "plugin-importing")["author_space"]
    for path in ("one/author_space/first.py", "two/author_space/second.py"):
        (site / path).write_text("x = 2\n")
        after = sources.imported_code("plugin_importing", "plugin-importing")["author_space"]
        assert after != before
        before = after


def test_a_namespace_package_of_several_distributions_has_all_their_versions(site: Path) -> None:
    (site / "plugin_importing.py").write_text("import author_space.first, author_space.second\n")
    (site / "author_space").mkdir()
    for module in ("first", "second"):
        (site / "author_space" / f"{module}.py").write_text("x = 1\n")
        write_metadata(site, f"author_{module}", "1.0", {})
        (site / f"author_{module}-1.0.dist-info" / "RECORD").write_text(f"author_space/{module}.py,,\n")
    found = sources.imported_code("plugin_importing", "plugin-importing")
    assert found == {"author_space": "author_first 1.0, author_second 1.0"}


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


def test_built_in_plugins_are_identified_with_the_built_in_packages_that_they_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "bench_first.py").write_text("import os\n\ndef later():\n    from bench_second.deep import x\n")
    (tmp_path / "bench_second").mkdir()
    (tmp_path / "bench_second" / "__init__.py").write_text("import bench_third, bench_absent\nimport bench_first\n")
    (tmp_path / "bench_third.py").write_text("x = 1\n")
    before = sources.built_in_code("bench_first")
    assert before.keys() == {"bench_second", "bench_third"}
    (tmp_path / "bench_third.py").write_text("x = 2\n")
    after = sources.built_in_code("bench_first")
    assert [name for name in after if after[name] != before[name]] == ["bench_third"]


def test_the_key_of_a_built_in_network_covers_the_package_that_converts_it() -> None:
    origin = discover().find("attack", "attributes", "").origin
    assert origin.libraries["bench_uniface"] == sources.source_digest("bench_uniface")
    assert origin.libraries["bench_facenets"] == sources.source_digest("bench_facenets")
