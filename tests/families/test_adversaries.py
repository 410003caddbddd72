"""Adversaries that learn to recognise, to describe and to link, each a plugin of this folder, on toy networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from attacked import as_float, network, unit
from support import Computed

from bench.analysis.cells import cell_row_of
from bench.analysis.rows import Rows
from bench.analysis.tables.questions import Question, asked
from bench.analysis.tables.recommendation import recommend
from bench.analysis.tables.row_layout import Sides, sides_of
from bench.planning.plan import Plan

SUITE = """\
[suite]
name = "adversaries"
seed = 5

[[experiment]]
name = "one"
datasets = [{ plugin = "toy-faces", auxiliary_images = 80 }]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["DEFENSE"]
attacks = ["abuse", ATTACK]
pairs = 40
"""
ADAPTS = '{ plugin = "family-adapts", faces = 64, steps = 40, batch = 16, label = "adapted" }'
PlanOf = Callable[..., Plan]
ComputedOf = Callable[..., Computed]
FACES = "evaluation faces of toy-faces"
QUESTIONS: tuple[Question, ...] = ("utility", "leakage")
ROW = {
    **dict.fromkeys(("cell", "dataset", "defense", "attack", "status"), "x"),
    "experiment": "one",
    "synthetic": True,
    "authorised": (),
    "authorised_stand_in_for": (),
    "evaluated": "net-a",
    "role": "surrogate",
    "repeat": 0,
    "pairs": 4,
    "kappa": 0.2,
}


def suite(attack: str, defense: str = "negative") -> str:
    return SUITE.replace("ATTACK", attack).replace('"DEFENSE"', defense if "{" in defense else f'"{defense}"')


# ---- recognition -----------------------------------------------------------------------------------------------------


def test_only_the_attack_embeds_where_it_learns(plan_of: PlanOf) -> None:
    """The plain adversary keeps the stages that it had, and the score of the other one reads the same roles."""
    plan = plan_of(suite(ADAPTS, "noise"))
    plain, adapted = (next(c for c in plan.cells if c.attack.label == label) for label in ("abuse", "adapted"))
    assert (plain.knowledge, adapted.knowledge) == (0, 4)
    assert (plain.embeds, plain.budget) == (False, None)
    assert (adapted.embeds, adapted.budget) == (True, '{"faces": 64, "steps": 40}')
    scores = [plan.stages[cell.stages[0]] for cell in (plain, adapted)]
    assert scores[0].inputs.keys() == scores[1].inputs.keys()
    assert scores[0].options == scores[1].options
    assert scores[0].inputs["faces"] == scores[1].inputs["faces"]
    assert set(plan.stages[scores[0].inputs["protected"]].components) == {"model"}
    own = plan.stages[scores[1].inputs["protected"]]
    assert own.name == "embeddings of toy-faces protected by noise by adapted with toy-b"
    assert plan.stages[own.inputs["state"]].components["model"] == own.components["model"]


def test_an_adapted_authorised_model_leaks_and_serves_nobody(families_run: Callable[..., Rows]) -> None:
    """The copy that an adversary adapts is no utility, and what it recognises counts, whichever model it is of."""
    rows = families_run(
        suite(ADAPTS, "toy-step"), "experiment[0].evaluated=['toy-a', 'toy-b']", "experiment[0].pairs=20"
    )
    sides = sides_of(rows.cells)
    found = {(c.attack, c.evaluated): c for c in rows.cells}
    assert {key: cell.role for key, cell in found.items()} == {
        ("abuse", "toy-a"): "authorised",
        ("abuse", "toy-b"): "unauthorised",
        ("adapted", "toy-a"): "unauthorised",
        ("adapted", "toy-b"): "unauthorised",
    }
    asked_of = {question: {k for k, c in found.items() if asked(question, c, sides)} for question in QUESTIONS}
    assert asked_of["utility"] == {("abuse", "toy-a")}
    assert asked_of["leakage"] == {("abuse", "toy-b"), ("adapted", "toy-a"), ("adapted", "toy-b")}
    attackers = {a.label for e in recommend(rows).entries for a in e.attacks}
    assert attackers == {"abuse", "adapted"}


def test_a_copy_of_a_surrogate_is_an_adversary_for_every_goal() -> None:
    adapted = cell_row_of({**ROW, "embeds": True, "role": "unauthorised"})
    sides = Sides({}, {"one": frozenset({"net-a"})})
    assert sides.judges(adapted, "anonymity")
    assert not sides.judges(cell_row_of(ROW), "anonymity")


def test_an_attack_adapts_each_evaluated_model(plan_of: PlanOf) -> None:
    plan = plan_of(suite(ADAPTS), 'experiment[0].evaluated=["toy-a", "toy-b"]')
    learnt = {s.key: s for s in plan.stages.values() if s.kind == "fit_attack"}
    assert {s.components["model"][0].label for s in learnt.values()} == {"toy-a", "toy-b"}
    assert len(learnt) == 2


def test_an_attack_gets_at_most_the_faces_of_its_budget_person_by_person(computed_of: ComputedOf) -> None:
    done = computed_of(suite(ADAPTS.replace("64", "5").replace("16", "4")))
    found = done.artifact("auxiliary faces of toy-faces, at most 5").tables["faces"]["subject"].to_pylist()
    assert found == [2_000_000, 2_000_000, 2_000_001, 2_000_001, 2_000_002]
    protected = done.artifact("auxiliary faces of toy-faces, at most 5 protected by negative")
    assert len(protected.tensors["images"]) == 5


def test_a_recogniser_that_adapts_recognises_protected_pictures(computed_of: ComputedOf) -> None:
    """Its embeddings are recomputed with a network of the test's own, and the score is that of every verification."""
    done = computed_of(suite(ADAPTS))
    learnt = "adapted with toy-b learning from auxiliary faces of toy-faces, at most 64 protected by negative"
    state = done.artifact(learnt)
    adapted = network("toy-b")
    adapted.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.tensors.items()})
    pairs = done.artifact(FACES).tables["pairs"]
    left, right = (pairs[side].to_numpy() for side in ("left", "right"))
    faces, uploads = done.artifact(FACES).tensors["images"], done.artifact("toy-faces protected by negative")
    place = {face: i for i, face in enumerate(uploads.tables["samples"]["face"].to_pylist())}
    with torch.no_grad():
        probes = unit(adapted(as_float(uploads.tensors["images"])))[[place[face] for face in left]]
        clean = unit(network("toy-b")(as_float(faces)))
    rows = done.table("verification of negative by adapted with toy-b on toy-faces", "verification")
    np.testing.assert_allclose(rows["cos_self"], (probes * clean[left]).sum(1), atol=1e-5)
    np.testing.assert_allclose(rows["cos_cross"], (probes * clean[right]).sum(1), atol=1e-5)
    np.testing.assert_allclose(rows["cos_clean"], (clean[left] * clean[right]).sum(1), atol=1e-5)
    plain = done.table("verification of negative by toy-b on toy-faces", "verification")
    assert rows["cos_self"].mean() > plain["cos_self"].mean() + 0.3
    assert np.array_equal(rows["kappa_calibrated"], plain["kappa_calibrated"])  # enrol() is that of the model


