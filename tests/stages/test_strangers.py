"""The adversary's threshold on people of the calibration split: simulated embeddings, scored as a run scores them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bench.core.errors import ContractError
from bench.stages.splits import Shown, check_apart
from bench.stages.stage_inputs import Job, read_faces, read_pairs
from bench.stages.strangers import faces_of_strangers, first_and_second
from bench.stages.verification import score_verification
from bench.store.artifacts import Artifact

WIDTH, PAIRS, STRANGERS, OTHERS = 48, 120, 80, 160
Vectors = Any


def unit(vectors: Vectors) -> Vectors:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embeddings(plain: Vectors) -> Artifact:
    return Artifact(tensors={"plain": plain, "flipped": plain})


def faces_of(subjects: Vectors, **tables: pa.Table) -> Artifact:
    ids = [f"{person}-{k}" for k, person in enumerate(subjects)]
    about = pa.table({"sample_id": ids, "subject": np.asarray(subjects)})
    facts = {"split": "calibration", "people": "people", "of": "toy", "kind": "generated"}
    images = np.arange(len(subjects) * 3, dtype=np.uint8).reshape(-1, 3, 1, 1)
    return Artifact(tensors={"images": images}, tables={"faces": about, **tables}, facts=facts)


def job(inputs: dict[str, Artifact], **options: Any) -> Job:
    stage = SimpleNamespace(options=options, name="stage", inputs=inputs)
    return cast(Job, SimpleNamespace(input=inputs.__getitem__, stage=stage))


class Simulation:
    """People with two pictures each: those of pairs, of which half are genuine, and those of the calibration split.

    ``protect`` makes of embeddings those of protected pictures.
    """

    def __init__(self, seed: int, protect: Any, side: str = "probe") -> None:
        rng = np.random.default_rng(seed)
        left = np.arange(PAIRS)
        right = np.where(left % 2 == 0, left, PAIRS + left)
        subjects = np.concatenate([left, right])
        whom = np.repeat(10_000 + np.arange(OTHERS), 2)
        self.clean, calibration = self._pictures(rng, subjects, whom)
        self.calibration = calibration
        pairs = {"left": left, "right": PAIRS + left, "same": left == right, "fold": left % 10}
        chosen = {"probe": left, "gallery": PAIRS + left, "both": np.arange(2 * PAIRS)}[side]
        self.inputs = {
            "faces": faces_of(subjects, pairs=pa.table(pairs)),
            "clean": embeddings(self.clean),
            "protected": embeddings(protect(self.clean[chosen], rng)),
            "calibration_faces": faces_of(whom),
            "calibration": embeddings(calibration),
        }
        self.strangers = faces_of_strangers(job(self.inputs, people=STRANGERS, split="strangers"))
        place = np.searchsorted(whom, read_faces(self.strangers).subjects)
        place[1::2] += 1
        of_strangers = place[1::2] if side == "gallery" else place[::2]
        self.protected_strangers = protect(calibration[of_strangers], rng)
        self.side = side

    def _pictures(self, rng: np.random.Generator, *people: Vectors) -> list[Vectors]:
        person = unit(rng.normal(size=(20_000, WIDTH)))
        return [unit(person[who] + 0.7 * unit(rng.normal(size=(len(who), WIDTH)))) for who in people]

    def rows(self, *, on: str, fmr: float = 0.01) -> pd.DataFrame:
        """Return the rows of the score with the adversary's threshold on scored people or on strangers."""
        inputs = dict(self.inputs)
        if on == "calibration":
            inputs |= {"strangers_faces": self.strangers, "strangers": embeddings(self.protected_strangers)}
        options = {"fmr": fmr, "threshold": "fmr", "protects": self.side}
        found = score_verification(job(inputs, **options)).tables["verification"].to_pandas()
        return cast(pd.DataFrame, found)


