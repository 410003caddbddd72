"""RecFace: what it declares, that its training lowers Equation 1, and what may not leak between images or runs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from bench_recface import RecFace, bench_attacks
from bench_recface.network import new_decoder, scale_of
from bench_recface.training import batches, note_statistics
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from bench.api.context import Capabilities, Context
from bench.api.types import Received
from bench.core.errors import ContractError
from bench.stages.contracts import check_state, reconstruct_checked

SIDE = (24, 16)
SPLITS = ("stem", "deep")


class Blurred:
    """Examples whose features are averages of the face on two grids: simple to turn back, and not square."""

    def __init__(self, n: int = 24, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (n, 3, 6, 4))
        self.images = np.repeat(np.repeat(coarse, 4, axis=2), 4, axis=3).astype(np.uint8)
        self.subjects = np.arange(n)
        self.asked: list[int] = []
        self.spoilt = False

    def received(self, rows: NDArray[np.int64]) -> Received:
        self.asked += rows.tolist()
        return Received(features=self.features(torch.from_numpy(self.images[rows]).float() / 255))

    def features(self, images: Tensor) -> dict[str, Tensor]:
        pool = torch.nn.functional.adaptive_avg_pool2d
        maps = {"stem": pool(images, (12, 8)).repeat(1, 2, 1, 1), "deep": pool(images, (3, 2))}
        if self.spoilt:
            maps["deep"] = maps["deep"] * torch.nan
        return maps


def context(n: int = 4, seed: int = 3, **more: Any) -> Context:
    seen = Capabilities.of_attack(RecFace().sees, {}, image_size=SIDE)
    values: dict[str, Any] = {"plugin": "attack recface", "sample_ids": [str(i) for i in range(n)], **more}
    return Context(device=torch.device("cpu"), seed=seed, capabilities=seen, **values)


def small(**params: Any) -> RecFace:
    return RecFace(**({"steps": 60, "batch_size": 8, "channels": 8, "blocks": 0} | params))


def decoded(attack: RecFace, state: dict[str, Tensor], uploads: dict[str, Tensor]) -> Tensor:
    ctx = context(len(next(iter(uploads.values()))), state=state)
    return reconstruct_checked(attack, Received(features=uploads), (3, *SIDE), ctx).images


def error(attack: RecFace, state: dict[str, Tensor], faces: Blurred) -> float:
    """The mean squared error of Equation 1 on faces."""
    found = decoded(attack, state, faces.received(np.arange(8)).features)  # type: ignore[arg-type]
    return float((found - torch.from_numpy(faces.images[:8]).float() / 255).square().mean())


# ---- declarations ----------------------------------------------------------------------------------------------------


def test_it_is_registered() -> None:
    assert bench_attacks() == {"recface": RecFace}


def test_declarations_need_no_torch() -> None:
    code = "import sys, bench_recface; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("pairs", "trains_on", "sees", "words"),
    [
        ("clean", "clean", {"features", "pairs"}, "other people's faces"),
        ("defense", "defense", {"features", "pairs", "defense"}, "adaptive"),
        ("paper-leaky", "evaluated", {"features", "pairs"}, "LEAKAGE"),
    ],
)
def test_pairs_decide_what_it_knows(pairs: Any, trains_on: str, sees: set[str], words: str) -> None:
    attack = RecFace(pairs=pairs)
    assert attack.trains_on == trains_on
    assert attack.sees == sees
    assert words in attack.threat


@pytest.mark.parametrize(
    ("stages", "uploaded", "chosen"),
    [
        ("all", (), ("a", "b", "c")),
        ("first", (), ("a",)),
        ("last", (), ("c",)),
        ("uploaded", ("c", "a"), ("a", "c")),
    ],
)
def test_stages_choose_splits(stages: Any, uploaded: tuple[str, ...], chosen: tuple[str, ...]) -> None:
    assert tuple(RecFace(stages=stages).splits(("a", "b", "c"), uploaded)) == chosen


@pytest.mark.parametrize(
    ("stages", "available", "uploaded", "words"),
    [
        ("uploaded", ("a",), (), "uploads no features"),
        ("uploaded", ("a",), ("b",), "cannot have 'b'"),
        ("all", (), (), "no split point"),
    ],
)
def test_stages_that_cannot_be_had_are_named(stages: Any, available: Any, uploaded: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RecFace(stages=stages).splits(available, uploaded)


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("seconds", -1.0), ("channels", 12), ("pairs", "own")])
def test_parameters_have_bounds(name: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(RecFace).validate_python({name: value})


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_training_lowers_the_error() -> None:
    faces = Blurred()
    before, after = (error(a, dict(a.fit(faces, context())), faces) for a in (small(steps=1), small(steps=150)))
    assert after < 0.3 * before


def test_the_same_seed_gives_the_same_decoder_and_another_one_another() -> None:
    first, again, other = (small(steps=5).fit(Blurred(), context(seed=seed)) for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    small(steps=3).fit(Blurred(), context())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.slow
def test_a_budget_in_seconds_ends_the_training() -> None:
    state = small(steps=1_000_000, seconds=0.5).fit(Blurred(), context())
    assert 1 <= float(state["steps"]) < 1_000_000


def test_every_step_is_told() -> None:
    told: list[float] = []
    small(steps=7).fit(Blurred(), context(on_progress=told.append))
    assert len(told) == 7
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_features_are_asked_for_once() -> None:
    faces = Blurred(n=16)
    small(steps=20).fit(faces, context())
    assert len(faces.asked) <= 2 * 16  # the statistics, and the training


def test_features_that_are_too_many_to_keep_give_the_same_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = small(steps=5).fit(Blurred(), context())
    monkeypatch.setattr("bench_recface.training._CACHE", 0)
    faces = Blurred(n=24)
    asked = small(steps=5).fit(faces, context())
    assert len(faces.asked) == 24 + 5 * 8
    for name in kept:  # convolutions round differently in batches of another size
        torch.testing.assert_close(kept[name], asked[name], atol=1e-5, rtol=1e-4)


def test_a_training_that_diverges_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench_recface.training.F.mse_loss", lambda found, faces: (found - faces).sum() * torch.inf)
    with pytest.raises(
        ContractError, match=r"attack recface: the loss became -?(inf|nan) in step 1; lower learning_rat"
    ):
        small().fit(Blurred(), context())


def test_features_that_are_no_numbers_are_named() -> None:
    faces = Blurred()
    faces.spoilt = True
    with pytest.raises(ContractError, match="attack recface: the features at 'deep' hold NaN"):
        small().fit(faces, context())


def test_nothing_to_learn_from_is_named() -> None:
    with pytest.raises(ContractError, match="no faces to learn from"):
        small().fit(Blurred(n=0), context())


# ---- use -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """A state as it comes back from the cache."""
    state = check_state(small().fit(Blurred(), context()), "attack recface")
    return {name: torch.from_numpy(array.copy()) for name, array in state.items()}


@pytest.mark.slow
def test_an_image_does_not_depend_on_its_batch(trained: dict[str, Tensor]) -> None:
    uploads = Blurred(seed=5).received(np.arange(6)).features
    together = decoded(small(), trained, dict(uploads))
    alone = torch.cat([decoded(small(), trained, {s: m[i : i + 1] for s, m in uploads.items()}) for i in range(6)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert together.shape == (6, 3, *SIDE)
    assert together.min() >= 0
    assert together.max() <= 1


@pytest.mark.slow
def test_strange_uploads_stay_in_range(trained: dict[str, Tensor]) -> None:
    uploads = {s: m * 1e6 for s, m in Blurred().received(np.arange(2)).features.items()}
    found = decoded(small(), trained, uploads)
    assert torch.isfinite(found).all()


def test_features_that_it_was_not_trained_on_are_refused(trained: dict[str, Tensor]) -> None:
    uploads = Blurred().received(np.arange(2)).features
    with pytest.raises(ContractError):
        decoded(small(), trained, {"stem": uploads["stem"]})


def test_use_leaves_the_state_as_it_was(trained: dict[str, Tensor]) -> None:
    before = {name: (value.clone(), value.stride()) for name, value in trained.items()}
    decoded(small(), trained, dict(Blurred().received(np.arange(2)).features))
    for name, (value, stride) in before.items():
        assert torch.equal(trained[name], value)
        assert trained[name].stride() == stride
        assert not trained[name].requires_grad


# ---- the decoder -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "scale"),
    [((112, 96), 0), ((224, 192), 0), ((56, 48), 1), ((28, 24), 2), ((14, 12), 3), ((7, 6), 4), ((1, 1), 7)],
)
def test_a_map_enters_at_the_nearest_scale(shape: tuple[int, int], scale: int) -> None:
    assert scale_of(shape, (112, 96)) == scale


@pytest.mark.parametrize(
    ("size", "maps"),
    [
        ((112, 96), [(5, 7, 6)]),
        ((33, 17), [(2, 33, 17), (3, 17, 9), (4, 1, 1)]),  # odd sides, a map of the image's own size, one position
        ((16, 16), [(3, 8, 8), (2, 8, 8), (4, 5, 5)]),  # two maps at one scale, and one between scales
        ((8, 8), [(3, 20, 20)]),  # a map larger than the image
    ],
)
def test_a_new_decoder_is_the_mean_face_and_every_map_can_change_it(
    size: tuple[int, int], maps: list[tuple[int, int, int]]
) -> None:
    decoder = new_decoder(maps, size, 8, 1, torch.Generator().manual_seed(0))
    decoder.mean_face.fill_(0.25)
    inputs = [torch.rand(2, *shape, generator=torch.Generator().manual_seed(i)) for i, shape in enumerate(maps)]
    assert torch.equal(decoder(inputs), torch.full((2, 3, *size), 0.25))
    last = decoder.out[-1]
    assert isinstance(last, torch.nn.Conv2d)
    with torch.no_grad():
        last.weight.normal_(generator=torch.Generator().manual_seed(1))
    given = [x.requires_grad_() for x in inputs]
    gradients = torch.autograd.grad(decoder(given).square().sum(), given)
    assert all(bool(g.abs().amax() > 0) for g in gradients)


def test_a_channel_that_hardly_varies_is_not_blown_up() -> None:
    maps = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    maps[:, 1] = 2.0
    decoder = new_decoder([(3, 4, 4)], (8, 8), 8, 0, torch.Generator().manual_seed(0))
    note_statistics(decoder, [maps], torch.zeros(8, 3, 8, 8))
    (found,) = decoder.normalised([maps])
    assert found[:, 1].abs().max() < 1e-5
    torch.testing.assert_close(found[:, 0].std(correction=0), torch.tensor(1.0))
    assert decoder.normalised([maps + 1.0])[0].max() <= 50.0


def test_every_face_is_shown_before_any_is_shown_again() -> None:
    drawn = batches(5, 3, torch.Generator().manual_seed(0))
    rows = np.concatenate([next(drawn) for _ in range(5)]).reshape(3, 5)
    assert all(sorted(row) == [0, 1, 2, 3, 4] for row in rows.tolist())


def test_the_estimate_of_the_training_scales_with_its_steps() -> None:
    assert RecFace(steps=1000).fit_seconds() == pytest.approx(50 * RecFace(steps=20).fit_seconds())