def test_the_insider_recognises_with_the_authorised_model(computed_of: ComputedOf) -> None:
    done = computed_of(suite('{ plugin = "family-insider", label = "insider" }'))
    insider = done.table("verification of negative by insider with toy-b on toy-faces", "verification")
    service = computed_of(
        suite('{ plugin = "family-insider", label = "insider" }'), 'experiment[0].evaluated=["toy-a"]'
    )
    own = service.table("verification of negative by toy-a on toy-faces", "verification")
    for column in ("cos_self", "cos_cross", "cos_clean", "kappa_calibrated"):
        np.testing.assert_allclose(insider[column], own[column], atol=1e-6)


def test_an_adversary_that_recognises_is_no_authorised_service(families_run: Any) -> None:
    """Its accuracy is leakage, whatever model it adapts, and that of an insider is no leakage to others."""
    from bench.analysis.rows import Matrix
    from bench.analysis.tables.questions import asked
    from bench.analysis.tables.row_layout import sides_of
    from bench.analysis.tables.summary import summaries

    attacks = (
        '{ plugin = "family-averages", many = 2, label = "averages" }, { plugin = "family-insider", label = "insider" }'
    )
    rows = families_run(suite(attacks, "toy-step"), 'experiment[0].evaluated=["toy-a", "toy-b"]')
    (plain,), (averaged,) = (summaries(rows, Matrix("one", attack)) for attack in ("abuse", "averages"))
    assert plain.kept.status == "ok"
    assert plain.verdicts
    assert averaged.kept.status == "not applicable"
    assert averaged.verdicts == []
    assert averaged.leaked.n == 80  # the pairs of both evaluated models
    sides = sides_of(rows.cells)
    questions = {(c.attack, c.evaluated): [q for q in ("utility", "leakage") if asked(q, c, sides)] for c in rows.cells}
    assert questions["abuse", "toy-a"] == ["utility"]
    assert questions["abuse", "toy-b"] == questions["averages", "toy-b"] == ["leakage"]
    assert questions["averages", "toy-a"] == questions["insider", "toy-a"] == questions["insider", "toy-b"] == []


