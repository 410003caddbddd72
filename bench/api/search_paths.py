"""Where real data and weights are looked for: folders in environment variables, which worker processes inherit."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bench.core.errors import DataError

DATA = "BENCH_DATA"  # folders of data sets, separated as in PATH
WEIGHTS = "BENCH_WEIGHTS"  # folders of weights
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


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


def expand(text: str, what: str) -> Path:
    """A path of a suite with ``~`` and ``$VARIABLES`` filled in; `DataError` naming one that is not set.

    ``what`` is the parameter, for the message.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise DataError(f"{what} = {text!r}: the variable {name} is not set; set it, or write the path itself")
        return os.environ[name]

    return Path(_VARIABLE.sub(value, text)).expanduser()
