"""Checks plugins in a child process with a time limit, so that one that never returns or ends its process is found.

The child checks one component after the other; after one that hangs or ends it, a new child goes on with the next.

The child discovers the plugins itself: that one hangs or ends the process while it is imported is found as well. What
plugins print goes into a log, in which a traceback shows where the child was when it was ended.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

from bench.core.content_keys import canonical
from bench.core.domain import Component
from bench.core.errors import BenchError, PluginError, error_text
from bench.core.processes import start_child
from bench.engine.worker import WorkerSetup, start
from bench.kit.catalogue import CHECKS
from bench.kit.findings import KitFinding, KitResult
from bench.kit.targets import Target, all_targets, component_for, targets_named
from bench.registry.components import foreign_code, instantiate, require_trust
from bench.registry.discovery import discover
from bench.store.badges import remove_badge

TIMEOUT_S = 300.0
_TEMPLATE = "bench.engine.worker_template"
_IMPORTS_S = 180.0  # seconds in which plugins must be imported
_ENDS = 3.0  # seconds in which a process that is ended writes where it was
_LAST_BYTES = 1 << 16  # of the log, where the traceback is; a plugin may print much more before.


@dataclass(frozen=True, kw_only=True)
class KitRequest:
    """What is checked: components by their ``names`` as the command line takes them, none for all.

    ``trust``: code outside the installed plugins that parameters name may run.
    """

    names: Sequence[str] = ()
    trust: bool = False

    def targets(self) -> list[Target]:
        """Return the components. Raise an error of bench if there is no such one."""
        registry = discover()
        found = [one for name in self.names for one in targets_named(name, registry)]
        found = found if self.names else all_targets(registry)
        for target in found:
            try:
                plugin = instantiate(target.cls, target.params, target.where)
            except BenchError:
                if target.params:  # Somebody has typed them.
                    raise
                continue
            if not self.trust and (code := foreign_code(plugin)):
                require_trust(target.where, [code])
        return found


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the child tells: the ``targets`` that it checks (kind, name and origin), the name of the next ``check``, a
    ``result``, or an ``error`` for the user."""

    targets: Sequence[Component] | None = None
    check: str | None = None
    result: KitResult | None = None
    error: BenchError | None = None


def checked_apart(request: KitRequest, timeout_s: float = TIMEOUT_S) -> Iterator[KitResult]:
    """Yield what is found about each component of a request, from a child process that has ``timeout_s`` seconds for
    each. Raise an error of bench if there is no such component, or if plugins cannot even be imported."""
    skip, total = 0, 1
    while skip < total:
        with tempfile.TemporaryDirectory(prefix="bench-check-", ignore_cleanup_errors=True) as folder:
            log = Path(folder) / "logs" / "log.txt"
            log.parent.mkdir()
            child = _Child(request, skip, log, timeout_s)
            try:
                for result in child.results():
                    skip += 1
                    yield result
                total = len(child.targets)
                if child.ended is not None:
                    yield child.lost(skip)
                    skip += 1
            finally:
                child.end()


class _Child:
    """One child process, and what it has told so far."""

    def __init__(self, request: KitRequest, skip: int, log: Path, timeout_s: float) -> None:
        self.log, self.timeout_s = log, timeout_s
        self.targets: Sequence[Component] = ()
        self.told = skip  # How many components an answer is known for, those of earlier children included.
        self.check = ""
        self.ended: Literal["time", "process"] | None = None
        self.code = ""
        self.pipe, theirs = multiprocessing.Pipe()
        arguments = (request, skip, log, dict(os.environ), list(sys.path), theirs)
        self.process: BaseProcess = start_child(_serve, arguments, "bench-check", _TEMPLATE)
        theirs.close()

    def results(self) -> Iterator[KitResult]:
        """Yield the results that the child tells, until it ends or its time has passed."""
        limit = time.monotonic() + _IMPORTS_S
        while True:
            try:
                if not self.pipe.poll(max(0.0, limit - time.monotonic())):
                    self.ended = "time"
                    break
                told: Told = self.pipe.recv()
            except (EOFError, OSError):
                self.process.join(_ENDS)
                self.code = _code(self.process.exitcode)
                self.ended = "process" if self.told < len(self.targets) or not self.targets else None
                break
            if told.error is not None:
                raise told.error
            if told.targets is not None:
                self.targets, limit = told.targets, time.monotonic() + self.timeout_s
            self.check = told.check or self.check
            if told.result is not None:
                self.told += 1
                limit, self.check = time.monotonic() + self.timeout_s, ""
                yield told.result
        self.end()
        if self.ended is not None and not self.targets:
            happened = f"{self._happened()}{self._where()}"
            raise PluginError(f"bench check: expected plugins that can be imported, found that the process {happened}")

    def lost(self, number: int) -> KitResult:
        """Return the result of the component that the child was checking when it ended; it has no badge any more."""
        component = self.targets[number]
        remove_badge(component)
        seen = f"{f'while {self.check} was checked, ' if self.check else ''}the process {self._happened()}"
        finding = KitFinding(
            check="call",
            answer="failed",
            expected=f"an answer within {self.timeout_s:g} s",
            seen=seen + self._where(),
            mend=CHECKS["call"].mend if self.ended == "process" else f"{CHECKS['call'].mend}; or allow more: --timeout",
        )
        return KitResult(kind=component.kind, name=component.name, findings=(finding,))

    def _happened(self) -> str:
        return "did not return in time" if self.ended == "time" else f"ended with {self.code}"

    def _where(self) -> str:
        """Return in words where the child was, by the traceback in its log; empty if that is unknown."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - _LAST_BYTES))
                text = file.read(_LAST_BYTES).decode(errors="replace")
        except OSError:
            return ""
        current = text.rpartition("Current thread")[2] if "Current thread" in text else ""
        found = re.search(r'File "([^"]*)", line (\d+) in (\S+)', current)
        return f", in {found[3]} ({found[1]}:{found[2]})" if found else ""

    def end(self) -> None:
        """End the child and all its processes; it has a moment to write where it was."""
        if self.process.is_alive():
            for number, wait in ((signal.SIGTERM, _ENDS), (signal.SIGKILL, None)):
                with contextlib.suppress(ProcessLookupError, PermissionError, TypeError):
                    os.killpg(self.process.pid, number)  # type: ignore[arg-type]
                self.process.join(wait)
                if not self.process.is_alive():
                    break
        self.pipe.close()


def _code(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _serve(
    request: KitRequest, skip: int, log: Path, environment: Mapping[str, str], path: Sequence[str], pipe: Connection
) -> None:
    """The work of the child."""
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = path
    start(WorkerSetup(threads=1, log=log))
    faulthandler.enable(file=2)
    faulthandler.register(signal.SIGTERM, file=2, chain=True)
    from bench.kit.checking import checked_here  # It imports torch, which the command itself need not.

    try:
        targets = request.targets()
    except BenchError as error:
        pipe.send(Told(error=_plain(error)))
        os._exit(0)
    pipe.send(Told(targets=[component_for(one) for one in targets]))
    for target in targets[skip:]:
        result = checked_here(target, lambda check: pipe.send(Told(check=check)))
        pipe.send(Told(result=replace(result, component=None, params=canonical(result.params))))
    os._exit(0)  # An ordinary exit would spend a second on shutting torch down.


def _plain(error: BenchError) -> BenchError:
    """Return an error that can be sent: one of bench with its message."""
    return PluginError(str(error)) if error.args else PluginError(error_text(error))
