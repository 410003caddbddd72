"""The score of verification: one row per pair, with the thresholds of the service and of the adversary."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.api.types import Faces, Pairs
from bench.core.errors import ContractError
from bench.metrics import impostors, recognition
from bench.metrics.arrays import Floats, slices, unit_rows
from bench.stages.columns import nullable
from bench.stages.stage_inputs import Job, protected_rows, read_faces, read_pairs
from bench.stages.strangers import clean_strangers, sent_by_strangers
from bench.store.artifacts import Artifact
from bench.store.schema import ADVERSARY_RULE

_PAIRS_AT_ONCE = 4096
_AT_ONCE = 4_000_000  # Comparisons of a probe with a picture that are in memory at a time.
_SAME_PICTURE = 1e-9  # Unit embeddings whose cosine differs from 1 by less belong to copies of one picture.


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """The embeddings of a verification by row of the faces, unit vectors ``(n, d)``, and the pairs.

    - ``clean``: of the pictures as they are; None for the own recogniser of a defense, which embeds what is sent only
    - ``protected``: of the protected pictures; zero for pictures that are not protected
    - ``chosen``: the rows of the protected pictures; ``own``: by pair, the row of the protected picture, which is the
      left one unless only galleries are protected
    - ``side``: which pictures of a pair are protected
    """

    faces: Faces
    pairs: Pairs
    side: str
    chosen: NDArray[np.int64]
    own: NDArray[np.int64]
    clean: NDArray[Any] | None
    protected: NDArray[Any]

    @property
    def originals(self) -> NDArray[Any]:
        """What a protected picture is compared with: originals, or protected pictures where there is nothing else."""
        return self.protected if self.clean is None else self.clean

    @property
    def probes(self) -> NDArray[Any]:
        """The embeddings of the left pictures as they are sent."""
        return self.originals if self.side == "gallery" else self.protected

    @property
    def gallery(self) -> NDArray[Any]:
        """The embeddings of the right pictures as they are enrolled."""
        return self.originals if self.side == "probe" else self.protected

    def cosines(self, left: NDArray[Any] | None, right: NDArray[Any] | None) -> Any:
        """Return the cosine of each pair; null where one of both sides has no embeddings."""
        if left is None or right is None:
            return pa.nulls(len(self.pairs.left), pa.float64())
        return _cosines(left, right, self.pairs.left, self.pairs.right)


def score_verification(job: Job) -> Artifact:
    """Score verification, one row per pair: the similarities from which Equation 10, the 10-fold accuracy and every
    threshold can be computed, both thresholds, and what chance alone gives at each of them."""
    c = _compared(job, "plain")
    flipped = _compared(job, "flipped")
    faces, pairs = c.faces, c.pairs
    if c.clean is not None and job.input("clean").facts.get("embedded_by") != "attack":
        # Of an attack that fails at this, it is a result.
        _check_separation(job, c.cosines(c.clean, c.clean), pairs.same)
    calibration = _calibration_columns(job, pairs)
    left, right = c.side != "gallery", c.side != "probe"
    rows = pa.table(
        {
            "pair": np.arange(len(pairs.left)),
            "left_id": faces.sample_ids[pairs.left],
            "right_id": faces.sample_ids[pairs.right],
            "left_subject": faces.subjects[pairs.left],
            "right_subject": faces.subjects[pairs.right],
            "same": pairs.same,
            "fold": pairs.fold,
            "cos_self": _cosines(c.protected, c.originals, c.own, c.own),
            "cos_cross": c.cosines(c.probes, c.gallery),
            "cos_clean": c.cosines(c.clean, c.clean),
            "flip_cross": flipped.cosines(flipped.probes, flipped.gallery),
            "flip_clean": flipped.cosines(flipped.clean, flipped.clean),
            "cos_probe": c.cosines(c.protected if left else None, c.clean),
            "cos_gallery": c.cosines(c.clean, c.protected if right else None),
            "cos_protected": c.cosines(c.protected, c.protected) if left and right else c.cosines(None, None),
            "compared_with": pa.array(["protected" if c.clean is None else "originals"] * len(pairs.left)),
            **_ranks(c),
            "gallery": np.full(len(pairs.left), len(c.chosen)),
            **calibration,
            **_adversary(job, c, calibration["kappa_calibrated"]),
        }
    )
    return Artifact(tables={"verification": rows})


def _compared(job: Job, kind: Literal["plain", "flipped"]) -> _Compared:
    """Return the embeddings of a stage that scores verification, ``plain`` or those of `embed` with mirrored images."""
    source = job.input("faces")
    faces, pairs = read_faces(source), read_pairs(source)
    side = job.stage.options.get("protects", "probe")
    chosen = protected_rows(pairs, side)
    found = job.input("protected").tensors[kind]
    protected = np.zeros((len(faces.images), found.shape[1]), found.dtype)
    protected[chosen] = found
    clean = job.input("clean").tensors[kind] if "clean" in job.stage.inputs else None
    if clean is not None and clean.shape[1] != found.shape[1]:
        lengths = f"embed() returns embeddings of length {found.shape[1]}, and enrol() of length {clean.shape[1]}"
        raise ContractError(f"{job.stage.name}: {lengths}; expected equal lengths, to compare them")
    return _Compared(
        faces=faces,
        pairs=pairs,
        side=side,
        chosen=chosen,
        own=pairs.right if side == "gallery" else pairs.left,
        clean=clean,
        protected=protected,
    )


def _cosines(left: NDArray[Any], right: NDArray[Any], of: NDArray[np.int64], to: NDArray[np.int64]) -> Floats:
    """Return the cosines ``(n,)`` of the rows ``of`` of embeddings and the rows ``to`` of others."""
    found = np.empty(len(of))
    for part in slices(len(of), _PAIRS_AT_ONCE):
        found[part] = recognition.cosine(left[of[part]], right[to[part]])
    return found


def _ranks(c: _Compared) -> dict[str, Any]:
    """Return the ranks of each pair in the galleries of originals and of enrolled pictures, with their chance levels.

    Beside each rank stands the probability of rank 1 if equal scores are ordered at random. The protected picture of a
    pair is searched among the originals of all protected pictures, and the probe, as it is
    sent, among the pictures that are enrolled. Every picture is in a gallery once. The chance of rank 1 is the share of
    the gallery that shows the person. In the gallery of enrolled pictures, the picture that a probe was made from and
    copies of it do not count; where no other picture of the person is enrolled, and for impostor pairs, rank and chance
    are null.
    """
    faces, pairs, chosen = c.faces, c.pairs, c.chosen
    people, enrolled, original = faces.subjects, np.unique(pairs.right), c.originals
    where, own = np.searchsorted(chosen, c.own), np.arange(len(chosen))
    found = recognition.identified(c.protected[chosen], original[chosen], own, people[chosen])
    _, at, pictures = np.unique(people[chosen], return_inverse=True, return_counts=True)
    shown = pictures[at] / len(chosen)
    rank, first, chance = (np.full(len(pairs.left), np.nan) for _ in range(3))
    genuine, pictured = np.flatnonzero(pairs.same), np.unique(faces.sample_ids, return_inverse=True)[1]
    gallery = unit_rows(original[enrolled])
    for part in slices(len(genuine), max(1, _AT_ONCE // len(enrolled))):
        rows = genuine[part]
        left = pairs.left[rows]
        copy = unit_rows(original[left]) @ gallery.T >= 1 - _SAME_PICTURE
        copy |= pictured[left][:, None] == pictured[enrolled][None, :]
        hits = (people[left][:, None] == people[enrolled][None, :]) & ~copy
        shows = hits.any(axis=1)
        kept = rows[shows]
        places = np.searchsorted(enrolled, pairs.right[kept])
        probes = c.probes[pairs.left[kept]]
        other = recognition.identified(probes, c.gallery[enrolled], places, people[enrolled], copy[shows])
        rank[kept], first[kept] = other.ranks, other.first
        chance[kept] = hits[shows].sum(axis=1) / (~copy[shows]).sum(axis=1)
    return {
        "rank": found.ranks[where],
        "rank_first": found.first[where],
        "rank_chance": shown[where],
        "rank_enrolled": nullable(rank, pa.int64()),
        "rank_enrolled_first": nullable(first),
        "rank_enrolled_chance": nullable(chance),
    }


@dataclass(frozen=True, kw_only=True)
class _Applied:
    """The adversary's thresholds by pair ``(n,)``: against originals (``kappa``) and against enrolled pictures
    (``enrolled``), the share of their own impostor scores above each (``fmr``, ``enrolled_fmr``), and the numbers of
    impostor scores and of people behind ``kappa``."""

    kappa: Floats
    enrolled: Floats
    impostors: NDArray[np.int64]
    people: NDArray[np.int64]
    fmr: Floats
    enrolled_fmr: Floats


def _adversary(job: Job, c: _Compared, calibrated: Floats) -> dict[str, Any]:
    """Return the columns of the adversary's thresholds, and which share of strangers probes match at each threshold.

    The adversary sets his thresholds for the false match rate ``fmr`` on what he really sees: protected or
    reconstructed pictures against clean originals of other people, and, where enrolled pictures are protected, probes
    as they are sent against them. They show people of the calibration split, or the scored people themselves. What
    chance gives is measured on the scored people in both cases.
    """
    pairs, chosen, enrolled = c.pairs, c.chosen, np.unique(c.pairs.right)
    people, strangers = c.faces.subjects, "strangers" in job.stage.inputs
    applied = _of_strangers(job, c) if strangers else _cross_fitted(job.stage.options["fmr"], c)
    both = np.stack([applied.kappa, calibrated], axis=1)
    probes = c.protected[c.own], c.originals[chosen], people[c.own], people[chosen]
    matched, at_service = impostors.impostor_match_shares(*probes, both).T
    sent, first, place = np.unique(pairs.left, return_index=True, return_inverse=True)
    against_enrolled = c.probes[sent], c.gallery[enrolled], people[sent], people[enrolled]
    at_enrolled = impostors.impostor_match_shares(*against_enrolled, applied.enrolled[first])[place]
    return {
        "kappa_adversary": nullable(applied.kappa),
        "kappa_enrolled": nullable(applied.enrolled),
        "adversary_impostors": applied.impostors,
        "adversary_people": applied.people,
        "adversary_fmr_realised": nullable(applied.fmr),
        "enrolled_fmr_realised": nullable(applied.enrolled_fmr),
        ADVERSARY_RULE: pa.array(["calibration" if strangers else "scored"] * len(pairs.left), pa.string()),
        "impostor_match_adversary": nullable(matched),
        "impostor_match_enrolled": nullable(at_enrolled),
        "impostor_match": nullable(at_service),
    }


def _of_strangers(job: Job, c: _Compared) -> _Applied:
    """Return the thresholds that are set on people of the calibration split, the same for all pairs.

    Their pictures are compared with the galleries of the scored people, in which no stranger is: a gallery may hold a
    picture that many others resemble, and the adversary knows his gallery.
    """
    n, fmr, people, shown = len(c.pairs.left), job.stage.options["fmr"], c.faces.subjects, np.unique(c.pairs.right)
    probes, who = sent_by_strangers(job, c.side)
    originals = impostors.impostor_threshold(probes, c.originals[c.chosen], who, people[c.chosen], fmr)
    if c.side == "gallery":
        probes, who = clean_strangers(job)
    enrolled = impostors.impostor_threshold(probes, c.gallery[shown], who, people[shown], fmr)
    return _Applied(
        kappa=np.full(n, originals.kappa),
        enrolled=np.full(n, enrolled.kappa),
        impostors=np.full(n, originals.impostors),
        people=np.full(n, originals.people),
        fmr=np.full(n, originals.fmr),
        enrolled_fmr=np.full(n, enrolled.fmr),
    )


def _cross_fitted(fmr: float, c: _Compared) -> _Applied:
    """Return the thresholds that are set on the scored people. They are divided into groups, and nobody of the group of
    a probe takes part in the threshold that is applied to it."""
    pairs, chosen, people = c.pairs, c.chosen, c.faces.subjects
    known, groups = impostors.people_groups(people[pairs.left], people[pairs.right])
    group = groups[np.minimum(np.searchsorted(known, people), len(known) - 1)]  # Of pictures in pairs; others unused.
    shown = c.protected[chosen], c.originals[chosen], people[chosen], people[chosen]
    found = impostors.cross_fitted_thresholds(*shown, group[chosen], group[chosen], fmr)
    fitted = found
    if c.side != "probe":
        sent, enrolled = np.unique(pairs.left), np.unique(pairs.right)
        against_enrolled = c.probes[sent], c.gallery[enrolled], people[sent], people[enrolled]
        fitted = impostors.cross_fitted_thresholds(*against_enrolled, group[sent], group[enrolled], fmr)
    own, of_probe = group[c.own], group[pairs.left]
    return _Applied(
        kappa=found.kappa[own],
        enrolled=fitted.kappa[of_probe],
        impostors=found.impostors[own],
        people=found.people[own],
        fmr=found.fmr[own],
        enrolled_fmr=fitted.fmr[of_probe],
    )


# ---- the threshold of the service ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A calibrated threshold: its value, the number of impostor scores and of people of its calibration, and the false
    match rate that it realises on these scores."""

    kappa: float
    impostors: int
    people: int
    fmr: float


