"""The trainer of attacks that learn: who is held out, which weights are kept, and what is an error."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from bench_learners.examples import batches, coin, images_of, mirrored, split
from bench_learners.fitting import fit
from bench_learners.heads import Head, Trunk
from bench_learners.losses import TEMPERATURE, rank_error, temperature_of, towards
from bench_learners.weights import restored, state_of
from torch import Tensor, nn

from bench import Context, ContractError, DataError, Received


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def context(seen: list[float] | None = None) -> Context:
    listen = None if seen is None else seen.append
    return Context(device=torch.device("cpu"), seed=3, plugin="attack learner", on_progress=listen)


# ---- who is held out -------------------------------------------------------------------------------------------------


def test_people_are_held_out_with_all_their_faces() -> None:
    subjects = np.repeat(np.arange(10) + 100, [3, 1, 4, 2, 2, 5, 1, 1, 2, 3])
    learning, held_out = split(subjects, 0.3, generator())
    assert sorted([*learning, *held_out]) == list(range(len(subjects)))
    assert len(np.unique(subjects[held_out])) == 3
    assert not set(subjects[learning]) & set(subjects[held_out])


@pytest.mark.parametrize(("share", "people"), [(0.0, 1), (0.01, 1), (0.5, 2), (1.0, 3)])
def test_somebody_is_held_out_and_somebody_is_not(share: float, people: int) -> None:
    _, held_out = split(np.array([7, 7, 8, 9, 5]), share, generator())
    assert len({(7, 7, 8, 9, 5)[row] for row in held_out}) == people


def test_other_seeds_hold_out_other_people() -> None:
    drawn = {tuple(split(np.arange(20), 0.2, generator(seed))[1]) for seed in range(5)}
    assert len(drawn) > 1
    assert np.array_equal(split(np.arange(20), 0.2, generator())[1], split(np.arange(20), 0.2, generator())[1])


def test_faces_of_one_person_are_an_error() -> None:
    with pytest.raises(DataError, match="expected auxiliary faces of at least two people, found 1"):
        split(np.array([4, 4, 4]), 0.2, generator())


# ---- batches and mirror images ---------------------------------------------------------------------------------------


def test_a_pass_has_every_row_at_most_once() -> None:
    rows = np.array([3, 5, 8, 9, 11])
    first, second, third = itertools.islice(batches(rows, 2, generator()), 3)
    assert len({*first, *second}) == 4
    assert {*first, *second, *third} <= set(rows)


def test_fewer_rows_than_a_batch_are_one_batch() -> None:
    assert sorted(next(batches(np.array([4, 2]), 64, generator()))) == [2, 4]


def test_chosen_images_are_mirrored() -> None:
    images = torch.arange(12.0).reshape(2, 1, 2, 3)
    found = mirrored(images, torch.tensor([False, True]))
    assert torch.equal(found[0], images[0])
    assert torch.equal(found[1, 0, 0], torch.tensor([8.0, 7.0, 6.0]))
    assert 300 < int(coin(1000, generator()).sum()) < 700


# ---- what is received ------------------------------------------------------------------------------------------------


def test_images_that_are_missing_or_no_numbers_are_named() -> None:
    with pytest.raises(ContractError, match="attack x: works on images, and received none; upload images"):
        images_of(Received(), "attack x")
    with pytest.raises(ContractError, match="attack x: the received images hold values that are NaN"):
        images_of(Received(images=torch.full((1, 3, 2, 2), torch.nan)), "attack x")
    images = torch.rand(2, 3, 4, 4)
    assert images_of(Received(images=images), "attack x") is images


# ---- losses ----------------------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_cosine_and_contrast() -> None:
    found, wanted = torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # The cosines are 1, 1 and 0, 0: half of 1 - cosine is lost, and nothing tells the targets apart.
    assert towards(found, wanted).item() == pytest.approx(0.5 + np.log(2))


def test_the_temperature_follows_the_cosines_between_people() -> None:
    people = np.array([4, 4, 9, 9])
    assert temperature_of(torch.tensor([[1.0, 0], [1, 0], [0, 5], [0, 1]]), people) == pytest.approx(TEMPERATURE)
    near = torch.tensor([[2.0, 0], [3, 0], [3, 4], [3, 4]])  # The cosine between the people is .6.
    assert temperature_of(near, people) == pytest.approx(0.4 * TEMPERATURE)
    assert temperature_of(torch.ones(4, 2), people) == pytest.approx(0.01 * TEMPERATURE)


def test_the_rank_error_is_the_share_of_nearer_targets() -> None:
    wanted = torch.eye(3)
    assert rank_error(wanted, wanted) == 0
    assert rank_error(torch.ones(3, 3), wanted) == pytest.approx(0.5)
    assert rank_error(wanted.roll(1, 0), wanted) == pytest.approx(0.75)  # one is nearer, the other equally near
    assert rank_error(torch.ones(1, 3), torch.ones(1, 3)) == 0


# ---- training --------------------------------------------------------------------------------------------------------


def line() -> tuple[nn.Linear, Callable[[int], Tensor]]:
    """A network with the single weight 0, and the loss whose minimum is at the weight 1."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    return network, lambda step: (network.weight - 1).square().sum()


