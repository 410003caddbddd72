"""Real data and weights if they exist, else stand-ins: never without a notice, never for damaged files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support import Command, Computed

from bench.analysis.claim_results import claims_of
from bench.cli import main
from bench.core.errors import DataError, MissingDataError, SuiteError
from bench.metrics import recognition
from bench.planning.plan import Plan
from bench.registry.discovery import Registry
from bench.store.reading import RunResults

SUITE = """\
[suite]
name = "photos"

[[experiment]]
name = "one"
table = "VII"
datasets = ["toy-photos"]
authorised = ["toy-published", ["toy-published", "toy-b"]]
evaluated = ["toy-published", "toy-b"]
defenses = ["identity", "toy-step"]
pairs = 60

[[claims]]
id = "kept"
section = "6.4"
text = "The authorised model still recognises."
experiment = "one"
metric = "accuracy"
left = { defense = "toy-step", dataset = "toy-photos", authorised = "toy-published+toy-b", evaluated = "toy-published" }
relation = ">"
right = 0.5
"""
LEARNER = '{ plugin = "toy-learner", learns = "clean" }'


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the toy photos, set in the environment."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "toys.txt").write_text("sound")
    monkeypatch.setenv("TOY_PHOTOS", str(folder))
    return folder


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the weights of all toy models, set in the environment."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name, seed in (("published", 7), ("toy-a", 1), ("toy-b", 2)):
        (folder / f"{name}.json").write_text(json.dumps({"seed": seed}))
    monkeypatch.setenv("TOY_WEIGHTS", str(folder))
    return folder


BARE = SUITE.split("[[claims]]")[0]


def components(plan: Plan) -> dict[str, tuple[str, str | None]]:
    """Each label with its plugin and the label that it stands in for."""
    return {c.label: (c.name, c.instead_of) for cell in plan.cells for c in cell.components}


def test_missing_data_are_replaced_by_stand_ins_under_their_own_labels(plan_text: Callable[..., Plan]) -> None:
    plan = plan_text(SUITE)
    found = components(plan)
    assert found["toy-faces"] == ("toy-faces", "toy-photos")
    assert found["toy-a"] == ("toy-a", "toy-published")
    assert not {"toy-photos", "toy-published"} & set(found)
    because = next(c.because for cell in plan.cells for c in cell.components if c.name == "toy-faces")
    assert because == "photos/toys.txt: expected the toy photos, found nothing there; set TOY_PHOTOS"


def test_existing_data_are_used(plan_text: Callable[..., Plan], photos: Path, weights: Path) -> None:
    found = components(plan_text(SUITE))
    assert found["toy-photos"] == ("toy-photos", None)
    assert found["toy-published"] == ("toy-published", None)


def test_a_judge_of_generated_faces_does_not_judge_real_ones(
    plan_text: Callable[..., Plan], photos: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    """It is skipped with a reason where the faces are real; a stand-in for missing weights is not."""
    judge = registry.components["model", "toy-b"].cls
    monkeypatch.setattr(judge, "synthetic", True)
    monkeypatch.setattr(judge, "stands_in_for", None)
    cells = [cell for cell in plan_text(BARE).cells if cell.evaluated and cell.evaluated.name == "toy-b"]
    assert cells
    for cell in cells:
        assert (cell.skip or "").startswith(
            "toy-b learnt from generated faces and cannot judge what is left of those of"
        )
        assert "evaluate a network of your own" in (cell.skip or "")
    monkeypatch.setattr(judge, "stands_in_for", "Toy B")
    assert not [cell.skip for cell in plan_text(BARE).cells if cell.skip]
    monkeypatch.setattr(judge, "stands_in_for", None)
    assert not [cell.skip for cell in plan_text(BARE, 'suite.data="stand-in"').cells if cell.skip]


def test_a_label_of_the_suite_says_that_it_is_a_stand_in(plan_text: Callable[..., Plan]) -> None:
    found = components(plan_text(BARE.replace('["toy-photos"]', '[{ plugin = "toy-photos", label = "Photos" }]')))
    assert found["Photos (stand-in toy-faces)"] == ("toy-faces", "Photos")


def test_a_stand_in_gets_the_parameters_that_both_have(plan_text: Callable[..., Plan]) -> None:
    asked = '[{ plugin = "toy-photos", auxiliary_images = 8, shown = false }]'
    plan = plan_text(SUITE.replace('["toy-photos"]', asked))
    component = plan.cells[0].dataset
    assert component.params == {"seed": 0, "auxiliary_images": 8}
    assert component.passed == {"auxiliary_images": 8}


def test_stand_ins_can_be_requested(plan_text: Callable[..., Plan], photos: Path, weights: Path) -> None:
    found = components(plan_text(SUITE, 'suite.data="stand-in"'))
    assert found["toy-faces"] == ("toy-faces", "toy-photos")
    assert found["toy-a"] == ("toy-a", "toy-published")


def test_real_data_can_be_required(plan_text: Callable[..., Plan], weights: Path) -> None:
    (weights / "published.json").unlink()
    with pytest.raises(MissingDataError) as caught:
        plan_text(SUITE, 'suite.data="real"')
    message = str(caught.value)
    assert message.count("toys.txt") == message.count("published.json") == 1
    assert "--data auto" in message


def test_a_defense_may_have_other_parameters_for_stand_ins(
    plan_text: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench_toy.models import ToyA

    monkeypatch.setattr(ToyA, "synthetic", True)
    text = BARE.replace(
        '["identity", "toy-step"]', '[{ plugin = "toy-step", rate = 0.4, on_stand_ins = { rate = 0.1 } }]'
    )
    assert {cell.defense.params["rate"] for cell in plan_text(text).cells} == {0.1}
    monkeypatch.setattr(ToyA, "synthetic", False)
    assert {cell.defense.params["rate"] for cell in plan_text(text).cells} == {0.4}
    for wrong, expected in (
        ("{ rat = 2.0 }", r"on_stand_ins\.rat: unknown parameter 'rat'; did you mean 'rate'"),
        ("{ label = 'x' }", r"on_stand_ins\.label: not a parameter"),
        ("3", r"on_stand_ins: expected a table of parameters, found 3"),
    ):
        with pytest.raises(SuiteError, match=r"experiment\[0\]\.defenses\[0\]\." + expected):
            plan_text(text.replace("{ rate = 0.1 }", wrong))


def test_damaged_data_are_an_error_and_no_reason_for_a_stand_in(plan_text: Callable[..., Plan], photos: Path) -> None:
    (photos / "toys.txt").write_text("damaged")
    with pytest.raises(DataError, match=r"experiment\[0\]\.datasets\[0\]: .*toys\.txt: expected toy photos, found dam"):
        plan_text(SUITE)


@pytest.mark.slow
def test_images_on_demand_become_the_same_rows(computed: Callable[..., Computed], photos: Path) -> None:
    text = BARE.replace("toy-published", "toy-a")
    real, drawn = computed(text), computed(text.replace("toy-photos", "toy-faces"))
    mapped = real.artifact("evaluation faces of toy-photos").tensors["images"]
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, drawn.artifact("evaluation faces of toy-faces").tensors["images"])
    for score, table in (
        ("verification of identity by toy-b on {}", "verification"),
        ("baselines of the image metrics on {}", "baselines"),
    ):
        one, other = (
            run.table(score.format(name), table) for run, name in ((real, "toy-photos"), (drawn, "toy-faces"))
        )
        same = [c for c in one if c.startswith(("cos", "rank", "ssim_grey", "ssim_noise", "psnr_grey"))]
        assert same
        for column in same:
            assert one[column].tolist() == other[column].tolist() or "noise" in column


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["fmr", "accuracy"])
def test_thresholds_are_set_on_the_other_folds(computed: Callable[..., Computed], photos: Path, rule: str) -> None:
    text = BARE.replace("toy-published", "toy-a").replace("pairs = 60", "pairs = 60\nfmr = 0.05")
    done = computed(text, f'experiment[0].threshold="{rule}"')
    rows = done.table("verification of identity by toy-b on toy-photos", "verification")
    embeddings = done.artifact("embeddings of calibration faces of toy-photos by toy-b").tensors["plain"]
    pairs = done.artifact("calibration faces of toy-photos").tables["pairs"].to_pandas()
    scores = recognition.cosine(embeddings[pairs["left"]], embeddings[pairs["right"]])
    assert len(set(rows["kappa_calibrated"])) > 1
    for fold in range(10):
        genuine, impostor = (scores[(pairs["fold"] != fold) & (pairs["same"] == same)] for same in (True, False))
        expected = (
            recognition.threshold_at_fmr(impostor, 0.05)
            if rule == "fmr"
            else recognition.balanced_threshold(genuine, impostor)
        )
        own = np.array(rows["fold"]) == fold
        assert set(np.array(rows["kappa_calibrated"])[own]) == {expected}
        assert set(np.array(rows["calibration_impostors"])[own]) == {len(impostor)} == {45}


def test_attacks_do_not_learn_from_people_who_are_scored(plan_text: Callable[..., Plan], photos: Path) -> None:
    attack = f"attacks=[{LEARNER}]"
    assert {c.skip for c in plan_text(SUITE, f"experiment[0].{attack}").cells if len(c.authorised) < 2} == {None}
    for more, expected in (("", True), ('experiment[0].auxiliary="toy-faces"', False)):
        plan = plan_text(SUITE, f"experiment[0].{attack}", "experiment[0].pairs=62", *([more] if more else []))
        reasons = [c.skip for c in plan.cells if len(c.authorised) < 2]
        assert all(("people of toy-photos who are scored" in str(r)) == expected for r in reasons)


@pytest.mark.slow
def test_a_model_that_guesses_gets_no_measurement(
    computed: Callable[..., Computed], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from bench_toy.networks import ToyNetwork

    def scrambled(self: ToyNetwork, images: torch.Tensor) -> torch.Tensor:
        seeds = (images * 255).round().long().flatten(1).sum(1).tolist()
        return torch.stack([torch.randn(64, generator=torch.Generator().manual_seed(s)) for s in seeds])

    monkeypatch.setattr(ToyNetwork, "forward", scrambled)
    text = BARE.replace("toy-published", "toy-a").replace("toy-photos", "toy-faces")
    done = computed(text, "experiment[0].pairs=200")
    result = done.result("verification of identity by toy-b on toy-faces")
    assert result.status == "failed"
    assert "cannot tell people apart" in str(result.reason)
    assert "normalisation or channel order looks wrong" in str(result.reason)
    few = computed(text, "experiment[0].pairs=40")
    assert few.result("verification of identity by toy-b on toy-faces").status == "ok"


def test_the_command_says_what_stands_in(bench: Command, tmp_path: Path) -> None:
    (tmp_path / "photos.toml").write_text(SUITE)
    done = bench("run", "photos.toml", "--device", "cpu", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "synthetic stand-ins: toy-faces for toy-photos, toy-a for toy-published" in done.err
    results = RunResults(next((tmp_path / "results" / "photos").glob("*/run.json")).parent)
    assert set(results.cells["dataset"]) == {"toy-faces"}
    assert results.cells["synthetic"].all()
    (claim,) = claims_of(results)
    assert (claim.left.dataset, claim.left.authorised) == (["toy-faces"], ["toy-a+toy-b"])
    page = (tmp_path / "reports" / "photos" / "index.html").read_text()
    assert "toy-faces" in page
    judged = bench("claims", "photos", cwd=tmp_path)
    assert "0 not measured" in judged.out
    refused = bench("run", "photos.toml", "--data", "real", cwd=tmp_path)
    assert refused.code == 2
    assert "toys.txt" in refused.err
    assert "Traceback" not in refused.err


def test_real_faces_are_shown_only_when_asked(bench: Command, tmp_path: Path, photos: Path) -> None:
    (tmp_path / "photos.toml").write_text(SUITE)
    env = {"TOY_PHOTOS": str(photos)}
    page = tmp_path / "reports" / "photos" / "index.html"
    assert bench("run", "photos.toml", "--device", "cpu", cwd=tmp_path, env=env).code == 0
    assert "data:image/png" not in page.read_text()
    assert bench("report", "photos", "--include-faces", cwd=tmp_path, env=env).code == 0
    assert "data:image/png" in page.read_text()
    assert "toy license" in page.read_text()


# ---- bench data, bench models ----------------------------------------------------------------------------------------


def test_status_lists_existing_and_missing_data(bench: Command, photos: Path) -> None:
    done = bench("data", "status", "--json")
    sets = {e["name"]: e for e in json.loads(done.out) if e["kind"] == "dataset"}
    assert sets["toy-photos"]["status"]["missing"].endswith("set TOY_PHOTOS")
    assert sets["toy-photos"]["stand_in"] == "toy-faces"
    assert sets["toy-faces"]["status"]["where"] == "generated"
    there = bench("data", "status", env={"TOY_PHOTOS": str(photos)})
    assert there.code == 0
    assert "toy license" in there.out
    models = {e["name"]: e for e in json.loads(bench("models", "status", "--json").out)}
    assert models["toy-published"]["status"]["missing"]
    assert models["toy-a"]["fingerprint"]


def test_verify_names_what_is_wrong(bench: Command, photos: Path) -> None:
    env = {"TOY_PHOTOS": str(photos)}
    assert bench("data", "verify", "toy-photos", env=env).code == 0
    (photos / "toys.txt").write_text("damaged")
    done = bench("data", "verify", "toy-photos", env=env)
    assert done.code == 1
    assert "problem toy-photos: readable: " in done.out
    unknown = bench("data", "verify", "toy-fotos", env=env)
    assert unknown.code == 2
    assert "did you mean 'toy-photos'?" in unknown.err


def test_folders_of_the_command_line_are_searched_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.api.search_paths import DATA, WEIGHTS, data_folders, weights_folders

    monkeypatch.setenv(DATA, "/first")
    monkeypatch.delenv(WEIGHTS, raising=False)
    done = CliRunner().invoke(main, ["data", "status", "--json", "--data-dir", str(tmp_path)])
    assert done.exit_code == 0
    assert data_folders() == [tmp_path, Path("/first")]
    assert weights_folders() == [tmp_path / "weights", Path("/first/weights")]


def test_hook_bench_commands(bench: Command, registry: Registry) -> None:
    assert bench("data", "double", 21).out == "42\n"
    listed = bench("data", "--help")
    assert {"double", "status", "verify"} <= set(listed.out.split())
    assert bench("models", "double").code == 2
