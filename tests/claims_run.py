"""Writes a run folder with rows chosen by a test, against which claims are checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.store.reading import RunResults
from bench.store.schema import SCHEMA_VERSION
from bench.store.writing import SampleWriter

KAPPA = 0.5


@dataclass
class Answer:
    """A cell and its scores, one entry per sample; each sample shows the person with the number of the sample.

    ``hits`` are decisions of verification, ``ssim`` belongs to images, ``years`` to the attribute age, and ``up`` to
    Equation 9: at each noise level the cosines and the distances.
    """

    defense: str
    dataset: str = "set-a"
    authorised: str = ""
    evaluated: str = "net-a"
    attack: str = "abuse"
    role: str = "any"
    experiment: str = "one"
    status: str = "ok"
    reason: str | None = None
    goal: str = "recognition"
    hits: Sequence[bool] = ()
    ssim: Sequence[float] = ()
    years: Sequence[float] = ()
    up: Mapping[float, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)

    @property
    def cell(self) -> str:
        """The id of the cell."""
        parts = (self.experiment, self.dataset, self.defense, self.authorised, self.attack, self.evaluated)
        return "/".join(parts)

    @property
    def row(self) -> dict[str, Any]:
        """The row of ``cells.parquet``."""
        kinds = (("defense", self.defense), ("attack", self.attack))
        parts = [
            {"role": kind, "kind": kind, "name": name.lower(), "label": name, "params": {}} for kind, name in kinds
        ]
        copied = ("cell", "experiment", "dataset", "defense", "attack", "evaluated", "role", "status", "goal")
        return {
            **{name: getattr(self, name) for name in copied},
            "authorised": [self.authorised] if self.authorised else [],
            "authorised_stand_in_for": [""] if self.authorised else [],
            "reason": self.reason,
            "outputs": "attributes" if self.up or self.years else "recognition",
            "upload": "images",
            "via": None,
            "leaky": False,
            "learner_overlap": None,
            "training_overlap": None,
            "synthetic": True,
            "repeat": 0,
            "pairs": len(self.hits) or 4,
            "kappa": KAPPA,
            "components": json.dumps(parts),
        }

    def samples(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of the sample tables."""
        names = ("cell", "experiment", "dataset", "defense", "authorised", "evaluated", "attack")
        where = {name: getattr(self, name) for name in names} | {"synthetic": True, "repeat": 0, "via": ""}

        def of(number: int) -> dict[str, Any]:
            return {**where, "sample_id": f"{self.dataset}-{number}", "subject": number}

        return {
            "verification": [where | _pair(number, hit) for number, hit in enumerate(self.hits)],
            "images": [{**of(i), "attack": "", "ssim": value} for i, value in enumerate(self.ssim)],
            "attributes": [
                {**of(i), "attribute": "age", "measure": "years", "value": value, "permuted": 10.0, "baseline": 9.0}
                for i, value in enumerate(self.years)
            ],
            "up": [
                {**of(i), "sigma": sigma, "cosine": cosine, "dist": dist, "lpips": None}
                for sigma, (cosines, distances) in self.up.items()
                for i, (cosine, dist) in enumerate(zip(cosines, distances, strict=True))
            ],
        }


def _pair(number: int, hit: bool) -> dict[str, Any]:
    """Return the row of a genuine pair that is recognised or not."""
    score = 0.9 if hit else 0.1
    return {
        "pair": number,
        "left_id": f"{number}-l",
        "right_id": f"{number}-r",
        "left_subject": number,
        "right_subject": number,
        "same": True,
        "fold": number % 10,
        **dict.fromkeys(("cos_self", "cos_cross", "flip_cross"), score),
        **dict.fromkeys(("cos_clean", "flip_clean"), 0.9),
        "kappa_calibrated": KAPPA,
        "fmr": 0.01,
        "calibration_impostors": 1000,
        "rank": 1 if hit else 2,
        "rank_enrolled": 1 if hit else 2,
        "gallery": 4,
        "calibration_people": 50,
        "threshold_rule": "fmr",
        "fmr_realised": 0.01,
        "kappa_adversary": KAPPA,
        "adversary_impostors": 12,
        "adversary_people": 4,
        **dict.fromkeys(("impostor_match_adversary", "impostor_match_enrolled", "impostor_match"), 0.0),
        **dict.fromkeys(("rank_chance", "rank_enrolled_chance"), 0.25),
    }


def write_run(folder: Path, answers: Sequence[Answer], claims: Sequence[Mapping[str, Any]] = ()) -> RunResults:
    """Write a run folder whose suite has these claims, and open it."""
    with SampleWriter(folder) as samples:
        for experiment in dict.fromkeys(a.experiment for a in answers):
            own = [(a, a.samples()) for a in answers if a.experiment == experiment]
            images = {(a.dataset, a.defense, a.authorised): tables["images"] for a, tables in reversed(own) if a.ssim}
            for name in ("verification", "images", "attributes", "up"):
                found = images.values() if name == "images" else [tables[name] for _, tables in own]
                if rows := [row for table in found for row in table]:
                    samples.add(name, experiment, pa.Table.from_pylist(rows))
    pq.write_table(pa.Table.from_pylist([a.row for a in answers]), folder / "cells.parquet")
    run = {"schema": SCHEMA_VERSION, "suite": {"name": "mine", "raw": {"claims": list(claims)}, "experiments": []}}
    (folder / "run.json").write_text(json.dumps(run))
    return RunResults(folder)
