"""Attacks on representations: they read what can be read, of tensors of any shapes, and are at chance on noise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bench_linear.regression import ridge
from bench_readers import (
    RepresentationDecoder,
    RepresentationLinked,
    RepresentationProbe,
    RepresentationRecogniser,
    bench_attacks,
)
from bench_readers.linear import MapPicture
from bench_readers.reading import LONGEST, Reading, directions, features, packed, shapes_of
from bench_readers.recognising import ReadingRecogniser
from learner_examples import SIDE, Pictures, Recogniser, cosines, recogniser_context
from numpy.typing import NDArray
from torch import Tensor

from bench import Attack, ContractError, Received
from bench.testing import check_state, embed_checked, estimate_checked, link_checked, reconstruct_checked

Send = Callable[[Tensor], dict[str, Tensor]]
DECODER: dict[str, Any] = {"steps": 8, "batch_size": 8, "channels": 8, "network": "none"}
RECOGNISER: dict[str, Any] = {"steps": 16, "batch": 32}
NAMES = ("cold", "warm")


class Sent(Pictures):
    """Pictures of people, of whom a representation is sent. The tone of half of the people is warm: more red than
    blue."""

    def __init__(self, send: Send, people: int = 60, seed: int = 0) -> None:
        super().__init__(people=people, seed=seed)
        warm = (np.random.default_rng(seed).random(people) < 0.5).repeat(2)
        self.images[warm, 0] = 64 + self.images[warm, 0] // 4 * 3
        self.images[~warm, 2] = 64 + self.images[~warm, 2] // 4 * 3
        self.representation = send(self.clean(slice(None)))
        self.attributes = {"tone": np.array(NAMES)[warm.astype(int)], "age": np.where(warm, 60.0, 40.0)}

    def received(self, rows: NDArray[np.int64], upload: int = 0) -> Received:
        chosen = torch.from_numpy(np.asarray(rows))
        return Received(representation={name: values[chosen] for name, values in self.representation.items()})

    @property
    def all(self) -> Received:
        return Received(representation=self.representation)


# ---- what is sent ----------------------------------------------------------------------------------------------------


def matrix(rows: int, columns: int, seed: int = 5) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) / rows**0.5


def small_maps(images: Tensor) -> dict[str, Tensor]:
    """A quarter of the size, with mixed colours."""
    return {"maps": torch.einsum("nchw,dc->ndhw", F.avg_pool2d(images, 2), matrix(4, 3))}


def vectors(images: Tensor) -> dict[str, Tensor]:
    return {"code": F.avg_pool2d(images, 4).flatten(1) @ matrix(48, 48)}


def long_vectors(images: Tensor) -> dict[str, Tensor]:
    return {"code": F.avg_pool2d(images, 2).flatten(1) @ matrix(192, 192)}


def turned_embedding(images: Tensor) -> dict[str, Tensor]:
    """A template: the embedding by another network under a linear map, with some noise."""
    with torch.no_grad():
        found = Recogniser(seed=1).eval()(images) @ matrix(24, 24)
    noise = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    return {"template": found + 0.05 * found.std() * noise}


def two_tensors(images: Tensor) -> dict[str, Tensor]:
    return {**small_maps(images), **turned_embedding(images)}


def vector_beside_noise(images: Tensor) -> dict[str, Tensor]:
    """Maps that are noise, and the identity in the vector alone."""
    return {"maps": noise(images)["maps"], **turned_embedding(images)}


def noise_beside_maps(images: Tensor) -> dict[str, Tensor]:
    return {**small_maps(images), **noisy_vectors(images)}


def subsets(images: Tensor) -> dict[str, Tensor]:
    """One of three colours of each picture, and which one, in another order for every picture."""
    colour = torch.randint(3, (len(images),), generator=torch.Generator().manual_seed(len(images)))
    chosen = images[torch.arange(len(images)), colour][:, None]
    return {"channels": F.avg_pool2d(chosen, 2), "subset": colour.float()[:, None]}


def noise(images: Tensor) -> dict[str, Tensor]:
    """Maps and vectors that do not depend on the faces."""
    generator = torch.Generator().manual_seed(len(images))
    return {
        "code": torch.randn(len(images), 12, generator=generator),
        "maps": torch.rand(len(images), 3, 8, 8, generator=generator),
    }


def noisy_vectors(images: Tensor) -> dict[str, Tensor]:
    return {"code": noise(images)["code"]}


def faint_subsets(images: Tensor) -> dict[str, Tensor]:
    """The same, where all values of one subset are small."""
    sent = subsets(images)
    faint = torch.where(sent["subset"] == 1, 1e-4, 1.0)
    return {**sent, "channels": sent["channels"] * faint[:, :, None, None]}


# ---- helpers ---------------------------------------------------------------------------------------------------------


def state_of(attack: Attack, examples: Sent) -> dict[str, Tensor]:
    """The state as it comes back from the cache."""
    named = dict(attack.trained_as() or {})
    learner = bench_attacks()[named.pop("plugin")](**named) if named else attack
    stored = check_state(learner.fit(examples, recogniser_context(learner)), "attack learner")
    return {name: torch.from_numpy(value.copy()) for name, value in stored.items()}


def context(attack: Attack, state: Any, n: int) -> Any:
    return recogniser_context(attack, state, sample_ids=[str(i) for i in range(n)])


def share_of_mean_picture(send: Send, people: int = 60) -> float:
    """The error of decoded pictures of new people as a share of that of the mean picture."""
    attack = RepresentationDecoder(**DECODER)
    state, others = state_of(attack, Sent(send, people=people)), Sent(send, people=10, seed=3)
    made = reconstruct_checked(attack, others.all, (3, SIDE, SIDE), context(attack, state, 20)).images
    wanted = others.clean(slice(None))
    return float((made - wanted).square().mean() / (wanted.mean(0) - wanted).square().mean())


def recognised(send: Send) -> float:
    """The share of new people whose upload is nearest to their own clean picture."""
    attack = RepresentationRecogniser(**RECOGNISER)
    state, others = state_of(attack, Sent(send)), Sent(send, people=40, seed=3)
    found = embed_checked(attack, others.all, context(attack, state, 80))
    with torch.no_grad():
        clean = F.normalize(Recogniser().eval()(others.clean(slice(None))), dim=1)
    nearest = (found @ clean.T).argmax(1).numpy()
    return float(np.mean(others.subjects[nearest] == others.subjects))


def auc(attack: RepresentationLinked, send: Send) -> float:
    """The area under the curve of scores of uploads of one person against those of two people."""
    state = state_of(attack, Sent(send)) if attack.learns == "pairs" else None
    sent = Sent(send, people=40, seed=9).representation
    first, second = ({name: v[k::2] for name, v in sent.items()} for k in (0, 1))

    def scores(shift: int) -> Tensor:
        other = Received(representation={name: v.roll(shift, 0) for name, v in second.items()})
        found = link_checked(attack, Received(representation=first), other, context(attack, state, 40))
        return torch.as_tensor(found)

    same, other = scores(0), scores(1)
    return float(((same[:, None] > other).float() + 0.5 * (same[:, None] == other).float()).mean())


# ---- declarations ----------------------------------------------------------------------------------------------------


def test_registration_without_torch() -> None:
    names = {f"representation-{what}" for what in ("decoder", "recogniser", "linked", "probe")}
    assert set(bench_attacks()) == names
    code = "import sys, bench_readers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("attack", "outputs", "sees", "budget"),
    [
        (RepresentationDecoder(faces=9, steps=2), "images", {"pairs", "defense"}, {"faces": 9, "steps": 2}),
        (RepresentationRecogniser(faces=9, steps=2), "recognition", {"labels", "defense"}, {"faces": 9, "steps": 2}),
        (RepresentationLinked(), "links", set(), {}),
        (RepresentationLinked(learns="pairs", faces=9), "links", {"labels", "defense"}, {"faces": 9, "steps": 200}),
        (RepresentationProbe(faces=9), "attributes", {"labels", "defense"}, {"faces": 9}),
    ],
)
def test_what_they_declare(attack: Any, outputs: str, sees: set[str], budget: Any) -> None:
    assert (attack.outputs, attack.sees, attack.budget()) == (outputs, {"representation", *sees}, budget)
    assert attack.trains_on == ("defense" if sees else "nothing")
    assert "is sent" in attack.threat or "are sent" in attack.threat
    assert ("with its key if it has one" in attack.threat) == bool(sees)


def test_wrong_parameters() -> None:
    with pytest.raises(ValueError, match="network: no model 'nowhere' is installed"):
        RepresentationDecoder(network="nowhere")
    with pytest.raises(ValueError, match="names: expected at least two classes of the attribute 'race'"):
        RepresentationProbe(attribute="race")
    with pytest.raises(ValueError, match="names: expected none, because an age is a number"):
        RepresentationProbe(attribute="age", names=("a", "b"))


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_a_reading_takes_tensors_of_any_shapes() -> None:
    sent = {
        "b": torch.randn(9, 2, 4, 4),
        "a": torch.randn(9, 3, 8, 8),
        "c": torch.randn(9, 5),
        "d": torch.randn(9),
        "e": torch.randn(9, 2, 3),
        "f": torch.randn(9, 7, 2, 2),
        "g": torch.complex(torch.randn(9, 2), torch.randn(9, 2)),
        "h": torch.arange(9),
    }
    x = packed(Received(representation=sent), "attack x")
    shapes = {name: tuple(sent[name].shape[1:]) for name in sorted(sent)} | {"g": (4,)}
    vectors, maps = Reading.of_sample(shapes, x)(x)
    assert (vectors.shape, maps.shape) == ((9, 5 + 1 + 6 + 28 + 4 + 1), (9, 5, 8, 8))
    assert torch.allclose(vectors.mean(0), torch.zeros(45), atol=1e-5)
    assert torch.allclose(maps.std((0, 2, 3), correction=0), torch.ones(5), atol=0.01)


def test_channels_of_a_subset_are_put_in_its_places() -> None:
    sent = subsets(Sent(subsets).clean(slice(6)))
    x = packed(Received(representation=sent), "attack x")
    reading = Reading.of_sample({"channels": (1, 8, 8), "subset": (1,)}, x)
    vectors, maps = reading(x)
    assert (vectors.shape, reading.channels) == ((6, 0), len(sent["subset"].unique()))
    assert torch.equal((maps != 0).flatten(2).any(2).sum(1), torch.ones(6, dtype=torch.int64))


def test_long_vectors_keep_their_angles() -> None:
    x = torch.randn(3, 3 * LONGEST, generator=torch.Generator().manual_seed(0))
    x[1] = 0.8 * x[0] + 0.6 * x[1]
    reading = Reading({"code": (3 * LONGEST,)}, torch.empty(0))
    found = features(reading, x)
    assert found.shape == (3, LONGEST)
    assert torch.allclose(*(torch.corrcoef(values) for values in (found, x)), atol=0.12)


def test_ridge_regression_finds_a_linear_map() -> None:
    x, weights = torch.randn(200, 6), torch.randn(6, 4)
    found, bias = ridge((x[:150], x[:150] @ weights + 2), (x[150:], x[150:] @ weights + 2))
    assert torch.allclose(found.T, weights, atol=0.01)
    assert torch.allclose(bias, torch.full((4,), 2.0), atol=0.01)


@pytest.mark.parametrize(
    ("received", "message"),
    [
        (Received(images=torch.rand(2, 3, 8, 8)), "attack x: works on a representation, and received none"),
        (Received(representation={"code": torch.full((2, 3), torch.nan)}), "'code' holds values that are NaN"),
    ],
)
def test_what_cannot_be_read(received: Received, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        packed(received, "attack x")


def test_another_representation_than_was_learnt_from() -> None:
    attack = RepresentationRecogniser(steps=1)
    state = state_of(attack, Sent(turned_embedding))
    with pytest.raises(ContractError, match="weights of another network"):
        attack.embed(Received(representation={"template": torch.rand(2, 9)}), context(attack, state, 2))


# ---- attacks ---------------------------------------------------------------------------------------------------------


def picture(images: Tensor) -> dict[str, Tensor]:
    return {"picture": images}


@pytest.mark.parametrize(("send", "people"), [(small_maps, 60), (two_tensors, 60), (picture, 60), (long_vectors, 300)])
def test_the_decoder_makes_the_picture(send: Send, people: int) -> None:
    assert share_of_mean_picture(send, people) < 0.2


def test_the_decoder_puts_subsets_together() -> None:
    assert share_of_mean_picture(subsets) < 0.75  # Two of three colours are unknown.


@pytest.mark.parametrize("send", [noise, noisy_vectors])
def test_the_decoder_makes_nothing_of_noise(send: Send) -> None:
    assert share_of_mean_picture(send) > 0.9


@pytest.mark.parametrize("send", [turned_embedding, small_maps, two_tensors, vector_beside_noise, noise_beside_maps])
def test_the_recogniser_finds_people(send: Send) -> None:
    assert recognised(send) > 0.9


@pytest.mark.parametrize("send", [noise, noisy_vectors])
def test_the_recogniser_is_at_chance_on_noise(send: Send) -> None:
    assert recognised(send) < 0.15  # Chance is 1 of 40.


def test_without_learning_links_are_cosines() -> None:
    attack, sent = RepresentationLinked(), Sent(turned_embedding).representation["template"]
    first, second = (Received(representation={"template": sent[k::2]}) for k in (0, 1))
    found = link_checked(attack, first, second, context(attack, None, 60))
    assert np.allclose(found, cosines(sent[0::2], sent[1::2])[0], atol=1e-5)


def test_vectors_stay_what_they_are_where_pictures_are_mirrored() -> None:
    images = Sent(two_tensors).clean(slice(None))
    received = Received(representation=two_tensors(images))
    x = packed(received, "attack x")
    reading = Reading.of_sample(shapes_of(received, "attack x"), x)
    recogniser = ReadingRecogniser(reading, Recogniser().eval(), (SIDE, SIDE), 24).eval()
    joined = recogniser.prepared(x)
    pictures = recogniser.picture(*reading(x)).clamp(0, 1)  # type: ignore[misc]
    assert torch.equal(joined[:, :, :SIDE], pictures)
    assert torch.equal(joined[:, :, SIDE:, 0].flatten(1)[:, :24], reading(x)[0])
    plain, mirrored = (recogniser.network.read(seen) for seen in (joined, joined.flip(-1)))
    assert torch.equal(plain[:, 24:], mirrored[:, 24:])
    assert not torch.allclose(plain[:, :24], mirrored[:, :24])


def test_links_are_learnt() -> None:
    def covered(images: Tensor) -> dict[str, Tensor]:
        found = turned_embedding(images)["template"]
        more = torch.randn(len(found), 24, generator=torch.Generator().manual_seed(len(found)))
        return {"template": torch.cat([found, 10 * more], dim=1)}

    assert auc(RepresentationLinked(), covered) < 0.8
    assert auc(RepresentationLinked(learns="pairs", **RECOGNISER), covered) > 0.95


@pytest.mark.parametrize("learns", ["nothing", "pairs"])
def test_noise_cannot_be_linked(learns: Any) -> None:
    assert auc(RepresentationLinked(learns=learns, **RECOGNISER), noisy_vectors) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(("send", "least", "most"), [(vectors, 0.85, 1), (small_maps, 0.85, 1), (noise, 0.3, 0.7)])
def test_the_probe_reads_an_attribute(send: Send, least: float, most: float) -> None:
    attack = RepresentationProbe(attribute="tone", names=NAMES)
    state, others = state_of(attack, Sent(send, people=120)), Sent(send, people=60, seed=4)
    ctx = context(attack, state, 120)
    ctx.upload = others.all
    found = estimate_checked(attack, None, ctx, n=120)["tone"]
    assert np.allclose(found.sum(1), 1, atol=1e-5)
    assert least <= np.mean(np.array(NAMES)[found.argmax(1)] == others.attributes["tone"]) <= most


def test_the_probe_reads_a_number() -> None:
    attack = RepresentationProbe(attribute="age")
    state, others = state_of(attack, Sent(vectors, people=120)), Sent(vectors, people=60, seed=4)
    ctx = context(attack, state, 120)
    ctx.upload = others.all
    found = estimate_checked(attack, None, ctx, n=120)["age"]
    assert np.abs(found - others.attributes["age"]).mean() < 9  # A constant is 10 years wrong.


def test_the_probe_has_a_class_that_nobody_has() -> None:
    attack = RepresentationProbe(attribute="tone", names=(*NAMES, "hot"))
    state, others = state_of(attack, Sent(vectors, people=120)), Sent(vectors, people=20, seed=4)
    ctx = context(attack, state, 40)
    ctx.upload = others.all
    found = estimate_checked(attack, None, ctx, n=40)["tone"]
    assert found.shape == (40, 3)
    assert found[:, 2].max() < 0.01


@pytest.mark.parametrize("attack", [RepresentationDecoder(**DECODER), RepresentationRecogniser(**RECOGNISER)])
def test_training_is_repeatable(attack: Attack) -> None:
    one, two = (state_of(attack, Sent(two_tensors, people=12)) for _ in range(2))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


# ---- what is faint, and what has no direction ------------------------------------------------------------------------


def test_a_faint_subset_is_read_like_the_others() -> None:
    images = Sent(noise).clean(slice(None))
    read = []
    for send in (subsets, faint_subsets):
        received = Received(representation=send(images))
        x, shapes = packed(received, "tried"), shapes_of(received, "tried")
        read.append(Reading.of_sample(shapes, x)(x)[1])
    assert read[0].shape[1] == 3
    assert torch.allclose(read[0], read[1], atol=0.02)
    for maps in read[1].transpose(0, 1):
        there = maps.flatten(1).any(dim=1)
        assert float(maps[there].std()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("strength", [1.0, 0.0])
def test_each_choice_is_read_with_what_was_sent_of_it(strength: float) -> None:
    """A faint choice and a strong one are read alike, and seen with the contrast of faces; noise gets none."""
    images = Sent(noise, people=90).clean(slice(None))
    fog = torch.randn(len(images), 3, SIDE // 2, SIDE // 2, generator=torch.Generator().manual_seed(4))
    subset = (torch.arange(len(images)) // 2 % 2).float()[:, None]
    maps = (strength * F.avg_pool2d(images, 2) + 0.3 * fog) * torch.where(subset == 0, 1e-3, 10.0)[:, :, None, None]
    received = Received(representation={"maps": maps, "subset": subset})
    x = packed(received, "tried")
    reading = Reading.of_sample(shapes_of(received, "tried"), x)
    spread = []
    for contrast in (False, True):
        picture = MapPicture(reading, (SIDE, SIDE))
        picture.learn(reading, (x[:120], images[:120]), (x[120:], images[120:]), contrast=contrast)
        made = picture(*reading(x[:120])).detach()
        spread.append([float(made[subset[:120, 0] == choice].std()) for choice in (0, 1)])
        assert float(made.mean()) == pytest.approx(float(images[:120].mean()), abs=0.02)
    wanted = float(images[:120].std())
    plain, stretched = spread
    assert plain[0] == pytest.approx(plain[1], rel=0.3)
    assert plain[1] < 0.95 * wanted
    assert stretched == pytest.approx([wanted] * 2, rel=0.1) if strength else stretched == plain


def test_a_single_number_does_not_decide_who_is_linked() -> None:
    directed = torch.randn(4, 9, generator=torch.Generator().manual_seed(2))
    number = torch.tensor([[5.0], [5.0], [0.0], [1.0]])
    found = directions(Received(representation={"code": directed, "subset": number}), "tried")
    assert torch.equal(found, F.normalize(directed, dim=1))
    both = directions(Received(representation={"a": directed, "b": 100 * directed[:, :4]}), "tried")
    cosine = F.cosine_similarity(both[:1], both[1:2])
    parts = [F.cosine_similarity(v[:1], v[1:2]) for v in (directed, directed[:, :4])]
    assert float(cosine) == pytest.approx(float(sum(parts) / 2), abs=1e-5)
    assert torch.equal(directions(Received(representation={"only": number}), "tried"), number)