# ---- attributes ------------------------------------------------------------------------------------------------------

DESCRIBES = (
    '{ plugin = "family-attributes", attribute = "colour", names = ["red", "green", "blue"], cells = 4, '
    'learns = "LEARNS", label = "learnt" }'
)


def ridge(images: Any, labels: Any) -> Any:
    """Return the weights of the attack, computed with numpy."""
    x = np.array(images, np.float64).reshape(len(images), 3, 4, 8, 4, 8).mean((3, 5)).reshape(len(images), -1) / 255
    x = np.column_stack([x, np.ones(len(x))])
    y = (np.array(labels)[:, None] == np.array(["red", "green", "blue"])).astype(float)
    return np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y)


@pytest.mark.parametrize("learns", ["clean", "defense"])
def test_an_attribute_attack_learns_from_uploads_and_their_labels(computed_of: ComputedOf, learns: str) -> None:
    done = computed_of(suite(DESCRIBES.replace("LEARNS", learns)))
    source = "auxiliary faces of toy-faces, at most 400" + (" protected by negative" if learns == "defense" else "")
    labels = done.artifact("auxiliary faces of toy-faces, at most 400").tables["faces"]["attribute_colour"].to_pylist()
    weights = done.artifact(f"learnt learning from {source}").tensors["weights"]
    source = source.replace("at most 400 protected", "at most 100 protected")  # There are fewer faces than that.
    np.testing.assert_allclose(weights, ridge(done.artifact(source).tensors["images"], labels), atol=2e-3)
    found = done.artifact("estimates by learnt of toy-faces protected by negative").tensors["colour"]
    assert found.shape == (20, 3)
    rows = done.table("learnt of toy-faces protected by negative", "attributes")
    assert set(rows["predicted"]) <= {"red", "green", "blue"}
    assert set(rows["reference"]) == {"label"}
    right = np.eye(3)[rows["subject"] % 3]
    np.testing.assert_allclose(rows["value"], (unit(found) * right).sum(1), atol=1e-6)
    other = rows["subject"][:, None] != rows["subject"][None, :]
    scores = right @ unit(found).T
    np.testing.assert_allclose(rows["permuted"], (scores * other).sum(1) / other.sum(1), atol=1e-6)
    assert rows["original"].tolist() == rows["truth"].tolist()
    assert rows["truth"].tolist() == [("red", "green", "blue")[s % 3] for s in rows["subject"]]


DCT = """\
[suite]
name = "probe"
seed = 5

[[experiment]]
name = "one"
datasets = [{ plugin = "synth-lfw", auxiliary_identities = 40, calibration_identities = 20 }]
authorised = ["zoo-mobileface"]
evaluated = ["zoo-mobileface"]
defenses = ["family-block-dct"]
attacks = [{ plugin = "family-probe", faces = 40, label = "probe", ATTRIBUTE }]
pairs = 20
"""


def test_a_probe_reads_an_attribute_of_a_representation(computed_of: ComputedOf) -> None:
    """Originals have no representation, so estimates are compared with labels; chance is that of permuted people."""
    done = computed_of(DCT.replace("ATTRIBUTE", 'attribute = "gender"'))
    (cell,) = done.plan.cells
    assert (cell.skip, cell.upload, cell.outputs) == (None, "a representation", "attributes")
    score = done.plan.stages[cell.stages[0]]
    assert {"original", "constant"}.isdisjoint(score.inputs)
    sent = done.cache.read(done.plan.stages[score.inputs["received"]].inputs["images"])
    (coefficients,) = (np.array(t, np.float64) for name, t in sent.tensors.items() if name.endswith("coefficients"))
    weights = done.cache.read(done.plan.stages[score.inputs["received"]].inputs["state"]).tensors["weights"]
    logits = np.column_stack([coefficients.reshape(len(coefficients), -1), np.ones(len(coefficients))]) @ weights * 10
    answers = np.exp(logits - logits.max(1, keepdims=True))
    rows = done.table(score.name, "attributes")
    assert len(rows["value"]) == len(answers) == len(sent.tables["samples"])
    assert set(rows["reference"]) == {"label"}
    assert set(rows["truth"]) == {"woman", "man"}
    right = np.array([[t == "woman", t == "man"] for t in rows["truth"]], float)
    np.testing.assert_allclose(rows["value"], (unit(answers) * right).sum(1), atol=1e-5)
    other = rows["subject"][:, None] != rows["subject"][None, :]
    np.testing.assert_allclose(rows["permuted"], ((right @ unit(answers).T) * other).sum(1) / other.sum(1), atol=1e-5)


