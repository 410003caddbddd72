"""A missing package is named with the installation that provides it."""

from __future__ import annotations

import pytest

from bench.core.errors import error_text
from bench.core.packages import how_to_install


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
