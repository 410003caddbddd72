"""Adversaries set their thresholds on people of the calibration split: with every kind of attack, on toy networks.

The thresholds are computed again from the stored pictures, with networks of the tests' own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from attacked import as_float, network, unit
from support import Computed

from bench.core.errors import PluginError
from bench.planning.plan import Plan
from bench.store.artifacts import Cache

SUITE = """\
[suite]
name = "strangers"
seed = 5

[[experiment]]
name = "one"
datasets = [{ plugin = "toy-faces", auxiliary_images = 80 }]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = [DEFENSE]
attacks = [ATTACK]
pairs = 20
fmr = 0.05
adversary_threshold = "calibration"
adversary_people = 12
"""
NOISY = '{ plugin = "noisy", sigma = 0.3 }'
STRANGERS = "12 calibration people of toy-faces"
SENT = f"{STRANGERS} protected by noisy"
PlanOf = Callable[..., Plan]
ComputedOf = Callable[..., Computed]


def suite(attack: str = '"abuse"', defense: str = NOISY) -> str:
    return SUITE.replace("ATTACK", attack).replace("DEFENSE", defense)


def embedded(images: Any) -> Any:
    with torch.no_grad():
        return unit(network("toy-b")(as_float(images)))


def highest(scores: Any, fmr: float = 0.05) -> float:
    """The threshold: the smallest score with at most this share above it."""
    return float(np.sort(scores)[::-1][int(fmr * len(scores) + 1e-9)])


def threshold(done: Computed, probes: Any) -> float:
    """The threshold of embedded probes of strangers against the originals of the scored left pictures."""
    left = np.unique(done.artifact("evaluation faces of toy-faces").tables["pairs"]["left"].to_numpy())
    gallery = embedded(done.artifact("evaluation faces of toy-faces").tensors["images"][left])
    return highest((probes @ gallery.T).ravel())


def rows_of(done: Computed, by: str, what: str = "noisy") -> dict[str, Any]:
    return done.table(f"verification of {what} by {by} on toy-faces", "verification")


def test_uploads_of_strangers_are_recognised_as_they_are(computed_of: ComputedOf) -> None:
    done = computed_of(suite())
    sent = done.artifact(SENT)
    assert sent.tables["samples"]["face"].to_pylist() == list(range(0, 24, 2))  # the first picture of each
    rows = rows_of(done, "toy-b")
    np.testing.assert_allclose(rows["kappa_adversary"], threshold(done, embedded(sent.tensors["images"])), atol=1e-5)
    assert set(rows["adversary_people"]) == {12}
    assert set(rows["adversary_impostors"]) == {12 * 10}
    assert set(rows["adversary_rule"]) == {"calibration"}
    np.testing.assert_allclose(rows["adversary_fmr_realised"], 6 / 120)


def test_strangers_are_protected_like_scored_people(plan_of: PlanOf) -> None:
    """By the same component, for the same models, with the same seed: the pictures are all that differs."""
    plan = plan_of(suite(defense='"toy-step"'))
    first, second = (s for s in plan.stages.values() if s.kind == "protect")
    assert first.components == second.components
    assert (first.seed, dict(first.options)) == (second.seed, dict(second.options))
    assert {role for role in first.inputs if first.inputs[role] != second.inputs[role]} == {"faces"}


SHOWN = [("probe", range(0, 24, 2)), ("gallery", range(1, 24, 2)), ("both", range(0, 24, 2))]


@pytest.mark.parametrize(("side", "pictures"), SHOWN)
def test_the_side_that_is_protected_is_that_of_strangers(
    computed_of: ComputedOf, monkeypatch: pytest.MonkeyPatch, side: str, pictures: range
) -> None:
    from family_small import Noisy

    monkeypatch.setattr(Noisy, "protects", frozenset({side}))
    done = computed_of(suite(), f'experiment[0].protects="{side}"')
    sent = done.artifact(SENT)
    assert sent.tables["samples"]["face"].to_pylist() == list(pictures)
    rows = rows_of(done, "toy-b")
    if side != "both":
        return
    scored = done.artifact("toy-faces protected by noisy")
    right = np.unique(done.artifact("evaluation faces of toy-faces").tables["pairs"]["right"].to_numpy())
    gallery = embedded(scored.tensors["images"][np.isin(scored.tables["samples"]["face"].to_numpy(), right)])
    kappa = highest((embedded(sent.tensors["images"]) @ gallery.T).ravel())
    np.testing.assert_allclose(rows["kappa_enrolled"], kappa, atol=1e-5)


def test_reconstructions_of_strangers(computed_of: ComputedOf) -> None:
    done = computed_of(suite('"toy-denoise"'))
    (rebuilt,) = [s.name for s in done.plan.stages.values() if s.kind == "attack" and STRANGERS in s.name]
    images = done.artifact(rebuilt).tensors["images"]
    assert len(images) == 12
    rows = rows_of(done, "toy-b", "toy-denoise against noisy")
    np.testing.assert_allclose(rows["kappa_adversary"], threshold(done, embedded(images)), atol=1e-5)


def test_a_recogniser_that_has_adapted_embeds_strangers(computed_of: ComputedOf) -> None:
    done = computed_of(suite('{ plugin = "family-adapts", faces = 32, steps = 5, batch = 8, label = "adapted" }'))
    (state,) = [s for s in done.plan.stages.values() if s.kind == "fit_attack"]
    own = network("toy-b")
    own.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in done.artifact(state.name).tensors.items()})
    with torch.no_grad():
        probes = unit(own(as_float(done.artifact(SENT).tensors["images"])))
    rows = rows_of(done, "adapted with toy-b")
    np.testing.assert_allclose(rows["kappa_adversary"], threshold(done, probes), atol=1e-5)


def test_several_uploads_of_strangers_are_averaged(computed_of: ComputedOf) -> None:
    done = computed_of(suite('{ plugin = "family-averages", many = 3, label = "averages" }'))
    uploads = [done.artifact(f"{SENT}{more}").tensors["images"] for more in ("", ", upload 1", ", upload 2")]
    probes = unit(network("toy-b")(torch.stack([as_float(u) for u in uploads]).mean(0)))
    rows = rows_of(done, "averages with toy-b")
    np.testing.assert_allclose(rows["kappa_adversary"], threshold(done, probes), atol=1e-5)


def test_a_recogniser_of_the_defense_compares_protected_strangers(computed_of: ComputedOf) -> None:
    done = computed_of(suite(defense='"family-keyed"'), 'experiment[0].evaluated=["toy-a"]')
    (score,) = [s for s in done.plan.stages.values() if s.options.get("metric") == "verification"]
    rows = done.table(score.name, "verification")
    probes, gallery = (
        unit(done.cache.read(score.inputs[role]).tensors["plain"]) for role in ("strangers", "protected")
    )
    assert len(probes) == 12
    kappa = highest((probes @ gallery.T).ravel())
    np.testing.assert_allclose(rows["kappa_adversary"], kappa, atol=1e-6)
    assert set(rows["compared_with"]) == {"protected"}


def test_links_of_strangers(computed_of: ComputedOf) -> None:
    """The attack compares the upload of each stranger with all second uploads of scored people."""
    done = computed_of(suite('{ plugin = "family-linkage", faces = 40, label = "linkage" }'))
    (score,) = [s for s in done.plan.stages.values() if s.options.get("metric") == "links"]
    link = done.plan.stages[score.inputs["stranger_links"]]
    assert link.options["impostors"] == 600  # for 30 scores above a threshold for 5 %
    assert link.units == 12 * 20  # as many as there are
    table = done.cache.read(link.key).tables["scores"].to_pandas()
    right = np.unique(done.artifact("evaluation faces of toy-faces").tables["pairs"]["right"].to_numpy())
    pairs = [(stranger, other) for stranger in range(0, 24, 2) for other in right]
    assert sorted(zip(table["stranger"], table["partner"], strict=True)) == pairs
    state = {k: np.array(v) for k, v in done.cache.read(link.inputs["state"]).tensors.items()}
    with torch.no_grad():
        found = {}
        for side in ("first", "second"):
            sent = done.cache.read(link.inputs[side])
            plain = network("toy-b")(as_float(sent.tensors["images"])).double().numpy() - state["mean"]
            shown = sent.tables["samples"]["face"].to_pylist()
            found[side] = dict(zip(shown, unit(plain @ state["whitening"]), strict=True))
    expected = [
        found["first"][a] @ found["second"][b] for a, b in zip(table["stranger"], table["partner"], strict=True)
    ]
    np.testing.assert_allclose(table["score"], expected, atol=1e-4)
    rows = done.cache.read(score.key).tables["links"].to_pandas()
    np.testing.assert_allclose(rows["kappa"], highest(table["score"].to_numpy()))
    assert set(rows["kappa_people"]) == {12}
    assert set(rows["kappa_impostors"]) == {240}
    np.testing.assert_allclose(rows["kappa_fmr_realised"], 12 / 240)
    assert set(rows["adversary_rule"]) == {"calibration"}


def test_people_who_are_not_there_are_not_planned(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_toy.faces import ToyFaces

    many = plan_of(suite('{ plugin = "family-linkage", faces = 40 }'))
    monkeypatch.setattr(ToyFaces, "calibration_people", lambda self: 7)
    few = plan_of(suite('{ plugin = "family-linkage", faces = 40 }'))
    assert few.stages.keys() == many.stages.keys()  # The keys are those of what is asked for.
    (faces,) = (s for s in few.stages.values() if s.name == "7 calibration people of toy-faces")
    (link,) = (s for s in few.stages.values() if "impostors" in s.options)
    assert (faces.units, link.units) == (2 * 7, 7 * 20)


def test_few_comparisons_of_links_show_everybody_equally_often(computed_of: ComputedOf) -> None:
    done = computed_of(suite('{ plugin = "family-linkage", faces = 40 }'), "experiment[0].fmr=0.3")
    (score,) = [s for s in done.plan.stages.values() if s.options.get("metric") == "links"]
    table = done.cache.read(score.inputs["stranger_links"]).tables["scores"].to_pandas()
    assert len(table) == 9 * 12  # of 100 that a threshold for 30 % needs
    assert set(table["stranger"].value_counts()) == {9}
    assert set(table["partner"].value_counts()) <= {5, 6}


# ---- where it is not possible ----------------------------------------------------------------------------------------


def noted(plan: Plan) -> str:
    (cell,) = plan.cells
    assert cell.skip is None
    assert cell.adversary_threshold == "scored"
    assert not any(STRANGERS in stage.name for stage in plan.stages.values())
    return str(cell.threshold_note)


def test_a_data_set_without_people_for_it(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_toy.faces import ToyFaces

    from bench import Dataset

    monkeypatch.setattr(ToyFaces, "calibration_people", Dataset.calibration_people)
    found = noted(plan_of(suite()))
    assert found.startswith("it is set on the scored people, without the probe's group: toy-faces declares 0 people")
    assert "needs a data set with calibration_people()" in found


def test_too_few_people_for_a_false_match_rate(plan_of: PlanOf) -> None:
    found = noted(plan_of(suite(), "experiment[0].fmr=0.001"))
    assert (
        "12 people of the calibration split of toy-faces make about 240 impostor pairs with the scored ones, too few"
        in found
    )
    assert "raise adversary_people, pairs or fmr" in found


def test_few_people_are_a_note(plan_of: PlanOf) -> None:
    (cell,) = plan_of(suite()).cells
    assert cell.adversary_threshold == "calibration"
    assert cell.threshold_note is not None
    assert "rests on 12 people" in cell.threshold_note
    assert (
        "about 12 impostor scores above it at a false match rate of 0.05; expected at least 30" in cell.threshold_note
    )
    (cell,) = plan_of(suite(), "experiment[0].adversary_people=31").cells
    assert cell.threshold_note is None


def test_further_pictures_of_each_person(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_toy.faces import ToyFaces

    monkeypatch.setattr(ToyFaces, "further_pictures", lambda self, pairs: 3)
    photos = '{ plugin = "family-averages", many = 3, of = "person", label = "averages" }'
    needs = "needs further pictures of each person, and the calibration split of toy-faces has none"
    assert f"averages {needs}" in noted(plan_of(suite(photos)))
    mask = suite(defense='{ plugin = "family-mask", label = "mask" }')
    assert f"mask {needs}" in noted(plan_of(mask, 'experiment[0].surrogates=["toy-a"]'))


def test_what_estimates_attributes_needs_no_threshold(plan_of: PlanOf) -> None:
    (cell,) = plan_of(suite('"toy-attributes"')).cells
    assert (cell.adversary_threshold, cell.threshold_note) == (None, None)


@pytest.mark.parametrize("answer", [-1, "many", None])
def test_a_wrong_number_of_people_is_an_error_in_words(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    from bench_toy.faces import ToyFaces

    monkeypatch.setattr(ToyFaces, "calibration_people", lambda self: answer)
    with pytest.raises(PluginError, match=r"data set toy-faces: calibration_people\(\): expected the number of people"):
        plan_of(suite())


def test_people_that_a_data_set_promises_and_does_not_have(
    plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench_toy.faces import ToyFaces

    monkeypatch.setattr(ToyFaces, "calibration", lambda self, ctx: self.evaluation(20, ctx))
    done = Computed(plan_of(suite()), Cache(tmp_path / "cache"))
    assert any("calibration() returned pairs, expected at least two people" in reason for reason in done.failures())


# ---- nothing changes without it --------------------------------------------------------------------------------------


def test_today_s_plan_is_the_default(plan_of: PlanOf) -> None:
    text = suite().replace('adversary_threshold = "calibration"\nadversary_people = 12\n', "")
    plain, named = plan_of(text), plan_of(text, 'experiment[0].adversary_threshold="scored"')
    assert plain.digest == named.digest
    assert {cell.adversary_threshold for cell in plain.cells} == {"scored"}
    (other,) = plan_of(suite()).cells
    assert other.id != plain.cells[0].id
    assert plan_of(suite(), "experiment[0].adversary_people=13").cells[0].id != other.id
    score, calibrated = (p.stages[p.cells[0].stages[0]] for p in (plain, plan_of(suite())))
    assert calibrated.inputs.keys() - score.inputs.keys() == {"strangers", "strangers_faces"}
    assert all(calibrated.inputs[role] == key for role, key in score.inputs.items())
    assert dict(calibrated.options) == dict(score.options)


# ---- what a reader sees ----------------------------------------------------------------------------------------------


def test_the_people_and_rates_behind_thresholds_are_shown(families_run: Any, tmp_path: Path) -> None:
    from bench.report.export.samples import export_rows
    from bench.report.page import render, threshold_tables
    from bench.runs.explain import explain, find_cell

    rows = families_run(suite('"abuse", { plugin = "family-linkage", faces = 40, label = "linkage" }'))
    results = rows.results
    seen, linked = (
        explain(results, find_cell(results, [f"attack={attack}"]), results.folder, Cache(tmp_path / "cache")).words
        for attack in ("abuse", "linkage")
    )
    assert (
        "clean faces of the calibration split; it has an FMR of 5 % on 3,120 impostor"
        in seen["threshold of the service"]
    )
    assert "scores of 40 people" in seen["threshold of the service"]
    own = seen["threshold of the adversary"]
    assert (
        "people of the calibration split, protected and attacked like the scored ones, against the same gallery" in own
    )
    assert "; it has an FMR of 5 % on 120 impostor scores of 12 people; on scored strangers it has" in own
    assert "note: it rests on 12 people" in own
    assert "on 240 impostor scores of 12 people" in linked["threshold of the adversary"]
    adversaries = threshold_tables.adversaries(rows)
    assert "on 120 impostor scores of 12 people" in adversaries.about
    assert "He ends with pictures of people of the calibration split" in adversaries.about
    assert "toy-faces: it rests on 12 people" in adversaries.about
    page = render(results)
    assert "against the same gallery; it has an FMR of 5 % on 120 impostor scores of 12 people" in page
    assert "pairs of an upload of people of the calibration split" in page
    export_rows(results, "verification", "csv", tmp_path / "rows.csv")
    table = pd.read_csv(tmp_path / "rows.csv")
    assert set(table["adversary_rule"]) == {"calibration"}
    assert set(table["adversary_people"]) == {12}
    assert table["adversary_fmr_realised"][0] == pytest.approx(6 / 120)
    assert table["threshold_note"][0].startswith("it rests on 12 people")
