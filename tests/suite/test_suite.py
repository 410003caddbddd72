"""Suites: what they mean, and that every mistake is one message with the place, the expectation and the remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import document_of

from bench.core.domain import StageKind
from bench.core.errors import BenchError, DataError, PluginError, SuiteError
from bench.planning.plan import make_plan
from bench.registry.components import parameters
from bench.registry.discovery import Registry
from bench.suite.overrides import toml_path
from bench.suite.suite import Suite, load, read

BASE = """\
[suite]
name = "toy"
seed = 3

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a", ["toy-a", "toy-b"]]
evaluated = ["toy-b"]
defenses = ["identity", { plugin = "noise", sigma = 0.1, label = "little" }]
pairs = 20
"""


@pytest.fixture
def written(tmp_path: Path, registry: Registry) -> Any:
    """A function that writes a suite and loads it."""

    def write_and_load(text: str, *overrides: str, pairs: int | None = None) -> Suite:
        path = tmp_path / "suite.toml"
        path.write_text(text, encoding="utf-8")
        return load(path, registry, overrides, pairs)

    return write_and_load


# ---- what a suite means ----------------------------------------------------------------------------------------------


def test_a_suite_is_resolved_to_components_with_their_defaults(written: Any) -> None:
    suite = written(BASE)
    (experiment,) = suite.experiments
    plain, little = experiment.defenses
    assert (suite.name, suite.title, suite.seed) == ("toy", "toy", 3)
    assert [[c.label for c in models] for models in experiment.authorised] == [["toy-a"], ["toy-a", "toy-b"]]
    assert (plain.label, dict(plain.params), dict(plain.passed)) == ("identity", {}, {})
    assert (little.name, little.label) == ("noise", "little")
    assert dict(little.params) == {"sigma": 0.1}
    assert dict(little.passed) == {"sigma": 0.1}
    assert [c.label for c in experiment.attacks] == ["abuse"]
    assert (experiment.pairs, experiment.repeats, experiment.kappa, experiment.fmr) == (20, 1, 0.2, 0.01)
    model = experiment.evaluated[0]
    assert model.origin.distribution == "bench-toy-plugin"
    assert re.fullmatch("[0-9a-f]{64}", model.weights or "")
    assert re.fullmatch("[0-9a-f]{64}", experiment.datasets[0].weights or "")


def test_defaults_are_effective_but_not_passed(written: Any) -> None:
    suite = written(BASE.replace('"identity"', '"toy-step"'))
    step = suite.experiments[0].defenses[0]
    assert dict(step.params) == {"split": "block", "rate": 0.2}
    assert dict(step.passed) == {}


def test_pairs_on_the_command_line_win_over_every_experiment(written: Any) -> None:
    twice = BASE + BASE[BASE.index("[[experiment]]") :].replace('"one"', '"two"').replace("pairs = 20", "pairs = 8")
    assert [e.pairs for e in written(twice).experiments] == [20, 8]
    assert [e.pairs for e in written(twice, pairs=6).experiments] == [6, 6]


@pytest.mark.parametrize(
    ("override", "look", "expected"),
    [
        ("suite.seed=7", lambda s: s.seed, 7),
        ("suite.title=two words", lambda s: s.title, "two words"),
        ('suite.title="quoted"', lambda s: s.title, "quoted"),
        ("experiment[0].pairs=6", lambda s: s.experiments[0].pairs, 6),
        ("experiment.0.pairs=6", lambda s: s.experiments[0].pairs, 6),
        (" experiment[0].kappa = 0.5", lambda s: s.experiments[0].kappa, 0.5),
        ("experiment[0].defenses[1].sigma=2", lambda s: s.experiments[0].defenses[1].params["sigma"], 2),
        ('experiment[0].evaluated=["toy-a", "toy-b"]', lambda s: len(s.experiments[0].evaluated), 2),
        ("experiment[0].fmr=0.1", lambda s: s.experiments[0].fmr, 0.1),
        ("suite.description=a=b", lambda s: s.description, "a=b"),
    ],
)
def test_set_changes_one_value(written: Any, override: str, look: Any, expected: Any) -> None:
    assert look(written(BASE, override)) == expected


def test_upload_auxiliary_and_attacks_are_resolved(written: Any) -> None:
    text = """
