"""What attribute attacks compute, also under noise (Equation 9) and beside LPIPS; references are computed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from attacked import FACES, FEATURES, NOISY, UP, as_float, left_of, network, of_level, unit, up_rows
from support import Computed

from bench.api.context import sample_generator

Run = Callable[..., Computed]


# ---- attributes ------------------------------------------------------------------------------------------------------


def looked_at(images: Any) -> dict[str, Any]:
    """Return the attributes that toy-attributes estimates on 8-bit images."""
    means = np.asarray(images, np.float64).mean((2, 3)) / 255
    powers = np.exp(10 * means)
    return {"colour": powers / powers.sum(1, keepdims=True), "age": 100 * means.mean(1)}


@pytest.mark.parametrize(
    ("attack", "name", "seen"),
    [
        ('"toy-attributes"', f"toy-attributes of {NOISY}", NOISY),
        (
            '{ plugin = "toy-attributes", via = "toy-upsample" }',
            f"toy-attributes via toy-upsample of toy-upsample on {NOISY}",
            f"toy-upsample on {NOISY}",
        ),
    ],
)
def test_attributes_are_compared_with_those_of_the_original(
    run_attacks: Run, attack: str, name: str, seen: str
) -> None:
    done = run_attacks(attack)
    rows = done.table(name, "attributes")
    faces, left = done.artifact(FACES), left_of(done)
    known = {k: v[left] for k, v in looked_at(faces.tensors["images"]).items()}
    found = looked_at(done.artifact(seen).tensors["images"])
    usual = {
        k: unit(v).mean(0) if v.ndim == 2 else np.median(v)
        for k, v in looked_at(done.artifact("calibration faces of toy-faces").tensors["images"]).items()
    }
    assert len(rows["value"]) == 2 * 35
    colour, age = rows["attribute"] == "colour", rows["attribute"] == "age"
    np.testing.assert_allclose(rows["value"][colour], (unit(found["colour"]) * unit(known["colour"])).sum(1), atol=1e-6)
    np.testing.assert_allclose(rows["value"][age], np.abs(found["age"] - known["age"]), atol=1e-3)
    constant = np.broadcast_to(usual["colour"], known["colour"].shape)
    people = rows["subject"][colour]
    others = people[:, None] != people[None]
    similar = unit(known["colour"]) @ unit(found["colour"]).T
    expected = np.where(others, similar, 0).sum(1) / others.sum(1)
    np.testing.assert_allclose(rows["permuted"][colour], expected, atol=1e-6)
    apart = np.where(others, np.abs(known["age"][:, None] - found["age"][None]), 0).sum(1) / others.sum(1)
    np.testing.assert_allclose(rows["permuted"][age], apart, atol=1e-3)
    np.testing.assert_allclose(rows["baseline"][colour], (unit(constant) * unit(known["colour"])).sum(1), atol=1e-6)
    np.testing.assert_allclose(rows["baseline"][age], np.abs(usual["age"] - known["age"]), atol=1e-3)
    assert set(rows["measure"][colour]) == {"cosine"}
    assert set(rows["measure"][age]) == {"years"}
    words = np.array(["red", "green", "blue"])
    assert rows["original"][colour].tolist() == words[known["colour"].argmax(1)].tolist()
    assert rows["predicted"][colour].tolist() == words[found["colour"].argmax(1)].tolist()
    assert rows["predicted"][age].tolist() == [f"{a:.0f}" for a in found["age"]]
    table = faces.tables["faces"]
    assert rows["truth"][colour].tolist() == np.array(table["attribute_colour"].to_pylist())[left].tolist()
    assert rows["truth"][age].tolist() == [f"{a:.0f}" for a in table["attribute_age"].to_numpy()[left]]
    assert rows["sample_id"][colour].tolist() == np.array(table["sample_id"].to_pylist())[left].tolist()
    assert rows["subject"][age].tolist() == table["subject"].to_numpy()[left].tolist()


def test_unknown_labels_are_null(run_attacks_alone: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import bench_toy.faces as toy

    draw = toy.faces

    def half_known(*args: Any) -> Any:
        found = draw(*args)
        ages = np.where(np.arange(len(found.images)) % 3 == 0, np.nan, found.attributes["age"])
        return type(found)(
            images=found.images, subjects=found.subjects, sample_ids=found.sample_ids, attributes={"age": ages}
        )

    monkeypatch.setattr(toy, "faces", half_known)
    rows = run_attacks_alone('"toy-attributes"').table(f"toy-attributes of {NOISY}", "attributes")
    assert set(rows["truth"]) == {None}  # The age of every left image is NaN; colours have no labels.


# ---- under noise (Equation 9) ----------------------------------------------------------------------------------------

LOOK = '"toy-attributes"'


def test_without_noise_both_terms_are_those_of_the_plain_rows(run_attacks: Run) -> None:
    done = run_attacks(LOOK, UP)
    for judge in ("toy-a", "toy-b"):
        rows = of_level(up_rows(done, NOISY, judge), 0.0)
        plain = run_attacks('"abuse"').table(f"verification of noise by {judge} on toy-faces", "verification")
        selves = dict(zip(plain["left_id"], plain["cos_self"], strict=True))
        np.testing.assert_allclose(rows["cosine"], [selves[i] for i in rows["sample_id"]], atol=1e-5)
        attributes = done.table(f"toy-attributes of {NOISY}", "attributes")
        colour, age = (attributes["value"][attributes["attribute"] == a] for a in ("colour", "age"))
        np.testing.assert_allclose(rows["dist_colour"], 1 - colour, atol=1e-6)
        np.testing.assert_allclose(rows["dist_age"], age / 100, atol=1e-6)
        np.testing.assert_allclose(rows["dist"], (1 - colour + age / 100) / 2, atol=1e-6)
        assert set(rows["lpips"]) == {None}


def test_original_and_upload_have_independent_noise(run_attacks: Run) -> None:
    """Equation 9: cos(f(x~ + n), f(x + n')); the m_i see the same noisy images."""
    done = run_attacks(LOOK, UP)
    rows = of_level(up_rows(done, NOISY, "toy-a"), 0.4)
    (stage,) = [s for s in done.plan.stages.values() if s.name.endswith("under noise, by toy-a")]
    faces, sent = done.artifact(FACES).tensors["images"][left_of(done)], done.artifact(NOISY).tensors["images"]
    model = network("toy-a")

    def noisy(image: Any, name: str) -> torch.Tensor:
        noise = torch.randn((3, 32, 32), generator=sample_generator(stage.seed, name))
        return (as_float(image) + 0.4 * noise).clamp(0, 1)[None]

    for i in (0, 17, 34):
        name = rows["sample_id"][i]
        upload, original = noisy(sent[i], name), noisy(faces[i], f"original/{name}")
        with torch.no_grad():
            cosine = torch.nn.functional.cosine_similarity(model(upload), model(original))
        assert rows["cosine"][i] == pytest.approx(cosine.item(), abs=1e-5)
        found, known = (looked_at(255 * x.numpy()) for x in (upload, original))
        distance = 1 - (unit(found["colour"]) * unit(known["colour"])).sum()
        assert rows["dist_colour"][i] == pytest.approx(distance, abs=1e-5)
        assert rows["dist_age"][i] == pytest.approx(abs(found["age"] - known["age"])[0] / 100, abs=1e-5)


def test_more_noise_leaves_less_utility(run_attacks: Run) -> None:
    done = run_attacks(LOOK, UP, 'experiment[0].defenses=["identity"]')
    rows = up_rows(done, "toy-faces protected by identity", "toy-a")
    means = [of_level(rows, sigma)["cosine"].mean() for sigma in (0.0, 0.1, 0.4)]
    assert means[0] == pytest.approx(1)
    assert means[0] > means[1] > means[2]
    assert len(rows["sigma"]) == 3 * 35


def test_originals_and_uploaded_features_get_noise_of_the_same_spread(run_attacks: Run) -> None:
    """The spread is that of the features of the original, whatever the upload's features are."""
    via = '{ plugin = "toy-attributes", via = "toy-upsample" }'
    done = run_attacks(via, FEATURES + UP, 'experiment[0].evaluated=["toy-a"]')
    rows = up_rows(done, NOISY, "toy-a")
    (stage,) = [s for s in done.plan.stages.values() if s.name.endswith("under noise, by toy-a")]
    faces, sent = done.artifact(FACES).tensors["images"][left_of(done)], done.artifact(NOISY).tensors["images"]
    model = network("toy-a")
    for sigma in (0.0, 0.4):
        level = of_level(rows, sigma)
        for i in (0, 34):
            name, embedded, looks = level["sample_id"][i], [], []
            (of_original,) = model.features(as_float(faces[i])[None], ["block"])
            for image, stream in ((sent[i], name), (faces[i], f"original/{name}")):
                (maps,) = model.features(as_float(image)[None], ["block"])
                noise = torch.randn((16, 8, 8), generator=sample_generator(stage.seed, stream))
                maps = maps + sigma * noise * of_original.std()
                embedded.append(model.from_features(maps, "block"))
                grey = torch.sigmoid(maps.mean(1)).repeat_interleave(4, 1).repeat_interleave(4, 2)
                looks.append(looked_at(255 * grey[:, None].repeat(1, 3, 1, 1).numpy()))
            cosine = torch.nn.functional.cosine_similarity(*embedded)
            assert level["cosine"][i] == pytest.approx(cosine.item(), abs=1e-5)
            assert level["dist_age"][i] == pytest.approx(abs(looks[0]["age"] - looks[1]["age"])[0] / 100, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "more"),
    [
        *((first, more) for first in ("toy-upsample", "toy-learner", "toy-descent") for more in ("", FEATURES)),
        ("toy-denoise", ""),
    ],
)
def test_any_reconstruction_is_scored_under_noise(run_attacks: Run, first: str, more: str) -> None:
    """Attacks that learn get their state, and attacks that descend get gradients."""
    via = f'{{ plugin = "toy-attributes", via = "{first}" }}'
    done = run_attacks(via, UP + more, 'experiment[0].evaluated=["toy-a"]')
    assert done.failures() == []
    rows = up_rows(done, NOISY, "toy-a")
    assert len(rows["dist"]) == 3 * 35
    assert ((rows["dist"] >= 0) & (rows["dist"] <= 1)).all()


# ---- LPIPS -----------------------------------------------------------------------------------------------------------


def test_lpips_is_computed_if_its_weights_exist(
    run_attacks_alone: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """LPIPS is replaced by a distance that can be computed by hand: the mean absolute difference."""
    from bench.metrics import lpips

    class Difference:
        def distance(self, a: Any, b: Any) -> Any:
            return np.abs(a.astype(float) - b).mean((1, 2, 3)) / 255

        def distance_of(self, a: torch.Tensor, b: torch.Tensor) -> Any:
            return (a - b).abs().mean((1, 2, 3)).double().numpy()

    weights = lpips.VggWeights(path=tmp_path / "vgg.pth", sha256="00ff")
    for module in ("bench.planning.graph", "bench.metrics", "bench.metrics.lpips", "bench.stages.scoring"):
        monkeypatch.setattr(f"{module}.find_vgg", lambda: weights, raising=False)
    for place in (
        "bench.metrics.load_lpips",
        "bench.metrics.lpips.load",
        "bench.metrics.lpips.Lpips",
        "bench.stages.scoring.Lpips",
        "bench.stages.scoring.load",
    ):
        monkeypatch.setattr(place, lambda *_: Difference(), raising=False)
    done = run_attacks_alone(f'"toy-denoise", {LOOK}', UP)
    originals = done.artifact(FACES).tensors["images"][left_of(done)].astype(float)
    for name, seen in (("noise", NOISY), ("toy-denoise against noise", f"toy-denoise on {NOISY}")):
        rows = done.table(f"image similarity of {name} on toy-faces", "images")
        expected = np.abs(done.artifact(seen).tensors["images"] - originals).mean((1, 2, 3)) / 255
        np.testing.assert_allclose(rows["lpips"].astype(float), expected)
    floors = done.table("baselines of the image metrics on toy-faces", "baselines")
    np.testing.assert_allclose(floors["lpips_grey"].astype(float), np.abs(originals - 128).mean((1, 2, 3)) / 255)
    level = of_level(up_rows(done, NOISY, "toy-a"), 0.0)
    expected = np.abs(done.artifact(NOISY).tensors["images"] - originals).mean((1, 2, 3)) / 255
    np.testing.assert_allclose(level["lpips"].astype(float), expected, atol=1e-6)
