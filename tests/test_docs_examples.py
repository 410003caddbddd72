"""The examples of the guides are run as they are printed."""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from support import Computed, compute, only, write_plugin

from bench import MissingDataError
from bench.api.attack import Budgeted, Outputs, Sees
from bench.planning.plan import make_plan
from bench.registry.components import parameters
from bench.registry.discovery import Registry
from bench.store.artifacts import Cache
from bench.suite.suite import load
from bench.suite.tables import ExperimentTable
from bench.testing import check_faces, check_pairs

DOCS = Path(__file__).parent.parent / "docs"
PARTS = [f"plugins/{kind}.md" for kind in ("defense", "attack", "model", "dataset", "metric")]


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [part.split("```")[0] for part in text.split(f"```{language}\n")[1:]]


@pytest.fixture
def guided(
    tmp_path: Path, toy_site: Path, monkeypatch: pytest.MonkeyPatch, sites_of_their_own: Callable[[Path], Registry]
) -> Registry:
    """The classes of the guide, together in one plugin beside the toy one."""
    register = (
        "\n\n@hookimpl\ndef bench_attacks():\n"
        '    return {"enlarge": Enlarge, "linear-decoder": LinearDecoder, "tone": Tone,\n'
        '     "adapted-head": AdaptedHead, "learnt-tone": LearntTone, "embedded-tone": EmbeddedTone,\n'
        '     "same-tone": SameTone, "linked-by-head": LinkedByHead,\n'
        '     "mean-of-uploads": MeanOfUploads, "undoes-tone": UndoesTone,\n'
        '     "one-step": OneStep, "same-template": SameTemplate, "probe": Probe}\n'
    )
    one = '{"pixelate": Pixelate'
    more = f'{one}, "small-cloak": SmallCloak, "signed-template": SignedTemplate, "blank": Blank'
    monkeypatch.syspath_prepend(str(toy_site))
    code = "\n\n".join(block for page in ("plugins.md", *PARTS[:2]) for block in blocks(page, "python"))
    code = code.replace(one, more) + register
    return sites_of_their_own(write_plugin(tmp_path / "site", "plugin_guide", code))


SUITE = """\
[suite]
name = "guide"

[[experiment]]
name = "guide"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a", "toy-b"]
defenses = ["identity", { plugin = "toy-mean", weight = 0.8 }, "pixelate"]
attacks = [
    "enlarge",
    "linear-decoder",
    { plugin = "linear-decoder", adaptive = true, label = "adaptive" },
    "tone",
    { plugin = "tone", via = "linear-decoder", label = "tone of what was decoded" },
]
pairs = 20
"""


@pytest.mark.slow
@pytest.mark.parametrize("more", ["", 'upload = "features"\nsplit = "all"\n'])
def test_the_attacks_of_the_guide_work(guided: Registry, tmp_path: Path, more: str) -> None:
    path = tmp_path / "guide.toml"
    path.write_text(SUITE + more, encoding="utf-8")
    done = Computed(make_plan(load(path, guided), guided, "cpu"), Cache(tmp_path / "cache"))
    assert done.failures() == []
    skipped = {c.attack.label for c in done.plan.cells if c.skip}
    assert skipped == ({"tone"} if more else set())

    def mean(attack: str, column: str, defense: str = "identity") -> Any:
        rows = done.table(f"image similarity of {attack} against {defense} on toy-faces", "images")
        return np.mean(rows[column])

    floors = done.table("baselines of the image metrics on toy-faces", "baselines")
    assert mean("linear-decoder", "ssim") > floors["ssim_mean_face"].mean(), "it learns"
    assert mean("adaptive", "psnr", "toy-mean") > mean("linear-decoder", "psnr", "toy-mean"), "it adapts"
    assert mean("enlarge", "extra_contrast") > 0
    looks = done.table("tone of what was decoded of linear-decoder on toy-faces protected by identity", "attributes")
    assert set(looks["original"][looks["attribute"] == "tone"]) <= {"dark", "light"}
    fits = [s.name for s in done.plan.stages.values() if s.kind == "fit_attack"]
    assert len(fits) == 5  # on clean faces of all people and of the half that toy-mean leaves; on each defense


