"""The section "Provenance": where the numbers of the page come from and how to reproduce them.

It shows the provenance record of each run: commit, versions, machine, components with digests and licenses, and stages.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from bench.analysis.rows import Rows
from bench.core.packages import DISTRIBUTION
from bench.core.text import duration, plural
from bench.report.page.run_facts import Grid, when
from bench.store.badges import unchecked
from bench.store.reading import RunResults
from bench.store.recorded_commands import offered
from bench.store.run_record import ComponentRecord, LpipsRecord, RescoringRecord, RunRecord
from bench.store.several_runs import Joined

LISTED = 300  # The most stages in the table; the others are in stages.parquet and in the details of their cells.


def place(results: RunResults) -> str:
    """Return the path of a run folder that ends with results/<suite>/<run>."""
    return str(PurePath(*results.folder.parts[-3:]))


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step to reproduce a run: its purpose, its command, and a remark; the latter two may be empty."""

    what: str
    command: str = ""
    remark: str = ""


def steps(results: RunResults) -> list[Step]:
    """Return the steps that reproduce a run, from its sources to the comparison with the new run."""
    run, folder = results.run, shlex.quote(place(results))
    return [
        _sources(run),
        Step(
            what="Install it",
            command="python3 -m venv .venv && .venv/bin/pip install --constraint constraints.txt --editable .",
            remark="Versions as listed below; then .venv/bin is where bench is.",
        ),
        *_data_and_weights(run),
        *_run_commands(run),
        Step(
            what="Compare both, cell by cell",
            command=f"bench diff {folder} NEW_RUN",
            remark="Paired differences with intervals, and what else has changed.",
        ),
        *([] if run.rescored else [_replay(folder)]),
    ]


def _run_commands(run: RunRecord) -> list[Step]:
    """Return the step with the command of a run; for a rescoring, also that of the run whose artifacts it reused."""
    made = run.rescored.made_by.command if run.rescored else ()
    what = "Score it again" if run.rescored else "Run the suite"
    first = [Step(what="Run the suite", command=offered(made))] if made else []
    return [*first, Step(what=what, command=offered(run.command))]


def _replay(folder: str) -> Step:
    return Step(
        what="Or, with the run folder at hand, replay it",
        command=f"bench run --replay {folder}",
        remark="It reads run.json alone, computes everything again, and says whether all bytes are equal.",
    )


def again(rows: Rows) -> list[tuple[str, list[Step]]]:
    """Return the name of each run on the page and the steps that reproduce it."""
    return [(name, steps(run)) for name, run in zip(rows.results.names, rows.results.runs, strict=True)]


def _sources(run: RunRecord) -> Step:
    """Return the step that gets the sources of bench at the commit of a run."""
    commit, _, dirty = (run.commit or "").partition("+")
    if not commit:
        version = run.versions.get(DISTRIBUTION, "unknown")
        return Step(
            what="Get the sources", remark=f"The run was not made from a checkout; {DISTRIBUTION} was {version}."
        )
    remark = "Files differed from this commit: it alone may not give the same numbers." if dirty else ""
    return Step(what="Get the same sources", command=f"git checkout {commit}", remark=remark)


def _data_and_weights(run: RunRecord) -> list[Step]:
    """Return the steps that put real data and weights in place, which bench cannot distribute."""
    kinds = {c.kind for c in run.components if not c.synthetic}
    found = []
    if "dataset" in kinds:
        found.append(Step(what="Put real faces in place", command="bench data status --data-dir DIR"))
    if "model" in kinds:
        found.append(Step(what="Put real weights in place", command="bench models status --weights-dir DIR"))
    return found


def commands(rows: Rows, tables: Sequence[str], claims: bool) -> list[tuple[str, str]]:
    """Return commands that make the page, the verdicts on claims, and the main tables again from the stored rows."""
    runs = rows.results.opened
    several = len(runs) > 1
    folders = [shlex.quote(place(run)) for run in runs]
    of = [f" of {name}" if several else "" for name in rows.results.names[: len(runs)]]
    found = [("Make this page from the rows", f"bench report {' '.join(folders)}")]
    if claims:
        found += [
            (f"Hold the claims{which} against the rows", f"bench claims {folder}")
            for folder, which in zip(folders, of, strict=True)
        ]
    return [
        *found,
        *(
            (f"Print table {name}", f"bench export {' '.join(folders)} --table {shlex.quote(name)} --format csv")
            for name in dict.fromkeys(tables)
        ),
    ]


