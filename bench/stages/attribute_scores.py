"""The score of attributes: what an attack estimates from an upload, beside what is known of the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.api.attack import Attack
from bench.core.errors import ContractError
from bench.metrics import attributes
from bench.stages import contracts
from bench.stages.columns import nullable
from bench.stages.stage_inputs import Job, StoredFaces, build, protected_rows, read_faces, read_pairs
from bench.store.artifacts import Artifact


def score_attributes(job: Job) -> Artifact:
    """Score attributes, one row per image and attribute: Equation 11, both baselines, both estimates, the label.

    What is known of an original is what the attack estimates from it. An attack that learns from labels is compared
    with the label of the original, if the data set has one: it may have learnt to read protected pictures only. An
    attack that reads a representation of the defense is always compared with labels, since originals have no such
    representation; an attribute without labels then has no rows. Raise `ContractError` if none has any.
    """
    attack: Attack = build(job.component("attack"))
    source = job.input("faces")
    faces = read_faces(source)
    chosen = protected_rows(read_pairs(source), job.stage.options.get("protects", "probe"))
    received = job.input("received").tensors
    references = _References(job, faces, chosen, received)
    tables = []
    for name, answers in sorted(received.items()):
        classes, truth = attack.classes().get(name, ()), faces.attributes.get(name)
        found = references.of(name, classes, answers)
        if found is None:
            continue
        known, others, by_label = found
        vector = known.ndim == 2
        metric = attributes.attribute_similarity if vector else attributes.age_difference
        baseline = attributes.constant_baseline(known, others) if len(others) else np.full(len(known), np.nan)
        columns = {
            "sample_id": faces.sample_ids[chosen],
            "subject": faces.subjects[chosen],
            "attribute": np.full(len(chosen), name),
            "measure": np.full(len(chosen), "cosine" if vector else "years"),
            "reference": np.full(len(chosen), "label" if by_label else "estimate"),
            "value": nullable(metric(answers, known)),
            "permuted": nullable(attributes.permuted_baseline(answers, known, faces.subjects[chosen])),
            "baseline": nullable(baseline),
            "original": _words(known, classes),
            "predicted": _words(answers, classes),
            "truth": pa.nulls(len(chosen), pa.string()) if truth is None else _words(truth[chosen], ()),
        }
        tables.append(pa.table(columns))
    if not tables:
        estimated, labels = (", ".join(sorted(names)) or "nothing" for names in (received, faces.attributes))
        raise ContractError(
            f"attack {job.component('attack').label} estimates {estimated} of a representation, which originals do not "
            f"have, and the faces have labels of {labels} to compare with; choose a data set with such labels, or "
            "reconstruct images first and name that attack as via"
        )
    return Artifact(tables={"attributes": pa.concat_tables(tables)})


class _References:
    """What is known of the originals at the rows ``chosen``, with which the estimates ``received`` are compared."""

    def __init__(
        self, job: Job, faces: StoredFaces, chosen: NDArray[np.int64], received: Mapping[str, NDArray[Any]]
    ) -> None:
        self.job, self.faces, self.chosen = job, faces, chosen
        inputs = job.stage.inputs
        self.labelled = read_faces(job.input("calibration_faces")).attributes if "calibration_faces" in inputs else {}
        self.estimates = [job.input(role).tensors for role in ("original", "constant") if role in inputs]
        if self.estimates:
            plugin = f"attack {job.component('attack').label}"
            contracts.check_same_names([*self.estimates, received], plugin, "attributes")

    def of(
        self, name: str, classes: Sequence[str], answers: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], bool] | None:
        """Return what is known of the originals ``(n,)`` or ``(n, k)``, the same of the calibration faces without those
        of whom nothing is known, and whether both are labels; None if nothing is known.

        ``answers`` are the estimates that are compared.
        """
        truth = self.faces.attributes.get(name)
        if truth is not None and name in self.labelled:
            known = label_values(truth[self.chosen], classes, answers)
            others = label_values(self.labelled[name], classes, answers)
            _check_some_known(self.job, name, known, truth[self.chosen], classes)
            return known, others[np.isfinite(others).reshape(len(others), -1).all(axis=1)], True
        if not self.estimates:
            return None
        original, constant = self.estimates
        return original[name][self.chosen], constant[name], False


def _check_some_known(
    job: Job, name: str, known: NDArray[np.float64], labels: NDArray[Any], classes: Sequence[str]
) -> None:
    """Raise `ContractError` if an attack that learns from labels names none of them as its classes."""
    if np.isnan(known).all():
        there = ", ".join(sorted(set(map(str, labels)))[:8])
        named = f"classes() names {', '.join(classes) or 'none'}" if known.ndim == 2 else "it estimates a number"
        raise ContractError(
            f"attack {job.component('attack').label}: attribute {name!r}: {named}, and the labels of the faces are "
            f"{there}; name these as its classes"
        )


def label_values(labels: NDArray[Any], classes: Sequence[str], like: NDArray[Any]) -> NDArray[np.float64]:
    """Return labels ``(n,)`` in the form of estimates ``like``: of vectors ``(m, k)``, 1 for the class of the label and
    0 for all others, ``(n, k)``; otherwise numbers ``(n,)``. NaN for a label that is unknown or not among the classes.
    """
    if like.ndim == 2:
        named = [*classes[: like.shape[1]], *map(str, range(len(classes), like.shape[1]))]
        equal = np.asarray(labels).astype(str)[:, None] == np.array(named)[None, :]
        return np.where(equal.any(axis=1, keepdims=True), equal.astype(np.float64), np.nan)
    try:
        numbers: NDArray[np.float64] = np.asarray(labels).astype(np.float64)
    except (TypeError, ValueError):  # These labels are no numbers.
        return np.full(len(labels), np.nan)
    return numbers


def _words(values: NDArray[Any], classes: Sequence[str]) -> pa.Array:
    """Return the most likely class of each vector ``(n, k)``, or each number ``(n,)``, as text; null for NaN."""
    if values.ndim == 2:
        known = np.isfinite(values).all(axis=1)
        best = np.where(known, np.nan_to_num(values).argmax(axis=1), -1).tolist()
        return pa.array([None if i < 0 else classes[i] if i < len(classes) else str(i) for i in best], pa.string())
    return pa.array([_word(v) for v in values.tolist()], pa.string())


def _word(value: Any) -> str | None:
    """Return a value as text; None if it is None or NaN."""
    if value is None or value != value:
        return None
    return f"{value:.0f}" if isinstance(value, int | float) else str(value)
