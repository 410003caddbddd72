"""Checks that every claim of a suite names experiments, metrics and labels that exist."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from bench.core.errors import SuiteError, did_you_mean
from bench.metrics.vocabulary import OF_SET, check_metric_name
from bench.suite.claims import Axis, ClaimTable, SideTable
from bench.suite.expand import ExpandedExperiment, FullReference


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The labels and noise levels of an experiment, by the names of axes that claims use."""

    dataset: Sequence[str]
    defense: Sequence[str]
    authorised: Sequence[str]
    evaluated: Sequence[str]
    attack: Sequence[str]
    sigma: Sequence[float]


def axes_of(experiments: Sequence[ExpandedExperiment]) -> dict[str, Axes]:
    """Return the axes of experiments by name; the axes of experiments with the same name are joined."""
    found: dict[str, Axes] = {}
    for name in dict.fromkeys(e.table.name for e in experiments):
        named = [e for e in experiments if e.table.name == name]
        found[name] = Axes(
            dataset=[label for e in named for label in _labels(e.datasets)],
            defense=[label for e in named for label in _labels(e.defenses)],
            authorised=["+".join(_labels(models)) for e in named for models in e.authorised],
            evaluated=[label for e in named for label in _labels(e.evaluated)],
            attack=[label for e in named for label in _labels(e.attacks)],
            sigma=[level for e in named for level in e.table.noise_levels],
        )
    return found


def metrics_of(experiments: Sequence[ExpandedExperiment]) -> dict[str, list[str]]:
    """Return the labels of the metrics of plugins that each experiment computes, by its name."""
    found: dict[str, list[str]] = {}
    for e in experiments:
        found.setdefault(e.table.name, []).extend(_labels(e.metrics))
    return found


def _labels(references: Sequence[FullReference]) -> list[str]:
    return [reference.label for reference in references]


def check_claims(
    claims: Sequence[ClaimTable], experiments: Mapping[str, Axes], metrics: Mapping[str, Sequence[str]]
) -> None:
    """Raise `SuiteError` with the TOML path for a claim about an unknown experiment, metric or label, and for an id
    that occurs twice. ``metrics`` are those of plugins by experiment."""
    provided = {label for labels in metrics.values() for label in labels}
    ids = [claim.id for claim in claims]
    for i, claim in enumerate(claims):
        where = f"claims[{i}]"
        if claim.id in ids[:i]:
            raise SuiteError(f"{where}.id: {claim.id!r} is used twice; ids of claims are unique")
        try:
            check_metric_name(claim.metric, provided)
        except SuiteError as error:
            raise SuiteError(f"{where}.metric: {error}") from None
        for name, side in claim.sides:
            experiment = claim.experiment_of(side)
            if experiment not in experiments:
                path = f"{where}.{name}.experiment" if side.experiment else f"{where}.experiment"
                raise SuiteError(f"{path}: no experiment {experiment!r}; {did_you_mean(experiment, experiments)}")
            own = claim.metric.removesuffix(OF_SET)
            if own in provided and own not in metrics[experiment]:
                raise SuiteError(
                    f"{where}.metric: the experiment {experiment!r} does not compute {own!r}; add it to its metrics"
                )
            _check_side(side, experiments[experiment], f"{where}.{name}", experiment)


def _check_side(side: SideTable, axes: Axes, where: str, experiment: str) -> None:
    for axis in (f.name for f in dataclasses.fields(axes)):
        known = getattr(axes, axis)
        for value in side.listed(cast(Axis, axis)) or ():
            if value not in known and value != "":
                hint = did_you_mean(str(value), map(str, known))
                raise SuiteError(f"{where}.{axis}: the experiment {experiment!r} has no {axis} {value!r}; {hint}")
