"""Several runs as one: which of their experiments ask the same, which cells are the same, what is called what.

Nothing is averaged over runs that could differ in anything but chance. What two runs call alike and is not alike gets
the run's name in the second one; what is the same appears once. No torch.
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
_QUESTION = ("table", "upload", "pairs", "kappa", "fmr", "noise_levels")  # what a record says of an experiment
_ASKED = ("threshold", "split", "auxiliary", "repeats")  # what only the suite says
_WORDS = {"fmr": "FMR", "kappa": "κ", "noise_levels": "noise levels", "datasets": "data sets", "table": "table"}
_POINT = ("dataset", "defense", "authorised", "attack", "via", "evaluated", "repeat")
_WHAT = {"dataset": "data set"}


def require_different(folders: Sequence[Path]) -> None:
    """`StorageError` where a run folder is named more than once."""
    for folder, count in Counter(folder.resolve() for folder in folders).items():
        if count > 1:
            raise StorageError(f"{folder}: expected different runs, found this one {count} times; name each run once")


def join(runs: Sequence[RunResults]) -> Joined:
    """Read different runs as one, in their order. Raises `StorageError` where one cannot be read."""
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
    """``run A``, ``run B`` ..., after the 26th ``run 27`` ...; no label ends like one of them."""
    labels = {str(v) for run in runs for c in ("experiment", *KINDS) for v in run.cells[c].unique()}
    word = "run"
    while any(f"({word} " in label for label in labels):
        word += "'"
    return [f"{word} {ascii_uppercase[i] if i < len(ascii_uppercase) else i + 1}" for i in range(len(runs))]


@dataclass
class _JoiningRun:
    """A run while it is being joined."""

    name: str
    results: RunResults
    experiments: dict[str, str] = field(default_factory=dict)
    labels: dict[tuple[str, str, str], str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    alike: dict[str, str] = field(default_factory=dict)

    # ---- what it is --------------------------------------------------------------------------------------------------

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Its cells, with text where there is none."""
        found = self.results.cells
        return found.assign(**{c: found[c].fillna("") for c in ("via", "evaluated")})

    @cached_property
    def contents(self) -> Mapping[tuple[str, str, str], Content]:
        """What each component is that takes part: by experiment, kind and label."""
        found: dict[tuple[str, str, str], Content] = {}
        for experiment, text in zip(self.cells["experiment"], self.cells["components"], strict=True):
            for component in json.loads(text or "[]"):
                key = (experiment, component["kind"], component["label"])
                if key not in found:
                    found[key] = content_of(parse_component(self.results.folder, component))
        return found

    @cached_property
    def conditions(self) -> str | None:
        """What decides about rows beside components: code of bench, packages, device; none where that is not known."""
        run = self.results.run
        if not run.host:
            return None
        versions = {p: run.versions.get(p) for p in NUMERIC_PACKAGES}
        lpips = run.lpips and vars(run.lpips)
        head = run.suite.raw.get("suite") or {}
        return json.dumps([run.host, versions, run.device, lpips, head.get("deterministic", False)], sort_keys=True)

    def question(self, experiment: str) -> Mapping[str, Any]:
        """What an experiment asks, whatever is protected, attacked or evaluated in it."""
        suite = self.results.run.suite
        raw, recorded = suite.raw, suite.experiment(experiment)
        asked: Mapping[str, Any] = next((e for e in raw.get("experiment") or [] if e.get("name") == experiment), {})
        defaults = {name: f.default for name, f in ExperimentTable.model_fields.items()}
        datasets = {label: c for (e, kind, label), c in self.contents.items() if (e, kind) == (experiment, "dataset")}
        return {
            "datasets": datasets,
            "seed": suite.seed,
            **{name: _or(getattr(recorded, name, None), defaults[name]) for name in _QUESTION},
            **{name: asked.get(name, defaults[name]) for name in _ASKED},
        }

    # ---- beside the runs before it -----------------------------------------------------------------------------------

    def join(self, before: Sequence[_JoiningRun]) -> Iterator[str]:
        """Decide what everything is called beside the runs before it, and which cells are shown; say why."""
        yield from self._name_experiments(before)
        yield from self._name_components(before)
        yield from self._name_conflicts(before)
        yield from self._show_cells(before)

    def _name_experiments(self, before: Sequence[_JoiningRun]) -> Iterator[str]:
        """An experiment that asks what an earlier one of its name asks is that one; another one gets a name."""
        for name in dict.fromkeys(self.cells["experiment"]):
            mine = self.question(name)
            others = [(run, shown, run.question(name)) for run in before if (shown := run.experiments.get(name))]
            same = next((shown for _, shown, theirs in others if theirs == mine), None)
            self.experiments[name] = same or (f"{name} ({self.name})" if others else name)
            if others and same is None:
                run, _, theirs = others[0]
                why = "; ".join(_differences(mine, theirs, run.name))
                yield f"{name} of {self.name} stands apart, as {self.experiments[name]}: {why}."

    def _name_components(self, before: Sequence[_JoiningRun]) -> Iterator[str]:
        """A component that is not what an earlier run calls so gets the run's name; so does a defense that was
        computed under other conditions."""
        said: dict[tuple[str, str, str], None] = {}
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
                said.setdefault((kind, label, why))
            if same not in (None, label):
                self.labels[experiment, kind, label] = same
        for _, label, why in said:
            yield f"{label} of {self.name} {why}. It is called {label} ({self.name})."

    def meanings(self, kind: str, label: str) -> Iterator[tuple[str, str, Content]]:
        """What a label means in each experiment here: the experiment and the label as they are shown, and what it
        is."""
        for (experiment, of, own), content in self.contents.items():
            if (of, own) == (kind, label):
                yield self.experiments[experiment], self.labels.get((experiment, kind, label), label), content

    def _as_in(self, run: _JoiningRun) -> bool:
        """Whether this run was computed under the conditions of another; unknown ones are those of no other."""
        return self.conditions is not None and self.conditions == run.conditions

    def _name_conflicts(self, before: Sequence[_JoiningRun]) -> Iterator[str]:
        """Cells that are called alike and were computed from something else: their defenses get the run's name."""
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
        """Show each cell once: from the first run that has a result of it, or else from the first that has it."""
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
        """What each cell is called beside others, and how it ended."""
        view = self.named()
        columns = [self.cells[c].tolist() for c in ("cell", "experiment", "stages", "status", *_POINT)]
        for cell, experiment, stages, status, *values in zip(*columns, strict=True):
            called = (view.called(experiment, c, v) for c, v in zip(_POINT, values, strict=True))
            end = _CellEnd(cell=cell, experiment=experiment, defense=values[1], stages=stages, status=status)
            yield (self.experiments[experiment], *called), end

    def named(self) -> Named:
        """This run under the names that were found."""
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
        """The components of its record, under every name that they are shown by."""
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
    """A recorded value as JSON has it, or the default of what was not recorded."""
    found = default if value is None else value
    return list(found) if isinstance(found, tuple) else found


