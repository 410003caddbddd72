"""The kit lets fewer values of a picture differ than a run does."""

from __future__ import annotations

import numpy as np

from bench.kit.comparing import difference
from bench.stages.comparison import strict_difference


def test_a_few_pixels_may_differ_by_some_levels_only() -> None:
    first = {"images": np.full((2, 3, 112, 112), 100, np.uint8)}
    for levels, words in ((16, None), (17, "a value of images differs by 17 of 256 levels")):
        second = {"images": first["images"].copy()}
        second["images"][1, :, 0, :12] += levels
        assert strict_difference(first, second) is None
        assert difference(first, second) == words
    assert difference(first, {"images": 255 - first["images"]}) == "100 % of its values differ"
    bits = {"bits": np.zeros((2, 8), np.uint8)}
    assert difference(bits, bits) is None