def test_every_declaration_of_attacks_has_an_example() -> None:
    code = "\n".join(blocks("plugins/attack.md", "python"))
    words = {*get_args(Sees), *get_args(Budgeted), "photo", *(set(get_args(Outputs)) - {"images"})}
    assert not [word for word in words if f'"{word}"' not in code]
    methods = ("embed", "enrol", "link", "estimate", "reconstruct", "fit", "budget", "splits", "classes", "trained_as")
    assert not [name for name in methods if f"    def {name}(self" not in code]
    calls = ("evaluated()", "defense(", "network(", "shallow(", "state[", "image_size", "authorised[")
    assert not [name for name in calls if f"ctx.{name}" not in code]


ADVERSARIES = """\
[suite]
name = "adversaries"

[[experiment]]
name = "adversaries"
datasets = [{ plugin = "toy-faces", auxiliary_images = 200 }]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["toy-mean"]
attacks = [
    "abuse",
    "adapted-head",
    "learnt-tone",
    "embedded-tone",
    "same-tone",
    "linked-by-head",
    "mean-of-uploads",
    "undoes-tone",
    "one-step",
]
pairs = 20

[[experiment]]
name = "templates"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["signed-template"]
attacks = ["same-template", "probe"]
pairs = 20
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:mean-of-uploads receives 3 uploads")  # The host says so, which is right.
def test_the_adversaries_of_the_guide_work(guided: Registry, tmp_path: Path) -> None:
    path = tmp_path / "guide.toml"
    path.write_text(ADVERSARIES, encoding="utf-8")
    done = Computed(make_plan(load(path, guided), guided, "cpu"), Cache(tmp_path / "cache"))
    assert done.failures() == []
    reasons = [c.skip for c in done.plan.cells]
    assert reasons[:-2] == [None] * 10
    assert "signed-template's recogniser recognises only what signed-template sends" in str(reasons[-2])
    assert reasons[-1] is None
    read = done.table("probe of toy-faces protected by signed-template", "attributes")
    assert set(read["reference"]) == {"label"}
    assert np.isfinite(read["permuted"].astype(float)).all()

    def similarity(by: str) -> Any:
        return done.table(f"verification of toy-mean by {by} on toy-faces", "verification")["cos_self"].mean()

    assert similarity("adapted-head with toy-b") > similarity("toy-b"), "it adapts"
    links = [s for s in done.plan.stages.values() if s.options.get("metric") == "links"]
    assert len(links) == 3
    for stage in links:
        scored = done.cache.read(stage.key).tables["links"].to_pandas()
        assert scored.loc[scored["same"], "score"].mean() > scored.loc[~scored["same"], "score"].mean()
    (cell,) = [c for c in done.plan.cells if c.attack.label == "embedded-tone"]
    assert cell.evaluated is not None
    assert cell.evaluated.label == "toy-b"
    looks = done.table("embedded-tone with toy-b of toy-faces protected by toy-mean", "attributes")
    assert set(looks["reference"]) == {"label"}
    budgets = {c.attack.label: c.budget for c in done.plan.cells if c.budget}
    assert budgets == {
        "adapted-head": '{"faces": 400}',
        "linked-by-head": '{"faces": 400}',
        "undoes-tone": '{"queries": 1}',
        "one-step": '{"steps": 1}',
        "mean-of-uploads": '{"uploads": 3}',
    }
    assert {c.attack.label for c in done.plan.cells if c.insider} == {"mean-of-uploads"}
    trained = [s.components["attack"][0].name for s in done.plan.stages.values() if s.kind == "fit_attack"]
    assert trained.count("adapted-head") == 1, "adapted-head and linked-by-head share one training"
    assert "linked-by-head" not in trained


def test_the_defense_of_the_guide_works(guided: Registry, tmp_path: Path) -> None:
    path = tmp_path / "guide.toml"
    path.write_text(SUITE, encoding="utf-8")
    plan, cache = make_plan(load(path, guided), guided, "cpu"), Cache(tmp_path / "cache")
    key = only(plan, "toy-faces protected by pixelate").key
    assert {result.status for result in compute(plan, cache, [key]).values()} == {"ok"}
    images = cache.read(key).tensors["images"]
    assert (images[:, :, ::8, ::8] == images[:, :, 7::8, 7::8]).all()
    assert 1 < len(np.unique(images[0, 0])) <= 16


GOALS = """\
[suite]
name = "goals"

