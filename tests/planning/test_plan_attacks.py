"""Planning of attacks: their axes, shared stages, what changes a key, and skipped cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from support import changed, names, only, skips

from bench.core.domain import Stage
from bench.core.errors import BenchError, PluginError, SuiteError
from bench.planning.plan import Plan
from bench.runs.record import components_of

BASE = """\
[suite]
name = "toy"
seed = 3

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a", "toy-b"]
evaluated = ["toy-a", "toy-b"]
defenses = ["identity"]
attacks = ["abuse"]
pairs = 20
"""
PlanOf = Callable[..., Plan]
BOTH = [("toy-a", "toy-a"), ("toy-a", "toy-b"), ("toy-b", "toy-a"), ("toy-b", "toy-b")]


def quoted(reference: str) -> str:
    """Return a reference in TOML: a name in quotes, a table unchanged."""
    return reference if reference.startswith("{") else f'"{reference}"'


def via(first: str, name: str = "toy-attributes") -> str:
    """Return an attack on the reconstructions of another attack."""
    return f'{{ plugin = "{name}", via = {quoted(first)} }}'


@pytest.fixture
def plan_of(plan_text: PlanOf) -> PlanOf:
    """A function that plans the suite above with other attacks, other defenses and further keys."""

    def make(
        *attacks: str, more: str = "", defenses: tuple[str, ...] = ("identity",), overrides: tuple[str, ...] = ()
    ) -> Plan:
        lists = {"attacks": attacks or ("abuse",), "defenses": defenses}
        axes = [f"experiment[0].{axis}=[{', '.join(map(quoted, found))}]" for axis, found in lists.items()]
        return plan_text(BASE + more, *axes, *overrides)

    return make


def of_kind(plan: Plan, kind: str) -> list[Stage]:
    """Return the stages of a kind."""
    return [stage for stage in plan.stages.values() if stage.kind == kind]


def keys(plan: Plan, kind: str) -> set[str]:
    """Return the keys of the stages of a kind."""
    return {stage.key for stage in of_kind(plan, kind)}


# ---- axes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attack", "more", "expected"),
    [
        ("abuse", "", [("", "toy-a"), ("", "toy-b")]),
        ("toy-denoise", "", [("", "toy-a"), ("", "toy-b")]),
        ("toy-upsample", "", BOTH),
        ("toy-descent", "", BOTH),
        ("toy-learner", "", BOTH),
        ('{ plugin = "toy-learner", look = "images" }', "", [("", "toy-a"), ("", "toy-b")]),
        ("toy-attributes", "", [("", "")]),
        ("toy-attributes", "noise_levels = [0.1]", [("", "toy-a"), ("", "toy-b")]),
        (via("toy-denoise"), "", [("", "")]),
        (via("toy-upsample"), "", [("toy-a", ""), ("toy-b", "")]),
        (via("toy-upsample"), "noise_levels = [0.1]", BOTH),
        ("abuse", 'upload = "features"', BOTH),
        ("toy-upsample", 'upload = "features"', BOTH),
        (via("toy-upsample"), 'upload = "features"', [("toy-a", ""), ("toy-b", "")]),
    ],
)
def test_axes_that_do_not_affect_a_cell_are_dropped(
    plan_of: PlanOf, attack: str, more: str, expected: list[tuple[str, str]]
) -> None:
    plan = plan_of(attack, more=more)
    found = [("+".join(m.label for m in c.authorised), c.evaluated.label if c.evaluated else "") for c in plan.cells]
    assert found == expected
    assert plan.requested == 4


def test_a_defense_that_knows_models_keeps_them_for_every_attack(plan_of: PlanOf) -> None:
    plan = plan_of("toy-denoise", "toy-attributes", defenses=("toy-step",))
    assert [[m.label for m in c.authorised] for c in plan.cells] == [["toy-a"]] * 2 + [["toy-a"]] + [["toy-b"]] * 2 + [
        ["toy-b"]
    ]


def test_cells_describe_their_upload_and_attack(plan_of: PlanOf) -> None:
    attacks = ["abuse", "toy-upsample", '{ plugin = "toy-learner", learns = "evaluated" }', via("toy-descent")]
    attacks.append('{ plugin = "toy-attributes", label = "peek", via = { plugin = "toy-learner", label = "clean" } }')
    plan = plan_of(*attacks, more='upload = "features"\nsplit = "all"\nfigures = ["6"]')
    cells = {c.attack.label: c for c in reversed(plan.cells) if not c.skip}
    assert {label: (c.outputs, c.leaky) for label, c in cells.items()} == {
        "abuse": ("recognition", False),
        "toy-upsample": ("images", False),
        "toy-learner": ("images", True),
        "toy-attributes via toy-descent": ("attributes", False),
        "peek": ("attributes", False),
    }
    assert {c.upload for c in cells.values()} == {"features at stem+block"}
    assert cells["peek"].threat == "learns from clean uploads; then: looks at the colours"
    assert [c.label for c in cells["peek"].components][-1] == "clean"
    assert cells["abuse"].components[-1].label == "toy-a"


def test_an_attack_via_a_leaky_attack_is_leaky(plan_of: PlanOf) -> None:
    (cell, _) = plan_of(via('{ plugin = "toy-learner", learns = "evaluated" }')).cells
    assert cell.leaky


def test_experiments_with_different_settings_have_different_cells(plan_of: PlanOf) -> None:
    def again(name: str, more: str) -> str:
        text = BASE[BASE.index("[[experiment]]") :].replace('"abuse"', '"abuse", "toy-attributes"')
        return text.replace('"one"', f'"{name}"') + f"{more}\n"

    more = [
        'upload = "features"', 'upload = "features"\nsplit = "stem"', "noise_levels = [0.1]", 'figures = ["8"]', "",
        'auxiliary = "toy-faces"',
    ]  # fmt: skip
    text = "".join(again(f"number-{i}", line) for i, line in enumerate(more))
    ids = [c.id for c in plan_of(more=text).cells]
    assert len(set(ids)) == len(ids)


# ---- stages of a cell ------------------------------------------------------------------------------------------------


def scores(plan: Plan, attack: str) -> list[str]:
    """Return the score stages of the first cell of an attack."""
    cell = next(c for c in plan.cells if c.attack.label == attack)
    return [plan.stages[key].name for key in cell.stages]


def test_the_own_metric_of_a_cell_comes_first_in_its_scores(plan_of: PlanOf) -> None:
    plan = plan_of("abuse", "toy-denoise", "toy-attributes", via("toy-denoise"), more="noise_levels = [0.1]")
    shared = ["image similarity of identity on toy-faces", "baselines of the image metrics on toy-faces"]
    denoised = "image similarity of toy-denoise against identity on toy-faces"
    up = "{} and recognition of toy-faces protected by identity under noise, by toy-a"
    assert scores(plan, "abuse") == ["verification of identity by toy-a on toy-faces", *shared]
    assert scores(plan, "toy-denoise") == [
        "verification of toy-denoise against identity by toy-a on toy-faces", denoised, *shared,
    ]  # fmt: skip
    assert scores(plan, "toy-attributes") == [
        "toy-attributes of toy-faces protected by identity", up.format("toy-attributes"), *shared,
    ]  # fmt: skip
    assert scores(plan, "toy-attributes via toy-denoise") == [
        "toy-attributes via toy-denoise of toy-denoise on toy-faces protected by identity",
        up.format("toy-attributes via toy-denoise"), denoised, *shared,
    ]  # fmt: skip


def test_a_defense_that_sends_no_image_has_no_image_rows(plan_of: PlanOf) -> None:
    plan = plan_of("abuse", "toy-upsample", more='upload = "features"', defenses=("toy-features",))
    assert not [n for n in names(plan) if n.startswith("image similarity of toy-features")]
    assert "image similarity of toy-upsample against toy-features on toy-faces" in names(plan)


def test_uploads_have_their_size(plan_of: PlanOf) -> None:
    def sizes(more: str) -> set[Any]:
        plan = plan_of("toy-upsample", more=more)
        return {s.options["upload_bytes"] for s in of_kind(plan, "score") if s.options["metric"] == "images"}

    assert sizes("") == {3 * 32 * 32}
    assert sizes('upload = "features"') == {4 * 16 * 8 * 8}
    assert sizes('upload = "features"\nsplit = "stem"') == {4 * 8 * 16 * 16}
    assert sizes('upload = "features"\nsplit = "all"') == {4 * (16 * 8 * 8 + 8 * 16 * 16)}


@pytest.mark.parametrize(
    ("attack", "more", "splits", "uploaded"),
    [
        ("toy-upsample", "", ("stem",), ()),
        ("toy-descent", "", ("block",), ()),
        ("toy-upsample", 'upload = "features"', ("block",), ("block",)),
        ("toy-upsample", 'upload = "features"\nsplit = "stem"', ("stem",), ("stem",)),
        ("toy-learner", 'upload = "features"\nsplit = "all"', ("stem", "block"), ("stem", "block")),
        ("toy-denoise", "", (), ()),
    ],
)
def test_an_attack_works_on_the_features_that_it_can_get(
    plan_of: PlanOf, attack: str, more: str, splits: tuple[str, ...], uploaded: tuple[str, ...]
) -> None:
    stages = of_kind(plan_of(attack, more=more), "attack")
    assert stages
    for stage in stages:
        assert (stage.options["splits"], stage.options["uploaded"]) == (splits, uploaded)


def test_an_attack_may_know_which_split_points_the_defense_uses(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench_toy.attacks import ToyDescent

    told = list[tuple[object, ...]]()

    def splits_knowing(self: object, *known: Any) -> tuple[str, ...]:
        told.append(tuple(map(tuple, known)))
        return tuple(known[2]) or ("stem",)

    monkeypatch.setattr(ToyDescent, "splits_knowing", splits_knowing, raising=False)
    plan = plan_of("toy-descent", defenses=("identity", "toy-step"))
    assert set(told) == {(("stem", "block"), (), ()), (("stem", "block"), (), ("block",))}
    assert {stage.options["splits"] for stage in of_kind(plan, "attack")} == {("stem",), ("block",)}


# ---- sharing ---------------------------------------------------------------------------------------------------------


def test_the_client_does_the_same_whether_images_or_features_are_uploaded(plan_of: PlanOf) -> None:
    defenses = ("identity", "noise", "toy-step", "toy-mean")
    images, features = (
        keys(plan_of("toy-upsample", more=more, defenses=defenses), "protect") for more in ("", 'upload = "features"')
    )
    assert images == features


def test_a_defense_of_features_depends_on_where_they_are_taken(plan_of: PlanOf) -> None:
    found = [
        keys(plan_of(more=f'upload = "features"\nsplit = "{split}"', defenses=("toy-both",)), "protect")
        for split in ("stem", "block", "all", "last")
    ]
    assert len(set.union(*found)) == 6  # for two models; the last split is the block
    assert found[1] == found[3]
    assert not found[0] & keys(plan_of(defenses=("toy-both",)), "protect")


def fits(plan: Plan) -> list[str]:
    """Return the names of the stages in which attacks learn."""
    return sorted(stage.name for stage in of_kind(plan, "fit_attack"))


ONE = ('experiment[0].authorised=["toy-a"]',)


def test_an_attack_that_learns_from_clean_faces_is_fitted_once_for_all_defenses(plan_of: PlanOf) -> None:
    plan = plan_of("toy-learner", via("toy-learner"), defenses=("identity", "noise", "toy-step"), overrides=ONE)
    assert fits(plan) == ["toy-learner learning from auxiliary faces of toy-faces"]
    assert len(of_kind(plan_of("toy-learner", defenses=("identity", "noise")), "fit_attack")) == 2  # two models


def test_an_attack_that_needs_no_model_is_fitted_once_for_all_models(plan_of: PlanOf) -> None:
    plan = plan_of('{ plugin = "toy-learner", look = "images" }', defenses=("identity", "toy-step"))
    assert fits(plan) == ["toy-learner learning from auxiliary faces of toy-faces"]


def test_an_adaptive_attack_is_fitted_for_each_defense(plan_of: PlanOf) -> None:
    defenses = ("identity", '{ plugin = "noise", sigma = 0.1 }', '{ plugin = "noise", sigma = 0.2, label = "more" }')
    plan = plan_of('{ plugin = "toy-learner", learns = "defense" }', defenses=defenses, overrides=ONE)
    where = "toy-learner learning from auxiliary faces of toy-faces protected by"
    assert fits(plan) == [f"{where} identity", f"{where} more", f"{where} noise"]
    protected = {s.name for s in of_kind(plan, "protect")}
    assert "auxiliary faces of toy-faces protected by noise" in protected
    assert len(protected) == 6


TWO_SETS = ('experiment[0].datasets=["toy-faces", { plugin = "toy-faces", seed = 1, label = "other" }]', *ONE)


def test_one_auxiliary_set_serves_every_data_set(plan_of: PlanOf) -> None:
    attacks = ["toy-learner", '{ plugin = "toy-learner", learns = "defense", label = "adaptive" }']
    own = plan_of(*attacks, overrides=TWO_SETS)
    assert len(fits(own)) == 4
    auxiliary = 'auxiliary = { plugin = "toy-faces", seed = 9, label = "more faces" }'
    shared = plan_of(*attacks, more=auxiliary, overrides=TWO_SETS)
    assert fits(shared) == [
        "adaptive learning from auxiliary faces of more faces protected by identity",
        "toy-learner learning from auxiliary faces of more faces",
    ]
    assert changed(own, shared) >= set(fits(shared))
    assert {c.id for c in own.cells} & {c.id for c in shared.cells} == set()


def test_a_leaky_attack_is_fitted_for_each_data_set(plan_of: PlanOf) -> None:
    auxiliary = 'auxiliary = { plugin = "toy-faces", seed = 9 }'
    plan = plan_of('{ plugin = "toy-learner", learns = "evaluated" }', more=auxiliary, overrides=TWO_SETS)
    assert fits(plan) == [f"toy-learner learning from evaluation faces of {name}" for name in ("other", "toy-faces")]
    assert not [n for n in names(plan) if n.startswith("auxiliary")]
    (a, b) = keys(plan, "fit_attack")
    more = plan_of('{ plugin = "toy-learner", learns = "evaluated" }', overrides=(*TWO_SETS, "experiment[0].pairs=30"))
    assert not {a, b} & keys(more, "fit_attack")


def test_an_adaptive_attack_learns_from_the_fitted_defense_of_the_client(plan_of: PlanOf) -> None:
    """A copy fitted for the attack would be another defense."""
    auxiliary = 'auxiliary = { plugin = "toy-faces", seed = 9, label = "more" }'
    plan = plan_of('{ plugin = "toy-learner", learns = "defense" }', more=auxiliary, defenses=("toy-mean",))
    states = {stage.inputs["state"] for stage in of_kind(plan, "protect")}
    assert states == keys(plan, "fit_defense")
    assert len(states) == 1


def test_an_attack_that_sees_a_recogniser_has_a_cell_for_each_evaluated_model(plan_of: PlanOf) -> None:
    plan = plan_of("attribute-probe", overrides=ONE)
    assert [c.evaluated and c.evaluated.label for c in plan.cells] == ["toy-a", "toy-b"]
    learning = "learning from auxiliary faces of toy-faces, at most 1600"
    assert fits(plan) == [f"attribute-probe with toy-a {learning}", f"attribute-probe with toy-b {learning}"]
    assert len({c.stages[0] for c in plan.cells}) == 2
    models = [s.components["model"] for s in of_kind(plan, "attack")]
    assert {model.label for (model,) in models} == {"toy-a", "toy-b"}
    insider = plan_of('{ plugin = "attribute-probe", of = "insider" }', overrides=ONE)
    assert [(c.evaluated, c.insider, c.skip) for c in insider.cells] == [(None, True, None)]


def test_an_attack_is_fitted_for_each_repeat(plan_of: PlanOf) -> None:
    once, twice = (plan_of("toy-learner", overrides=(*ONE, f"experiment[0].repeats={n}")) for n in (1, 2))
    assert keys(once, "fit_attack") < keys(twice, "fit_attack")
    assert len({s.seed for s in of_kind(twice, "fit_attack")}) == 2
    assert len({s.seed for s in of_kind(twice, "attack")}) == 2


def test_attributes_of_originals_are_estimated_once(plan_of: PlanOf) -> None:
    attacks = ["toy-attributes", via("toy-upsample"), via("toy-denoise")]
    plan = plan_of(*attacks, defenses=("identity", "noise", "toy-step"), overrides=ONE)
    assert only(plan, "estimates by toy-attributes of evaluation faces of toy-faces")
    assert only(plan, "estimates by toy-attributes of calibration faces of toy-faces")
    # of each of three defenses: what is received, and two reconstructions
    estimates = [s for s in of_kind(plan, "attack") if s.components["attack"][0].name == "toy-attributes"]
    assert len(estimates) == 2 + 9


def test_a_reconstruction_is_computed_once_for_all_its_scores(plan_of: PlanOf) -> None:
    attacks = ["toy-denoise", via("toy-denoise")]
    plan = plan_of(*attacks, more="noise_levels = [0.1]")
    assert only(plan, "toy-denoise on toy-faces protected by identity")
    assert only(plan, "image similarity of toy-denoise against identity on toy-faces")


# ---- keys ------------------------------------------------------------------------------------------------------------

ALL = (
    "toy-learner",
    "toy-denoise",
    '{ plugin = "toy-attributes", label = "peek", via = { plugin = "toy-upsample" } }',
)
UP = "noise_levels = [0.1, 0.2]"


@pytest.mark.parametrize(
    "override",
    [
        'experiment[0].figures=["5", "8"]',
        "experiment[0].attacks[2].label=other",
        "experiment[0].attacks[2].via.label=other",
        'experiment[0].attacks[0]={ plugin = "toy-learner", label = "other" }',
        'experiment[0].attacks[0]={ plugin = "toy-learner", learns = "clean" }',
        'experiment[0].auxiliary="toy-faces"',
        'experiment[0].auxiliary={ plugin = "toy-faces", label = "other" }',
        'experiment[0].upload="images"',
    ],
)
def test_labels_change_no_key(plan_of: PlanOf, override: str) -> None:
    assert changed(plan_of(*ALL, more=UP), plan_of(*ALL, more=UP, overrides=(override,))) == set()


def test_the_upload_changes_what_the_attacker_does(plan_of: PlanOf) -> None:
    attacks = ("toy-upsample", "toy-learner")
    images = plan_of(*attacks)
    last, stem = (plan_of(*attacks, more=f'upload = "features"\nsplit = "{s}"') for s in ("last", "stem"))
    for before, after in ((images, last), (images, stem), (last, stem)):
        for kind in ("fit_attack", "attack"):
            assert not keys(before, kind) & keys(after, kind)
        for kind in ("faces", "protect"):
            assert keys(before, kind) == keys(after, kind)
    named = plan_of(*attacks, more='upload = "features"\nsplit = "block"')
    assert changed(last, named) == set()


def test_noise_levels_change_only_what_is_measured_under_noise(plan_of: PlanOf) -> None:
    before = plan_of(*ALL, more=UP)
    found = changed(before, plan_of(*ALL, more=UP, overrides=("experiment[0].noise_levels=[0.1]",)))
    assert found == {n for n in names(before) if "under noise" in n}
    assert len(found) == 2  # by each evaluated model; one name for both authorised ones
    without = plan_of(*ALL)
    assert changed(before, without) == set()
    assert names(before) - names(without) == found


def test_a_parameter_of_an_attack_changes_its_own_stages_only(plan_of: PlanOf) -> None:
    before = plan_of(*ALL, more=UP)
    gain = 'experiment[0].attacks[2].via={ plugin = "toy-upsample", gain = 2.0 }'
    assert changed(before, plan_of(*ALL, more=UP, overrides=(gain,))) == {
        n for n in names(before) if "toy-upsample" in n or "under noise" in n
    }
    sharp = (
        'experiment[0].attacks[2]={ plugin = "toy-attributes", sharpness = 2.0, label = "peek", via = "toy-upsample" }'
    )
    assert changed(before, plan_of(*ALL, more=UP, overrides=(sharp,))) == {
        n for n in names(before) if n.startswith(("estimates", "peek"))
    }


def test_the_weights_of_an_attack_are_part_of_its_keys(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan_of(*ALL, more=UP)
    (component,) = {c.attack.weights for c in before.cells if c.attack.label == "peek"}
    assert component is not None
    assert {c.attack.weights for c in before.cells if c.attack.label == "toy-denoise"} == {None}
    monkeypatch.setenv("TOY_EYES", "green")
    found = changed(before, plan_of(*ALL, more=UP))
    assert found == {n for n in names(before) if n.startswith(("estimates", "peek"))}


def test_the_weights_of_lpips_are_part_of_the_keys_that_use_them(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path

    from bench.metrics.lpips import VggWeights

    before = plan_of(*ALL, more=UP)
    for module in ("bench.planning.graph", "bench.metrics"):
        monkeypatch.setattr(f"{module}.find_vgg", lambda: VggWeights(path=Path("vgg.pth"), sha256="00ff"))
    found = changed(before, plan_of(*ALL, more=UP))
    assert found == {n for n in names(before) if n.startswith(("image similarity", "baselines")) or "under noise" in n}


# ---- skipped cells ---------------------------------------------------------------------------------------------------

FEATURES = 'upload = "features"'
SKIPPED: dict[str, tuple[str, str, str, tuple[str, ...], str]] = {
    # attack, defense, more, overrides, reason
    "features of another model": (
        "abuse", "identity", FEATURES, ONE, "features of one model mean nothing to another: reconstruct"),
    "features of another model under noise": (
        via("toy-upsample"), "identity", f"{FEATURES}\n{UP}", ONE, "features of one model mean nothing to another"),
    "features where images are looked at": (
        "toy-denoise", "identity", FEATURES, (), "toy-denoise must see images, and features are uploaded here"),
    "features where attributes are read from images": (
        "toy-attributes", "identity", FEATURES, (), "toy-attributes must see images, and features are uploaded here"),
    "features before a reconstruction from images": (
        via("toy-denoise"), "identity", FEATURES, (), "toy-denoise must see images, and features are uploaded here"),
    "images of a defense that sends features": (
        "abuse", "toy-features", "", (), "toy-features sends only feature, and images are uploaded here"),
    "features of two models": (
        "toy-upsample", "identity", "", ('experiment[0].authorised=[["toy-a", "toy-b"]]',),
        "features are those of one authorised model; 2 are authorised"),
    "uploaded features of two models": (
        "abuse", "identity", FEATURES, ('experiment[0].authorised=[["toy-a", "toy-b"]]',),
        "features are those of one authorised model; 2 are authorised"),
    "a split that the model has not": (
        "abuse", "identity", f'{FEATURES}\nsplit = "deep"', ONE, "toy-a has no split point 'deep'"),
    "features of a model without splits": (
        "abuse", "identity", FEATURES, ('experiment[0].authorised=["toy-closed"]',), "toy-closed has no "),
    "an attack that wants another split": (
        "toy-greedy", "identity", "", (), "toy-greedy: works on a split called 'tail' only"),
    "a model that takes other images": (
        "toy-upsample", "identity", "", ('experiment[0].authorised=["toy-large"]',), "toy-large takes 48x48 images"),
    "a judge that takes other images": (
        "toy-denoise", "identity", "", ('experiment[0].evaluated=["toy-large"]',), "toy-large takes 48x48 images"),
}  # fmt: skip


@pytest.mark.parametrize("name", SKIPPED)
def test_impossible_attacks_are_skipped_with_a_reason(plan_of: PlanOf, name: str) -> None:
    attack, defense, more, overrides, reason = SKIPPED[name]
    plan = plan_of(attack, more=more, defenses=(defense,), overrides=overrides)
    found = skips(plan)
    assert found
    assert all(reason in text for text in found), found
    for cell in plan.cells:
        assert (cell.skip is None) == bool(cell.stages)
    if "of another model" in name:
        assert [c.evaluated.label for c in plan.cells if c.skip and c.evaluated] == ["toy-b"]
        assert [c.evaluated.label for c in plan.cells if not c.skip and c.evaluated] == ["toy-a"]
    else:
        assert len(found) == len(plan.cells)


def test_reconstructions_are_recognised_whatever_is_uploaded(plan_of: PlanOf) -> None:
    """Under noise the evaluated model embeds features, but reconstructions are embedded like any image."""
    plan = plan_of("toy-upsample", via("toy-upsample"), more=f"{FEATURES}\n{UP}", overrides=ONE)
    skipped = [(c.attack.label, c.evaluated.label) for c in plan.cells if c.skip and c.evaluated]
    assert skipped == [("toy-attributes via toy-upsample", "toy-b")]


def test_a_skipped_attack_does_not_affect_the_others(plan_of: PlanOf) -> None:
    plan = plan_of("toy-denoise", "toy-upsample", more=FEATURES)
    assert {c.attack.label for c in plan.cells if c.skip} == {"toy-denoise"}
    assert not [n for n in names(plan) if "toy-denoise" in n]


@pytest.mark.parametrize("more", ["", FEATURES])
@pytest.mark.parametrize("how", ["raises", "invents", "none"])
def test_an_attack_that_breaks_while_it_is_planned_is_named(plan_of: PlanOf, how: str, more: str) -> None:
    with pytest.raises(PluginError, match=r"toy-greedy.*splits\(\)"):
        plan_of(f'{{ plugin = "toy-greedy", how = "{how}" }}', more=more)


@pytest.mark.parametrize("how", ['gives = "attributes"', 'gives = "recognition"', 'gives = "images"'])
def test_an_attack_that_learns_without_a_fit_is_skipped(plan_of: PlanOf, how: str) -> None:
    """An attack that declares more than it does is skipped, so that no row suggests that it was done."""
    plan = plan_of(f'{{ plugin = "toy-unfinished", learns = "clean", {how} }}')
    assert set(skips(plan)) == {
        "toy-unfinished declares trains_on = 'clean' and has no fit(); define fit(), or declare trains_on = 'nothing'"
    }
    assert len(skips(plan)) == len(plan.cells) > 0


def trained_like(monkeypatch: pytest.MonkeyPatch, of: object) -> None:
    """Let attacks toy-learner that look at images be trained as another attack."""
    from bench_toy.attacks import ToyLearner

    monkeypatch.setattr(ToyLearner, "trained_as", lambda self: of if self.look == "images" else None)


LOOKS = '{ plugin = "toy-learner", look = "images", label = "looks" }'


def test_attacks_that_are_trained_alike_share_one_training(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_toy.misbehaving import ToyUnfinished

    monkeypatch.setattr(ToyUnfinished, "fit", lambda self, examples, ctx: {}, raising=False)
    other = {"plugin": "toy-unfinished", "learns": "clean", "gives": "images"}
    suite = '{ plugin = "toy-unfinished", learns = "clean", gives = "images" }'
    assert len(keys(plan_of(LOOKS, suite), "fit_attack")) == 2
    trained_like(monkeypatch, other)
    assert len(keys(plan_of(LOOKS), "fit_attack")) == 1
    assert keys(plan_of(LOOKS, suite), "fit_attack") == keys(plan_of(LOOKS), "fit_attack")
    recorded = {c.label for c, _ in components_of(plan_of(LOOKS)) if c.kind == "attack"}
    assert recorded == {"looks", "training of looks"}, "what trains is recorded even if the suite does not name it"
    assert {c.label for c, _ in components_of(plan_of(LOOKS, suite)) if c.kind == "attack"} == {
        "looks",
        "toy-unfinished",
    }


def test_a_training_that_fails_or_does_not_exist_is_named(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_toy.attacks import ToyLearner

    trained_like(monkeypatch, {"plugin": "toy-unfinished", "learns": "clean", "gives": "images"})
    with pytest.raises(PluginError, match=r"toy-unfinished cannot be trained: .* has no fit\(\)"):
        plan_of(LOOKS)
    monkeypatch.setattr(ToyLearner, "trained_as", lambda self: 1 / 0)
    with pytest.raises(PluginError, match=r"attack looks: trained_as\(\) failed with ZeroDivisionError"):
        plan_of(LOOKS)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ("toy-learner", "expected an attack as a suite writes it"),
        ({"plugin": "toy-lerner"}, "did you mean 'toy-learner'"),
        ({"plugin": "toy-learner", "lok": "images"}, "unknown parameter 'lok'"),
        ({"plugin": "toy-learner", "look": "images"}, "toy-learner names another attack for its training"),
        ({"plugin": "toy-learner", "learns": "defense"}, "learns from 'defense'; expected 'clean', as this attack"),
        ({"plugin": "toy-learner"}, "sees features, pairs, which this attack does not"),
    ],
)
def test_a_training_that_cannot_be_shared_is_named(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch, of: object, message: str
) -> None:
    trained_like(monkeypatch, of)
    with pytest.raises(BenchError, match=f"attack looks: trained_as.*{message}"):
        plan_of(LOOKS)


def test_by_default_an_attack_gets_all_features_that_it_can_get(plan_of: PlanOf) -> None:
    """The default of `Attack.splits`."""
    from bench import Attack

    @dataclass(frozen=True, kw_only=True)
    class Plain(Attack):
        sees = frozenset({"features"})

    assert tuple(Plain().splits(("stem", "block"), ("block",))) == ("block",)
    assert tuple(Plain().splits(("stem", "block"), ())) == ("stem", "block")


@pytest.mark.parametrize(
    ("declaration", "value", "fragments"),
    [
        ("outputs", "picture", ["outputs", "'picture'", "images"]),
        ("trains_on", "defence", ["trains_on", "'defence'", "did you mean 'defense'?"]),
        ("sees", frozenset({"feature"}), ["sees", "'feature'", "did you mean 'features'?"]),
    ],
)
def test_a_misspelt_declaration_is_named(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch, declaration: str, value: Any, fragments: list[str]
) -> None:
    """Otherwise a typing error would make an adaptive attack train on clean faces without notice."""
    from bench_toy.attacks import ToyDenoise

    monkeypatch.setattr(ToyDenoise, declaration, value)
    with pytest.raises(PluginError) as caught:
        plan_of("toy-denoise")
    for fragment in ["toy-denoise", *fragments]:
        assert fragment in str(caught.value)


def test_auxiliary_faces_of_another_size_are_named(plan_of: PlanOf) -> None:
    try:
        found = skips(plan_of("toy-learner", more='auxiliary = "synth-lfw"'))
    except SuiteError as error:
        found = [str(error)]
    assert found
    assert all("112x112" in reason and "32x32" in reason for reason in found)


# ---- estimates -------------------------------------------------------------------------------------------------------


def test_every_stage_of_an_attack_has_an_estimate(plan_of: PlanOf) -> None:
    defenses = ("identity", "toy-features", "toy-mean")
    plan = plan_of(*ALL, "toy-descent", more=f"{FEATURES}\n{UP}", defenses=defenses)
    for stage in plan.stages.values():
        assert min(stage.units, stage.cost, stage.size) > 0, stage.name


def test_more_steps_raise_the_estimate(plan_of: PlanOf) -> None:
    few, many = (of_kind(plan_of(f'{{ plugin = "toy-descent", steps = {n} }}'), "attack")[0].cost for n in (1, 1000))
    assert many > few
