"""Representations in place of pictures."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
from bench_representations import AdvEncoder, DctChannels, DeepObfuscator, PartialDct, SlerpTemplate, bench_defenses
from bench_representations.channel_recogniser import ChannelRecogniser, one_set, start
from bench_representations.cosines import channels_of, waves, without_dc
from bench_representations.encoders import Adversaries, Coder, Game, _entropy, classes_of, with_state
from bench_representations.encoders import _start as start_code
from bench_representations.learnt import Learnt
from bench_representations.noise import noisy, ranges_of
from bench_representations.rotation import rotated, secret, slerp
from bench_representations.shapes import FREQUENCIES, LOW
from bench_representations.subsets import chosen, division, drawn
from bench_representations.training_faces import TrainingFaces, loaded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from bench import (
    Bound,
    Capabilities,
    ContractError,
    DataError,
    Defense,
    Faces,
    Received,
    SuiteError,
    instantiate,
    registered,
)
from bench.api.context import Context
from bench.stages.contracts import check_state, protect_checked, recognised

CPU = torch.device("cpu")
FACES = torch.rand(5, 3, 112, 112, generator=torch.Generator().manual_seed(1))
WEIGHTS = torch.randn(192, 16, generator=torch.Generator().manual_seed(2))
HIGHER = [frequency for frequency in range(FREQUENCIES) if frequency not in LOW]
LEARNT: list[Learnt] = [DctChannels(steps=1), PartialDct(steps=1), AdvEncoder(steps=1), DeepObfuscator(steps=1)]


class Tiny(torch.nn.Module):
    """A network whose embeddings have 16 numbers."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (F.adaptive_avg_pool2d(images, 8) - 0.5).flatten(1) @ WEIGHTS


def _training(people: int = 6, **attributes: Any) -> Faces:
    """Two pictures of each person."""
    drawn = torch.rand(2 * people, 3, 112, 112, generator=torch.Generator().manual_seed(3))
    return Faces(
        images=(255 * drawn).byte().numpy(),
        subjects=np.arange(people).repeat(2),
        sample_ids=np.array([f"t{row}" for row in range(2 * people)]),
        attributes=attributes or {"gender": np.array(["woman", "man"]).repeat(people)},
    )


def _context(defense: Defense, n: int = 5, seed: int = 7, first: int = 0) -> Context:
    models = {"tiny": (Tiny(), ())} if "full_gradients" in defense.needs else {}
    return Context(
        device=CPU,
        seed=seed,
        capabilities=Capabilities.of_defense(defense.needs, models),  # type: ignore[arg-type]
        sample_ids=[str(row) for row in range(first, first + n)],
        plugin="defense tried",
    )


def _training_faces() -> TrainingFaces:
    return TrainingFaces.of(_training(), registered("model")["zoo-mobilenet"](), _context(AdvEncoder()))


def _cosines(vectors: torch.Tensor) -> torch.Tensor:
    unit = F.normalize(vectors, dim=1)
    return unit @ unit.T


def test_registration_without_torch() -> None:
    code = "import sys, bench_representations as b; print(sorted(b.bench_defenses()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = "['adv-encoder', 'dct-channels', 'deep-obfuscator', 'partial-dct', 'slerp-template']"
    assert done.stdout.strip() == f"{names} False"


@pytest.mark.parametrize("name", sorted(bench_defenses()))
def test_what_they_declare(name: str) -> None:
    defense = bench_defenses()[name]()
    assert defense.goal == ("template" if name == "slerp-template" else "recognition")
    assert (defense.protects, defense.sends) == ({"both"}, {"representation"})
    assert defense.own_recogniser
    assert defense.recogniser_size == 128
    assert all((defense.promise, defense.trusts, defense.not_promised))
    assert all(min(shape) > 0 for shape in defense.representation().values())
    assert (defense.bound() is not None) == (name == "dct-channels")


@pytest.mark.parametrize("name", ["dct-channels", "partial-dct", "adv-encoder", "deep-obfuscator"])
def test_a_training_takes_minutes_and_longer_with_more_steps_and_larger_networks(name: str) -> None:
    kind = bench_defenses()[name]
    assert 60 < kind().fit_seconds() < 300
    assert kind(steps=600).fit_seconds() > 1.8 * kind(steps=300).fit_seconds()
    assert kind(network="zoo-resnet").fit_seconds() > kind().fit_seconds()


