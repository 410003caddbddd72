"""The synthetic faces: determinism, labels, protocols, and cues that must not identify anyone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from bench_synthfaces import PROTOCOLS, SynthTraining, SynthTrainingJudges, constants, protocols, training
from bench_synthfaces._identity import draw_person, draw_shot
from bench_synthfaces.constants import TUNING
from bench_synthfaces.generator import EMOTIONS, GROUPS, render

from bench import Context, Faces, comparable_name, everyone

NAMES = tuple(protocols.PROTOCOLS)


@pytest.mark.slow
def test_a_picture_is_a_function_of_its_numbers_not_of_its_batch() -> None:
    subjects, shots = torch.arange(40) % 13, torch.arange(40)
    whole = render(5, subjects, shots)
    again = render(5, subjects, shots)
    assert torch.equal(whole.images, again.images)
    rows = torch.tensor([37, 2, 33])
    some = render(5, subjects[rows], shots[rows])
    assert torch.equal(some.images, whole.images[rows])
    assert torch.equal(some.age, whole.age[rows])
    assert torch.equal(some.emotion, whole.emotion[rows])
    other_world = render(6, subjects[rows], shots[rows])
    assert not torch.equal(other_world.images, some.images)


@pytest.mark.slow
def test_shapes_types_and_ranges() -> None:
    made = render(0, np.arange(3), np.arange(3), style="plain")
    assert made.images.shape == (3, 3, 112, 112)
    assert made.images.dtype == torch.uint8
    assert made.age.dtype == torch.float32
    assert bool(((made.age >= 16) & (made.age <= 80)).all())
    for labels, count in ((made.gender, 2), (made.emotion, len(EMOTIONS)), (made.group, len(GROUPS))):
        assert labels.dtype == torch.int64
        assert set(labels.tolist()) <= set(range(count))
    assert made.images.float().std() > 20
    nobody = render(0, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    assert nobody.images.shape == (0, 3, 112, 112)


@pytest.mark.slow
def test_explicit_ages_are_used_and_nan_means_usual() -> None:
    who, shot = np.array([4, 4, 4]), np.array([0, 0, 0])
    made = render(0, who, shot, age=torch.tensor([20.0, 70.0, float("nan")]))
    assert made.age[:2].tolist() == [20.0, 70.0]
    usual = render(0, who[:1], shot[:1])
    assert torch.equal(usual.images[0], made.images[2])
    assert not torch.equal(made.images[0], made.images[1])


def test_bad_arguments_name_themselves() -> None:
    with pytest.raises(ValueError, match="equal lengths"):
        render(0, np.arange(3), np.arange(2))
    with pytest.raises(ValueError, match="integers"):
        render(0, torch.zeros(2), torch.arange(2))
    with pytest.raises(ValueError, match="style"):
        render(0, np.arange(2), np.arange(2), style="cubist")  # type: ignore[arg-type]


def test_labels_belong_to_the_subject_and_are_balanced() -> None:
    made = render(0, np.repeat(np.arange(4), 3), np.arange(12))
    for labels in (made.gender, made.group):
        assert bool((labels.view(4, 3) == labels.view(4, 3)[:, :1]).all())
    person = draw_person(0, np.arange(3000))
    assert abs(float(person.gender.float().mean()) - 0.5) < 0.04
    assert int(torch.bincount(person.group, minlength=6).min()) > 400


def test_emotions_are_drawn_as_documented() -> None:
    subjects, shots = np.arange(4000) // 4, np.arange(4000) % 4
    shot = draw_shot(0, subjects, shots, draw_person(0, subjects), None, "wild")
    share = torch.bincount(shot.emotion, minlength=7) / 4000
    assert share[6] == pytest.approx(0.35, abs=0.03)
    assert share[3] == pytest.approx(0.20, abs=0.03)
    assert bool((share[[0, 1, 2, 4, 5]] - 0.09).abs().max() < 0.02)


def test_frontal_pictures_turn_little() -> None:
    subjects = np.arange(2000)
    person = draw_person(0, subjects)
    yaw = {
        style: torch.rad2deg(draw_shot(0, subjects, subjects, person, None, style).pose[:, 0].abs())
        for style in ("wild", "frontal", "plain")
    }
    assert float(yaw["plain"].max()) == 0
    assert float(yaw["frontal"].max()) < 8 < float(yaw["wild"].quantile(0.75))
    assert float(yaw["wild"].max()) < 30


@pytest.mark.slow
def test_mean_colour_does_not_identify() -> None:
    subjects = torch.arange(60).repeat_interleave(3)
    images = render(1, subjects, torch.arange(180) % 3).images.float()
    colour = images.mean((2, 3))
    distance = torch.cdist(colour, colour)
    distance.fill_diagonal_(torch.inf)
    hits = (subjects[distance.argmin(1)] == subjects).float().mean()
    assert float(hits) < 0.08  # chance is 2 / 179 = .011


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_balanced_disjoint_and_prefix_stable(name: str) -> None:
    long, short = protocols.pairs(name, 400), protocols.pairs(name, 61)
    assert short.same.sum() == 31
    for field in ("left", "right", "same", "fold"):
        np.testing.assert_array_equal(getattr(long, field)[:61], getattr(short, field))
    for field in ("subjects", "shots", "ages"):
        np.testing.assert_array_equal(getattr(long.pictures, field)[:122], getattr(short.pictures, field))
    left, right = long.pictures.subjects[long.left], long.pictures.subjects[long.right]
    np.testing.assert_array_equal(left == right, long.same)
    people = np.concatenate([left, right[~long.same]])
    assert len(np.unique(people)) == len(people) == 600
    assert {int(p) for p in people} <= set(protocols.get_protocol(name).identities)
    for fold in range(protocols.FOLDS):
        assert long.same[long.fold == fold].mean() == 0.5
    tiny = protocols.pairs(name, 2)
    assert tiny.same.tolist() == [True, False]


@pytest.mark.parametrize("name", NAMES)
def test_age_gaps_are_no_cue(name: str) -> None:
    pairs, gap = protocols.pairs(name, 1000), protocols.get_protocol(name).gap
    difference = np.abs(pairs.pictures.ages[pairs.left] - pairs.pictures.ages[pairs.right])
    if gap is None:
        assert np.isnan(pairs.pictures.ages).all()
        return
    for same in (True, False):
        own = difference[pairs.same == same]
        assert own.min() >= gap[0] - 1e-4
        assert own.max() <= gap[1] + 1e-4
        assert own.mean() == pytest.approx(sum(gap) / 2, abs=0.6)
    assert pairs.pictures.ages.min() >= 16
    assert pairs.pictures.ages.max() <= 80


@pytest.mark.parametrize("name", NAMES)
def test_most_impostors_agree_in_gender_and_group(name: str) -> None:
    pairs = protocols.pairs(name, 2000)
    gender, group = protocols.subject_labels(protocols.SEED, pairs.pictures.subjects)
    agree = (gender[pairs.left] == gender[pairs.right]) & (group[pairs.left] == group[pairs.right])
    assert agree[pairs.same].all()
    assert 0.6 < agree[~pairs.same].mean() < 0.75


def test_sets_of_people_do_not_overlap() -> None:
    ranges = [constants.TRAINING, constants.AUXILIARY]
    ranges += [p.calibration for p in protocols.PROTOCOLS.values()]
    ranges += [p.identities for p in protocols.PROTOCOLS.values()]
    ranges += [range(r.start + TUNING, r.stop + TUNING) for r in ranges[1:]]
    assert len(ranges) == 19
    ranges.sort(key=lambda r: r.start)
    assert all(a.stop <= b.start for a, b in itertools.pairwise(ranges))
    used = protocols.pairs("synth-lfw", protocols.MAX_PAIRS).pictures.subjects
    assert used.max() in protocols.get_protocol("synth-lfw").identities


@pytest.mark.parametrize("name", NAMES)
def test_people_have_names(name: str) -> None:
    dataset = PROTOCOLS[name]()
    shown = protocols.pairs(name, 7).pictures.subjects.tolist()
    assert set(map(constants.person_name, shown)) <= set(dataset.people(7))
    numbers = range(constants.AUXILIARY.start, constants.AUXILIARY.start + 250)
    assert list(dataset.auxiliary_people(lambda name: True)) == list(map(constants.person_name, numbers))
    assert len({comparable_name(person) for person in dataset.people(7)} - {""}) == len(dataset.people(7))
    assert not set(dataset.people(7)) & set(SynthTraining().people())


def test_auxiliary_people_can_be_left_out() -> None:
    few = PROTOCOLS["synth-lfw"](auxiliary_identities=10)
    first = list(few.auxiliary_people(lambda name: True))
    others = list(few.auxiliary_people(lambda name: name not in first[::2]))
    assert len(others) == 10
    assert set(first) & set(others) == set(first[1::2])
    same = protocols.auxiliary_pictures_of(np.arange(100_000, 100_003), 2)
    single = [protocols.auxiliary_pictures_of(np.array([number]), 2) for number in range(100_000, 100_003)]
    assert same.subjects.tolist() == np.repeat(constants.AUXILIARY[:3], 2).tolist()
    assert same.shots.tolist() == [0, 1] * 3
    np.testing.assert_array_equal(same.ages, np.concatenate([one.ages for one in single]))


@pytest.mark.parametrize("name", NAMES)
def test_people_for_tuning_are_as_the_others_but_other_people(name: str) -> None:
    def everybody(shift: int) -> list[protocols.Pictures]:
        pairs = protocols.pairs(name, 400, shift)
        learnt = protocols.auxiliary_pictures_of(constants.AUXILIARY.start + shift + np.arange(300), 2)
        return [pairs.pictures, protocols.calibration_pictures(name, 250, 2, shift), learnt]

    scored, tuning = everybody(0), everybody(TUNING)
    for own, other in zip(scored, tuning, strict=True):
        assert (len(own), own.style, own.seed) == (len(other), other.style, other.seed)
        assert own.subjects.max() < TUNING < other.subjects.min()
    found = PROTOCOLS[name](purpose="tuning")
    assert found.shift == TUNING
    assert PROTOCOLS[name]().shift == 0
    assert found.fingerprint() != PROTOCOLS[name]().fingerprint()
    assert (found.stands_in_for, PROTOCOLS[name]().stands_in_for) == (None, PROTOCOLS[name].paper_name)


@pytest.mark.slow
def test_a_data_set_for_tuning_shows_people_for_tuning_everywhere() -> None:
    ctx = Context(device=torch.device("cpu"), seed=0)
    found = PROTOCOLS["synth-lfw"](purpose="tuning", calibration_identities=10, auxiliary_identities=10)
    calibration = found.calibration(ctx)
    assert isinstance(calibration, Faces)
    assert found.calibration_people() == len(np.unique(calibration.subjects)) == 10
    for faces in (found.evaluation(4, ctx)[0], calibration, found.auxiliary(ctx)):
        assert faces.subjects.min() > TUNING
    names = [*found.people(4), *found.auxiliary_people(lambda name: True)]
    shown = {*found.evaluation(4, ctx)[0].subjects.tolist(), *found.auxiliary(ctx).subjects.tolist()}
    assert set(map(constants.person_name, shown)) <= set(names)
    assert not set(names) & {*PROTOCOLS["synth-lfw"]().people(8), *PROTOCOLS["synth-lfw"]().auxiliary_people(bool)}


@pytest.mark.slow
def test_specifications_are_lazy_and_render() -> None:
    first = constants.AUXILIARY.start + 10
    faces = protocols.auxiliary_pictures_of(np.arange(first, first + 3), 4)
    assert len(faces) == 12
    assert faces.subjects.tolist() == [first] * 4 + [first + 1] * 4 + [first + 2] * 4
    assert np.isnan(faces.ages[::2]).all()
    assert not np.isnan(faces.ages[1::2]).any()
    assert torch.equal(faces.render(np.array([5])).images[0], faces.render(slice(4, 6)).images[1])
    aged = protocols.calibration_pictures("synth-agedb30", 3, 2)
    np.testing.assert_allclose(aged.ages[1::2] - aged.ages[::2], 30, atol=1e-3)
    (learnt, *_) = PROTOCOLS["synth-lfw"]().auxiliary_people(everyone)
    assert learnt == constants.person_name(constants.AUXILIARY.start)


@pytest.mark.slow
def test_training_people_are_in_no_other_set() -> None:
    labels = SynthTraining().labels()
    assert labels.tolist() == sorted(labels.tolist())
    assert labels.min() in constants.TRAINING
    assert labels.max() in constants.TRAINING
    some = np.array([5, 30_000, 6])
    drawn = SynthTraining().images(some)
    assert drawn.shape == (3, 3, 112, 112)
    assert np.array_equal(SynthTraining().images(some[1:]), drawn[1:])


def test_judges_are_trained_on_people_of_no_other_set_and_seed() -> None:
    """Every range of people that the module or a protocol names is compared, also those that are added later."""
    named = {name: value for name, value in (vars(protocols) | vars(constants)).items() if isinstance(value, range)}
    assert named.pop("JUDGES") == SynthTrainingJudges.numbers
    for protocol in protocols.PROTOCOLS.values():
        parts = [name for name, value in vars(type(protocol)).items() if isinstance(value, property)]
        found = {f"{protocol.name}.{part}": getattr(protocol, part) for part in parts}
        named |= {name: value for name, value in found.items() if isinstance(value, range)}
    assert {"TRAINING", "AUXILIARY", "synth-lfw.identities", "synth-lfw.calibration"} <= set(named)
    for name, numbers in named.items():
        assert not set(numbers) & set(SynthTrainingJudges.numbers), name
    assert SynthTrainingJudges.seed != protocols.SEED == SynthTraining.seed
    source = SynthTrainingJudges()
    labels = source.labels()
    assert labels.min() == 0
    assert labels.max() < len(SynthTrainingJudges.numbers)
    people = training.People(numbers=source.numbers, seed=source.seed, style=source.style)
    shown = training.Shots(people=people, persons=labels, shots=labels, frontal_share=0.0, any_age_share=0.5).subjects()
    assert set(shown.tolist()) <= set(SynthTrainingJudges.numbers)
    assert source.fingerprint() != SynthTraining().fingerprint()
    assert not set(source.people()) & set(SynthTraining().people())
    assert source.people()[0] == "synthfaces 771402356/1000000"


def test_pictures_for_judges_are_in_another_style() -> None:
    people = np.arange(2000)
    person = draw_person(0, people)
    wild, outdoor = (draw_shot(0, people, people, person, None, style) for style in ("wild", "outdoor"))
    sharp = wild.blur < 0.25  # those that are not blurred on purpose
    assert float(wild.blur[sharp].max()) <= float(outdoor.blur.min()) == pytest.approx(0.25, abs=0.01)
    assert float(outdoor.quality.median()) > 2 * float(wild.quality.median())
    assert float(outdoor.noise.median()) > 2 * float(wild.noise.median())
    assert float(outdoor.pose.abs().mean()) > 1.2 * float(wild.pose.abs().mean())
    cold = [float((shot.colour[:, 2] / shot.colour[:, 0]).median()) for shot in (wild, outdoor)]
    assert cold[1] > 1.1 * cold[0]
    spread = [float(shot.backdrop[:, 1:].std()) for shot in (wild, outdoor)]
    assert spread[1] > 2 * spread[0]
    assert float(outdoor.ambient.mean()) < float(wild.ambient.mean()) - 0.05


@pytest.mark.slow
def test_pictures_for_judges_are_drawn_as_described() -> None:
    source = SynthTrainingJudges(groups=((4, 3),), any_age_share=0.0)
    drawn = source.images(np.array([4, 11]))
    first = constants.JUDGES.start
    expected = render(constants.JUDGES_SEED, np.array([first + 1, first + 3]), np.array([1, 2]), style="outdoor")
    assert np.array_equal(drawn, expected.images.numpy())
    assert source.attributes(np.array([4, 11]))["age"].tolist() == expected.age.tolist()


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="synth-lfw"):
        protocols.pairs("lfw", 10)
    with pytest.raises(ValueError, match="got 1"):
        protocols.pairs("synth-lfw", 1)
    with pytest.raises(ValueError, match="people"):
        protocols.calibration_pictures("synth-lfw", 100_001, 1)


def test_pixels_are_frozen() -> None:
    """The bundled networks were trained on these pixels: a change here means training them again."""
    made = render(protocols.SEED, np.arange(3), np.arange(3)).images.float()
    quarters = made[:, :, 28:84, 28:84].reshape(3, 3, 2, 28, 2, 28).mean((1, 3, 5)).flatten()
    expected = [70.0, 57.2, 154.6, 171.9, 126.7, 139.8, 135.6, 181.6, 147.9, 121.0, 164.8, 127.4]
    assert quarters.tolist() == pytest.approx(expected, abs=0.5)


def test_landmarks_are_where_the_picture_has_them() -> None:
    """A dot on the head seen from the front moves with the head to the landmark; the mouth lies below the nose."""
    from bench_synthfaces._fields import X, Y
    from bench_synthfaces._landmarks import landmarks
    from bench_synthfaces._render import turn

    rows = np.arange(32) + 5000
    person = draw_person(11, rows)
    shot = draw_shot(11, rows, rows % 3, person, None, "wild")
    found = landmarks(person, shot)
    g, axis = person.geometry, torch.arange(112.0)
    for k, (x, y), close in ((1, (g["eye_x"], g["eye_y"]), 0.3), (2, (0 * g["eye_x"], g["nose_y"]), 1.2)):
        dot = torch.exp(-((X - x[:, None, None]) ** 2 + (Y - y[:, None, None]) ** 2) / 0.04**2)
        turned = turn(dot[:, None].repeat(1, 4, 1, 1), person, shot)[:, 0]
        weights = turned / turned.sum((1, 2), keepdim=True)
        at = torch.stack([(weights * axis).sum((1, 2)), (weights * axis[:, None]).sum((1, 2))], dim=1)
        assert (at - found[:, k]).norm(dim=1).max() < close
    assert (found[:, 0, 0] < found[:, 1, 0]).all()
    assert (found[:, 3, 0] < found[:, 4, 0]).all()
    assert (found[:, 3:, 1].mean(1) > found[:, 2, 1]).all()
    data = SynthTraining(groups=((4, 3),))
    assert data.landmarks(np.arange(12)).shape == (12, 5, 2)
    np.testing.assert_array_equal(data.landmarks(np.arange(12))[5:7], data.landmarks(np.array([5, 6])))
