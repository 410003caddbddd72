"""Linkage: an attack says of pairs of uploads whether they show one person, and the score of what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.api.attack import Attack
from bench.metrics import impostors
from bench.metrics.linkage import other_pairs, pair_auc, thresholds_without
from bench.stages import contracts
from bench.stages.repeatability import AMONG, checked_attack
from bench.stages.splits import check_learnt
from bench.stages.stage_inputs import (
    Job,
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
    """Let an attack score each pair of two uploads, and each first upload with the second one of another pair, which
    shows somebody else."""
    component = job.component("attack")
    attack: Attack = build(component)
    check_learnt(job)
    faces, pairs = read_faces(job.input("faces")), read_pairs(job.input("faces"))
    order = np.random.default_rng(job.stage.seed).permutation(len(pairs.left))
    partner = other_pairs(faces.subjects[pairs.left], faces.subjects[pairs.right], order)
    first, second = _Sent(job, "first"), _Sent(job, "second")
    capabilities, state = attack_capabilities(job, attack, faces.images), read_state(job)
    ids, plugin = faces.sample_ids, f"attack {component.label}"

    def scores(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[Any]:
        names = [f"{ids[a]}/{ids[b]}" for a, b in zip(left, right, strict=True)]
        ctx = job.context(plugin, capabilities, state=state, sample_ids=names)
        return contracts.link_checked(attack, first.received(left), second.received(right), ctx)

    found, permuted = [], []
    with observed(component, attack, job.cache.root):
        for part in job.batches(len(pairs.left)):
            left, other = pairs.left[part], partner[part]
            found.append(scores(left, pairs.right[part]))
            beside = np.full(len(left), np.nan)
            if len(known := np.flatnonzero(other >= 0)):
                beside[known] = scores(left[known], pairs.right[other[known]])
            permuted.append(beside)
        score = np.concatenate(found)
        again = checked_attack(
            job, {"score": score[:AMONG]}, lambda rows: {"score": scores(pairs.left[rows], pairs.right[rows])}
        )
    columns = {"score": score, "permuted": np.concatenate(permuted), "partner": partner}
    return Artifact(tables={"scores": pa.table(columns)}, facts=again)


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


def score_links(job: Job) -> Artifact:
    """Score links, one row per pair of two uploads: the score, the share of impostor pairs that it exceeds, and the
    threshold that the adversary sets on the impostor pairs of other people; and what the score of permuted pairs gives.
    """
    source = job.input("faces")
    faces, pairs = read_faces(source), read_pairs(source)
    table = job.input("links").tables["scores"]
    score, permuted, partner = (table[name].to_numpy() for name in ("score", "permuted", "partner"))
    people, fmr = faces.subjects, float(job.stage.options["fmr"])
    left, right = people[pairs.left], people[pairs.right]
    known, group = impostors.people_groups(left, right)
    of_left, of_right = (group[np.searchsorted(known, side)] for side in (left, right))
    different, paired = ~pairs.same, partner >= 0
    seen = (
        np.concatenate([score[different], permuted[paired]]),
        np.concatenate([of_left[different], of_left[paired]]),
        np.concatenate([of_right[different], of_right[partner[paired]]]),
    )
    kappa, behind = thresholds_without(*seen, groups=int(group.max()) + 1, fmr=fmr)
    genuine = pairs.same
    columns = {
        "pair": np.arange(len(left)),
        "left_id": faces.sample_ids[pairs.left],
        "right_id": faces.sample_ids[pairs.right],
        "left_subject": left,
        "right_subject": right,
        "same": genuine,
        "fold": pairs.fold,
        "score": score,
        "permuted": _nullable(permuted),
        "kappa": _nullable(kappa[of_left]),
        "kappa_impostors": behind[of_left],
        "fmr": np.full(len(left), fmr),
        "auc": _nullable(np.where(genuine, pair_auc(score, score[different]), np.nan)),
        "auc_permuted": _nullable(np.where(genuine, pair_auc(permuted, score[different]), np.nan)),
    }
    return Artifact(tables={"links": pa.table(columns)})


def _nullable(values: NDArray[np.float64]) -> pa.Array:
    undefined = np.isnan(values)
    return pa.array(np.where(undefined, 0, values), mask=undefined)
