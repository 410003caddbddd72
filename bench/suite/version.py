"""The version of a suite: it names exactly one set of questions, and every row of a run carries it.

A suite that was changed for one run asks other questions, so its rows must not pass for those of the version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHANGED = "+changed"
PATTERN = r"^[a-z0-9][a-z0-9.-]*(\+changed)?$"
# Keys of ``[suite]`` that change no question: names, texts, limits, and whether stand-ins may take the place of files.
_FREE = frozenset({"name", "title", "description", "standard", "data", "stage_timeout_s", "stage_memory_mb"})


def mark_changes(raw: dict[str, Any], written: Mapping[str, Any], pairs: int | None = None) -> None:
    """Mark the version of a suite if the suite as run, ``raw``, asks other questions than its file, ``written``.

    ``pairs`` replaces the number of pairs of every experiment (``--pairs``). A suite without a version stays as it is.
    """
    head = raw.get("suite")
    version = head.get("version") if isinstance(head, dict) else None
    if not isinstance(head, dict) or not isinstance(version, str) or version.endswith(CHANGED):
        return
    if questions(raw) != questions(written) or pairs is not None:
        head["version"] = version + CHANGED


def questions(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a suite that decides its rows; claims are judged from rows and change none."""
    head = raw.get("suite")
    own = {name: value for name, value in head.items() if name not in _FREE} if isinstance(head, Mapping) else head
    return {"suite": own, **{name: value for name, value in raw.items() if name not in ("suite", "claims")}}
