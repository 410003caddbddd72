"""How the kit compares results of one component for batches of one size: as runs do, and pictures more strictly."""

from __future__ import annotations

import numpy as np

from bench.stages.comparison import Results, strict_difference

_MOST = 16  # levels by which one value of a picture may differ, of the few that runs let pass


def difference(first: Results, second: Results) -> str | None:
    """Return in words what differs between two results that must be the same; None if nothing does.

    One value in a thousand may differ in a run, since an optimisation magnifies last bits. In the small world of the
    kit no value may differ by many levels, so that a few pixels cannot hold what depends on the call.
    """
    if words := strict_difference(first, second):
        return words
    for name, values in first.items():
        if values.dtype == np.uint8 and values.ndim == 4 and values.size:
            most = int(np.abs(values.astype(np.int16) - second[name].astype(np.int16)).max())
            if most > _MOST:
                return f"a value of {name} differs by {most} of 256 levels"
    return None
