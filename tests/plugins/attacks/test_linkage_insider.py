"""Attacks that link uploads, and the insider: declarations, what they compare, and that learning helps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from bench_insider import Insider
from bench_insider import bench_attacks as insiders
from bench_linkage import Linked
from bench_linkage import bench_attacks as linkers
from learner_examples import Pictures, Recogniser, cosines, grey, learnt, recogniser_context

from bench import CapabilityError, ContractError, Received
from bench.testing import embed_checked, enrol_checked, link_checked


def auc(attack: Linked, protect: Any, state: Any = None) -> float:
    """Return the area under the curve of scores of uploads of one person against those of two people."""
    pictures = Pictures(people=40, protect=protect, seed=9)
    first, second = pictures.sent[0::2], pictures.sent[1::2]

    def scores(second: torch.Tensor) -> torch.Tensor:
        ctx = recogniser_context(attack, state, sample_ids=[str(i) for i in range(len(first))])
        return torch.as_tensor(link_checked(attack, Received(images=first), Received(images=second), ctx))

    same, other = scores(second), scores(second.roll(1, 0))
    return float(((same[:, None] > other).float() + 0.5 * (same[:, None] == other).float()).mean())


def state_of(attack: Linked, protect: Any) -> dict[str, torch.Tensor]:
    return learnt(attack, Pictures(people=60, protect=protect))


# ---- links -----------------------------------------------------------------------------------------------------------


def test_declarations_of_links() -> None:
    assert linkers() == {"linked": Linked}
    plain, learner = Linked(), Linked(learns="pairs")
    assert plain.outputs == learner.outputs == "links"
    assert (plain.trains_on, plain.sees, plain.budget()) == ("nothing", {"images"}, {})
    assert (learner.trains_on, learner.sees) == ("defense", {"images", "labels", "defense"})
    assert learner.budget() == {"faces": 1600, "steps": 200}
    assert plain.threat != learner.threat
    assert plain.trained_as() is None


def test_without_learning_the_score_is_the_cosine_of_the_evaluated_network() -> None:
    pictures, network = Pictures(people=6), Recogniser().eval()
    first, second = pictures.sent[0::2], pictures.sent[1::2]
    ctx = recogniser_context(Linked(), sample_ids=["a"])
    found = link_checked(Linked(), Received(images=first), Received(images=second), ctx)
    with torch.no_grad():
        wanted = cosines(network(first), network(second))[0]
    assert torch.allclose(torch.as_tensor(found).float(), wanted, atol=1e-5)


def test_unprotected_uploads_are_linked() -> None:
    assert auc(Linked(), None) > 0.99


def tinted(images: torch.Tensor) -> torch.Tensor:
    """Return faint images, each under a random colour that covers most of what tells people apart."""
    tint = torch.rand(len(images), 3, 1, 1, generator=torch.Generator().manual_seed(len(images)))
    return (0.3 * images + 0.7 * tint).clamp(0, 1)


def test_learning_links_what_the_network_as_it_is_cannot() -> None:
    attack = Linked(learns="pairs", steps=60, batch=16, rate=0.01, few=0)
    assert auc(Linked(), tinted) < 0.7
    assert auc(attack, tinted, state_of(attack, tinted)) > 0.95


@pytest.mark.parametrize("learns", ["nothing", "pairs"])
def test_pictures_that_do_not_depend_on_the_face_cannot_be_linked(learns: Any) -> None:
    attack = Linked(learns=learns, steps=4, batch=16)
    state = state_of(attack, grey) if learns == "pairs" else None
    assert auc(attack, grey, state) == pytest.approx(0.5, abs=0.02)


# ---- the insider -----------------------------------------------------------------------------------------------------


def models() -> dict[str, Any]:
    return {"one": (Recogniser(1).eval(), ()), "two": (Recogniser(2).eval(), ())}


def insider(names: list[str]) -> Any:
    seen = {name: found for name, found in models().items() if name in names}
    return recogniser_context(Insider(), network=Recogniser(7), models=seen, sample_ids=list("abcdef"))


def test_the_insider_embeds_both_sides_with_the_authorised_model() -> None:
    assert insiders() == {"insider": Insider}
    assert Insider().sees == {"images", "full_model"}
    images = Pictures(people=6, each=1).sent
    with torch.no_grad():
        wanted = torch.nn.functional.normalize(models()["one"][0](images), dim=1)
    uploads = embed_checked(Insider(), Received(images=images), insider(["one"]))
    enrolled = enrol_checked(Insider(), images, insider(["one"]))
    assert torch.allclose(uploads, wanted, atol=1e-5)
    assert torch.allclose(enrolled, wanted, atol=1e-5)


def test_with_two_authorised_models_the_cosine_is_the_mean_of_both() -> None:
    images = Pictures(people=6, each=1).sent
    both = enrol_checked(Insider(), images, insider(["one", "two"]))
    single = [enrol_checked(Insider(), images, insider([name])) for name in ("one", "two")]
    assert torch.allclose(both @ both.T, sum(found @ found.T for found in single) / 2, atol=1e-5)


def test_the_insider_needs_images_and_the_model() -> None:
    with pytest.raises(ContractError, match="expected uploaded images, received none"):
        Insider().embed(Received(), insider(["one"]))
    with pytest.raises(CapabilityError, match="full_model"):
        Insider().enrol(Pictures(people=2).sent, recogniser_context(Linked(), models=models()))
