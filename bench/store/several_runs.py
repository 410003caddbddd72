"""Several runs read as one. Which names and cells of each are shown is decided elsewhere (see `bench.runs.combine`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa

from bench.core.errors import StorageError, did_you_mean
from bench.core.text import set_label
from bench.store.reading import RunResults, Where, wanted_values
from bench.store.row_index import Key, RowIndex, TableFile
from bench.store.run_record import ComponentRecord, ExperimentRecord, RunRecord

# What names a column holds.
KINDS: Mapping[str, str] = {
    "dataset": "dataset",
    "defense": "defense",
    "authorised": "model",
    "evaluated": "model",
    "attack": "attack",
    "via": "attack",
}
_SHARED = ("experiment", "dataset", "defense", "authorised", "repeat", "attack")  # of rows that belong to no one cell
_OWNERS: Mapping[str, Sequence[str]] = {"images": _SHARED, "examples": _SHARED, "baselines": ("experiment", "dataset")}


@dataclass(frozen=True, kw_only=True)
class Named:
    """A run among others: what is shown of it, and what that is called.

    ``name`` tells the run apart. ``experiments``: what each is called; ``labels``: what a component is called, by own
    experiment, kind and own label, where that is not its label; ``cells``: the ids of the cells that are shown;
    ``alike``: of those that are the same as a cell of another run, and shown from there, the id of that one.
    ``sets``: the models of each authorised set, by own experiment and label of the set. ``components`` are those of
    its record, under the names that they are shown by.
    """

    name: str
    results: RunResults
    experiments: Mapping[str, str]
    labels: Mapping[tuple[str, str, str], str]
    cells: Mapping[str, str]
    alike: Mapping[str, str]
    sets: Mapping[tuple[str, str], tuple[str, ...]]
    components: Sequence[ComponentRecord]

    def called(self, experiment: str, column: str, value: Any) -> Any:
        """What a value of a column is called in rows of an experiment of this run; none for a cell that is not
        shown."""
        if column == "cell":
            return self.cells.get(value)
        if column == "experiment":
            return self.experiments.get(value, value)
        if column == "authorised" and isinstance(value, str):
            return set_label(self.called(experiment, column, self.sets.get((experiment, value), (value,))))
        if column in KINDS and isinstance(value, tuple):
            return tuple(self.labels.get((experiment, KINDS[column], label), label) for label in value)
        if column in KINDS and isinstance(value, str):
            return self.labels.get((experiment, KINDS[column], value), value)
        return value

    def key(self, values: Mapping[str, Any]) -> Key | None:
        """What a key of rows is called; none where its cell is not shown."""
        experiment = values.get("experiment", "")
        key = tuple(self.called(experiment, column, value) for column, value in values.items())
        return None if "cell" in values and None in key else key

    def frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows of this run under the names that they are shown by; the cell is none where it is not shown."""
        experiments = frame["experiment"].tolist()
        found = frame.copy()
        for column in ("cell", "experiment", *KINDS):
            if column in frame:
                pairs = list(zip(experiments, frame[column].tolist(), strict=True))
                names = {pair: self.called(pair[0], column, pair[1]) for pair in set(pairs)}
                found[column] = pd.Series([names[pair] for pair in pairs], index=frame.index, dtype=object)
        return found


