"""How a run goes, told by its journal, the locks of runs at work and the notes of their stages; nothing is written.

The journal says what was begun and ended, a lock says whether a session is still at work, and the note of a stage who
computes it and how much of it is done. So a run can be watched from anywhere that its folder can be read, also when it
was killed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import StorageError
from bench.runs.time_left import Expected, TimeLeft
from bench.store import old_schemas
from bench.store.active_runs import RunningRun, alive
from bench.store.artifacts import Cache
from bench.store.journal import Reader
from bench.store.run_record import RECORD, RunCounts, RunRecord, read_record

State = Literal["running", "complete", "incomplete", "interrupted", "died"]
_ENDED: Sequence[State] = ("complete", "incomplete", "interrupted")


@dataclass(frozen=True, kw_only=True)
class RunningStage:
    """A stage that is being computed: by which worker (``host:pid``) for how many seconds, and the share that is done;
    none as long as its worker has told nothing."""

    kind: str
    name: str
    worker: str | None
    seconds: float | None
    share: float | None


@dataclass(frozen=True, kw_only=True)
class FailedStage:
    """A stage that failed, and how many stages failed because they need it."""

    name: str
    status: str
    reason: str
    followers: int


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """How a run goes. ``state``: ``died`` when a session of it ended without a word. ``done`` stages are those that
    need no computing (any more); ``cached`` of them did not when the session began. Counts are none where nothing tells
    them. ``left`` and ``seconds`` are seconds until it ends, and since it began or until it ended."""

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


def runs_at(results: Path) -> list[Path]:
    """The folders of all runs at work below a folder of results, else that of the latest run. `StorageError` when there
    is none."""
    at_work = {results / run.suite / Path(run.folder).name: None for run in _at_work(results)}
    if at_work:
        return list(at_work)
    runs = sorted(results.glob("[!.]*/*/run.json"), key=lambda path: path.stat().st_mtime)
    if not runs:
        raise StorageError(f"{results}: expected runs, found none; start one with: bench run quick")
    return [runs[-1].parent]


def caches(results: Path) -> list[Cache]:
    """Every cache that runs below a folder of results work on: the one of all runs, and those of replays."""
    return [Cache(results / ".cache"), *map(Cache, sorted(results.glob(".replay/*/")))]


def _at_work(results: Path) -> Iterator[RunningRun]:
    for cache in caches(results):
        yield from alive(cache)


class Watch:
    """Follows one run: `look` as often as wanted, what was read of its journal is not read again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._reader = Reader(self.folder)
        self._sessions: dict[str, dict[str, Any]] = {}  # how each began, in order
        self._ended: dict[str, dict[str, Any]] = {}  # and ended
        self._planned: dict[str, Any] = {}
        self._begun: dict[str, dict[str, Any]] = {}  # stages that were begun and have not ended, by key
        self._results: dict[str, dict[str, Any]] = {}  # stages that have ended since they were planned, by key
        self._left = TimeLeft(1, {})
        self._heard = 0.0  # when the last event came

    def look(self) -> RunStatus:
        """How the run goes now."""
        self._read()
        at_work = self._at_work()
        if self._unended() - at_work.keys():  # ended in between, or killed
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
        self._heard = at
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
        """A session begins with what is missing now; what another one has computed is in the cache for it."""
        self._planned = dict(event)
        session = self._sessions.get(event["session"], {})
        retry = session.get("retry", True)
        self._results = {} if retry else {k: e for k, e in self._results.items() if e["status"] != "ok"}
        todo = {
            key: Expected(cost=s["cost"], cost_name=s["cost_name"], behind=s["behind"])
            for key, s in event["compute"].items()
        }
        self._left = TimeLeft(session.get("workers", 1), todo)
        for key, begun in self._begun.items():
            self._left.started(key, _at(begun))

    def _unended(self) -> set[str]:
        return self._sessions.keys() - self._ended.keys()

    def _at_work(self) -> dict[str, RunningRun]:
        mine = (self.folder.parent.name, self.folder.name)
        found = _at_work(self.folder.parent.parent)
        return {run.session: run for run in found if (run.suite, Path(run.folder).name) == mine}

    # ---- what follows from it ------------------------------------------------------------------------------------

    def _record(self) -> RunRecord | None:
        """The record of the run; None as long as it does not exist."""
        return read_record(self.folder) if (self.folder / RECORD).exists() else None

    def _state(self, at_work: Mapping[str, RunningRun], record: RunRecord | None) -> State:
        if at_work:
            return "running"
        status = record.status if record else None
        last = next(reversed(self._sessions.values()), None)
        if last is not None and last["session"] in self._ended:
            status = self._ended[last["session"]]["status"]
        elif last is not None and ((record and record.finished) or "") < last["time"][:19]:  # it was written before
            status = "died"
        return next((state for state in _ENDED if state == status), "died")

    def _counts(self, counted: RunCounts | None) -> tuple[int | None, int | None, int | None]:
        """All stages, those that were there when the run began, and those that are there now."""
        if self._planned:
            cached = self._planned["stages"] - len(self._planned["compute"])
            return self._planned["stages"], cached, cached + sum(e["status"] == "ok" for e in self._results.values())
        if counted:  # of a run without a journal
            return counted.stages, counted.cached, (counted.cached or 0) + (counted.computed or 0)
        return None, None, None

    def _seconds(
        self, shown: list[str], at_work: Mapping[str, RunningRun], record: RunRecord | None, now: float
    ) -> float | None:
        """How long it has been running, or ran as far as is known."""
        if not shown:
            return record.seconds if record else None
        ended = self._ended.get(shown[-1])
        if ended is not None:
            return float(ended["seconds"])
        until = now if shown[-1] in at_work else self._heard
        return until - min(_at(self._sessions[s]) for s in shown)

    def _running(self, at_work: Mapping[str, RunningRun], now: float) -> Iterator[RunningStage]:
        """What is being computed; those that tell first."""
        stages, places = [], caches(self.folder.parent.parent)
        for key, event in self._begun.items():
            if event["session"] in at_work:
                note = next((n for cache in places if (n := cache.progress(key)) is not None), None)
                if note is not None:
                    self._left.told(key, note.share, now, note.since)
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
        """What failed by itself, with the number of stages that need it: they fail with the same reason."""
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