def test_more_channels_take_longer() -> None:
    assert PartialDct(upsampling=4).fit_seconds() > 2 * PartialDct(upsampling=2).fit_seconds()


def test_the_weights_that_a_recogniser_starts_from_decide_its_results() -> None:
    mobilenet, resnet = AdvEncoder(), AdvEncoder(network="zoo-resnet")
    assert mobilenet.fingerprint() != resnet.fingerprint()
    assert mobilenet.libraries == ("bench_zoo",)
    assert (mobilenet.representation(), resnet.representation()) == ({"code": (16, 14, 14)},) * 2


# ---- channels of frequencies -----------------------------------------------------------------------------------------


def test_channels_are_the_cosine_transform_of_blocks() -> None:
    """SciPy's transform of the luma of the block in the second row and third column of blocks."""
    found = channels_of(FACES[:1], 1, "tried")
    luma = (torch.tensor([0.299, 0.587, 0.114])[:, None, None] * FACES[0]).sum(dim=0) - 0.5
    block = scipy.fft.dctn(luma[8:16, 16:24].numpy(), norm="ortho").ravel()
    assert found.shape == (1, 3, 64, 14, 14)
    np.testing.assert_allclose(found[0, 0, :, 1, 2].numpy(), block, atol=1e-6)
    np.testing.assert_allclose((waves().flatten(1) @ waves().flatten(1).T).numpy(), np.eye(64), atol=1e-6)


@pytest.mark.parametrize("upsampling", [1, 2])
def test_dc_is_absent(upsampling: int) -> None:
    """Flat pictures of any colour give channels of 0, so that no mean colour is sent."""
    flat = torch.rand(4, 3, 1, 1, generator=torch.Generator().manual_seed(4)).expand(-1, -1, 112, 112)
    found = without_dc(flat, upsampling, "tried")
    assert found.shape == (4, 189, 14 * upsampling, 14 * upsampling)
    assert float(found.abs().max()) < 1e-5
    assert float(without_dc(FACES, upsampling, "tried").abs().max()) > 0.1


def test_the_mean_of_a_block_changes_no_channel() -> None:
    blocks = torch.rand(1, 3, 14, 14, generator=torch.Generator().manual_seed(5))
    brighter = FACES[:1] + blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert torch.allclose(without_dc(brighter, 1, "tried"), without_dc(FACES[:1], 1, "tried"), atol=1e-5)


def test_pictures_of_another_size_are_one_error() -> None:
    with pytest.raises(ContractError, match="defense tried: expected pictures of 112 x 112 pixels, got"):
        without_dc(FACES[..., :64], 1, "defense tried")


def test_noise_has_the_scale_of_sensitivity_over_epsilon() -> None:
    """A Laplace variable of the scale b has the mean absolute value b and the variance 2 b^2."""
    low, high = torch.tensor([-1.0, 0.0, 2.0]).view(3, 1, 1), torch.tensor([1.0, 0.5, 2.0]).view(3, 1, 1)
    uniform = torch.rand(200_000, 3, 1, 1, generator=torch.Generator().manual_seed(6))
    found = noisy(torch.full((1, 3, 1, 1), 9.0), low, high, 0.5, uniform) - high  # 9 is clipped to the range.
    scale = ((high - low) / 0.5).flatten()
    assert scale.tolist() == [4.0, 1.0, 0.0]
    assert torch.allclose(found.abs().mean(dim=0).flatten(), scale, rtol=0.02)
    assert torch.allclose(found.var(dim=0).flatten(), 2 * scale**2, rtol=0.05)


def test_ranges_are_those_of_all_parts() -> None:
    parts = torch.randn(6, 2, 3, 3, generator=torch.Generator().manual_seed(7))
    low, high = ranges_of([parts[:2], parts[2:]])
    assert torch.equal(low, parts.amin(dim=0))
    assert torch.equal(high, parts.amax(dim=0))


