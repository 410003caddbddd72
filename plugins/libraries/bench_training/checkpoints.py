"""Atomic writes of files, and checkpoints that belong to one run."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bench import DataError


def replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` write a file beside ``path``, then rename it: ``path`` is always the old file or the whole new
    one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_checkpoint(path: Path, run: Mapping[str, str], content: Mapping[str, Any]) -> None:
    """Store the state of a run. ``run`` identifies it by digests, for example of its ``recipe`` and its ``data``."""
    replace(path, lambda beside: torch.save({**content, "run": dict(run)}, beside))


def read_checkpoint(path: Path, run: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the state of a run, on the CPU; None without a file. Only tensors and plain values are unpickled.

    Raises DataError if the file is damaged or belongs to another run.
    """
    if not path.exists():
        return None
    try:
        with warnings.catch_warnings():  # torch warns about files of other programs, which are refused below.
            warnings.simplefilter("ignore")
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = dict(content["run"])
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, ValueError, pickle.UnpicklingError):
        raise DataError(
            f"{path}: expected a checkpoint of tensors and plain values, found a damaged or foreign file; "
            "delete it to start anew"
        ) from None
    for what, digest in run.items():
        if found.get(what) != digest:
            raise DataError(
                f"{path}: belongs to another {what} ({found.get(what)}), expected {digest}; "
                "delete it to start anew, or choose another --work"
            )
    return content