def noise(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    """A protection that leaves nothing of a person, and pushes all pictures towards one direction."""
    return unit(0.05 + unit(rng.normal(size=vectors.shape)))


def pulled(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    return unit(0.3 + unit(rng.normal(size=vectors.shape)))


def alike(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    """A blur: all pictures become similar, and a little of the person is left."""
    return unit(vectors + 2 * unit(np.ones((1, WIDTH))))


# ---- the false match rate --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["probe", "gallery", "both"])
@pytest.mark.parametrize("fmr", [0.01, 0.05])
def test_scored_strangers_are_matched_at_the_requested_rate(side: str, fmr: float) -> None:
    """Scored people and people of the calibration split are exchangeable: over twenty draws, the rate that is realised
    on the scored ones is the requested one within its error."""
    found = [Simulation(seed, noise, side).rows(on="calibration", fmr=fmr) for seed in range(20)]
    for column in ("impostor_match_adversary", "impostor_match_enrolled"):
        rates = np.array([rows[column].mean() for rows in found])
        assert abs(rates.mean() - fmr) < 3.5 * rates.std(ddof=1) / np.sqrt(len(rates)) + 1e-4
        assert abs(rates.mean() - fmr) < 0.15 * fmr
    for rows in found:
        assert set(rows["adversary_rule"]) == {"calibration"}
        assert 0.98 * fmr < rows["adversary_fmr_realised"][0] <= fmr
        assert 0.98 * fmr < rows["enrolled_fmr_realised"][0] <= fmr


def test_what_leaks_nothing_matches_no_more_than_chance() -> None:
    excess = []
    for seed in range(20):
        rows = Simulation(seed, noise).rows(on="calibration")
        excess.append(((rows["cos_self"] > rows["kappa_adversary"]) - rows["impostor_match_adversary"]).mean())
    assert abs(np.mean(excess)) < 0.007


def test_the_threshold_of_clean_faces_claims_matches_where_all_pictures_are_alike() -> None:
    """Both sides are protected by a blur. Of strangers, the threshold of clean faces accepts every pair, and that of
    protected strangers one in a hundred."""
    rows = Simulation(1, alike, "both").rows(on="calibration")
    impostor = ~rows["same"]
    assert (rows["cos_cross"][impostor] > rows["kappa_calibrated"][impostor]).mean() > 0.99
    assert (rows["cos_cross"][impostor] > rows["kappa_enrolled"][impostor]).mean() < 0.05
    assert rows["kappa_enrolled"][0] > rows["kappa_calibrated"][0] + 0.3
    assert rows["impostor_match_enrolled"].mean() == pytest.approx(0.01, abs=0.007)
    genuine = rows["same"]
    assert (rows["cos_cross"][genuine] > rows["kappa_enrolled"][genuine]).mean() > 0.5  # What is left is found.


# ---- on whom it is set -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["probe", "gallery", "both"])
def test_the_threshold_is_that_of_strangers_in_the_gallery(side: str) -> None:
    """Computed again, pair by pair: pictures of strangers against those that the adversary searches."""
    s = Simulation(2, alike, side)
    rows = s.rows(on="calibration", fmr=0.02)
    left, right = np.arange(PAIRS), np.arange(PAIRS, 2 * PAIRS)
    chosen = {"probe": left, "gallery": right, "both": np.arange(2 * PAIRS)}[side]
    protected = np.zeros_like(s.clean)
    protected[chosen] = s.inputs["protected"].tensors["plain"]

    def kappa(probes: Vectors, gallery: Vectors) -> float:
        scores = sorted((float(a @ b) for a in probes for b in gallery), reverse=True)
        return scores[int(0.02 * len(scores) + 1e-9)]

    own = kappa(s.protected_strangers, s.clean[chosen])
    sent = s.calibration[::2] if side == "gallery" else s.protected_strangers
    enrolled = kappa(sent, (s.clean if side == "probe" else protected)[right])
    assert rows["kappa_adversary"].tolist() == pytest.approx([own] * PAIRS, abs=1e-12)
    assert rows["kappa_enrolled"].tolist() == pytest.approx([enrolled] * PAIRS, abs=1e-12)
    assert set(rows["adversary_impostors"]) == {STRANGERS * len(chosen)}
    assert set(rows["adversary_people"]) == {STRANGERS}


def test_a_picture_that_all_others_resemble_does_not_spoil_the_rate() -> None:
    """A protection pulls all pictures towards one direction, and so towards a few clean ones. The rate on scored
    strangers stays that of the requested one, because the threshold knows the gallery."""
    rates = [Simulation(seed, pulled).rows(on="calibration")["impostor_match_adversary"].mean() for seed in range(20)]
    assert np.mean(rates) == pytest.approx(0.01, abs=0.0015)
    assert max(abs(rate - 0.01) for rate in rates) < 0.005


def test_the_threshold_of_the_service_and_the_other_columns_stay() -> None:
    s = Simulation(3, noise)
    scored, calibrated = s.rows(on="scored"), s.rows(on="calibration")
    assert set(scored["adversary_rule"]) == {"scored"}
    moved = {"kappa_adversary", "kappa_enrolled", "adversary_impostors", "adversary_people", "adversary_rule"}
    moved |= {"adversary_fmr_realised", "enrolled_fmr_realised", "impostor_match_adversary", "impostor_match_enrolled"}
    same = [column for column in scored if column not in moved]
    pd.testing.assert_frame_equal(scored[same], calibrated[same])
    assert scored["kappa_adversary"][0] == pytest.approx(calibrated["kappa_adversary"][0], abs=0.05)
    assert 0.0098 < scored["adversary_fmr_realised"].min() <= scored["adversary_fmr_realised"].max() <= 0.01


def test_protected_pictures_of_scored_people_do_not_change_the_threshold() -> None:
    s = Simulation(4, noise)
    before = s.rows(on="calibration")["kappa_adversary"]
    moved = np.array(s.inputs["protected"].tensors["plain"])
    moved[3] = s.clean[3]
    s.inputs["protected"] = embeddings(moved)
    assert s.rows(on="calibration")["kappa_adversary"].equals(before)


# ---- the pictures of strangers ---------------------------------------------------------------------------------------


def test_the_first_two_pictures_of_each_person_with_two() -> None:
    first, second = first_and_second(np.array([7, 3, 7, 5, 3, 3, 7]))
    assert first.tolist() == [1, 0]
    assert second.tolist() == [4, 2]


def test_people_are_chosen_at_even_distances() -> None:
    subjects = np.repeat(np.arange(9), 2)
    made = faces_of_strangers(job({"calibration_faces": faces_of(subjects)}, people=3, split="strangers"))
    assert read_faces(made).subjects.tolist() == [0, 0, 4, 4, 8, 8]
    assert read_faces(made).sample_ids.tolist() == ["0-0", "0-1", "4-8", "4-9", "8-16", "8-17"]
    pairs = read_pairs(made)
    assert pairs.left.tolist() == [0, 2, 4]
    assert pairs.right.tolist() == [1, 3, 5]
    assert made.facts["split"] == "strangers"
    assert made.facts["people"] == "people"
    everybody = faces_of_strangers(job({"calibration_faces": faces_of(subjects)}, people=60, split="strangers"))
    assert read_faces(everybody).subjects.tolist() == subjects.tolist()


def test_too_few_people_and_pairs_are_errors_in_words() -> None:
    with pytest.raises(ContractError, match=r"calibration\(\) returned 1 people with two pictures, expected at least"):
        faces_of_strangers(job({"calibration_faces": faces_of([1, 1, 2])}, people=3, split="strangers"))
    pairs = {"left": [0], "right": [1], "same": [True], "fold": [0]}
    source = faces_of([1, 1, 2, 2], pairs=pa.table(pairs))
    with pytest.raises(
        ContractError, match=r"returned pairs.* calibration_people\(\) of the data set, which must be 0"
    ):
        faces_of_strangers(job({"calibration_faces": source}, people=3, split="strangers"))


def test_nobody_on_whom_a_threshold_is_set_is_learnt_from() -> None:
    strangers = faces_of_strangers(job({"calibration_faces": faces_of([1, 1, 2, 2])}, people=2, split="strangers"))
    faces = faces_of([2, 3])
    learnt = replace(faces, facts={**faces.facts, "split": "auxiliary"})
    with pytest.raises(ContractError, match="calibration faces of toy and the auxiliary faces of toy share 1 person"):
        check_apart(Shown.in_faces(strangers), Shown.in_faces(learnt))
