"""Combines several runs into one: which experiments and cells are the same, and under which names the others are shown.

Nothing is averaged over runs that could differ in anything but chance. If two runs have different things of the same
name, that of the second run gets the run's name; what is the same is shown once. No torch.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pandas as pd

from bench.core.errors import StorageError
from bench.core.provenance import NUMERIC_PACKAGES
from bench.core.text import plural, set_label
from bench.store.reading import RunResults
from bench.store.run_record import ComponentRecord, parse_component
from bench.store.several_runs import KINDS, Joined, Named
from bench.suite.tables import ExperimentTable

Content = Mapping[str, Any]
_IN_RECORD = (
    "table",
    "upload",
    "pairs",
    "kappa",
    "fmr",
    "noise_levels",
)  # These settings are in the record of an experiment.
_IN_SUITE = ("threshold", "split", "auxiliary", "repeats")  # These are only in the suite file.
_WORDS = {"fmr": "FMR", "kappa": "κ", "noise_levels": "noise levels", "datasets": "data sets", "table": "table"}
_POINT = ("dataset", "defense", "authorised", "attack", "via", "evaluated", "repeat")
_WHAT = {"dataset": "data set"}


def require_different(folders: Sequence[Path]) -> None:
    """Raise `StorageError` if a run folder is named more than once."""
    for folder, count in Counter(folder.resolve() for folder in folders).items():
        if count > 1:
            raise StorageError(f"{folder}: expected different runs, found this one {count} times; name each run once")


def join(runs: Sequence[RunResults]) -> Joined:
    """Combine different runs, in their order. Raises `StorageError` if one cannot be read."""
    joined: list[_JoiningRun] = []
    notes: list[str] = []
    for name, results in zip(_names(runs), runs, strict=True):
        one = _JoiningRun(name, results)
        notes += one.join(joined)
        joined.append(one)
    named = [one.named() for one in joined]
    folder = Path(" and ".join(str(run.folder) for run in runs))
    return Joined(folder=folder, named=named, notes=notes)


def _names(runs: Sequence[RunResults]) -> list[str]:
    """Return the names of the runs: ``run A``, ``run B`` ..., after the 26th ``run 27`` ...; a label never contains
    one."""
    labels = {str(v) for run in runs for c in ("experiment", *KINDS) for v in run.cells[c].unique()}
    word = "run"
    while any(f"({word} " in label for label in labels):
        word += "'"
    return [f"{word} {ascii_uppercase[i] if i < len(ascii_uppercase) else i + 1}" for i in range(len(runs))]


@dataclass
class _JoiningRun:
    """A run that is being combined with the runs before it."""

    name: str
    results: RunResults
    experiments: dict[str, str] = field(default_factory=dict)
    labels: dict[tuple[str, str, str], str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    alike: dict[str, str] = field(default_factory=dict)

    # ---- what it is --------------------------------------------------------------------------------------------------

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The cells of the run, with an empty text for no label."""
        found = self.results.cells
        return found.assign(**{c: found[c].fillna("") for c in ("via", "evaluated")})

    @cached_property
    def contents(self) -> Mapping[tuple[str, str, str], Content]:
        """The content of each component in cells, by experiment, kind and label."""
        found: dict[tuple[str, str, str], Content] = {}
        for experiment, text in zip(self.cells["experiment"], self.cells["components"], strict=True):
            for component in json.loads(text or "[]"):
                key = (experiment, component["kind"], component["label"])
                if key not in found:
                    found[key] = content_of(parse_component(self.results.folder, component))
        return found

    @cached_property
    def conditions(self) -> str | None:
        """What decides the rows besides components: code of bench, packages and device, as text; None if not
        recorded."""
        run = self.results.run
        if not run.host:
            return None
        versions = {p: run.versions.get(p) for p in NUMERIC_PACKAGES}
        lpips = run.lpips and vars(run.lpips)
        deterministic = run.suite.head.get("deterministic", False)
        return json.dumps([run.host, versions, run.device, lpips, deterministic], sort_keys=True)

    def settings(self, experiment: str) -> Mapping[str, Any]:
        """Return the settings of an experiment and its data sets; two experiments with equal ones can be shown as
        one."""
        suite = self.results.run.suite
        table, recorded = suite.table(experiment), suite.experiment(experiment)
        defaults = {name: f.default for name, f in ExperimentTable.model_fields.items()}
        datasets = {label: c for (e, kind, label), c in self.contents.items() if (e, kind) == (experiment, "dataset")}
        return {
            "datasets": datasets,
            "seed": suite.seed,
            **{name: _or(getattr(recorded, name, None), defaults[name]) for name in _IN_RECORD},
            **{name: table.get(name, defaults[name]) for name in _IN_SUITE},
        }

    # ---- beside the runs before it -----------------------------------------------------------------------------------

    def join(self, before: Sequence[_JoiningRun]) -> Iterator[str]:
        """Decide under which names this run is shown beside the runs before it, and which of its cells are; yield
        notes."""
        yield from self._name_experiments(before)
        yield from self._name_components(before)
        yield from self._name_conflicts(before)
        yield from self._show_cells(before)

    def _name_experiments(self, before: Sequence[_JoiningRun]) -> Iterator[str]:
        """Give each experiment the name of an earlier one with the same settings, or a new name; yield the reasons."""
        for name in dict.fromkeys(self.cells["experiment"]):
            mine = self.settings(name)
            others = [(run, shown, run.settings(name)) for run in before if (shown := run.experiments.get(name))]
            same = next((shown for _, shown, theirs in others if theirs == mine), None)
            self.experiments[name] = same or (f"{name} ({self.name})" if others else name)
            if others and same is None:
                run, _, theirs = others[0]
                why = "; ".join(_differences(mine, theirs, run.name))
                yield f"{name} of {self.name} stands apart, as {self.experiments[name]}: {why}."

    def _name_components(self, before: Sequence[_JoiningRun]) -> Iterator[str]:
        """Add the run's name to a component that differs from the one that an earlier run has under its label, and to a
        defense that was computed under other conditions."""
        notes: dict[tuple[str, str, str], None] = {}
        for (experiment, kind, label), content in self.contents.items():
            known = [(run, *means) for run in before for means in run.meanings(kind, label)]
            known = [k for k in known if k[1] == self.experiments[experiment]] or known
            alike = [k for k in known if k[3] == content]
            same = next((shown for run, _, shown, _ in alike if kind != "defense" or self._as_in(run)), None)
            if same is None and known:
                same = f"{label} ({self.name})"
                run, *_, theirs = (alike or known)[0]
                if alike:
                    why = f"was computed by another bench, with other packages or on another device than in {run.name}"
                else:
                    why = f"is another {_WHAT.get(kind, kind)}: {', '.join(_changed(content, theirs, run.name))}"
                notes.setdefault((kind, label, why))
            if same not in (None, label):
                self.labels[experiment, kind, label] = same
        for _, label, why in notes:
            yield f"{label} of {self.name} {why}. It is called {label} ({self.name})."

    def meanings(self, kind: str, label: str) -> Iterator[tuple[str, str, Content]]:
        """Yield the component that a label stands for in each experiment: the shown experiment, the shown label, and
        the content of the component."""
        for (experiment, of, own), content in self.contents.items():
            if (of, own) == (kind, label):
                yield self.experiments[experiment], self.labels.get((experiment, kind, label), label), content

    def _as_in(self, run: _JoiningRun) -> bool:
        """Return True if this run was computed under the conditions of another; unknown conditions never agree."""
        return self.conditions is not None and self.conditions == run.conditions

    def _name_conflicts(self, before: Sequence[_JoiningRun]) -> Iterator[str]:
        """Add the run's name to the defense of a cell that would be shown like an earlier one with other inputs."""
        theirs = {point: end for run in before for point, end in run.points() if end.cell in run.shown}
        found: dict[str, None] = {}
        for point, end in self.points():
            if point in theirs and not end.same(theirs[point]):
                self.labels[end.experiment, "defense", end.defense] = f"{end.defense} ({self.name})"
                found.setdefault(end.defense)
        for label in found:
            yield (
                f"{label} of {self.name} was computed from something else than what is called so in the runs before "
                f"(what attacks learnt from, or the pairs). It is called {label} ({self.name})."
            )

    def _show_cells(self, before: Sequence[_JoiningRun]) -> Iterator[str]:
        """Show each cell once: from the first run that has a result for it, or else from the first that has the
        cell."""
        taken = {shown for run in before for shown in run.shown.values()}
        theirs = {point: (run, end) for run in before for point, end in run.points() if end.cell in run.shown}
        same: Counter[str] = Counter()
        instead: Counter[str] = Counter()
        for point, end in self.points():
            if point in theirs:
                run, other = theirs[point]
                if other.status == "ok" or end.status != "ok":
                    same[run.name] += 1
                    self.alike[end.cell] = run.shown[other.cell]
                    continue
                instead[f"{other.status} in {run.name}"] += 1
                self.shown[end.cell] = run.alike[other.cell] = run.shown.pop(other.cell)
                continue
            self.shown[end.cell] = end.cell if end.cell not in taken else f"{self.name.split()[-1]}-{end.cell}"
        for name, count in same.items():
            yield f"Shown once: {plural(count, 'cell')} that {name} and {self.name} share, to the last input."
        for how, count in instead.items():
            yield f"Shown from {self.name}: {plural(count, 'cell')}, {how}."

    def points(self) -> Iterator[tuple[Hashable, _CellEnd]]:
        """Yield the shown coordinates of each cell and how it ended."""
        view = self.named()
        columns = [self.cells[c].tolist() for c in ("cell", "experiment", "stages", "status", *_POINT)]
        for cell, experiment, stages, status, *values in zip(*columns, strict=True):
            called = (view.called(experiment, c, v) for c, v in zip(_POINT, values, strict=True))
            end = _CellEnd(cell=cell, experiment=experiment, defense=values[1], stages=stages, status=status)
            yield (self.experiments[experiment], *called), end

    def named(self) -> Named:
        """Return this run under its shown names."""
        return Named(
            name=self.name,
            results=self.results,
            experiments=self.experiments,
            labels=self.labels,
            cells=self.shown,
            alike=self.alike,
            sets={
                (experiment, set_label(models)): models
                for experiment, models in set(zip(self.cells["experiment"], self.cells["authorised"], strict=True))
            },
            components=list(self._components()),
        )

    def _components(self) -> Iterator[ComponentRecord]:
        """Yield the components of the record under every label that they are shown by."""
        by_name: dict[tuple[str, str], list[tuple[str, Content]]] = defaultdict(list)
        for (experiment, kind, label), content in self.contents.items():
            shown = self.labels.get((experiment, kind, label), label)
            by_name[kind, label].append((shown, content))
        for component in self.results.run.components:
            content = content_of(component)
            found = by_name.get((component.kind, component.label), [])
            names = [shown for shown, known in found if known == content] or [component.label]
            for name in dict.fromkeys(names):
                yield replace(component, label=name)


