"""Strangers: people of the calibration split who are protected like the scored people, so that an adversary sets his
threshold on impostors of the kind that he really sees.

The first picture of each takes the place of the left picture of a pair, and the second that of the right one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.core.errors import ContractError
from bench.metrics.impostors import ImpostorThreshold, impostor_threshold
from bench.stages.stage_inputs import Job, protected_rows, read_faces, read_pairs
from bench.store.artifacts import Artifact

Rows = NDArray[np.int64]


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


def thresholds_on_strangers(job: Job, side: str) -> tuple[ImpostorThreshold, ImpostorThreshold]:
    """Return the thresholds that an adversary sets on strangers: against their originals, and against pictures as they
    are enrolled.

    What is protected, on one ``side`` of pairs or on ``both``, is that of the strangers; clean pictures are those of
    all people of the calibration split with two pictures. The recogniser of a defense embeds protected pictures only,
    so the calibration split is protected for it too.
    """
    source, fmr = job.input("strangers_faces"), float(job.stage.options["fmr"])
    people, pairs = read_faces(source).subjects, read_pairs(source)
    chosen = protected_rows(pairs, side)
    found = job.input("strangers").tensors["plain"]
    protected = np.zeros((len(people), found.shape[1]), found.dtype)
    protected[chosen] = found
    clean, whom = job.input("calibration").tensors["plain"], read_faces(job.input("calibration_faces")).subjects
    first, second = first_and_second(whom)

    def against(probes: tuple[Any, Rows], shown: tuple[Any, Rows]) -> ImpostorThreshold:
        return impostor_threshold(probes[0], shown[0], probes[1], shown[1], fmr)

    def of_strangers(rows: Rows) -> tuple[Any, Rows]:
        return protected[rows], people[rows]

    def originals(rows: Rows) -> tuple[Any, Rows]:
        return clean[rows], whom[rows]

    alike = {"probe": first, "gallery": second, "both": np.concatenate([first, second])}[side]
    sent = originals(first) if side == "gallery" else of_strangers(pairs.left)
    enrolled = originals(second) if side == "probe" else of_strangers(pairs.right)
    return against(of_strangers(chosen), originals(alike)), against(sent, enrolled)
