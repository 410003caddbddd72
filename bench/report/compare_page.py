"""The comparison of two runs as one self-contained HTML page in the style of the report; text from files is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.analysis.compare.diff import Diff, DiffLine
from bench.analysis.compare.primary import PrimaryTest
from bench.core.files import write_atomically
from bench.report import compare_text
from bench.report.page import assets
from bench.report.page_text import environment, finished
from bench.store.run_record import RunRecord

MOST = 2_000  # The most details shown: those whose uncorrected interval excludes 0 come first.


def render(found: Diff) -> str:
    """Return the page of a comparison as HTML."""
    details = sorted(found.changed, key=lambda line: not line.apart)
    context: dict[str, Any] = {
        "styles": assets.styles(["base"]),
        "before": _run(found.before.run, found.before.folder),
        "after": _run(found.after.run, found.after.folder),
        "synthetic": any(line.before.synthetic or line.after.synthetic for line in found.details),
        "regressed": found.regressed,
        "summary": compare_text.summary(found),
        "test_columns": compare_text.TEST_COLUMNS[3:],
        "tests": _tests([test for verdict in compare_text.SHOWN for test in found.of(verdict)]),
        "columns": compare_text.DETAIL_COLUMNS[1:],
        "details": _groups(details[:MOST]),
        "listed": len(details[:MOST]),
        "left_out": max(0, len(details) - MOST),
        "ended": [(compare_text.cell_name(e.before), e.before, e.after) for e in found.ended],
        "alone": [
            (title, [compare_text.lone_name(lone) for lone in lones])
            for title, lones in (("Only in the run before", found.only_before), ("Only after", found.only_after))
        ]
        + [("Ended well in both runs, with rows in one only", compare_text.lone_rows(found))],
        "changes": found.changes,
    }
    return finished(environment("bench.report").get_template("diff.html.j2").render(context))


def write_page(found: Diff, path: Path) -> Path:
    """Write the page of a comparison atomically and return its path. Raise `StorageError` if it cannot be written."""
    write_atomically(path, render(found))
    return path


def _run(run: RunRecord, folder: Path) -> dict[str, str]:
    """Return what the page says about one of the two runs."""
    return {
        "folder": "/".join(folder.resolve().parts[-3:]),
        "suite": run.suite.title or run.suite.name,
        "started": run.started or "unknown",
        "status": run.status,
        "digest": (run.digest or "unknown")[:12],
        "commit": (run.commit or "unknown")[:12],
    }


def _tests(tests: Sequence[PrimaryTest]) -> list[dict[str, Any]]:
    """Return the primary tests grouped by verdict, question and setting, in their order."""
    classes = {"regression": "unmet", "improvement": "met"}
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for test in tests:
        verdict, question, setting, *row = compare_text.primary_row(test)
        name, kind = f"{question}: {setting}", classes.get(verdict, "")
        group = {"verdict": verdict, "kind": kind, "name": name, "ids": "", "rows": []}
        found.setdefault((verdict, question, setting), group)["rows"].append(row)
    return list(found.values())


def _groups(lines: Sequence[DiffLine]) -> list[dict[str, Any]]:
    """Return the details grouped by cell, in the order in which the cells first occur."""
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        cell, *row = compare_text.detail_row(line)
        ids = " ".join(dict.fromkeys((line.before.cell, line.after.cell)))
        found.setdefault(ids, {"verdict": "", "kind": "", "name": cell, "ids": ids, "rows": []})["rows"].append(row)
    return list(found.values())
