"""The comparison of two runs: the primary tests, the details cell by cell, how certain both are, and what else changed.

`matching` finds the cells that mean the same in both runs, `sample_pairs` their samples, `significance` holds the
statistics, `primary` the tests, and `diff` puts a comparison together. `bench.report.compare_text` and
`bench.report.compare_page` print it. Rows are read cell by cell, so that runs may be larger than memory.
"""

from __future__ import annotations

from bench.analysis.compare.diff import Diff, DiffLine, diff
from bench.analysis.compare.primary import PrimaryTest

__all__ = ["Diff", "DiffLine", "PrimaryTest", "diff"]
