"""The first line of a report whose suite names a standard suite: what that suite says of the same defenses.

The questions of a paper may be those of adversaries who never saw the defense, so its report first tells what stronger
ones find. The line is read from the reference run of the standard suite, if there is one.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from bench.analysis.rows import Rows
from bench.analysis.tables.assessed_defense import LEAKAGE, AssessedDefense
from bench.analysis.tables.recommendation import recommendations
from bench.core.text import joined_labels
from bench.report.page.verdict_words import power, what_leaks
from bench.store.reference import find_reference


@dataclass(frozen=True, kw_only=True)
class StandardLine:
    """The line: its words, and the command that computes it if it is not known."""

    words: str
    command: str = ""


def quoted(rows: Rows) -> StandardLine | None:
    """Return what the standard suite that a run names says of the defenses that protect pictures for authorised models;
    None if the run names no such suite."""
    version = rows.results.run.suite.head.get("standard")
    if not isinstance(version, str) or len(rows.results.runs) > 1:
        return None
    own = (c for c in rows.cells if not c.clean and c.control is None)
    plugins = list(dict.fromkeys(c.plugin for c in own if c.authorised_models and c.upload == "images"))
    reference = find_reference(version)
    known = None if reference is None else Rows(reference)
    said = [] if known is None else _said(known, plugins)
    measured = {c.plugin for c in known.cells} if known and said else set[str]()
    missing = [plugin for plugin in plugins if plugin not in measured]
    words = f"Under {version}, which also asks adversaries who know the defense: {'; '.join(said)}." if said else ""
    if said and not missing:
        return StandardLine(words=words)
    suite = version if said else f"{version}, the suite with adversaries who know the defense,"
    unknown = f"What {suite} says of {joined_labels(missing)} is not measured here; this command does it:"
    options = [word for plugin in missing for word in ("--defense", plugin)]
    return StandardLine(
        words=f"{words} {unknown}".strip(),
        command=shlex.join(["bench", "run", version.rpartition("-")[0] or version, *options]),
    )


def _said(rows: Rows, plugins: Sequence[str]) -> list[str]:
    """Return a clause for each defense of a reference run that one of these plugins provides."""
    labels = {c.defense for c in rows.cells if c.plugin in plugins and c.control is None}
    entries = [e for found in recommendations(rows) for e in found.protections]
    return [_clause(entry) for entry in entries if entry.name in labels]


def _clause(entry: AssessedDefense) -> str:
    if entry.leaks is False:
        return f"{entry.name}: {power(entry)}"
    if entry.leaks is None:
        return f"{entry.name}: whether it leaks is not known"
    matched = f" (at most {LEAKAGE.shown(entry.leakage.value)} %)" if entry.leakage.value is not None else ""
    return f"{entry.name}: {what_leaks(entry)}{matched}"
