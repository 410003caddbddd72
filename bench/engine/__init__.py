"""Engines run a plan's stages. `bench.engine.local` is the only one so far; all have the same small interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from bench.cache import Cache
from bench.plan import Plan
from bench.types import Stage, StageResult


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a stage, for whoever shows progress."""

    kind: Literal["started", "finished", "damaged"]
    stage: Stage
    result: StageResult | None = None
    message: str = ""


class Engine(Protocol):
    """Runs what is needed of a plan's stages."""

    def run(self, plan: Plan, cache: Cache, on_event: Callable[[Event], None]) -> Mapping[str, StageResult]:
        """The result of every stage that was needed, by key; `StorageError` when artifacts cannot be stored."""
        ...
