"""Simulations: the permutation of answers over people shows what the constant answer hides."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_run import ESTIMATE, FakeRun, rewritten, write_fake_run

from bench.analysis.measures import measure, select
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement
from bench.analysis.tables.attributes import _attackers
from bench.metrics import attributes

ONE: dict[str, Any] = {
    "models": {"net-a": "MobileFace"},
    "datasets": {"synth-lfw": "LFW"},
    "authorised": (("net-a",),),
}
PEOPLE = 400
FAMILIES = ("similarity", "permuted", "baseline", "excess")


def simulated(tmp_path: Path, *depends: float) -> list[dict[str, dict[str, Measurement]]]:
    """Return the measurements of gender and age for one defense per entry of ``depends``: the share of answers that are
    those on the original."""
    rng = np.random.default_rng(0)
    metric = {"gender": attributes.attribute_similarity, "age": attributes.age_difference}
    labels = [f"defense {i}" for i in range(len(depends))]

    def change(table: pd.DataFrame) -> None:
        for label, share in zip(labels, depends, strict=True):
            women = rng.random(PEOPLE + 200) < 0.75
            genders = np.stack([np.where(women, 0.9, 0.1), np.where(women, 0.1, 0.9)], axis=1)
            every = {"gender": genders, "age": rng.normal(40, 8, PEOPLE + 200)}
            seen = rng.random(PEOPLE) < share
            guesses = {"gender": rng.dirichlet((0.3, 0.3), PEOPLE), "age": rng.normal(40, 20, PEOPLE)}
            for name, values in every.items():
                known, others = values[:PEOPLE], values[PEOPLE:]
                found = np.where(seen[:, None] if name == "gender" else seen, known, guesses[name])
                own = (table["defense"] == label) & (table["attribute"] == name)
                table.loc[own, "value"] = metric[name](found, known)
                table.loc[own, "permuted"] = attributes.permuted_baseline(found, known, np.arange(PEOPLE))
                table.loc[own, "baseline"] = attributes.constant_baseline(known, others)

    spec = FakeRun(attacks=(ESTIMATE,), **ONE, pairs=PEOPLE, defenses=[(label, "pmt", True) for label in labels])
    rows = Rows(rewritten(write_fake_run(tmp_path / "run", spec), attributes=change))
    return [
        {
            name: {f: measure(rows, select(rows, defense=label), f"{f}:{name}") for f in FAMILIES}
            for name in ("gender", "age")
        }
        for label in labels
    ]


def values(of: dict[str, Measurement]) -> tuple[float, float, float, float, float]:
    """Return the value, the two baselines, and the interval of the excess."""
    found = [of[family].value for family in FAMILIES[:3]]
    ends = [of["excess"].low, of["excess"].high]
    assert None not in found + ends
    return tuple(found + ends)  # type: ignore[return-value]


def test_weak_dependence_lies_below_the_constant_answer_and_beyond_the_permutation(tmp_path: Path) -> None:
    (found,) = simulated(tmp_path, 0.2)
    value, permuted, constant, low, _ = values(found["gender"])
    assert permuted + 0.02 < value < constant - 0.02
    assert low > 0
    value, permuted, constant, _, high = values(found["age"])
    assert constant + 1 < value < permuted - 1  # A difference of ages is higher where less is known.
    assert high < 0
    assert found["age"]["excess"].value == pytest.approx(value - permuted)


def test_answers_that_do_not_depend_on_the_face_are_at_the_permutation(tmp_path: Path) -> None:
    runs = simulated(tmp_path, *[0.0] * 40)
    alarms = [low > 0 for *_, low, _ in (values(found["gender"]) for found in runs)]
    alarms += [high < 0 for *_, high in (values(found["age"]) for found in runs)]
    assert sum(alarms) <= 6  # of 80, at 2.5 % each: more happen once in 70 times
    for name, margin in (("gender", 0.01), ("age", 0.5)):
        excess = [found[name]["excess"].value or 0 for found in runs]
        assert abs(np.mean(excess)) < margin


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


def test_an_attack_that_estimates_with_evaluated_models_has_a_row_for_each() -> None:
    declared = {"probe": ("images", "recogniser"), "estimator": ("images",), "unknown": None}

    def component(kind: str, label: str) -> Any:
        sees = declared[label]
        return SimpleNamespace(attack=None if sees is None else SimpleNamespace(sees=sees))

    rows: Any = SimpleNamespace(results=SimpleNamespace(run=SimpleNamespace(component=component)))
    cells: Any = [SimpleNamespace(attack=a, evaluated=m) for a in declared for m in ("net-a", "net-b")]
    found = [(attack, model, len(own)) for attack, model, own in _attackers(rows, cells)]
    assert found == [("probe", "net-a", 1), ("probe", "net-b", 1), ("estimator", "", 2), ("unknown", "", 2)]
