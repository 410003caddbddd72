"""Every metric is compared with an independent implementation or with a case computed by hand."""

from __future__ import annotations

import importlib
import inspect
import math
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import TESTS

import bench.metrics
from bench.metrics import attributes, images, impostors, intervals, recognition

skimage: Any = importlib.import_module("skimage.metrics")


def _images(seed: int, n: int = 3, h: int = 24, w: int = 31) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, h, w), dtype=np.uint8)


@pytest.mark.slow
def test_import_needs_numpy_only() -> None:
    code = (
        "import sys, bench.metrics.recognition; print([m for m in ('torch', 'scipy', 'skimage') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_metric_is_documented() -> None:
    text = (TESTS.parent / "docs" / "design" / "metrics.md").read_text(encoding="utf-8")
    public = {
        name: function
        for module in (attributes, images, impostors, intervals, recognition)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }
    assert len(public) > 20
    assert [name for name in public if f"`{name}`" not in text] == []
    assert all(inspect.getdoc(function) for function in public.values())
    assert public.items() <= vars(bench.metrics).items()


# ---- recognition -----------------------------------------------------------------------------------------------------


def test_cosine_by_hand() -> None:
    got = recognition.cosine([[1, 0], [3, 4], [2, 0], [0, 0]], [[0, 2], [4, 3], [-5, 0], [1, 0]])
    assert got[:3] == pytest.approx([0.0, 24 / 25, -1.0])
    assert math.isnan(got[3])


def test_cosine_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(1, 2\)"):
        recognition.cosine([[1, 0], [0, 1]], [[1, 0]])


def test_verification_hits_needs_both_conditions() -> None:
    # own face kept?    yes   yes    yes   yes   no    no; a score equal to the threshold is not above it
    cos_self = [0.90, 0.90, 0.90, 0.90, 0.10, 0.40]
    cos_cross = [0.80, 0.10, 0.80, 0.10, 0.80, 0.10]
    same = [True, True, False, False, True, False]
    hits = recognition.verification_hits(cos_self, cos_cross, same, 0.4)
    assert hits.tolist() == [True, False, False, True, False, False]


def test_verification_hits_with_one_threshold_per_pair_and_undefined_scores() -> None:
    hits = recognition.verification_hits([0.5, 0.5, np.nan], [0.5, 0.5, 0.1], [1, 1, 0], np.array([0.4, 0.6, 0.4]))
    assert hits.tolist() == [True, False, False]


def test_best_threshold_by_hand() -> None:
    # Impostors .1 .2 .5, genuine .4 .6 .7: one error is the minimum, in (.2, .4) and in (.5, .6); the smaller counts.
    scores = np.array([0.1, 0.2, 0.5, 0.4, 0.6, 0.7])
    same = np.array([False, False, False, True, True, True])
    assert recognition.best_threshold(scores, same) == pytest.approx(0.3)


def test_best_threshold_at_the_ends_and_between_neighbouring_floats() -> None:
    assert recognition.best_threshold(np.array([0.3, 0.5]), np.array([True, True])) < 0.3
    assert recognition.best_threshold(np.array([0.3, 0.5]), np.array([False, False])) == 0.5
    low, high = 0.5, math.nextafter(0.5, 1)
    assert low <= recognition.best_threshold(np.array([low, high]), np.array([False, True])) < high


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=40),
)
def test_best_threshold_is_as_good_as_trying_everything(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([p[0] / 5 for p in pairs])
    same = np.array([p[1] for p in pairs])
    best = max(int(((scores > t) == same).sum()) for t in [-2.0, *scores])
    assert int(((scores > recognition.best_threshold(scores, same)) == same).sum()) == best


def test_ten_fold_accuracy_by_hand() -> None:
    # Fold 0 has low scores and fold 1 high ones; each is decided with the threshold of the other.
    scores = [0.1, 0.3, 0.6, 0.8]
    same = [False, True, False, True]
    result = recognition.ten_fold_accuracy(scores, same, [0, 0, 1, 1])
    assert result.thresholds == {0: pytest.approx(0.7), 1: pytest.approx(0.2)}
    assert result.hits.tolist() == [True, False, False, True]
    assert (result.accuracy, result.n) == (0.5, 4)


def test_ten_fold_accuracy_against_scikit_learn_style_loop() -> None:
    rng = np.random.default_rng(0)
    same = np.tile([True, False], 300)
    scores = rng.normal(np.where(same, 0.6, 0.2), 0.2)
    fold = rng.permutation(np.repeat(np.arange(10), 60))
    result = recognition.ten_fold_accuracy(scores, same, fold)
    right = 0
    for f in range(10):
        train = fold != f
        grid = np.concatenate([[-9.0], np.sort(scores[train])])  # "> lower neighbour" decides like "> midpoint".
        counts = [((scores[train] > t) == same[train]).sum() for t in grid]
        after = grid[int(np.argmax(counts))]
        above = scores[train][scores[train] > after].min()
        middle = (after + above) / 2
        assert result.thresholds[f] == pytest.approx(middle)
        right += ((scores[~train] > middle) == same[~train]).sum()
    assert result.accuracy == right / 600


def test_ten_fold_accuracy_of_tiny_and_missing_folds() -> None:
    alone = recognition.ten_fold_accuracy([0.1, 0.9], [False, True], [3, 3])
    assert (alone.accuracy, dict(alone.thresholds), alone.n) == (None, {}, 2)
    assert recognition.ten_fold_accuracy([], [], []).accuracy is None
    uneven = recognition.ten_fold_accuracy([0.1, 0.9, 0.2], [False, True, False], [0, 0, 7])
    assert set(uneven.thresholds) == {0, 7}
    assert uneven.hits[2]


def test_ten_fold_accuracy_refuses_undefined_scores() -> None:
    with pytest.raises(ValueError, match="1 that are not"):
        recognition.ten_fold_accuracy([0.1, np.nan], [False, True], [0, 1])


def test_threshold_at_fmr_by_hand() -> None:
    scores = np.arange(1, 11) / 10  # .1 to 1.0
    assert recognition.threshold_at_fmr(scores, 0.0) == 1.0
    assert recognition.threshold_at_fmr(scores, 0.1) == 0.9
    assert recognition.threshold_at_fmr(scores, 0.25) == 0.8
    assert recognition.threshold_at_fmr(scores, 0.3) == 0.7
    assert recognition.threshold_at_fmr([0.5, 0.5, 0.5, 0.1], 0.5) == 0.5  # Equal scores cannot be separated.


@given(
    st.lists(st.integers(-20, 20), min_size=1, max_size=60),
    st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.29, 0.5, 0.9]),
)
def test_threshold_at_fmr_is_the_smallest(levels: list[int], fmr: float) -> None:
    scores = np.array(levels) / 20
    kappa = recognition.threshold_at_fmr(scores, fmr)
    share = recognition.false_match_rate(scores, kappa)
    assert share is not None
    assert share <= fmr
    assert np.mean(scores > math.nextafter(kappa, -2)) > fmr


