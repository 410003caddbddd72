"""The checks around plugin calls, and which plugin may use what of the context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from bench.api.context import Capabilities, Context, Shallow, sample_generator
from bench.api.types import Faces, Pairs, Protected, Received
from bench.core.errors import CapabilityError, ContractError
from bench.registry.discovery import Registry
from bench.stages.contracts import (
    CheckedImages,
    check_embeddings,
    check_faces,
    check_pairs,
    check_same_names,
    check_state,
    estimate_checked,
    protect_checked,
    reconstruct_checked,
)
from bench.stages.received import LearningExamples
from bench.stages.stage_inputs import StoredFaces


class Doubling(torch.nn.Module):
    """A network whose feature maps are multiples of the image."""

    def features(self, images: torch.Tensor, splits: Sequence[str]) -> list[torch.Tensor]:
        return [{"stem": 2 * images, "block": 4 * images}[split] for split in splits]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def context(
    *needs: str, sample_ids: Sequence[str] = ("a", "b"), on_progress: Callable[[float], None] | None = None, **seen: Any
) -> Context:
    """A context for two samples and one model."""
    values = {"subjects": torch.tensor([5, 6]), "models": {"net": (Doubling(), ("stem", "block"))}, **seen}
    return Context(
        device=torch.device("cpu"),
        seed=7,
        capabilities=Capabilities(needs=frozenset(needs), **values),
        sample_ids=sample_ids,
        plugin="defense toy",
        on_progress=on_progress,
    )


# ---- the context -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("need", "ask"),
    [
        ("shallow", lambda ctx: ctx.shallow("net")),
        ("full_gradients", lambda ctx: ctx.network("net")),
        ("subjects", lambda ctx: ctx.subjects),
    ],
)
def test_an_undeclared_need_is_refused(need: str, ask: Any) -> None:
    assert ask(context(need)) is not None
    for declared, said in [((), "nothing"), (("training",), "training")]:
        with pytest.raises(CapabilityError) as caught:
            ask(context(*declared))
        assert str(caught.value) == (f"defense toy requested '{need}' but declares {said} in its needs; declare it")


def test_an_unknown_model_is_named() -> None:
    for ask in (context("shallow").shallow, context("full_gradients").network):
        with pytest.raises(ContractError, match=r"defense toy requested the model 'nett'; did you mean 'net'\?"):
            ask("nett")


def test_an_attack_sees_the_shallow_model_or_no_model() -> None:
    everything = frozenset({"images", "features", "pairs", "shallow_weights", "defense"})
    for sees, needs in ((everything, {"shallow"}), (everything - {"shallow_weights"}, set())):
        seen = Capabilities.of_attack(sees, {}, image_size=(4, 5))
        assert (seen.needs, seen.declared_in, seen.subjects) == (needs, "sees", None)
    assert Context(device=torch.device("cpu"), seed=0, capabilities=seen).image_size == (4, 5)


def test_without_capabilities_a_plugin_sees_nothing() -> None:
    ctx = Context(device=torch.device("cpu"), seed=0)
    assert (ctx.authorised, ctx.uploaded, ctx.image_size) == ((), (), (0, 0))
    for ask in (lambda: ctx.shallow("net"), lambda: ctx.network("net"), lambda: ctx.subjects):
        with pytest.raises(CapabilityError, match="declares nothing in its needs"):
            ask()


def test_unknown_subjects_are_an_error() -> None:
    with pytest.raises(ContractError, match="where there are none"):
        _ = context("subjects", subjects=None).subjects


def test_a_shallow_model_gives_features_and_nothing_else() -> None:
    shallow = context("shallow").shallow("net")
    images = torch.rand(2, 3, 4, 4, requires_grad=True)
    deep, low = shallow.features(images, ["block", "stem"])
    assert torch.equal(deep, 4 * images)
    assert torch.equal(low, 2 * images)
    assert deep.requires_grad
    assert not callable(shallow)
    assert {name for name in dir(shallow) if not name.startswith("_")} == {"features", "splits"}
    with pytest.raises(ContractError, match=r"no split point 'blok'; did you mean 'block'\?"):
        shallow.features(images, ["stem", "blok"])
    assert isinstance(shallow, Shallow)


def test_noise_of_a_sample_does_not_depend_on_its_batch() -> None:
    like = torch.zeros(2, 3, 4, 4)
    for draw in ("randn", "rand"):
        both = getattr(context(), draw)(like)
        alone = getattr(context(sample_ids=["b"]), draw)(like[:1])
        turned = getattr(context(sample_ids=["b", "a"]), draw)(like)
        assert torch.equal(both[1:], alone)
        assert torch.equal(both, turned.flip(0))
        assert not torch.equal(both[0], both[1])


def test_noise_continues_within_a_call_and_starts_again_in_the_next() -> None:
    like, ctx = torch.zeros(2, 5), context()
    first, second = ctx.randn(like), ctx.randn(like)
    assert not torch.equal(first, second)
    assert torch.equal(context().randn(like), first)
    assert not torch.equal(replace(context(), seed=8).randn(like), first)


def test_noise_does_not_use_the_global_random_stream() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    context().randn(torch.zeros(2, 3))
    assert torch.equal(torch.rand(3), expected)


def test_noise_for_another_number_of_samples() -> None:
    with pytest.raises(ContractError, match="requested noise for 3 samples; the batch has 2"):
        context().rand(torch.zeros(3, 4))


def test_noise_has_the_distribution_it_promises() -> None:
    like = torch.zeros(2, 20_000)
    normal, uniform = context().randn(like), context().rand(like)
    assert normal.mean().item() == pytest.approx(0, abs=0.03)
    assert normal.std().item() == pytest.approx(1, abs=0.03)
    assert (uniform.min() >= 0).item()
    assert (uniform.max() < 1).item()
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.01)


def test_sample_generators_are_seeded_by_name() -> None:
    draws = {
        (seed, name): torch.rand(1, generator=sample_generator(seed, name)).item()
        for seed in (0, 1, 2**63 - 1)
        for name in ("a", "b", "ä")
    }
    assert len(set(draws.values())) == len(draws)
    assert torch.rand(1, generator=sample_generator(0, "a")).item() == draws[0, "a"]


# ---- protect ---------------------------------------------------------------------------------------------------------

# The behaviour of a defense, and the expected message.
BROKEN = {
    "nan": ["hold NaN or infinity"],
    "shape": ["expected images of shape (2, 3, 8, 8)", "got (2, 3, 8, 7)"],
    "range": ["expected images in [0, 1]", "got values from"],
    "mutates": ["protect() changed its input images", "work on a copy"],
    "integers": ["expected float images in [0, 1]", "uint8"],
    "nothing": ["returned no images"],
    "a-tensor": ["must return bench.Protected", "got Tensor"],
    "numpy": ["expected images as a torch tensor", "float32"],
    "extra-shape": ["extra 'loss'", "(2,)", "()"],
    "extra-nan": ["extra 'loss'", "NaN"],
    "asks-shallow": ["requested 'shallow'", "declares nothing"],
    "asks-network": ["requested 'full_gradients'"],
    "asks-subjects": ["requested 'subjects'"],
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_contract_is_named(registry: Registry, how: str) -> None:
    defense = registry.find("defense", "toy-misbehave", "here").cls(how=how)
    with pytest.raises(ContractError) as caught:
        protect_checked(defense, torch.rand(2, 3, 8, 8), context())
    for fragment in ["defense toy", *BROKEN[how]]:
        assert fragment in str(caught.value)


class Returning:
    """A defense that returns the images and extra numbers of its constructor."""

    sends = frozenset({"image"})

    def __init__(self, images: torch.Tensor, **extra: Any) -> None:
        self.images, self.extra = images, extra

    def protect(self, images: torch.Tensor, ctx: Context) -> Any:
        from bench import Protected

        return Protected(images=self.images, extra=self.extra)


def test_rounding_beyond_the_range_is_clamped() -> None:
    images = torch.tensor([[-5e-7, 0.5, 1 + 5e-7]]).reshape(1, 3, 1, 1)
    out = protect_checked(Returning(images), torch.zeros(1, 3, 1, 1), context()).images  # type: ignore[arg-type]
    assert out is not None
    assert out.flatten().tolist() == [0.0, 0.5, 1.0]
    for wrong in (-1e-5, 1 + 1e-5):
        with pytest.raises(ContractError, match="expected images in"):
            protect_checked(Returning(images + wrong), images, context())  # type: ignore[arg-type]


def test_protected_images_are_float_and_without_a_graph(recwarn: pytest.WarningsRecorder) -> None:
    images = torch.rand(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    losses = images.mean((1, 2, 3))
    made = protect_checked(Returning(images * 1, loss=losses), images.detach().float(), context())  # type: ignore[arg-type]
    assert made.images is not None
    assert made.images.dtype == torch.float32
    assert not made.images.requires_grad
    assert torch.equal(made.extra["loss"], losses)
    assert [str(w.message) for w in recwarn] == []


def test_extras_must_be_tensors() -> None:
    images = torch.rand(2, 3, 4, 4)
    with pytest.raises(ContractError, match="extra 'loss': expected a tensor"):
        protect_checked(Returning(images.clone(), loss=[1.0, 2.0]), images, context())  # type: ignore[arg-type]


# ---- features of a defense -------------------------------------------------------------------------------------------


class Sending:
    """A defense that sends features."""

    sends = frozenset({"feature"})

    def __init__(self, **features: Any) -> None:
        self.features = features

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        return Protected(features=self.features)


def test_features_at_the_requested_split_points_pass() -> None:
    stem = torch.rand(2, 8, 4, 4)
    ctx = context(uploaded=("stem",))
    images = torch.rand(2, 3, 8, 8)
    made = protect_checked(Sending(stem=stem), images, ctx, {"stem": (8, 4, 4)})  # type: ignore[arg-type]
    assert made.images is None
    assert torch.equal(made.features["stem"], stem)


@pytest.mark.parametrize(
    ("features", "fragment"),
    [
        ({}, "no features at stem"),
        ({"block": torch.rand(2, 8, 4, 4)}, "no features at stem"),
        ({"stem": torch.rand(3, 8, 4, 4)}, "features at stem: expected (2, 8, 4, 4), got torch.float32 (3, 8, 4, 4)"),
        ({"stem": torch.rand(2, 8, 4, 3)}, "features at stem: expected (2, 8, 4, 4), got torch.float32 (2, 8, 4, 3)"),
        ({"stem": torch.rand(2)}, "features at stem: expected (2, 8, 4, 4), got torch.float32 (2,)"),
        ({"stem": np.zeros((2, 8, 4, 4))}, "features at stem: expected (2, 8, 4, 4), got float64 (2, 8, 4, 4)"),
        ({"stem": None}, "features at stem: expected (2, 8, 4, 4)"),
        ({"stem": torch.full((2, 8, 4, 4), float("inf"))}, "features at stem hold NaN or infinity"),
    ],
)
def test_broken_features_are_named(features: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ContractError) as caught:
        protect_checked(Sending(**features), torch.rand(2, 3, 8, 8), context(uploaded=("stem",)), {"stem": (8, 4, 4)})  # type: ignore[arg-type]
    assert str(caught.value).startswith("defense toy: ")
    assert fragment in str(caught.value)


# ---- attacks ---------------------------------------------------------------------------------------------------------

# The behaviour of a reconstruction, and the expected message.
BROKEN_ATTACKS = {
    "raises": [],
    "nan": ["the images hold NaN or infinity"],
    "shape": ["expected images of shape (2, 3, 32, 32)", "got (2, 3, 32, 31)"],
    "range": ["expected images in [0, 1]", "got values from"],
    "mutates": ["reconstruct() changed what it received", "work on a copy"],
    "integers": ["expected float images in [0, 1]", "uint8"],
    "nothing": ["must return bench.Reconstructed", "got NoneType"],
    "a-tensor": ["must return bench.Reconstructed", "got Tensor"],
    "numpy": ["expected images as a torch tensor", "float32"],
    "extra-shape": ["extra 'loss'", "(2,)", "()"],
    "extra-nan": ["extra 'loss'", "NaN"],
    "asks-shallow": ["requested 'shallow'", "declare 'shallow_weights' in its sees"],
    "asks-network": ["requested 'full_gradients'", "declare 'full_model' in its sees"],
}


def adversary(**more: Any) -> Context:
    """The context of an attack on two samples."""
    return replace(context(declared_in="sees", **more), plugin="attack toy")


@pytest.mark.parametrize("how", BROKEN_ATTACKS)
def test_a_broken_reconstruction_is_named(registry: Registry, how: str) -> None:
    attack = registry.find("attack", "toy-bad-attack", "here").cls(how=how)
    received = Received(features={"stem": torch.rand(2, 8, 16, 16)})
    with pytest.raises(RuntimeError if how == "raises" else ContractError) as caught:
        reconstruct_checked(attack, received, (3, 32, 32), adversary())
    for fragment in BROKEN_ATTACKS[how] and ["attack toy", *BROKEN_ATTACKS[how]]:
        assert fragment in str(caught.value)


def test_a_good_reconstruction_is_float_and_without_a_graph(registry: Registry) -> None:
    from bench import Attack, Reconstructed

    class Doubled(Attack):
        def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
            assert received.images is not None
            images = (received.images.double().requires_grad_() * 1).clamp(0, 1)
            return Reconstructed(images=images, extra={"mean": images.mean((1, 2, 3))})

    images = torch.rand(2, 3, 8, 8)
    made = reconstruct_checked(Doubled(), Received(images=images), (3, 8, 8), adversary())
    assert made.images.dtype == torch.float32
    assert not made.images.requires_grad
    torch.testing.assert_close(made.images, images)


@pytest.mark.parametrize(
    ("how", "fragments"),
    [
        ("nan", ["attribute 'colour' holds NaN or infinity"]),
        ("shape", ["attribute 'colour': expected a tensor (2, k) or (2,), got torch.float32 (1, 3)"]),
        ("numpy", ["attribute 'colour': expected a tensor", "got float32 (2, 3)"]),
        ("nothing", ["estimate() must return a mapping of attributes to tensors"]),
        ("a-tensor", ["estimate() must return a mapping of attributes to tensors", "torch.float32 (2, 3)"]),
        ("mutates", ["estimate() changed its input images", "work on a copy"]),
    ],
)
def test_a_broken_estimate_is_named(registry: Registry, how: str, fragments: list[str]) -> None:
    attack = registry.find("attack", "toy-bad-eyes", "here").cls(how=how)
    with pytest.raises(ContractError) as caught:
        estimate_checked(attack, torch.rand(2, 3, 8, 8), adversary())
    for fragment in ["attack toy: ", *fragments]:
        assert fragment in str(caught.value)


def test_an_estimate_has_as_many_classes_as_it_names() -> None:
    """A class too few would be read as another one, and the faces of the last one would have no score."""
    from bench import Attack

    class Short(Attack):
        def classes(self) -> dict[str, list[str]]:
            return {"colour": ["red", "green", "blue"]}

        def estimate(self, images: torch.Tensor, ctx: Context) -> dict[str, torch.Tensor]:
            return {"colour": torch.full((2, 2), 0.5), "shade": torch.rand(2, 5)}

    with pytest.raises(ContractError, match=r"'colour': expected the probabilities of 3 classes, .* got 2"):
        estimate_checked(Short(), torch.rand(2, 3, 8, 8), adversary())


def test_estimates_are_arrays(registry: Registry) -> None:
    attack = registry.find("attack", "toy-attributes", "here").cls()
    images = torch.rand(2, 3, 8, 8)
    found = estimate_checked(attack, images, adversary())
    assert {k: (v.dtype, v.shape) for k, v in found.items()} == {
        "colour": (np.float32, (2, 3)),
        "age": (np.float32, (2,)),
    }
    np.testing.assert_allclose(found["age"], 100 * images.mean((1, 2, 3)), rtol=1e-5)


def test_names_that_differ_are_named() -> None:
    check_same_names([{"a": 1, "b": 2}, {"b": 3, "a": 4}], "attack toy", "attributes")
    check_same_names([], "attack toy", "attributes")
    with pytest.raises(ContractError, match="attack toy: its attributes differ"):
        check_same_names([{"a": 1}, {"b": 1}], "attack toy", "attributes")


def test_a_state_keeps_its_shapes_and_types() -> None:
    tensors = {
        "scalar": torch.tensor(3),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "flags": torch.tensor([True, False]),
        "bytes": torch.arange(4, dtype=torch.uint8),
        "learnt": torch.rand(2, 2, requires_grad=True),
    }
    found = check_state(tensors, "attack toy")
    assert {k: v.shape for k, v in found.items()} == {k: tuple(v.shape) for k, v in tensors.items()}
    for name, array in found.items():
        assert torch.equal(torch.from_numpy(array.copy()), tensors[name].detach())
        assert array.flags["C_CONTIGUOUS"]
    assert check_state({}, "attack toy") == {}


@pytest.mark.parametrize("state", [None, [], {"w": 3}, {"w": np.zeros(3)}, {"w": torch.zeros(2, dtype=torch.bfloat16)}])
def test_a_state_that_cannot_be_stored_is_named(state: Any) -> None:
    with pytest.raises(ContractError, match=r"attack toy: fit\(\)"):
        check_state(state, "attack toy")


# ---- progress, streams -----------------------------------------------------------------------------------------------


def test_progress_is_a_share_and_needs_no_listener() -> None:
    heard: list[float] = []
    ctx = context(on_progress=heard.append)
    for done, total in ((0, 4), (1, 4), (4, 4), (0, 0), (2.5, 10.0)):
        ctx.progress(done, total)
    assert heard == [0, 0.25, 1, 1, 0.25]
    context().progress(1, 2)


def test_the_generator_of_a_stage_is_that_of_its_seed() -> None:
    first, second = (torch.rand(3, generator=context().generator()) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first, torch.rand(3, generator=torch.Generator().manual_seed(7)))
    assert not torch.equal(first, torch.rand(3, generator=replace(context(), seed=8).generator()))


# ---- faces, pairs, embeddings ----------------------------------------------------------------------------------------


def some_faces(**changes: Any) -> Faces:
    """Four faces of two subjects."""
    values: dict[str, Any] = {
        "images": np.zeros((4, 3, 8, 8), np.uint8),
        "subjects": np.array([1, 1, 2, 2]),
        "sample_ids": np.array(["a", "b", "c", "d"]),
        "attributes": {"age": np.arange(4)},
    }
    return Faces(**{**values, **changes})


def test_good_faces_and_pairs_pass() -> None:
    check_faces(some_faces(), (8, 8), "toy")
    check_pairs(some_pairs(), some_faces(), 2, "toy")


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"images": np.zeros((4, 3, 8, 8))}, "expected images uint8 (n, 3, h, w), got float64 (4, 3, 8, 8)"),
        ({"images": np.zeros((4, 8, 8, 3), np.uint8)}, "got uint8 (4, 8, 8, 3)"),
        ({"images": np.zeros((4, 3, 8), np.uint8)}, "got uint8 (4, 3, 8)"),
        ({"images": [[0]]}, "got <class 'list'>"),
        ({"images": np.zeros((4, 3, 9, 9), np.uint8)}, "(9, 9)"),
        ({"subjects": np.array([1, 1, 2])}, "4 images but 3 values of subjects"),
        ({"sample_ids": np.array(["a"])}, "4 images but 1 values of sample_ids"),
        ({"attributes": {"age": np.arange(5)}}, "4 images but 5 values of age"),
        ({"sample_ids": np.array(["a", "b", "c", "a"])}, "sample_ids are not unique"),
    ],
)
def test_bad_faces_are_named(changes: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_faces(some_faces(**changes), (8, 8), "data set toy")
    assert str(caught.value).startswith("data set toy: ")
    assert fragment in str(caught.value)


def some_pairs(**changes: Any) -> Pairs:
    """A genuine and an impostor pair."""
    values: dict[str, Any] = {
        "left": np.array([0, 0]),
        "right": np.array([1, 2]),
        "same": np.array([True, False]),
        "fold": np.array([0, 9]),
    }
    return Pairs(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"left": np.array([0])}, "requested 2 pairs, got columns of lengths [1, 2]"),
        ({"left": np.array([0, -1])}, "left has indices outside [0, 4)"),
        ({"right": np.array([1, 4])}, "right has indices outside [0, 4)"),
        ({"same": np.array([True, True])}, "1 pairs whose label contradicts the subjects"),
        ({"fold": np.array([0, 10])}, "expected folds in [0, 10)"),
        ({"fold": np.array([-1, 0])}, "expected folds in [0, 10)"),
    ],
)
def test_bad_pairs_are_named(changes: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_pairs(some_pairs(**changes), some_faces(), 2, "data set toy")
    assert fragment in str(caught.value)


def test_too_few_pairs_are_named() -> None:
    with pytest.raises(ContractError, match=r"requested 3 pairs, got columns of lengths \[2\]"):
        check_pairs(some_pairs(), some_faces(), 3, "toy")


@pytest.mark.parametrize(
    ("embeddings", "fragment"),
    [
        (torch.ones(2, 3), "expected embeddings of shape (2, 4), got (2, 3)"),
        (torch.ones(1, 4), "got (1, 4)"),
        (torch.full((2, 4), float("inf")), "NaN or infinity"),
        (torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0]]), "an embedding is zero"),
        (torch.full((2, 4), 1e-30), "an embedding is zero"),
        (torch.full((2, 4), 1e30), "an embedding is too long"),
        (torch.ones(2, 4, dtype=torch.int64), "expected float embeddings, got torch.int64"),
        (np.ones((2, 4), np.float32), "expected embeddings as a torch tensor, got float32 (2, 4)"),
        (None, "expected embeddings as a torch tensor"),
    ],
)
def test_bad_embeddings_are_named(embeddings: Any, fragment: str) -> None:
    check_embeddings(torch.ones(2, 4), 2, 4, "model toy")
    with pytest.raises(ContractError) as caught:
        check_embeddings(embeddings, 2, 4, "model toy")
    assert str(caught.value).startswith("model toy: ")
    assert fragment in str(caught.value)


class OnDemand:
    """Lazy images that return something other than they declare."""

    dtype = np.dtype(np.uint8)
    shape = (4, 3, 8, 8)

    def __init__(self, given: Any) -> None:
        self.given = given

    def __len__(self) -> int:
        return 4

    def __getitem__(self, rows: slice | np.ndarray) -> Any:
        return self.given


@pytest.mark.parametrize(
    "given",
    [np.zeros((2, 3, 8, 8), np.float32), np.zeros((2, 3, 8, 9), np.uint8), np.zeros((1, 3, 8, 8), np.uint8), None],
)
def test_images_on_demand_are_checked_when_they_are_read(given: Any) -> None:
    images = CheckedImages(OnDemand(given), "data set x")
    assert (images.shape, len(images)) == ((4, 3, 8, 8), 4)
    for rows in (slice(1, 3), np.array([0, 3])):
        with pytest.raises(ContractError, match=r"data set x: expected images uint8 \(2, 3, 8, 8\), got"):
            images[rows]


def test_images_on_demand_that_are_sound_pass() -> None:
    found = np.zeros((2, 3, 8, 8), np.uint8)
    assert CheckedImages(OnDemand(found), "x")[2:4] is found


@pytest.mark.parametrize("name", ["left", "right", "same", "fold"])
def test_columns_of_pairs_are_whole_numbers(name: str) -> None:
    pairs = replace(some_pairs(), **{name: np.array([0.5, 1.0])})
    with pytest.raises(
        ContractError, match=rf"expected {name} \(n,\) as an array of whole numbers, got float64 \(2,\)"
    ):
        check_pairs(pairs, some_faces(), None, "toy")


def test_people_are_whole_numbers_and_columns_have_one_axis() -> None:
    faces = some_faces()
    check_faces(faces, faces.images.shape[2:], "toy")
    n = len(faces.images)
    for changes, fragment in (
        ({"subjects": faces.subjects + 0.5}, "expected subjects (n,) as an array of whole numbers, got float64"),
        ({"subjects": faces.subjects.astype(str)}, "expected subjects (n,) as an array of whole numbers"),
        ({"attributes": {"age": np.zeros((n, 2))}}, f"expected age ({n},), got float64 ({n}, 2)"),
        ({"attributes": {"age": 3}}, f"expected age ({n},)"),
    ):
        with pytest.raises(ContractError) as caught:
            check_faces(replace(faces, **changes), faces.images.shape[2:], "toy")  # type: ignore[arg-type]
        assert fragment in str(caught.value)


def test_an_attribute_that_the_data_set_does_not_know_is_named() -> None:
    faces = StoredFaces(**{f.name: getattr(some_faces(), f.name) for f in fields(StoredFaces)})
    faces = replace(faces, attributes={"age": np.arange(len(faces.images)), "gender": np.ones(len(faces.images))})
    examples = LearningExamples(faces, None, with_images=True, labelled=True, plugin="attack toy")  # type: ignore[arg-type]
    assert examples.attributes["age"].tolist() == list(range(len(faces.images)))
    assert ("beard" in examples.attributes, examples.attributes.get("beard")) == (False, None)
    with pytest.raises(ContractError) as caught:
        examples.attributes["beard"]
    assert str(caught.value) == (
        "attack toy requested examples.attributes['beard']; the faces that it learns from have these attributes: age, "
        "gender. Learn those, or set auxiliary to a data set that has 'beard'"
    )
