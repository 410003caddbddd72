"""Planning: shared stages, what changes a key and what does not, skipped cells; and that it imports no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import SUITE, TESTS, changed, environment, kinds, names, skips

from bench.core import provenance
from bench.core.content_keys import canonical, digest_of, scoped_seed
from bench.core.domain import Cell
from bench.core.errors import PluginError, SuiteError
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry

BASE = """\
[suite]
name = "toy"
seed = 3

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a", "toy-b"]
evaluated = ["toy-a", "toy-b"]
defenses = ["identity", "toy-mean", "toy-step", { plugin = "noise", sigma = 0.1 }]
pairs = 20
"""
PlanOf = Callable[..., Plan]


@pytest.fixture
def plan_of(plan_text: PlanOf) -> PlanOf:
    """A function that plans the suite above, or another one."""

    def make(text: str = BASE, *overrides: str, **more: Any) -> Plan:
        return plan_text(text, *overrides, **more)

    return make


# ---- the graph -------------------------------------------------------------------------------------------------------


def test_stages_are_shared(plan_of: PlanOf) -> None:
    plan = plan_of()
    # identity, noise and toy-mean know no model: 2 cells each; toy-step: 2 authorised x 2 evaluated
    assert plan.requested == 16
    assert len(plan.cells) == 10
    assert kinds(plan) == {
        "faces": 3,  # evaluation, calibration, auxiliary
        "fit_defense": 1,  # toy-mean
        "protect": 5,  # four defenses, one of them for two models
        "embed": 2 * (2 + 5),  # by each model: clean, calibration, and every protected set
        "score": 10 + 5 + 1,  # verification per cell, images per protected set, one set of baselines
    }


def test_two_experiments_share_equal_stages(plan_of: PlanOf) -> None:
    again = BASE[BASE.index("[[experiment]]") :].replace('"one"', '"two"')
    once, twice = plan_of(), plan_of(BASE + again)
    assert len(twice.cells) == 2 * len(once.cells)
    assert set(twice.stages) == set(once.stages)
    assert len({cell.id for cell in twice.cells}) == len(twice.cells)


def test_inputs_come_first_and_exist(plan_of: PlanOf) -> None:
    plan = plan_of()
    seen: set[str] = set()
    for key, stage in plan.stages.items():
        assert key == stage.key
        assert set(stage.inputs.values()) <= seen
        seen.add(key)
    for cell in plan.cells:
        assert cell.stages
        assert {plan.stages[key].kind for key in cell.stages} == {"score"}


def test_a_defense_that_knows_no_model_is_planned_once(plan_of: PlanOf) -> None:
    cells = plan_of().cells
    by_defense = {d: [c for c in cells if c.defense.label == d] for d in ("identity", "toy-step")}
    assert [c.authorised for c in by_defense["identity"]] == [(), ()]
    assert [[m.label for m in c.authorised] for c in by_defense["toy-step"]] == [
        ["toy-a"], ["toy-a"], ["toy-b"], ["toy-b"],
    ]  # fmt: skip


def test_cells_have_the_fields_that_rows_need(plan_of: PlanOf) -> None:
    cell = plan_of(BASE + 'table = "VII"\nkappa = 0.3\n').cells[0]
    assert (cell.experiment, cell.table, cell.pairs, cell.kappa, cell.repeat) == ("one", "VII", 20, 0.3, 0)
    assert "clean enrolment images" in cell.threat
    assert cell.skip is None


# ---- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_same_suite_has_the_same_keys_in_any_process(plan_of: PlanOf, toy_site: Path, tmp_path: Path) -> None:
    plan = plan_of()
    code = (
        "import sys, pathlib; from bench.planning.plan import make_plan; from bench.registry.discovery import discover;"
        "from bench.suite.suite import load;"
        "p = make_plan(load(pathlib.Path(sys.argv[1]), discover()), discover(), 'cpu');"
        "print(p.digest, *p.stages)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "suite.toml")],
        env=environment([toy_site], {"PYTHONHASHSEED": "77"}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [plan.digest, *plan.stages]


@pytest.mark.parametrize(
    "override",
    [
        "suite.name=other",
        "suite.title=other",
        "suite.description=other",
        "suite.stage_timeout_s=5",
        "suite.stage_memory_mb={ protect = 500 }",
        "suite.deterministic=false",
        "experiment[0].name=other",
        "experiment[0].table=IX",
        "experiment[0].kappa=0.5",
        'experiment[0].defenses[3].label="other"',
        "experiment[0].defenses[3].sigma=0.1",
        'experiment[0].evaluated=["toy-b", "toy-a"]',
        'experiment[0].defenses[0]={ plugin = "identity" }',
    ],
)
def test_settings_that_do_not_affect_results_change_no_key(plan_of: PlanOf, override: str) -> None:
    assert changed(plan_of(), plan_of(BASE, override)) == set()


@pytest.mark.parametrize("override", ["experiment[0].kappa=0.5", 'experiment[0].table="IX"', "experiment[0].name=two"])
def test_settings_that_affect_rows_change_the_plan(plan_of: PlanOf, override: str) -> None:
    assert plan_of().digest != plan_of(BASE, override).digest


def test_a_parameter_changes_its_own_defense_only(plan_of: PlanOf) -> None:
    found = changed(plan_of(), plan_of(BASE, "experiment[0].defenses[3].sigma=0.2"))
    assert found == {
        "toy-faces protected by noise",
        "embeddings of toy-faces protected by noise by toy-a",
        "embeddings of toy-faces protected by noise by toy-b",
        "verification of noise by toy-a on toy-faces",
        "verification of noise by toy-b on toy-faces",
        "image similarity of noise on toy-faces",
    }


def test_a_parameter_of_a_fitted_defense_changes_its_fit(plan_of: PlanOf) -> None:
    found = changed(plan_of(), plan_of(BASE.replace('"toy-mean"', '{ plugin = "toy-mean", weight = 0.1 }')))
    assert "toy-mean fitted on toy-faces" in found
    assert found == {name for name in names(plan_of()) if "toy-mean" in name}


def test_the_seed_changes_every_stage_that_draws_random_numbers(plan_of: PlanOf) -> None:
    before, after = plan_of(), plan_of(BASE, "suite.seed=4")
    assert changed(before, after) == names(before)


def test_the_device_changes_everything(plan_of: PlanOf) -> None:
    before = plan_of()
    assert changed(before, plan_of(device="cuda")) == names(before)


def test_the_number_of_pairs_does_not_change_calibration(plan_of: PlanOf) -> None:
    before = plan_of()
    kept = names(before) - changed(before, plan_of(BASE, "experiment[0].pairs=8"))
    assert kept == {
        "calibration faces of toy-faces",
        "auxiliary faces of toy-faces",
        "toy-mean fitted on toy-faces",
        "embeddings of calibration faces of toy-faces by toy-a",
        "embeddings of calibration faces of toy-faces by toy-b",
    }


def test_the_false_match_rate_changes_verification_only(plan_of: PlanOf) -> None:
    before = plan_of()
    assert changed(before, plan_of(BASE, "experiment[0].fmr=0.1")) == {
        name for name in names(before) if name.startswith("verification")
    }


def test_repeats_differ_in_the_defense_only(plan_of: PlanOf) -> None:
    once, twice = plan_of(), plan_of(BASE, "experiment[0].repeats=2")
    assert len(twice.cells) == 2 * len(once.cells)
    assert set(once.stages) < set(twice.stages)
    extra = [stage for key, stage in twice.stages.items() if key not in once.stages]
    assert {stage.kind for stage in extra} == {"fit_defense", "protect", "embed", "score"}
    seeds = {stage.seed for stage in twice.stages.values() if stage.kind == "protect"}
    assert len(seeds) == 2 * kinds(once)["protect"]


def test_new_weights_change_the_stages_that_use_the_model(
    plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan_of()
    (tmp_path / "toy-a.json").write_text('{"seed": 1}\n')
    (tmp_path / "toy-b.json").write_text('{"seed": 99}\n')
    monkeypatch.setenv("TOY_WEIGHTS", str(tmp_path))
    found = changed(before, plan_of())
    assert found == {n for n in names(before) if "by toy-b" in n or "for toy-b" in n or n.endswith("for toy-b")} | {
        "verification of toy-step by toy-a on toy-faces",
        "image similarity of toy-step on toy-faces",
    }


def test_new_data_change_everything(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan_of()
    monkeypatch.setenv("TOY_DATA", "changed")
    assert changed(before, plan_of()) == names(before)


def _with_origin(registry: Registry, package: str, **changes: str) -> Registry:
    components = {
        key: replace(found, origin=replace(found.origin, **changes)) if found.origin.package == package else found
        for key, found in registry.components.items()
    }
    return replace(registry, components=components)


@pytest.mark.parametrize("change", [{"digest": "0" * 64}, {"version": "9.9"}, {"distribution": "a-fork"}])
def test_another_plugin_source_changes_its_stages_only(
    plan_of: PlanOf, registry: Registry, change: dict[str, str]
) -> None:
    before = plan_of()
    found = changed(before, plan_of(registry=_with_origin(registry, "bench_noise", **change)))
    assert found == {name for name in names(before) if "identity" in name or "noise" in name}
    assert changed(before, plan_of(registry=_with_origin(registry, "bench_pmt", **change))) == set()
    assert changed(before, plan_of(registry=_with_origin(registry, "bench_toy", **change))) == names(before)


def test_the_hosts_own_code_is_part_of_every_key(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan_of()
    monkeypatch.setattr("bench.planning.graph.runtime_digest", lambda **_: "another host")
    assert changed(before, plan_of()) == names(before)


def test_the_runtime_digest_covers_numeric_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    provenance.runtime_digest.cache_clear()
    before = provenance.runtime_digest()
    provenance.runtime_digest.cache_clear()
    versions = provenance.package_versions()
    monkeypatch.setattr(provenance, "package_versions", lambda: {**versions, "torch": "0.0"})
    assert provenance.runtime_digest() != before
    provenance.runtime_digest.cache_clear()


def test_digests_depend_on_meaning_not_on_order() -> None:
    assert digest_of({"a": 1, "b": (1, 2)}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": "1"})
    assert canonical({1: (2,)}) == {"1": [2]}
    assert json.dumps(canonical({"x": {"y": (1, (2,))}})) == '{"x": {"y": [1, [2]]}}'


def test_seeds_are_scoped() -> None:
    assert scoped_seed(1, "a", "b") == scoped_seed(1, "a", "b")
    assert len({scoped_seed(1, "a", "b"), scoped_seed(2, "a", "b"), scoped_seed(1, "a", "c"), scoped_seed(1, "a")}) == 4
    assert 0 <= scoped_seed(2**62, "x") < 2**63


# ---- limits and determinism ------------------------------------------------------------------------------------------


def times(plan: Plan) -> dict[str, set[float]]:
    """Return the time limits of the stages of each kind."""
    return {kind: {s.time_limit_s for s in plan.stages.values() if s.kind == kind} for kind in kinds(plan)}


def test_stages_have_an_hour_unless_the_suite_says_otherwise(plan_of: PlanOf) -> None:
    usual = {"faces", "fit_defense", "protect", "embed", "score"}
    assert times(plan_of()) == {kind: {3600.0} for kind in usual}
    assert times(plan_of(BASE, "suite.stage_timeout_s=60")) == {kind: {60.0} for kind in usual}
    some = times(plan_of(BASE, "suite.stage_timeout_s={ protect = 600, fit_attack = 7200 }"))
    assert some == {kind: {600.0 if kind == "protect" else 3600.0} for kind in usual}


def test_a_stage_has_the_largest_time_limit_of_its_plugins(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_toy.defenses import ToyStep
    from bench_toy.models import ToyA

    monkeypatch.setattr(ToyStep, "time_limit_s", 9000.0)
    monkeypatch.setattr(ToyA, "time_limit_s", 60)
    before, plan = plan_of(), plan_of(BASE, "suite.stage_timeout_s={ embed = 5 }")
    limits = {s.name: s.time_limit_s for s in before.stages.values()}
    assert limits["toy-faces protected by toy-step for toy-a"] == 9000.0
    assert limits["embeddings of evaluation faces of toy-faces by toy-a"] == 60.0
    assert limits["embeddings of evaluation faces of toy-faces by toy-b"] == 3600.0
    assert times(plan)["embed"] == {5.0}  # the suite wins
    assert changed(before, plan) == set()


def test_the_command_line_wins_over_every_other_limit(
    plan_of: PlanOf, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench_toy.models import ToyA

    monkeypatch.setattr(ToyA, "time_limit_s", 9000.0)
    suite = plan_of(BASE, "suite.stage_timeout_s={ protect = 600 }").suite
    plan = make_plan(suite, registry, "cpu", timeout_s=7)
    assert {s.time_limit_s for s in plan.stages.values()} == {7}
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(SuiteError, match="--timeout: expected a number of seconds above 0"):
            make_plan(suite, registry, "cpu", timeout_s=wrong)


@pytest.mark.parametrize("wrong", [0, -5.0, "long", float("nan"), True])
def test_a_plugin_with_an_invalid_time_limit_is_named(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch, wrong: Any
) -> None:
    from bench_toy.defenses import ToyStep

    monkeypatch.setattr(ToyStep, "time_limit_s", wrong)
    with pytest.raises(PluginError, match="toy-step: time_limit_s: expected a number"):
        plan_of()


def test_memory_is_limited_as_the_suite_says(plan_of: PlanOf) -> None:
    assert {s.memory_limit_mb for s in plan_of().stages.values()} == {None}
    plan = plan_of(BASE, "suite.stage_memory_mb={ protect = 500 }")
    limits = {kind: {s.memory_limit_mb for s in plan.stages.values() if s.kind == kind} for kind in kinds(plan)}
    assert limits == {kind: {500.0 if kind == "protect" else None} for kind in kinds(plan)}


def test_determinism_is_an_option_of_every_stage(plan_of: PlanOf) -> None:
    before, after = plan_of(), plan_of(BASE, "suite.deterministic=true")
    assert all("deterministic" not in stage.options for stage in before.stages.values())
    assert all(stage.options["deterministic"] is True for stage in after.stages.values())
    assert changed(before, after) == names(before)
    assert before.digest != after.digest


# ---- skipped cells ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "fragments"),
    [
        ('"toy-step"', '"toy-targets"', ["toy-targets needs further pictures", "toy-faces has none beside"]),
        ('["toy-a", "toy-b"]\nev', '[["toy-a", "toy-b"]]\nev', ["toy-single", "at most 1", "2 are requested"]),
        ('["toy-a", "toy-b"]\nev', '["toy-closed"]\nev', ["toy-closed has no named split points"]),
        ('"toy-step"', '{ plugin = "toy-step", split = "deep" }', ["no split point 'deep' among stem, block"]),
        ('evaluated = ["toy-a", "toy-b"]', 'evaluated = ["toy-large"]', ["toy-large takes 48x48", "has 32x32"]),
        ('"toy-step"', '"toy-features"', ["toy-features sends only feature", "images are uploaded here"]),
    ],
)
def test_impossible_combinations_are_skipped_with_a_reason(
    plan_of: PlanOf, old: str, new: str, fragments: list[str]
) -> None:
    text = BASE.replace('"toy-step"', '"toy-step", "toy-single"')
    assert old in text
    plan = plan_of(text.replace(old, new, 1))
    found = skips(plan)
    assert any(all(fragment in reason for fragment in fragments) for reason in found), found
    for cell in plan.cells:
        assert (cell.skip is None) == bool(cell.stages)


def test_skipped_cells_cost_nothing(plan_of: PlanOf) -> None:
    plan = plan_of(BASE, 'experiment[0].defenses=["toy-targets"]')
    assert len(plan.cells) == 2
    assert plan.stages == {}


def test_the_size_of_an_unused_model_skips_no_cell(plan_of: PlanOf) -> None:
    """A defense that uses no model works whatever the input size of the authorised model."""
    plan = plan_of(BASE, 'experiment[0].authorised=["toy-large"]', 'experiment[0].defenses=["identity"]')
    assert skips(plan) == []


def test_a_defense_that_breaks_while_it_is_planned_is_named(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_toy.defenses import ToyStep

    def broken(*_: Any) -> Any:
        raise KeyError("stem")

    monkeypatch.setattr(ToyStep, "splits", broken)
    with pytest.raises(PluginError, match=r"toy-step with toy-a: splits\(\) failed with KeyError"):
        plan_of()


# ---- estimates -------------------------------------------------------------------------------------------------------


def test_measured_costs_replace_estimates(plan_of: PlanOf, registry: Registry, tmp_path: Path) -> None:
    plan = plan_of()
    stage = next(s for s in plan.stages.values() if s.name == "embeddings of evaluation faces of toy-faces by toy-a")
    assert stage.cost_name == "cpu:embed:toy-a"
    again = make_plan(plan.suite, registry, "cpu", {"cpu:embed:toy-a": 2.0, "cuda:embed:toy-a": 9.0})
    assert stage.cost == stage.declared
    assert again.stages[stage.key].cost == 2.0 * stage.declared
    assert changed(plan, again) == set()


def test_an_estimate_scales_with_the_settings_that_were_not_measured(plan_of: PlanOf, registry: Registry) -> None:
    """A measured defense with few steps says nothing about the seconds of one with many, but about their ratio."""

    def protecting(steps: int, costs: Mapping[str, float]) -> float:
        attack = f'attacks = [{{ plugin = "toy-descent", steps = {steps} }}]'
        suite = plan_of(f"{BASE}{attack}\n").suite
        stages = make_plan(suite, registry, "cpu", costs).stages.values()
        return sum(s.cost for s in stages if s.kind == "attack") / sum(s.units for s in stages if s.kind == "attack")

    few, many = (protecting(steps, {}) for steps in (4, 400))
    slow = {f"cpu:attack:toy-descent:{model}": 7.0 for model in ("toy-a", "toy-b")}
    assert many > few
    assert [protecting(steps, slow) for steps in (4, 400)] == pytest.approx([7 * few, 7 * many])


def test_a_defense_may_say_how_long_its_training_takes(
    plan_of: PlanOf, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def training() -> float:
        stages = plan_of().stages.values()
        return sum(stage.cost for stage in stages if stage.kind == "fit_defense")

    assert training() == 5.0
    toy_mean = registry.components["defense", "toy-mean"].cls
    monkeypatch.setattr(toy_mean, "fit_seconds", lambda self: 77.0, raising=False)
    assert training() == 77.0


def test_every_stage_has_an_estimate(plan_of: PlanOf) -> None:
    for stage in plan_of().stages.values():
        assert stage.units > 0
        assert stage.cost > 0
        assert stage.size > 0


# ---- no torch --------------------------------------------------------------------------------------------------------

LIGHT = """
import sys
from bench.cli import main
code = main(sys.argv[1:], standalone_mode=False)
heavy = {"torch", "scipy", "skimage", "altair", "vl_convert"} & set(sys.modules)
print("imported:", sorted(heavy))
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "args", [["--help"], ["plan", "{suite}"], ["plugins"], ["info", "toy-step"], ["run", "--help"]]
)
def test_torch_is_not_imported(args: list[str], toy_site: Path, tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text(SUITE)
    args = [a.format(suite=tmp_path / "suite.toml") for a in args]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *args],
        env=environment([toy_site], {}),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("imported: []\n")


def test_help_imports_little(tmp_path: Path) -> None:
    """Help must be fast, so it imports none of the large packages."""
    code = LIGHT.replace('{"torch", ', '{"torch", "pandas", "pyarrow", "numpy", "pydantic", "rich", ')
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("imported: []\n")


@pytest.mark.slow
def test_planning_the_papers_suite_imports_no_torch(tmp_path: Path) -> None:
    suite = TESTS.parent / "suites" / "paper.toml"
    args = ["plan", str(suite), "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", LIGHT, *args], env=environment([], {}), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("imported: []\n")
    assert list(tmp_path.iterdir()) == []


def test_cells_are_hashable_by_id(plan_of: PlanOf) -> None:
    cells: list[Cell] = plan_of().cells
    assert len({cell.id for cell in cells}) == len(cells)
    assert all(len(cell.id) == 16 for cell in cells)
