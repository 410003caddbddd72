"""Strangers: people of the calibration split who are protected like the scored people, so that an adversary sets his
threshold on impostors of the kind that he really sees: pictures of strangers, as he ends with them, against the gallery
that he searches.

The first picture of each takes the place of the left picture of a pair, and the second that of the right one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.core.errors import ContractError
from bench.stages.stage_inputs import Job, protected_rows, read_faces, read_pairs
from bench.store.artifacts import Artifact

Rows = NDArray[np.int64]
Probes = tuple[NDArray[Any], Rows]  # embeddings (n, d) and the people whom they show


def first_and_second(subjects: NDArray[np.int64]) -> tuple[Rows, Rows]:
    """Return the rows of the first and of the second picture of each person who has two, in the order of subjects."""
    order = np.argsort(subjects, kind="stable")
    _, start, counts = np.unique(subjects[order], return_index=True, return_counts=True)
    several = start[counts >= 2]
    return order[several], order[several + 1]


def faces_of_strangers(job: Job) -> Artifact:
    """Choose people of the calibration split, at even distances among those with two pictures; each forms a pair.

    Raise `ContractError` if there are fewer than two such people, or if the calibration split consists of pairs.
    """
    source = job.input("calibration_faces")
    faces = read_faces(source)
    first, second = first_and_second(faces.subjects)
    if "pairs" in source.tables or len(first) < 2:
        found = "pairs" if "pairs" in source.tables else f"{len(first)} people with two pictures"
        raise ContractError(
            f"{job.stage.name}: calibration() returned {found}, expected at least two people with two pictures each; "
            "correct calibration_people() of the data set, which must be 0 for pairs"
        )
    most = min(job.stage.options["people"], len(first))
    chosen = np.linspace(0, len(first) - 1, most).round().astype(np.int64)
    rows = np.stack([first[chosen], second[chosen]], axis=1).reshape(-1)
    left = 2 * np.arange(most)
    pairs = {"left": left, "right": left + 1, "same": np.ones(most, bool), "fold": np.zeros(most, np.int64)}
    return Artifact(
        tensors={"images": np.asarray(faces.images[rows])},
        tables={"faces": source.tables["faces"].take(pa.array(rows)), "pairs": pa.table(pairs)},
        facts={**source.facts, "split": job.stage.options["split"]},
    )


def sent_by_strangers(job: Job, side: str) -> Probes:
    """Return the embeddings of what the adversary ends with of strangers' pictures on the protected ``side`` of pairs,
    which for ``both`` is the left one, with the people whom they show."""
    source = job.input("strangers_faces")
    shown = protected_rows(read_pairs(source), "gallery" if side == "gallery" else "probe")
    return job.input("strangers").tensors["plain"], read_faces(source).subjects[shown]


def clean_strangers(job: Job) -> Probes:
    """Return the embeddings of the first clean pictures of all people of the calibration split, with the people."""
    people = read_faces(job.input("calibration_faces")).subjects
    first, _ = first_and_second(people)
    return job.input("calibration").tensors["plain"][first], people[first]
