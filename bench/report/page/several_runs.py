"""The part of a page that shows several runs together: which runs they are, how their experiments and cells were
joined, what cannot be compared, and the verdicts on the claims of each run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bench.analysis import claim_results
from bench.analysis.cells import CellRow
from bench.analysis.claim_results import ClaimVerdict, Comparison
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement
from bench.core.text import duration, plural
from bench.report.page import run_facts
from bench.report.page.provenance import place
from bench.report.page.run_facts import Grid
from bench.runs.beside_reference import BesideReference
from bench.store.record_diff import changes_between
from bench.store.run_record import RunRecord
from bench.store.several_runs import Joined, Named

# The differences of records that are listed; notes and warnings name others.
_CHANGED = ("code", "packages", "machine")


@dataclass(frozen=True, kw_only=True)
class SeveralRuns:
    """What a page says about several runs.

    ``warnings`` name measurements that must not be compared, and ``notes`` say how the runs were joined and renamed.
    ``changes`` are the differences between the records of the first run and each of the others.
    """

    runs: Grid
    warnings: Sequence[str]
    notes: Sequence[str]
    changes: Sequence[tuple[str, Sequence[str]]]


def together(rows: Rows) -> SeveralRuns | None:
    """Return what the page says about several runs; None if it shows a single run."""
    results = rows.results
    if not isinstance(results, Joined):
        return None
    first, *others = results.named
    return SeveralRuns(
        runs=_runs(results),
        warnings=[*_other_machines(first, others), *_untried_defenses(rows, results), *_unequal_tests(rows)],
        notes=results.notes,
        changes=[
            (f"{one.name} against {first.name}", found)
            for one in others
            if (found := _changes(first.results.run, one.results.run))
        ],
    )


def _runs(results: Joined) -> Grid:
    """Return a table with one row for each run: suite, folder, commit, time, status and machine."""
    made = []
    for one in results.named:
        run = one.results.run
        made.append(
            [
                one.name,
                run.suite.title or run.suite.name,
                place(one.results),
                _short_commit(run.commit),
                run_facts.when(run.started),
                f"{run.status}, {duration(run.seconds)}",
                run_facts.machine(run),
            ]
        )
    columns = ["run", "suite", "rows", "commit", "started", "ended", "computed on"]
    return Grid(columns=columns, rows=made, code=frozenset({2, 3}))


def _short_commit(commit: str | None) -> str:
    """Return the first 12 digits of a commit, with the recorded mark of uncommitted changes."""
    digest, plus, dirty = (commit or "").partition("+")
    return f"{digest[:12]}{plus}{dirty}" if commit else "not run from a checkout"


def _changes(before: RunRecord, after: RunRecord) -> list[str]:
    found = changes_between(before, after)
    return [line for part in _CHANGED for line in found[part]]


# ---- what cannot be compared -----------------------------------------------------------------------------------------


def _other_machines(first: Named, others: Sequence[Named]) -> Iterator[str]:
    """Yield a warning for each run that was computed on another machine than the first, or by other code of bench."""
    here = first.results.run
    for one in others:
        run = one.results.run
        if (run.machine, run.device, run.device_name) != (here.machine, here.device, here.device_name):
            yield (
                f"{_capitalised(one.name)} was computed on another machine or device than {first.name}: times and "
                "memory of the two cannot be compared."
            )
        if run.host != here.host:
            yield (
                f"{_capitalised(one.name)} was computed by other code of bench than {first.name}: measurements may "
                "differ by more than the defense."
            )


def _untried_defenses(rows: Rows, results: Joined) -> Iterator[str]:
    """Yield a warning for each experiment that a run does not have and in which its defenses were therefore not
    tried."""
    cells = rows.cells
    for one in results.named:
        own = {c.defense for c in cells if c.run == one.name and not c.clean}
        missing = [e for e in rows.experiments if e not in one.experiments.values()]
        tried = {(c.experiment, c.defense) for c in cells}
        for experiment in missing:
            untried = [d for d in dict.fromkeys(c.defense for c in cells) if d in own and (experiment, d) not in tried]
            if untried:
                name, defenses = _capitalised(one.name), _listed(untried)
                yield f"{name} does not have the experiment {experiment}: nothing is known there of {defenses}."


def _unequal_tests(rows: Rows) -> Iterator[str]:
    """Yield a warning for each defense with fewer attacks or fewer evaluated models than another one in the
    experiment."""
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


def _capitalised(text: str) -> str:
    """Return text with its first letter in upper case; the others stay as they are."""
    return text[:1].upper() + text[1:]


def _listed(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {plural(len(names) - most, 'other')}" if len(names) > most else shown


# ---- claims ----------------------------------------------------------------------------------------------------------


def judge(rows: Rows) -> list[ClaimVerdict]:
    """Return the verdict on every claim of the suites.

    On a page of several runs, the claims of each suite are compared with the rows of its own run alone, so that another
    run cannot decide them; the rows of a reference run are those of the run itself. Claims with the same verdict in
    several runs appear once.
    """
    results = rows.results
    if not isinstance(results, Joined) or isinstance(results, BesideReference):
        return claim_results.judge(rows, claim_results.claims_of(results))
    found: dict[tuple[str, ...], ClaimVerdict] = {}
    for one in results.named:
        claims = claim_results.claims_of(one.results)
        judged = claim_results.judge(Rows(one.results), claims) if claims else []
        for verdict, words in zip(judged, claim_results.verdict_rows(judged), strict=True):
            place = ", ".join(filter(None, (verdict.claim.place, one.name)))
            claim = verdict.claim.model_copy(update={"section": None, "source": place})
            found.setdefault(tuple(words), _with_page_ids(replace(verdict, claim=claim), one))
    return list(found.values())


def _with_page_ids(verdict: ClaimVerdict, run: Named) -> ClaimVerdict:
    """Return a verdict of one run whose measurements name cells by the ids that they have on the page of several
    runs."""
    made = [_comparison(c, run) for c in verdict.comparisons]
    decisive = next((m for m, c in zip(made, verdict.comparisons, strict=True) if c is verdict.decisive), None)
    return replace(verdict, comparisons=made, decisive=decisive or _comparison(verdict.decisive, run))


def _comparison(found: Comparison, run: Named) -> Comparison:
    left, right, difference = (_measurement(side, run) for side in (found.left, found.right, found.difference))
    return replace(found, left=left, right=right, difference=difference)


def _measurement(found: Measurement, run: Named) -> Measurement:
    return replace(found, cells=tuple(run.cells.get(c) or run.alike.get(c, c) for c in found.cells))
