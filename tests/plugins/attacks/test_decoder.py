"""Decoders of pictures and of embeddings: they succeed where they must, and make the mean face of what shows none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bench_decoder import Decoder, EmbeddingInversion, bench_attacks
from bench_translation.losses import PictureLoss
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from bench import ContractError, DataError, Received
from bench.api.context import Capabilities, Context
from bench.stages.contracts import check_state, reconstruct_checked

SIDE = 24
SMALL: dict[str, Any] = {"steps": 40, "batch_size": 8, "channels": 8, "network": "none", "faces": 64}
Protect = Callable[[Tensor], Tensor]


def faces(n: int = 64, seed: int = 0) -> Tensor:
    """Smooth 8-bit pictures of two numbers each, mixed from few patterns, so that little is to be learnt."""
    patterns = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(99))
    shares = torch.rand(n, 4, generator=torch.Generator().manual_seed(seed)).softmax(1)
    coarse = torch.einsum("nk,kchw->nchw", shares * 3 - 0.5, patterns).clamp(0, 1)
    images = F.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear", align_corners=True)
    return (images * 255).round() / 255


def permuted(images: Tensor) -> Tensor:
    cut = images.reshape(-1, 3, 3, 8, 3, 8).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    mixed = cut[:, torch.randperm(9, generator=torch.Generator().manual_seed(4))]
    return mixed.reshape(-1, 3, 3, 3, 8, 8).permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, SIDE, SIDE)


def blurred(images: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(images, (3, 3, 3, 3), mode="reflect"), 7, 1)


def nothing(images: Tensor) -> Tensor:
    """Pictures that do not depend on the faces."""
    return faces(len(images), seed=int(images.sum() * 1000) % 1000)


class Toy(nn.Module):
    """An embedding that is a linear function of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3 * 36, 16)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            self.last.weight.copy_(torch.randn(self.last.weight.shape, generator=generator) * 0.1)
            self.last.bias.zero_()
        self.requires_grad_(False)

    def features(self, images: Tensor, splits: Sequence[str]) -> list[Tensor]:
        return [F.adaptive_avg_pool2d(images, 6) - 0.5 for _ in splits]

    def from_features(self, maps: Tensor, split: str) -> Tensor:
        embedding: Tensor = self.last(maps.flatten(1))
        return embedding


class Learning:
    """Examples: faces, two of each person, and their uploads after a defense."""

    def __init__(self, protect: Protect = lambda x: x, n: int = 64, toy: Toy | None = None) -> None:
        self.tensor = faces(n)
        self.images = (self.tensor * 255).round().byte().numpy()
        self.subjects = np.arange(n) // 2
        self.attributes: dict[str, Any] = {}
        self.uploads, self.toy = protect(self.tensor), toy

    def received(self, rows: NDArray[np.int64], upload: int = 0) -> Received:
        return upload_of(self.uploads[torch.from_numpy(rows)], self.toy)


def upload_of(images: Tensor, toy: Toy | None = None) -> Received:
    if toy is None:
        return Received(images=images)
    return Received(features={"deep": toy.features(images, ["deep"])[0]})


def context(n: int = 6, seed: int = 3, toy: Toy | None = None, **more: Any) -> Context:
    models: dict[str, Any] = {"toy": (toy, ("deep",))} if toy else {}
    seen = Capabilities.of_attack(EmbeddingInversion().sees if toy else Decoder().sees, models, image_size=(SIDE, SIDE))
    values: dict[str, Any] = {"plugin": "attack x", "sample_ids": [str(i) for i in range(n)], **more}
    return Context(device=torch.device("cpu"), seed=seed, capabilities=seen, **values)


def learnt(attack: Decoder | EmbeddingInversion, examples: Learning, seed: int = 3) -> dict[str, Tensor]:
    """The state as it comes back from the cache."""
    state = check_state(attack.fit(examples, context(seed=seed, toy=examples.toy)), "attack x")
    return {name: torch.from_numpy(array.copy()) for name, array in state.items()}


def made(
    attack: Decoder | EmbeddingInversion, state: dict[str, Tensor], upload: Received, n: int, **more: Any
) -> Tensor:
    return reconstruct_checked(attack, upload, (3, SIDE, SIDE), context(n, state=state, **more)).images


def share_of_mean_face(found: Tensor, wanted: Tensor) -> float:
    """The error of made pictures as a share of that of the mean face."""
    return float((found - wanted).square().mean() / (wanted.mean(0) - wanted).square().mean())


# ---- declarations ----------------------------------------------------------------------------------------------------


def test_registration_without_torch() -> None:
    code = "import sys, bench_decoder; bench_decoder.Decoder(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert bench_attacks() == {"decoder": Decoder, "embedding-inversion": EmbeddingInversion}


@pytest.mark.parametrize(
    ("attack", "trains_on", "sees", "words"),
    [
        (Decoder(), "defense", {"images", "pairs", "defense"}, "adaptive"),
        (Decoder(pairs="clean"), "clean", {"images", "pairs"}, "does not know the defense"),
        (EmbeddingInversion(), "clean", {"features", "full_model", "pairs"}, "insider"),
        (EmbeddingInversion(pairs="defense"), "defense", {"features", "full_model", "pairs", "defense"}, "insider"),
    ],
)
def test_what_they_know(attack: Any, trains_on: str, sees: set[str], words: str) -> None:
    assert (attack.outputs, attack.trains_on, attack.sees) == ("images", trains_on, sees)
    assert words in attack.threat


