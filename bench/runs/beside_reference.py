"""Shows a run beside the reference run of its suite: whose rows are shown, and what has changed since they were made.

Only defenses that the run itself lacks are shown from the reference run, and each is marked by its name. Nothing is
averaged over the two runs, because averages are per defense.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from bench.core.provenance import NUMERIC_PACKAGES
from bench.core.text import plural, set_label, spelling
from bench.registry.discovery import Registry
from bench.runs.combine import content_of
from bench.runs.replan import changes_of_code
from bench.store.reading import RunResults
from bench.store.record_diff import change
from bench.store.recorded_commands import is_bench, offered_words
from bench.store.reference import MARK, find_reference
from bench.store.run_record import ComponentRecord, RunRecord
from bench.store.several_runs import Joined, Named
from bench.suite.from_reference import same_questions
from bench.suite.suite import Suite

THIS, REFERENCE = "this run", "the reference run"
RECOMPUTE = "--recompute-reference"
_LISTED = 3  # The most changes that the sentence about them names.


@dataclass(frozen=True)
class BesideReference(Joined):
    """The results of a run, beside those of the reference run of its suite, as one."""

    @property
    def opened(self) -> Sequence[RunResults]:
        """The run itself: the reference run is found by its suite."""
        return self.runs[:1]

    @cached_property
    def run(self) -> RunRecord:
        """The record of the run itself, with the experiments, components and plugins of both."""
        own, both = self.named[0].results.run, super().run
        names = {name: getattr(own.suite, name) for name in ("name", "title", "description")}
        return replace(both, suite=replace(both.suite, **names), status=own.status, counts=own.counts)


def with_reference(results: RunResults, registry: Registry) -> RunResults:
    """Return the results of a run beside the reference run of its suite, or alone if there is nothing to show.

    A run of single cells, a rescoring and a replay stand alone; so does a run that asked other questions.
    """
    run = results.run
    reference = None if run.derived or run.replay_of else find_reference(run.suite.version)
    if reference is None or not same_questions(run.suite.raw, reference.run):
        return results
    shown = lacking(reference, results.cells["defense"])
    if not shown:
        return results
    notes = [
        f"{plural(len(shown), 'defense')} marked{MARK}: {', '.join(shown)}. The rows are those of the reference run of "
        f"{run.suite.version}, which comes with bench; they were not computed in this run.",
        *changed_since(run, reference.run, registry),
    ]
    named = [_whole(THIS, results), _reference(reference, shown)]
    return BesideReference(folder=results.folder, named=named, notes=notes)


def reading(suite: Suite) -> str | None:
    """Return a sentence on the defenses that a suite will show from its reference run; None if there are none."""
    reference = find_reference(suite.version)
    if reference is None:
        return None
    if not same_questions(suite.raw, reference.run):
        return (
            f"the reference run of {suite.version} answers other questions than this suite and is not shown; give the "
            "suite another version"
        )
    shown = lacking(reference, [d.label for experiment in suite.experiments for d in experiment.defenses])
    if not shown:
        return None
    return f"from the reference run of {suite.version}, and not computed: {', '.join(shown)}; {RECOMPUTE} computes them"


def lacking(reference: RunResults, defenses: Any) -> list[str]:
    """Return the defenses of a reference run that are not among these labels."""
    own = {spelling(label) for label in defenses}
    return [label for label in dict.fromkeys(reference.cells["defense"]) if spelling(label) not in own]


def _whole(name: str, results: RunResults) -> Named:
    """Return a run under its own names, with all its cells."""
    cells = results.cells
    sets = set(zip(cells["experiment"], cells["authorised"], strict=True))
    return Named(
        name=name,
        results=results,
        experiments={e: e for e in dict.fromkeys(cells["experiment"])},
        labels={},
        cells={cell: cell for cell in cells["cell"]},
        alike={},
        sets={(experiment, set_label(models)): models for experiment, models in sets},
        components=results.run.components,
    )


def _reference(results: RunResults, shown: list[str]) -> Named:
    """Return the reference run with the cells of the shown defenses only, which are marked."""
    whole, cells = _whole(REFERENCE, results), results.cells
    own = cells[cells["defense"].isin(shown)]
    marked = {label: f"{label}{MARK}" for label in shown}
    components = [c for c in whole.components if c.kind != "defense" or c.label in marked]
    return replace(
        whole,
        labels={(e, "defense", label): name for e in whole.experiments for label, name in marked.items()},
        cells={cell: cell for cell in own["cell"]},
        components=[replace(c, label=marked[c.label]) if c.kind == "defense" else c for c in components],
    )


# ---- what has changed ------------------------------------------------------------------------------------------------


def changed_since(run: RunRecord, reference: RunRecord, registry: Registry) -> list[str]:
    """Return a sentence that names what decides rows and differs between a run and the reference run, and what to do;
    an empty list if nothing differs."""
    found = list(dict.fromkeys(_changes(run, reference, registry)))
    if not found:
        return []
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    words = [*offered_words(run.command), RECOMPUTE] if is_bench(run.command) else []
    command = shlex.join(words or ["bench", "run", run.suite.name, RECOMPUTE])
    return [
        f"The reference rows of {reference.suite.version} were made by something else than this run "
        f"({'; '.join(found[:_LISTED])}{more}), so differences from them may have other causes than the defense: "
        f"compute them here with: {command}"
    ]


def _changes(run: RunRecord, reference: RunRecord, registry: Registry) -> Iterator[str]:
    before, now = reference.host or {}, run.host or {}
    for name in sorted(before.keys() | now.keys()):
        yield from change(f"code of bench/{name}", before.get(name), now.get(name))
    own = {(c.kind, c.label): c for c in run.components}
    for recorded in reference.components:
        if (known := own.get((recorded.kind, recorded.label))) is not None:
            yield from _changes_of(recorded, known)
        elif recorded.kind == "defense":
            yield from changes_of_code(recorded, registry)
    for package in NUMERIC_PACKAGES:
        yield from change(f"version of {package}", reference.versions.get(package), run.versions.get(package))
    yield from change("weights of LPIPS", *(record.lpips and record.lpips.sha256 for record in (reference, run)))
    yield from change("device", reference.device, run.device)


def _changes_of(recorded: ComponentRecord, known: ComponentRecord) -> Iterator[str]:
    before, now = _flat(recorded), _flat(known)
    for name in dict.fromkeys((*before, *now)):
        yield from change(f"{name} of {recorded.kind} {recorded.label}", before.get(name), now.get(name))


def _flat(component: ComponentRecord) -> Mapping[str, object]:
    """Return what decides the results of a component, with lists as a file of JSON holds them."""
    found = content_of(component)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}
