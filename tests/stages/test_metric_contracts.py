"""What a metric of a plugin returns is checked: one clear error names the plugin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from bench import Context, Metric
from bench.core.errors import ContractError, PluginError
from bench.registry.declarations import check_declarations
from bench.stages.contracts import compute_checked, features_checked, set_value_checked
from bench.stages.image_metrics import columns_of

IMAGES = torch.zeros(3, 3, 8, 8)


def context() -> Context:
    return Context(device=torch.device("cpu"), seed=0, plugin="metric mine")


@dataclass(frozen=True, kw_only=True)
class Fixed(Metric):
    """Returns what it was made with."""

    formula = "a number"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    found: Any = None

    def compute(self, original: torch.Tensor, other: torch.Tensor, ctx: Context) -> Any:
        return self.found

    def features(self, images: torch.Tensor, ctx: Context) -> Any:
        return self.found

    def compute_set(self, originals: torch.Tensor, others: torch.Tensor, ctx: Context) -> Any:
        return self.found


@pytest.mark.parametrize(
    "found", [torch.tensor([0.0, 0.5, 1.0]), np.array([0.0, 0.5, 1.0], np.float32), [0, 0.5, 1], (False, 0.5, True)]
)
def test_numbers_of_any_kind_are_taken(found: Any) -> None:
    assert compute_checked(Fixed(found=found), IMAGES, IMAGES, context()).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (torch.zeros(2), r"metric mine: compute\(\) must return 3 numbers \(3,\), got \(2,\)"),
        (torch.zeros(3, 1), r"must return 3 numbers \(3,\), got \(3, 1\)"),
        (0.5, r"must return 3 numbers \(3,\), got \(\)"),
        (None, r"compute\(\) returned NaN|must return"),
        ("high", "must return numbers, got <class 'str'>"),
        (["a", "b", "c"], "must return numbers"),
        ([0.1, float("nan"), 0.2], r"metric mine: compute\(\) returned NaN"),
        ([0.1, float("inf"), 0.2], r"returned infinity, and the metric does not declare that it may be infinite"),
        ([0.1, 1.5, 0.2], r"must return values from 0 to 1, as its range declares, got values from 0.1 to 1.5"),
        ([-0.1, 0.5, 0.2], r"must return values from 0 to 1, as its range declares, got values from -0.1 to 0.5"),
    ],
)
def test_other_values_are_one_clear_error(found: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        compute_checked(Fixed(found=found), IMAGES, IMAGES, context())


def test_infinity_that_is_declared_is_marked() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Ratio(Fixed):
        range = (0.0, float("inf"))
        infinite = True

    values = compute_checked(Ratio(found=[1.0, float("inf"), 3.0]), IMAGES, IMAGES, context())
    made = columns_of("mine", values, infinite=True)
    assert made["mine"].to_pylist() == [1.0, None, 3.0]
    assert made["mine_infinite"].to_pylist() == [False, True, False]
    with pytest.raises(ContractError, match=r"compute_set\(\) returned infinity"):
        set_value_checked(Ratio(found=float("inf")), IMAGES, IMAGES, context())


def test_images_are_not_to_be_changed() -> None:
    class Changing(Fixed):
        def compute(self, original: torch.Tensor, other: torch.Tensor, ctx: Context) -> Any:
            return other.add_(1).mean((1, 2, 3))

    with pytest.raises(ContractError, match=r"metric mine: compute\(\) changed its input images; work on a copy"):
        compute_checked(Changing(), IMAGES.clone(), IMAGES.clone(), context())


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (torch.zeros(2), r"compute_set\(\) must return one number, got \(2,\)"),
        (float("nan"), r"metric mine: compute_set\(\) returned NaN"),
        (2.0, r"compute_set\(\) must return values from 0 to 1"),
        ({}, r"compute_set\(\) must return numbers"),
    ],
)
def test_the_value_of_a_set_is_checked(found: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        set_value_checked(Fixed(found=found), IMAGES, IMAGES, context())
    assert set_value_checked(Fixed(found=torch.tensor([0.25])), IMAGES, IMAGES, context()) == 0.25


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (torch.zeros(2, 4), r"features\(\) must return a tensor \(3, d\), got torch.float32 \(2, 4\)"),
        (torch.zeros(3), r"features\(\) must return a tensor \(3, d\)"),
        (np.zeros((3, 4)), r"features\(\) must return a tensor \(3, d\)"),
        (torch.full((3, 4), float("inf")), r"features\(\) returned NaN or infinity"),
    ],
)
def test_features_are_checked(found: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        features_checked(Fixed(found=found), IMAGES, context())


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"formula": " "}, "metric mine: formula: expected a sentence, found none"),
        ({"range": (1.0, 0.0)}, r"metric mine: range: expected the lowest and the highest value, found \(1.0, 0.0\)"),
        ({"range": 1.0}, r"metric mine: range: expected a tuple \(a number, a number\), found 1.0"),
        ({"better": {"utility": "lower"}}, "better: expected one of recognition, appearance, .* found 'utility'"),
        ({"better": {"recognition": "less"}}, "better: expected one of higher, lower, found 'less'"),
    ],
)
def test_declarations_that_cannot_be_are_refused(declared: dict[str, Any], message: str) -> None:
    cls = dataclass(frozen=True, kw_only=True)(type("Mine", (Fixed,), dict(declared)))
    with pytest.raises(PluginError, match=message):
        check_declarations("metric", "mine", cls())


def test_a_metric_computes_something() -> None:
    class Nothing(Metric):
        formula = "none"

    with pytest.raises(PluginError, match=r"expected compute\(\) or compute_set\(\), found neither"):
        check_declarations("metric", "mine", Nothing())
