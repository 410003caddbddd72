"""What attacks and their scores compute, in this process, on toy data; references are computed here with numpy."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from attacked import FACES, FEATURES, NOISY, UP, as_float, left_of, network, of_level, unit, up_rows
from PIL import Image
from support import Computed

from bench.metrics.images import psnr, ssim
from bench.stages import compute

Run = Callable[..., Computed]


# ---- reconstructions -------------------------------------------------------------------------------------------------


def test_an_attack_on_images_sees_what_was_uploaded_in_8_bits(run_attacks: Run) -> None:
    done = run_attacks('"toy-denoise"')
    uploaded = done.artifact(NOISY).tensors["images"].astype(float)
    padded = np.pad(uploaded, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    found = done.artifact(f"toy-denoise on {NOISY}")
    np.testing.assert_allclose(found.tensors["images"], np.nanmean(windows, axis=(4, 5)), atol=0.51)
    assert found.tables["samples"]["face"].to_pylist() == list(left_of(done))


@pytest.mark.parametrize(
    ("more", "split", "factor"),
    [("", "stem", 2), (FEATURES, "block", 4), (f'{FEATURES}split = "stem"\n', "stem", 2)],
)
def test_an_attack_on_features_sees_those_of_the_upload(run_attacks: Run, more: str, split: str, factor: int) -> None:
    done = run_attacks('"toy-upsample"', more)
    (maps,) = network("toy-a").features(as_float(done.artifact(NOISY).tensors["images"]), [split])
    grey = 1 / (1 + np.exp(-maps.numpy().mean(1, keepdims=True)))
    expected = 255 * grey.repeat(factor, 2).repeat(factor, 3).repeat(3, 1)
    found = done.artifact(f"toy-upsample on {NOISY}")
    np.testing.assert_allclose(found.tensors["images"], expected, atol=0.51)
    rows = done.table("image similarity of toy-upsample against noise on toy-faces", "images")
    np.testing.assert_allclose(rows["extra_spread"], grey.reshape(len(grey), -1).std(axis=1, ddof=1), atol=1e-5)


def test_a_descent_descends_and_recovers_the_features(run_attacks: Run) -> None:
    done = run_attacks('{ plugin = "toy-descent", steps = 40 }')
    rows = done.table("image similarity of toy-descent against noise on toy-faces", "images")
    assert (rows["extra_loss_end"] < 0.5 * rows["extra_loss_start"]).all()


def test_rows_of_a_reconstruction_are_about_it_and_the_original(run_attacks: Run) -> None:
    done = run_attacks('"toy-denoise"')
    originals = done.artifact(FACES).tensors["images"][left_of(done)]
    found = done.artifact(f"toy-denoise on {NOISY}").tensors["images"]
    name = "image similarity of toy-denoise against noise on toy-faces"
    rows = done.table(name, "images")
    np.testing.assert_allclose(rows["ssim"], ssim(originals, found))
    np.testing.assert_allclose(rows["psnr"].astype(float), psnr(originals, found))
    assert set(rows["lpips"]) == {None}
    assert rows["reconstructed"].all()
    assert set(rows["upload_bytes"]) == {3 * 32 * 32}
    uploaded = done.table("image similarity of noise on toy-faces", "images")
    assert not uploaded["reconstructed"].any()
    assert uploaded["sample_id"].tolist() == rows["sample_id"].tolist()
    shown, also = (
        done.artifact(n).tables["examples"].to_pylist() for n in (name, "image similarity of noise on toy-faces")
    )
    assert [e["sample_id"] for e in shown] == [e["sample_id"] for e in also]
    picture = np.array(Image.open(io.BytesIO(shown[0]["protected"]))).transpose(2, 0, 1)
    assert np.array_equal(picture, found[0])


def test_uploaded_features_have_their_size_in_the_rows(run_attacks: Run) -> None:
    done = run_attacks('"toy-upsample"', f'{FEATURES}split = "all"\n')
    for name in ("noise", "toy-upsample against noise"):
        rows = done.table(f"image similarity of {name} on toy-faces", "images")
        assert set(rows["upload_bytes"]) == {4 * (8 * 16 * 16 + 16 * 8 * 8)}


# ---- recognition of what was reconstructed ---------------------------------------------------------------------------


def ranks(scores: Any, own: Any, subjects: Any) -> list[int]:
    """Return the rank of each probe: 1 + the number of images of others above the best one of its own subject."""
    found = []
    for row, mine in zip(scores, own, strict=True):
        best = max(s for s, who in zip(row, subjects, strict=True) if who == subjects[mine])
        found.append(1 + sum(s > best for s, who in zip(row, subjects, strict=True) if who != subjects[mine]))
    return found


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        ("toy-upsample", "toy-upsample against noise"),
        ("toy-denoise", "toy-denoise against noise"),
        ("abuse", "noise"),
    ],
)
@pytest.mark.parametrize("judge", ["toy-a", "toy-b"])
def test_verification_rows_are_those_of_the_reconstruction(
    run_attacks: Run, attack: str, name: str, judge: str
) -> None:
    """COS, and the ranks in the galleries of originals and of enrolled images."""
    sigma = 4.0 if attack == "toy-denoise" else 0.6  # so much that the attack does not always succeed
    done = run_attacks(f'"{attack}"', "", f'experiment[0].defenses=[{{ plugin = "noise", sigma = {sigma} }}]')
    rows = done.table(f"verification of {name} by {judge} on toy-faces", "verification")
    faces, left = done.artifact(FACES), left_of(done)
    pairs = {c: faces.tables["pairs"][c].to_numpy() for c in ("left", "right", "same")}
    subjects = faces.tables["faces"]["subject"].to_numpy()
    made = done.artifact(NOISY if attack == "abuse" else f"{attack} on {NOISY}").tensors["images"]
    model = network(judge)
    with torch.no_grad():
        probes, clean = (unit(model(as_float(images))) for images in (made, faces.tensors["images"]))
    where = np.searchsorted(left, pairs["left"])
    np.testing.assert_allclose(rows["cos_self"], (probes[where] * clean[pairs["left"]]).sum(1), atol=1e-5)
    np.testing.assert_allclose(rows["cos_cross"], (probes[where] * clean[pairs["right"]]).sum(1), atol=1e-5)
    own = ranks(probes @ clean[left].T, range(len(left)), subjects[left])
    assert rows["rank"].tolist() == [own[i] for i in where]
    enrolled = ranks(probes[where] @ clean[pairs["right"]].T, range(70), subjects[pairs["right"]])
    assert rows["rank_enrolled"].tolist() == [
        r if same else None for r, same in zip(enrolled, pairs["same"], strict=True)
    ]
    assert set(rows["gallery"]) == {35}
    assert min(own) >= 1
    assert len(set(own)) > 3, "the test must not be about rank 1 only"


def test_any_image_of_a_person_finds_them_and_none_is_a_rival(
    run_attacks_alone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of ten people are enrolled with several images each."""
    from bench_toy import faces as toy

    from bench import Pairs

    def evaluation(self: Any, pairs: int, ctx: Any) -> Any:
        who = [(s, i) for s in range(10) for i in range(3)]
        number = np.arange(pairs)
        left, same = 3 * (number % 10), number < 20
        right = np.where(same, left + 1 + number // 10, (left + 4) % 30)
        found = Pairs(left=left, right=right, same=same, fold=number % 10)
        return toy.faces(who, self.seed, "evaluation"), found

    monkeypatch.setattr(toy.ToyFaces, "evaluation", evaluation)
    done = run_attacks_alone(
        '"abuse"', "", 'experiment[0].defenses=[{ plugin = "noise", sigma = 1.0 }]', "experiment[0].pairs=30"
    )
    rows = done.table("verification of noise by toy-a on toy-faces", "verification")
    table = done.artifact(FACES).tables["pairs"]
    right, same = table["right"].to_numpy(), table["same"].to_numpy()
    probes = unit(done.artifact(f"embeddings of {NOISY} by toy-a").tensors["plain"])
    clean = unit(done.artifact(f"embeddings of {FACES} by toy-a").tensors["plain"])
    subjects = done.artifact(FACES).tables["faces"]["subject"].to_numpy()
    gallery, places = np.unique(right, return_inverse=True)  # every picture is in the gallery once
    enrolled = ranks(probes[np.arange(30) % 10] @ clean[gallery].T, places, subjects[gallery])
    assert rows["rank_enrolled"].tolist() == [r if ok else None for r, ok in zip(enrolled, same, strict=True)]
    assert rows["rank_enrolled"][:10].tolist() == rows["rank_enrolled"][10:20].tolist()
    assert max(r for r in rows["rank_enrolled"] if r) > 3


def test_unprotected_faces_have_rank_1(run_attacks: Run) -> None:
    done = run_attacks('"abuse"', "", 'experiment[0].defenses=["identity"]')
    rows = done.table("verification of identity by toy-a on toy-faces", "verification")
    assert set(rows["rank"]) == {1}
    assert np.mean(rows["rank_enrolled"][rows["same"]].astype(float) == 1) > 0.9


# ---- uploaded features -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["stem", "block", "last", "all"])
def test_the_server_embeds_uploaded_features(run_attacks: Run, split: str) -> None:
    done = run_attacks('"abuse"', f'{FEATURES}split = "{split}"\n')
    found = done.artifact(f"embeddings of the features of {NOISY} by toy-a").tensors
    with torch.no_grad():
        expected = unit(network("toy-a")(as_float(done.artifact(NOISY).tensors["images"])))
    np.testing.assert_allclose(found["plain"], expected, atol=1e-5)
    assert np.array_equal(found["plain"], found["flipped"])
    rows = done.table("verification of noise by toy-a on toy-faces", "verification")
    clean = done.artifact(f"embeddings of {FACES} by toy-a").tensors["plain"]
    where = np.searchsorted(left_of(done), left := done.artifact(FACES).tables["pairs"]["left"].to_numpy())
    np.testing.assert_allclose(rows["cos_self"], (expected[where] * clean[left]).sum(1), atol=1e-5)


def test_a_defense_can_send_features_of_its_own(run_attacks: Run) -> None:
    done = run_attacks('"abuse", "toy-upsample"', FEATURES, 'experiment[0].defenses=["toy-features"]')
    name = "toy-faces protected by toy-features for toy-a"
    sent = done.artifact(name).tensors
    assert set(sent) == {"features/block"}
    (clean,) = network("toy-a").features(as_float(done.artifact(FACES).tensors["images"][left_of(done)]), ["block"])
    noise = sent["features/block"] - clean.numpy()
    assert noise.std() == pytest.approx(0.01, rel=0.05)
    shown = done.artifact(f"toy-upsample on {name}").tensors["images"]
    grey = 1 / (1 + np.exp(-sent["features/block"].mean(1)))
    np.testing.assert_allclose(shown[:, 0, ::4, ::4], 255 * grey, atol=0.51)
    embedded = done.artifact(f"embeddings of the features of {name} by toy-a").tensors["plain"]
    with torch.no_grad():
        expected = unit(network("toy-a").from_features(torch.from_numpy(sent["features/block"].copy()), "block"))
    np.testing.assert_allclose(embedded, expected, atol=1e-5)


def test_the_server_embeds_the_features_of_the_deepest_split(run_attacks: Run) -> None:
    """Each split point has its own noise, so the choice matters; also under the noise of Equation 9."""
    via = '{ plugin = "toy-attributes", via = "toy-upsample" }'
    done = run_attacks(
        f'"abuse", {via}',
        f'{FEATURES}split = "all"\n{UP}',
        'experiment[0].defenses=[{ plugin = "toy-features", sigma = 1.0 }]',
    )
    name = "toy-faces protected by toy-features for toy-a"
    sent = done.artifact(name).tensors
    assert set(sent) == {"features/stem", "features/block"}
    with torch.no_grad():
        expected = unit(network("toy-a").from_features(torch.from_numpy(sent["features/block"].copy()), "block"))
    found = done.artifact(f"embeddings of the features of {name} by toy-a").tensors["plain"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    clean = unit(done.artifact(f"embeddings of {FACES} by toy-a").tensors["plain"])[left_of(done)]
    rows = of_level(up_rows(done, name, "toy-a"), 0.0)
    np.testing.assert_allclose(rows["cosine"], (expected * clean).sum(1), atol=1e-5)


@pytest.mark.slow
def test_attacks_see_no_images_if_features_are_uploaded(
    run_attacks_alone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench_toy.attacks import ToyUpsample

    seen: list[tuple[bool, list[str]]] = []
    original = ToyUpsample.reconstruct

    def watched(self: Any, received: Any, ctx: Any) -> Any:
        seen.append((received.images is None, list(received.features)))
        return original(self, received, ctx)

    monkeypatch.setattr(ToyUpsample, "reconstruct", watched)
    via = '"toy-upsample", { plugin = "toy-attributes", via = "toy-upsample" }'
    assert run_attacks_alone(via, FEATURES + UP).failures() == []
    assert seen
    assert set(map(str, seen)) == {"(True, ['block'])"}
    seen.clear()
    assert run_attacks_alone(via, UP).failures() == []
    assert set(map(str, seen)) == {"(False, ['stem'])"}


def test_only_what_was_uploaded_is_received(run_attacks: Run) -> None:
    """toy-both sends a grey image or features of the face; an attack sees only what was uploaded."""
    both = 'experiment[0].defenses=["toy-both"]'
    name = "toy-upsample on toy-faces protected by toy-both for toy-a"
    images = run_attacks('"toy-upsample"', "", both).artifact(name).tensors["images"]
    features = run_attacks('"toy-upsample"', f'{FEATURES}split = "stem"\n', both).artifact(name).tensors["images"]
    assert (images == images[0]).all()
    assert (features != features[0]).any()


def test_features_that_are_not_requested_are_not_uploaded(
    run_attacks_alone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench_toy.defenses import ToyBoth

    from bench import Protected

    def overshare(self: Any, images: torch.Tensor, ctx: Any) -> Protected:
        return Protected(images=torch.full_like(images, 0.5), features={"stem": torch.ones(len(images), 8, 16, 16)})

    monkeypatch.setattr(ToyBoth, "protect", overshare)
    done = run_attacks_alone('"toy-upsample"', "", 'experiment[0].defenses=["toy-both"]')
    name = "toy-upsample on toy-faces protected by toy-both for toy-a"
    received = 0.5 * torch.ones(1, 3, 32, 32) * 255
    (maps,) = network("toy-a").features(received.round() / 255, ["stem"])
    expected = 255 * torch.sigmoid(maps.mean(1))[0].numpy().repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(done.artifact(name).tensors["images"][0, 0], expected, atol=1.01)


# ---- what attackers learn from ---------------------------------------------------------------------------------------


def learnt(done: Computed, where: str) -> dict[str, Any]:
    """Return the state that toy-learner learnt."""
    return dict(done.artifact(f"toy-learner learning from {where}").tensors)


def test_a_clean_learner_sees_auxiliary_faces_and_their_features(run_attacks: Run) -> None:
    state = learnt(run_attacks('"toy-learner"'), "auxiliary faces of toy-faces")
    from bench_toy.faces import ToyFaces

    ctx: Any = None
    images = ToyFaces().auxiliary(ctx).images
    np.testing.assert_allclose(state["mean"], images.mean(0) / 255, atol=1e-5)
    maps = network("toy-a").features(as_float(images), ["stem", "block"])
    for split, expected in zip(("stem", "block"), maps, strict=True):
        np.testing.assert_allclose(state[f"at {split}"], expected.mean(0), atol=1e-5)
    np.testing.assert_allclose(state["images"], images.mean(0) / 255, atol=1e-5)
    assert state["subjects"] == 20


def test_a_clean_learner_is_the_same_for_every_defense(run_attacks: Run) -> None:
    done = run_attacks('"toy-learner"', "", 'experiment[0].defenses=["noise", "toy-step"]')
    assert len([s for s in done.plan.stages.values() if s.kind == "fit_attack"]) == 1


def test_an_adaptive_learner_sees_what_the_defense_makes_of_auxiliary_faces(run_attacks: Run) -> None:
    defense = 'experiment[0].defenses=[{ plugin = "toy-mean", weight = 0.9 }]'
    done = run_attacks('{ plugin = "toy-learner", learns = "defense" }', "", defense)
    where = "auxiliary faces of toy-faces for the attack protected by toy-mean"
    state, sent = learnt(done, where), done.artifact(where)
    faces = done.artifact("auxiliary faces of toy-faces for the attack").tensors["images"]
    own = done.artifact("auxiliary faces of toy-faces for the defense").tensors["images"]  # The defense learns too.
    assert sent.tables["samples"]["face"].to_pylist() == list(range(len(faces)))
    np.testing.assert_allclose(sent.tensors["images"], 0.1 * faces + 0.9 * own.mean(0), atol=0.51)
    np.testing.assert_allclose(state["mean"], faces.mean(0) / 255, atol=1e-5)
    np.testing.assert_allclose(state["images"], sent.tensors["images"].mean(0) / 255, atol=1e-5)
    (stem,) = network("toy-a").features(as_float(sent.tensors["images"]), ["stem"])
    np.testing.assert_allclose(state["at stem"], stem.mean(0), atol=1e-5)


def test_an_adaptive_learner_gets_the_features_that_a_defense_sends(run_attacks: Run) -> None:
    defense = 'experiment[0].defenses=[{ plugin = "toy-features", sigma = 2.0 }]'
    done = run_attacks('{ plugin = "toy-learner", learns = "defense" }', FEATURES, defense)
    where = "auxiliary faces of toy-faces protected by toy-features"
    state = learnt(done, where)
    assert set(state) == {"mean", "subjects", "at block"}
    np.testing.assert_allclose(
        state["at block"], done.artifact(f"{where} for toy-a").tensors["features/block"].mean(0), atol=1e-5
    )


def test_a_leaky_learner_sees_the_faces_of_the_evaluation(run_attacks: Run) -> None:
    done = run_attacks('{ plugin = "toy-learner", learns = "evaluated" }')
    state = learnt(done, FACES)
    np.testing.assert_allclose(state["mean"], done.artifact(FACES).tensors["images"].mean(0) / 255, atol=1e-5)
    assert all(cell.leaky for cell in done.plan.cells)


def test_an_attack_may_learn_from_another_data_set(run_attacks: Run) -> None:
    auxiliary = 'auxiliary = { plugin = "toy-faces", seed = 9, auxiliary_images = 8, label = "more" }\n'
    state = learnt(run_attacks('"toy-learner"', auxiliary), "auxiliary faces of more")
    from bench_toy.faces import ToyFaces

    ctx: Any = None
    images = ToyFaces(seed=9, auxiliary_images=8).auxiliary(ctx).images
    np.testing.assert_allclose(state["mean"], images.mean(0) / 255, atol=1e-5)
    assert state["subjects"] == 4


def test_a_learner_of_images_needs_no_features(run_attacks: Run) -> None:
    done = run_attacks('{ plugin = "toy-learner", look = "images" }')
    assert set(learnt(done, "auxiliary faces of toy-faces")) == {"mean", "subjects", "images"}
    made = done.artifact(f"toy-learner on {NOISY}").tensors["images"]
    mean = learnt(done, "auxiliary faces of toy-faces")["mean"]
    seen = done.artifact(NOISY).tensors["images"].mean((1, 2, 3)) / 255
    expected = 0.9 * mean + 0.1 * (1 / (1 + np.exp(-seen))).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(made, 255 * np.clip(expected, 0, 1), atol=0.6)


def test_an_attack_that_learns_nothing_has_an_empty_state(run_attacks: Run) -> None:
    done = run_attacks('{ plugin = "toy-bad-learner", learnt = "nothing" }')
    assert done.failures() == []
    assert done.artifact("toy-bad-learner learning from auxiliary faces of toy-faces").tensors == {}


# ---- batches, progress -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_results_of_attacks_do_not_depend_on_the_batch(run_attacks: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    attacks = (
        '"toy-upsample", "toy-descent", "toy-learner", '
        '"toy-attributes", { plugin = "toy-attributes", label = "peek", via = "toy-upsample" }'
    )
    whole = run_attacks(attacks, UP)
    monkeypatch.setattr("bench.planning.graph.BATCH", 7)
    parts = run_attacks(attacks, UP)
    assert whole.failures() == parts.failures() == []
    compared = 0
    for stage, other in zip(whole.plan.stages.values(), parts.plan.stages.values(), strict=True):
        assert (stage.name, stage.kind) == (other.name, other.kind)
        assert stage.key != other.key
        one, two = whole.cache.read(stage.key), parts.cache.read(other.key)
        if stage.kind == "attack" and "images" in one.tensors:
            assert (one.tensors["images"] != two.tensors["images"]).mean() < 0.002
            compared += 1
        if "up" in one.tables:
            first, second = (table.tables["up"].to_pandas().sort_values(["sigma", "sample_id"]) for table in (one, two))
            for column in ("cosine", "dist", "dist_colour", "dist_age"):
                np.testing.assert_allclose(first[column], second[column], atol=1e-4)
            compared += 1
    assert compared == 3 + 4


def test_long_stages_report_progress(run_attacks: Run) -> None:
    done = run_attacks('"toy-descent", "toy-learner"', "", 'experiment[0].defenses=["toy-step"]')
    for stage in done.plan.stages.values():
        heard: list[float] = []
        if stage.kind in ("protect", "attack", "fit_attack"):
            compute.run(stage, done.cache, heard.append)
            assert heard, stage.name
            assert all(0 <= share <= 1 for share in heard)
            assert heard == sorted(heard), stage.name
            assert heard[-1] == (0.5 if stage.kind == "fit_attack" else 1)


# ---- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attack", "fragments"),
    [
        ('"toy-bad-attack"', ["RuntimeError: the toy attacker gave up"]),
        ('{ plugin = "toy-bad-attack", how = "nan" }', ["ContractError", "attack toy-bad-attack", "NaN"]),
        ('{ plugin = "toy-bad-attack", how = "extra-moods" }', ["ContractError", "differ from batch to batch"]),
        ('{ plugin = "toy-bad-attack", how = "asks-shallow" }', ["CapabilityError", "shallow_weights"]),
        ('{ plugin = "toy-bad-eyes", how = "nan" }', ["ContractError", "attack toy-bad-eyes", "'colour'", "NaN"]),
        ('{ plugin = "toy-bad-eyes", how = "moods" }', ["ContractError", "differ from batch to batch"]),
        ('{ plugin = "toy-bad-learner" }', ["ContractError", "attack toy-bad-learner", "fit()", "tensors"]),
        ('"toy-unfinished"', ["ContractError", "ToyUnfinished", "no reconstruct()"]),
        ('{ plugin = "toy-unfinished", gives = "attributes" }', ["ContractError", "no estimate()"]),
    ],
)
def test_a_failing_attack_is_a_result_with_a_reason(run_attacks: Run, attack: str, fragments: list[str]) -> None:
    done = run_attacks(f'"abuse", {attack}')
    failures = set(done.failures())
    assert len(failures) == 1, failures
    for fragment in fragments:
        assert fragment in next(iter(failures))
    assert done.result("verification of noise by toy-a on toy-faces").status == "ok"
    (cell, *_) = [c for c in done.plan.cells if c.attack.label.startswith(("toy-bad", "toy-unf"))]
    assert done.results[cell.stages[0]].status == "failed"


@pytest.mark.parametrize("how", ["missing", "shape", "nan", "numpy"])
def test_features_of_a_defense_are_checked(run_attacks: Run, how: str) -> None:
    done = run_attacks(
        '"abuse"', FEATURES, f'experiment[0].defenses=[{{ plugin = "toy-bad-features", how = "{how}" }}]'
    )
    (reason,) = set(done.failures())
    assert "ContractError: defense toy-bad-features" in reason
    assert "block" in reason


def test_a_model_without_a_server_part_is_named(run_attacks_alone: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_toy.networks import ToyNetwork

    from bench.stages import stage_inputs

    monkeypatch.delattr(ToyNetwork, "from_features")
    monkeypatch.setattr(ToyNetwork, "forward", lambda self, x: self.head(self.features(x, ["block"])[0].flatten(1)))
    stage_inputs.forget_networks()
    done = run_attacks_alone('"abuse"', FEATURES)
    (reason,) = set(done.failures())
    assert "from_features" in reason
