"""Where real data and weights are looked for: folders in environment variables, which worker processes inherit."""

from __future__ import annotations

import os
from pathlib import Path

DATA = "BENCH_DATA"  # folders of data sets, separated as in PATH
WEIGHTS = "BENCH_WEIGHTS"  # folders of weights


def prepend(variable: str, folder: Path | None) -> None:
    """Look into a folder first, here and in worker processes."""
    if folder is not None:
        before = os.environ.get(variable)
        os.environ[variable] = os.pathsep.join([str(folder.resolve()), *([before] if before else [])])


def data_folders() -> list[Path]:
    """The folders in which data sets are looked for, in that order: those of ``$BENCH_DATA``."""
    return [Path(text).expanduser() for text in os.environ.get(DATA, "").split(os.pathsep) if text]


def weights_folders() -> list[Path]:
    """The folders in which weights are looked for, in that order: those of ``$BENCH_WEIGHTS``, then ``weights`` in each
    folder of data."""
    own = [Path(text).expanduser() for text in os.environ.get(WEIGHTS, "").split(os.pathsep) if text]
    return own + [folder / "weights" for folder in data_folders()]
