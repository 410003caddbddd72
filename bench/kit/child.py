"""Checks plugins in a child process with a time limit, so that one that never returns or ends its process is found.

The child checks one component after the other; after one that hangs or ends it, a new child goes on with the next.

The child discovers the plugins itself. One that hangs or ends the process while it is imported fails by its name, and a
new child, which leaves it out, checks the others. What plugins print goes into a log, in which a traceback shows where
the child was when it was ended.
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
from bench.kit.importing import PluginEntry, RefusedPackages, import_each
from bench.kit.targets import Target, all_targets, component_for, targets_named
from bench.registry.components import foreign_code, instantiate, require_trust
from bench.registry.discovery import discover
from bench.store.badges import remove_badge, remove_badges_of

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
    """What the child tells: the ``plugin`` that it imports next, or that all are ``imported``; the ``targets`` that it
    checks (kind, name and origin), with results for names that are ``unknown`` without a plugin which is left out; the
    name of the next ``check``, a ``result``, or an ``error`` for the user."""

    plugin: PluginEntry | None = None
    imported: bool = False
    unknown: Sequence[KitResult] = ()
    targets: Sequence[Component] | None = None
    check: str | None = None
    result: KitResult | None = None
    error: BenchError | None = None


def checked_apart(request: KitRequest, timeout_s: float = TIMEOUT_S) -> Iterator[KitResult]:
    """Yield what is found about each component of a request, from a child process that has ``timeout_s`` seconds for
    each. A plugin that hangs or ends the process while it is imported has a result of its own, and is left out by the
    next child. Raise an error of bench if there is no such component."""
    skip, total = 0, 1
    left_out: dict[str, str] = {}
    while skip < total:
        with tempfile.TemporaryDirectory(prefix="bench-check-", ignore_cleanup_errors=True) as folder:
            log = Path(folder) / "logs" / "log.txt"
            log.parent.mkdir()
            child = _Child(request, skip, log, timeout_s, left_out)
            try:
                yield from child.results()
                if child.targets is None:
                    plugin, result = child.lost_import()
                    left_out[plugin.package] = "it could not be imported"
                    yield result
                    continue
                skip, total = child.told, len(child.targets)
                if child.ended is not None:
                    yield child.lost(skip)
                    skip += 1
            finally:
                child.end()


class _Child:
    """One child process, and what it has told so far."""

    def __init__(
        self, request: KitRequest, skip: int, log: Path, timeout_s: float, left_out: Mapping[str, str]
    ) -> None:
        self.log, self.timeout_s = log, timeout_s
        self.plugin: PluginEntry | None = None
        self.targets: Sequence[Component] | None = None
        self.told = skip  # How many components an answer is known for, those of earlier children included.
        self.check = ""
        self.ended: Literal["time", "process"] | None = None
        self.code = ""
        self.pipe, theirs = multiprocessing.Pipe()
        arguments = (request, skip, log, dict(left_out), dict(os.environ), list(sys.path), theirs)
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
                self.ended = "process" if self.targets is None or self.told < len(self.targets) else None
                break
            if told.error is not None:
                raise told.error
            if told.plugin is not None:
                self.plugin, limit = told.plugin, time.monotonic() + self._import_s()
            if told.imported:
                self.plugin, limit = None, time.monotonic() + _IMPORTS_S
            if told.targets is not None:
                self.targets, limit = told.targets, time.monotonic() + self.timeout_s
                if not self.told:  # A child before this one has told them otherwise.
                    yield from told.unknown
            self.check = told.check or self.check
            if told.result is not None:
                self.told += 1
                limit, self.check = time.monotonic() + self.timeout_s, ""
                yield told.result
        self.end()

    def lost(self, number: int) -> KitResult:
        """Return the result of the component that the child was checking when it ended; it has no badge any more."""
        assert self.targets is not None
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

    def lost_import(self) -> tuple[PluginEntry, KitResult]:
        """Return the plugin that the child was importing when it ended, and its result; it has no badges any more.
        Raise `PluginError` if none is known."""
        seen = f"the process {self._happened()}{self._where()}"
        if self.plugin is None:
            raise PluginError(f"bench check: expected plugins that can be imported, found that {seen}")
        remove_badges_of(self.plugin.package)
        finding = KitFinding(
            check="call",
            answer="failed",
            expected=f"a plugin that can be imported within {self._import_s():g} s",
            seen=f"while {self.plugin.package} was imported, {seen}",
            mend="do nothing in a module but define; no command of bench works while this plugin is installed",
        )
        return self.plugin, KitResult(kind="plugin", name=self.plugin.name, findings=(finding,))

    def _import_s(self) -> float:
        return min(_IMPORTS_S, self.timeout_s)

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
    request: KitRequest,
    skip: int,
    log: Path,
    left_out: Mapping[str, str],
    environment: Mapping[str, str],
    path: Sequence[str],
    pipe: Connection,
) -> None:
    """The work of the child. ``left_out`` are packages of plugins that are not imported, with the reasons."""
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = path
    start(WorkerSetup(threads=1, log=log))
    faulthandler.enable(file=2)
    faulthandler.register(signal.SIGTERM, file=2, chain=True)
    from bench.kit.checking import checked_here  # It imports torch, which the command itself need not.

    sys.meta_path.insert(0, RefusedPackages(left_out))
    import_each(lambda entry: pipe.send(Told(plugin=entry)))
    pipe.send(Told(imported=True))
    try:
        targets, unknown = _found(request, left_out)
    except BenchError as error:
        pipe.send(Told(error=_plain(error)))
        os._exit(0)
    pipe.send(Told(targets=[component_for(one) for one in targets], unknown=unknown))
    for target in targets[skip:]:
        result = checked_here(target, lambda check: pipe.send(Told(check=check)))
        pipe.send(Told(result=replace(result, component=None, params=canonical(result.params))))
    os._exit(0)  # An ordinary exit would spend a second on shutting torch down.


def _found(request: KitRequest, left_out: Mapping[str, str]) -> tuple[list[Target], list[KitResult]]:
    """Return the components of a request, and a result for each name that is unknown while plugins are left out: it may
    be one of theirs. Raise an error of bench for such a name if none is."""
    if not left_out:
        return request.targets(), []
    targets, unknown = [] if request.names else request.targets(), []
    for name in request.names:
        try:
            targets += replace(request, names=(name,)).targets()
        except PluginError as error:
            finding = KitFinding(check="call", answer="not asked", reason=str(error))
            unknown.append(KitResult(kind="component", name=name, findings=(finding,)))
    return targets, unknown


def _plain(error: BenchError) -> BenchError:
    """Return an error that can be sent: one of bench with its message."""
    return PluginError(str(error)) if error.args else PluginError(error_text(error))
