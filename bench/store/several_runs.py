"""Reads several runs as one. `bench.runs.combine` decides which of their cells are shown, and under which names."""

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
from bench.store.row_index import RowIndex
from bench.store.run_record import ComponentRecord, ExperimentRecord, RunRecord
from bench.store.table_files import Key, TableFile

# The kind of component whose labels a column holds.
KINDS: Mapping[str, str] = {
    "dataset": "dataset",
    "defense": "defense",
    "authorised": "model",
    "evaluated": "model",
    "attack": "attack",
    "via": "attack",
}
_SHARED = ("experiment", "dataset", "defense", "authorised", "repeat", "attack")  # These rows belong to several cells.
_OWNERS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("images", "sets", "examples"), _SHARED),
    **dict.fromkeys(("baselines", "people"), ("experiment", "dataset")),
}


@dataclass(frozen=True, kw_only=True)
class Named:
    """One of several runs that are read as one: what is shown of it, and under which names.

    - ``name``: the name of the run among the others
    - ``experiments``: the shown name of each experiment
    - ``labels``: the shown label of a component by experiment, kind and label, where the two differ
    - ``cells``: the shown id of each cell that is shown
    - ``alike``: for each cell that equals a cell of another run and is shown from there, the shown id of that cell
    - ``sets``: the models of each authorised set by experiment and label of the set
    - ``components``: the components of its record under their shown labels
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
        """Return the shown value of a column in rows of an experiment of this run; None for a cell that is not
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
        """Return the shown key of rows, or None if their cell is not shown."""
        experiment = values.get("experiment", "")
        key = tuple(self.called(experiment, column, value) for column, value in values.items())
        return None if "cell" in values and None in key else key

    def frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return rows of this run with shown values; the cell is None where it is not shown."""
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
    """The results of several runs as one. Rows that several runs have are those of the first run.

    ``folder`` is for messages only: every run has a folder of its own. ``notes`` are sentences about what is shown
    together, and about what is not and why.
    """

    named: Sequence[Named] = ()
    notes: Sequence[str] = field(default=(), compare=False)

    @property
    def runs(self) -> Sequence[RunResults]:
        """The results of each run, in the order in which they were named."""
        return [one.results for one in self.named]

    @property
    def names(self) -> Sequence[str]:
        """A name for each of the runs that tells them apart."""
        return [one.name for one in self.named]

    def home(self, cell: str) -> tuple[RunResults, str]:
        """Return the results that a cell is from, and its id there."""
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
        """Return the record of each experiment by shown name; if several runs have an experiment, each value is that of
        the first run that recorded it."""
        found: dict[str, ExperimentRecord] = {}
        for one in self.named:
            for own in one.results.run.suite.experiments:
                if own.name in one.experiments:
                    name = one.experiments[own.name]
                    known = {k: v for k, v in vars(found[name]).items() if v} if name in found else {}
                    found[name] = replace(own, **{**known, "name": name})
        return found

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per cell that is shown, by experiment, with the name of its run in the column ``run``."""
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
        """The rows of all stages with the names of their runs (``run``); of a stage that several runs have, that of
        the first."""
        found: dict[Any, dict[str, Any]] = {}
        for one in self.named:
            for row in one.results.stages:
                found.setdefault(row.get("key"), {**row, "run": one.name})
        return list(found.values())

    def samples(self, name: str, where: Where | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the per-sample rows of a table, run by run."""
        found = list(self.batches(name, where, columns))
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()

    def batches(
        self, name: str, where: Where | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pd.DataFrame]:
        """Yield the rows that `samples` returns, some thousand at a time."""
        known = self.columns(name).names
        if not known:
            return
        where = {column: wanted_values(column, values) for column, values in (where or {}).items()}
        for column in (*where, *(columns or ())):
            if column not in known:
                raise StorageError(
                    f"{self.folder}: samples/{name} has no column {column!r}; {did_you_mean(column, known)}"
                )
        wanted = list(columns or known)
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
        """Return which rows of a run are shown: those of its shown cells, or those that no earlier run has."""
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
        """Return an index of the rows of all runs by the columns ``keys``."""
        return RowIndex(self.parts(name), keys, **about)

    def columns(self, name: str) -> pa.Schema:
        """Return the columns of a table in all runs with their types; an empty schema if no run has rows of it."""
        found = [schema for one in self.named if len(schema := one.results.columns(name))]
        return pa.unify_schemas(found, promote_options="permissive") if found else pa.schema([])

    def parts(self, name: str) -> list[TableFile]:
        return [
            replace(part, run=number, named=one.key)
            for number, one in enumerate(self.named)
            for part in one.results.parts(name)
        ]


def _with_own_names(shown: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """Return the shown cells, in which a model that stands in for nothing is named by its shown label."""
    same = own["evaluated_stands_in_for"] == own["evaluated"]
    shown["evaluated_stands_in_for"] = shown["evaluated_stands_in_for"].where(~same, shown["evaluated"])
    columns = (own["authorised"], own["authorised_stand_in_for"], shown["authorised"])
    names = [
        tuple(now if paper == label else paper for label, paper, now in zip(*sets, strict=True))
        for sets in zip(*columns, strict=True)
    ]
    shown["authorised_stand_in_for"] = pd.Series(names, index=shown.index, dtype=object)
    return shown