def content_of(component: ComponentRecord) -> Content:
    """What a recorded component is, whatever its label: everything of it that is part of content keys."""
    return {
        "plugin": component.name,
        **{f"parameter {name}": value for name, value in component.params.items()},
        "distribution": component.origin.distribution,
        "version": component.origin.version,
        "code": component.origin.digest,
        "weights": component.weights,
        "via": component.via and content_of(component.via),
    }


@dataclass(frozen=True, kw_only=True)
class _CellEnd:
    """How a cell ended, and from which stages."""

    cell: str
    experiment: str
    defense: str
    stages: str
    status: str

    def same(self, other: _CellEnd) -> bool:
        """Whether both were computed from the same inputs by the same code, or both skipped."""
        mine, theirs = (sorted(json.loads(text or "[]")) for text in (self.stages, other.stages))
        return mine == theirs and (bool(mine) or self.status == other.status == "skipped")


# ---- in words --------------------------------------------------------------------------------------------------------


def _differences(mine: Mapping[str, Any], theirs: Mapping[str, Any], other: str) -> Iterator[str]:
    """In what two questions differ."""
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
    """In what two components differ."""
    for name in dict.fromkeys((*mine, *theirs)):
        if mine.get(name) != theirs.get(name):
            words = name.removeprefix("parameter ")
            yield f"{words} {_value(mine.get(name))}, in {other} {_value(theirs.get(name))}"


def _value(value: object) -> str:
    """A value in few characters: of digests, the beginning."""
    if isinstance(value, Mapping):
        return _value(value.get("plugin"))
    text = "none" if value in (None, "", []) else str(value)
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)
