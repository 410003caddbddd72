"""Image metrics in score stages: the built-in ones beside each other, and each further one of a plugin by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from bench.api.metric import Metric
from bench.core.domain import Component
from bench.core.errors import ContractError, error_text
from bench.metrics.intervals import bootstrap_interval
from bench.metrics.vocabulary import IMAGE_METRICS
from bench.stages.contracts import compute_checked, features_checked, set_value_checked
from bench.stages.stage_inputs import Job, build, images_of, read_faces
from bench.stages.undeclared import observed
from bench.store.artifacts import Artifact
from bench.store.schema import INFINITE, METRIC_PREFIX

DRAWS = 200  # of people for the interval of a value of a set; each draw calls the plugin
_FEWEST = 10  # people for an interval


class BuiltInMetrics:
    """The image metrics that every experiment computes; one whose weights are missing has null in its column."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.metrics = [(c, build(c)) for c in job.stage.components["metric"]]

    def columns(
        self, originals: NDArray[np.uint8], images: NDArray[np.uint8], sample_ids: Sequence[str]
    ) -> dict[str, pa.Array]:
        """Return the columns of images uint8 ``(n, 3, h, w)`` against their originals."""
        found: dict[str, pa.Array] = {}
        for component, metric in self.metrics:
            values = _computed(self.job, component, metric, originals, images, sample_ids)
            found |= columns_of(component.name, values, infinite=metric.infinite)
        return found | {name: pa.nulls(len(images), pa.float64()) for name in IMAGE_METRICS if name not in found}


def columns_of(name: str, values: NDArray[np.float64], *, infinite: bool) -> dict[str, pa.Array]:
    """Return the columns of a metric. If it may be ``infinite``, such values are null and marked in a second column, so
    that nobody averages them."""
    if not infinite:
        return {name: pa.array(values)}
    marked = np.isinf(values)
    return {name: pa.array(np.where(marked, 0.0, values), mask=marked), f"{name}{INFINITE}": pa.array(marked)}


def _computed(
    job: Job,
    component: Component,
    metric: Metric,
    originals: NDArray[np.uint8],
    images: NDArray[np.uint8],
    sample_ids: Sequence[str],
) -> NDArray[np.float64]:
    ctx = job.context(f"metric {component.label}", sample_ids=sample_ids)
    with observed(component, metric, job.cache.root):
        return compute_checked(metric, job.to_float(originals), job.to_float(images), ctx)


def score_metric(job: Job) -> Artifact:
    """Score images by the metric of a plugin: one row per image, and one row for the whole set if it has such a
    value."""
    component = job.component("metric")
    metric: Metric = build(component)
    faces, protected = read_faces(job.input("faces")), job.input("protected")
    index, images = protected.tables["samples"]["face"].to_numpy(), images_of(protected)
    ids = faces.sample_ids[index]
    mark = np.full(len(index), job.stage.options["reconstructed"])
    columns: dict[str, Any] = {"reconstructed": mark, "sample_id": ids}
    if metric.defines("compute"):
        parts = [
            _computed(job, component, metric, faces.images[index[part]], images[part], [str(i) for i in ids[part]])
            for part in job.batches(len(index))
        ]
        columns |= columns_of(f"{METRIC_PREFIX}{component.label}", np.concatenate(parts), infinite=metric.infinite)
    tables = {"metrics": pa.table(columns)}
    if metric.defines("compute_set"):
        with observed(component, metric, job.cache.root):
            row = _SetScore(job, component, metric).row(faces.images[index], images, faces.subjects[index])
        tables["sets"] = pa.table({name: [value] for name, value in {"reconstructed": bool(mark[0]), **row}.items()})
    return Artifact(tables=tables)


class _SetScore:
    """Computes the value of a metric for two whole sets of images, and its interval."""

    def __init__(self, job: Job, component: Component, metric: Metric) -> None:
        self.job, self.metric = job, metric
        self.label = component.label
        self.ctx = replace(job.context(f"metric {component.label}"), on_progress=None)

    def row(
        self, originals: NDArray[np.uint8], others: NDArray[np.uint8], people: NDArray[np.int64]
    ) -> Mapping[str, Any]:
        """Return the row of a set: the value, an interval or the reason why it has none, and the numbers behind it."""
        of_features = self.metric.defines("features")
        first, second = (self._features(x) if of_features else self.job.to_float(x) for x in (originals, others))
        value = set_value_checked(self.metric, first, second, self.ctx)
        number = len(np.unique(people))
        low: float | None = None
        high: float | None = None
        reason: str | None = "the plugin computes it from images, and not from features, which could be drawn"
        if of_features and number < _FEWEST:
            reason = f"an interval needs at least {_FEWEST} people, and the images show {number}"
        elif of_features:
            low, high, reason = self._interval(value, first, second, people)
        return {
            "metric": self.label,
            "value": value,
            "low": low,
            "high": high,
            "n": len(others),
            "people": number,
            "reason": reason,
        }

    def _features(self, images: NDArray[np.uint8]) -> torch.Tensor:
        parts = []
        for start in range(0, len(images), self.job.batch):
            part = images[start : start + self.job.batch]
            parts.append(features_checked(self.metric, self.job.to_float(part), self.ctx))
        if len({part.shape[1] for part in parts}) > 1:
            raise ContractError(f"{self.ctx.plugin}: features() returned features of several lengths")
        return torch.cat(parts)

    def _interval(
        self, value: float, first: torch.Tensor, second: torch.Tensor, people: NDArray[np.int64]
    ) -> tuple[float | None, float | None, str | None]:
        """Return the interval of a bootstrap over people, which draws the rows of both sets together.

        Draws repeat rows, by which values such as distances of distributions are biased. The interval therefore has the
        percentiles of the draws relative to their mean, around the ``value`` of the whole sets.
        """
        drawn: list[float] = []

        def of_draw(rows: NDArray[Any]) -> float:
            chosen = torch.from_numpy(rows.astype(np.int64)).to(first.device)
            drawn.append(set_value_checked(self.metric, first[chosen], second[chosen], self.ctx))
            return drawn[-1]

        try:
            found = bootstrap_interval(np.arange(len(people)), people, of_draw, self.job.stage.seed, draws=DRAWS)
        except Exception as error:
            return None, None, f"the plugin failed on a draw of people: {error_text(error)}"
        assert found is not None  # There are several people, and a value that is no number is an error.
        lowest, highest = self.metric.range
        shift = value - float(np.mean(drawn))
        return max(lowest, found[0] + shift), min(highest, found[1] + shift), None
