"""Baseline images, which show nothing of a face."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.metrics.blank_images import baseline_images, other_subject


def _images(seed: int, n: int = 3, h: int = 24, w: int = 31) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, h, w), dtype=np.uint8)


def _baselines(*args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
    parts = [baselines for _, baselines in baseline_images(*args, **kwargs)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_baseline_images() -> None:
    images, others = _images(0, 6), _images(1, 130)
    subjects = np.array([1, 1, 2, 2, 3, 3])
    baselines = _baselines(images, subjects, others, seed=5)
    assert list(baselines) == ["another_face", "grey", "mean_face", "noise", "wide_noise"]
    assert all(b.shape == images.shape and b.dtype == np.uint8 for b in baselines.values())
    assert (baselines["grey"] == 128).all()
    np.testing.assert_array_equal(baselines["mean_face"][4], np.rint(others.astype(float).mean(axis=0)))
    np.testing.assert_array_equal(baselines["another_face"], images[other_subject(subjects, 5)])
    noise = baselines["noise"].astype(float) / 255
    assert noise.mean() == pytest.approx(0.5, abs=0.02)
    assert noise.std() == pytest.approx(0.242, abs=0.02)  # slightly less than .25, because of the clamping
    wide = baselines["wide_noise"].astype(float) / 255
    assert wide.std() == pytest.approx(0.185**0.5, abs=0.01)  # N(.5, 1) clamped to [0, 1]
    assert ((wide > 0.5) >= (noise > 0.5)).all()  # the same draws
    again = _baselines(images, subjects, others, seed=5)
    assert all((baselines[name] == again[name]).all() for name in baselines)


def test_baseline_images_of_one_subject_and_without_others() -> None:
    baselines = _baselines(_images(0), [4, 4, 4], _images(0, 0), seed=0)
    assert list(baselines) == ["grey", "noise", "wide_noise"]
    with pytest.raises(ValueError, match="others"):
        _baselines(_images(0), [4, 4, 4], _images(0, h=30), seed=0)


def test_baseline_images_do_not_depend_on_the_pieces() -> None:
    images, others = np.concatenate([_images(i % 7) for i in range(50)]), _images(1, 130)
    rows, subjects = np.arange(0, len(images), 2), np.arange(len(images))[::2] % 5
    whole = _baselines(images[rows], subjects, others, seed=5)
    pieces = list(baseline_images(images, subjects, others, 5, rows))
    assert len(pieces) > 1
    assert [i for part, _ in pieces for i in range(part.start, part.stop)] == list(range(len(rows)))
    for name, expected in whole.items():
        np.testing.assert_array_equal(np.concatenate([baselines[name] for _, baselines in pieces]), expected)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=30), st.integers(0, 3))
def test_other_subject_never_meets_itself(subjects: list[int], seed: int) -> None:
    who = np.array(subjects)
    if len(set(subjects)) == 1:
        with pytest.raises(ValueError, match="two subjects"):
            other_subject(who, seed)
        return
    chosen = other_subject(who, seed)
    assert (who[chosen] != who).all()
    if 2 * max(subjects.count(s) for s in subjects) <= len(subjects):
        assert sorted(chosen.tolist()) == list(range(len(subjects)))
    np.testing.assert_array_equal(chosen, other_subject(who, seed))