def test_an_attribute_of_a_representation_needs_labels(plan_of: PlanOf, tmp_path: Any) -> None:
    from bench.store.artifacts import Cache

    text = DCT.replace("ATTRIBUTE", 'seen = ["representation"], gives = "attributes"')
    text = text.replace('"family-probe", faces = 40, label', '"estimates", label')
    failures = Computed(plan_of(text), Cache(tmp_path / "cache")).failures()
    expected = "attack probe estimates colour of a representation, which originals do not have, and the faces have"
    assert any(expected in failure and "age, emotion, gender, group" in failure for failure in failures), failures


def test_classes_that_are_no_labels_are_named(plan_of: PlanOf, tmp_path: Any) -> None:
    from bench.store.artifacts import Cache

    wrong = DESCRIBES.replace("LEARNS", "clean").replace('"red", "green", "blue"', '"Red", "Green"')
    failures = Computed(plan_of(suite(wrong)), Cache(tmp_path / "cache")).failures()
    expected = (
        "attack learnt: attribute 'colour': classes() names Red, Green, and the labels of the faces are blue, green"
    )
    assert any(expected in text for text in failures), failures


def test_labels_are_vectors_or_numbers_like_the_estimates() -> None:
    from bench.stages.attribute_scores import label_values

    labels = np.array(["b", "a", "c", "None"])
    found = label_values(labels, ("a", "b"), np.zeros((9, 3)))
    np.testing.assert_array_equal(found, [[0, 1, 0], [1, 0, 0], [np.nan] * 3, [np.nan] * 3])
    np.testing.assert_array_equal(label_values(np.array([20, 31]), (), np.zeros(9)), [20.0, 31.0])
    np.testing.assert_array_equal(label_values(labels, (), np.zeros(9)), [np.nan] * 4)


# ---- links -----------------------------------------------------------------------------------------------------------

LINKS = '{ plugin = "family-linkage", faces = 40, label = "linkage" }'