[[experiment]]
name = "goals"
datasets = ["toy-faces"]
authorised = ["toy-a"]
surrogates = ["toy-b"]
evaluated = ["toy-a", "toy-b"]
defenses = ["small-cloak", "signed-template", "blank"]
protects = "both"
pairs = 20
"""


@pytest.mark.slow
def test_the_defenses_of_each_goal_work(guided: Registry, tmp_path: Path) -> None:
    path = tmp_path / "guide.toml"
    path.write_text(GOALS, encoding="utf-8")
    done = Computed(make_plan(load(path, guided), guided, "cpu"), Cache(tmp_path / "cache"))
    assert done.failures() == []
    reasons = {c.defense.label: c.skip for c in done.plan.cells if c.skip}
    assert list(reasons) == ["signed-template"], "only models of images cannot read a template"
    assert "sends a representation and no image" in str(reasons["signed-template"])
    own = done.table("verification of signed-template by signed-template's recogniser on toy-faces", "verification")
    assert np.isnan(own["cos_clean"].astype(float)).all()
    assert (own["cos_cross"] == own["cos_protected"]).all()
    same = own["same"].astype(bool)
    assert own["cos_cross"][same].mean() > own["cos_cross"][~same].mean() + 0.2
    cloak = done.table("verification of small-cloak by toy-b on toy-faces", "verification")
    assert (cloak["cos_cross"] == cloak["cos_protected"]).all()
    assert np.isfinite(np.stack([cloak["cos_probe"], cloak["cos_gallery"]])).all()
    assert cloak["cos_self"].mean() < 0.999
    blank = done.table("verification of blank by toy-a on toy-faces", "verification")
    assert np.allclose(blank["cos_protected"], 1)


@pytest.mark.parametrize("page", ["plugins.md", *PARTS])
def test_the_code_of_every_page_stands_alone(page: str) -> None:
    module = types.ModuleType("plugin_of_the_guide")
    exec(compile("\n\n".join(blocks(page, "python")), page, "exec", dont_inherit=True), vars(module))
    assert [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]


def test_the_metric_of_the_guide_is_a_metric(
    tmp_path: Path, toy_site: Path, monkeypatch: pytest.MonkeyPatch, sites_of_their_own: Callable[[Path], Registry]
) -> None:
    import torch

    monkeypatch.syspath_prepend(str(toy_site))
    code = "\n\n".join(blocks("plugins/metric.md", "python"))
    registry = sites_of_their_own(write_plugin(tmp_path / "site", "plugin_metric", code))
    metric = registry.find("metric", "mean-difference", "here").cls()
    black, white = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)
    assert metric.compute(black, white, None).tolist() == [1.0, 1.0]


def test_the_data_set_of_the_guide_is_a_data_set(
    tmp_path: Path, toy_site: Path, monkeypatch: pytest.MonkeyPatch, sites_of_their_own: Callable[[Path], Registry]
) -> None:
    monkeypatch.syspath_prepend(str(toy_site))
    (code,) = blocks("plugins/dataset.md", "python")
    registry = sites_of_their_own(write_plugin(tmp_path / "site", "plugin_faces", code))
    people = np.repeat(np.arange(60), 3)
    images = np.random.default_rng(0).integers(0, 256, (len(people), 3, 112, 112), dtype=np.uint8)
    np.savez(tmp_path / "faces.npz", images=images, subjects=people)
    dataset = registry.find("dataset", "npz-faces", "here").cls(path=tmp_path / "faces.npz")
    pairs = dataset.max_pairs()
    assert pairs == 20
    faces, scored = dataset.evaluation(pairs, None)
    check_faces(faces, dataset.image_size, "npz-faces")
    check_pairs(scored, faces, pairs, "npz-faces")
    left, right = faces.subjects[scored.left], faces.subjects[scored.right]
    assert (scored.same == (left == right)).all()
    assert scored.same.mean() == 0.5
    for fold in set(scored.fold):
        inside = set(left[scored.fold == fold]) | set(right[scored.fold == fold])
        assert not inside & (set(left[scored.fold != fold]) | set(right[scored.fold != fold]))
    parts = [set(faces.subjects), set(dataset.calibration(None).subjects), set(dataset.auxiliary(None).subjects)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 60
    with pytest.raises(MissingDataError, match="set path"):
        registry.find("dataset", "npz-faces", "here").cls(path=tmp_path / "none.npz").fingerprint()


# ---- suites ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(blocks("suites.md", "toml"))))
def test_the_suites_of_the_guide_are_suites(number: int, tmp_path: Path, registry: Registry) -> None:
    from bench.core.errors import BenchError
    from bench.suite.paper_tables import COLUMNS

    text = blocks("suites.md", "toml")[number]
    path = tmp_path / "guide.toml"
    path.write_text(text if "[suite]" in text else f'[suite]\nname = "guide"\n{text}', encoding="utf-8")
    (tmp_path / "published.csv").write_text(",".join(COLUMNS) + "\n")
    try:
        plan = make_plan(load(path, registry), registry, "cpu")
    except BenchError as error:
        pytest.fail(str(error))
    assert all(cell.stages for cell in plan.cells if not cell.skip)


def test_the_model_of_the_guide_is_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sites_of_their_own: Callable[[Path], Registry]
) -> None:
    import torch
    from bench_facenets.checks.selfcheck import card_of, self_check
    from safetensors.torch import save_file

    (code,) = blocks("plugins/model.md", "python")
    registry = sites_of_their_own(write_plugin(tmp_path / "site", "plugin_mynet", code))
    model = registry.find("model", "mynet", "here").cls()
    assert "put it into a folder of $BENCH_WEIGHTS" in str(model.status().missing)
    torch.manual_seed(0)
    layers = [("0", (8, 3, 5, 5)), ("2", (16, 8, 3, 3)), ("6", (128, 256))]
    state = {f"{name}.weight": torch.randn(shape) * 0.1 for name, shape in layers}
    state |= {f"{name}.bias": torch.zeros(shape[0]) for name, shape in layers}
    state |= {"1.weight": torch.full((1,), 0.25), "3.weight": torch.full((1,), 0.25)}
    save_file(state, tmp_path / "mynet.safetensors")
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    network = model.load()
    images = torch.rand(2, 3, 112, 112)
    maps = network.features(images, ["stage1", "stage2"])
    assert {name: tuple(m.shape[1:]) for name, m in zip(model.splits, maps, strict=True)} == dict(model.splits)
    torch.testing.assert_close(network.from_features(maps[1], "stage2"), network(images))
    card = card_of(network)
    assert (card.embedding_size, card.shapes) == (model.embedding_size, dict(model.splits))
    self_check(network, card, "mynet")


@pytest.mark.parametrize("page", ["real-data.md", "real-weights.md"])
def test_every_component_that_a_guide_names_exists(page: str, registry: Registry) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    named = set(re.findall(r'plugin = "([a-z0-9-]+)"', text))
    assert named
    assert named <= {name for _, name in registry.components}


def test_every_parameter_of_any_torch_module_is_in_the_guide(registry: Registry) -> None:
    text = (DOCS / "real-weights.md").read_text(encoding="utf-8")
    for name, _, _ in parameters(registry.find("model", "torch-module", "here").cls):
        assert f"{name} = " in text or f"`{name}`" in text, name


def test_every_key_of_an_experiment_is_in_the_guide() -> None:
    text = (DOCS / "suites.md").read_text(encoding="utf-8")
    for name in ExperimentTable.model_fields:
        assert f"\n{name} = " in text, name
    for name in ("via", "grid", "label", "plugin"):
        assert f"{name} = " in text, name


def test_every_table_of_rows_is_in_the_guide() -> None:
    from bench.store.schema import SAMPLES

    text = (DOCS / "suites.md").read_text(encoding="utf-8")
    for name in SAMPLES:
        assert f"| `{name}` |" in text, name
