"""What an engine is: the protocols `Engine` and `Workers`, and the result of an `Attempt`.

`bench.engine.scheduler` decides which stage is next; it is the same for every engine. The `Workers` of an engine
compute the stage, either on this machine (`bench.engine.local`) or on a cluster (`bench.engine.ray_driver`). In both
cases the stage runs in a process that can be killed, with the code in `bench.engine.worker`.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from bench.core.domain import Stage, StageResult
from bench.store.artifacts import Cache


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """How one attempt to compute a stage ended.

    - ``result``: the result of the stage
    - ``again``: why another attempt may succeed; None if the result is final. ``busy``: another run is computing the
      stage. ``memory``: memory ran out. ``lost``: the process or node was ended from outside. ``damaged``: an input did
      not match its checksums. It was removed, unless another process had replaced it by then.
    - ``worker``: the process that made the attempt, as ``host:pid``
    """

    result: StageResult
    again: Literal["busy", "memory", "lost", "damaged"] | None = None
    worker: str = ""


class Workers(Protocol):
    """The workers of one run, which compute up to ``slots`` stages at once.

    It is a context manager. On exit every worker is ended: after a short time to finish, or immediately if the exit is
    caused by `bench.engine.interrupts.StopNow`.
    """

    slots: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def submit(self, stage: Stage, batch: int) -> Future[Attempt]:
        """Start an attempt with this batch size. The future raises only `BenchError`, which ends the run."""
        ...

    def watch(self) -> None:
        """End stages that exceed their limits of time or memory. The scheduler calls this several times a second."""
        ...


class Engine(Protocol):
    """A way to run stages. ``name`` is its name on the command line, ``workers`` the number of stages run at once."""

    name: str
    workers: int

    def open(self, cache: Cache, logs: Path | None = None) -> Workers:
        """Return the workers for the stages of one run, whose artifacts are in ``cache``.

        Workers on this machine log in the folder ``logs``, by default in the cache; those of a cluster log where they
        work.
        """
        ...
