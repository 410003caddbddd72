"""Engines run a plan's stages: `bench.engine.scheduler` decides which stage is next, the same way for all of them, and
an engine's `Workers` run it: worker processes on this machine (`bench.engine.local`) or on a cluster
(`bench.engine.ray_driver`). Either way a stage runs in a process that can be killed, by the code of
`bench.engine.worker`.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

from bench.core.domain import Stage, StageResult
from bench.store.artifacts import Cache


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """How one attempt at a stage ended: its ``result``, and why it is worth another attempt, if it is.

    ``busy``: another run computes the stage just now. ``memory``: it ran out of memory. ``lost``: its process or node
    was taken from it. ``damaged``: an input did not match its checksums and was removed.
    """

    result: StageResult
    again: Literal["busy", "memory", "lost", "damaged"] | None = None
    worker: str = ""


class Workers(Protocol):
    """Where the stages of one run are computed, ``slots`` at a time. A context: leaving it ends every worker, leaving
    it with `bench.engine.interrupts.StopNow` without giving it a moment."""

    slots: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def submit(self, stage: Stage, batch: int) -> Future[Attempt]:
        """Begin an attempt with this batch. The future fails only with a `BenchError`, which ends the run."""
        ...

    def watch(self) -> None:
        """End what has outgrown its limits; called several times a second."""
        ...


class Engine(Protocol):
    """Makes workers. ``name`` is what the command line calls it, ``workers`` how many stages run at once."""

    name: str
    workers: int

    def open(self, cache: Cache) -> Workers:
        """Workers for the stages of one run."""
        ...
