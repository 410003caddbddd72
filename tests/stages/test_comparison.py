"""How results of two calls are compared: by hand values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.stages.comparison import another_order, loose_difference, rows_of, strict_difference

NAN, INF = np.nan, np.inf
ELSEWHERE = "NaN or infinity in other places of x"


def strictly(first: Any, second: Any) -> str | None:
    return strict_difference({"x": np.asarray(first)}, {"x": np.asarray(second)})


def loosely(first: Any, second: Any, everybody: Any = None) -> str | None:
    held = np.asarray(first if everybody is None else everybody)
    return loose_difference({"x": np.asarray(first)}, {"x": np.asarray(second)}, {"x": held})


@pytest.mark.parametrize("differs", [strictly, loosely])
@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([1.0, NAN, 3.0], [1.0, NAN, 3.0], None),
        ([1.0, INF, 3.0], [1.0, INF, 3.0], None),
        ([1.0, 2.0, 3.0], [1.0, NAN, 3.0], ELSEWHERE),
        ([1.0, NAN, 3.0], [1.0, 2.0, 3.0], ELSEWHERE),
        ([NAN, 2.0, 3.0], [2.0, NAN, 3.0], ELSEWHERE),
        ([INF, 2.0, 3.0], [-INF, 2.0, 3.0], ELSEWHERE),
        ([INF, 2.0, 3.0], [NAN, 2.0, 3.0], ELSEWHERE),
    ],
)
def test_what_is_no_number_equals_itself_in_its_place(differs: Any, first: Any, second: Any, words: str | None) -> None:
    assert differs(first, second) == words


def test_one_nan_does_not_hide_other_values() -> None:
    """Three of four values are far apart, and the fourth is NaN in both."""
    assert strictly([[NAN, 1.0, 2.0, 3.0]], [[NAN, 5.0, 6.0, 7.0]]) == "75 % of its values differ"
    assert loosely([[NAN, 0.0], [NAN, 1.0]], [[NAN, 4.0], [NAN, 1.0]]) == "4 times as far apart as two faces"


def test_one_nan_among_many_values_counts() -> None:
    first, second = np.ones((2, 5000)), np.ones((2, 5000))
    second[1, 7] = NAN
    assert strictly(first, second) == loosely(first, second) == ELSEWHERE


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.uint16])
def test_whole_numbers_are_equal_or_not(dtype: Any) -> None:
    """A person's number may differ from the next by one, and one among 2,000 is no rounding."""
    first = np.full((1, 2000), 100, dtype)
    second = first.copy()
    assert strictly(first, second) is None
    second[0, 0] += 1
    assert strictly(first, second) == "0.05 % of its values differ"


def test_large_numbers_of_people_are_told_apart() -> None:
    """Both are one number as a float."""
    assert strictly(np.array([2**60]), np.array([2**60 + 1])) == "100 % of its values differ"


def test_truth_values_and_texts_are_equal_or_not() -> None:
    assert strictly([True, False], [True, False]) is None
    assert strictly([True, False], [True, True]) == "100 % of its values differ"
    assert strictly(["a", "b"], ["a", "b"]) is None
    assert strictly(["a", "b"], ["a", "c"]) == "100 % of its values differ"
    assert strictly(["a"], np.array(["a"], "U9")) is None
    assert loosely(["a", "b"], ["a", "b"]) is None
    assert loosely(["a", "b"], ["a", "c"]) == "inf times as far apart as two faces"


def test_one_bit_of_a_template_may_differ_loosely_and_all_may_not() -> None:
    bits = np.tile(np.array([[0, 1], [1, 0]], np.uint8), 50)
    one = bits.copy()
    one[0, 0] = 1
    assert (loosely(bits, one), loosely(bits, 1 - bits)) == (None, "1 times as far apart as two faces")
    assert strictly(bits, one) == "1 % of its values differ"


def test_floats_may_differ_by_a_thousandth_of_their_spread() -> None:
    """The standard deviation of -1 and 1 is 1."""
    first = np.array([[-1.0, 1.0]])
    assert strictly(first, first + 0.0009) is None
    assert strictly(first, first + 0.0011) == "100 % of its values differ"
    assert strictly(np.full((1, 4), 10.0), np.full((1, 4), 10.00009)) is None
    assert strictly(np.full((1, 4), 10.0), np.full((1, 4), 10.00011)) == "100 % of its values differ"


def test_an_8_bit_image_may_differ_by_one_level_and_one_value_in_a_thousand() -> None:
    first = np.zeros((1, 3, 20, 20), np.uint8)
    assert strictly(first, first + 1) is None
    assert strictly(first, first + 2) == "100 % of its values differ"
    for n, words in ((1, None), (2, "0.167 % of its values differ")):
        second = first.copy()
        second.reshape(-1)[:n] = 255
        assert strictly(first, second) == words


@pytest.mark.parametrize("differs", [strictly, loosely])
def test_other_tensors_are_not_compared(differs: Any) -> None:
    assert differs([1.0, 2.0], [1.0]) == "other tensors"
    assert differs([1.0, 2.0], [1, 2]) == "other tensors"
    assert differs(np.float32([1.0]), np.float64([1.0])) is None
    x = np.zeros(2)
    assert strict_difference({"x": x}, {"x": x, "y": x}) == "other tensors"


def test_nothing_equals_nothing() -> None:
    for dtype in (np.uint8, np.float32, np.int64, "U3"):
        none = np.zeros((0, 3), dtype)
        assert strictly(none, none) is None
        assert loosely(none, none) is None


def test_another_order_is_one() -> None:
    for n in (2, 3, 4, 8):
        order = another_order(n)
        assert sorted(order.tolist()) == list(range(n)) != order.tolist()
    assert rows_of({"x": np.array([5, 6, 7])}, [2, 0])["x"].tolist() == [7, 5]
