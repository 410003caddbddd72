"""The adapted recogniser: what it declares, what it may know, and that it undoes protections which it can learn."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from bench_adapted import AdaptedRecogniser, bench_attacks
from learner_examples import (
    Pictures,
    Recogniser,
    cosines,
    grey,
    other_colours,
    recogniser_context,
    shuffled_blocks,
)
from torch import nn

from bench import ContractError, DataError, Received
from bench.testing import check_state, embed_checked

SMALL = {"steps": 40, "batch": 16, "rate": 0.01, "few": 0}


def small(**params: Any) -> AdaptedRecogniser:
    return AdaptedRecogniser(**(SMALL | params))


def learnt(attack: AdaptedRecogniser, examples: Pictures, **more: Any) -> dict[str, torch.Tensor]:
    """Return the state of the attack as the host stores it and gives it back."""
    stored = check_state(attack.fit(examples, recogniser_context(attack, **more)), "attack learner")
    return {name: torch.from_numpy(value) for name, value in stored.items()}


def embedded(attack: AdaptedRecogniser, state: Any, images: torch.Tensor, **more: Any) -> torch.Tensor:
    ids = [str(i) for i in range(len(images))]
    ctx = recogniser_context(attack, state, sample_ids=ids, **more)
    return embed_checked(attack, Received(images=images), ctx)


def separation(attack: AdaptedRecogniser, protect: Any, examples: Pictures | None = None) -> tuple[float, float]:
    """Return how well uploads of new people are told apart by their clean pictures, without and with the attack: the
    area under the curve."""
    state = learnt(attack, examples or Pictures(protect=protect))
    others = Pictures(people=30, each=1, protect=protect, seed=9)
    clean, uploads = Recogniser().eval(), others.sent
    with torch.no_grad():
        wanted, plain = clean(others.clean(slice(None))), clean(uploads)
    found = embedded(attack, state, uploads)
    areas = []
    for embeddings in (plain, found):
        same, other = cosines(embeddings, wanted)
        areas.append(float((same[:, None] > other).float().mean()))
    return areas[0], areas[1]


# ---- declarations ----------------------------------------------------------------------------------------------------


def test_declarations() -> None:
    assert bench_attacks() == {"adapted-recogniser": AdaptedRecogniser}
    attack = AdaptedRecogniser()
    assert (attack.outputs, attack.trains_on) == ("recognition", "defense")
    assert attack.sees == {"images", "labels", "defense"}
    assert attack.budget() == {"faces": 1600, "steps": 200}
    assert len({AdaptedRecogniser(learns=learns).threat for learns in ("pairs", "people", "head")}) == 3
    assert AdaptedRecogniser(learns="head").fit_seconds() < attack.fit_seconds()


def test_planning_needs_no_torch() -> None:
    code = "import sys, bench_adapted, bench_linkage, bench_insider; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- what it learns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learns", ["pairs", "people", "head"])
def test_it_recognises_protected_people_whom_it_has_not_seen(learns: Any) -> None:
    examples = Pictures(people=200, protect=other_colours)
    plain, adapted = separation(small(learns=learns, steps=100), other_colours, examples)
    assert plain < 0.7
    assert adapted > 0.85


@pytest.mark.parametrize("learns", ["pairs", "people", "head"])
def test_it_still_recognises_unprotected_pictures(learns: Any) -> None:
    plain, adapted = separation(small(learns=learns), None)
    assert plain > 0.99
    assert adapted > 0.99


@pytest.mark.parametrize("learns", ["pairs", "people", "head"])
def test_a_picture_that_does_not_depend_on_the_face_tells_nothing(learns: Any) -> None:
    attack = small(learns=learns)
    state = learnt(attack, Pictures(protect=grey))
    found = embedded(attack, state, grey(torch.zeros(6, 3, 16, 16)))
    assert torch.allclose(found, found[:1].expand(6, -1), atol=1e-5)


def test_pairs_undo_a_permutation_of_blocks_by_a_layer_in_front() -> None:
    attack = small()
    plain, adapted = separation(attack, shuffled_blocks)
    assert plain < 0.75
    assert adapted > 0.99
    assert "adapted.front.between" in learnt(attack, Pictures(protect=shuffled_blocks))


def test_no_layer_is_put_in_front_of_what_needs_none() -> None:
    assert "adapted.front.between" not in learnt(small(), Pictures())


@pytest.mark.parametrize(
    ("without", "behind", "used"), [(0.5, 0.2, True), (0.5, 0.3, False), (0.06, 0.0, True), (0.04, 0.0, False)]
)
def test_a_layer_must_help_the_network_on_held_out_people(
    without: float, behind: float, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It halves the rank error and lowers it by .05, or it is left out."""
    from bench_learners import recognition

    errors = itertools.chain([without, behind], itertools.repeat(0.0))  # the last ones while it learns
    monkeypatch.setattr(recognition, "rank_error", lambda found, wanted: next(errors))
    state = learnt(small(steps=1), Pictures(people=20, protect=shuffled_blocks))
    assert any(name.startswith("adapted.front.") for name in state) == used


def test_held_out_people_count_by_ranks_and_then_by_the_loss() -> None:
    from bench_learners.recognition import _error

    wanted = torch.eye(2)
    sure, unsure = torch.tensor([[9.0, 1], [1, 9]]), torch.tensor([[3.0, 2], [2, 3]])
    wrong = torch.tensor([[1.0, 0.9], [0.9, 0.8]])  # The second one is nearer to the first target.
    for temperature in (0.05, 1.0):
        errors = [_error(found, wanted, temperature) for found in (sure, unsure, wrong)]
        assert errors == sorted(set(errors))
    assert _error(wanted, wanted, 1.0) < _error(wrong, wanted, 0.05)  # ranks decide, however large the loss is


