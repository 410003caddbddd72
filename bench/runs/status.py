"""The status of a run, from its journal, the locks of runs in progress and the progress notes of their stages.

The journal records what has begun and ended, a lock shows whether a session is still running, and the progress note of
a stage names its worker and the fraction that is done. Nothing is written, so that a run can be watched from any
machine that can read its folder, also after it was killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import StorageError
from bench.core.files import latest_first
from bench.core.paths import child
from bench.runs.time_left import Expected, TimeLeftEstimator
from bench.store import old_schemas
from bench.store.active_runs import RunningRun, alive_below, caches
from bench.store.journal import Reader
from bench.store.run_folders import run_folders
from bench.store.run_record import RECORD, RunCounts, RunRecord, read_record

State = Literal["running", "complete", "incomplete", "interrupted", "died"]
_ENDED: Sequence[State] = ("complete", "incomplete", "interrupted")


@dataclass(frozen=True, kw_only=True)
class RunningStage:
    """A stage that is being computed: by which worker (``host:pid``), for how many seconds, and the fraction that is
    done; these are None until the worker reports."""

    kind: str
    name: str
    worker: str | None
    seconds: float | None
    share: float | None


@dataclass(frozen=True, kw_only=True)
class FailedStage:
    """A stage that failed by itself, and the number of stages that failed because they need it."""

    name: str
    status: str
    reason: str
    followers: int


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """The status of a run.

    - ``state``: ``died`` if its last session ended without recording its end
    - ``session``: how the session began
    - ``done``: the number of stages that have a result; ``cached``: those that had one when the session began
    - ``left``: the estimated seconds until the run ends; ``seconds``: those since it began, or until it ended
    - ``notes``: what was noticed so far about data, weights and plugins, each with the label of the component

    A number is None if it is not recorded.
    """

    folder: Path
    suite: str
    state: State
    session: Mapping[str, Any]
    started: str | None
    seconds: float | None
    cells: int | None
    stages: int | None
    cached: int | None
    done: int | None
    queued: int | None
    running: tuple[RunningStage, ...]
    failed: tuple[FailedStage, ...]
    left: float | None
    notes: tuple[tuple[str, str], ...] = ()


def runs_at(results: Path, note: Callable[[str], object]) -> list[Path]:
    """Return the folders of all runs in progress below a folder of results, or else that of the latest run whose record
    can be read. ``note`` gets a sentence about each folder that cannot be listed. Raises `StorageError` if there is no
    run."""
    at_work = [child(results, suite, name) for suite, name in alive_below(results)]
    if at_work:
        return at_work
    runs = [path.parent for path in latest_first(folder / RECORD for folder in run_folders(results, note))]
    if not runs:
        raise StorageError(f"{results}: expected runs, found none; start one with: bench run quick")
    return [next(filter(_is_readable, runs), runs[0])]


def _is_readable(folder: Path) -> bool:
    try:
        read_record(folder)
    except StorageError:
        return False
    return True


class Watch:
    """Follows one run. Each call of `look` reads only the new part of its journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._reader = Reader(self.folder)
        self._sessions: dict[str, dict[str, Any]] = {}  # The first event of each session, in order.
        self._ended: dict[str, dict[str, Any]] = {}  # The last event of each session that has ended.
        self._planned: dict[str, Any] = {}
        self._begun: dict[str, dict[str, Any]] = {}  # Stages that have begun and not ended, by key.
        self._results: dict[str, dict[str, Any]] = {}  # Stages that have ended since the last plan, by key.
        self._left = TimeLeftEstimator(1, {})
        self._last_event = 0.0  # The time of the last event.

    def look(self) -> RunStatus:
        """Return the status of the run now."""
        self._read()
        at_work = self._at_work()
        if self._unended() - at_work.keys():  # A session has ended in the meantime, or was killed.
            self._read()
        now, record = time.time(), self._record()
        state = self._state(at_work, record)
        shown = [s for s in self._sessions if s in at_work] or list(self._sessions)[-1:]
        session = self._sessions[shown[-1]] if shown else {}
        self._left.workers = max(1, sum(self._sessions[s].get("workers", 1) for s in shown))
        running = tuple(self._running(at_work, now))
        failed = tuple(self._failed(record if state in _ENDED else None))
        counts = record.counts if record else None
        stages, cached, done = self._counts(counts)
        ended = (done or 0) + sum(1 + stage.followers for stage in failed)
        return RunStatus(
            folder=self.folder,
            suite=record.suite.name if record else self.folder.parent.name,
            state=state,
            session={k: v for k, v in session.items() if k not in ("event", "time")},
            started=session.get("time", record.started if record else None),
            seconds=self._seconds(shown, at_work, record, now),
            cells=self._planned.get("cells", counts.cells if counts else None),
            stages=stages,
            cached=cached,
            done=done,
            queued=None if stages is None else max(0, stages - ended - len(running)),
            running=running,
            failed=failed,
            left=self._left.left(now) if state == "running" and self._planned else None,
            notes=tuple(dict.fromkeys((c.label, note) for c in record.components for note in c.notes))
            if record
            else (),
        )

    # ---- the journal ---------------------------------------------------------------------------------------------

    def _read(self) -> None:
        for event in self._reader.new():
            try:
                self._take(event)
            except (LookupError, TypeError, AttributeError, ValueError):
                what = f"an event {event['event']!r} that this bench does not understand"
                raise StorageError(
                    f"{self._reader.path}: found {what}; was another version of bench at work?"
                ) from None

    def _take(self, event: dict[str, Any]) -> None:
        kind, session, at = event["event"], event["session"], _at(event)
        self._last_event = at
        if kind == "run-started":
            self._sessions[session] = event
        elif kind == "run-ended":
            self._ended[session] = event
        elif kind == "planned":
            self._plan(event)
        elif kind == "stage-started":
            self._begun[event["key"]] = event
            self._left.started(event["key"], at)
        elif kind == "stage-finished":
            key, computed = event["key"], event["status"] == "ok" and not event["cached"]
            self._begun.pop(key, None)
            self._results[key] = event
            self._left.ended(key, at, float(event["seconds"]) if computed else None)

    def _plan(self, event: Mapping[str, Any]) -> None:
        """Take the plan of a session, which lists the stages that are missing from the cache at its beginning."""
        self._planned = dict(event)
        session = self._sessions.get(event["session"], {})
        retry = session.get("retry", True)
        self._results = {} if retry else {k: e for k, e in self._results.items() if e["status"] != "ok"}
        todo = {
            key: Expected(cost=s["cost"], cost_name=s["cost_name"], behind=s["behind"])
            for key, s in event["compute"].items()
        }
        self._left = TimeLeftEstimator(session.get("workers", 1), todo)
        for key, begun in self._begun.items():
            self._left.started(key, _at(begun))

    def _unended(self) -> set[str]:
        return self._sessions.keys() - self._ended.keys()

    def _at_work(self) -> dict[str, RunningRun]:
        mine = (self.folder.parent.name, self.folder.name)
        found = alive_below(self.folder.parent.parent)
        return {run.session: run for run in found.get(mine, ())}

    # ---- what follows from it ------------------------------------------------------------------------------------

    def _record(self) -> RunRecord | None:
        """Return the record of the run, or None until it exists."""
        return read_record(self.folder) if (self.folder / RECORD).exists() else None

    def _state(self, at_work: Mapping[str, RunningRun], record: RunRecord | None) -> State:
        if at_work:
            return "running"
        status = record.status if record else None
        last = next(reversed(self._sessions.values()), None)
        if last is not None and last["session"] in self._ended:
            status = self._ended[last["session"]]["status"]
        elif (
            last is not None and ((record and record.finished) or "") < last["time"][:19]
        ):  # The record is that of an earlier session.
            status = "died"
        return next((state for state in _ENDED if state == status), "died")

    def _counts(self, counted: RunCounts | None) -> tuple[int | None, int | None, int | None]:
        """Return the numbers of all stages, of those with a result when the session began, and of those with a result
        now."""
        if self._planned:
            cached = self._planned["stages"] - len(self._planned["compute"])
            return self._planned["stages"], cached, cached + sum(e["status"] == "ok" for e in self._results.values())
        if counted:  # The run has no journal.
            return counted.stages, counted.cached, (counted.cached or 0) + (counted.computed or 0)
        return None, None, None

    def _seconds(
        self, shown: list[str], at_work: Mapping[str, RunningRun], record: RunRecord | None, now: float
    ) -> float | None:
        """Return for how many seconds the run has been running, or ran until it ended; None if unknown."""
        if not shown:
            return record.seconds if record else None
        ended = self._ended.get(shown[-1])
        if ended is not None:
            return float(ended["seconds"])
        until = now if shown[-1] in at_work else self._last_event
        return max(0.0, until - min(_at(self._sessions[s]) for s in shown))  # A clock may have been set back.

    def _running(self, at_work: Mapping[str, RunningRun], now: float) -> Iterator[RunningStage]:
        """Yield the stages that are being computed; those whose worker has reported come first."""
        stages, places = [], caches(self.folder.parent.parent)
        for key, event in self._begun.items():
            if event["session"] in at_work:
                note = next((n for cache in places if (n := cache.progress(key)) is not None), None)
                if note is not None:
                    self._left.reported(key, note.share, now, note.since)
                stages.append(
                    RunningStage(
                        kind=event["kind"],
                        name=event["name"],
                        worker=note.worker if note else None,
                        seconds=max(0.0, now - note.since) if note else None,
                        share=note.share if note else None,
                    )
                )
        yield from sorted(stages, key=lambda s: (s.worker is None, s.worker or "", s.name))

    def _failed(self, record: RunRecord | None) -> Iterator[FailedStage]:
        """Yield the stages that failed by themselves, each with the number of stages that failed because they need
        it."""
        ended = {s["key"]: s for s in (record.stages if record else ())}
        bad = [dict(event) for event in {**ended, **self._results}.values() if event.get("status") != "ok"]
        old_schemas.add_failed_stages(bad)
        found: dict[str, list[Mapping[str, Any]]] = {}
        for event in bad:
            found.setdefault(str(event["failed_stage"] or event.get("reason")), []).append(event)
        for key, events in found.items():
            own = next((e for e in events if e["key"] == key), events[0])
            yield FailedStage(
                name=str(own["name"]),
                status=str(own["status"]),
                reason=str(own.get("reason")).removeprefix(f"{own['name']}: "),
                followers=len(events) - 1,
            )


def _at(event: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()
