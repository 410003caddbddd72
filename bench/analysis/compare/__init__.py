"""The comparison of two runs, cell by cell: which measurements differ, how certain that is, and what else changed.

`matching` finds the cells that mean the same in both runs, `significance` holds the statistics, and `diff` puts a
comparison together. `bench.report.compare_text` and `bench.report.compare_page` print it. Rows are read cell by cell,
so that runs may be larger than memory.
"""

from __future__ import annotations

from bench.analysis.compare.diff import Diff, DiffLine, diff

__all__ = ["Diff", "DiffLine", "diff"]