def test_better_ranks_count_more_than_a_smaller_loss() -> None:
    from bench_learners.losses import towards
    from bench_learners.recognition import _error

    wanted = torch.eye(4)
    hardly_right = torch.ones(4, 4) + 0.01 * wanted
    one_wrong = torch.eye(4)
    one_wrong[0, 1] = 1.01
    assert towards(one_wrong, wanted, 0.2) < towards(hardly_right, wanted, 0.2)
    assert _error(one_wrong, wanted, 0.2) > _error(hardly_right, wanted, 0.2)


def test_faces_are_mirrored_after_their_blocks_are_in_order() -> None:
    """A mirrored upload would have its blocks in another order, and the network would learn from no face."""
    seen: list[torch.Tensor] = []

    class Watched(Recogniser):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(images)
            return super().forward(images)

    examples = Pictures(protect=shuffled_blocks)
    learnt(small(steps=4), examples, network=Watched())
    faces = examples.clean(slice(None))
    both = torch.cat([faces, faces.flip(-1)])[None].flatten(2)
    apart = (torch.cat(seen).flatten(1)[:, None] - both).abs().amax(2).min(1)
    assert len(apart.values) == 4 * 16
    assert float(apart.values.max()) < 0.01
    assert (apart.indices >= len(faces)).any()


def test_an_adversary_who_knows_people_never_uses_the_original() -> None:
    """Without originals the same pictures with other pixels in the uploads' own originals give the same targets."""
    from bench_learners.recognition import lessons

    examples, attack = Pictures(people=8, each=2), small(learns="people")
    ctx = recogniser_context(attack)
    targets = lessons(examples, "people", 0.25, ctx).targets
    network = Recogniser().eval()
    with torch.no_grad():
        images = examples.clean(slice(None))
        sides = [nn.functional.normalize(network(seen), dim=1) for seen in (images, images.flip(-1))]
    own = nn.functional.normalize(sides[0] + sides[1], dim=1)
    others = own.reshape(8, 2, -1).flip(1).reshape(16, -1)
    assert torch.allclose(targets, others, atol=1e-5)


def test_targets_of_a_person_with_three_pictures_are_the_mean_of_the_two_others() -> None:
    from bench_learners.recognition import of_other_pictures

    embeddings = torch.eye(5)
    rows, targets = of_other_pictures(embeddings, np.array([4, 2, 4, 4, 9]), recogniser_context(small()))
    assert rows.tolist() == [0, 2, 3]
    assert torch.allclose(targets[0], torch.tensor([0, 0, 0.5, 0.5, 0]) * 2**0.5)


def test_held_out_people_are_looked_at_and_not_learnt_from() -> None:
    from bench_learners.recognition import lessons

    examples = Pictures(people=20)
    known = lessons(examples, "originals", 0.25, recogniser_context(small()))
    people = examples.subjects
    assert len(np.unique(people[known.held_out])) == 5
    assert not set(people[known.held_out]) & set(people[known.learning])


def test_only_the_uploads_are_seen_of_the_defense() -> None:
    """Every upload is looked at, whether it is learnt from or held out."""
    examples = Pictures(people=12)
    learnt(small(learns="head"), examples)
    assert examples.shown == set(range(24))


# ---- bad input -------------------------------------------------------------------------------------------------------


def test_one_picture_of_each_person_is_an_error_where_people_are_known() -> None:
    attack = small(learns="people")
    with pytest.raises(DataError, match=r"attack learner: .*expected auxiliary people with two pictures or more"):
        attack.fit(Pictures(each=1), recogniser_context(attack))


def test_one_person_is_an_error() -> None:
    with pytest.raises(DataError, match="at least two people, found 1"):
        small().fit(Pictures(people=1, each=4), recogniser_context(small()))


@pytest.mark.parametrize("learns", ["pairs", "head"])
def test_the_state_of_another_network_is_an_error(learns: Any) -> None:
    class Wider(Recogniser):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3 * 64, 30, bias=False)

    attack = small(learns=learns, steps=2)
    state = learnt(attack, Pictures(), network=Wider())
    with pytest.raises(ContractError, match="of another network"):
        embedded(attack, state, Pictures().sent[:4])


def test_a_network_without_layers_of_weights_has_no_head() -> None:
    class Plain(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    attack = small(learns="head")
    with pytest.raises(ContractError, match="no layer with weights whose input a new head could get"):
        attack.fit(Pictures(), recogniser_context(attack, network=Plain()))


def test_it_repeats() -> None:
    first, second = (learnt(small(steps=8), Pictures(people=12)) for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_few_faces_are_learnt_carefully() -> None:
    """Batch normalisation keeps its statistics, and no weight moves by more than the small rate in a step."""
    before = Recogniser().state_dict()
    examples = Pictures(people=20, protect=other_colours)
    careful, bold = (learnt(small(learns="people", steps=2, few=few, rate=0.02), examples) for few in (400, 0))
    moved = [
        (state["adapted.network.linear.weight"] - before["linear.weight"]).abs().max() for state in (careful, bold)
    ]
    assert moved[0] < 2 * 3.1e-4 < 1e-3 < moved[1]
    assert torch.equal(careful["adapted.network.norm.running_mean"], before["norm.running_mean"])
