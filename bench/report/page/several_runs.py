"""What the page says where it shows several runs: which they are, what stands together, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bench.analysis import claim_results
from bench.analysis.claim_results import ClaimVerdict, Comparison
from bench.analysis.rows import CellRow, Rows
from bench.analysis.table_model import Measurement
from bench.core.text import duration, plural
from bench.report.page import run_facts
from bench.report.page.provenance import place
from bench.report.page.run_facts import Grid
from bench.store.record_diff import changes_between
from bench.store.run_record import RunRecord
from bench.store.several_runs import Joined, Named

_CHANGED = ("code", "packages", "machine")  # parts of records; what else differs is said where it matters


@dataclass(frozen=True, kw_only=True)
class SeveralRuns:
    """Several runs on one page. ``warnings``: where their figures must not be compared; ``notes``: what stands
    together under which names; ``changes``: what differs between the records of the first run and another."""

    runs: Grid
    warnings: Sequence[str]
    notes: Sequence[str]
    changes: Sequence[tuple[str, Sequence[str]]]


def together(rows: Rows) -> SeveralRuns | None:
    """What there is to say of several runs; none where there is only one."""
    results = rows.results
    if not isinstance(results, Joined):
        return None
    first, *others = results.named
    return SeveralRuns(
        runs=_runs(results),
        warnings=[*_elsewhere(first, others), *_unasked(rows, results), *_unequal(rows)],
        notes=results.notes,
        changes=[
            (f"{one.name} against {first.name}", found)
            for one in others
            if (found := _changes(first.results.run, one.results.run))
        ],
    )


def _runs(results: Joined) -> Grid:
    made = []
    for one in results.named:
        run = one.results.run
        made.append(
            [
                one.name,
                run.suite.title or run.suite.name,
                place(one.results),
                _short(run.commit),
                run_facts.when(run.started),
                f"{run.status}, {duration(run.seconds)}",
                run_facts.machine(run),
            ]
        )
    columns = ["run", "suite", "rows", "commit", "started", "ended", "computed on"]
    return Grid(columns=columns, rows=made, code=frozenset({2, 3}))


def _short(commit: str | None) -> str:
    """A commit in few characters, with what says that files differed from it."""
    digest, plus, dirty = (commit or "").partition("+")
    return f"{digest[:12]}{plus}{dirty}" if commit else "not run from a checkout"


def _changes(before: RunRecord, after: RunRecord) -> list[str]:
    found = changes_between(before, after)
    return [line for part in _CHANGED for line in found[part]]


# ---- what cannot be compared -----------------------------------------------------------------------------------------


def _elsewhere(first: Named, others: Sequence[Named]) -> Iterator[str]:
    """Runs of another machine, and runs of another bench."""
    here = first.results.run
    for one in others:
        run = one.results.run
        if (run.machine, run.device, run.device_name) != (here.machine, here.device, here.device_name):
            yield (
                f"{_upper(one.name)} was computed on another machine or device than {first.name}: times and memory of "
                "the two cannot be compared."
            )
        if run.host != here.host:
            yield (
                f"{_upper(one.name)} was computed by other code of bench than {first.name}: measurements may differ by "
                "more than the defense."
            )


def _unasked(rows: Rows, results: Joined) -> Iterator[str]:
    """Experiments that some runs do not ask: what those protect with was not tried there."""
    cells = rows.cells
    for one in results.named:
        own = {c.defense for c in cells if c.run == one.name and not c.clean}
        missing = [e for e in rows.experiments if e not in one.experiments.values()]
        tried = {(c.experiment, c.defense) for c in cells}
        for experiment in missing:
            untried = [d for d in dict.fromkeys(c.defense for c in cells) if d in own and (experiment, d) not in tried]
            if untried:
                yield f"{experiment} is not asked by {one.name}: nothing is known there of {_listed(untried)}."


def _unequal(rows: Rows) -> Iterator[str]:
    """Defenses that met fewer attacks, or were judged by fewer models, than another in the same experiment."""
    for experiment in rows.experiments:
        cells = [c for c in rows.cells if c.experiment == experiment]
        if len({c.run for c in cells}) < 2:
            continue
        for defense in dict.fromkeys(c.defense for c in cells if not c.clean):
            own = [c for c in cells if c.defense == defense]
            for what, of in (("attacked by", _attack), ("judged by", _model)):
                missing = [x for x in dict.fromkeys(map(of, cells)) if x and x not in set(map(of, own))]
                if missing:
                    yield (
                        f"{defense} was not {what} {_listed(missing)} in {experiment}, as others were: its averages "
                        "and its worst case rest on less."
                    )


def _attack(cell: CellRow) -> str:
    return cell.attack


def _model(cell: CellRow) -> str:
    return cell.evaluated


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {plural(len(names) - most, 'other')}" if len(names) > most else shown


# ---- claims ----------------------------------------------------------------------------------------------------------


def judge(rows: Rows) -> list[ClaimVerdict]:
    """What the suites claim, held against the rows. Of several runs, each suite's claims against its own run alone:
    what another run adds must not decide them. A claim that several runs answer alike is one."""
    results = rows.results
    if not isinstance(results, Joined):
        return claim_results.judge(rows, claim_results.claims_of(results))
    found: dict[tuple[str, ...], ClaimVerdict] = {}
    for one in results.named:
        claims = claim_results.claims_of(one.results)
        judged = claim_results.judge(Rows(one.results), claims) if claims else []
        for verdict, words in zip(judged, claim_results.verdict_rows(judged), strict=True):
            section = f"{verdict.claim.section}, {one.name}".lstrip(", ")
            claim = verdict.claim.model_copy(update={"section": section})
            found.setdefault(tuple(words), _in_page(replace(verdict, claim=claim), one))
    return list(found.values())


def _in_page(verdict: ClaimVerdict, run: Named) -> ClaimVerdict:
    """A verdict whose figures name cells by the ids that they have on the page."""
    made = [_comparison(c, run) for c in verdict.comparisons]
    decisive = next((m for m, c in zip(made, verdict.comparisons, strict=True) if c is verdict.decisive), None)
    return replace(verdict, comparisons=made, decisive=decisive or _comparison(verdict.decisive, run))


def _comparison(found: Comparison, run: Named) -> Comparison:
    left, right, difference = (_measurement(side, run) for side in (found.left, found.right, found.difference))
    return replace(found, left=left, right=right, difference=difference)


def _measurement(found: Measurement, run: Named) -> Measurement:
    return replace(found, cells=tuple(run.cells.get(c) or run.alike.get(c, c) for c in found.cells))
