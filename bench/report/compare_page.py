"""The comparison of two runs as one self-contained HTML page in the style of the report; text from files is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bench.analysis.compare.diff import Diff, DiffLine
from bench.core.files import write_atomically
from bench.report import compare_text
from bench.report.page import assets
from bench.store.run_record import RunRecord

MOST = 2_000  # The most differences shown that are not significant: those with the smallest p-values.


def render(found: Diff) -> str:
    """Return the page of a comparison as HTML."""
    rest = found.of("not significant")
    context: dict[str, Any] = {
        "styles": assets.styles(["base"]),
        "before": _run(found.before.run, found.before.folder),
        "after": _run(found.after.run, found.after.folder),
        "synthetic": any(line.before.synthetic or line.after.synthetic for line in found.lines),
        "regressed": found.regressed,
        "summary": compare_text.summary(found),
        "columns": compare_text.COLUMNS[2:],
        "significant": _groups([line for verdict in compare_text.SIGNIFICANT for line in found.of(verdict)]),
        "rest": _groups(rest[:MOST]),
        "listed": len(rest[:MOST]),
        "left_out": max(0, len(rest) - MOST),
        "ended": [(compare_text.cell_name(e.before), e.before, e.after) for e in found.ended],
        "alone": [
            (title, [compare_text.lone_name(lone) for lone in lones])
            for title, lones in (("Only in the run before", found.only_before), ("Only after", found.only_after))
        ],
        "changes": found.changes,
    }
    return _environment().get_template("diff.html.j2").render(context)


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


def _groups(lines: Sequence[DiffLine]) -> list[dict[str, Any]]:
    """Return the differences grouped by verdict and cell, in the order in which the groups first occur."""
    classes = {"regression": "unmet", "improvement": "met"}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in lines:
        verdict, cell, *row = compare_text.line_row(line)
        ids = " ".join(dict.fromkeys((line.before.cell, line.after.cell)))
        group = {"verdict": verdict, "kind": classes.get(verdict, ""), "cell": cell, "ids": ids, "rows": []}
        found.setdefault((verdict, ids), group)["rows"].append(row)
    return list(found.values())


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