def test_the_budget_is_faces_and_steps() -> None:
    assert Decoder(faces=100, steps=7).budget() == {"faces": 100, "steps": 7}
    assert EmbeddingInversion(faces=400, steps=9).budget() == {"faces": 400, "steps": 9}


def test_the_public_network_counts_as_a_part_of_the_attack() -> None:
    assert Decoder().fingerprint() != Decoder(network="zoo-mobileface").fingerprint()
    assert Decoder().libraries == ("bench_zoo",)
    assert (Decoder(network="none").fingerprint(), Decoder(network="none").libraries) == (None, ())


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("faces", 1), ("channels", 12), ("pairs", "own")])
def test_parameters_have_bounds(name: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Decoder).validate_python({name: value})


def test_a_network_that_is_not_installed_is_refused() -> None:
    with pytest.raises(ValueError, match="network: no model 'vgg' is installed"):
        EmbeddingInversion(network="vgg")


def test_an_embedding_comes_from_the_deepest_split() -> None:
    assert EmbeddingInversion().splits(("a", "b"), ()) == ("b",)
    with pytest.raises(ValueError, match="split points"):
        EmbeddingInversion().splits((), ())


# ---- self-check ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("protect", "most"), [(permuted, 0.02), (blurred, 0.1), (lambda x: x, 0.001)])
def test_the_decoder_restores_faces_of_other_people(protect: Protect, most: float) -> None:
    attack, new = Decoder(**SMALL), faces(16, seed=7)
    found = made(attack, learnt(attack, Learning(protect)), upload_of(protect(new)), 16)
    assert share_of_mean_face(found, new) < most


def test_clean_pairs_do_not_undo_a_permutation() -> None:
    attack, new = Decoder(**SMALL, pairs="clean"), faces(16, seed=7)
    state = learnt(attack, Learning())
    assert share_of_mean_face(made(attack, state, upload_of(permuted(new)), 16), new) > 0.5


def test_clean_pairs_do_restore_unprotected_faces() -> None:
    attack, new = Decoder(**SMALL, pairs="clean"), faces(16, seed=7)
    assert share_of_mean_face(made(attack, learnt(attack, Learning()), upload_of(new), 16), new) < 0.2


def test_what_shows_nothing_of_the_face_gives_no_face() -> None:
    attack, new = Decoder(**SMALL), faces(16, seed=7)
    found = made(attack, learnt(attack, Learning(nothing)), upload_of(nothing(new)), 16)
    assert share_of_mean_face(found, new) > 0.9


def test_an_embedding_becomes_a_face_and_a_foreign_embedding_does_not() -> None:
    toy, new = Toy(), faces(16, seed=7)
    attack = EmbeddingInversion(**{**SMALL, "steps": 120, "learning_rate": 0.01})
    state = learnt(attack, Learning(toy=toy))
    found = made(attack, state, upload_of(new, toy), 16, toy=toy)
    assert share_of_mean_face(found, new) < 0.6
    assert share_of_mean_face(made(attack, state, upload_of(nothing(new), toy), 16, toy=toy), new) > 0.9


# ---- properties ------------------------------------------------------------------------------------------------------

FEW: dict[str, Any] = {**SMALL, "steps": 3}


def test_the_same_seed_gives_the_same_decoder_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first, again, other = (learnt(Decoder(**FEW), Learning(blurred), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_an_image_does_not_depend_on_its_batch() -> None:
    attack, uploads = Decoder(**FEW), permuted(faces(6, seed=5))
    state = learnt(attack, Learning(permuted))
    together = made(attack, state, upload_of(uploads), 6)
    alone = torch.cat([made(attack, state, upload_of(uploads[i : i + 1]), 1) for i in range(6)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_the_public_network_is_compared_beside_pixels() -> None:
    wanted, found = faces(2), faces(2, seed=1)
    pixels, both = (PictureLoss.of_network(name, context())(found, wanted) for name in ("none", "zoo-mobileface"))
    torch.testing.assert_close(pixels, 20 * (found - wanted).square().mean((1, 2, 3)))
    assert (both > pixels + 0.01).all()


def test_uploads_without_images_are_named() -> None:
    examples = Learning()
    examples.received = lambda rows, upload=0: Received()  # type: ignore[method-assign]
    with pytest.raises(ContractError, match="attack x: works on images, and received none"):
        Decoder(**FEW).fit(examples, context())


def test_uploads_of_another_size_are_named() -> None:
    with pytest.raises(ContractError, match=r"images of the size of the faces, found \(12, 12\) and \(24, 24\)"):
        Decoder(**FEW).fit(Learning(lambda x: x[..., :12, :12]), context())


def test_faces_of_one_person_are_too_few() -> None:
    with pytest.raises(DataError, match="at least two people, found 1"):
        Decoder(**FEW).fit(Learning(n=2), context())


def test_features_that_are_no_numbers_are_named() -> None:
    toy = Toy()
    with pytest.raises(ContractError, match="attack x: the received features at deep hold values that are NaN"):
        EmbeddingInversion(**FEW).fit(Learning(lambda x: x * torch.nan, toy=toy), context(toy=toy))
