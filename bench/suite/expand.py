"""The first pass over a suite: every reference to a component is written out in full.

Pure data: no plugin is looked up here. A ``grid`` becomes one reference per combination of its values, every reference
gets its label, and what is nested in ``via`` and ``on_stand_ins`` becomes a reference of its own. The second pass
(`bench.suite.resolve`) makes a component of each. Every mistake is a `SuiteError` that names the TOML path.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.core.domain import Kind
from bench.core.errors import SuiteError, with_article
from bench.core.text import one_line, shortened, shortened_repr, spelling
from bench.store.reference import MARK
from bench.suite.tables import ExperimentTable, Reference

MAX_GRID = 1000  # components that one entry of an axis may stand for
MAX_CELLS = 1_000_000  # combinations of all axes of a suite; a plan of so many takes a minute and some GB


@dataclass(frozen=True, kw_only=True, eq=False)
class FullReference:
    """One reference of a suite to a component, written out in full.

    ``where`` is its TOML path, for error messages. ``name`` is the component's name among those of its kind, ``passed``
    its parameters as the suite writes them. ``labelled`` is True if the suite writes the label itself. ``via`` is the
    attack whose reconstructions this attack works on. ``on_stand_ins`` is the same defense with the parameters for
    models that were trained on synthetic faces, if the suite writes others for these.
    """

    where: str = field(repr=False)
    kind: Kind
    name: str
    passed: Mapping[str, Any]
    label: str
    labelled: bool
    via: FullReference | None = None
    on_stand_ins: FullReference | None = None

    @property
    def key(self) -> str:
        """A text that is the same for references that differ in nothing but their TOML path."""
        return repr(self)


@dataclass(frozen=True, kw_only=True)
class ExpandedExperiment:
    """One experiment: its table, and the references of each of its axes."""

    where: str
    table: ExperimentTable
    authorised: Sequence[Sequence[FullReference]]
    surrogates: Sequence[FullReference]
    evaluated: Sequence[FullReference]
    datasets: Sequence[FullReference]
    attacks: Sequence[FullReference]
    auxiliary: FullReference | None
    defenses: Sequence[FullReference]
    metrics: Sequence[FullReference]

    def references(self) -> Iterator[FullReference]:
        """Yield every reference of the experiment; nested references come with the one that names them."""
        yield from itertools.chain.from_iterable(self.authorised)
        yield from self.surrogates
        yield from self.evaluated
        yield from self.datasets
        if self.auxiliary is not None:
            yield self.auxiliary
        yield from self.attacks
        yield from self.defenses
        yield from self.metrics


def expand(experiments: Sequence[ExperimentTable]) -> tuple[ExpandedExperiment, ...]:
    """Write out all references of the experiments of a suite. Raises `SuiteError` for more than `MAX_CELLS`
    combinations, which are counted before any of them is made."""
    total = 0
    for i, table in enumerate(experiments):
        total += _combinations(table)
        if total > MAX_CELLS:
            expected = f"expected at most {MAX_CELLS:,} combinations of all axes in a suite"
            raise SuiteError(f"experiment[{i}]: {expected}, found {total:,}; divide it into several suites")
    return tuple(_expand_experiment(table, f"experiment[{i}]") for i, table in enumerate(experiments))


def _combinations(table: ExperimentTable) -> int:
    """Return the number of combinations of the axes of an experiment."""
    axes = (table.datasets, table.authorised, table.defenses, table.attacks, table.evaluated)
    return table.repeats * math.prod(sum(map(_points, axis)) for axis in axes)


def _points(entry: Reference | list[Reference]) -> int:
    """Return for how many references an entry of an axis stands; a wrong grid, which is an error later, for one."""
    grid = entry.get("grid") if isinstance(entry, dict) else None
    lists = list(grid.values()) if isinstance(grid, dict) else []
    return math.prod(map(len, lists)) if all(isinstance(values, list) for values in lists) else 1


def _expand_experiment(table: ExperimentTable, where: str) -> ExpandedExperiment:
    sets = [_expand_set(entry, f"{where}.authorised[{i}]") for i, entry in enumerate(table.authorised)]
    auxiliary = table.auxiliary
    return ExpandedExperiment(
        where=where,
        table=table,
        authorised=sets,
        surrogates=_expand_axis("model", table.surrogates, f"{where}.surrogates"),
        evaluated=_expand_axis("model", table.evaluated, f"{where}.evaluated"),
        datasets=_expand_axis("dataset", table.datasets, f"{where}.datasets"),
        attacks=_expand_axis("attack", table.attacks, f"{where}.attacks"),
        auxiliary=None if auxiliary is None else full_reference("dataset", auxiliary, f"{where}.auxiliary"),
        defenses=_expand_axis("defense", table.defenses, f"{where}.defenses"),
        metrics=_expand_axis("metric", table.metrics, f"{where}.metrics"),
    )


def _expand_set(entry: Reference | list[Reference], where: str) -> Sequence[FullReference]:
    """Return the models that one image is authorised for; an entry that is no list names a single one."""
    if not entry:
        raise SuiteError(f"{where}: expected at least one model, found an empty list")
    return _expand_axis("model", entry, where) if isinstance(entry, list) else [full_reference("model", entry, where)]


def _expand_axis(kind: Kind, references: Sequence[Reference], where: str) -> Sequence[FullReference]:
    return [
        full for i, reference in enumerate(references) for full in full_references(kind, reference, f"{where}[{i}]")
    ]


def full_references(kind: Kind, reference: Reference, where: str) -> Sequence[FullReference]:
    """Write out an entry of an axis, which is one reference, or several if it has a grid."""
    return [full_reference(kind, point, where) for point in _expand_grid(reference, where)]


def _expand_grid(reference: Reference, where: str) -> Sequence[Reference]:
    """``{plugin = "pmt", grid = {steps = [25, 50], pool = [0, 4]}}`` is four references with labels of their own."""
    if isinstance(reference, str) or "grid" not in reference:
        return [reference]
    rest = {k: v for k, v in reference.items() if k != "grid"}
    grid = reference["grid"]
    if not isinstance(grid, dict) or not grid or not all(isinstance(v, list) and v for v in grid.values()):
        raise SuiteError(
            f"{where}.grid: expected a table of parameters, each with a list of values, found {shortened_repr(grid)}"
        )
    if wrong := sorted(set(grid) & {"plugin", "label", "via", "grid"}):
        raise SuiteError(f"{where}.grid.{wrong[0]}: not a parameter; a grid goes over parameters of the plugin")
    if both := sorted(set(grid) & set(rest)):
        raise SuiteError(f"{where}.grid.{both[0]}: given as a parameter too; keep one of them")
    if (points := math.prod(map(len, grid.values()))) > MAX_GRID:
        raise SuiteError(f"{where}.grid: expected at most {MAX_GRID} combinations, found {points}")
    label = _checked_label(rest.get("label", rest.get("plugin", "")), where)
    expanded: list[Reference] = []
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        words = ", ".join(f"{k} {_grid_word(v)}" for k, v in chosen.items())
        expanded.append({**rest, **chosen, "label": f"{label} {words}"})
    return expanded


def reference_words(table: Mapping[str, Any]) -> str:
    """Return the table of a reference in words: the name of its plugin, with its parameters as in the label of a
    grid."""
    words = ", ".join(f"{k} {_grid_word(v)}" for k, v in table.items() if k not in ("plugin", "grid", "on_stand_ins"))
    return f"{table['plugin']} {words}".strip()


def _grid_word(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _checked_label(label: Any, where: str) -> str:
    if not isinstance(label, str) or not label or any(c in label for c in "\n\r\t"):
        raise SuiteError(f"{where}.label: expected a text in one line, found {shortened_repr(label)}")
    if one_line(label) != label:
        raise SuiteError(
            f"{where}.label: expected no character that nobody sees or that controls a terminal, found "
            f"{shortened(label)!a}; remove it"
        )
    return label


def full_reference(kind: Kind, reference: Reference, where: str) -> FullReference:
    """Write out ``"pmt"`` or ``{plugin = "pmt", steps = 50, label = "PMT-50"}``, which has no grid.

    ``via`` means something for attacks only and ``on_stand_ins`` for defenses only; elsewhere they are parameters like
    any other. Raise `SuiteError` if the name, the label or a nested reference is not valid.
    """
    if isinstance(reference, str):
        return FullReference(where=where, kind=kind, name=reference, passed={}, label=reference, labelled=False)
    passed, other, via = dict(reference), None, None
    if kind == "defense" and "on_stand_ins" in passed:
        other = _checked_parameters(passed.pop("on_stand_ins"), f"{where}.on_stand_ins")
    if kind == "attack" and "via" in passed:
        via = _expand_via(passed.pop("via"), f"{where}.via")
    name = passed.pop("plugin", None)
    if not isinstance(name, str):
        raise SuiteError(f"{where}.plugin: expected the name of {with_article(kind)}, found {shortened_repr(name)}")
    labelled = "label" in passed
    label = _checked_label(passed.pop("label", f"{name} via {via.label}" if via else name), where)
    if kind == "defense" and spelling(label).endswith(spelling(MARK)):
        raise SuiteError(
            f"{where}.label: {shortened_repr(label)} ends like the names of defenses whose rows come from a reference "
            "run; give it another label"
        )
    full = FullReference(where=where, kind=kind, name=name, passed=passed, label=label, labelled=labelled, via=via)
    if other is None:
        return full
    return replace(full, on_stand_ins=replace(full, where=f"{where}.on_stand_ins", passed={**passed, **other}))


def _checked_parameters(other: Any, where: str) -> dict[str, Any]:
    """Return the parameters of ``on_stand_ins``; raise `SuiteError` if they are anything else."""
    if not isinstance(other, dict) or not other:
        raise SuiteError(f"{where}: expected a table of parameters, found {shortened_repr(other)}")
    if wrong := sorted(set(other) & {"plugin", "label", "grid", "on_stand_ins"}):
        raise SuiteError(f"{where}.{wrong[0]}: not a parameter; only parameters can differ")
    return other


def _expand_via(reference: Any, where: str) -> FullReference:
    """Write out the attack of ``via``, whose reconstructions the other attack works on."""
    if not isinstance(reference, str | dict):
        raise SuiteError(f"{where}: expected the name of an attack or a table, found {shortened_repr(reference)}")
    return full_reference("attack", reference, where)