@pytest.mark.parametrize(("scores", "fmr"), [([], 0.1), ([0.1], 1.0), ([0.1], -0.1), ([0.1], math.nan)])
def test_threshold_at_fmr_refuses(scores: list[float], fmr: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        recognition.threshold_at_fmr(scores, fmr)


def test_error_rates_by_hand() -> None:
    assert recognition.false_match_rate([0.1, 0.4, 0.5], 0.4) == pytest.approx(1 / 3)
    assert recognition.false_non_match_rate([0.1, 0.4, 0.5], 0.4) == pytest.approx(2 / 3)
    assert recognition.false_match_rate([], 0.4) is None
    assert recognition.false_non_match_rate([], 0.4) is None


def test_pair_scores_take_every_pair_once() -> None:
    rng = np.random.default_rng(1)
    subjects = rng.integers(0, 30, 150)  # more rows than one piece
    vectors = rng.normal(size=(150, 8)).astype(np.float32)
    expected: dict[bool, list[float]] = {True: [], False: []}
    for i in range(150):
        for j in range(i + 1, 150):
            u, v = vectors[i].astype(float), vectors[j].astype(float)
            expected[bool(subjects[i] == subjects[j])].append(u @ v / math.sqrt((u @ u) * (v @ v)))
    np.testing.assert_allclose(recognition.genuine_scores(vectors, subjects), expected[True], atol=1e-12)
    np.testing.assert_allclose(recognition.impostor_scores(vectors, subjects), expected[False], atol=1e-12)


def test_pair_scores_of_nothing() -> None:
    assert recognition.impostor_scores(np.empty((0, 4)), np.empty(0)).shape == (0,)
    with pytest.raises(ValueError, match="subjects"):
        recognition.genuine_scores(np.zeros((3, 4)), [1, 2])


# ---- attacks: reconstruction and attributes --------------------------------------------------------------------------


def test_reconstruction_success_by_hand() -> None:
    cos = [0.1, 0.2, 0.21, 0.9, np.nan]  # A score equal to the threshold is not above it.
    assert recognition.reconstruction_success(cos, 0.2).tolist() == [False, False, True, True, False]
    assert recognition.reconstruction_success(cos, [0.0, 0.1, 0.5, 0.9, 0.0]).tolist() == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_identification_ranks_by_hand() -> None:
    # The cosines of probe (1, 0) to the gallery are 1, .8, 0, -1; lengths do not matter.
    gallery = [[5, 0], [8, 6], [0, 2], [-1, 0]]
    ranks = recognition.identification_ranks([[1, 0]] * 4, gallery, [0, 1, 2, 3])
    assert ranks.tolist() == [1, 2, 3, 4]
    assert ranks.dtype == np.int64
    assert recognition.identification_ranks(np.empty((0, 2)), gallery, np.empty(0, int)).tolist() == []


def test_identification_ranks_share_ties() -> None:
    twice = [[1, 0], [2, 0], [0, 1]]  # A second copy of the own image does no harm.
    assert recognition.identification_ranks([[3, 0]], twice, [1]).tolist() == [1]
    blind = np.tile([[1.0, 1.0]], (9, 1))  # equally similar to every image: a rank in the middle, not 1
    assert recognition.identification_ranks([[1, 0]] * 2, blind, [0, 8]).tolist() == [5, 5]


@pytest.mark.parametrize("k", [2, 5])
def test_a_tie_counts_its_expected_share_of_rank_1(k: int) -> None:
    gallery = [[1, 0]] * k + [[0, 1]] * 3  # k equal images of different people, and three others
    found = recognition.identified([[1, 0], [0, 1]], gallery, [0, k])
    assert found.first.tolist() == [1 / k, 1 / 3]
    alone = recognition.identified([[1, 0]] * 3, [[5, 0], [8, 6], [0, 2]], [0, 1, 2])
    assert (alone.first.tolist(), alone.ranks.tolist()) == ([1, 0, 0], [1, 2, 3]), "no tie changes nothing"


def test_a_probe_that_is_equal_to_all_is_at_the_chance_of_rank_1() -> None:
    blind, subjects = np.tile([[1.0, 1.0]], (9, 1)), ["a", "a", *"bcdefgh"]
    assert recognition.identified([[1, 0]], blind, [4]).first.tolist() == [1 / 9]
    assert recognition.identified([[1, 0]], blind, [0], subjects).first.tolist() == [2 / 9]  # two images of the person
    hidden = np.arange(9)[None, :] == 0
    assert recognition.identified([[1, 0]], blind, [0], subjects, hidden).first.tolist() == [1 / 8]


def test_identification_ranks_of_subjects() -> None:
    # The own image (third) scores 0, another one of the same person (second) .8, and one of another person (first) 1.
    gallery, subjects = [[5, 0], [8, 6], [0, 2]], ["a", "b", "b"]
    assert recognition.identification_ranks([[1, 0]], gallery, [2]).tolist() == [3]
    assert recognition.identification_ranks([[1, 0]], gallery, [2], subjects).tolist() == [2]
    assert recognition.identification_ranks([[1, 0]], gallery, [2], ["b", "b", "b"]).tolist() == [1]


_vector = st.lists(st.integers(-2, 2), min_size=3, max_size=3).filter(any)


@pytest.mark.slow
@given(st.lists(_vector, min_size=1, max_size=5), st.lists(_vector, min_size=1, max_size=8), st.randoms())
def test_identification_ranks_equal_exact_arithmetic(
    probes: list[list[int]], gallery: list[list[int]], random: Any
) -> None:
    own = [random.randrange(len(gallery)) for _ in probes]
    subjects = [random.randrange(3) for _ in gallery]

    def score(probe: list[int], image: list[int]) -> Fraction:  # has the order of the cosine, without rounding
        dot = sum(p * g for p, g in zip(probe, image, strict=True))
        return Fraction(dot * abs(dot), sum(g * g for g in image))

    for who in (range(len(gallery)), subjects):
        expected = []
        for probe, mine in zip(probes, own, strict=True):
            best = max(score(probe, g) for g, s in zip(gallery, who, strict=True) if s == who[mine])
            rivals = [score(probe, g) for g, s in zip(gallery, who, strict=True) if s != who[mine]]
            expected.append(1 + sum(r > best for r in rivals) + sum(r == best for r in rivals) // 2)
        found = recognition.identification_ranks(probes, gallery, own, None if isinstance(who, range) else who)
        assert found.tolist() == expected


def test_identification_ranks_of_more_probes_than_one_piece() -> None:
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(200, 16))
    probes = gallery + rng.normal(size=gallery.shape)
    scores = np.array([recognition.cosine(np.broadcast_to(p, gallery.shape), gallery) for p in probes])
    expected = 1 + (scores > np.diag(scores)[:, None]).sum(axis=1)
    assert len(set(expected.tolist())) > 5
    np.testing.assert_array_equal(recognition.identification_ranks(probes, gallery, np.arange(200)), expected)


@pytest.mark.parametrize(
    ("probes", "gallery", "own", "subjects", "message"),
    [
        ([1, 0], [[1, 0]], [0], None, "vectors"),
        ([[1, 0]], [[1, 0, 0]], [0], None, "and"),
        ([[1, 0]], [[1, 0]], [0, 0], None, "and"),
        ([[1, 0]], [[1, 0]], [1], None, r"\[0, 1\), got 1 to 1"),
        ([[1, 0]], [[1, 0]], [-1], None, "indices"),
        ([[1, 0]], [[1, 0]], [0.0], None, "indices"),
        ([[1, 0]], [[1, 0]], [0], [1, 2], "one subject per"),
        ([[0, 0]], [[1, 0]], [0], None, "other than zero"),
        ([[1, 0]], [[np.nan, 0]], [0], None, "finite"),
    ],
)
def test_identification_ranks_refuse(probes: Any, gallery: Any, own: Any, subjects: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recognition.identification_ranks(probes, gallery, own, subjects)


def test_attribute_similarity_by_hand_and_by_scipy() -> None:
    from scipy.spatial.distance import cosine

    assert attributes.attribute_similarity([[0.6, 0.8], [1, 0]], [[0.8, 0.6], [0, 1]]) == pytest.approx([0.96, 0.0])
    rng = np.random.default_rng(0)
    a, b = rng.dirichlet(np.ones(7), 20), rng.dirichlet(np.ones(7), 20)
    expected = [1 - cosine(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(attributes.attribute_similarity(a, b), expected, atol=1e-12)


def test_age_difference_by_hand() -> None:
    assert attributes.age_difference([30, 41.5], [55, 40]).tolist() == [25, 1.5]
    for a, b in [([1, 2], [1]), ([[1.0]], [[1.0]])]:
        with pytest.raises(ValueError, match="one shape"):
            attributes.age_difference(a, b)


def test_constant_predictor_is_the_best_constant() -> None:
    best = attributes.constant_predictor([[1, 0, 0], [0, 0.5, 0.5], [0, 0, 0]])
    assert best == pytest.approx([math.sqrt(0.5), 0.5, 0.5])  # the second vector counts as much as the first
    assert float(attributes.constant_predictor([20, 30, 70])) == 30.0
    assert np.isnan(attributes.constant_predictor([[1, 0], [-1, 0]])).all()  # no direction is best
    rng = np.random.default_rng(0)
    vectors, ages = rng.dirichlet(np.ones(5), 40), rng.gamma(3, 10, 41)
    similarity, years = (attributes.constant_baseline(v, v).mean() for v in (vectors, ages))
    for _ in range(50):
        others = attributes.attribute_similarity(np.tile(rng.dirichlet(np.ones(5)), (40, 1)), vectors)
        assert others.mean() < similarity
        assert attributes.age_difference(np.full(41, rng.uniform(0, 90)), ages).mean() > years
    for nothing in ([], np.empty((0, 3)), 3.0):
        with pytest.raises(ValueError, match="calibration"):
            attributes.constant_predictor(nothing)


def test_constant_baseline_by_hand() -> None:
    # The constant is (.5, .5): its cosine with a certain class is 1 / sqrt(2), with itself 1.
    baseline = attributes.constant_baseline([[1, 0], [0.5, 0.5], [0.6, 0.8]], [[1, 0], [0, 1]])
    assert baseline == pytest.approx([math.sqrt(0.5), 1.0, 0.7 / math.sqrt(0.5)])
    assert np.isnan(attributes.constant_baseline([[1, 0]], [[0, 0]])).all()
    assert attributes.constant_baseline([25, 60], [20, 40]).tolist() == [5, 30]
    for classes, expected in [(7, 0.378), (6, 0.408), (2, 0.707)]:  # one certain class against equal probabilities
        certain, even = np.eye(classes)[:1], np.full((1, classes), 1 / classes)
        assert attributes.constant_baseline(certain, even)[0] == pytest.approx(expected, abs=5e-4)
    with pytest.raises(ValueError, match=r"originals \(n, \*\(3,\)\), got \(1, 2\)"):
        attributes.constant_baseline([[1, 0]], [[1, 0, 0]])


def test_permuted_baseline_by_hand() -> None:
    # Samples 0 and 1 show one person, so that the answers on them are never given to each other.
    found = attributes.permuted_baseline([20, 30, 50, 80], [25, 35, 45, 60], [7, 7, 8, 9])
    assert found.tolist() == [(25 + 55) / 2, (15 + 45) / 2, (25 + 15 + 35) / 3, (40 + 30 + 10) / 3]
    found = attributes.permuted_baseline([[2, 0], [0, 1], [3, 4]], [[1, 0], [1, 0], [0, 5]], ["a", "b", "c"])
    assert found == pytest.approx([(0 + 0.6) / 2, (1 + 0.6) / 2, (0 + 1) / 2])


def test_permuted_baseline_is_the_expectation_of_permutations() -> None:
    rng = np.random.default_rng(0)
    received, known = rng.dirichlet(np.ones(4), 130), rng.dirichlet(np.ones(4), 130)
    exact = attributes.permuted_baseline(received, known, np.arange(130))
    shifts = [attributes.attribute_similarity(np.roll(received, k, axis=0), known) for k in range(1, 130)]
    np.testing.assert_allclose(exact, np.mean(shifts, axis=0), atol=1e-12)


def test_permuted_baseline_where_it_is_undefined() -> None:
    assert np.isnan(attributes.permuted_baseline([20, 30], [25, 35], [7, 7])).all()  # nobody else
    found = attributes.permuted_baseline([[0, 0], [0, 1], [1, 0]], [[1, 0], [1, 0], [0, 0]], [1, 2, 3])
    assert found[:2].tolist() == [0.5, 1.0]  # the answer (0, 0) has no direction
    assert np.isnan(found[2])
    for received, known, people in (([1, 2], [1], [0, 1]), ([1, 2], [1, 2], [0]), (np.ones((1, 1, 1)),) * 3):
        with pytest.raises(ValueError, match="one shape and subjects"):
            attributes.permuted_baseline(received, known, people)


def test_attribute_distance_by_hand() -> None:
    cosine = attributes.attribute_distance(
        "cosine", [[1, 0], [1, 0], [1, 0], [1, 0]], [[0.6, 0.8], [2, 0], [0, 1], [-1, 0]]
    )
    assert cosine == pytest.approx([0.4, 0.0, 1.0, 1.0])
    years = attributes.attribute_distance("years", [30, 20, 0, 10], [55, 20, 150, 110])
    assert years == pytest.approx([0.25, 0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="'cosine' or 'years', got 'days'"):
        attributes.attribute_distance("days", [1], [2])  # type: ignore[arg-type]


# The squares of smaller numbers underflow. A softmax in float32 does not distinguish such a probability from 0.
LEAST = 1e-38


@given(
    st.lists(
        st.lists(st.floats(0, 1).map(lambda p: p if p > LEAST else 0.0), min_size=4, max_size=4).filter(any),
        min_size=2,
        max_size=2,
    )
)
def test_attribute_distance_of_probabilities_stays_in_its_range(pair: list[list[float]]) -> None:
    (there,) = attributes.attribute_distance("cosine", [pair[0]], [pair[1]])
    (back,) = attributes.attribute_distance("cosine", [pair[1]], [pair[0]])
    assert 0 <= there <= 1
    assert there == back
    assert attributes.attribute_distance("cosine", [pair[0]], [pair[0]])[0] == pytest.approx(0, abs=1e-9)


def test_utility_privacy_by_hand() -> None:
    # Equation 9 with kappa = .5 and two models m_i. First sample: recognised, distances .2 and .4, so 1 + .3.
    # Second: not recognised, 1 and .5, so 0 + .75. Third: recognised, both 0, so 1. Fourth: .5 is not above .5, so .2.
    cos = [0.6, 0.2, 0.9, 0.5]
    dist = [[0.2, 0.4], [1.0, 0.5], [0.0, 0.0], [0.3, 0.1]]
    each = attributes.utility_privacy(cos, dist, 0.5)
    assert each == pytest.approx([1.3, 0.75, 1.0, 0.2])
    assert each.mean() == pytest.approx(0.8125)
    # The form with LPIPS has one distance; averaging several distances beforehand gives the same result.
    np.testing.assert_allclose(attributes.utility_privacy(cos, np.mean(dist, axis=1), 0.5), each)
    # With kappa = .95 no face is recognised, and only the privacy term is left.
    assert attributes.utility_privacy(cos, dist, 0.95).mean() == pytest.approx((0.3 + 0.75 + 0 + 0.2) / 4)


def test_utility_privacy_from_attributes_by_hand() -> None:
    # Emotions (1, 0) and (.6, .8) differ by .4, ages 30 and 50 by .2, their mean is .3, and the face is recognised.
    emotion = attributes.attribute_distance("cosine", [[1, 0]], [[0.6, 0.8]])
    age = attributes.attribute_distance("years", [30], [50])
    assert attributes.utility_privacy([0.7], np.stack([emotion, age], axis=1), 0.3) == pytest.approx([1.3])


def test_utility_privacy_of_undefined_values_and_shapes() -> None:
    undefined = attributes.utility_privacy([np.nan, 0.9], [0.4, np.nan], 0.5)
    assert undefined[0] == 0.4  # An undefined cosine is not above the threshold.
    assert math.isnan(undefined[1])
    for cos, dist in [([0.5], [0.1, 0.2]), ([[0.5]], [0.1]), ([0.5], 0.1), ([0.5], [[[0.1]]])]:
        with pytest.raises(ValueError, match="expected cosines"):
            attributes.utility_privacy(cos, dist, 0.5)
    with pytest.raises(ValueError, match="at least one model"):
        attributes.utility_privacy([0.5], np.empty((1, 0)), 0.5)


# ---- images ----------------------------------------------------------------------------------------------------------


def test_ssim_equals_scikit_image() -> None:
    a = _images(0, 70)
    b = _images(1, 70)
    smooth = np.linspace(0, 255, 31).astype(np.uint8)
    a[0], b[0] = smooth, smooth[::-1]
    a[1], b[1] = 128, 128
    a[2], b[2] = 0, 255
    b[3] = np.clip(a[3].astype(int) + 9, 0, 255)
    expected = [
        skimage.structural_similarity(
            x / 255,
            y / 255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=0,
            data_range=1,
        )
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(images.ssim(a, b), expected, atol=1e-9)
    np.testing.assert_allclose(images.ssim(a, a), 1.0)


def test_ssim_of_constant_images_by_hand() -> None:
    # Without variance the contrast term is 1, and SSIM is (2 xy + C1) / (x^2 + y^2 + C1).
    a, b = np.full((1, 3, 12, 12), 51, np.uint8), np.full((1, 3, 12, 12), 153, np.uint8)
    assert images.ssim(a, b)[0] == pytest.approx((2 * 0.2 * 0.6 + 1e-4) / (0.04 + 0.36 + 1e-4))


def test_psnr_by_hand_and_by_scikit_image() -> None:
    a, b = _images(2), _images(3)
    b[0] = a[0]
    b[1] = np.where(a[1] >= 10, a[1] - 10, a[1] + 10)
    got = images.psnr(a, b)
    assert np.isinf(got[0])
    assert got[1] == pytest.approx(20 * math.log10(25.5))
    assert got[2] == pytest.approx(skimage.peak_signal_noise_ratio(a[2], b[2], data_range=255))


@pytest.mark.parametrize(("h", "w"), [(16, 16), (13, 17), (112, 112)])
def test_the_squares_of_psnr_are_summed_exactly(h: int, w: int) -> None:
    a, b = _images(4, 11, h=h, w=w), _images(5, 11, h=h, w=w)
    a[0], b[0] = 0, 255
    error = ((a.astype(np.int64) - b) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_array_equal(images.psnr(a, b), 10 * np.log10(255**2 * 3 * h * w / error))


@pytest.mark.parametrize("side", [11, 26, 27, 59])
def test_ssim_of_sides_around_a_block_of_windows(side: int) -> None:
    a, b = _images(6, 2, h=side, w=40), _images(7, 2, h=side, w=40)
    wanted = [
        skimage.structural_similarity(
            x / 255,
            y / 255,
            gaussian_weights=True,
            use_sample_covariance=False,
            channel_axis=0,
            data_range=1,
        )
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(images.ssim(a, b), wanted, atol=1e-9)


@pytest.mark.parametrize("metric", [images.ssim, images.psnr])
def test_image_metrics_refuse_floats_and_other_shapes(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match="uint8"):
        metric(_images(0) / 255, _images(0))
    with pytest.raises(ValueError, match="one shape"):
        metric(_images(0), _images(0, n=1))


def test_ssim_refuses_small_images() -> None:
    with pytest.raises(ValueError, match="10x40"):
        images.ssim(_images(0, h=10, w=40), _images(1, h=10, w=40))


# ---- separation and thresholds ---------------------------------------------------------------------------------------


def test_separation_by_hand() -> None:
    assert recognition.separation([0.9, 0.8], [0.1, 0.2, 0.3]) == 1
    assert recognition.separation([0.1], [0.2, 0.3]) == 0
    assert recognition.separation([0.2, 0.5], [0.2, 0.4]) == pytest.approx((0.5 + 0 + 1 + 1) / 4)
    with pytest.raises(ValueError, match="got 0 and 1"):
        recognition.separation([], [0.1])


@pytest.mark.slow
@given(
    st.lists(st.sampled_from(np.linspace(-1, 1, 9)), min_size=1),
    st.lists(st.sampled_from(np.linspace(-1, 1, 9)), min_size=1),
)
def test_balanced_threshold_is_the_best_of_all(genuine: list[float], impostor: list[float]) -> None:
    high, low = np.array(genuine), np.array(impostor)

    def balanced(kappa: float) -> float:
        return (high > kappa).mean() + (low <= kappa).mean()

    best = max(balanced(k) for k in np.linspace(-1.1, 1.1, 89))
    assert balanced(recognition.balanced_threshold(genuine, impostor)) == pytest.approx(best)


# ---- uncertainty -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "n", "level"), [(0, 10, 0.95), (7, 10, 0.95), (104, 104, 0.95), (3, 1000, 0.99)])
def test_wilson_interval_equals_scipy(k: int, n: int, level: float) -> None:
    from scipy.stats import binomtest

    expected = binomtest(k, n).proportion_ci(level, method="wilson")
    assert intervals.wilson_interval(k, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval_at_the_ends() -> None:
    assert intervals.wilson_interval(0, 0) == (0.0, 1.0)
    assert intervals.wilson_interval(0, 5)[0] == 0.0
    assert intervals.wilson_interval(5, 5)[1] == 1.0
    for k, n, level in [(6, 5, 0.95), (-1, 5, 0.95), (1, 5, 1.0)]:
        with pytest.raises(ValueError, match="expected"):
            intervals.wilson_interval(k, n, level)


def test_bootstrap_interval_of_independent_samples_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    found = intervals.bootstrap_interval(values, np.arange(400), np.mean, seed=1)
    half = 1.96 * values.std() / 20
    assert found == pytest.approx((values.mean() - half, values.mean() + half), abs=0.25 * half)


def test_bootstrap_interval_respects_clusters() -> None:
    # Ten copies of 40 values carry no more information than 40 values: the interval must not shrink by sqrt(10).
    values = np.random.default_rng(0).normal(size=40)
    plain = intervals.bootstrap_interval(values, np.arange(40), np.mean, seed=1)
    copied = intervals.bootstrap_interval(np.repeat(values, 10), np.repeat(np.arange(40), 10), np.mean, seed=1)
    assert copied == pytest.approx(plain)


def test_bootstrap_interval_of_tables_and_of_too_little() -> None:
    table = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
    ratio = intervals.bootstrap_interval(table, ["a", "b", "c"], lambda t: float(t[:, 1].sum() / t[:, 0].sum()), seed=0)
    assert ratio == pytest.approx((2.0, 2.0))
    assert intervals.bootstrap_interval(table, ["a", "a", "a"], np.mean, seed=0) is None
    assert intervals.bootstrap_interval(table, ["a", "b", "c"], lambda t: math.nan, seed=0) is None
    with pytest.raises(ValueError, match="one cluster per value"):
        intervals.bootstrap_interval(table, ["a"], np.mean, seed=0)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_bootstrap_interval_repeats(seed: int) -> None:
    values, clusters = np.arange(12.0), np.arange(12) // 3
    first = intervals.bootstrap_interval(values, clusters, np.mean, seed, draws=50)
    assert first == intervals.bootstrap_interval(values, clusters, np.mean, seed, draws=50)
    assert first is not None
    assert 0 <= first[0] <= first[1] <= 11
