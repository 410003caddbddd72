"""The kit: its documentation, its public call, and its fixtures."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import Capabilities, Context, Defense, Faces, PluginError, Protected
from bench.kit.catalogue import ALL, CHECKS
from bench.kit.findings import CheckFailedError
from bench.registry.discovery import KINDS
from bench.testing import check_plugin

GUIDE = (Path(__file__).parents[2] / "docs" / "checking.md").read_text(encoding="utf-8")
KIND_WORDS = {"dataset": "data sets", "training_set": "training sets"}


def test_every_kind_of_plugin_is_checked() -> None:
    assert set(ALL) == set(KINDS)


def test_the_guide_has_the_checks_of_the_catalogue() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", GUIDE, re.MULTILINE)
    of = {c.name: [KIND_WORDS.get(kind, f"{kind}s") for kind in c.kinds] for c in CHECKS.values()}
    expected = [(c.name, "all" if c.kinds == ALL else ", ".join(of[c.name]), c.asks) for c in CHECKS.values()]
    assert rows == expected
    for check in CHECKS.values():
        assert check.asks.endswith(".")
        assert check.mend


class Bright(Defense):
    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        return Protected(images=images * 2)


def test_a_class_that_is_not_registered_can_be_checked() -> None:
    with pytest.raises(CheckFailedError, match="defense Bright: fails output") as found:
        check_plugin(Bright)
    assert isinstance(found.value, AssertionError)
    assert found.value.result.component is None
    assert "expected images in [0, 1]" in str(found.value)


def test_what_is_no_plugin_is_one_error() -> None:
    with pytest.raises(PluginError, match="expected a subclass of"):
        check_plugin(int)
    with pytest.raises(PluginError, match="did you mean 'pixelation'"):
        check_plugin("pixelatio")


def test_the_fixtures(
    kit_faces: Faces, kit_images: torch.Tensor, kit_network: torch.nn.Module, kit_context: Callable[..., Context]
) -> None:
    assert kit_images.shape == (8, 3, 112, 112)
    assert np.array_equal(kit_faces.subjects, [0, 0, 1, 1, 2, 2, 3, 3])
    models = {"mine": (kit_network, ("stem",))}
    ctx = kit_context(Capabilities.of_defense(frozenset({"shallow"}), models))
    assert ctx.randn(kit_images).shape == kit_images.shape
    (maps,) = ctx.shallow("mine").features(kit_images, ["stem"])
    assert maps.shape == (8, 8, 56, 56)
    assert len(torch.unique(kit_network(kit_images), dim=0)) == 8


def test_the_pytest_plugin_imports_no_torch() -> None:
    code = "import sys, bench.kit.fixtures; print(sorted({'torch', 'pydantic', 'pandas'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
