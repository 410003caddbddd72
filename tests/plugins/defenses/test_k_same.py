"""One picture for k people."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from bench_k_same import KSameEigen, KSamePixel, bench_defenses
from bench_k_same.groups import groups
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import Capabilities, ContractError, Faces, SuiteError, instantiate
from bench.api.context import Context
from bench.api.defense import Defense
from bench.stages.contracts import check_state, protect_checked

GENERATOR = torch.Generator().manual_seed(1)
FACES = torch.rand(11, 3, 8, 10, generator=GENERATOR)
TRAINING = Faces(
    images=torch.randint(0, 256, (40, 3, 8, 10), generator=GENERATOR).byte().numpy(),
    subjects=np.arange(40),
    sample_ids=np.array([f"t{row}" for row in range(40)]),
)
DEFENSES: list[Defense] = [KSamePixel(k=3), KSameEigen(k=3, components=6)]


def _protected(
    defense: Defense, images: torch.Tensor, subjects: list[int] | None = None, ids: list[str] | None = None
) -> torch.Tensor:
    people = torch.tensor(subjects or range(len(images)))
    ctx = Context(
        device=torch.device("cpu"),
        seed=7,
        capabilities=Capabilities(needs=defense.needs, subjects=people),
        sample_ids=ids or [str(row) for row in range(len(images))],
        plugin="defense tried",
    )
    if "training" in defense.needs:
        learnt = check_state(defense.fit(TRAINING, ctx), "defense")
        ctx = replace(ctx, state={name: torch.from_numpy(values) for name, values in learnt.items()})
    out = protect_checked(defense, images, ctx).images
    assert out is not None
    assert (out.shape, out.dtype) == (images.shape, images.dtype)
    return out


def test_registration_without_torch() -> None:
    code = "import sys, bench_k_same as b; print(sorted(b.bench_defenses()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['k-same-eigen', 'k-same-pixel'] False"


@pytest.mark.parametrize("name", sorted(bench_defenses()))
def test_what_they_declare(name: str) -> None:
    defense = bench_defenses()[name]()
    assert defense.goal == "anonymity"
    assert {"whole_set", "subjects"} <= defense.needs
    assert all((defense.promise, defense.trusts, defense.not_promised))
    bound = bench_defenses()[name](k=9).bound()
    assert bound is not None
    assert (bound.k, bound.epsilon) == (9, None)


@pytest.mark.parametrize("name", sorted(bench_defenses()))
@pytest.mark.parametrize("k", [1, 0, 10**7])
def test_k_out_of_bounds_is_one_error(name: str, k: int) -> None:
    with pytest.raises(SuiteError, match=r"here\.k: input should be"):
        instantiate(bench_defenses()[name], {"k": k}, "here")


@pytest.mark.parametrize("defense", DEFENSES, ids=str)
def test_too_few_people_are_one_error(defense: Defense) -> None:
    expected = "defense tried: expected at least k = 3 people among the faces that are released together, found 2; set"
    with pytest.raises(ContractError, match=expected):
        _protected(defense, FACES[:4], [1, 1, 2, 2])


def test_the_average_is_that_of_the_nearest_people() -> None:
    grey = torch.tensor([0.1, 0.9, 0.2, 0.8, 0.7]).view(5, 1, 1, 1).expand(5, 3, 4, 4)
    out = _protected(KSamePixel(k=2), grey)[:, 0, 0, 0]
    # 0.1 has 0.2 as its nearest, and the three that are left stay together.
    assert torch.allclose(out, torch.tensor([0.15, 0.8, 0.15, 0.8, 0.8]))


def test_a_person_with_several_pictures_counts_once_and_gets_one_picture() -> None:
    grey = torch.tensor([0.1, 0.3, 0.3, 0.6]).view(4, 1, 1, 1).expand(4, 3, 4, 4)
    out = _protected(KSamePixel(k=2), grey, [5, 5, 5, 8])[:, 0, 0, 0]
    # The mean of the first person is 0.7 / 3, whatever the number of pictures.
    assert torch.allclose(out, torch.full((4,), (0.7 / 3 + 0.6) / 2))


@pytest.mark.parametrize("defense", DEFENSES, ids=str)
def test_the_order_of_the_faces_changes_nothing(defense: Defense) -> None:
    people = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
    order = torch.randperm(len(FACES), generator=torch.Generator().manual_seed(5)).tolist()
    ids = [str(row) for row in range(len(FACES))]
    out = _protected(defense, FACES, people, ids)
    again = _protected(defense, FACES[order], [people[row] for row in order], [ids[row] for row in order])
    assert torch.equal(again, out[order])


def test_eigen_sends_the_average_of_coefficients() -> None:
    defense = KSameEigen(k=2, components=6)
    faces = torch.from_numpy(TRAINING.images[:2]).float() / 255
    out = _protected(defense, faces)
    assert torch.equal(out[0], out[1])
    flat = torch.from_numpy(TRAINING.images).float().div(255).flatten(1)
    rows = torch.linalg.svd(flat - flat.mean(0), full_matrices=False).Vh[:6]
    average = ((faces.flatten(1) - flat.mean(0)) @ rows.T).mean(0)
    assert torch.allclose(out[0].flatten(), (average @ rows + flat.mean(0)).clamp(0, 1), atol=1e-3)


@given(people=st.lists(st.integers(0, 12), min_size=3, max_size=30), k=st.integers(2, 5), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=50)
def test_every_picture_is_that_of_at_least_k_people(people: list[int], k: int, seed: int) -> None:
    if len(set(people)) < k:
        return
    images = torch.rand(len(people), 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    out = _protected(KSamePixel(k=k), images, people)
    owners: dict[bytes, set[int]] = {}
    for person, image in zip(people, out, strict=True):
        owners.setdefault(image.numpy().tobytes(), set()).add(person)
    assert all(k <= len(group) < 2 * k for group in owners.values())
    assert sum(map(len, owners.values())) == len(set(people))  # Each person is in one group.


@pytest.mark.parametrize("defense", DEFENSES, ids=str)
def test_no_recogniser_names_more_than_one_person_in_k(defense: Defense) -> None:
    """Rank-1 identification against the enrolled originals themselves, by several distances and by chance."""
    out, originals = _protected(defense, FACES).flatten(1), FACES.flatten(1)
    people = torch.arange(len(FACES))
    projection = torch.randn(originals.shape[1], 16, generator=torch.Generator().manual_seed(2))
    for see in (lambda x: x, lambda x: x @ projection, lambda x: x - x.mean(1, keepdim=True), lambda x: x.square()):
        for p in (1.0, 2.0):
            named = torch.cdist(see(out), see(originals), p=p).argmin(dim=1)
            assert float((named == people).float().mean()) <= 1 / 3


@pytest.mark.parametrize(("pictures", "named"), [((3, 3, 3), 1 / 3), ((8, 1, 1), 0.8)])
def test_one_in_k_is_right_only_where_all_have_equally_many_pictures(pictures: tuple[int, ...], named: float) -> None:
    """Whoever knows how many pictures each person has names the one with most of them, whatever is shown."""
    people = [person for person, count in enumerate(pictures) for _ in range(count)]
    images = torch.rand(len(people), 3, 4, 4, generator=torch.Generator().manual_seed(3))
    out = _protected(KSamePixel(k=3), images, people)
    shown: dict[bytes, list[int]] = {}
    for person, image in zip(people, out, strict=True):
        shown.setdefault(image.numpy().tobytes(), []).append(person)
    right = sum(max(map(group.count, group)) for group in shown.values())
    assert right / len(people) == pytest.approx(named)
    assert "equally many" in KSamePixel.promise
    assert "unequally many" in KSamePixel.not_promised


def test_groups_leave_nobody_out() -> None:
    distances = torch.tensor([[0.0, 5, 1, 9, 2], [5, 0, 5, 1, 3], [1, 5, 0, 9, 9], [9, 1, 9, 0, 9], [2, 3, 9, 9, 0]])
    assert list(groups(distances, 2)) == [[0, 2], [1, 3, 4]]
    assert list(groups(distances, 3)) == [[0, 1, 2, 3, 4]]
