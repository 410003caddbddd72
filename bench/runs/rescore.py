"""``bench rescore``: computes the scores of a run again, by today's code or with another threshold.

Expensive artifacts (faces, embeddings, protected and reconstructed images, attribute estimates) are read from the cache
by their recorded keys, whatever version of the code computed them, and are never computed here: neither data nor
weights are needed, and no plugin protects or attacks. Only score stages are computed. Their keys follow from today's
code, their options and the keys of their actual inputs, like those of any stage, so that the cache stays consistent.
Scores in which plugins themselves compute (Equation 9) are reused unchanged.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bench.core.errors import ReplayError, SuiteError
from bench.core.paths import child
from bench.core.provenance import file_sha256
from bench.planning.plan import Plan
from bench.registry.discovery import Registry
from bench.runs.recorded_stages import lost_artifacts
from bench.runs.replan import require_recorded
from bench.runs.rescore_plan import SETTINGS, Planner
from bench.store.artifacts import Cache
from bench.store.reading import RunResults
from bench.store.recorded_commands import offered
from bench.store.run_record import RECORD, MakerRecord, RescoringRecord, RunRecord
from bench.store.workspace import Folders

_LISTED = 20  # The most artifacts that a message lists.
_MADE_BY = tuple(field.name for field in fields(MakerRecord))


@dataclass(frozen=True, kw_only=True)
class Rescoring:
    """A rescoring that is about to begin: the folder of the original run, the plan, in which everything but scores is
    reused, the folders of the original, and the run folder that the rescoring writes (``into``). ``about`` holds fields
    of its `RunRecord` by name, ``notes`` are remarks for the user."""

    original: Path
    plan: Plan
    folders: Folders
    into: Path
    about: Mapping[str, Any]
    notes: Sequence[str]


def settings_of(run: Path, fmr: float | None, kappa: float | None, sets: Sequence[str]) -> list[str]:
    """Return all changes of a suite as ``--set`` overrides; ``--fmr`` and ``--kappa`` apply to every experiment."""
    count = len(RunResults(run).run.suite.experiments)
    every = {"fmr": fmr, "kappa": kappa}
    found = [f"experiment[{i}].{name}={v!r}" for name, v in every.items() if v is not None for i in range(count)]
    for text in sets:
        path = text.partition("=")[0].strip()
        if not re.fullmatch(rf"experiment\[\d+\]\.({'|'.join(SETTINGS)})", path):
            raise SuiteError(
                f"--set {text}: a rescoring changes {', '.join(SETTINGS[:-1])} and {SETTINGS[-1]} of an experiment, "
                "such as experiment[0].fmr=0.001; stored artifacts depend on everything else: bench run computes them"
            )
    return [*found, *sets]


def prepared(
    run: Path,
    registry: Registry,
    settings: Sequence[str] = (),
    device: str | None = None,
    timeout_s: float | None = None,
    *,
    trust: bool = False,
) -> Rescoring:
    """Plan to score a run again, without writing anything. ``settings`` are overrides of its suite (see `settings_of`),
    ``device`` replaces the device type of the run. ``trust``: code outside the installed plugins that its record names
    may run.

    Raises `ReplayError` if the record is not complete
    enough, or if artifacts are missing; the message lists all of them.
    """
    record = RunResults(run).run
    _require_ended(run, record)
    cache = _folders(run).cache
    made = Planner(run, registry, cache, settings, device or str(record.device), timeout_s, trust=trust)
    plan = made.plan
    _require_artifacts(run, record, cache, made)
    made_by = record.rescored.made_by if record.rescored else MakerRecord(**{n: getattr(record, n) for n in _MADE_BY})
    return Rescoring(
        original=run,
        plan=plan,
        folders=_folders(run),
        into=child(run.parent, f"{run.name}-{plan.digest[:8]}-rescored"),
        about={
            "suite": made.suite_record,
            "components": record.components,
            "rescored": RescoringRecord(
                run=run.name,
                digest=record.digest,
                record_sha256=file_sha256(run / RECORD),
                settings=tuple(settings),
                kept=len(made.kept),
                made_by=made_by,
            ),
        },
        notes=list(_notes(record, made)),
    )


def _folders(run: Path) -> Folders:
    """Return the folders that a run is in, which hold its cache."""
    place = run if len(run.parts) > 3 or run.parts[:1] == ("results",) else run.resolve()
    results = place.parent.parent
    if results.name != "results":
        raise ReplayError(f"{run}: expected a run folder results/<suite>/<run>, beside which its artifacts are")
    return Folders(out=results.parent)


def _require_ended(run: Path, record: RunRecord) -> None:
    """Raise `ReplayError` for a run that cannot be scored again, whatever is in its cache."""
    require_recorded(run, record, "cannot be scored again")
    if of := record.replay_of:
        again = shlex.join(["bench", "rescore", str(child(run.parent, of))])
        raise ReplayError(f"{run}: a replay keeps no artifacts; score what it replays: {again}")
    if not record.ended:
        found = f"this one is {record.status}; end it: {_command(record)}"
        raise ReplayError(f"{run}: only a run that has ended is scored again, {found}")


def _notes(record: RunRecord, made: Planner) -> Sequence[str]:
    notes = []
    if made.kept:
        notes.append(
            f"{len(made.kept)} scores of Equation 9 are kept as they were measured: they would need attacks, and "
            "rescoring runs none"
        )
    before, now = record.lpips and record.lpips.sha256, made.graph.lpips
    if before != now:
        found = "is not measured any more: its VGG weights are not here"
        notes.append(f"LPIPS {found if now is None else 'is measured with VGG weights that the run did not have'}")
    return notes


def _require_artifacts(run: Path, record: RunRecord, cache: Cache, made: Planner) -> None:
    """Raise `ReplayError` unless all artifacts that the scores need are in the cache and undamaged."""
    lost = {key: f"score: {name}: what it was made from is not known" for key, name in made.unknown.items()}
    lost = lost or lost_artifacts(cache, made.plan)
    if not lost:
        return
    lines = [f"  {words} ({key[:12]})" for key, words in sorted(lost.items(), key=lambda item: item[1])]
    more = [f"  and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    first = f"{run}: cannot be scored again; of what it takes, {len(lost)} artifacts are not in {cache.root}:"
    last = f"a rescoring computes none of them; the run does, with today's code: {_command(record)}"
    raise ReplayError("\n".join([first, *lines[:_LISTED], *more, last]))


def _command(record: RunRecord) -> str:
    return offered(record.command, ("bench", "run"))
