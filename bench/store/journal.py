"""The journal of a run: ``journal.jsonl`` in its folder, one event per line, written while it happens.

`bench status`, ``--no-retry`` and reports of unfinished runs are based on it. A line is appended with one write. A line
that a killed process left incomplete is skipped by readers, and ended by the next writer.

Every event has ``time`` (UTC), ``event`` and ``session`` (one command); further fields by event:

- ``run-started``: pid, host, engine, workers, device, version, retry: whether stages that failed before are tried again
- ``planned``: cells, stages (all of the plan), compute: the stages that will be computed, key to kind, name, cost
  (estimated seconds), cost_name, and behind (estimated seconds of the longest path from its beginning to the end)
- ``stage-started``: key, kind, name, attempt, batch
- ``stage-finished``: key, kind, name, and the fields of `bench.core.domain.StageResult`; worker: ``host:pid``
- ``stage-retried``: key, kind, name, batch of the next attempt, reason
- ``damaged``: key, kind, name, message
- ``run-interrupted``: running: how many stages were
- ``run-ended``: status, seconds, counts
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.core.domain import Event, StageResult
from bench.core.errors import StorageError
from bench.core.files import require_no_link
from bench.core.parsing import parse_json
from bench.core.paths import inside
from bench.core.text import json_text
from bench.core.whole_files import LARGEST_JOURNAL, LARGEST_LINE
from bench.store.old_schemas import add_failed_stages
from bench.store.typed_json import MistypedError, decode

NAME = "journal.jsonl"
_RESULT = {f.name for f in fields(StageResult) if f.default is MISSING}  # without these fields a line is not a result


class Journal:
    """Appends the events of one session to the journal of a run folder, and calls ``listen`` with every line."""

    def __init__(self, folder: Path, listen: Callable[[str], None] | None = None) -> None:
        self.path = folder / NAME
        self.session = uuid.uuid4().hex[:8]
        self._listen = listen

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            require_no_link(self.path, self.path.parent.parent)
            flags = os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW
            self._file = os.open(self.path, flags, 0o666)  # The umask decides whether a group may continue the run.
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

    def write(self, event: str, **about: Any) -> None:
        """Append one event."""
        text = line(event, session=self.session, **about)
        data = text.encode() + b"\n"
        try:
            if os.write(self._file, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}") from None
        if self._listen is not None:
            self._listen(text)

    def record(self, event: Event) -> None:
        """Append an event of an engine. The progress of a stage is not recorded here (see
        `bench.store.artifacts.Note`)."""
        if event.kind == "planned":
            compute = {
                s.key: {
                    "kind": s.kind,
                    "name": s.name,
                    "cost": s.cost,
                    "cost_name": s.cost_name,
                    "behind": event.path_seconds.get(s.key, s.cost),
                }
                for s in event.stages
            }
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
    return {name: value for name, value in vars(result).items() if name != "key"}


def line(event: str, **about: Any) -> str:
    """Return an event as one line of JSON, without the newline."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json_text({"time": now, "event": event, **about})


class Reader:
    """Reads the journal of a run folder while it grows."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._place = 0

    def new(self) -> Iterator[dict[str, Any]]:
        """Yield the events that were appended since the last call, in order; none if the journal does not exist. Raises
        `StorageError` if it cannot be read."""
        try:
            file = inside(self.path.parent, self.path).open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be read: {error.strerror}") from None
        with file:
            if (size := os.fstat(file.fileno()).st_size) > LARGEST_JOURNAL:
                expected = f"expected the journal of a run, of at most {LARGEST_JOURNAL:,} bytes, found {size:,}"
                raise StorageError(f"{self.path}: {expected}; move it away: the rows do not depend on it")
            file.seek(self._place)
            while text := file.readline(LARGEST_LINE):
                if len(text) >= LARGEST_LINE:
                    found = f"a line of more than {LARGEST_LINE:,} bytes"
                    raise StorageError(f"{self.path}: expected the journal of a run, found {found}")
                if not text.endswith(b"\n"):
                    return  # The line is being written, or its writer was killed.
                self._place += len(text)
                event = _event(text)
                if event is not None:
                    yield event


def _event(text: bytes) -> dict[str, Any] | None:
    """Return the event of a line, or None for an incomplete line."""
    try:
        event = parse_json(text)
        datetime.fromisoformat(event["time"])
    except (ValueError, LookupError, TypeError):
        return None
    return event if isinstance(event.get("event"), str) and isinstance(event.get("session"), str) else None


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a run folder, in order; none if it has no journal."""
    return Reader(folder).new()


def last_results(folder: Path) -> dict[str, StageResult]:
    """Return the last result of every stage that has ended, by key."""
    last = {
        str(event["key"]): event
        for event in read(folder)
        if event["event"] == "stage-finished" and event.keys() >= _RESULT and _is_result(event)
    }
    add_failed_stages(list(last.values()))
    return {key: result_of(event) for key, event in last.items()}


def result_of(event: Mapping[str, Any]) -> StageResult:
    """Return the result in a ``stage-finished`` event."""
    return decode(StageResult, event)


def _is_result(event: dict[str, Any]) -> bool:
    """Return whether the fields of an event have the types of a `StageResult`; a stranger may have written it."""
    try:
        decode(StageResult, event)
    except MistypedError:
        return False
    return True
