"""Checks that the claims of a suite are about axes and components that its experiments have."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from bench.core.errors import SuiteError, did_you_mean
from bench.metrics.vocabulary import check_metric_name
from bench.registry.components import label_of
from bench.suite.claims import Axis, ClaimTable, SideTable

if TYPE_CHECKING:
    from bench.suite.tables import ExperimentTable


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The labels and levels that an experiment has, by the names that claims use."""

    dataset: Sequence[str]
    defense: Sequence[str]
    authorised: Sequence[str]
    evaluated: Sequence[str]
    attack: Sequence[str]
    sigma: Sequence[float]


def axes_of(experiments: Sequence[ExperimentTable]) -> dict[str, Axes]:
    """The axes of experiments by name; those of the same name are put together."""
    found: dict[str, Axes] = {}
    for name in dict.fromkeys(e.name for e in experiments):
        tables = [e for e in experiments if e.name == name]
        found[name] = Axes(
            dataset=[label_of(r) for e in tables for r in e.datasets],
            defense=[label_of(r) for e in tables for r in e.defenses],
            authorised=[_label_of_set(s) for e in tables for s in e.authorised],
            evaluated=[label_of(r) for e in tables for r in e.evaluated],
            attack=[label_of(r) for e in tables for r in e.attacks],
            sigma=[level for e in tables for level in e.noise_levels],
        )
    return found


def _label_of_set(entry: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]) -> str:
    return label_of(entry) if isinstance(entry, str | Mapping) else "+".join(map(label_of, entry))


def check_claims(claims: Sequence[ClaimTable], experiments: Mapping[str, Axes]) -> None:
    """`SuiteError` with the TOML path for a claim about something that there is not."""
    ids = [claim.id for claim in claims]
    for i, claim in enumerate(claims):
        where = f"claims[{i}]"
        if claim.id in ids[:i]:
            raise SuiteError(f"{where}.id: {claim.id!r} is used twice; ids of claims are unique")
        try:
            check_metric_name(claim.measure)
        except SuiteError as error:
            raise SuiteError(f"{where}.measure: {error}") from None
        for name, side in claim.sides:
            experiment = claim.experiment_of(side)
            if experiment not in experiments:
                path = f"{where}.{name}.experiment" if side.experiment else f"{where}.experiment"
                raise SuiteError(f"{path}: no experiment {experiment!r}; {did_you_mean(experiment, experiments)}")
            _check_side(side, experiments[experiment], f"{where}.{name}", experiment)


def _check_side(side: SideTable, axes: Axes, where: str, experiment: str) -> None:
    for axis in (f.name for f in dataclasses.fields(axes)):
        known = getattr(axes, axis)
        for value in side.listed(cast(Axis, axis)) or ():
            if value not in known and value != "":
                hint = did_you_mean(str(value), map(str, known))
                raise SuiteError(f"{where}.{axis}: the experiment {experiment!r} has no {axis} {value!r}; {hint}")
