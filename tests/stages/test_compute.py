"""What stages compute, in this process, on toy data."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import Computed

from bench.metrics.images import psnr, ssim
from bench.registry.discovery import Registry

SUITE = """\
[suite]
name = "toy"

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a", "toy-b"]
defenses = ["identity"]
pairs = 70
"""


Run = Callable[..., Computed]


@pytest.fixture
def run(computed: Run) -> Run:
    """A function that plans and computes the suite above with some overrides."""

    def plan_and_compute(*overrides: str) -> Computed:
        return computed(SUITE, *overrides)

    return plan_and_compute


def test_faces_are_kept_as_the_data_set_made_them(run: Run, registry: Registry) -> None:
    done = run()
    dataset = registry.find("dataset", "toy-faces", "here").cls()
    ctx: Any = None
    faces, pairs = dataset.evaluation(70, ctx)
    found = done.artifact("evaluation faces of toy-faces")
    assert np.array_equal(found.tensors["images"], faces.images)
    assert found.tables["faces"]["sample_id"].to_pylist() == list(faces.sample_ids)
    assert found.tables["faces"]["attribute_age"].to_pylist() == list(faces.attributes["age"])
    assert found.tables["pairs"]["left"].to_pylist() == list(pairs.left)
    assert "pairs" not in done.artifact("calibration faces of toy-faces").tables


def test_embeddings_are_unit_vectors_of_the_image_and_with_its_mirror_image(run: Run) -> None:
    import torch

    done = run()
    images = done.artifact("evaluation faces of toy-faces").tensors["images"]
    found = done.artifact("embeddings of evaluation faces of toy-faces by toy-a").tensors
    assert found["plain"].shape == found["flipped"].shape == (len(images), 64)
    for side in found.values():
        np.testing.assert_allclose(np.linalg.norm(side, axis=1), 1, rtol=1e-5)
    from bench_toy.models import ToyA

    network = ToyA().load()
    with torch.no_grad():
        x = torch.from_numpy(images[:3].copy()).float() / 255
        plain, mirror = (torch.nn.functional.normalize(network(side)) for side in (x, x.flip(-1)))
        both = torch.nn.functional.normalize(plain + mirror)
    np.testing.assert_allclose(found["plain"][:3], plain, atol=1e-5)
    np.testing.assert_allclose(found["flipped"][:3], both, atol=1e-5)


def test_the_toy_models_recognise_toy_faces(run: Run) -> None:
    """The other tests rely on this: genuine pairs match, impostor pairs do not."""
    rows = run().table("verification of identity by toy-a on toy-faces", "verification")
    assert rows["cos_clean"][rows["same"]].min() > rows["kappa_calibrated"][0]
    assert (rows["cos_clean"][~rows["same"]] > rows["kappa_calibrated"][0]).mean() < 0.1


def test_every_left_image_is_protected_once(run: Run) -> None:
    done = run()
    faces = done.artifact("evaluation faces of toy-faces")
    protected = done.artifact("toy-faces protected by identity")
    left = faces.tables["pairs"]["left"].to_numpy()
    assert protected.tables["samples"]["face"].to_pylist() == sorted(set(left))
    assert len(set(left)) == 35  # of 70 pairs: more than one batch
    assert np.array_equal(protected.tensors["images"], faces.tensors["images"][sorted(set(left))])


def test_unprotected_faces_match_themselves(run: Run) -> None:
    done = run()
    for model in ("toy-a", "toy-b"):
        rows = done.table(f"verification of identity by {model} on toy-faces", "verification")
        np.testing.assert_allclose(rows["cos_self"], 1, rtol=1e-6)
        np.testing.assert_allclose(rows["cos_cross"], rows["cos_clean"], rtol=1e-6)
        np.testing.assert_allclose(rows["flip_cross"], rows["flip_clean"], rtol=1e-6)
    similarity = done.table("image similarity of identity on toy-faces", "images")
    assert (similarity["ssim"] == 1).all()
    assert similarity["psnr_infinite"].all()
    assert set(similarity["psnr"]) == {None}


def test_verification_rows_are_those_of_the_pairs(run: Run) -> None:
    done = run('experiment[0].defenses=["noise"]')
    rows = done.table("verification of noise by toy-b on toy-faces", "verification")
    faces = done.artifact("evaluation faces of toy-faces")
    pairs = {c: faces.tables["pairs"][c].to_numpy() for c in ("left", "right", "same", "fold")}
    ids, subjects = (np.array(faces.tables["faces"][c].to_pylist()) for c in ("sample_id", "subject"))
    assert rows["pair"].tolist() == list(range(70))
    assert rows["left_id"].tolist() == ids[pairs["left"]].tolist()
    assert rows["right_id"].tolist() == ids[pairs["right"]].tolist()
    assert rows["same"].tolist() == (subjects[pairs["left"]] == subjects[pairs["right"]]).tolist()
    assert rows["fold"].tolist() == pairs["fold"].tolist()
    clean = done.artifact("embeddings of evaluation faces of toy-faces by toy-b").tensors["plain"]
    shown = done.artifact("embeddings of toy-faces protected by noise by toy-b").tensors["plain"]
    place = {face: i for i, face in enumerate(sorted(set(pairs["left"])))}
    for pair in (0, 1, 69):
        left, right = pairs["left"][pair], pairs["right"][pair]
        assert rows["cos_self"][pair] == pytest.approx(float(shown[place[left]] @ clean[left]), abs=1e-6)
        assert rows["cos_cross"][pair] == pytest.approx(float(shown[place[left]] @ clean[right]), abs=1e-6)
        assert rows["cos_clean"][pair] == pytest.approx(float(clean[left] @ clean[right]), abs=1e-6)


def test_the_threshold_is_calibrated_on_faces_that_are_not_scored(run: Run) -> None:
    done = run("experiment[0].fmr=0.05")
    rows = done.table("verification of identity by toy-a on toy-faces", "verification")
    faces = done.artifact("calibration faces of toy-faces")
    unit = done.artifact("embeddings of calibration faces of toy-faces by toy-a").tensors["plain"].astype(float)
    subjects = faces.tables["faces"]["subject"].to_numpy()
    scores = [
        float(unit[i] @ unit[j])
        for i in range(len(unit))
        for j in range(i + 1, len(unit))
        if subjects[i] != subjects[j]
    ]
    (kappa,) = set(rows["kappa_calibrated"])
    assert set(rows["calibration_impostors"]) == {len(scores)}
    assert sum(s > kappa + 1e-6 for s in scores) <= 0.05 * len(scores) < sum(s >= kappa - 1e-6 for s in scores)
    assert not set(subjects) & set(rows["left_subject"]) | set(subjects) & set(rows["right_subject"])


@pytest.mark.slow
def test_a_fitted_defense_gets_its_state_and_its_extra_numbers_are_stored(run: Run) -> None:
    done = run('experiment[0].defenses=[{ plugin = "toy-mean", weight = 0.5 }]')
    auxiliary = done.artifact("auxiliary faces of toy-faces").tensors["images"]
    mean = done.artifact("toy-mean fitted on toy-faces").tensors["mean"]
    np.testing.assert_allclose(mean, auxiliary.astype(float).mean(0) / 255, atol=1e-6)
    faces = done.artifact("evaluation faces of toy-faces")
    protected = done.artifact("toy-faces protected by toy-mean")
    index = protected.tables["samples"]["face"].to_numpy()
    expected = 0.5 * faces.tensors["images"][index] + 0.5 * 255 * mean
    np.testing.assert_allclose(protected.tensors["images"], expected, atol=0.51)
    rows = done.table("image similarity of toy-mean on toy-faces", "images")
    moved = np.abs(expected - faces.tensors["images"][index]).mean((1, 2, 3)) / 255
    np.testing.assert_allclose(rows["extra_moved"], moved, atol=1e-6)


@pytest.mark.slow
def test_the_authorised_model_recognises_images_protected_for_it(run: Run) -> None:
    done = run('experiment[0].authorised=["toy-a", "toy-b"]', 'experiment[0].defenses=["toy-step"]')
    selves = {}
    for cell in done.plan.cells:
        rows = done.cache.read(cell.stages[0]).tables["verification"]
        selves[cell.authorised[0].label, cell.evaluated.label] = np.mean(rows["cos_self"].to_numpy())
    assert min(selves["toy-a", "toy-a"], selves["toy-b", "toy-b"]) > 0.5
    assert max(selves["toy-a", "toy-b"], selves["toy-b", "toy-a"]) < 0.4


def test_image_rows_are_the_metrics_of_the_images(run: Run) -> None:
    done = run('experiment[0].defenses=["noise"]')
    rows = done.table("image similarity of noise on toy-faces", "images")
    faces, protected = done.artifact("evaluation faces of toy-faces"), done.artifact("toy-faces protected by noise")
    originals = faces.tensors["images"][protected.tables["samples"]["face"].to_numpy()]
    np.testing.assert_allclose(rows["ssim"], ssim(originals, protected.tensors["images"]))
    np.testing.assert_allclose(rows["psnr"].astype(float), psnr(originals, protected.tensors["images"]))
    assert not rows["psnr_infinite"].any()


def test_a_few_faces_are_kept_as_pictures(run: Run) -> None:
    done = run('experiment[0].defenses=["noise"]')
    examples = done.artifact("image similarity of noise on toy-faces").tables["examples"].to_pylist()
    protected = done.artifact("toy-faces protected by noise")
    assert len(examples) == 12
    picture = np.array(Image.open(io.BytesIO(examples[-1]["protected"])))
    assert np.array_equal(picture.transpose(2, 0, 1), protected.tensors["images"][-1])
    assert len({example["sample_id"] for example in examples}) == 12


def test_baselines_of_the_image_metrics_show_nothing_of_the_face(run: Run) -> None:
    rows = run().table("baselines of the image metrics on toy-faces", "baselines")
    floors = {"another_face", "mean_face", "noise", "wide_noise", "grey"}
    quantities = ("ssim", "psnr", "lpips")
    assert {name for name in rows if name != "sample_id"} == {f"{q}_{f}" for q in quantities for f in floors}
    for floor in floors:
        assert rows[f"ssim_{floor}"].mean() < 0.9
        assert set(rows[f"lpips_{floor}"]) == {None}, "there are no weights"
    assert len(rows["sample_id"]) == 35


@pytest.mark.slow
def test_results_do_not_depend_on_the_batch(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run('experiment[0].defenses=["noise", "toy-step"]')
    monkeypatch.setattr("bench.planning.graph.BATCH", 7)
    parts = run('experiment[0].defenses=["noise", "toy-step"]')
    for name in ("toy-faces protected by noise", "toy-faces protected by toy-step for toy-a"):
        first, second = whole.artifact(name).tensors["images"], parts.artifact(name).tensors["images"]
        assert whole.key(name) != parts.key(name)
        assert np.abs(first.astype(int) - second.astype(int)).max() <= (0 if "noise" in name else 255)
        assert (first != second).mean() < 0.001


def test_repeats_draw_other_noise(run: Run) -> None:
    done = run('experiment[0].defenses=["noise"]', "experiment[0].repeats=2")
    first, second = [
        done.cache.read(key).tensors["images"] for key, stage in done.plan.stages.items() if stage.kind == "protect"
    ]
    assert (first != second).mean() > 0.9


@pytest.mark.parametrize(
    ("defense", "stage", "fragments"),
    [
        ('{ plugin = "toy-misbehave", how = "raises" }', "", ["RuntimeError: the toy broke"]),
        ('{ plugin = "toy-misbehave", how = "nan" }', "", ["ContractError", "defense toy-misbehave", "NaN"]),
        ('{ plugin = "toy-misbehave", how = "asks-shallow" }', "", ["CapabilityError", "shallow", "declare it"]),
        ('{ plugin = "toy-bad-fit" }', "fit", ["ContractError", "defense toy-bad-fit", "fit()", "tensors"]),
        ('{ plugin = "toy-flaky" }', "", ["RuntimeError: not mended yet"]),
    ],
)
def test_a_failure_is_a_result_with_a_reason_and_no_artifact(
    run: Run, defense: str, stage: str, fragments: list[str]
) -> None:
    done = run(f'experiment[0].defenses=["identity", {defense}]')
    kind = "fit_defense" if stage else "protect"
    (key,) = [
        k for k, s in done.plan.stages.items() if s.kind == kind and s.components["defense"][0].name != "identity"
    ]
    result = done.results[key]
    assert result.status == "failed"
    assert not result.cached
    for fragment in fragments:
        assert fragment in str(result.reason)
    assert "Traceback" in str(result.traceback)
    assert not done.cache.folder(key).exists()
    assert done.result("verification of identity by toy-a on toy-faces").status == "ok"


def test_a_corrected_defense_is_computed_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    flaky = 'experiment[0].defenses=["toy-flaky"]'
    assert run(flaky).result("toy-faces protected by toy-flaky").status == "failed"
    monkeypatch.setenv("TOY_MENDED", "1")
    again = run(flaky)
    assert again.result("toy-faces protected by toy-flaky").status == "ok"
    assert again.result("evaluation faces of toy-faces").cached


def test_a_defense_cannot_forge_its_scores(run: Run) -> None:
    done = run('experiment[0].defenses=["toy-forger"]')
    rows = done.table("image similarity of toy-forger on toy-faces", "images")
    assert (rows["ssim"] == 1).all()
    assert rows["psnr_infinite"].all()


def test_a_defense_cannot_change_the_model_of_other_stages(run: Run) -> None:
    """The clean faces are embedded in the same process, after a defense has changed its copy of the model."""
    import torch
    from bench_toy.models import ToyA

    done = run('experiment[0].defenses=["toy-vandal"]')
    assert done.result("toy-faces protected by toy-vandal for toy-a").status == "ok"
    order = [stage.name for stage in done.plan.stages.values()]
    name = "embeddings of evaluation faces of toy-faces by toy-a"
    assert order.index("toy-faces protected by toy-vandal for toy-a") < order.index(name)
    images = torch.from_numpy(done.artifact("evaluation faces of toy-faces").tensors["images"].copy()).float() / 255
    with torch.no_grad():
        expected = torch.nn.functional.normalize(ToyA().load()(images))
    np.testing.assert_allclose(done.artifact(name).tensors["plain"], expected, atol=1e-5)


def test_calibration_without_impostors_is_a_named_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_toy.faces import ToyFaces, faces

    monkeypatch.setattr(ToyFaces, "calibration", lambda self, ctx: faces([(5, 0), (5, 1)], 0, "few"))
    result = run().result("verification of identity by toy-a on toy-faces")
    assert result.status == "failed"
    assert "calibration" in str(result.reason)
    assert "two subjects" in str(result.reason)