def test_the_bound_is_that_of_a_whole_picture() -> None:
    assert DctChannels(epsilon=0.5, upsampling=2).bound() == Bound(
        words="74088-differentially private for any two pictures: 148176 coefficients with 0.5 each", epsilon=74088.0
    )
    bound = DctChannels().bound()
    assert bound is not None
    assert bound.epsilon is not None
    assert 2e5 < bound.epsilon < 1e6
    assert "a whole picture, which is hundreds of thousands" in DctChannels.not_promised


@given(key=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_subsets_divide_the_higher_frequencies(key: int) -> None:
    assert division(key).shape == (6, 9)
    assert sorted(division(key).flatten().tolist()) == list(range(54))


def test_an_upload_holds_one_subset_of_the_higher_frequencies() -> None:
    subset = torch.tensor([[0.0], [3.0], [5.0], [3.0], [1.0]])
    sent = chosen(FACES, subset, 1, 0, "tried")
    whole = channels_of(FACES, 1, "tried")[:, :, HIGHER]
    assert sent.shape == (5, 27, 14, 14)
    for face, number in enumerate([0, 3, 5, 3, 1]):
        assert torch.equal(sent[face].view(3, 9, 14, 14), whole[face][:, division(0)[number]])


def test_low_frequencies_are_never_sent() -> None:
    amplitudes = torch.randn(len(LOW), generator=torch.Generator().manual_seed(8))
    block = (amplitudes[:, None, None] * waves()[list(LOW)]).sum(dim=0)
    smooth = block.repeat(14, 14).expand(6, 3, -1, -1)
    subset = torch.arange(6.0)[:, None]
    assert float(chosen(smooth, subset, 1, 0, "tried").abs().max()) < 1e-5


def test_every_upload_draws_its_subset() -> None:
    uniform = torch.rand(60_000, 1, generator=torch.Generator().manual_seed(9))
    counts = torch.bincount(drawn(uniform).flatten().long(), minlength=6)
    assert counts.tolist() == pytest.approx([10_000] * 6, rel=0.05)
    assert drawn(torch.tensor([0.0, 1 - 2**-24])).tolist() == [0.0, 5.0]


def test_the_recogniser_starts_with_the_best_linear_map_to_pixels() -> None:
    """Without noise and with all frequencies but DC, that is the inverse transform: of pictures whose blocks have the
    mean of medium grey, the picture itself."""
    training = _training_faces()
    faces = training.held_out = _grey_blocks(FACES)
    training.pictures = lambda: iter([faces])  # type: ignore[method-assign]
    recogniser = ChannelRecogniser(189, 14, torch.nn.Identity())
    start(recogniser, lambda images, _: one_set(without_dc(images, 1, "tried")), training)
    made = recogniser.picture(*one_set(without_dc(faces, 1, "tried"))).detach()
    assert float((made - faces).square().mean() / faces.var()) < 0.01


def _grey_blocks(images: torch.Tensor) -> torch.Tensor:
    return images - F.interpolate(F.avg_pool2d(images, 8), scale_factor=8) + 0.5


def test_a_faint_set_of_channels_is_seen_like_a_strong_one_and_one_that_is_never_drawn_is_grey() -> None:
    training = _training_faces()
    faces = next(training.pictures())
    sets = torch.arange(len(faces)) % 2
    strength = torch.where(sets == 0, 1.0, 1e-3)[:, None, None, None]
    channels = F.pixel_unshuffle(faces, 8) * strength
    training.pictures = lambda: iter([faces])  # type: ignore[method-assign]
    training.held_out = faces
    recogniser = ChannelRecogniser(192, 14, torch.nn.Identity(), sets=3)
    start(recogniser, lambda images, _: (channels, sets), training)
    made = recogniser.picture(channels, sets).detach()
    for number in (0, 1):
        own, wanted = made[sets == number], faces[sets == number]
        assert float((own - wanted).square().mean() / wanted.var()) < 0.01
    assert torch.equal(recogniser.picture(channels, 2 + 0 * sets), torch.full_like(faces, 0.5))
    assert torch.allclose(recogniser.picture(channels[3:], sets[3:]), recogniser.picture(channels, sets)[3:], atol=1e-5)


def test_two_auxiliary_people_are_enough() -> None:
    defense = DctChannels(steps=1)
    faces = _training(2)
    training = TrainingFaces.of(faces, defense.started_from(), _context(defense))
    assert sorted(training.people.tolist()) == [0, 0, 1, 1]
    assert len(training.targets) == len(training.held_out) == 2
    state = defense.fit(faces, _context(defense))
    assert state
    assert all(bool(tensor.isfinite().all()) for tensor in state.values())


# ---- what is trained -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("defense", LEARNT, ids=lambda defense: type(defense).__name__)
def test_what_is_learnt_sends_and_recognises(defense: Learnt) -> None:
    """The same faces give the same under one seed, whatever their batch, and other random numbers under another."""
    ctx = _context(defense)
    learnt = check_state(defense.fit(_training(), ctx), "defense tried")
    again = check_state(defense.fit(_training(), _context(defense)), "defense tried")
    assert all(np.array_equal(learnt[name], again[name]) for name in learnt)
    state = {name: torch.from_numpy(values) for name, values in learnt.items()}

    def sent(n: int = 5, first: int = 0, seed: int = 7) -> dict[str, torch.Tensor]:
        with_it = replace(_context(defense, n, seed, first), state=state)
        return dict(protect_checked(defense, FACES[first : first + n], with_it).representation)

    whole, part, other = sent(), sent(2, 3), sent(seed=8)
    assert all(torch.allclose(whole[name][3:], part[name], atol=1e-4) for name in whole)
    is_random = isinstance(defense, DctChannels | PartialDct)
    assert any(not torch.equal(whole[name], other[name]) for name in whole) == is_random
    recogniser = defense.recogniser(replace(ctx, state=state))
    found = recognised(recogniser, Received(representation=whole), 5, 128, "tried")
    assert torch.isfinite(found).all()


def test_codes_start_as_principal_components_of_the_features() -> None:
    """With as many channels as features, codes and back is the identity, but for tanh of small values."""
    network = loaded(registered("model")["zoo-mobilenet"](), _context(AdvEncoder()))
    coder = Coder(network, "stage2", 96, 96).eval()
    start_code(coder, FACES)
    with torch.no_grad():
        codes = coder.encode(FACES)
        back = coder.widen(codes.atanh())
        (maps,) = network.features(FACES, ["stage2"])
    assert codes.shape == (5, 96, 14, 14)
    assert float(codes.abs().max()) <= 1
    assert float((back - maps).square().mean() / maps.var()) < 1e-3


def test_adversaries_learn_and_count_up_to_knowing_nothing() -> None:
    training, ctx = _training_faces(), _context(DeepObfuscator())
    game = Game(steps=1, reconstruction=2.0, attribute=3.0, labels=np.arange(12) % 2)
    adversaries = Adversaries(4, training, game, ctx)
    images, _, rows = training.batch()
    codes = F.adaptive_avg_pool2d(images, 14)[:, [0, 1, 2, 0]].requires_grad_()
    before = float(adversaries.fooled(codes, images, rows).detach())
    for _ in range(60):
        adversaries.learn(codes.detach(), images, rows)
    after = adversaries.fooled(codes, images, rows)
    assert 0 < float(after.detach()) < before <= 5
    (slope,) = torch.autograd.grad(after, codes)
    assert slope.any()
    adversaries._errors = lambda codes, *_: [1 + codes.square().sum()] * 2  # type: ignore[method-assign]
    nothing = adversaries.fooled(codes, images, rows)
    assert float(nothing.detach()) == 5
    assert not torch.autograd.grad(nothing, codes)[0].any()


def test_a_guess_by_the_frequencies_of_classes_counts_as_knowing_nothing() -> None:
    """Of which three of four are in one class, somebody who knows only that is no better than a guess."""
    labels = np.array([0, 0, 0, 1, -1])
    assert _entropy(labels) == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert _entropy(np.array([0, 1])) == pytest.approx(np.log(2))
    assert _entropy(np.array([1, 1])) > 0  # Nothing is divided by 0 where all who are learnt from are in one class.


def test_an_attribute_that_is_not_known_is_one_error() -> None:
    defense = DeepObfuscator(hidden_attribute="hat")
    with pytest.raises(DataError, match=r"expected auxiliary faces with the attribute 'hat', found gender; set"):
        defense.hidden(_training(), _context(defense))


def test_an_attribute_needs_a_few_values() -> None:
    assert classes_of(np.array(["b", "a", "b"]), "letter", "tried").tolist() == [1, 0, 1]
    for values in (np.zeros(5), np.arange(30)):
        with pytest.raises(DataError, match="tried: expected an attribute with 2 to 20 values, found"):
            classes_of(values, "age", "tried")


def test_one_person_is_too_few_to_learn_from() -> None:
    defense = AdvEncoder(steps=1)
    with pytest.raises(
        DataError, match=r"a defense learns .* expected auxiliary faces of at least two people, found 1"
    ):
        defense.fit(_training(1), _context(defense))


def test_pictures_have_their_own_targets_and_held_out_people_are_others() -> None:
    """The target of a picture is its embedding, the mean with that of its mirror image, as an adversary has it."""
    training, faces = _training_faces(), _training()
    network: Any = registered("model")["zoo-mobilenet"]().load()
    for images, found in (
        (torch.cat(list(training.pictures())), training.targets),
        (training.held_out, training.held_out_targets),
    ):
        with torch.no_grad():
            both = F.normalize(network(images), dim=1) + F.normalize(network(images.flip(-1)), dim=1)
        assert torch.allclose(found, F.normalize(both, dim=1), atol=1e-5)
    learnt = torch.cat(list(training.pictures())).mul(255).round().byte().numpy()
    assert np.array_equal(learnt, faces.images[training.rows])
    assert len(training.rows) == 10
    assert len(np.unique(faces.subjects[training.rows])) == 5


def test_the_state_of_another_network_is_one_error() -> None:
    coder = Coder(loaded(registered("model")["zoo-mobilenet"](), _context(AdvEncoder())), "stage2", 96, 16)
    with pytest.raises(ContractError, match="the state holds the weights of another network"):
        with_state(coder, replace(_context(AdvEncoder()), state={"coder.narrow.weight": torch.zeros(1)}))


# ---- turned templates ------------------------------------------------------------------------------------------------


def _template(defense: SlerpTemplate, images: torch.Tensor = FACES) -> torch.Tensor:
    return protect_checked(defense, images, _context(defense, len(images))).representation["template"]


@given(alpha=st.floats(0, 0.999), width=st.integers(2, 20), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_slerp_goes_along_the_great_circle(alpha: float, width: int, seed: int) -> None:
    """The result has length 1, and alpha is the share of the angle that is behind it."""
    a, b = torch.randn(2, 4, width, generator=torch.Generator().manual_seed(seed))
    found = slerp(a, b, alpha)
    whole, done = (torch.arccos((F.normalize(a) * other).sum(dim=1).clamp(-1, 1)) for other in (F.normalize(b), found))
    assert torch.allclose(found.norm(dim=1), torch.ones(4), atol=1e-5)
    assert torch.allclose(done, alpha * whole, atol=2e-3)


def test_slerp_between_equal_directions_stays_there() -> None:
    a = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(slerp(a, 5 * a, 0.9), F.normalize(a), atol=1e-6)
    assert torch.isfinite(slerp(a, -a, 0.5)).all()


def test_a_template_is_that_of_the_equation() -> None:
    """One group, nothing dropped: the embedding's direction, most of the way towards the noise of the key."""
    defense = SlerpTemplate(size=16, group=16, drop=0.0, alpha=0.75, key=3)
    noise = F.normalize(secret(1, 16, 16, 3)[0], dim=1)
    assert torch.allclose(_template(defense), slerp(Tiny()(FACES), noise.expand(5, -1), 0.75), atol=1e-5)


def test_services_with_a_key_each_get_unlike_templates_of_one_picture() -> None:
    same = FACES[:1].expand(5, -1, -1, -1)
    assert torch.allclose(_template(SlerpTemplate(size=16, group=4), same).std(dim=0), torch.zeros(16), atol=1e-6)
    drawn = _template(SlerpTemplate(size=16, group=4, across=True), same)
    cosines = (drawn @ drawn.T)[~torch.eye(5, dtype=torch.bool)]
    assert float(cosines.max()) < 0.9


def test_a_share_of_each_group_is_dropped_and_groups_have_equal_lengths() -> None:
    groups = _template(SlerpTemplate(size=16, group=4, drop=0.5)).view(5, 4, 4)
    assert ((groups != 0).sum(dim=2) == 2).all()
    assert torch.allclose(groups.norm(dim=2), torch.full((5, 4), 0.5), atol=1e-5)
    assert SlerpTemplate(drop=0.99).kept == 1


def test_templates_under_one_key_keep_the_order_of_similarities() -> None:
    """Of a person's noisy copies and of others, the copies are nearer; all are near to the noise, as the text says."""
    generator = torch.Generator().manual_seed(4)
    people = torch.randn(30, 128, generator=generator)
    copies = people + 0.3 * torch.randn(30, 128, generator=generator)
    cosines = rotated(people, 0.9, 8, 8, 0) @ rotated(copies, 0.9, 8, 8, 0).T
    own, others = cosines.diagonal(), cosines[~torch.eye(30, dtype=torch.bool)]
    assert float(own.min()) > float(others.quantile(0.99))
    assert float(others.mean()) > 0.9


def _linked(first: torch.Tensor, second: torch.Tensor) -> float:
    """The share of templates that are nearest to another one of the own person; by chance 1 / people."""
    return float(((first @ second.T).argmax(dim=1) == torch.arange(len(first))).float().mean())


def test_templates_under_different_keys_are_not_alike() -> None:
    """The noise of two keys has nothing in common, so that their templates are as far apart as random directions are,
    whose cosine has the standard deviation 1 / sqrt(128) = .09."""
    people = torch.randn(400, 128, generator=torch.Generator().manual_seed(5))
    first, second = (rotated(people, 0.9, 8, 8, key) for key in (0, 1))
    assert abs(float((first * second).sum(dim=1).mean())) < 3 / 128**0.5
    assert _linked(first, first) == 1
    assert _linked(first, second) < 0.05


def test_templates_under_different_keys_are_linked_by_who_knows_several() -> None:
    """The noise of a key is the mean of its templates; without it, the share of the embedding is left that no key
    turns. The text must not promise more."""
    people = torch.randn(400, 128, generator=torch.Generator().manual_seed(5))
    first, second = (rotated(people, 0.9, 8, 8, key) for key in (0, 1))
    assert _linked(F.normalize(first - first.mean(dim=0)), F.normalize(second - second.mean(dim=0))) > 0.5
    assert "that templates under different keys cannot be linked" in SlerpTemplate.not_promised


def test_another_length_of_embeddings_is_one_error() -> None:
    with pytest.raises(ContractError, match="expected embeddings of the length 128, found 16 of tiny; set size = 16"):
        _template(SlerpTemplate())


# ---- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("dct-channels", {"epsilon": 0.0}, r"here\.epsilon: input should be"),
        ("dct-channels", {"upsampling": 3}, r"here\.upsampling: "),
        ("partial-dct", {"key": -1}, r"here\.key: input should be"),
        ("adv-encoder", {"network": "none"}, "network: expected the name of an installed model, found 'none'"),
        ("adv-encoder", {"network": "zoo-mobilnet"}, "network: no model 'zoo-mobilnet' is installed"),
        ("adv-encoder", {"split": "stage9"}, "split: zoo-mobilenet has no split point 'stage9'"),
        (
            "deep-obfuscator",
            {"channels": 97},
            "channels: expected at most 96, as zoo-mobilenet has at stage2",
        ),
        ("slerp-template", {"group": 10}, "group: expected a divisor of size = 128, found 10"),
        ("slerp-template", {"alpha": 1.0}, r"here\.alpha: input should be"),
    ],
)
def test_a_wrong_parameter_is_one_error(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        instantiate(bench_defenses()[name], params, "here")


def test_faces_without_a_label_are_no_class() -> None:
    texts = np.array(["f", "", "m", None, "f"], dtype=object)
    assert classes_of(texts, "gender", "mine").tolist() == [0, -1, 1, -1, 0]
    assert classes_of(np.array([2.0, np.nan, 1.0]), "group", "mine").tolist() == [1, -1, 0]
    with pytest.raises(DataError, match="found 1 of 'gender'"):
        classes_of(np.array(["f", "", "f"]), "gender", "mine")