def test_training_lowers_the_loss() -> None:
    network, loss = line()
    seen: list[float] = []
    best = fit(network, loss, lambda: loss(0).item(), steps=80, rate=0.1, patience=8, ctx=context(seen))
    assert best > 0
    assert network.weight.item() == pytest.approx(1, abs=0.1)
    assert seen[0] == pytest.approx(1 / 80)
    assert seen[-1] == 1


def test_the_best_weights_on_held_out_people_are_kept() -> None:
    """The loss moves the weight past 0.3, where the held-out people want it."""
    network, loss = line()
    values: list[float] = []

    def held_out() -> float:
        values.append(abs(network.weight.item() - 0.3))
        return values[-1]

    best = fit(network, loss, held_out, steps=80, rate=0.1, patience=80, ctx=context(), every=1)
    assert best == int(np.argmin(values))
    assert 0 < best < 80
    assert len(values) == 81
    assert abs(network.weight.item() - 0.3) == min(values)


def test_training_that_does_not_help_changes_nothing_and_ends_early() -> None:
    network, loss = line()
    looks: list[float] = []

    def held_out() -> float:
        looks.append(network.weight.item())
        return abs(looks[-1])

    assert fit(network, loss, held_out, steps=80, rate=0.1, patience=2, ctx=context(), every=10) == 0
    assert network.weight.item() == 0
    assert len(looks) == 3


def normalising() -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm1d(2, affine=False), nn.Linear(2, 1))


@pytest.mark.parametrize("statistics", ["learn", "keep"])
def test_statistics_of_batch_normalisation(statistics: str) -> None:
    network, modes = normalising(), set[tuple[bool, bool]]()

    def loss(step: int) -> Tensor:
        modes.add((network[0].training, network[1].training))
        value: Tensor = network(torch.tensor([[5.0, 1.0], [7.0, 3.0]])).square().sum()
        return value

    def held_out() -> float:
        assert not network[0].training
        return float(network(torch.ones(1, 2)).square().sum())

    fit(network, loss, held_out, steps=8, rate=0.01, patience=99, ctx=context(), statistics=statistics)  # type: ignore[arg-type]
    assert modes == {(statistics == "learn", True)}
    assert not network.training
    if statistics == "keep":
        assert torch.equal(network.state_dict()["0.running_mean"], torch.zeros(2))


def test_the_best_statistics_are_kept_with_the_best_weights() -> None:
    network = normalising()
    fit(
        network,
        lambda step: network(torch.tensor([[5.0, 1.0], [7.0, 3.0]])).square().sum(),
        lambda: float(network.state_dict()["0.running_mean"].sum()),
        steps=8,
        rate=0.01,
        patience=99,
        ctx=context(),
    )
    assert torch.equal(network.state_dict()["0.running_mean"], torch.zeros(2))


@pytest.mark.parametrize("in_proportion", [False, True])
def test_small_weights_get_a_rate_in_proportion(in_proportion: bool) -> None:
    """A step of AdamW changes each weight by about the rate, whatever its gradient."""
    network = nn.ParameterDict({name: torch.full((3,), size) for name, size in (("usual", 0.2), ("small", 0.006))})
    network["zero"] = nn.Parameter(torch.zeros(3))
    before = {name: parameter.detach().clone() for name, parameter in network.items()}
    values = iter(range(20, 0, -1))
    fit(
        network,
        lambda _: sum(parameter.sum() for parameter in network.values()),
        lambda: next(values),
        steps=10,
        rate=1e-3,
        patience=1,
        ctx=context(),
        in_proportion=in_proportion,
    )
    moved = {name: float((before[name] - parameter.detach()).mean()) for name, parameter in network.items()}
    assert moved["zero"] == pytest.approx(moved["usual"], rel=0.01)
    assert moved["small"] == pytest.approx(moved["usual"] * (0.2 if in_proportion else 1), rel=0.01)


