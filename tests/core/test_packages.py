"""A missing package is named with the installation that provides it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from bench.core import packages
from bench.core.errors import error_text
from bench.core.packages import distributions_of, how_to_install


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("onnx", "pip install 'face-privacy-bench[onnx]'"),
        ("onnx.checker", "pip install 'face-privacy-bench[onnx]'"),
        ("onnx2torch", "pip install 'face-privacy-bench[onnx]'"),
        ("deepface.modules", "pip install 'face-privacy-bench[deepface]'"),
        ("onnxruntime", "pip install 'face-privacy-bench[deepface]' or pip install 'face-privacy-bench[onnx]'"),
        ("mtcnn", "pip install 'face-privacy-bench[align]'"),
        ("tensorflow", "pip install 'face-privacy-bench[align]'"),
        ("ray", "pip install 'face-privacy-bench[ray]'"),
        ("lpips", "pip install 'face-privacy-bench'"),
        ("skimage", "pip install 'face-privacy-bench'"),
        ("PIL.Image", "pip install 'face-privacy-bench'"),
        ("playwright", None),
        ("another_package", None),
    ],
)
def test_the_extra_of_a_package_is_named(module: str, command: str | None) -> None:
    assert how_to_install(module) == command


def test_an_error_says_how_to_install_a_package_of_bench() -> None:
    known = ModuleNotFoundError("No module named 'ray'", name="ray")
    assert error_text(known) == (
        "ModuleNotFoundError: No module named 'ray'; install it with: pip install 'face-privacy-bench[ray]'"
    )
    other = ModuleNotFoundError("No module named 'plugin_gone'", name="plugin_gone")
    assert error_text(other) == "ModuleNotFoundError: No module named 'plugin_gone'"


def test_every_module_has_the_distributions_that_provide_it() -> None:
    # The library's own function says the same of modules in Python, but it takes ten times as long.
    for name, holders in importlib.metadata.packages_distributions().items():
        assert {one.name for one in distributions_of(name)} >= set(holders)


@pytest.mark.parametrize(
    ("record", "provided"),
    [
        ("author/__init__.py,sha256=abc,10\nauthor-1.0.dist-info/RECORD,,\n", {"author"}),
        ("single.py,,\nnative.cpython-311-x86_64-linux-gnu.so,,\n", {"single", "native"}),
        ('"author/a,b.txt",,\n"lone,file.txt",,\n../../bin/run,,\n', {"author"}),
        ("", set()),
    ],
)
def test_modules_are_those_of_the_recorded_files(tmp_path: Path, record: str, provided: set[str]) -> None:
    folder = tmp_path / "author-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: author\nVersion: 1.0\n")
    (folder / "RECORD").write_text(record)
    (found,) = importlib.metadata.distributions(path=[str(tmp_path)])
    assert packages.provided_modules(found) == provided


def test_declared_modules_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "author-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: author\nVersion: 1.0\n")
    (folder / "top_level.txt").write_text("one\ntwo\n")
    (found,) = importlib.metadata.distributions(path=[str(tmp_path)])
    assert packages.provided_modules(found) == {"one", "two"}


def test_a_module_of_no_distribution_has_none() -> None:
    assert distributions_of("author_absent") == []