def _calibration_columns(job: Job, pairs: Pairs) -> dict[str, Any]:
    threshold = calibrated(job)
    found = [threshold(int(fold)) for fold in pairs.fold]
    n = len(found)
    return {
        "kappa_calibrated": np.array([c.kappa for c in found]),
        "fmr": np.full(n, job.stage.options["fmr"]),
        "calibration_impostors": np.array([c.impostors for c in found]),
        "calibration_people": np.array([c.people for c in found]),
        "threshold_rule": pa.array([job.stage.options["threshold"]] * n, pa.string()),
        "fmr_realised": np.array([c.fmr for c in found]),
    }


def calibrated(job: Job) -> Callable[[int], Calibration]:
    """Return a function of a fold that gives the threshold of the deployed service for its scored pairs.

    If the calibration split consists of faces, all pairs of different people are impostor pairs, and every fold has the
    same threshold. If it consists of pairs, because people are known pair by pair only, the threshold of a fold is
    set on the pairs of all other folds.
    """
    artifact, embeddings = job.input("calibration_faces"), job.input("calibration").tensors["plain"]
    subjects = read_faces(artifact).subjects
    rule: str = job.stage.options["threshold"]
    fmr: float = job.stage.options["fmr"]

    def threshold(genuine: NDArray[Any], impostor: NDArray[Any], people: NDArray[Any]) -> Calibration:
        if not len(impostor):
            raise ContractError("calibration faces: expected at least two subjects to set a threshold on, got fewer")
        if rule == "accuracy" and not len(genuine):
            raise ContractError("calibration faces: expected two images of a subject to set a threshold on, got none")
        if rule == "accuracy":
            kappa = recognition.balanced_threshold(genuine, impostor)
        else:
            kappa = recognition.threshold_at_fmr(impostor, fmr)
        _check_accepts(job, kappa, genuine, impostor)
        realised = float(np.mean(impostor > kappa))
        return Calibration(kappa=kappa, impostors=len(impostor), people=len(np.unique(people)), fmr=realised)

    if "pairs" not in artifact.tables:
        genuine, impostor = (f(embeddings, subjects) for f in (recognition.genuine_scores, recognition.impostor_scores))
        found = threshold(genuine, impostor, subjects)
        return lambda fold: found
    known = read_pairs(artifact)
    scores = recognition.cosine(embeddings[known.left], embeddings[known.right])

    @functools.cache
    def of_fold(fold: int) -> Calibration:
        other = known.fold != fold
        apart = other & ~known.same
        people = subjects[np.concatenate([known.left[apart], known.right[apart]])]
        return threshold(scores[other & known.same], scores[apart], people)

    return of_fold


