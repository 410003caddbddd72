"""Recognition after classical restoration, and of the mean of several uploads."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from bench_restoration import Restored
from bench_restoration.choice import choose
from bench_restoration.families import FAMILIES
from bench_restoration.filters import (
    NONE,
    Filter,
    blurred,
    down_up,
    filters,
    jpeg,
    non_local_means,
    richardson_lucy,
    wiener,
)
from bench_uploads import Averaged
from learner_examples import Pictures, Recogniser, cosines, grey, recogniser_context
from torch import Tensor

from bench import Attack, DataError, Received
from bench.testing import check_state, embed_checked

CHEAP = Restored(families=("blur", "down-up", "jpeg"))


def noisy(images: Tensor, seed: int = 2) -> Tensor:
    """Return images with strong noise, other noise for another seed."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return (images + 0.6 * noise).clamp(0, 1)


class Uploads(Pictures):
    """Pictures that are uploaded several times, with fresh noise."""

    def received(self, rows: Any, upload: int = 0) -> Received:
        return Received(images=noisy(self.clean(slice(None)), upload)[torch.from_numpy(np.asarray(rows))])


def learnt(attack: Attack, examples: Pictures) -> dict[str, Tensor]:
    """Return the state of the attack as the host stores it and gives it back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stored = check_state(attack.fit(examples, recogniser_context(attack)), "attack restored")
    return {name: torch.from_numpy(value) for name, value in stored.items()}


def area(attack: Any, state: dict[str, Tensor], received: Callable[[Pictures], Received]) -> float:
    """Return how well uploads of new people are told apart by their clean pictures: the area under the curve."""
    others = Pictures(people=40, each=1, seed=9)
    ids = [str(i) for i in range(40)]
    ctx = recogniser_context(attack, state, sample_ids=ids)
    same, other = cosines(embed_checked(attack, received(others), ctx), attack.enrol(others.clean(slice(None)), ctx))
    return float((same[:, None] > other).float().mean())


# ---- filters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_filters_keep_shape_and_range_and_treat_each_picture_by_itself(family: Any) -> None:
    images = torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(1))
    found = filters((family,))
    assert found[0] is NONE
    assert len(found) > 3
    assert len({f.words for f in found}) == len(found)
    for f in found[1:]:
        for change in (f.uploads, f.enrolled):
            made = change(images)
            assert made.shape == images.shape
            assert made.dtype == torch.float32
            assert 0 <= float(made.min()) <= float(made.max()) <= 1
            assert torch.allclose(change(images[1:]), made[1:], atol=1e-5)


@pytest.mark.parametrize("undo", [lambda x: wiener(x, 1.5, 1e-3), lambda x: richardson_lucy(x, 1.5, 12)])
def test_deconvolution_brings_back_what_a_blur_took(undo: Callable[[Tensor], Tensor]) -> None:
    images = torch.full((1, 3, 32, 32), 0.2)
    images[..., 10:22, 12:16] = 0.9
    sent = blurred(images, 1.5)
    assert float((undo(sent) - images).square().mean()) < 0.6 * float((sent - images).square().mean())


def test_non_local_means_lower_noise() -> None:
    images = torch.full((1, 3, 24, 24), 0.5)
    sent = (images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    assert float((non_local_means(sent, 0.2) - images).std()) < 0.3 * float((sent - images).std())


def test_reduction_keeps_means_and_jpeg_nearly_everything() -> None:
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    small = torch.nn.functional.avg_pool2d(images, 8)
    assert torch.allclose(torch.nn.functional.avg_pool2d(down_up(images, 8), 8), small, atol=0.05)
    plain = torch.full((1, 3, 16, 16), 0.4)
    assert torch.allclose(jpeg(plain, 50), plain, atol=0.01)


# ---- the choice ------------------------------------------------------------------------------------------------------


def test_declarations() -> None:
    attack = Restored()
    assert (attack.outputs, attack.trains_on) == ("recognition", "defense")
    assert attack.sees == {"images", "labels", "defense"}
    assert attack.budget() == {"faces": 200}
    assert attack.threat


def test_planning_needs_no_torch() -> None:
    code = "import sys, bench_restoration, bench_uploads; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_chooses_the_filter_that_undoes_the_defense() -> None:
    def inverted(images: Tensor) -> Tensor:
        return 1 - images

    examples = Pictures(protect=inverted)
    choices = [
        NONE,
        Filter(words="a blur", uploads=lambda x: blurred(x, 2)),
        Filter(words="inverted", uploads=inverted),
    ]
    ctx = recogniser_context(CHEAP)
    with pytest.warns(UserWarning, match=r"attack learner chose inverted: of 120 uploads .* matched 100\.0% \(without"):
        state = choose(choices, examples, lambda rows: examples.sent[torch.from_numpy(rows)], ctx)
    assert int(state["filter"]) == 2
    assert float(state["matched"][2]) == 1


def test_other_pictures_of_a_person_decide_if_there_are_any() -> None:
    # Pictures of a person differ by a sign, which a filter can undo; with one picture each, none is needed.
    class Mirrored(Pictures):
        def __init__(self, each: int) -> None:
            super().__init__(people=60, each=each)
            turned = np.flatnonzero(np.arange(len(self.images)) % each)
            self.images[turned] = 255 - self.images[turned]
            self.sent = self.clean(slice(None))

    choices = [NONE, Filter(words="inverted", uploads=lambda x: 1 - x)]
    found = []
    for each in (1, 2):
        examples = Mirrored(each)
        with pytest.warns(UserWarning, match="chose"):
            state = choose(
                choices, examples, lambda r, e=examples: e.sent[torch.from_numpy(r)], recogniser_context(CHEAP)
            )
        found.append(int(state["filter"]))
    assert found == [0, 1]


def test_degrading_enrolled_pictures_helps_where_uploads_are_degraded() -> None:
    def sent(others: Pictures) -> Received:
        return Received(images=blurred(others.clean(slice(None)), 3))

    attack = Restored(families=("blur",))
    state = learnt(attack, Pictures(people=100, protect=lambda x: blurred(x, 3)))
    assert "enrolled pictures" in attack.filters[int(state["filter"])].words
    assert area(attack, state, sent) > area(attack, {**state, "filter": torch.tensor(0)}, sent)


def test_it_recognises_unprotected_pictures_and_is_at_chance_on_grey_ones() -> None:
    def clean(others: Pictures) -> Received:
        return Received(images=others.clean(slice(None)))

    assert area(CHEAP, learnt(CHEAP, Pictures()), clean) > 0.99
    nothing = learnt(CHEAP, Pictures(protect=grey))
    assert area(CHEAP, nothing, lambda others: Received(images=grey(others.clean(slice(None))))) == pytest.approx(
        0.5, abs=0.15
    )


@pytest.mark.parametrize("each", [1, 60])
def test_one_person_is_an_error_that_says_what_to_do(each: int) -> None:
    with pytest.raises(DataError, match="at least two people, found 1; name a data set with more"):
        CHEAP.fit(Pictures(people=1, each=each), recogniser_context(CHEAP))


def test_people_with_many_pictures_do_not_fill_the_first_trials() -> None:
    state = learnt(CHEAP, Pictures(people=2, each=60))
    assert int(state["filter"]) >= 0


# ---- several uploads -------------------------------------------------------------------------------------------------


def test_what_averaging_declares() -> None:
    plain, restoring = Averaged(), Averaged(uploads=4, restore=True, faces=50)
    assert (plain.uploads, plain.uploads_of, plain.trains_on, plain.budget()) == (8, "photo", "nothing", {})
    assert plain.sees == {"images", "uploads"}
    assert (restoring.uploads, restoring.trains_on, restoring.budget()) == (4, "defense", {"faces": 50})
    assert restoring.sees == {"images", "uploads", "defense", "labels"}
    assert "4 uploads" in restoring.threat
    assert restoring.threat != Averaged(uploads=4).threat


def test_the_embedding_is_that_of_the_mean() -> None:
    first, second = torch.rand(2, 5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    attack = Averaged(uploads=2)
    received = Received(images=first, further=(Received(images=second),))
    with torch.no_grad():
        expected = Recogniser().eval()((first + second) / 2)
    assert torch.allclose(attack.embed(received, recogniser_context(attack)), expected, atol=1e-6)


def test_more_uploads_are_more_like_the_photo() -> None:
    photo, network = Pictures(people=20).clean(slice(None)), Recogniser().eval()
    found = []
    for several in (2, 8):
        every = [Received(images=noisy(photo, j)) for j in range(several)]
        attack = Averaged(uploads=several)
        sent = Received(images=every[0].images, further=tuple(every[1:]))
        with torch.no_grad():
            found.append(float(cosines(attack.embed(sent, recogniser_context(attack)), network(photo))[0].mean()))
    assert found[1] > found[0] + 0.05


def test_a_filter_is_chosen_on_means_of_uploads_and_then_used(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, examples = np.array([3, 1]), Uploads(people=3)
    seen = []

    def chosen(filters: Any, given: Any, uploads: Any, ctx: Any) -> dict[str, Tensor]:
        seen.append(uploads(rows))
        return {"filter": torch.tensor(3)}

    monkeypatch.setattr("bench_restoration.choice.choose", chosen)
    attack = Averaged(uploads=2, restore=True)
    state = attack.fit(examples, recogniser_context(attack))
    first, second = (examples.received(rows, upload).images for upload in (0, 1))
    assert first is not None
    assert second is not None
    assert torch.allclose(seen[0], (first + second) / 2)
    ctx = recogniser_context(attack, state)
    change = attack.filters[3]
    network = Recogniser().eval()
    with torch.no_grad():
        expected = network(change.uploads((first + second) / 2)), network(change.enrolled(first))
    found = attack.embed(Received(images=first, further=(Received(images=second),)), ctx), attack.enrol(first, ctx)
    assert torch.allclose(found[0], expected[0], atol=1e-6)
    assert torch.allclose(found[1], expected[1], atol=1e-6)
