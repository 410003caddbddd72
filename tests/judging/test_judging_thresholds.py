"""Thresholds of a judgement: set on people other than those judged, and refused in words with too few of them."""

from __future__ import annotations

import numpy as np
import pytest
from judged_photos import embedded, face
from numpy.typing import NDArray

from bench.judging.pictures import OtherPeople, PhotoPeople
from bench.judging.thresholds import Compared, needed_pairs, needed_people, of_adversary, of_service
from bench.metrics import cosine, impostor_scores


def faces_of(people: range, each: int = 2) -> NDArray[np.uint8]:
    made = [face(person, photo) for person in people for photo in range(each)]
    return np.stack(made).transpose(0, 3, 1, 2)


def compared(people: int, *, fmr: float = 0.1, known: bool = True, strangers: int = 0) -> Compared:
    """What a judge compares: two pictures of each of some people, and perhaps strangers."""
    who = np.repeat(np.arange(people), 2)
    names = tuple(f"p{k}" for k in range(people))
    of = {f"p{k}/{photo}": k for k in range(people) for photo in range(2)}
    others = None
    if strangers:
        images = faces_of(range(1000, 1000 + strangers))
        others = OtherPeople(images=images, people=np.repeat(np.arange(strangers), 2), pairs=None, source="others")
    return Compared(
        people=PhotoPeople(of=of, names=names, known=known),
        strangers=others,
        clean=embedded(faces_of(range(people))),
        who=who,
        other=None if others is None else embedded(others.images),
        fmr=fmr,
    )


def test_a_false_match_rate_needs_so_many_people() -> None:
    assert needed_pairs(0.01) == 100
    assert needed_pairs(0.001) == 1000
    assert [needed_people(fmr) for fmr in (0.1, 0.01, 0.001)] == [10, 15, 46]
    assert 14 * 13 // 2 < needed_pairs(0.01) <= 15 * 14 // 2


def test_the_service_is_set_on_everybody_but_the_own_person() -> None:
    c = compared(20)
    found = of_service(c, c.clean, np.arange(20))
    assert not found.reason
    assert found.people == 18  # Ten groups of two people, one of which is left out.
    everybody = impostor_scores(c.clean, c.who)
    assert np.mean(everybody > found.kappa.mean()) == pytest.approx(0.1, abs=0.03)
    # Whoever resembles all others raises the threshold of all others, and not his own.
    c.clean[:2] = embedded(faces_of(range(1, 20))).mean(axis=0)
    assert of_service(c, c.clean, np.arange(20)).kappa.argmin() == 0


def test_too_few_people_are_refused_with_what_is_needed() -> None:
    c = compared(15, fmr=0.01)
    found = of_service(c, c.clean, np.arange(15))
    assert np.isnan(found.kappa).all()
    assert found.reason.startswith("an FMR of 1 % is one match in 100 pairs of different people, for which 15 people")
    assert "here are 13 beside those of a photo" in found.reason
    fewer = of_service(compared(15, fmr=0.001, strangers=40), embedded(faces_of(range(1000, 1040))), np.arange(15))
    assert "for which 46 people are needed; here are 40 in --calibrate" in fewer.reason


def test_unknown_people_give_no_threshold_but_strangers_do() -> None:
    c = compared(20, known=False)
    assert "--one-person-each" in of_service(c, c.clean, np.arange(20)).reason
    assert np.isnan(c.matched_strangers(c.clean, c.who, np.zeros((40, 2)))).all()
    c = compared(20, known=False, strangers=20)
    assert c.other is not None
    found = of_service(c, c.other, np.arange(20))
    assert found.people == 20
    assert len(set(found.kappa.tolist())) == 1
    scores = impostor_scores(c.other, np.repeat(np.arange(20), 2))
    assert np.mean(scores > found.kappa[0]) == pytest.approx(0.1, abs=0.01)
    assert of_adversary(c, c.clean, c.who, np.arange(20)).reason.startswith("whose the protected pictures are")


def test_the_adversary_is_set_on_protected_pictures_of_others() -> None:
    for strangers in (0, 20):
        c = compared(20, strangers=strangers)
        rng = np.random.default_rng(1)
        probes = (c.clean + rng.normal(0, 0.2, c.clean.shape)).astype(np.float32)  # Noise brings cosines nearer to 0.
        found = of_adversary(c, probes, c.who, np.arange(20))
        service = of_service(c, c.clean if c.other is None else c.other, np.arange(20))
        assert not found.reason
        shares = c.matched_strangers(probes, c.who, np.stack([found.kappa[c.who], service.kappa[c.who]], axis=1))
        assert shares[:, 0].mean() == pytest.approx(0.1, abs=0.03)
        if not strangers:  # The service, set on clean pictures of the same people, is stricter than it means to be.
            assert found.kappa.mean() < service.kappa.mean()
            assert shares[:, 1].mean() < shares[:, 0].mean()
    c = compared(11)
    assert "at least 10 other people, here are 9" in of_adversary(c, c.clean, c.who, np.arange(11)).reason


def test_the_pairs_of_a_protocol_are_the_only_ones_that_count() -> None:
    c = compared(20, strangers=20)
    assert c.strangers is not None
    assert c.other is not None
    pairs = np.array([(2 * k, 2 * k + 3) for k in range(18)])
    strangers = OtherPeople(images=c.strangers.images, people=c.strangers.people, pairs=pairs, source="a protocol")
    c = Compared(people=c.people, strangers=strangers, clean=c.clean, who=c.who, other=c.other, fmr=c.fmr)
    found = of_service(c, c.other, np.arange(20))
    assert found.impostors == 18
    assert found.kappa[0] == np.sort(cosine(c.other[pairs[:, 0]], c.other[pairs[:, 1]]))[-2]
    few = OtherPeople(images=strangers.images, people=strangers.people, pairs=pairs[:9], source="a protocol")
    c = Compared(people=c.people, strangers=few, clean=c.clean, who=c.who, other=c.other, fmr=c.fmr)
    assert of_service(c, c.other, np.arange(20)).reason == (
        "an FMR of 10 % is one match in 10 pairs of different people; the protocol of the data set has 9. Give a "
        "folder of people or another data set with --calibrate, or choose a larger --fmr"
    )


def test_strangers_lower_the_number_of_protected_people_that_an_adversary_needs() -> None:
    c = compared(15, fmr=0.001, strangers=50)
    assert c.other is not None
    few = of_adversary(c, c.clean, c.who, np.arange(15)).reason
    assert "for which 20 people are needed; here are 13 who are protected, beside those of a photo" in few