@dataclass(frozen=True)
class Joined(RunResults):
    """Several runs under the names that tell them apart; of what they share, the rows of the first that has them.

    ``folder`` is for messages only: every run has one of its own. ``notes`` say what stands together, and why the rest
    does not.
    """

    named: Sequence[Named] = ()
    notes: Sequence[str] = field(default=(), compare=False)

    @property
    def runs(self) -> Sequence[RunResults]:
        """The runs that are read, in the order in which they were named."""
        return [one.results for one in self.named]

    @property
    def names(self) -> Sequence[str]:
        """What tells each of the runs apart."""
        return [one.name for one in self.named]

    def home(self, cell: str) -> tuple[RunResults, str]:
        """The run that a cell is from, and its id there."""
        return self._homes[cell]

    @cached_property
    def _homes(self) -> Mapping[str, tuple[RunResults, str]]:
        return {cell: (one.results, own) for one in self.named for own, cell in one.cells.items()}

    @cached_property
    def run(self) -> RunRecord:
        """One record for all runs: that of the first, with the experiments, components and plugins of every run."""
        records = [one.results.run for one in self.named]
        suites = [record.suite for record in records]
        states = [record.status for record in records]
        return replace(
            records[0],
            suite=replace(
                suites[0],
                name="+".join(suite.name for suite in suites),
                title=" · ".join(dict.fromkeys(suite.title or suite.name for suite in suites)),
                description="",
                experiments=tuple(self._experiments().values()),
            ),
            status=next((s for s in ("running", "interrupted", "incomplete") if s in states), "complete"),
            components=tuple(component for one in self.named for component in one.components),
            plugins=tuple(dict.fromkeys(plugin for record in records for plugin in record.plugins)),
            counts=None,
        )

    def _experiments(self) -> dict[str, ExperimentRecord]:
        """The record of each experiment under the name that it is shown by; of one that several runs have, the values
        of the first run that recorded them."""
        found: dict[str, ExperimentRecord] = {}
        for one in self.named:
            for said in one.results.run.suite.experiments:
                if said.name in one.experiments:
                    name = one.experiments[said.name]
                    known = {k: v for k, v in vars(found[name]).items() if v} if name in found else {}
                    found[name] = replace(said, **{**known, "name": name})
        return found

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per cell that is shown, by experiment, with the name of its ``run``."""
        shown = []
        for one in self.named:
            own = one.results.cells
            own = own[own["cell"].isin(one.cells.keys())]
            shown.append(_with_own_names(one.frame(own), own).assign(run=one.name))
        found = pd.concat([frame for frame in shown if len(frame)] or shown[:1], ignore_index=True)
        order = {name: i for i, name in enumerate(dict.fromkeys(found["experiment"]))}
        return found.sort_values("experiment", key=lambda names: names.map(order), kind="stable", ignore_index=True)

    @cached_property
    def stages(self) -> list[dict[str, Any]]:
        """How every stage ended, with the name of its ``run``; a stage that several runs have is that of the first."""
        found: dict[Any, dict[str, Any]] = {}
        for one in self.named:
            for row in one.results.stages:
                found.setdefault(row.get("key"), {**row, "run": one.name})
        return list(found.values())

    def samples(self, name: str, where: Where | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Per-sample rows of a table, run by run."""
        found = list(self.batches(name, where, columns))
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()

    def batches(
        self, name: str, where: Where | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pd.DataFrame]:
        """The rows that `samples` gives, some thousand at a time."""
        there = self.columns(name).names
        if not there:
            return
        where = {column: wanted_values(column, values) for column, values in (where or {}).items()}
        for asked in (*where, *(columns or ())):
            if asked not in there:
                raise StorageError(
                    f"{self.folder}: samples/{name} has no column {asked!r}; {did_you_mean(asked, there)}"
                )
        wanted = list(columns or there)
        keys = _OWNERS.get(name, ("cell",))
        for number, one in enumerate(self.named):
            own = one.results.columns(name).names
            needed = [column for column in dict.fromkeys([*wanted, "experiment", *keys, *where]) if column in own]
            experiments = [e for e, shown in one.experiments.items() if shown in where.get("experiment", (shown,))]
            for rows in one.results.batches(name, {"experiment": experiments}, needed) if experiments and own else ():
                found = one.frame(rows)
                found = found[self._shown(name, found, keys, number)]
                for column, values in where.items():
                    found = found[found[column].isin(values)]
                if len(found):
                    yield found.reindex(columns=wanted)

    def _shown(self, name: str, rows: pd.DataFrame, keys: Sequence[str], number: int) -> list[bool]:
        """Which rows of a run are shown: those of its cells, and those that no earlier run has."""
        if keys == ("cell",):
            return [cell is not None for cell in rows["cell"]]
        owners = self._owners(name, keys)
        entries = (owners.get(key) for key in zip(*(rows[key].tolist() for key in keys), strict=True))
        return [entry is not None and entry.run == number for entry in entries]

    def _owners(self, name: str, keys: Sequence[str]) -> RowIndex:
        if name not in self._indices:
            self._indices[name] = self.index(name, keys)
        return self._indices[name]

    @cached_property
    def _indices(self) -> dict[str, RowIndex]:
        return {}

    def index(self, name: str, keys: Sequence[str], **about: Any) -> RowIndex:
        """Where the rows of each value of the columns ``keys`` are, over all runs."""
        return RowIndex(self.parts(name), keys, **about)

    def columns(self, name: str) -> pa.Schema:
        """The columns of a table with their types, those of all runs; none where no run has rows of it."""
        found = [schema for one in self.named if len(schema := one.results.columns(name))]
        return pa.unify_schemas(found, promote_options="permissive") if found else pa.schema([])

    def parts(self, name: str) -> list[TableFile]:
        return [
            replace(part, run=number, named=one.key)
            for number, one in enumerate(self.named)
            for part in one.results.parts(name)
        ]


def _with_own_names(shown: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """Models that stand in for nothing go by their labels, also where those have changed."""
    same = own["evaluated_stands_in_for"] == own["evaluated"]
    shown["evaluated_stands_in_for"] = shown["evaluated_stands_in_for"].where(~same, shown["evaluated"])
    columns = (own["authorised"], own["authorised_stand_in_for"], shown["authorised"])
    names = [
        tuple(now if paper == label else paper for label, paper, now in zip(*sets, strict=True))
        for sets in zip(*columns, strict=True)
    ]
    shown["authorised_stand_in_for"] = pd.Series(names, index=shown.index, dtype=object)
    return shown
