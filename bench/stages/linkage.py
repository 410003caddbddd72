"""Linkage: an attack says of pairs of uploads whether they show one person."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.api.attack import Attack
from bench.stages import contracts
from bench.stages.partners import groups_of_faces, other_pairs
from bench.stages.repeatability import AMONG, checked_attack
from bench.stages.splits import check_learnt
from bench.stages.stage_inputs import (
    Job,
    StoredFaces,
    Uploads,
    attack_capabilities,
    build,
    read_faces,
    read_pairs,
    read_state,
    victim_of,
)
from bench.stages.undeclared import observed
from bench.store.artifacts import Artifact


def link_uploads(job: Job) -> Artifact:
    """Let an attack score pairs of two uploads.

    These are the pairs of the faces, and each first upload with the second one of another pair, which shows somebody
    else: of anybody (``permuted``), and, where groups of people are known, of those who share most of them (``alike``).
    With the option ``impostors``, so many first uploads of people of the calibration split are compared with the
    second ones instead.
    """
    check_learnt(job)
    faces, pairs = read_faces(job.input("faces")), read_pairs(job.input("faces"))
    linker = _Linker(job, faces)
    if "impostors" in job.stage.options:
        return _link_strangers(job, linker, np.unique(pairs.right))
    order = np.random.default_rng(job.stage.seed).permutation(len(pairs.left))
    people, groups = (faces.subjects[pairs.left], faces.subjects[pairs.right]), groups_of_faces(faces)
    partners = {"permuted": other_pairs(*people, order), "alike": np.full(len(order), -1, np.int64)}
    if groups.shape[1]:
        partners["alike"] = other_pairs(*people, order, (groups[pairs.left], groups[pairs.right]))
    found: list[NDArray[Any]] = []
    beside = {name: np.full(len(order), np.nan) for name in partners}
    with observed(job.component("attack"), linker.attack, job.cache.root):
        for part in job.batches(len(pairs.left)):
            found.append(linker.scores(pairs.left[part], pairs.right[part]))
            for name, partner in partners.items():
                if len(rows := np.arange(len(order))[part][partner[part] >= 0]):
                    beside[name][rows] = linker.scores(pairs.left[rows], pairs.right[partner[rows]])
        score = np.concatenate(found)
        again = checked_attack(
            job, {"score": score[:AMONG]}, lambda rows: {"score": linker.scores(pairs.left[rows], pairs.right[rows])}
        )
    columns = {"score": score, **beside, "partner": partners["permuted"], "alike_partner": partners["alike"]}
    return Artifact(tables={"scores": pa.table(columns)}, facts=again)


def _link_strangers(job: Job, linker: _Linker, second: NDArray[np.int64]) -> Artifact:
    """Score the uploads of strangers with some of the ``second`` uploads each, so that all occur equally often."""
    check_learnt(job, "strangers_faces")
    first = linker.first.faces
    each = min(len(second), -(-job.stage.options["impostors"] // len(first)))
    left = np.repeat(first, each)
    right = second[np.arange(len(left)) % len(second)]
    found = []
    with observed(job.component("attack"), linker.attack, job.cache.root):
        for part in job.batches(len(left)):
            found.append(linker.scores(left[part], right[part]))
    return Artifact(tables={"scores": pa.table({"score": np.concatenate(found), "stranger": left, "partner": right})})


class _Linker:
    """The attack of a stage, which scores two uploads of faces."""

    def __init__(self, job: Job, faces: StoredFaces) -> None:
        component = job.component("attack")
        self.job = job
        self.attack: Attack = build(component)
        self.plugin = f"attack {component.label}"
        strangers = "strangers_faces" in job.stage.inputs
        self.first_ids = read_faces(job.input("strangers_faces")).sample_ids if strangers else faces.sample_ids
        self.second_ids = faces.sample_ids
        self.first, self.second = _Sent(job, "first"), _Sent(job, "second")
        self.capabilities, self.state = attack_capabilities(job, self.attack, faces.images), read_state(job)

    def scores(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[Any]:
        """Return the link scores of the first uploads of some faces and the second uploads of others."""
        names = [f"{self.first_ids[a]}/{self.second_ids[b]}" for a, b in zip(left, right, strict=True)]
        ctx = self.job.context(self.plugin, self.capabilities, state=self.state, sample_ids=names)
        return contracts.link_checked(self.attack, self.first.received(left), self.second.received(right), ctx)


class _Sent:
    """The uploads of one side of the pairs, by the rows of the faces that they show."""

    def __init__(self, job: Job, role: str) -> None:
        held = job.input(role)
        self.with_images = not job.stage.options["uploaded"]
        self.uploads = Uploads(job, held, victim_of(job), job.stage.options["splits"])
        self.faces = held.tables["samples"]["face"].to_numpy()

    def received(self, rows: NDArray[np.int64]) -> Any:
        """Return the uploads of these faces."""
        return self.uploads.received(np.searchsorted(self.faces, rows), images=self.with_images)