upload = "features"
split = "all"
auxiliary = { plugin = "toy-faces", seed = 4, label = "more" }
noise_levels = [0, 0.1, 1]
figures = ["5", "8"]
attacks = ["abuse", { plugin = "toy-attributes", via = { plugin = "toy-upsample", gain = 2 } }, "toy-upsample-2"]
""".replace('"toy-upsample-2"', '{ plugin = "toy-attributes", via = "toy-denoise", label = "peek" }')
    (experiment,) = written(BASE + text).experiments
    assert (experiment.upload, experiment.split) == ("features", "all")
    assert experiment.noise_levels == (0, 0.1, 1)
    assert experiment.figures == ("5", "8")
    assert experiment.auxiliary is not None
    assert (experiment.auxiliary.label, experiment.auxiliary.params["seed"]) == ("more", 4)
    plain, via, peek = experiment.attacks
    assert (plain.via, plain.weights) == (None, None)
    assert (via.label, peek.label) == ("toy-attributes via toy-upsample", "peek")
    assert (via.via.kind, via.via.name, dict(via.via.params)) == ("attack", "toy-upsample", {"gain": 2})
    assert "via" not in via.params
    assert "via" not in via.passed
    assert re.fullmatch("[0-9a-f]{64}", via.weights or "")


def test_by_default_images_are_uploaded_without_noise(written: Any) -> None:
    (experiment,) = written(BASE).experiments
    assert (experiment.upload, experiment.split, experiment.auxiliary) == ("images", "last", None)
    assert experiment.noise_levels == experiment.figures == ()


def test_a_grid_is_every_combination_with_a_label_of_its_own(written: Any) -> None:
    grid = '{ plugin = "toy-step", label = "step", grid = { split = ["stem", "block"], rate = [0.1, 0.2] } }'
    (experiment,) = written(BASE, f'experiment[0].defenses=["identity", {grid}]').experiments
    assert [(d.label, d.params["split"], d.params["rate"]) for d in experiment.defenses[1:]] == [
        (f"step split {split}, rate {rate}", split, rate) for split in ("stem", "block") for rate in (0.1, 0.2)
    ]
    (attack,) = written(BASE, 'experiment[0].attacks=[{ plugin = "toy-upsample", grid.gain = [2.0] }]').experiments
    assert [a.label for a in attack.attacks] == ["toy-upsample gain 2.0"]


def test_raw_is_the_suite_after_set(written: Any) -> None:
    suite = written(BASE, "suite.seed=7")
    assert suite.raw["suite"]["seed"] == 7
    assert suite.raw["experiment"][0]["pairs"] == 20


def test_claims_are_read_beside_the_suite(written: Any, tmp_path: Path) -> None:
    text = "dataset,defense,row,column,value,unit\nToy,identity,Clean,Model B,99.5,%\n"
    (tmp_path / "claims.csv").write_text(text)
    suite = written(BASE.replace("pairs = 20", 'claims = "claims.csv"'))
    assert suite.experiments[0].claims == text


def test_parameters_are_described_for_readers(registry: Registry) -> None:
    rows = parameters(registry.find("defense", "toy-mean", "here").cls)
    assert [(name, default) for name, _, default in rows] == [("weight", 0.5)]
    assert "float" in rows[0][1]


def test_toml_path_reads_as_a_suite_author_would_write_it() -> None:
    assert toml_path(("experiment", 0, "defenses", 1, "sigma")) == "experiment[0].defenses[1].sigma"
    assert toml_path(()) == "(top level)"


# ---- bad input -------------------------------------------------------------------------------------------------------

# What is written instead of what, and what the message must hold: the place, the expectation, the find, the remedy.
MISTAKES: dict[str, tuple[str, str, type[BenchError], list[str]]] = {
    "unknown key in [suite]": (
        "seed = 3", "sed = 3", SuiteError, ["suite.sed", "unknown key 'sed'", "did you mean 'seed'?"]),
    "unknown table": (
        "[suite]", "[suit]\n[suite]", SuiteError, ["suit:", "unknown key 'suit'", "did you mean 'suite'?"]),
    "unknown key in [[experiment]]": (
        "pairs = 20", "pair = 20", SuiteError, ["experiment[0].pair", "unknown key", "did you mean 'pairs'?"]),
    "unknown key called str": (
        "seed = 3", "str = 3", SuiteError, ["suite.str", "unknown key 'str'", "known:"]),
    "unknown top-level key called dict": (
        "[suite]", "dict = 3\n[suite]", SuiteError, ["dict:", "unknown key 'dict'", "known:"]),
    "unknown key with brackets": (
        "seed = 3", '"a[0]" = 3', SuiteError, ["unknown key 'a[0]'", "known:"]),
    "unknown data set": (
        '"toy-faces"', '"toy-fases"', PluginError,
        ["experiment[0].datasets[0]", "dataset", "'toy-fases'", "did you mean 'toy-faces'?"]),
    "unknown model": (
        'evaluated = ["toy-b"]', 'evaluated = ["toy-c"]', PluginError,
        ["experiment[0].evaluated[0]", "model", "'toy-c'", "did you mean 'toy-"]),
    "unknown model in a set": (
        '["toy-a", "toy-b"]]', '["toy-a", "toi-b"]]', PluginError,
        ["experiment[0].authorised[1][1]", "'toi-b'", "did you mean 'toy-b'?"]),
    "unknown defense": (
        '"identity"', '"identiti"', PluginError,
        ["experiment[0].defenses[0]", "'identiti'", "did you mean 'identity'?"]),
    "unknown attack": (
        "pairs = 20", 'attacks = ["abus"]', PluginError,
        ["experiment[0].attacks[0]", "'abus'", "did you mean 'abuse'?"]),
    "unknown parameter": (
        "sigma = 0.1", "sigme = 0.1", SuiteError,
        ["experiment[0].defenses[1].sigme", "unknown parameter 'sigme'", "did you mean 'sigma'?"]),
    "a parameter for a component that has none": (
        '"toy-faces"', '{ plugin = "toy-faces", sigma = 1 }', SuiteError,
        ["experiment[0].datasets[0].sigma", "unknown parameter", "auxiliary_images"]),
    "parameter of a wrong type": (
        "sigma = 0.1", 'sigma = "a lot"', SuiteError,
        ["experiment[0].defenses[1].sigma", "number", "'a lot'"]),
    "parameter out of range": (
        "sigma = 0.1", "sigma = -1", SuiteError,
        ["experiment[0].defenses[1].sigma", "greater than or equal to 0", "-1"]),
    "parameter that is no number": (
        "sigma = 0.1", "sigma = nan", SuiteError, ["experiment[0].defenses[1].sigma", "nan"]),
    "unbounded parameter that is no number": (
        '"identity"', '{ plugin = "toy-step", rate = nan }', SuiteError,
        ["experiment[0].defenses[0].rate", "finite", "nan"]),
    "unbounded parameter that is endless": (
        '"identity"', '{ plugin = "toy-step", rate = -inf }', SuiteError,
        ["experiment[0].defenses[0].rate", "finite", "-inf"]),
    "wrong type of the seed": (
        "seed = 3", 'seed = "three"', SuiteError, ["suite.seed", "integer", "'three'"]),
    "negative seed": (
        "seed = 3", "seed = -3", SuiteError, ["suite.seed", "greater than or equal to 0", "-3"]),
    "wrong type of an axis": (
        '["toy-faces"]', '"toy-faces"', SuiteError, ["experiment[0].datasets", "list", "'toy-faces'"]),
    "wrong type within an axis": (
        '["toy-faces"]', "[3]", SuiteError, ["experiment[0].datasets[0]", "3"]),
    "empty axis": (
        '["toy-faces"]', "[]", SuiteError, ["experiment[0].datasets", "at least one entry", "found none"]),
    "empty set of models": (
        '["toy-a", "toy-b"]]', "[]]", SuiteError, ["experiment[0].authorised[1]", "at least", "[]|empty"]),
    "missing axis": (
        'datasets = ["toy-faces"]', "", SuiteError, ["experiment[0].datasets", "expected a value", "add it"]),
    "missing name": (
        'name = "toy"', "", SuiteError, ["suite.name", "expected a value", "add it"]),
    "no [suite]": (
        '[suite]\nname = "toy"\nseed = 3\n', "", SuiteError, ["suite", "expected a value", "add it"]),
    "a name that is no folder": (
        '"toy"', '"../toy"', SuiteError, ["suite.name", "pattern", "'../toy'"]),
    "plugin without a name": (
        'plugin = "noise", ', "", SuiteError, ["experiment[0].defenses[1].plugin", "expected the name", "None"]),
    "plugin of a wrong type": (
        'plugin = "noise"', "plugin = 3", SuiteError, ["experiment[0].defenses[1].plugin", "expected the name", "3"]),
    "label of a wrong type": (
        '"little"', "3", SuiteError, ["experiment[0].defenses[1].label", "expected a text", "3"]),
    "empty label": (
        '"little"', '""', SuiteError, ["experiment[0].defenses[1].label", "expected a text", "''"]),
    "label used twice": (
        '"little"', '"identity"', SuiteError, ["experiment[0].defenses[1]", "'identity'", "twice", "label ="]),
    "a set of models asked for twice": (
        '"toy-a", [', '["toy-a", "toy-b"], [', SuiteError, ["experiment[0].authorised[1]", "toy-a+toy-b", "twice"]),
    "one model under two labels": (
        'evaluated = ["toy-b"]', 'evaluated = [{ plugin = "toy-b", label = "B" }]', SuiteError,
        ["experiment[0]", "one label", "'toy-b'", "'B'"]),
    "one label for two models": (
        'evaluated = ["toy-b"]', 'evaluated = [{ plugin = "toy-closed", label = "toy-b" }]', SuiteError,
        ["experiment[0]", "one label", "'toy-b'", "toy-closed"]),
    "too few pairs": (
        "pairs = 20", "pairs = 1", SuiteError, ["experiment[0].pairs", "greater than or equal to 2", "1"]),
    "threshold out of range": (
        "pairs = 20", "kappa = 1.5", SuiteError, ["experiment[0].kappa", "less than 1", "1.5"]),
    "threshold that is no number": (
        "pairs = 20", "kappa = nan", SuiteError, ["experiment[0].kappa", "nan"]),
    "no time limit": (
        "seed = 3", "stage_timeout_s = 0", SuiteError, ["suite.stage_timeout_s", "greater than 0", "0"]),
    "endless time limit": (
        "seed = 3", "stage_timeout_s = inf", SuiteError, ["suite.stage_timeout_s", "finite", "inf"]),
    "time limit of a wrong type": (
        "seed = 3", "stage_timeout_s = '1 h'", SuiteError, ["suite.stage_timeout_s", "valid number", "'1 h'"]),
    "no time limit of a kind of stage": (
        "seed = 3", "stage_timeout_s = { protect = 600, embed = 0 }", SuiteError,
        ["suite.stage_timeout_s.embed", "greater than 0", "0"]),
    "time limit of an unknown kind of stage": (
        "seed = 3", "stage_timeout_s = { protekt = 600 }", SuiteError,
        ["suite.stage_timeout_s.protekt", "unknown key 'protekt'", "did you mean 'protect'?"]),
    "no memory": (
        "seed = 3", "stage_memory_mb = -1", SuiteError, ["suite.stage_memory_mb", "greater than 0", "-1"]),
    "memory of an unknown kind of stage": (
        "seed = 3", "stage_memory_mb = { fit = 600 }", SuiteError, ["suite.stage_memory_mb.fit", "unknown key 'fit'"]),
    "memory that is no number": (
        "seed = 3", "stage_memory_mb = { fit_attack = nan }", SuiteError,
        ["suite.stage_memory_mb.fit_attack", "finite", "nan"]),
    "determinism of a wrong type": (
        "seed = 3", 'deterministic = "yes"', SuiteError, ["suite.deterministic", "boolean", "'yes'"]),
    "missing claims": (
        "pairs = 20", 'claims = "none.csv"', SuiteError, ["experiment[0].claims", "expected a CSV file", "none.csv"]),
    "missing weights": (
        '["toy-b"]', '["toy-lost"]', DataError, ["lost.json", "missing", "unset TOY_WEIGHTS"]),
    "not TOML": (
        "seed = 3", "seed = three", SuiteError, ["not valid TOML", "line 3"]),
    "nothing to do": (
        BASE[BASE.index("[[experiment]]") :], "", SuiteError, ["expected at least one [[experiment]]", "neither"]),
}  # fmt: skip


# Of attacks: what is set, and what the message must hold.
ATTACK_MISTAKES: dict[str, tuple[str, type[BenchError], list[str]]] = {
    "unknown upload": (
        'upload="feature"', SuiteError, ["experiment[0].upload", "'images' or 'features'", "'feature'"]),
    "empty upload": ('upload=""', SuiteError, ["experiment[0].upload", "'images' or 'features'", "''"]),
    "split of a wrong type": ("split=3", SuiteError, ["experiment[0].split", "string", "3"]),
    "split of what is not uploaded": (
        'split="stem"', SuiteError, ["experiment[0].split", "only features are uploaded", 'upload = "features"']),
    "figures of a wrong type": ("figures=[5]", SuiteError, ["experiment[0].figures[0]", "string", "5"]),
    "figures that are no list": ('figures="5"', SuiteError, ["experiment[0].figures", "list", "'5'"]),
    "falling noise": (
        "noise_levels=[0.2, 0.1]", SuiteError, ["experiment[0].noise_levels", "rising", "each once", "[0.2, 0.1]"]),
    "noise twice": ("noise_levels=[0.1, 0.1]", SuiteError, ["experiment[0].noise_levels", "each once"]),
    "negative noise": (
        "noise_levels=[-1]", SuiteError, ["experiment[0].noise_levels[0]", "greater than or equal to 0", "-1"]),
    "noise that is no number": ("noise_levels=[nan]", SuiteError, ["experiment[0].noise_levels[0]", "finite", "nan"]),
    "endless noise": ("noise_levels=[0, inf]", SuiteError, ["experiment[0].noise_levels[1]", "inf"]),
    "noise of a wrong type": ('noise_levels=["a"]', SuiteError, ["experiment[0].noise_levels[0]", "number", "'a'"]),
    "noise that is no list": ("noise_levels=0.1", SuiteError, ["experiment[0].noise_levels", "list", "0.1"]),
    "noise that nobody looks through": (
        "noise_levels=[0.1]", SuiteError, ["experiment[0].noise_levels", "outputs attributes", "has none"]),
    "unknown auxiliary": (
        'auxiliary="toy-fases"', PluginError, ["experiment[0].auxiliary", "'toy-fases'", "did you mean 'toy-faces'?"]),
    "auxiliary of a wrong type": ("auxiliary=3", SuiteError, ["experiment[0].auxiliary", "string", "table", "3"]),
    "several auxiliaries": (
        'auxiliary=["toy-faces"]', SuiteError, ["experiment[0].auxiliary", "string", "['toy-faces']"]),
    "auxiliary without a name": (
        "auxiliary={}", SuiteError, ["experiment[0].auxiliary.plugin", "expected the name", "None"]),
    "unknown parameter of the auxiliary": (
        'auxiliary={ plugin = "toy-faces", sed = 1 }', SuiteError,
        ["experiment[0].auxiliary.sed", "unknown parameter 'sed'", "did you mean 'seed'?"]),
    "via unknown": (
        'attacks=[{ plugin = "toy-attributes", via = "toy-upsampl" }]', PluginError,
        ["experiment[0].attacks[0].via", "expected the name of an attack", "did you mean 'toy-upsample'?"]),
    "via nothing": (
        'attacks=[{ plugin = "toy-attributes", via = "" }]', PluginError, ["experiment[0].attacks[0].via", "''"]),
    "via of a wrong type": (
        'attacks=[{ plugin = "toy-attributes", via = 3 }]', SuiteError,
        ["experiment[0].attacks[0].via", "name of an attack or a table", "3"]),
    "via several": (
        'attacks=[{ plugin = "toy-attributes", via = ["toy-upsample"] }]', SuiteError,
        ["experiment[0].attacks[0].via", "name of an attack or a table", "['toy-upsample']"]),
    "via without a name": (
        'attacks=[{ plugin = "toy-attributes", via = {} }]', SuiteError,
        ["experiment[0].attacks[0].via.plugin", "expected the name of an attack", "None"]),
    "via what recognises": (
        'attacks=[{ plugin = "toy-attributes", via = "toy-recognise" }]', SuiteError,
        ["experiment[0].attacks[0].via", "one attack that outputs images", "toy-recognise, which outputs recognition"]),
    "via what estimates": (
        'attacks=[{ plugin = "toy-attributes", via = "toy-attributes" }]', SuiteError,
        ["experiment[0].attacks[0].via", "one attack that outputs images", "which outputs attributes"]),
    "via a chain": (
        'attacks=[{ plugin = "toy-attributes", via = { plugin = "toy-denoise", via = "toy-upsample" } }]', SuiteError,
        ["experiment[0].attacks[0].via.via", "only an attack that outputs attributes"]),
    "unknown parameter of via": (
        'attacks=[{ plugin = "toy-attributes", via = { plugin = "toy-upsample", gian = 1 } }]', SuiteError,
        ["experiment[0].attacks[0].via.gian", "unknown parameter", "did you mean 'gain'?"]),
    "empty label of via": (
        'attacks=[{ plugin = "toy-attributes", via = { plugin = "toy-upsample", label = "" } }]', SuiteError,
        ["experiment[0].attacks[0].via.label", "expected a text", "''"]),
    "recognition via": (
        'attacks=[{ plugin = "abuse", via = "toy-upsample" }]', SuiteError,
        ["experiment[0].attacks[0].via", "only an attack that outputs attributes", "abuse outputs recognition"]),
    "reconstruction via": (
        'attacks=[{ plugin = "toy-denoise", via = "toy-upsample" }]', SuiteError,
        ["experiment[0].attacks[0].via", "only an attack that outputs attributes", "toy-denoise outputs images"]),
    "a defense via": (
        'defenses=[{ plugin = "identity", via = "toy-upsample" }]', SuiteError,
        ["experiment[0].defenses[0].via", "unknown parameter 'via'"]),
    "one label for two attacks": (
        'attacks=["toy-upsample", { plugin = "toy-attributes", via = { plugin = "toy-upsample", gain = 2.0 } }]',
        SuiteError, ["experiment[0].attacks", "'toy-upsample' stands for two attacks", "label"]),
    "a grid that is no table": (
        'defenses=[{ plugin = "noise", grid = [1] }]', SuiteError,
        ["experiment[0].defenses[0].grid", "table of parameters", "[1]"]),
    "an empty grid": (
        'defenses=[{ plugin = "noise", grid = {} }]', SuiteError, ["experiment[0].defenses[0].grid", "{}"]),
    "a grid without values": (
        'defenses=[{ plugin = "noise", grid = { sigma = [] } }]', SuiteError,
        ["experiment[0].defenses[0].grid", "list of values"]),
    "a grid of one value": (
        'defenses=[{ plugin = "noise", grid = { sigma = 0.1 } }]', SuiteError,
        ["experiment[0].defenses[0].grid", "list of values"]),
    "a grid over what is given": (
        'defenses=[{ plugin = "noise", sigma = 0.2, grid = { sigma = [0.1] } }]', SuiteError,
        ["experiment[0].defenses[0].grid.sigma", "given as a parameter too"]),
    "a grid over what is unknown": (
        'defenses=[{ plugin = "noise", grid = { sigme = [0.1] } }]', SuiteError,
        ["experiment[0].defenses[0].sigme", "unknown parameter", "did you mean 'sigma'?"]),
    "a grid over labels": (
        'defenses=[{ plugin = "noise", grid = { label = ["a", "b"] } }]', SuiteError,
        ["experiment[0].defenses[0].grid.label"]),
    "a grid with a label of a wrong type": (
        'defenses=[{ plugin = "noise", label = 3, grid = { sigma = [0.1] } }]', SuiteError,
        ["experiment[0].defenses[0].label", "expected a text", "3"]),
    "a grid with a value twice": (
        'defenses=[{ plugin = "noise", grid = { sigma = [0.1, 0.1] } }]', SuiteError,
        ["experiment[0].defenses[1]", "noise sigma 0.1", "twice"]),
    "missing weights of an attack": (
        'attacks=["toy-attributes"]', DataError, ["experiment[0].attacks[0]", "toy-eyes.bin", "unset TOY_EYES"]),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACK_MISTAKES)
def test_a_mistake_about_attacks_is_named(written: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    override, kind, fragments = ATTACK_MISTAKES[name]
    if name.startswith("missing weights"):
        monkeypatch.setenv("TOY_EYES", "missing")
    with pytest.raises(kind) as caught:
        written(BASE, f"experiment[0].{override}")
    for fragment in ["suite.toml", *fragments]:
        assert fragment in str(caught.value)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_place_and_its_remedy(written: Any, name: str) -> None:
    old, new, kind, fragments = MISTAKES[name]
    assert old in BASE, "the test replaces nothing"
    with pytest.raises(kind) as caught:
        written(BASE.replace(old, new, 1))
    for fragment in fragments:
        assert any(part in str(caught.value) for part in fragment.split("|")), str(caught.value)


def test_every_mistake_names_the_file(written: Any) -> None:
    """A user of several suites must see which of them is wrong."""
    for name, (old, new, kind, _) in MISTAKES.items():
        if kind is DataError:
            continue  # names the weights file
        with pytest.raises(BenchError) as caught:
            written(BASE.replace(old, new, 1))
        assert "suite.toml" in str(caught.value), name


def test_all_mistakes_of_the_structure_are_listed_at_once(written: Any) -> None:
    with pytest.raises(SuiteError) as caught:
        written(BASE.replace("seed = 3", "sed = 3").replace("pairs = 20", "pairs = 1"))
    assert len(str(caught.value).splitlines()) == 2


def test_two_experiments_of_one_name(written: Any) -> None:
    with pytest.raises(SuiteError, match=r"experiment\[1\]\.name: 'one' is used twice"):
        written(BASE + BASE[BASE.index("[[experiment]]") :])


@pytest.mark.parametrize("pairs", [-1, 0, 1, 1_000_001])
def test_pairs_out_of_range(written: Any, pairs: int) -> None:
    with pytest.raises(SuiteError, match=rf"--pairs: expected a number from 2 to 1000000, found {pairs}"):
        written(BASE, pairs=pairs)


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("nonsense", ["--set nonsense", "path=value", "such as"]),
        ("=3", ["--set =3", "path=value"]),
        (".=3", ["--set .=3", "path=value"]),
        ("[]=3", ["--set []=3", "path=value"]),
        ("suite.sed=3", ["suite.sed", "unknown key", "did you mean 'seed'?"]),
        ("suit.seed=3", ["--set suit.seed=3", "nothing there", "did you mean 'suite'?"]),
        ("suite.seed=abc", ["suite.seed", "integer", "'abc'"]),
        ("experiment[3].pairs=9", ["--set", "experiment[3]", "below 1"]),
        ("experiment.one.pairs=9", ["--set", "experiment.one", "index below 1", "'one'"]),
        ("suite[0]=9", ["--set", "suite[0]", "expected a key"]),
        ("suite.seed.deep=9", ["--set", "suite.seed is 3", "no parts"]),
        ("suite.²=9", ["suite.²", "unknown key"]),
        ("experiment[²]=9", ["--set", "experiment", "index below 1"]),
        ("suite.seed=1\nname = 2", ["suite.seed", "integer", "name = 2"]),
    ],
)
def test_bad_overrides(written: Any, override: str, fragments: list[str]) -> None:
    with pytest.raises(SuiteError) as caught:
        written(BASE, override)
    for fragment in fragments:
        assert fragment in str(caught.value), str(caught.value)


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "paper.toml").write_text(BASE)
    with pytest.raises(SuiteError, match=r"papr\.toml: expected a suite file, found nothing there\. .*paper\.toml"):
        read(tmp_path / "papr.toml")
    with pytest.raises(SuiteError, match="Give the path of a TOML file"):
        read(tmp_path / "nowhere" / "papr.toml")


def test_a_folder_and_a_binary_file_are_no_suites(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="expected a suite file, found a folder"):
        read(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SuiteError, match=r"binary\.toml: expected a suite file in UTF-8"):
        read(tmp_path / "binary.toml")


def test_a_suite_for_training_needs_no_experiment(written: Any) -> None:
    suite = written('[suite]\nname = "t"\n[[train]]\nmodel = "toy-a"\ndata = "toy-training"\n')
    assert suite.experiments == ()
    assert suite.train[0].model == "toy-a"


# ---- limits ----------------------------------------------------------------------------------------------------------


def test_limits_are_for_every_kind_of_stage_or_for_some(written: Any) -> None:
    assert (written(BASE).stage_timeout_s, written(BASE).stage_memory_mb) == ({}, {})
    every = written(BASE, "suite.stage_timeout_s=60").stage_timeout_s
    assert every == dict.fromkeys(get_args(StageKind), 60)
    some = written(BASE, "suite.stage_memory_mb={ protect = 100, fit_attack = 2500.5 }").stage_memory_mb
    assert some == {"protect": 100, "fit_attack": 2500.5}


# ---- properties ------------------------------------------------------------------------------------------------------

KEYS = ["suite", "experiment", "train", "name", "seed", "title", "datasets", "authorised", "evaluated", "defenses"]
KEYS += ["attacks", "pairs", "repeats", "kappa", "fmr", "claims", "table", "plugin", "label", "sigma", "model", "data"]
KEYS += ["str", "dict", "int", "stage_timeout_s", "recipe", "how", "split", "weight", "via", "grid", "upload"]
KEYS += ["auxiliary", "noise_levels", "figures", "stage_memory_mb", "deterministic", "protect", "score"]
NAMES = ["toy-faces", "toy-a", "toy-b", "toy-lost", "toy-large", "toy-closed", "identity", "noise", "toy-step", "abuse"]
NAMES += ["toy-misbehave", "toy-mean", "toy-single", "toy-targets", "toy-upsample", "toy", "one", ""]
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
keys = st.sampled_from(KEYS) | text
scalars = st.one_of(
    st.sampled_from(NAMES), text, st.booleans(), st.integers(-3, 30), st.integers(), st.floats(), st.dates()
)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=3), max_leaves=6)
quick = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def check(tmp_path: Path, registry: Registry) -> Any:
    """A function that checks that a text can be planned or is refused with one message."""

    def check_text(text: str, *overrides: str) -> None:
        path = tmp_path / "any.toml"
        path.write_text(text, encoding="utf-8")
        try:
            plan = make_plan(load(path, registry, overrides), registry, "cpu")
        except BenchError as error:
            message = str(error)
        else:
            assert all(cell.skip or cell.stages for cell in plan.cells)
            return
        assert message.strip()

    return check_text


@pytest.mark.slow
@quick
@given(document=st.dictionaries(keys, values, max_size=4))
def test_any_document_is_a_suite_or_one_message(check: Any, document: dict[str, Any]) -> None:
    check(document_of(document))


def most(*usual: Any) -> st.SearchStrategy[Any]:
    """Mostly one of the usual values, sometimes any value."""
    return st.sampled_from(usual) | st.sampled_from(usual) | st.sampled_from(usual) | values


def axis(*names: str) -> st.SearchStrategy[Any]:
    """Mostly a list of some of these names, sometimes any value."""
    usual = st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)
    return st.one_of(usual, usual, usual, st.lists(st.sampled_from(names) | values, max_size=2))


vias = st.lists(
    st.fixed_dictionaries({"plugin": most("toy-attributes"), "via": most("toy-upsample", "toy-learner", "abuse")}),
    max_size=1,
)
experiments = st.fixed_dictionaries(
    {
        "name": most("one", "two"),
        "datasets": axis("toy-faces"),
        "authorised": axis("toy-a", "toy-b", "toy-closed", "toy-large"),
        "evaluated": axis("toy-a", "toy-b", "toy-closed", "toy-large"),
        "defenses": axis("identity", "toy-step", "toy-single", "toy-mean", "toy-misbehave", "toy-features"),
    },
    optional={
        "attacks": axis("abuse", "toy-upsample", "toy-learner", "toy-denoise", "toy-attributes", "toy-greedy") | vias,
        "upload": most("images", "features"),
        "split": most("last", "all", "stem", "deep"),
        "auxiliary": most("toy-faces"),
        "noise_levels": most([0.1], [0.0, 0.1]),
        "pairs": most(2, 20, 50),
        "kappa": most(0.0, 0.5, -0.9),
        "fmr": most(0.1, 0.5),
        "table": most("VII"),
        "extra": values,
    },
)


@pytest.mark.slow
@quick
@given(found=st.lists(experiments, max_size=2), head=most({"name": "toy"}, {"name": "toy", "seed": 2**62}))
def test_almost_right_documents_are_suites_or_one_message(check: Any, found: list[Any], head: Any) -> None:
    check(document_of({"suite": head, "experiment": found}))


@quick
@given(
    override=text
    | st.builds("{}={}".format, text, text)
    | st.builds(
        "{}={}".format,
        st.lists(
            st.sampled_from([*"[].0129²٣ -+'\"", "suite", "experiment", "seed", "pairs", "datasets"]), max_size=8
        ).map("".join),
        text,
    )
)
def test_any_override_gives_a_suite_or_one_message(check: Any, override: str) -> None:
    check(BASE, override)


@quick
@given(parts=st.lists(st.integers(0, 99) | st.from_regex(r"[a-z_]{1,8}", fullmatch=True), max_size=5))
def test_toml_path_can_be_taken_apart_again(parts: list[int | str]) -> None:
    if parts and isinstance(parts[0], int):
        parts = ["top", *parts]
    found = re.findall(r"\[(\d+)\]|([a-z_]+)", toml_path(parts)) if parts else []
    assert [int(index) if index else name for index, name in found] == parts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = " + "1" * 5000, "not valid TOML: a whole number of too many digits"),
        ("x = " + "[" * 3000 + "]" * 3000, "not valid TOML: tables and lists in more than 64 levels"),
        ("x" + ".x" * 3000 + " = 1", "not valid TOML: tables and lists in more than 64 levels"),
        ("x = " + "{ via = " * 100 + "1" + " }" * 100, "not valid TOML: tables and lists in more than 64 levels"),
    ],
)
def test_a_suite_that_is_too_deep_or_too_large_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "deep.toml").write_text(f"{text}\n{BASE}")
    with pytest.raises(SuiteError, match=f"deep.toml: {words}"):
        read(tmp_path / "deep.toml")
    (tmp_path / "toy.toml").write_text(BASE)
    with pytest.raises(SuiteError):
        read(tmp_path / "toy.toml", [f"suite.seed={text.removeprefix('x = ')}"])


def test_an_override_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(BASE)
    with pytest.raises(SuiteError, match="expected text in UTF-8"):
        read(tmp_path / "toy.toml", ["suite.title=\udcff"])


def test_a_message_does_not_repeat_a_large_value(written: Any) -> None:
    large = "{ plugin = 'noise', label = " + str(list(range(5000))) + " }"
    with pytest.raises(SuiteError) as caught:
        written(BASE.replace('"identity"', large))
    assert len(str(caught.value)) < 400


def test_published_numbers_come_from_a_file(written: Any) -> None:
    with pytest.raises(SuiteError, match="expected a CSV file beside the suite, at /dev/zero, found something else"):
        written(BASE + 'claims = "/dev/zero"\n')
