"""The journal of a run: ``journal.jsonl`` in its folder, one event per line, written while it happens.

It is what `bench status`, ``--no-retry`` and partial reports know of a run that has not ended or was killed. A line is
appended with one write; one that a killed process left torn is skipped by readers and closed by the next writer.

Every event has ``time`` (UTC), ``event`` and ``session`` (one command); further fields by event:

- ``run-started``: pid, host, engine, workers, device, version
- ``planned``: cells, stages (all of the plan), compute: what will be computed, key to kind, name and cost in seconds
- ``stage-started``: key, kind, name, attempt, batch
- ``stage-finished``: key, kind, name, and the fields of `bench.types.StageResult`; worker: ``host:pid``
- ``stage-retried``: key, kind, name, batch of the next attempt, reason
- ``damaged``: key, kind, name, message
- ``run-interrupted``: running: how many stages were
- ``run-ended``: status, seconds, counts
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.engine import Event
from bench.errors import StorageError
from bench.types import StageResult

NAME = "journal.jsonl"


class Journal:
    """Appends the events of one session to the journal of a run folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.session = uuid.uuid4().hex[:8]

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
            end = os.lseek(self._file, 0, os.SEEK_END)
            if end and os.pread(self._file, 1, end - 1) != b"\n":
                os.write(self._file, b"\n")
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def write(self, event: str, **fields: Any) -> None:
        """Append one event."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, "session": self.session, **fields}, default=str)
        try:
            os.write(self._file, line.encode() + b"\n")
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}") from None

    def record(self, event: Event) -> None:
        """Append what an engine tells; how far a stage is, is not journalled."""
        if event.kind == "planned":
            compute = {s.key: {"kind": s.kind, "name": s.name, "cost": s.cost} for s in event.stages}
            self.write("planned", cells=event.cells, stages=event.total, compute=compute)
            return
        if event.kind == "stopping":
            self.write("run-interrupted", running=len(event.stages))
        if event.stage is None or event.kind == "progress":
            return
        about = {"key": event.stage.key, "kind": event.stage.kind, "name": event.stage.name}
        if event.result is not None:
            self.write("stage-finished", **about, **_without_key(event.result), worker=event.worker)
        elif event.kind == "started":
            self.write("stage-started", **about, attempt=event.attempt, batch=event.batch)
        elif event.kind == "retried":
            self.write("stage-retried", **about, batch=event.batch, reason=event.message)
        else:
            self.write("damaged", **about, message=event.message)


def _without_key(result: StageResult) -> dict[str, Any]:
    return {name: value for name, value in asdict(result).items() if name != "key"}


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """The events of a run folder, in order; nothing where there is no journal."""
    try:
        file = (folder / NAME).open("rb")
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{folder / NAME}: cannot be read: {error.strerror}") from None
    with file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # torn by a kill
            if isinstance(event, dict) and {"time", "event", "session"} <= set(event):
                yield event


def last_results(folder: Path) -> dict[str, StageResult]:
    """How every stage ended the last time that it did, by key."""
    found = {}
    fields = StageResult.__dataclass_fields__
    for event in read(folder):
        if event["event"] == "stage-finished":
            found[str(event["key"])] = StageResult(**{k: v for k, v in event.items() if k in fields})
    return found