_MIN_PAIRS = 30  # genuine and impostor pairs, each, without which separation is not tested
_COPIES = 0.99  # Impostor pairs with a higher cosine show copies of one picture.
_MIN_ERRORS = 3.0  # standard errors by which a model must be better than guessing


def _check_accepts(job: Job, kappa: float, genuine: NDArray[Any], impostor: NDArray[Any]) -> None:
    """Raise `ContractError` if a threshold accepts nothing: it is 1, or it rejects all genuine pairs, and these are
    many or the threshold is one that only copies of a picture reach."""
    rejected = not (genuine > kappa).any() and (len(genuine) >= _MIN_PAIRS or kappa > _COPIES)
    if kappa < 1 - _SAME_PICTURE and not rejected:
        return
    best = f", the best of which scores {genuine.max():.4f}" if len(genuine) else ""
    wanted, then = f"for the false match rate {job.stage.options['fmr']}", "choose a larger fmr"
    if job.stage.options["threshold"] == "accuracy":
        wanted, then = "that separates genuine from impostor pairs", "check the model with: bench models check"
    raise ContractError(
        f"{job.stage.name}: there is no threshold {wanted}: {kappa:.4f} accepts none of {len(genuine)} genuine pairs "
        f"of the calibration split{best}, and some of {len(impostor)} impostor pairs score as high. Check the labels, "
        "and look for copies of one picture under several names, with: bench data verify. If these are sound, " + then
    )


def _check_separation(job: Job, scores: NDArray[Any], same: NDArray[np.bool_]) -> None:
    """Raise `ContractError` if a model is not better than guessing on unprotected faces, which makes all measurements
    with it meaningless. With few pairs nothing is tested."""
    genuine, impostor = scores[same], scores[~same]
    if min(len(genuine), len(impostor)) < _MIN_PAIRS:
        return
    found = recognition.separation(genuine, impostor)
    error = np.sqrt((1 / len(genuine) + 1 / len(impostor)) / 12)  # its standard error for a model that guesses
    if found < 0.5 + _MIN_ERRORS * error:
        raise ContractError(
            f"{job.stage.name}: on unprotected faces, genuine pairs score {genuine.mean():.3f} and impostor pairs "
            f"{impostor.mean():.3f} (N {len(scores)}; a genuine pair is the higher one in {100 * found:.0f} % of "
            "cases, 50 % is guessing): the model cannot tell people apart. Its normalisation or channel order looks "
            "wrong, or its weights are not those of a recognition network; find out with: bench models check"
        )
