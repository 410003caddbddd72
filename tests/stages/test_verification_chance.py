"""Simulated embeddings, scored as a run scores them: a defense that leaks nothing matches as often as its impostors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from fake_run import FakeRun, rewritten, write_fake_run

from bench.analysis.measures import measure, select
from bench.analysis.rows import Rows
from bench.stages import verification
from bench.stages.stage_inputs import Job
from bench.stages.verification import score_verification
from bench.store.artifacts import Artifact

WIDTH, PAIRS = 48, 200
Vectors = np.ndarray


@dataclass(frozen=True, kw_only=True)
class People:
    """Embeddings of pairs, of which no two show the same person: the first half is genuine.

    ``left`` and ``right`` are the people of each picture, ``clean_left`` and ``clean_right`` their embeddings.
    """

    left: Vectors
    right: Vectors
    clean_left: Vectors
    clean_right: Vectors
    calibration: Vectors


def unit(vectors: Vectors) -> Vectors:
    return cast(Vectors, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


MEAN = unit(np.ones((1, WIDTH)))  # What all faces have in common.


def people(rng: np.random.Generator) -> People:
    left = np.arange(PAIRS)
    right = np.where(left < PAIRS // 2, left, PAIRS + left)
    person = unit(rng.normal(size=(2 * PAIRS + 120, WIDTH)))

    def pictures(who: Vectors) -> Vectors:
        return unit(MEAN + person[who] + 0.6 * unit(rng.normal(size=(len(who), WIDTH))))

    others = pictures(np.repeat(2 * PAIRS + np.arange(120), 2))
    return People(left=left, right=right, clean_left=pictures(left), clean_right=pictures(right), calibration=others)


def noise(rng: np.random.Generator) -> Vectors:
    return unit(rng.normal(size=(PAIRS, WIDTH)))


def own(vectors: Vectors) -> Vectors:
    """What distinguishes faces from the mean of all."""
    return unit(vectors - (vectors @ MEAN.T) * MEAN)


Defense = Callable[[People, np.random.Generator], Vectors]
NOTHING: dict[str, Defense] = {
    "pulled to what faces share": lambda p, rng: unit(4 * MEAN + noise(rng)),
    "pushed away from faces": lambda p, rng: unit(-2 * MEAN + noise(rng)),
    "noise": lambda p, rng: noise(rng),
    "one picture for all": lambda p, rng: np.repeat(noise(rng)[:1], PAIRS, axis=0),
}
LEAKING: dict[str, Defense] = {
    "pulled, and leaks": lambda p, rng: unit(4 * MEAN + 1.2 * own(p.clean_left) + noise(rng)),
    "pushed, and leaks": lambda p, rng: unit(-2 * MEAN + 0.8 * own(p.clean_left) + noise(rng)),
}


def scored(of: People, protected: Vectors, *, rule: str = "fmr") -> pd.DataFrame:
    """Return the rows of the score stage for these embeddings."""
    clean, subjects = np.concatenate([of.clean_left, of.clean_right]), np.concatenate([of.left, of.right])
    return rows_of(clean, subjects, np.arange(PAIRS), np.arange(PAIRS, 2 * PAIRS), protected, of.calibration, rule=rule)


def rows_of(
    clean: Vectors,
    subjects: Vectors,
    left: Vectors,
    right: Vectors,
    protected: Vectors,
    calibration: Vectors,
    *,
    rule: str = "fmr",
    names: Sequence[str] = (),
) -> pd.DataFrame:
    """Return the rows of the score stage. ``left`` and ``right`` index the clean faces, whose ``subjects`` are given;
    every second calibration face shows the person of the one before it."""

    def faces(ids: Sequence[str], who: Vectors, **tables: pa.Table) -> Artifact:
        table = pa.table({"sample_id": list(ids), "subject": who})
        return Artifact(tensors={"images": np.zeros((len(who), 3, 1, 1), np.uint8)}, tables={"faces": table, **tables})

    def embeddings(plain: Vectors) -> Artifact:
        return Artifact(tensors={"plain": plain, "flipped": plain})

    fold = np.arange(len(left)) % 10
    pairs = {"left": left, "right": right, "same": subjects[left] == subjects[right], "fold": fold}
    ids = names or [f"f{k}" for k in range(len(clean))]
    others = 10_000 + np.arange(len(calibration)) // 2
    inputs = {
        "faces": faces(ids, subjects, pairs=pa.table(pairs)),
        "clean": embeddings(clean),
        "protected": embeddings(protected),
        "calibration_faces": faces([f"c{k}" for k in range(len(others))], others),
        "calibration": embeddings(calibration),
    }
    stage = SimpleNamespace(options={"fmr": 0.01, "threshold": rule}, name="verification", inputs=inputs)
    job = cast(Job, SimpleNamespace(input=inputs.__getitem__, stage=stage))
    return cast(pd.DataFrame, score_verification(job).tables["verification"].to_pandas())


def measured(folder: Path, found: pd.DataFrame, *names: str) -> dict[str, float]:
    """Return measurements of rows, as a report computes them."""
    spec = FakeRun(
        models={"net-a": "MobileFace"},
        datasets={"synth-lfw": "LFW"},
        defenses=[("Noise 0.3", "noise", False)],
        authorised=(("net-a",),),
        pairs=PAIRS,
    )

    def change(table: pd.DataFrame) -> None:
        for name in found:
            table[name] = found[name].to_numpy()

    rows = Rows(rewritten(write_fake_run(folder, spec), verification=change))
    values = {name: measure(rows, select(rows), name) for name in names}
    assert all(m.note is None for m in values.values())
    return {name: cast(float, m.value) for name, m in values.items()}


BOTH = ("fmr-match", "impostor-match", "fmr-match-deployed", "impostor-match-deployed")


@pytest.mark.parametrize("name", NOTHING)
def test_what_leaks_nothing_matches_no_more_than_impostors_do(name: str) -> None:
    """Over ten draws of people: matches at the adversary's threshold, minus those of the same probes' impostors."""
    excess, realised = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        of = people(rng)
        rows = scored(of, NOTHING[name](of, rng))
        hit = rows["cos_self"] > rows["kappa_adversary"]
        excess.append(float((hit - rows["impostor_match_adversary"]).mean()))
        realised.append(float(rows["impostor_match_adversary"].mean()))
    # All probes of one picture match the same originals, 1 of 180: 2 would be more than 1 %.
    assert 0.005 < np.mean(realised) < 0.012
    assert np.mean(realised) > 0.009 or name == "one picture for all"
    # Of 2,000 decisions with a probability of .01, the mean differs by less than .007 in 999 of 1,000 cases.
    assert abs(np.mean(excess)) < 0.007


def test_the_threshold_of_clean_faces_gives_the_wrong_answer(tmp_path: Path) -> None:
    """Without a leak nearly half of all match, with a leak nobody does; the adversary's threshold tells them apart."""
    rng = np.random.default_rng(3)
    of = people(rng)
    harmless = measured(tmp_path / "a", scored(of, NOTHING["pulled to what faces share"](of, rng)), *BOTH)
    leaking = measured(tmp_path / "b", scored(of, LEAKING["pushed, and leaks"](of, rng)), *BOTH)
    assert harmless["fmr-match-deployed"] > 0.3
    assert leaking["fmr-match-deployed"] == leaking["impostor-match-deployed"] == 0
    assert harmless["fmr-match-deployed"] == pytest.approx(harmless["impostor-match-deployed"], abs=0.1)
    assert harmless["fmr-match"] < 0.03
    assert leaking["fmr-match"] > 0.5
    for found in (harmless, leaking):
        assert found["impostor-match"] == pytest.approx(0.01, abs=0.005)


