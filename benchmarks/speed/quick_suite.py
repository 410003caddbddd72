"""The suite ``quick``: whole runs, from the command to the page, on the cores of this machine

The time is that which passed, because the workers of a run are no children of the command that is measured. What counts
here are seconds on two idle cores: at most 20 for a run and 3 for one that finds everything computed.

- ``computed``: ``bench run suites/quick.toml`` in an empty folder
- ``found``: the same command again, which finds every stage and the page
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from speed import Case, Variant

SUITE = Path(__file__).parents[2] / "suites" / "quick.toml"


def cases() -> Iterator[Case]:
    """Yield the case of the suite."""
    with tempfile.TemporaryDirectory() as kept:
        variants = {"computed": computed, "found": found(kept)}
        yield Case("bench run suites/quick.toml", "runs", variants, rounds=2, clock="passed")


def computed() -> float:
    """Run the suite in a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        return run(folder)


def found(folder: str) -> Variant:
    """Return a run in a folder in which the suite has been run."""
    run(folder)
    return lambda: run(folder)


def run(folder: str) -> float:
    """Run the suite in a folder."""
    command = [sys.executable, "-m", "bench", "run", str(SUITE)]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return 1
