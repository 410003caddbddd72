"""What a paper claims in words: the ``[[claims]]`` of a suite, as data, and what each has to be about.

Nothing is computed here: `bench.verdicts` holds claims against the rows of a run. Pure: no torch, no pandas.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from bench.errors import SuiteError, did_you_mean

if TYPE_CHECKING:
    from bench.suite import ExperimentTable

Axis = Literal["dataset", "authorised", "evaluated", "attack", "defense", "sigma", "kappa"]
Relation = Literal[">", ">=", "<", "<=", "about"]
Text = Annotated[str, Field(min_length=1)]

CELL_AXES: Sequence[Axis] = ("dataset", "authorised", "evaluated", "attack", "defense")  # columns of cells.parquet
LEVELS: Sequence[Axis] = ("sigma", "kappa")  # what a measure is told


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


_Names = Annotated[list[str], Field(min_length=1), BeforeValidator(_listed)]
_Numbers = Annotated[list[float], Field(min_length=1), BeforeValidator(_listed)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class SideTable(_Table):
    """One side of a claim: which cells it pools, each key one value or a list; what is not named is not restricted.

    ``sigma`` is the environment noise and ``kappa`` the threshold of the measures that know one.
    """

    experiment: str | None = None
    dataset: _Names | None = None
    defense: _Names | None = None
    authorised: _Names | None = None
    evaluated: _Names | None = None
    attack: _Names | None = None
    role: Literal["authorised", "unauthorised", "any"] | None = None
    sigma: _Numbers | None = None
    kappa: _Numbers | None = None

    def listed(self, axis: Axis) -> Sequence[str | float] | None:
        """The values that the side names on an axis, or none."""
        values: Sequence[str | float] | None = getattr(self, axis)
        return values

    def renamed(self, labels: Mapping[tuple[str, str], str]) -> Self:
        """The same side with other labels of data sets and models, by kind and label; sets of models are joined by
        ``+``."""

        def new(kind: str, names: list[str] | None) -> list[str] | None:
            return names and ["+".join(labels.get((kind, part), part) for part in name.split("+")) for name in names]

        models = {"authorised": new("model", self.authorised), "evaluated": new("model", self.evaluated)}
        return self.model_copy(update={"dataset": new("dataset", self.dataset), **models})

    def follows(self, axis: Axis) -> bool:
        """Whether the side takes each value of the axis in turn; one that names a single value keeps to it."""
        values = self.listed(axis)
        return values is None or len(values) > 1


def _kind_of_right(value: Any) -> str:
    return "side" if isinstance(value, Mapping | SideTable) else "number"


class ClaimTable(_Table):
    """``[[claims]]``: a sentence, and the relation between two figures that it amounts to.

    It holds where ``left relation right + margin`` (``about``: where they differ by ``margin`` at most) for each value
    of the axes in ``each``, or for a share ``at_least`` of them. ``margin`` has the measure's unit, shares from 0 to 1.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    section: Annotated[str, Field(pattern=r"^\d+(\.\d+)*$")]
    text: Text
    experiment: str | None = None
    measure: Text
    left: SideTable
    relation: Relation
    right: Annotated[Annotated[SideTable, Tag("side")] | Annotated[float, Tag("number")], Discriminator(_kind_of_right)]
    margin: float = 0.0
    each: Annotated[list[Axis], BeforeValidator(_listed)] = []
    at_least: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        sides = [side for _, side in self.sides]
        if self.relation == "about" and self.margin <= 0:
            raise _mistake('relation = "about" needs a positive margin: the largest difference that still counts')
        if len(set(self.each)) != len(self.each):
            raise _mistake(f"each names an axis twice: {', '.join(self.each)}")
        if self.at_least < 1 and not self.each:
            raise _mistake("at_least is a share of comparisons; name their axes in each")
        if self.experiment is None and any(side.experiment is None for side in sides):
            raise _mistake('expected experiment = "..." in the claim, or in both of its sides')
        for axis in self.each:
            _check_axis(axis, sides)
        for axis in LEVELS:
            if axis not in self.each and any(len(side.listed(axis) or ()) > 1 for side in sides):
                raise _mistake(f"a side lists several values of {axis}, which are not pooled; add {axis} to each")
        return self

    @property
    def sides(self) -> list[tuple[str, SideTable]]:
        """The sides that select cells, by name."""
        right = [("right", self.right)] if isinstance(self.right, SideTable) else []
        return [("left", self.left), *right]

    def renamed(self, labels: Mapping[tuple[str, str], str]) -> Self:
        """The same claim about components with other labels (see `SideTable.renamed`)."""
        right = self.right.renamed(labels) if isinstance(self.right, SideTable) else self.right
        return self.model_copy(update={"left": self.left.renamed(labels), "right": right})

    def experiment_of(self, side: SideTable) -> str:
        """The experiment whose cells a side selects."""
        return side.experiment or self.experiment or ""

    def values(self, axis: Axis) -> Sequence[str | float] | None:
        """The values of an axis of ``each`` that the claim lists, or none when it takes all that there are."""
        return next((side.listed(axis) for _, side in self.sides if side.follows(axis) and side.listed(axis)), None)


def _check_axis(axis: Axis, sides: Sequence[SideTable]) -> None:
    following = [side for side in sides if side.follows(axis)]
    lists = [listed for side in following if (listed := side.listed(axis)) is not None]
    if not following or (axis in LEVELS and not lists):
        raise _mistake(f"each = {axis!r}, but no side has several values of it; list them in left or right")
    if len(lists) == 2 and lists[0] != lists[1]:
        raise _mistake(f"each = {axis!r}, but left and right list different values of it")


def _mistake(text: str) -> PydanticCustomError:
    return PydanticCustomError("claim", "{text}", {"text": text})


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


def label_of(reference: str | Mapping[str, Any]) -> str:
    """The label that a reference of a suite gives to its component."""
    if isinstance(reference, str):
        return reference
    name = str(reference.get("plugin", ""))
    return str(reference.get("label", f"{name} via {label_of(reference['via'])}" if reference.get("via") else name))


def _label_of_set(entry: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]) -> str:
    return label_of(entry) if isinstance(entry, str | Mapping) else "+".join(map(label_of, entry))


def check_claims(claims: Sequence[ClaimTable], experiments: Mapping[str, Axes]) -> None:
    """`SuiteError` with the TOML path for a claim about something that there is not."""
    from bench.report.measures import measure_named

    ids = [claim.id for claim in claims]
    for i, claim in enumerate(claims):
        where = f"claims[{i}]"
        if claim.id in ids[:i]:
            raise SuiteError(f"{where}.id: {claim.id!r} is used twice; ids of claims are unique")
        try:
            measure_named(claim.measure)
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