def test_frozen_parameters_stay() -> None:
    network = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    network[0].requires_grad_(False)
    before = state_of(network)
    fit(
        network,
        lambda step: network(torch.ones(1, 1)).square().sum(),
        lambda: float(network(torch.ones(1, 1)).square().sum()),
        steps=8,
        rate=0.1,
        patience=99,
        ctx=context(),
    )
    after = state_of(network)
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["1.bias"], after["1.bias"])


def test_a_loss_that_is_no_number_is_an_error() -> None:
    network, loss = line()
    with pytest.raises(ContractError, match=r"attack learner: the loss of step 3 became nan; lower .*it is 0\.1"):
        fit(network, lambda s: loss(s) * (torch.nan if s == 2 else 1), lambda: 0.0, steps=8, rate=0.1, patience=99,
            ctx=context())  # fmt: skip
    with pytest.raises(ContractError, match="the value on held-out people after 0 steps became inf"):
        fit(network, loss, lambda: float("inf"), steps=8, rate=0.1, patience=9, ctx=context())


# ---- weights as a state ----------------------------------------------------------------------------------------------


def test_weights_survive_as_a_state() -> None:
    network, other = normalising(), normalising()
    state = state_of(network, "trunk.") | {"steps": torch.tensor(4.0)}
    found = restored(other, state, "trunk.")
    assert found is other
    assert not other.training
    assert not any(parameter.requires_grad for parameter in other.parameters())
    for name, tensor in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)


def test_a_state_does_not_change_with_the_network() -> None:
    network = nn.Linear(1, 1)
    state = state_of(network)
    nn.init.constant_(network.weight, 9.0)
    assert float(state["weight"]) != 9


@pytest.mark.parametrize("other", [nn.Linear(3, 1), nn.Linear(2, 1, bias=False), nn.Sequential(nn.Linear(2, 1))])
def test_the_state_of_another_network_is_an_error(other: nn.Module) -> None:
    with pytest.raises(ContractError, match="the state holds the weights of another network"):
        restored(other, state_of(nn.Linear(2, 1)))


def test_weights_that_are_not_finite_are_an_error() -> None:
    network = nn.Linear(2, 1)
    nn.init.constant_(network.bias, torch.inf)
    with pytest.raises(ContractError, match="'bias' that is not finite"):
        state_of(network)


# ---- a new head ------------------------------------------------------------------------------------------------------


def random_images(n: int, side: int = 8, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, side, side, generator=generator(seed))


def trunk_network() -> nn.Sequential:
    """A network with two layers of weights, the last of which gets two values, and a normalisation after it."""
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.ReLU(), nn.Linear(2, 5), nn.BatchNorm1d(5)).eval()


def test_the_trunk_ends_before_the_last_layer_of_weights() -> None:
    network, images = trunk_network(), random_images(4, 2)
    trunk = Trunk(network, images[:1])
    assert trunk.last is network[3]
    embeddings, features = trunk(images)
    assert torch.equal(embeddings, network(images))
    assert torch.equal(features, network[:3](images))
    assert not network[3]._forward_pre_hooks


def test_a_large_map_is_averaged_over_its_positions() -> None:
    network = nn.Sequential(nn.Conv2d(3, 40, 1), nn.Conv2d(40, 1, 32))
    images = random_images(2, 32)
    _, features = Trunk(network, images)(images)
    assert features.shape == (2, 40)
    assert torch.allclose(features, network[0](images).mean((2, 3)), atol=1e-5)


def test_a_new_head_first_gives_the_embeddings_of_the_network() -> None:
    head = Head(3, 2)
    head.note_statistics(torch.tensor([[1.0, 5.0, 0.0], [3.0, 5.0, 8.0]]))
    assert torch.equal(head(torch.tensor([[3.0, 4.0]]), torch.ones(1, 3)), torch.tensor([[0.6, 0.8]]))
    nn.init.ones_(head.correction.weight)
    # The standardised features are -1, 0 and -0.75: the constant one is not amplified.
    assert torch.allclose(head(torch.tensor([[3.0, 4.0]]), torch.ones(1, 3) * torch.tensor([1.0, 5.0, 1.0])),
                          torch.tensor([[0.6, 0.8]]) - 1.75)  # fmt: skip