@pytest.mark.parametrize("name", LEAKING)
def test_what_leaks_matches_more_than_impostors_do(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(5)
    of = people(rng)
    names = ("enrolled-match", "impostor-match-enrolled", "rank-1", "rank-1-chance", "rank-1-enrolled")
    found = measured(tmp_path / "run", scored(of, LEAKING[name](of, rng)), *BOTH, *names)
    assert found["fmr-match"] > 0.3 > 0.02 > found["impostor-match"]
    assert found["enrolled-match"] > 0.1 > 0.03 > found["impostor-match-enrolled"]
    assert found["rank-1"] > 0.2
    assert found["rank-1-chance"] == pytest.approx(1 / PAIRS)
    assert found["rank-1-enrolled"] > 0.1


def test_people_are_not_in_their_own_threshold() -> None:
    """Other embeddings of one person change the thresholds of other groups, and not the one of his own pairs."""
    rng = np.random.default_rng(7)
    of = people(rng)
    protected = NOTHING["noise"](of, rng)
    before = scored(of, protected)
    moved = protected.copy()
    moved[4] = of.clean_left[9]
    after = scored(of, moved)
    changed = before["kappa_adversary"] != after["kappa_adversary"]
    assert not changed[4]
    assert changed.any()
    assert set(before["adversary_people"]) <= set(range(int(0.85 * PAIRS), int(0.95 * PAIRS)))
    assert (before["adversary_impostors"] == before["adversary_people"] * (before["adversary_people"] - 1)).all()


def test_the_rule_and_the_rate_that_it_realises_are_stored() -> None:
    rng = np.random.default_rng(9)
    of = people(rng)
    protected = NOTHING["noise"](of, rng)
    fmr, accuracy = (scored(of, protected, rule=rule) for rule in ("fmr", "accuracy"))
    who = np.arange(240) // 2
    scores = (of.calibration @ of.calibration.T)[np.triu(who[:, None] != who[None, :], 1)]
    for rows, rule in ((fmr, "fmr"), (accuracy, "accuracy")):
        assert set(rows["threshold_rule"]) == {rule}
        assert set(rows["calibration_people"]) == {120}
        assert set(rows["calibration_impostors"]) == {len(scores)}
        (kappa,) = set(rows["kappa_calibrated"])
        assert rows["fmr_realised"][0] == pytest.approx((scores > kappa + 1e-9).mean(), abs=1e-9)
    assert 0.0095 < fmr["fmr_realised"][0] <= 0.01
    assert accuracy["fmr_realised"][0] != fmr["fmr_realised"][0]
    assert fmr["kappa_adversary"].equals(accuracy["kappa_adversary"])  # the adversary's rule is the FMR


# ---- galleries in which people have several pictures -----------------------------------------------------------------


def plane(*degrees: float) -> Vectors:
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def test_the_chance_of_rank_1_counts_the_pictures_of_each_person() -> None:
    """Three originals of one person and one of another: chance is (3² + 1²) / 4² = 10 / 16, and not 1 / 4."""
    subjects = np.array([0, 0, 0, 1, 0, 2])
    clean = plane(0, 10, 20, 90, 5, 150)
    rows = rows_of(clean, subjects, np.arange(4), np.array([4, 4, 4, 5]), plane(50, 50, 50, 95), plane(0, 9, 80, 90))
    assert rows["rank_chance"].tolist() == [0.75, 0.75, 0.75, 0.25]
    assert rows["rank_chance"].mean() == pytest.approx(10 / 16)
    assert set(rows["gallery"]) == {4}
    # Two pictures are enrolled, each once, although three pairs share the first.
    assert rows["rank_enrolled_chance"][:3].tolist() == [0.5] * 3
    assert rows[["rank_enrolled", "rank_enrolled_chance"]][3:].isna().all().all()


def test_the_own_picture_of_a_probe_is_not_enrolled() -> None:
    """Picture 0 is enrolled by the pair of picture 1; only other pictures of the person may find the probe."""
    clean, subjects = plane(0, 60, 25, 120, 170, 0), np.array([0, 0, 1, 1, 2, 0])
    left, right = np.array([0, 1, 2, 4]), np.array([1, 0, 3, 2])
    protected = plane(5, 5, 40, 170)
    rows = rows_of(clean, subjects, left, right, protected, plane(0, 9, 80, 90))
    # Enrolled are the pictures 0, 1, 2 and 3. The probe of 0, at 5 degrees: without 0, picture 2 (25) is nearer than 1.
    assert rows["rank_enrolled"].tolist()[:2] == [2, 1]
    assert rows["rank_enrolled_chance"].tolist()[:2] == pytest.approx([1 / 3, 1 / 3])
    # The probe of 2, at 40 degrees: 2 does not count, and 1 (60), 0 and 3 (120) are 20, 40 and 80 degrees away.
    assert rows["rank_enrolled"][2] == 3
    assert rows["rank_enrolled_chance"][2] == pytest.approx(1 / 3)


@pytest.mark.parametrize("names", [(), ("a", "b", "c", "d", "e", "a")])
def test_copies_of_the_own_picture_are_not_enrolled(names: Sequence[str]) -> None:
    """Face 5 is a copy of face 0: by its embedding, or by its name. No other picture of the person is enrolled."""
    last = 0 if not names else 1
    clean, subjects = plane(0, 60, 25, 120, 170, last), np.array([0, 0, 1, 1, 2, 0])
    rows = rows_of(clean, subjects, np.array([0, 2]), np.array([5, 3]), plane(0, 120), plane(0, 9, 80, 90), names=names)
    assert rows["rank_enrolled"].isna().tolist() == [True, False]
    assert rows["rank_enrolled_chance"].isna().tolist() == [True, False]
    assert (rows["rank_enrolled"][1], rows["rank_enrolled_chance"][1]) == (1, 0.5)


def test_too_few_people_give_no_adversary() -> None:
    rows = rows_of(plane(0, 60), np.array([0, 1]), np.array([0]), np.array([1]), plane(5), plane(0, 9, 80, 90))
    undefined = ["kappa_adversary", "impostor_match_adversary", "impostor_match_enrolled", "impostor_match"]
    assert rows[undefined].isna().all().all()
    assert rows["adversary_impostors"].tolist() == rows["adversary_people"].tolist() == [0]


def test_ranks_are_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    subjects, pairs = np.arange(40) // 2, np.arange(20)
    clean = rng.normal(size=(40, 8))
    left, right = 2 * pairs, np.where(pairs % 2 == 0, 2 * pairs + 1, (2 * pairs + 2) % 40)
    about = clean, subjects, left, right, clean[left] + 0.3 * rng.normal(size=(20, 8)), plane(0, 9, 80, 90)
    whole = rows_of(*about)
    monkeypatch.setattr(verification, "_AT_ONCE", 3 * 20)  # three probes at a time
    pd.testing.assert_frame_equal(rows_of(*about), whole)
    assert whole["rank_enrolled"].notna().sum() == 10
