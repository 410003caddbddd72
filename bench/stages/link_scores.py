"""The scores of links: what an attack says of pairs of uploads, and the threshold that an adversary sets on it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.api.types import Pairs
from bench.metrics import impostors
from bench.metrics.impostors import CrossFitted
from bench.metrics.linkage import pair_auc, thresholds_without
from bench.metrics.recognition import threshold_at_fmr
from bench.stages.columns import nullable
from bench.stages.stage_inputs import Job, read_faces, read_pairs
from bench.store.artifacts import Artifact
from bench.store.schema import ADVERSARY_RULE


def score_links(job: Job) -> Artifact:
    """Score links, one row per pair of two uploads: the score, the share of impostor pairs that it exceeds, and the
    threshold that the adversary sets on pairs of a person of the calibration split and a scored one, or of two scored
    people other than the own ones; and the scores of different people, of whom ``alike`` ones share known groups.
    """
    source = job.input("faces")
    faces, pairs = read_faces(source), read_pairs(source)
    table = job.input("links").tables["scores"]
    score, permuted, alike, partner = (
        table[name].to_numpy() for name in ("score", "permuted", "alike", "alike_partner")
    )
    people, fmr, genuine = faces.subjects, float(job.stage.options["fmr"]), pairs.same
    left, right = people[pairs.left], people[pairs.right]
    strangers = "stranger_links" in job.stage.inputs
    applied = _on_strangers(job, len(left)) if strangers else _on_others(table, pairs, left, right, fmr)
    columns = {
        "pair": np.arange(len(left)),
        "left_id": faces.sample_ids[pairs.left],
        "right_id": faces.sample_ids[pairs.right],
        "left_subject": left,
        "right_subject": right,
        "same": genuine,
        "fold": pairs.fold,
        "score": score,
        "permuted": nullable(permuted),
        "alike": nullable(alike),
        "alike_subject": pa.array(right[partner], mask=partner < 0),
        "kappa": nullable(applied.kappa),
        "kappa_impostors": applied.impostors,
        "kappa_people": applied.people,
        "kappa_fmr_realised": nullable(applied.fmr),
        ADVERSARY_RULE: pa.array(["calibration" if strangers else "scored"] * len(left), pa.string()),
        "fmr": np.full(len(left), fmr),
        "auc": nullable(np.where(genuine, pair_auc(score, score[~genuine]), np.nan)),
    }
    return Artifact(tables={"links": pa.table(columns)})


def _on_others(
    table: pa.Table, pairs: Pairs, left: NDArray[np.int64], right: NDArray[np.int64], fmr: float
) -> CrossFitted:
    """Return the thresholds on scored people, by pair. They are divided into groups, and nobody of the group of a pair
    takes part in its threshold. ``left`` and ``right (n,)`` are the people of the pairs."""
    score, permuted, partner = (table[name].to_numpy() for name in ("score", "permuted", "partner"))
    known, group = impostors.people_groups(left, right)
    first, second = (np.searchsorted(known, side) for side in (left, right))
    different, paired = ~pairs.same, partner >= 0
    found = thresholds_without(
        np.concatenate([score[different], permuted[paired]]),
        np.concatenate([first[different], first[paired]]),
        np.concatenate([second[different], second[partner[paired]]]),
        group,
        fmr,
    )
    own = group[first]
    return CrossFitted(
        kappa=found.kappa[own], impostors=found.impostors[own], people=found.people[own], fmr=found.fmr[own]
    )


def _on_strangers(job: Job, n: int) -> CrossFitted:
    """Return the threshold on people of the calibration split, for each of ``n`` pairs."""
    table = job.input("stranger_links").tables["scores"]
    scores, people = table["score"].to_numpy(), len(np.unique(table["stranger"].to_numpy()))
    kappa = threshold_at_fmr(scores, float(job.stage.options["fmr"]))
    return CrossFitted(
        kappa=np.full(n, kappa),
        impostors=np.full(n, len(scores)),
        people=np.full(n, people),
        fmr=np.full(n, float((scores > kappa).mean())),
    )
