"""Engines run a plan's stages. `bench.engine.local` is the only one so far; all have the same small interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from bench.cache import Cache
from bench.plan import Plan
from bench.types import Stage, StageResult


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened, for whoever shows progress: ``planned`` lists the ``stages`` that will be computed,
    the others are about one ``stage``, of which ``share`` is done."""

    kind: Literal["planned", "started", "progress", "finished", "damaged"]
    stage: Stage | None = None
    stages: Sequence[Stage] = ()
    result: StageResult | None = None
    message: str = ""
    share: float = 0.0


class Engine(Protocol):
    """Runs what is needed of a plan's stages."""

    def run(self, plan: Plan, cache: Cache, results: dict[str, StageResult], on_event: Callable[[Event], None]) -> None:
        """Put the result of every stage that was needed into ``results`` as soon as it is there.

        `StorageError` when artifacts cannot be stored; what is in ``results`` by then stays good.
        """
        ...
