"""bench_facesets: which pairs are scored, calibrated on and learnt from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import faceset_files as files
import numpy as np
import pytest
import torch
from bench_facesets import Calfw, FaceSet, Lfw, pairing
from bench_facesets.collection import PairTable
from hypothesis import given
from hypothesis import strategies as st

from bench import DataError, Faces, Pairs
from bench.api.context import Context
from bench.stages.contracts import check_faces, check_pairs

CTX = Context(device=torch.device("cpu"), seed=0)


def shown(faces: Faces, pairs: Pairs) -> list[tuple[str, str, bool, int]]:
    """Pairs by the names of their pictures."""
    columns = (faces.sample_ids[pairs.left], faces.sample_ids[pairs.right], pairs.same, pairs.fold)
    return [(str(a), str(b), bool(s), int(f)) for a, b, s, f in zip(*columns, strict=True)]


def evaluated(dataset: Any, n: int) -> tuple[Faces, Pairs]:
    faces, pairs = dataset.evaluation(n, CTX)
    check_faces(faces, (112, 112), "test")
    check_pairs(pairs, faces, n, "test")
    assert set(pairs.left) | set(pairs.right) == set(range(len(faces.subjects)))
    return faces, pairs


def lfw(tmp_path: Path, per: int = 3, others: int = 0) -> Lfw:
    names = [f"Other_{k:02d}_000{shot}" for k in range(others) for shot in (1, 2, 3)]
    root = files.write_lfw(tmp_path / "lfw", files.protocol_pairs(10, per), names)
    return Lfw(path=str(root))


def test_shorter_choices_are_the_start_of_longer_ones(tmp_path: Path) -> None:
    dataset = lfw(tmp_path)
    assert dataset.max_pairs() == 60
    whole = shown(*evaluated(dataset, 60))
    for n in (1, 2, 7, 20, 48, 59):
        assert shown(*evaluated(dataset, n)) == whole[:n]
    assert sorted(whole) == sorted(set(whole))


def test_kinds_alternate_and_folds_take_turns(tmp_path: Path) -> None:
    _, pairs = evaluated(lfw(tmp_path), 60)
    assert pairs.same.tolist() == [True, False] * 30
    assert pairs.fold[:16].tolist() == [f for f in range(8) for _ in (0, 1)]
    assert set(pairs.fold[:48].tolist()) == set(range(8))
    assert set(pairs.fold[48:].tolist()) == {8, 9}


def test_calibration_pairs_are_of_other_folds_than_the_last(tmp_path: Path) -> None:
    dataset = lfw(tmp_path)
    faces, pairs = dataset.calibration(CTX)  # type: ignore[misc]
    check_faces(faces, (112, 112), "test")
    check_pairs(pairs, faces, None, "test")
    assert set(pairs.fold.tolist()) == set(range(8))
    assert (pairs.same.sum(), len(pairs.same) > 48) == (24, True)
    extra = [p for p in shown(faces, pairs) if not p[2]]
    assert len(set(extra)) == len(extra) or len(extra) - len(set(extra)) <= 24
    _, few = Lfw(path=dataset.path, calibration_pairs=20).calibration(CTX)  # type: ignore[misc]
    assert few.same.sum() == 10
    assert dataset.calibration_people() == 0  # They are scored in other folds.


def test_impostors_of_a_bin_are_only_those_of_its_pairs(tmp_path: Path) -> None:
    path = files.write_bin(tmp_path / "lfw.bin", files.protocol_pairs(10, 3))
    _, pairs = Lfw(path=str(path)).calibration(CTX)  # type: ignore[misc]
    assert len(pairs.same) == 48


def test_attackers_learn_from_people_in_no_pair(tmp_path: Path) -> None:
    dataset = lfw(tmp_path, others=25)
    assert dataset.pairs_beside_auxiliary() is None
    faces = dataset.auxiliary(CTX)
    check_faces(faces, (112, 112), "test")
    assert len(faces.subjects) == 50
    assert np.unique(faces.subjects, return_counts=True)[1].tolist() == [2] * 25
    assert all(str(name).startswith("Other_") for name in faces.sample_ids)
    few = Lfw(path=dataset.path, auxiliary_identities=10).auxiliary(CTX)
    assert len(np.unique(few.subjects)) == 10
    once = Lfw(path=dataset.path, auxiliary_pictures=1).auxiliary(CTX)
    assert set(once.sample_ids.tolist()) < set(faces.sample_ids.tolist())
    assert np.unique(once.subjects, return_counts=True)[1].tolist() == [1] * 25


@pytest.mark.parametrize("kind", ["lfw", "bin"])
def test_or_from_the_last_folds(tmp_path: Path, kind: str) -> None:
    pairs = files.protocol_pairs(10, 3)
    shared = pairs[0][0]
    pairs[-1] = (pairs[-1][0], shared, False, 9)  # someone of fold 0 is in fold 9 too
    path = files.write_bin(tmp_path / "x.bin", pairs) if kind == "bin" else files.write_lfw(tmp_path / "lfw", pairs)
    dataset = Lfw(path=str(path))
    beside = dataset.pairs_beside_auxiliary()
    assert beside == 48
    learnt = dataset.auxiliary(CTX)
    check_faces(learnt, (112, 112), "test")
    scored = evaluated(dataset, beside)[0]
    pixels = {image.tobytes() for image in scored.images[:]}
    assert len(learnt.subjects)
    assert not any(image.tobytes() in pixels for image in learnt.images[:])
    assert not set(learnt.subjects.tolist()) & set(scored.subjects.tolist())


def test_equal_images_of_a_bin_are_one_person(tmp_path: Path) -> None:
    pairs = [("a1", "a2", True, 0), ("a2", "a3", True, 1), ("a1", "b", False, 0), ("b", "c", False, 1)]
    faces, found = evaluated(FaceSet(path=str(files.write_bin(tmp_path / "x.bin", pairs))), 4)
    assert len(faces.subjects) == 5
    subject = {image.tobytes(): s for image, s in zip(faces.images[:], faces.subjects.tolist(), strict=True)}
    of = {n: subject[files.picture(n).transpose(2, 0, 1).tobytes()] for n in ("a1", "a2", "a3", "b", "c")}
    assert of["a1"] == of["a2"] == of["a3"]
    assert len({of["a1"], of["b"], of["c"]}) == 3
    assert found.same.tolist() == [True, False, True, False]


@pytest.mark.parametrize("kind", ["lfw", "bin"])
def test_a_label_that_contradicts_is_kept_apart(tmp_path: Path, kind: str) -> None:
    pairs = files.protocol_pairs(10, 2)
    one, other, _, fold = pairs[0]
    pairs[2] = (one, other, False, fold)  # the same two pictures, now different people
    if kind == "bin":
        path = files.write_bin(tmp_path / "x.bin", pairs)
    else:
        root = files.write_lfw(tmp_path / "lfw", pairs)
        name = one.rsplit("_", 1)[0]
        text = (root / "pairs.txt").read_text().splitlines()
        text[3] = f"{name}\t1\t{name}\t2"
        path = files.put(root / "pairs.txt", "\n".join(text)).parent
    dataset = Lfw(path=str(path))
    evaluated(dataset, 40)
    wrong = dataset.collection().resolved.contradicted
    assert np.flatnonzero(wrong).tolist() == [2]
    checks = {c.what: c for c in dataset.verify({})}
    assert not checks["labels"].ok
    assert "contradicts" in checks["labels"].found


def test_calfw_folds_are_balanced(tmp_path: Path) -> None:
    dataset = Calfw(path=str(files.write_calfw(tmp_path / "calfw", files.protocol_pairs(10, 3))))
    _, pairs = evaluated(dataset, 60)
    for label in (True, False):
        assert np.bincount(pairs.fold[pairs.same == label]).tolist() == [3] * 10


def test_lfw_and_calfw_number_people_by_name(tmp_path: Path) -> None:
    pairs = files.protocol_pairs(10, 3)
    first = lfw(tmp_path)
    second = Calfw(path=str(files.write_calfw(tmp_path / "calfw", pairs[::-1])))
    assert first.people_of == second.people_of == "lfw"

    def numbers(dataset: Any) -> dict[str, int]:
        faces, chosen = evaluated(dataset, 20)
        assert (faces.subjects >= 0).all()
        assert (faces.subjects[chosen.left] == faces.subjects[chosen.right]).tolist() == chosen.same.tolist()
        return {
            Path(name).name.rsplit("_", 1)[0]: int(s) for name, s in zip(faces.sample_ids, faces.subjects, strict=True)
        }

    left, right = numbers(first), numbers(second)
    both = left.keys() & right.keys()
    assert both
    assert all(left[name] == right[name] for name in both)
    assert len(set(left.values())) == len(left)
    unnamed = Lfw(path=str(files.write_bin(tmp_path / "lfw.bin", pairs)))
    assert unnamed.people_of == ""
    assert FaceSet(path=str(tmp_path)).people_of == ""


def test_spellings_of_a_name_have_one_number(tmp_path: Path) -> None:
    pairs = files.protocol_pairs(10, 3)
    spelt = [
        (one.replace("Person_", "pERSON "), other.replace("Person_", "pERSON "), same, fold)
        for one, other, same, fold in pairs
    ]
    first = lfw(tmp_path)
    second = Calfw(path=str(files.write_calfw(tmp_path / "calfw", spelt)))
    assert set(evaluated(first, 60)[0].subjects.tolist()) == set(evaluated(second, 60)[0].subjects.tolist())


def test_names_of_the_scored_and_of_those_learnt_from(tmp_path: Path) -> None:
    dataset = lfw(tmp_path, others=25)
    shown = {Path(str(name)).parent.name for name in evaluated(dataset, 12)[0].sample_ids}
    assert dataset.people(12) == shown
    everyone = set(dataset.auxiliary_people(lambda name: True))
    assert everyone == {f"Other_{k:02d}" for k in range(25)}
    some = {f"Other_{k:02d}" for k in range(7)}
    assert set(dataset.auxiliary_people(some.__contains__)) == some
    faces = dataset.auxiliary_among(some.__contains__, CTX)
    assert {Path(str(name)).parent.name for name in faces.sample_ids} == some
    few = Lfw(path=dataset.path, auxiliary_identities=10)
    left_out = set(few.auxiliary_people(lambda name: True))
    assert len(left_out) == 10
    assert len(set(few.auxiliary_people(lambda name: name not in left_out)) - left_out) == 10  # Others are drawn.
    with pytest.raises(DataError, match="no person is left to learn from"):
        dataset.auxiliary_among(lambda name: False, CTX)


def test_a_name_is_compared_once(tmp_path: Path) -> None:
    for dataset in (lfw(tmp_path / "a", others=25), lfw(tmp_path / "b"), folder(tmp_path / "c")):
        compared: list[str] = []

        def allowed(name: str, compared: list[str] = compared) -> bool:
            compared.append(name)
            return True

        learnt = set(dataset.auxiliary_people(allowed))
        assert len(compared) == len(set(compared))
        assert learnt
        assert learnt <= set(compared)


def test_the_source_is_kept_while_the_files_stay_the_same(tmp_path: Path) -> None:
    dataset, equal = folder(tmp_path), folder(tmp_path)
    first = dataset.source()
    assert dataset.source() is first
    assert (dataset, hash(dataset)) == (equal, hash(equal))
    files.write_folder(tmp_path / "mine", {"another": 4})
    assert dataset.source() is not first
    assert len(dataset.source().collection.encoded) == len(first.collection.encoded) + 4


def test_names_of_the_last_folds_and_of_a_division(tmp_path: Path) -> None:
    late = lfw(tmp_path)
    assert set(late.auxiliary_people(lambda name: True)) == {p for p in late.people(60) if p[7] in "IJ"}
    assert not set(late.auxiliary_people(lambda name: True)) & set(late.people(48))
    divided = folder(tmp_path)
    learnt, scored = set(divided.auxiliary_people(lambda name: True)), set(divided.people(4))
    assert learnt == names(divided.auxiliary(CTX))
    assert names(evaluated(divided, 20)[0]) <= scored
    assert not learnt & scored
    one = sorted(learnt)[0]
    assert names(divided.auxiliary_among(lambda name: name == one, CTX)) == {one}


def test_files_without_names_name_nobody(tmp_path: Path) -> None:
    unnamed = Lfw(path=str(files.write_bin(tmp_path / "lfw.bin", files.protocol_pairs(10, 3))))
    assert not unnamed.people(20)
    assert not unnamed.auxiliary_people(lambda name: True)


def test_an_unbalanced_protocol_gives_half_of_each(tmp_path: Path) -> None:
    pairs = [(f"g{k}a", f"g{k}b", True, -1) for k in range(30)] + [(f"i{k}a", f"i{k}b", False, -1) for k in range(10)]
    dataset = FaceSet(path=str(files.write_bin(tmp_path / "x.bin", pairs)))
    assert dataset.max_pairs() == 20
    assert evaluated(dataset, 20)[1].same.sum() == 10


# ---- without a protocol ----------------------------------------------------------------------------------------------


def folder(tmp_path: Path, **options: Any) -> FaceSet:
    people = {f"p{k:02d}": 1 + k % 4 for k in range(60)}
    return FaceSet(path=str(files.write_folder(tmp_path / "mine", people)), **options)


def names(faces: Faces) -> set[str]:
    return {str(i).split("/")[0] for i in faces.sample_ids}


def test_people_are_divided(tmp_path: Path) -> None:
    dataset = folder(tmp_path)
    most = dataset.max_pairs()
    scored, pairs = evaluated(dataset, most)
    calibrated, learnt = dataset.calibration(CTX), dataset.auxiliary(CTX)
    assert isinstance(calibrated, Faces)
    assert dataset.pairs_beside_auxiliary() is None
    assert names(scored) <= {f"p{k:02d}" for k in range(60)}
    assert not names(scored) & names(calibrated)
    assert not names(scored) & names(learnt)
    assert not names(calibrated) & names(learnt)
    assert min(np.unique(calibrated.subjects, return_counts=True)[1]) >= 2
    assert dataset.calibration_people() == len(np.unique(calibrated.subjects)) == 9
    assert pairs.same.sum() * 2 == most
    folds: dict[int, set[int]] = {}
    for subject, fold in zip(scored.subjects[pairs.left].tolist(), pairs.fold.tolist(), strict=True):
        folds.setdefault(subject, set()).add(fold)
    for subject, fold in zip(scored.subjects[pairs.right].tolist(), pairs.fold.tolist(), strict=True):
        folds.setdefault(subject, set()).add(fold)
    assert all(len(f) == 1 for f in folds.values())
    assert len(set(pairs.fold.tolist())) == 10


@pytest.mark.parametrize("pictures", [1, 2, 3, 4, 9])
def test_attackers_learn_from_as_many_pictures_of_each_person_as_allowed(tmp_path: Path, pictures: int) -> None:
    dataset = folder(tmp_path, auxiliary_pictures=pictures, auxiliary_identities=7)
    learnt = dataset.auxiliary(CTX)
    count = Counter(str(i).split("/")[0] for i in learnt.sample_ids)
    assert count == {name: min(pictures, 1 + int(name[1:]) % 4) for name in count}
    assert set(dataset.auxiliary_people(lambda name: True)) == set(count)
    assert len(count) == 7
    assert names(learnt) == names(folder(tmp_path, auxiliary_identities=7).auxiliary(CTX))


def test_drawn_pairs_are_a_prefix_too_and_follow_the_seed(tmp_path: Path) -> None:
    dataset = folder(tmp_path)
    whole = shown(*evaluated(dataset, dataset.max_pairs()))
    assert len({frozenset(p[:2]) for p in whole}) == len(whole)
    assert shown(*evaluated(dataset, 11)) == whole[:11]
    other = FaceSet(path=dataset.path, seed=1)
    assert shown(*evaluated(other, 11)) != whole[:11]


def test_too_few_people_says_how_many_are_needed(tmp_path: Path) -> None:
    root = files.write_folder(tmp_path, {f"p{k}": 2 for k in range(6)})
    with pytest.raises(DataError, match="at least 10 people with two or more images"):
        FaceSet(path=str(root)).max_pairs()
    with pytest.raises(ValueError, match=r"at most 0\.9"):
        FaceSet(path=str(root), calibration_share=0.5, auxiliary_share=0.5)


def test_real_sets_have_no_people_for_tuning(tmp_path: Path) -> None:
    for refused in (lambda: Lfw(purpose="tuning"), lambda: FaceSet(path=str(tmp_path), purpose="tuning")):
        with pytest.raises(
            ValueError, match=r'purpose = "tuning": a real set has no people .*docs/suites\.md'
        ) as error:
            refused()
        assert "without `purpose`" in str(error.value)


def test_pairs_are_drawn_where_a_file_has_none(tmp_path: Path) -> None:
    from bench_facesets import locate
    from bench_facesets.readers import parquet

    root = files.write_folder(tmp_path / "mine", {f"p{k}": 2 for k in range(20)})
    parquet.write(locate.open_set(root, "people"), tmp_path / "lfw.parquet")
    drawn = Lfw(path=str(tmp_path / "lfw.parquet"))
    assert drawn.max_pairs() == FaceSet(path=str(root)).max_pairs()
    assert "pairs are drawn" in drawn.status().notes[-1]


@pytest.mark.slow
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_every_number_is_a_pair_of_its_own(counts: list[int]) -> None:
    codes = np.repeat(np.arange(len(counts)), counts)
    fold = pairing.Fold.of(np.arange(len(codes)) * 10, codes)
    genuine = {tuple(p) for p in (fold.genuine_pairs(np.arange(fold.genuine)) // 10).tolist()}
    impostor = {tuple(p) for p in (fold.impostor_pairs(np.arange(fold.impostor)) // 10).tolist()}
    every = {(a, b) for b in range(len(codes)) for a in range(b)}
    assert genuine == {(a, b) for a, b in every if codes[a] == codes[b]}
    assert impostor == every - genuine


@given(st.integers(2, 3000), st.integers(0, 5))
def test_genuine_pairs_of_large_people(count: int, seed: int) -> None:
    fold = pairing.Fold.of(np.arange(count), np.zeros(count, dtype=np.int64))
    numbers = np.random.default_rng(seed).integers(0, fold.genuine, 50)
    low, high = fold.genuine_pairs(numbers).T
    assert ((low >= 0) & (low < high) & (high < count)).all()
    assert (high * (high - 1) // 2 + low == numbers).all()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=10), st.integers(0, 200))
def test_quotas_take_turns(possible: list[int], total: int) -> None:
    found = pairing._quotas(np.array(possible), total)
    assert found.sum() == min(total, sum(possible))
    assert (found <= possible).all()
    short = [f for f, p in zip(found.tolist(), possible, strict=True) if f < p]
    assert not short or max(short) - min(short) <= 1
    assert not short or max(found.tolist()) <= max(short) + 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=80))
def test_any_protocol_is_ordered(rows: list[tuple[bool, int]]) -> None:
    n = len(rows)
    same, fold = (np.array(column) for column in zip(*rows, strict=True))
    table = PairTable(left=np.arange(n), right=np.arange(n), same=same, fold=fold)
    found, early = pairing.order(table)
    assert len(set(found.tolist())) == len(found)
    assert same[found].tolist() == [True, False] * (len(found) // 2)
    assert (fold[found[:early]] < 8).all()
    assert (fold[found[early:]] >= 8).all()


def test_a_million_pairs_is_the_most(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pairing, "MAX_PAIRS", 30)
    dataset = folder(tmp_path)
    assert dataset.max_pairs() == 30
    evaluated(dataset, 30)


def test_a_scored_picture_under_another_name_is_not_learnt_from(tmp_path: Path) -> None:
    dataset = lfw(tmp_path, others=24)
    before = set(dataset.auxiliary(CTX).sample_ids.tolist())
    wrong = "Other_03/Other_03_0001.png"
    assert wrong in before
    root = Path(dataset.path)
    (root / wrong).write_bytes((root / "Person_Aa" / "Person_Aa_0001.png").read_bytes())
    assert before - set(dataset.auxiliary(CTX).sample_ids.tolist()) == {wrong}
