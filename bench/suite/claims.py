"""The claims of a paper as data: the tables ``[[claims]]`` of a suite.

Nothing is computed here: `bench.analysis.claim_results` tests the claims on the rows of a run, and
`bench.suite.claim_check` checks that they name existing experiments and labels. No torch, no pandas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from bench.core.text import set_label
from bench.metrics.vocabulary import current_name
from bench.suite.strict_table import StrictTable

Axis = Literal["dataset", "authorised", "evaluated", "attack", "defense", "sigma", "kappa"]
Relation = Literal[">", ">=", "<", "<=", "about"]
Text = Annotated[str, Field(min_length=1)]
Line = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$")]

CELL_AXES: Sequence[Axis] = ("dataset", "authorised", "evaluated", "attack", "defense")  # columns of cells.parquet
LEVELS: Sequence[Axis] = ("sigma", "kappa")  # parameters of a metric, which need no cells of their own


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _listed_sets(value: Any) -> Any:
    """Values of ``authorised``: a label, or a list of labels and of sets, where a set is a list of models."""
    found = _listed(value)
    return [set_label(v) if isinstance(v, list) and all(isinstance(m, str) for m in v) else v for v in found]


_Names = Annotated[list[str], Field(min_length=1), BeforeValidator(_listed)]
_Sets = Annotated[list[str], Field(min_length=1), BeforeValidator(_listed_sets)]
_Levels = Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1), BeforeValidator(_listed)]
_Cosines = Annotated[list[Annotated[float, Field(gt=-1, lt=1)]], Field(min_length=1), BeforeValidator(_listed)]


class SideTable(StrictTable):
    """One side of a claim: the cells that it pools.

    Each key restricts an axis to one value or to a list of values; an axis without a key is not restricted.
    """

    experiment: str | None = None
    """The experiment, if it is not that of the claim."""
    dataset: _Names | None = None
    """Labels of data sets."""
    defense: _Names | None = None
    """Labels of defenses."""
    authorised: _Sets | None = None
    """Labels of authorised models. A set of several models is a list of their labels within the list, or their labels
    joined by ``+``."""
    evaluated: _Names | None = None
    """Labels of evaluated models."""
    attack: _Names | None = None
    """Labels of attacks."""
    role: Literal["authorised", "unauthorised", "any"] | None = None
    """The role of the evaluated models."""
    sigma: _Levels | None = None
    """Standard deviations of the environment noise, of the metrics that depend on it."""
    kappa: _Cosines | None = None
    """Thresholds, of the metrics that depend on them."""

    def listed(self, axis: Axis) -> Sequence[str | float] | None:
        """Return the values that the side lists for an axis; None if it does not restrict the axis."""
        values: Sequence[str | float] | None = getattr(self, axis)
        return values

    def renamed(self, labels: Mapping[tuple[str, str], str]) -> Self:
        """Return the same side with other labels of data sets, defenses, models and sets of models.

        ``labels`` maps a kind (``dataset``, ``defense``, ``model``, or ``authorised`` for a set) and a label to the new
        label.
        """

        def new(kind: str, names: list[str] | None) -> list[str] | None:
            return names and [labels.get((kind, name), name) for name in names]

        models = {"authorised": new("authorised", self.authorised), "evaluated": new("model", self.evaluated)}
        own = {"dataset": new("dataset", self.dataset), "defense": new("defense", self.defense)}
        return self.model_copy(update=own | models)

    def follows(self, axis: Axis) -> bool:
        """Return True if this side varies along the axis: it lists several values, or does not name the axis. A side
        with exactly one value stays fixed."""
        values = self.listed(axis)
        return values is None or len(values) > 1


def _kind_of_right(value: Any) -> str:
    return "side" if isinstance(value, Mapping | SideTable) else "number"


class ClaimTable(StrictTable):
    """``[[claims]]``: a sentence of the paper or of another source, and a relation between two measurements that
    expresses it.

    The claim holds if ``left relation right + margin`` is true for each value of the axes in ``each``, or for at least
    the share ``at_least`` of the values.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """The name of the claim."""
    section: Annotated[str, Field(pattern=r"^\d+(\.\d+)*$")] | None = None
    """The section of the paper."""
    source: Line | None = None
    """Where the sentence is from, if it is not from the paper of the suite."""
    text: Line
    """The sentence."""
    experiment: str | None = None
    """The experiment of both sides."""
    metric: Text
    """The name of a metric. It may also be written ``measure``, which was its name in earlier versions."""
    left: SideTable
    """The cells of the left side."""
    relation: Relation
    """The relation between both sides; ``about`` is true if they differ by at most ``margin``."""
    right: Annotated[Annotated[SideTable, Tag("side")] | Annotated[float, Tag("number")], Discriminator(_kind_of_right)]
    """The cells of the right side, or a number."""
    margin: float = 0.0
    """What is added to the right side, in the unit of the metric; for shares it is from 0 to 1."""
    each: Annotated[list[Axis], BeforeValidator(_listed)] = []
    """Axes: the relation is tested for each of their values."""
    at_least: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The share of these values for which the relation must be true."""

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, table: Any) -> Any:
        """Rename the key ``measure`` and the metrics that earlier versions called otherwise."""
        if not isinstance(table, Mapping):
            return table
        if "measure" in table and "metric" in table:
            raise _mistake("metric and measure are two names of the same key; keep metric")
        renamed = {"metric" if key == "measure" else key: value for key, value in table.items()}
        if isinstance(name := renamed.get("metric"), str):
            renamed["metric"] = current_name(name)
        return renamed

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        sides = [side for _, side in self.sides]
        if self.relation == "about" and self.margin <= 0:
            raise _mistake('relation = "about" needs a positive margin: the largest difference that still counts')
        if self.section and self.source:
            raise _mistake("section and source both say where the sentence is from; keep one")
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
        """The sides that select cells, with their names."""
        right = [("right", self.right)] if isinstance(self.right, SideTable) else []
        return [("left", self.left), *right]

    def renamed(self, labels: Mapping[tuple[str, str], str]) -> Self:
        """Return the same claim about components with other labels (see `SideTable.renamed`)."""
        right = self.right.renamed(labels) if isinstance(self.right, SideTable) else self.right
        return self.model_copy(update={"left": self.left.renamed(labels), "right": right})

    @property
    def place(self) -> str:
        """Where the sentence is from, for readers; empty if the suite does not say so."""
        return f"section {self.section}" if self.section else self.source or ""

    def experiment_of(self, side: SideTable) -> str:
        """Return the name of the experiment whose cells a side selects."""
        return side.experiment or self.experiment or ""

    def values(self, axis: Axis) -> Sequence[str | float] | None:
        """Return the values that the claim lists for an axis of ``each``; None if it uses all of its experiment."""
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
