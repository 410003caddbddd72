"""People who are learnt from and scored, across two data sets that name them: LFW and CALFW."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import faceset_files as files
import pandas as pd
import pytest
from bench_facenets import MobileNet
from bench_facesets import FaceSetTraining
from bench_training.jobs import about
from processes import run_folders
from support import Command, Computed, skips

from bench.core.errors import PluginError
from bench.core.people import half_of, learnable
from bench.planning.plan import Plan
from bench.registry.components import instantiate
from bench.registry.discovery import Registry
from bench.stages.stage_inputs import read_faces

SUITE = """\
[suite]
name = "learners"

[[experiment]]
name = "one"
datasets = ["calfw"]
auxiliary = "lfw"
evaluated = ["zoo-mobilenet"]
authorised = ["zoo-mobilenet"]
defenses = ["identity"]
attacks = ["abuse", { plugin = "recface", steps = 2, channels = 8 }]
pairs = 40
"""
SHARED = ("Zoë_Müller", "Anna_Lind", "Otto_Graf")  # in no pair of LFW; CALFW shows them under other spellings
MEAN = 'experiment[0].defenses=["toy-mean"]'
PlanOf = Callable[..., Plan]


def spelt_otherwise(name: str) -> str:
    """A name in another case, with spaces and in another Unicode form."""
    return unicodedata.normalize("NFD", name.replace("_", " ").swapcase())


def write_sets(root: Path, shared: tuple[str, ...] = SHARED, others: int = 30) -> Path:
    """LFW with people in no pair, and CALFW, whose first pairs show some of these."""
    extra = [*shared, *(f"Someone{chr(97 + k // 26)}{chr(97 + k % 26)}_Else" for k in range(others))]
    files.write_lfw(
        root / "lfw", files.protocol_pairs(10, 3), [f"{name}_000{shot}" for name in extra for shot in (1, 2)]
    )
    write_calfw(root, shared)
    return root


def write_calfw(root: Path, shared: tuple[str, ...]) -> None:
    """CALFW, whose first pairs show some people under other spellings."""
    pairs = [
        (one.replace("Person", "Citizen"), other.replace("Person", "Citizen"), same, fold)
        for one, other, same, fold in files.protocol_pairs()
    ]
    for k, name in enumerate(shared):
        one = spelt_otherwise(name)
        pairs[4 * k] = (f"{one}_0001", f"{one}_0002", True, k)  # the first genuine pair of fold k
    files.write_calfw(root / "calfw", pairs)


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_DATA", str(write_sets(tmp_path / "data")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "data"


def of_learner(plan: Plan) -> list[str | None]:
    return [cell.learner_overlap for cell in plan.cells if cell.attack.name == "recface"]


def test_scored_people_are_left_out(sets: Path, computed: Callable[..., Computed]) -> None:
    done = computed(SUITE)
    assert not done.failures()
    assert {cell.attack.label: cell.learner_overlap for cell in done.plan.cells} == {
        "abuse": None,
        "recface": "3 people left out",
    }
    learnt = read_faces(done.artifact("auxiliary faces of lfw without the scored people of calfw"))
    names = {str(name).split("/")[0] for name in learnt.sample_ids}
    assert len(names) == 30
    assert not names & set(SHARED)
    assert "auxiliary faces of lfw" not in {stage.name for stage in done.plan.stages.values()}


def test_only_cells_whose_people_overlap_change(sets: Path, plan_text: PlanOf) -> None:
    whole = plan_text(SUITE)
    few = plan_text(SUITE, "experiment[0].pairs=20", 'experiment[0].auxiliary={ plugin = "calfw" }')
    own = plan_text(SUITE, 'experiment[0].datasets=["lfw"]')
    assert of_learner(own) == ["none by name"]
    assert of_learner(few) == ["none by name"]  # CALFW's last folds, beside its first pairs
    without = [s for s in whole.stages.values() if "scored" in s.components]
    assert [s.options["pairs"] for s in without] == [40]
    assert not [s for p in (own, few) for s in p.stages.values() if "scored" in s.components]
    # The stage depends on how many pairs are scored, not on the defense or the attack.
    more = plan_text(SUITE, 'experiment[0].defenses=["identity", "noise"]')
    assert {s.key for s in without} == {s.key for s in more.stages.values() if "scored" in s.components}


def test_unknown_names_are_said(sets: Path, tmp_path: Path, plan_text: PlanOf) -> None:
    unnamed = files.write_bin(tmp_path / "bins" / "lfw.bin", files.protocol_pairs(10, 3))
    plan = plan_text(SUITE, f'experiment[0].auxiliary={{ plugin = "lfw", path = "{unnamed}" }}')
    assert of_learner(plan) == ["unknown"]
    alone = SUITE.replace('auxiliary = "lfw"\n', "").replace('"calfw"', f'{{ plugin = "lfw", path = "{unnamed}" }}')
    within = plan_text(alone)
    assert of_learner(within) == ["none within the data set"]
    numbered = files.write_folder(tmp_path / "numbered", {f"p{k:02d}": 3 for k in range(24)})
    own = f'{{ plugin = "face-set", path = "{numbered}" }}'
    assert of_learner(plan_text(SUITE, f"experiment[0].auxiliary={own}")) == ["unknown"]
    assert of_learner(plan_text(SUITE, 'experiment[0].auxiliary="synth-lfw"')) == ["none, one set is generated"]
    other = own.replace(" }", ", seed = 1 }")  # The same people, divided otherwise.
    (words,) = of_learner(plan_text(SUITE, f"experiment[0].auxiliary={own}", f"experiment[0].datasets=[{other}]"))
    assert words is not None
    assert words.endswith("people left out")


def test_nobody_left_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan_text: PlanOf) -> None:
    everyone = tuple(f"Someone{chr(97 + k)}_Else" for k in range(20))
    root = tmp_path / "data"
    files.write_lfw(root / "lfw", files.protocol_pairs(10, 3), [f"{n}_000{shot}" for n in everyone for shot in (1, 2)])
    spelt = [spelt_otherwise(name) for name in everyone]
    pairs = [(f"{one}_0001", f"{one}_0002", True, k // 2) for k, one in enumerate(spelt)]
    pairs += [(f"{one}_0001", f"{spelt[k - 1]}_0002", False, k // 2) for k, one in enumerate(spelt)]
    files.write_calfw(root / "calfw", pairs)
    monkeypatch.setenv("BENCH_DATA", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (reason,) = set(skips(plan_text(SUITE)))
    assert "recface would learn from lfw, where nobody is left whom the 40 pairs of calfw do not show" in reason


def test_a_defense_and_an_attack_that_learn_get_halves(sets: Path, computed: Callable[..., Computed]) -> None:
    done = computed(SUITE, MEAN, 'experiment[0].datasets=["lfw"]')
    assert not done.failures()
    shown = {}
    for half in ("defense", "attack"):
        faces = read_faces(done.artifact(f"auxiliary faces of lfw for the {half}"))
        shown[half] = {str(name).split("/")[0] for name in faces.sample_ids}
        assert {half_of(name) for name in shown[half]} == {half}
    assert len(shown["defense"] | shown["attack"]) == 33
    assert "auxiliary faces of lfw" not in {stage.name for stage in done.plan.stages.values()}
    uploads = {c.stages for c in done.plan.cells}
    assert len([s for s in done.plan.stages.values() if s.kind == "fit_defense"]) == 1, uploads


def test_a_half_reaches_people_whom_the_whole_set_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry, computed: Callable[..., Computed]
) -> None:
    """Ten people are learnt from. Those of a half are not half of the ten of the whole: others are drawn for them."""
    monkeypatch.setenv("BENCH_DATA", str(write_sets(tmp_path / "data", ())))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    lfw = instantiate(registry.find("dataset", "lfw", "here").cls, {"auxiliary_identities": 10}, "here")
    whole, half = (set(lfw.auxiliary_people(learnable((), "", h))) for h in (None, "attack"))
    (one, *_) = sorted(half - whole)
    write_calfw(tmp_path / "data", (one,))
    ten = 'experiment[0].auxiliary={ plugin = "lfw", auxiliary_identities = 10 }'
    done = computed(SUITE, MEAN, ten, "experiment[0].pairs=20")
    assert not done.failures()
    assert [c.learner_overlap for c in done.plan.cells if c.attack.name == "recface"] == [
        "recface: 1 person left out; toy-mean: none by name"
    ]
    faces = read_faces(done.artifact("auxiliary faces of lfw for the attack without the scored people of calfw"))
    learnt = {str(name).split("/")[0] for name in faces.sample_ids}
    assert one not in learnt
    assert {half_of(name) for name in learnt} == {"attack"}


def test_a_network_that_was_trained_on_scored_people(
    sets: Path, tmp_path: Path, plan_text: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench_zoo import ZooMobileNet

    monkeypatch.setattr(ZooMobileNet, "synthetic", False)
    monkeypatch.setattr(ZooMobileNet, "trained_on", "casia-webface")
    overlaps = [cell.training_overlap for cell in plan_text(SUITE).cells]
    assert set(overlaps) == {None}  # The training set is missing.
    people = {spelt_otherwise(SHARED[0]).upper(): 2, "Somebody Famous": 2}
    files.write_folder(sets / "casia-webface", people)
    overlaps = [cell.training_overlap for cell in plan_text(SUITE).cells]
    assert set(overlaps) == {"zoo-mobilenet: 1 person of casia-webface"}
    (sets / "casia-webface").rename(sets / "elsewhere")
    files.write_folder(sets / "casia-webface", {"0000045": 2, "0000099": 2})
    assert {cell.training_overlap for cell in plan_text(SUITE).cells} == {None}


def test_networks_without_known_people_are_stated(
    sets: Path, plan_text: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench_zoo import ZooMobileFace, ZooMobileNet

    both = 'experiment[0].evaluated=["zoo-mobilenet", "zoo-mobileface"]'

    def overlaps() -> dict[str, str | None]:
        cells = plan_text(SUITE, both).cells
        return {cell.evaluated.label: cell.training_overlap for cell in cells if cell.evaluated and not cell.skip}

    for network, source in ((ZooMobileNet, "casia-webface"), (ZooMobileFace, "")):
        monkeypatch.setattr(network, "synthetic", False)
        monkeypatch.setattr(network, "trained_on", source)
    files.write_folder(sets / "casia-webface", {spelt_otherwise(SHARED[0]): 2, "Somebody Famous": 2})
    seen = "zoo-mobilenet: 1 person of casia-webface"
    assert overlaps() == {"zoo-mobilenet": seen, "zoo-mobileface": f"{seen}; others unknown"}
    (sets / "casia-webface").rename(sets / "elsewhere")
    files.write_folder(sets / "casia-webface", {"Somebody Else": 2, "Somebody Famous": 2})
    assert overlaps() == {"zoo-mobilenet": "none by name", "zoo-mobileface": "none by name; others unknown"}
    monkeypatch.setattr(ZooMobileFace, "trained_on", "a set of no plugin")
    assert overlaps()["zoo-mobileface"] == "none by name; others unknown"
    monkeypatch.setattr(ZooMobileFace, "synthetic", True)  # Generated people are in no real set.
    assert overlaps()["zoo-mobileface"] == "none by name"


def test_a_training_set_whose_plugin_fails_is_an_error(
    sets: Path, plan_text: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench_facesets import CasiaWebFace
    from bench_zoo import ZooMobileNet

    def broken(self: CasiaWebFace) -> list[str]:
        raise ZeroDivisionError("no people")

    monkeypatch.setattr(ZooMobileNet, "synthetic", False)
    monkeypatch.setattr(ZooMobileNet, "trained_on", "casia-webface")
    monkeypatch.setattr(CasiaWebFace, "people", broken)
    with pytest.raises(PluginError, match=r"training set casia-webface: people\(\) failed with ZeroDivisionError"):
        plan_text(SUITE)


def test_the_training_set_is_read_with_the_parameters_of_the_card(
    sets: Path, tmp_path: Path, plan_text: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench_zoo import ZooMobileNet

    elsewhere = files.write_folder(tmp_path / "mine", {spelt_otherwise(SHARED[1]): 2, "Somebody Famous": 2})
    weights = files.put(tmp_path / "mobilenet.safetensors", b"weights")
    source = FaceSetTraining(path=str(elsewhere))
    files.put(tmp_path / "mobilenet.json", json.dumps({"data": about(source, "digest", 4, 2)}))
    model = MobileNet(weights_file=str(weights))
    assert model.trained_on == "face-set"
    assert {"path": str(elsewhere), "person_level": 0}.items() <= (model.trained_on_parameters or {}).items()
    monkeypatch.setattr(ZooMobileNet, "synthetic", False)
    monkeypatch.setattr(ZooMobileNet, "trained_on", model.trained_on)
    assert {cell.training_overlap for cell in plan_text(SUITE).cells} == {None}  # The path is not known.
    monkeypatch.setattr(ZooMobileNet, "trained_on_parameters", model.trained_on_parameters)
    assert {cell.training_overlap for cell in plan_text(SUITE).cells} == {"zoo-mobilenet: 1 person of face-set"}


def test_a_card_names_the_training_set(tmp_path: Path) -> None:
    weights = files.put(tmp_path / "mobilenet.safetensors", b"weights")
    assert MobileNet(weights_file=str(weights)).trained_on == ""
    files.put(tmp_path / "mobilenet.json", json.dumps({"data": {"training_set": "CasiaWebFace"}}))
    assert MobileNet(weights_file=str(weights)).trained_on == "casia-webface"
    files.put(tmp_path / "mobilenet.json", json.dumps({"data": None}))
    assert MobileNet(weights_file=str(weights)).trained_on == ""


def test_a_run_says_who_was_left_out(tmp_path: Path, bench: Command) -> None:
    write_sets(tmp_path / "data")
    (tmp_path / "learners.toml").write_text(SUITE, encoding="utf-8")
    env = {"BENCH_DATA": str(tmp_path / "data"), "XDG_CACHE_HOME": str(tmp_path / "home")}
    done = bench("run", "learners.toml", "--device", "cpu", "--workers", "1", cwd=tmp_path, env=env)
    assert done.code == 0, done.err
    assert "people learnt from who are also scored on calfw: 3 people left out" in done.err
    (folder,) = run_folders(tmp_path)
    cells = pd.read_parquet(folder / "cells.parquet")
    assert set(zip(cells["attack"], cells["learner_overlap"].fillna(""), strict=True)) == {
        ("abuse", ""),
        ("recface", "3 people left out"),
    }
    page = (tmp_path / "reports").rglob("*.html")
    assert any(
        "people learnt from who are also scored: 3 people left out" in path.read_text(encoding="utf-8") for path in page
    )
    cell = cells.loc[cells.attack == "recface", "cell"].item()
    explained = bench("explain", folder, cell, cwd=tmp_path, env=env)
    assert "people learnt from who are also scored: 3 people left out" in explained.out
