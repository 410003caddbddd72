"""Which files the parameters of a component name."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def named_files(plugin: Any) -> tuple[Path, ...]:
    """Return the files and folders that the parameters of a component name; they may be missing. ``Path()`` is none."""
    return tuple(value for value in vars(plugin).values() if isinstance(value, Path) and value.parts)
