"""The limits of time and memory of stages. Limits change no result, so they are not part of content keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args

from pydantic import Discriminator, Field, Tag

from bench.core.domain import StageKind
from bench.core.errors import PluginError, SuiteError
from bench.suite.strict_table import StrictTable

DEFAULT_TIME_S = 3600.0

_Positive = Annotated[float, Field(gt=0)]


class LimitTable(StrictTable):
    """A limit for some kinds of stages: ``{ protect = 600, fit_attack = 7200 }``, in seconds or MB."""

    faces: _Positive | None = None
    """Reading or drawing the faces of a data set."""
    embed: _Positive | None = None
    """Embedding images with a model."""
    fit_defense: _Positive | None = None
    """What a defense learns."""
    protect: _Positive | None = None
    """Protecting the faces."""
    fit_attack: _Positive | None = None
    """What an attack learns."""
    attack: _Positive | None = None
    """Attacking the uploads."""
    score: _Positive | None = None
    """Scoring: the rows."""


def _form(value: Any) -> str:
    return "kinds" if isinstance(value, Mapping | LimitTable) else "number"


Limit = Annotated[Annotated[_Positive, Tag("number")] | Annotated[LimitTable, Tag("kinds")], Discriminator(_form)]


def by_kind(limit: float | LimitTable | None) -> dict[StageKind, float]:
    """Return a limit of a suite by kind of stage, without the kinds that have none."""
    if limit is None:
        return {}
    if isinstance(limit, LimitTable):
        return {kind: value for kind in get_args(StageKind) if (value := getattr(limit, kind)) is not None}
    return dict.fromkeys(get_args(StageKind), limit)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a plan: ``timeout_s`` of the command line, and those of the suite by kind of stage."""

    timeout_s: float | None = None
    stage_timeout_s: Mapping[StageKind, float] = field(default_factory=dict)
    stage_memory_mb: Mapping[StageKind, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.timeout_s is not None and not 0 < self.timeout_s < math.inf:
            raise SuiteError(f"--timeout: expected a number of seconds above 0, found {self.timeout_s}")

    def time_s(self, kind: StageKind, plugins: Mapping[str, Any]) -> float:
        """Return the time limit of a stage in seconds.

        It is that of the command line, else that of the suite, else the largest that its plugins declare, else
        `DEFAULT_TIME_S`.

        ``plugins`` are the instances of the stage's components by label. Raise `PluginError` if one of them declares
        anything but a positive number or None.
        """
        written = self.timeout_s or self.stage_timeout_s.get(kind)
        return written or max(filter(None, map(_declared, plugins, plugins.values())), default=DEFAULT_TIME_S)

    def memory_mb(self, kind: StageKind) -> float | None:
        """Return the memory limit of a stage in MB; None if the suite has none for its kind."""
        return self.stage_memory_mb.get(kind)


def _declared(label: str, plugin: Any) -> float | None:
    seconds = plugin.time_limit_s
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise PluginError(f"{label}: time_limit_s: expected a number of seconds above 0 or None, found {seconds!r}")
    return float(seconds)
