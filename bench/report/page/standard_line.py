"""What a standard suite says of the same defenses, for the first screen of a report whose suite names one.

The questions of a paper may be those of adversaries who never saw the defense, so its report first tells what stronger
ones find: which defense is best under the standard suite, its leakage, and the command that computes it again. All of
this is read from the reference run of the standard suite, if there is one.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.analysis.rows import Rows
from bench.analysis.tables.assessed_defense import LEAKAGE, AssessedDefense
from bench.analysis.tables.recommendation import recommendations
from bench.core.text import joined_labels
from bench.report.page.recommendation import command_again
from bench.report.page.verdict_words import headline, power, what_leaks
from bench.store.reference import find_reference


@dataclass(frozen=True, kw_only=True)
class StandardLine:
    """The words, the ``evidence`` of the best defense (its leakage with interval and N, as text), and the command that
    computes it, again or for the first time."""

    words: str
    evidence: str = ""
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
    if known is not None and (line := _of_reference(known, version, plugins)):
        measured = {cell.plugin for cell in known.cells}
        missing = [plugin for plugin in plugins if plugin not in measured]
        unknown = f" {_unknown(version, missing)}: {_command(version, missing)}" if missing else ""
        return replace(line, words=line.words + unknown)
    suite = f"{version}, the suite with adversaries who know the defense,"
    return StandardLine(words=f"{_unknown(suite, plugins)}; this command does it:", command=_command(version, plugins))


def _unknown(suite: str, plugins: Sequence[str]) -> str:
    return f"What {suite} says of {joined_labels(plugins)} is not measured here"


def _command(version: str, plugins: Sequence[str]) -> str:
    options = [word for plugin in plugins for word in ("--defense", plugin)]
    return shlex.join(["bench", "run", version.rpartition("-")[0] or version, *options])


def _of_reference(rows: Rows, version: str, plugins: Sequence[str]) -> StandardLine | None:
    """Return the line that a reference run gives; None if it has no defense that one of these plugins provides."""
    labels = {c.defense for c in rows.cells if c.plugin in plugins and c.control is None}
    found = recommendations(rows)
    of_run = [e for one in found for e in one.protections if e.name in labels]
    if not of_run:
        return None
    start = f"Under {version}, which also asks adversaries who know the defense:"
    best, answer = next(((one.best, headline(one)) for one in found if one.best is not None), (None, ""))
    said = "; ".join(_clause(e) for e in of_run if e is not best)
    said = f"{said}." if said else ""
    if best is None:
        return StandardLine(words=f"{start} {said}")
    basis = [LEAKAGE.span(best.leakage.low, best.leakage.high), f"N {best.leakage.support}"]
    return StandardLine(
        words=" ".join(filter(None, [start, answer, said])),
        evidence=f"{best.name}: leakage {LEAKAGE.shown(best.leakage.value)} % ({', '.join(filter(None, basis))}).",
        command=command_again(rows, best),
    )


def _clause(entry: AssessedDefense) -> str:
    if entry.leaks is False:
        return f"{entry.name}: {power(entry)}"
    if entry.leaks is None:
        return f"{entry.name}: whether it leaks is not known"
    matched = f" (at most {LEAKAGE.shown(entry.leakage.value)} %)" if entry.leakage.value is not None else ""
    return f"{entry.name}: {what_leaks(entry)}{matched}"
