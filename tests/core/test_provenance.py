"""Provenance: digests of files and code, versions of packages, commit and machine."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

import bench
from bench.core import provenance, stamps
from bench.core.errors import DataError


def test_the_hash_of_a_file_is_that_of_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    assert provenance.file_sha256(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert provenance.file_sha256(path) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("settled", [0, stamps._SETTLED_NS], ids=["remembered", "just now"])
def test_a_time_that_was_set_back_hides_no_change(
    tmp_path: Path, settled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "_SETTLED_NS", settled)
    path = tmp_path / "weights"
    for data in (b"one", b"two"):
        path.write_bytes(data)
        os.utime(path, ns=(1, 1))
        if settled == 0:
            time.sleep(0.05)  # longer than a step of the clock of any local file system
        assert provenance.file_sha256(path) == hashlib.sha256(data).hexdigest()
    other = tmp_path / "other"
    other.write_bytes(b"six")
    os.utime(other, ns=(1, 1))
    os.replace(other, path)
    assert provenance.file_sha256(path) == hashlib.sha256(b"six").hexdigest()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match=rf"{path}: expected a readable file"):
            provenance.file_sha256(path)


def test_versions_are_those_installed() -> None:
    import numpy

    versions = provenance.package_versions()
    assert versions["numpy"] == numpy.__version__
    assert "missing" not in versions.values()


def test_a_missing_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("a-package-that-nobody-has",))
    assert provenance.package_versions() == {"a-package-that-nobody-has": "missing"}


def test_the_commit_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "bench"
    package.mkdir()
    monkeypatch.setattr(provenance, "_PACKAGE", package)
    assert provenance.git_commit() is None
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    (package / "file").write_text("one")
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, capture_output=True)
    clean = provenance.git_commit()
    assert re.fullmatch("[0-9a-f]{40}", clean or "")
    (package / "file").write_text("two")
    assert provenance.git_commit() == f"{clean}+dirty"


def test_the_machine_is_described() -> None:
    machine = provenance.machine()
    assert machine["cores"] == os.cpu_count()
    assert machine["platform"]
    assert machine["processor"]


def test_the_code_that_is_hashed_imports_no_other_code_of_the_host() -> None:
    """If it did, a change of the other code could change results without changing the content keys."""
    package = Path(bench.__file__).parent
    hashed = set(provenance.host_digests())
    outside = []
    for name in sorted(hashed):
        for node in ast.walk(ast.parse((package / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: a relative import"
                found = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for target in found:
                parts = target.split(".")
                if parts[0] != "bench":
                    continue
                # The last part is a module or a name in one. A package is imported with its ``__init__.py``.
                paths = ["/".join(parts[1:n]) for n in (len(parts), len(parts) - 1)]
                files = {path + end for path in paths for end in (".py", "/__init__.py")}
                if not files & hashed:
                    outside.append(f"{name} imports {target}")
    assert outside == []


def _imported(file: Path) -> set[str]:
    """Return the modules that a file of bench imports from bench, as paths relative to its folder."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {name.removeprefix("bench.").replace(".", "/") for name in names if name.startswith("bench.")}
    return found


def _score_modules(names: set[str]) -> set[str]:
    return {n for n in names if provenance.makes_scores(n) or provenance.makes_scores(f"{n}.py")}


def test_only_scores_depend_on_the_code_that_makes_scores() -> None:
    """If pictures, trainings or embeddings did, a change of that code would not change their content keys."""
    package = Path(bench.__file__).parent
    for name in provenance.host_digests():
        if not provenance.makes_scores(name):
            expected = {"stages/scoring", "stages/scoring/SCORES"} if name == "stages/compute.py" else set()
            assert _score_modules(_imported(package / name)) == expected & _score_modules(_imported(package / name)), (
                name
            )
    assert "stages/scoring" in _imported(package / "stages/compute.py"), "where scores are called"


def test_built_in_plugins_that_make_no_scores_do_not_use_the_code_that_does() -> None:
    """Their sources count in content keys, but not the code of bench that they import."""
    apart = {"bench_similarity", "bench_training/evaluate.py", "bench_facenets/checks"}  # a metric, and commands
    plugins = Path(bench.__file__).parent.parent / "plugins"
    assert plugins.is_dir()
    for file in plugins.rglob("bench_*/**/*.py"):
        name = "/".join(file.relative_to(plugins).parts[1:])
        if not name.startswith(tuple(apart)):
            assert not _score_modules(_imported(file)), name


def test_every_folder_that_decides_results_is_hashed() -> None:
    hashed = set(provenance.host_digests())
    assert {"api/context.py", "core/domain.py", "metrics/recognition.py", "stages/compute.py"} <= hashed
    assert {"engine/isolation.py", "registry/discovery.py", "store/artifacts.py"} <= hashed
    assert len(provenance.runtime_digest()) == 64
    assert provenance.runtime_digest(scores=False) != provenance.runtime_digest()
    for listed in provenance.SCORE_CODE:
        assert any(name == listed or name.startswith(f"{listed}/") for name in hashed), listed


def test_a_change_of_the_code_of_scores_leaves_other_content_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = provenance.host_digests()

    def with_changed(name: str) -> tuple[str, str]:
        monkeypatch.setattr(provenance, "host_digests", lambda: {**digests, name: "0" * 64})
        provenance.runtime_digest.cache_clear()
        found = provenance.runtime_digest(scores=False), provenance.runtime_digest()
        provenance.runtime_digest.cache_clear()
        return found

    scores, everything = with_changed("metrics/recognition.py"), with_changed("stages/compute.py")
    monkeypatch.undo()
    assert scores[0] == provenance.runtime_digest(scores=False)
    assert scores[1] != provenance.runtime_digest()
    assert everything[0] != provenance.runtime_digest(scores=False)
    assert everything[1] != provenance.runtime_digest()
