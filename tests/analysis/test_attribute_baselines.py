"""Simulations: the permutation of answers over people shows what the constant answer hides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_run import ESTIMATE, FakeRun, rewritten, write_fake_run

from bench.analysis.measures import measure, select
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement
from bench.metrics import attributes

ONE: dict[str, Any] = {
    "models": {"net-a": "MobileFace"},
    "datasets": {"synth-lfw": "LFW"},
    "authorised": (("net-a",),),
}
PEOPLE = 400
FAMILIES = ("similarity", "permuted", "baseline")


def simulated(tmp_path: Path, depends: float, seed: int = 0) -> dict[str, dict[str, Measurement]]:
    """Return the measurements of gender and age, where a share ``depends`` of the answers is that on the original."""
    rng = np.random.default_rng(seed)
    women = rng.random(PEOPLE + 200) < 0.75
    genders = np.stack([np.where(women, 0.9, 0.1), np.where(women, 0.1, 0.9)], axis=1)
    guesses = rng.dirichlet((0.3, 0.3), PEOPLE)
    ages, guessed = rng.normal(40, 8, PEOPLE + 200), rng.normal(40, 20, PEOPLE)
    seen = rng.random(PEOPLE) < depends
    known, others = (
        {"gender": genders[:PEOPLE], "age": ages[:PEOPLE]},
        {"gender": genders[PEOPLE:], "age": ages[PEOPLE:]},
    )
    found = {
        "gender": np.where(seen[:, None], known["gender"], guesses),
        "age": np.where(seen, known["age"], guessed),
    }
    metric = {"gender": attributes.attribute_similarity, "age": attributes.age_difference}

    def change(table: pd.DataFrame) -> None:
        for name in found:
            rows = (table["defense"] == "PMT") & (table["attribute"] == name)
            table.loc[rows, "value"] = metric[name](found[name], known[name])
            table.loc[rows, "permuted"] = attributes.permuted_baseline(found[name], known[name], np.arange(PEOPLE))
            table.loc[rows, "baseline"] = attributes.constant_baseline(known[name], others[name])

    spec = FakeRun(attacks=(ESTIMATE,), **ONE, pairs=PEOPLE)
    rows = Rows(rewritten(write_fake_run(tmp_path / f"run{seed}", spec), attributes=change))
    cells = select(rows, defense="PMT")
    return {name: {family: measure(rows, cells, f"{family}:{name}") for family in FAMILIES} for name in found}


def values(of: dict[str, Measurement]) -> tuple[float, float, float]:
    found = [of[family].value for family in FAMILIES]
    assert None not in found
    return found[0], found[1], found[2]  # type: ignore[return-value]


def test_weak_dependence_lies_below_the_constant_answer_and_beyond_the_permutation(tmp_path: Path) -> None:
    found = simulated(tmp_path, depends=0.3)
    value, permuted, constant = values(found["gender"])
    assert permuted + 0.02 < value < constant - 0.02
    assert (found["gender"]["similarity"].low or 0) > permuted
    value, permuted, constant = values(found["age"])
    assert constant + 1 < value < permuted - 1  # A difference of ages is higher where less is known.
    assert (found["age"]["similarity"].high or 99) < permuted


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_answers_that_do_not_depend_on_the_face_are_at_the_permutation(tmp_path: Path, seed: int) -> None:
    found = simulated(tmp_path, depends=0.0, seed=seed)
    for name in found:
        of = found[name]["similarity"]
        assert of.low is not None
        assert of.high is not None
        assert of.low < values(found[name])[1] < of.high


def test_the_permutation_has_no_bias() -> None:
    """Over many draws of answers that do not depend on the face, the mean distance from the permutation is 0."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(30), 2)  # two pictures of each person
    distances = []
    for _ in range(300):
        known, found = rng.dirichlet((0.5, 1), 30).repeat(2, axis=0), rng.dirichlet((2, 0.4), 60)
        value = attributes.attribute_similarity(found, known)
        distances.append(float((value - attributes.permuted_baseline(found, known, people)).mean()))
    assert abs(np.mean(distances)) < 3 * np.std(distances) / np.sqrt(len(distances))


def test_older_runs_say_why_they_have_no_permutation(tmp_path: Path) -> None:
    spec = FakeRun(attacks=(ESTIMATE,), **ONE, pairs=4)
    results = write_fake_run(tmp_path / "run", spec)
    rows = Rows(rewritten(results, attributes=lambda table: table.pop("permuted")))
    cells = select(rows, defense="PMT")
    found = measure(rows, cells, "permuted:gender")
    assert (found.value, found.status) == (None, "missing")
    assert "older than its permuted answers, which bench rescore adds" in str(found.reason)
    assert measure(rows, cells, "baseline:gender").value == 0.45