def test_links_are_scored_pair_by_pair_of_two_uploads(computed_of: ComputedOf) -> None:
    """Scores, AUC and thresholds are computed again from the uploads, with loops in place of sorted arrays."""
    done = computed_of(suite(LINKS, '{ plugin = "noisy", sigma = 0.1 }'))
    (score,) = [s for s in done.plan.stages.values() if s.options.get("metric") == "links"]
    rows = {name: np.array(column) for name, column in done.cache.read(score.key).tables["links"].to_pydict().items()}
    link = done.plan.stages[score.inputs["links"]]
    pairs = done.artifact(FACES).tables["pairs"]
    left, right, same = (pairs[name].to_numpy() for name in ("left", "right", "same"))
    state = done.cache.read(link.inputs["state"]).tensors
    whitened = []
    for role, rows_of in (("first", left), ("second", right)):
        held = done.cache.read(link.inputs[role])
        place = {face: i for i, face in enumerate(held.tables["samples"]["face"].to_pylist())}
        assert set(place) == set(rows_of.tolist())
        with torch.no_grad():
            found = network("toy-b")(as_float(held.tensors["images"])).double().numpy()
        whitened.append(unit((found - state["mean"]) @ state["whitening"])[[place[face] for face in rows_of]])
    expected = (whitened[0] * whitened[1]).sum(1)
    np.testing.assert_allclose(rows["score"], expected, atol=1e-6)
    impostor = rows["score"][~same]
    aucs = [np.mean((impostor < s) + 0.5 * (impostor == s)) for s in rows["score"][same]]
    np.testing.assert_allclose(rows["auc"][same].astype(float), aucs)
    assert all(value is None for value in rows["auc"][~same])
    assert np.mean(aucs) > 0.9
    permuted = rows["permuted"].astype(float)
    assert 0.2 < np.mean([np.mean(impostor < s) for s in permuted[same]]) < 0.8
    everybody = len(impostor) + len(same)  # impostor pairs, and permuted pairs
    assert set(rows["kappa_impostors"]) <= set(range(everybody // 2, everybody))


def test_attacks_that_link_have_their_metrics_and_table(families_run: Any) -> None:
    from bench.analysis.link_chance import chance_pairs
    from bench.analysis.measures import measure
    from bench.analysis.tables import build

    rows = families_run(suite(LINKS, '{ plugin = "noisy", sigma = 0.1 }'))
    cells = [c for c in rows.cells if c.outputs == "links"]
    table = rows.links_of(cells[0])
    genuine = table[table["same"]]
    assert measure(rows, cells, "link-auc").value == pytest.approx(genuine["auc"].mean())
    match = measure(rows, cells, "link-match")
    assert match.value == pytest.approx((genuine["score"] > genuine["kappa"]).mean())
    assert match.n == len(genuine) == 20
    chance = measure(rows, cells, "link-match-chance")
    alike = chance_pairs(rows, cells[0], table)
    assert (alike.column, bool(alike.groups)) == ("alike", True)
    own = table[alike.pairs]  # Of all pairs: none of them shows one person.
    assert (own["alike_subject"] != own["left_subject"]).all()
    assert chance.value == pytest.approx((own["alike"] > own["kappa"]).mean())
    assert chance.n == len(own) > match.n
    (found,) = build(rows, "linkage")
    (row,) = found.groups[0].rows
    assert row.label == "noisy, linkage with toy-b"
    assert [m.value for m in row.measurements][2] == match.value


# ---- several uploads, queries ----------------------------------------------------------------------------------------

AVERAGES = '{ plugin = "family-averages", many = 4, label = "averages" }'


def test_uploads_of_one_photo_differ_by_the_randomness_of_the_defense(computed_of: ComputedOf) -> None:
    done = computed_of(suite(AVERAGES, '{ plugin = "noisy", sigma = 0.3 }'))
    sent = [
        done.artifact(f"toy-faces protected by noisy{more}") for more in ("", *(f", upload {j}" for j in (1, 2, 3)))
    ]
    pictures = [np.array(a.tensors["images"], np.float64) for a in sent]
    assert len({p.tobytes() for p in pictures}) == 4
    cells = {c.attack.label: (c.knowledge, c.budget) for c in done.plan.cells}
    assert cells == {"abuse": (0, None), "averages": (1, '{"uploads": 4}')}
    with torch.no_grad():
        mean = torch.stack([as_float(a.tensors["images"]) for a in sent]).mean(0)
        expected = unit(network("toy-b")(mean))
    found = done.artifact("embeddings of toy-faces protected by noisy by averages with toy-b").tensors["plain"]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    averaged, once = (
        done.table(f"verification of noisy by {by} on toy-faces", "verification")["cos_self"].mean()
        for by in ("averages with toy-b", "toy-b")
    )
    assert averaged > once


def test_equal_uploads_of_one_photo_are_noted(computed_of: ComputedOf) -> None:
    with pytest.warns(UserWarning, match="averages receives 4 uploads of each photo, and all are equal"):
        done = computed_of(suite(AVERAGES))
    averaged = done.table("verification of negative by averages with toy-b on toy-faces", "verification")
    once = done.table("verification of negative by toy-b on toy-faces", "verification")
    np.testing.assert_allclose(averaged["cos_self"], once["cos_self"], atol=1e-6)


def test_several_photos_of_a_person_need_further_pictures(plan_of: PlanOf) -> None:
    plan = plan_of(suite(AVERAGES.replace("label", 'of = "person", label')))
    (reason,) = [c.skip for c in plan.cells if c.attack.label == "averages"]
    assert reason is not None
    assert "receives 4 uploads of each person, and toy-faces has 0 further pictures of each" in reason


def test_several_photos_of_a_person_are_received_together(computed_of: ComputedOf) -> None:
    from bench_toy.faces import ToyFaces, faces

    def further(self: Any, pairs: int, ctx: Any) -> Any:
        people = sorted({2 * group + other for group in range((pairs + 1) // 2) for other in (0, 1)})
        return faces([(person, shot) for person in people for shot in (5, 6)], self.seed, "further")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ToyFaces, "further_pictures", lambda self, pairs: 2)
        patch.setattr(ToyFaces, "further", further)
        done = computed_of(suite('{ plugin = "family-averages", many = 3, of = "person", label = "averages" }'))
    shown = done.artifact("toy-faces protected by negative")
    more = done.artifact("further faces of toy-faces protected by negative")
    people = done.artifact("further faces of toy-faces").tables["faces"]["subject"].to_numpy()
    scored = done.artifact(FACES).tables["faces"]["subject"].to_numpy()[shown.tables["samples"]["face"].to_numpy()]
    means = []
    for picture, person in zip(shown.tensors["images"], scored, strict=True):
        own = [picture, *np.array(more.tensors["images"])[people == person]]
        assert len(own) == 3
        means.append(as_float(np.array(own)).mean(0))
    with torch.no_grad():
        expected = unit(network("toy-b")(torch.stack(means)))
    found = done.artifact("embeddings of toy-faces protected by negative by averages with toy-b").tensors["plain"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


QUERIES = '{ plugin = "family-queries", queries = MOST, label = "asks" }'


def test_an_attack_has_pictures_of_its_choice_protected(computed_of: ComputedOf) -> None:
    done = computed_of(suite(QUERIES.replace("MOST", "8")))
    state = done.artifact("asks learning from auxiliary faces of toy-faces").tensors["weights"]
    undone = np.zeros((4, 3))
    undone[[2, 1, 0], [0, 1, 2]], undone[3] = -1, 1
    np.testing.assert_allclose(state, undone, atol=1e-4)
    (fit,) = [s for s in done.plan.stages.values() if s.kind == "fit_attack"]
    assert fit.options["queries"] == 8
    assert [c.label for c in fit.components["defense"]] == ["negative"]


def test_more_queries_than_the_budget_are_an_error_in_words(plan_of: PlanOf, tmp_path: Any) -> None:
    from bench_families.queries_defense import QueriesDefense

    from bench.store.artifacts import Cache

    plan = plan_of(suite(QUERIES.replace("MOST", "8")))
    with pytest.MonkeyPatch.context() as patch:
        fit = QueriesDefense.fit
        patch.setattr(QueriesDefense, "fit", lambda *args: (fit(*args), fit(*args)))
        done = Computed(plan, Cache(tmp_path / "cache"))
    assert any(
        "CapabilityError: attack asks requested 16 protected images; its budget() names 8 queries" in text
        for text in done.failures()
    )


def test_what_an_attack_does_not_declare_is_an_error_in_words(plan_of: PlanOf, tmp_path: Any) -> None:
    from bench_families.queries_defense import QueriesDefense

    from bench.store.artifacts import Cache

    def failure(fit: Any, **more: Any) -> str:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"fit": fit, **more}.items():
                patch.setattr(QueriesDefense, name, value, raising=False)
            found = Computed(plan_of(suite(QUERIES.replace("MOST", "8"))), Cache(tmp_path / fit.__name__)).failures()
        return found[0]

    def asks_for_an_upload(self: Any, examples: Any, ctx: Any) -> Any:
        return examples.received(np.arange(2), upload=1)

    def asks_for_people(self: Any, examples: Any, ctx: Any) -> Any:
        return examples.subjects

    def asks_for_the_model(self: Any, examples: Any, ctx: Any) -> Any:
        return ctx.network("toy-a")

    def asks_for_the_evaluated(self: Any, examples: Any, ctx: Any) -> Any:
        return ctx.evaluated()

    assert "requested received(rows, upload=1); it declares uploads = 1, numbered from 0" in failure(asks_for_an_upload)
    learns = {"outputs": "recognition", "embed": lambda *args: None}
    people = failure(asks_for_people, **learns)
    assert "attack asks requested examples.subjects; declare 'labels' in its sees" in people
    assert "'full_gradients', which it does not declare; declare 'full_model' in its sees" in failure(
        asks_for_the_model
    )
    assert "requested the evaluated network; expected an attack whose outputs" in failure(asks_for_the_evaluated)


def test_learnt_estimates_take_part_in_equation_9(computed_of: ComputedOf) -> None:
    """Without noise, its distances are those of the estimates on the upload and on the original."""
    text = suite(DESCRIBES.replace("LEARNS", "defense")) + "noise_levels = [0.0, 0.1]\n"
    done = computed_of(text)
    up = done.table("learnt and recognition of toy-faces protected by negative under noise, by toy-b", "up")
    of = {
        name: done.artifact(f"estimates by learnt of {name}").tensors["colour"]
        for name in (FACES, "toy-faces protected by negative")
    }
    left = np.unique(done.artifact(FACES).tables["pairs"]["left"].to_numpy())
    expected = 1 - (unit(of["toy-faces protected by negative"]) * unit(of[FACES])[left]).sum(1)
    np.testing.assert_allclose(up["dist_colour"][up["sigma"] == 0], expected, atol=1e-5)