def _or(value: Any, default: Any) -> Any:
    """Return a recorded value as in JSON, or the default if it was not recorded."""
    found = default if value is None else value
    return list(found) if isinstance(found, tuple) else found


def content_of(component: ComponentRecord) -> Content:
    """Return everything of a recorded component that is part of content keys, which its label is not."""
    return {
        "plugin": component.name,
        **{f"parameter {name}": value for name, value in component.params.items()},
        "distribution": component.origin.distribution,
        "version": component.origin.version,
        "code": component.origin.digest,
        **{f"code of {name}": digest for name, digest in component.origin.libraries.items()},
        "weights": component.weights,
        "via": component.via and content_of(component.via),
    }


@dataclass(frozen=True, kw_only=True)
class _CellEnd:
    """How a cell ended, and the score stages that it was computed from."""

    cell: str
    experiment: str
    defense: str
    stages: str
    status: str

    def same(self, other: _CellEnd) -> bool:
        """Return True if both were computed from the same inputs by the same code, or both were skipped."""
        mine, theirs = (sorted(json.loads(text or "[]")) for text in (self.stages, other.stages))
        return mine == theirs and (bool(mine) or self.status == other.status == "skipped")


# ---- in words --------------------------------------------------------------------------------------------------------


def _differences(mine: Mapping[str, Any], theirs: Mapping[str, Any], other: str) -> Iterator[str]:
    """Yield the differences between two experiments, one sentence part each."""
    for name, value in mine.items():
        if value == theirs[name]:
            continue
        if name != "datasets":
            yield f"{_WORDS.get(name, name)} {_value(value)}, in {other} {_value(theirs[name])}"
        elif value.keys() != theirs[name].keys():
            yield f"data sets {_listed(value)}, in {other} {_listed(theirs[name])}"
        else:
            for label in value:
                if value[label] != theirs[name][label]:
                    yield f"data set {label}: {', '.join(_changed(value[label], theirs[name][label], other))}"


def _changed(mine: Content, theirs: Content, other: str) -> Iterator[str]:
    """Yield the differences between two components, one sentence part each."""
    for name in dict.fromkeys((*mine, *theirs)):
        if mine.get(name) != theirs.get(name):
            words = name.removeprefix("parameter ")
            yield f"{words} {_value(mine.get(name))}, in {other} {_value(theirs.get(name))}"


def _value(value: object) -> str:
    """Return a value as text; a digest by its first 12 digits."""
    if isinstance(value, Mapping):
        return _value(value.get("plugin"))
    text = "none" if value in (None, "", []) else str(value)
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)