def identities(rows: Rows) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the name of each run on the page and what identifies it."""
    return [(name, identity(run)) for name, run in zip(rows.results.names, rows.results.runs, strict=True)]


def identity(results: RunResults) -> list[tuple[str, str]]:
    """Return what identifies a run, as pairs of a name and a text: commit, digests, seed, times, versions, machine."""
    run = results.run
    machine, lpips = run.machine, run.lpips or LpipsRecord()
    versions = ", ".join(f"{k} {v}" for k, v in run.versions.items())
    return [
        ("Rows", place(results)),
        *_rescored(run.rescored),
        ("Commit", _commit(run.commit)),
        ("Plan digest", run.digest or "unknown"),
        ("Suite file, sha256", run.suite.sha256 or "unknown"),
        ("Version of the suite", run.suite.version or "none"),
        ("Seed", str(run.suite.seed)),
        ("Defenses protect again", _checks(results, "check_defenses", "protect")),
        ("Attacks work again", _checks(results, "check_attacks", "attack", "embed")),
        ("Started", when(run.started)),
        ("Finished", when(run.finished)),
        ("Versions", versions or "unknown"),
        ("Python", machine.python or "unknown"),
        ("Platform", machine.platform or "unknown"),
        ("Processor", f"{machine.processor or 'unknown'}, {machine.cores or '?'} cores"),
        ("Device", f"{run.device or 'unknown'}: {run.device_name or 'unknown'}"),
        ("Engine", run.engine or "unknown"),
        ("LPIPS weights, sha256", lpips.sha256 or lpips.reason or "unknown"),
    ]


def _checks(results: RunResults, setting: str, *kinds: str) -> str:
    """Return what the host's check of the defenses or attacks of a run found, as text: the ``setting`` that turns it
    off, and the ``kinds`` of its stages."""
    if results.run.suite.head.get(setting) is False:
        return f"not checked: the suite says {setting} = false"
    found = [s for s in results.stages if s.get("checked") and s.get("kind") in kinds]
    if not found:
        return "not recorded"
    unstable = [str(s["name"]) for s in found if s.get("unstable")]
    stages = plural(len(found), "stage")
    return f"{stages} checked; not the same: {', '.join(unstable) or 'none'}"


def _rescored(record: RescoringRecord | None) -> list[tuple[str, str]]:
    """Return for a rescoring which run made the artifacts, and by which code; empty for any other run.

    The other entries of `identity` describe the code that computed the scores.
    """
    if not record:
        return []
    made = record.made_by
    version = made.versions.get(DISTRIBUTION, "unknown")
    taken = f"; {plural(record.kept, 'score')} of Equation 9 taken as measured then" if record.kept else ""
    return [
        ("Rescored from", f"{record.run}, run.json with sha256 {record.record_sha256}"),
        ("With other settings", ", ".join(record.settings) or "none"),
        ("Artifacts made by", f"{DISTRIBUTION} {version}, {_commit(made.commit)}{taken}"),
        ("Artifacts made", when(made.finished)),
    ]


def _commit(found: str | None) -> str:
    """Return a recorded commit as text, with a note whether the working tree had uncommitted changes."""
    if not found:
        return "not run from a checkout"
    commit, _, dirty = found.partition("+")
    return f"{commit}, {'with changes that were not committed' if dirty else 'nothing changed since'}"


def components(rows: Rows) -> Grid:
    """Return a table of all components: plugin, license, distribution, and the digests of code and of data or
    weights."""
    made = []
    results = rows.results
    by_run = [(one.name, one.components) for one in results.named] if isinstance(results, Joined) else []
    for name, found in by_run or [("", results.run.components)]:
        for c in found:
            package = f"{c.origin.distribution} {c.origin.version}".strip()
            digests = [(c.origin.digest or "–")[:16], (c.weights or "–")[:16]]
            label = rows.defense_names.get(c.label, c.label) if c.kind == "defense" else c.label
            names = [label, c.kind.replace("dataset", "data set"), c.name]
            made.append([*names, c.instead_of or "–", _license(c), package, *digests, *([name] if by_run else [])])
    run = ["run"] if by_run else []
    columns = ["name", "kind", "plugin", "in place of", "license", "distribution", "code, sha256", "weights or data"]
    return Grid(columns=[*columns, *run], rows=made, code=frozenset({6, 7}))


def notes(rows: Rows) -> list[tuple[str, str]]:
    """Return what was noticed about the data, weights and plugins of every run, as pairs of a name and a sentence."""
    named = {
        (c.label, c.kind.replace("dataset", "data set"), note): None
        for c in rows.results.run.components
        for note in c.notes
    }
    found = [(f"{label} ({kind})", note) for label, kind, note in named]
    text = unchecked(run.run for run in rows.results.runs)
    return [*found, ("plugins", text)] if text else found


def _license(component: ComponentRecord) -> str:
    """Return the license of a component's data or weights; a dash if it has neither."""
    if component.kind in ("defense", "attack") and not component.weights:
        return "–"
    return component.license or "unknown"


def plugins(rows: Rows) -> list[str]:
    """Return the plugins that could not be used, with the reasons."""
    return [f"{p.name} ({p.distribution}): {p.reason}" for p in rows.results.run.plugins if p.reason]


def stages(rows: Rows) -> Grid:
    """Return a table of the stages in the order of the run; if they are too many, of those that took longest."""
    made = []
    found = sorted(rows.results.stages, key=lambda s: -float(s.get("seconds") or 0))[:LISTED]
    longest = {id(s) for s in found}
    for s in (s for s in rows.results.stages if id(s) in longest):
        status = str(s.get("status"))
        made.append(
            [
                str(s.get("name")),
                str(s.get("kind")),
                status if status != "ok" else "cached" if s.get("cached") else "computed",
                duration(s.get("seconds")),
                f"{float(s.get('peak_mb') or 0):,.0f}",
                str(s.get("device")),
                str(s.get("seed")),
                str(s.get("key"))[:12],
                *([str(s["run"])] if "run" in s else []),
            ]
        )
    run = ["run"] if len(rows.results.runs) > 1 else []
    columns = ["stage", "kind", "status", "time", "peak MB", "device", "seed", "key", *run]
    return Grid(columns=columns, rows=made, numbers=frozenset({3, 4}), code=frozenset({6, 7}))


def totals(rows: Rows) -> str:
    """Return the number of stages and the time that they took when they were computed."""
    found = rows.results.stages
    seconds = float(np.sum([float(s.get("seconds") or 0) for s in found]))
    listed = f", of which the {LISTED:,} longest are listed" if len(found) > LISTED else ""
    return f"{plural(len(found), 'stage')}, {duration(seconds)} of computing when they were made{listed}"
