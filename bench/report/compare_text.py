"""The comparison of two runs as text: sentences, lines, and tables for a terminal."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench.analysis.cells import CellRow
from bench.analysis.compare.diff import Diff, DiffLine
from bench.analysis.compare.matching import Better, UnmatchedCell
from bench.analysis.compare.primary import VERDICTS, DiffVerdict, PrimaryTest
from bench.analysis.compare.significance import LEVEL, POWER, Difference
from bench.analysis.sample_metric import SampleMetric
from bench.core.text import plural

SHOWN: Sequence[DiffVerdict] = tuple(verdict for verdict in VERDICTS if verdict != "same")
MOST, SOME = 40, 12  # The most rows that ``bench diff`` prints of each kind, and that ``bench rescore`` prints.
_NUMBERS = ("metric", "before", "after", "difference", "95 % interval", "N")
TEST_COLUMNS = ("verdict", "question", "setting", *_NUMBERS, "corrected p", "detectable")
DETAIL_COLUMNS = ("cell", *_NUMBERS)


def summary(found: Diff) -> list[str]:
    """Return sentences with the number of compared cells, of primary tests by verdict, of details, and of cells without
    a partner."""
    counts = found.counts
    sentences = [
        f"{plural(found.cells, 'cell')} in both runs, {plural(len(found.tests), 'question')} compared by one metric "
        f"each: {plural(counts['regression'], 'regression')}, {plural(counts['improvement'], 'improvement')}, "
        f"{plural(counts['change'], 'other significant change')}, {counts['not significant']:,} not significant, "
        f"{counts['same']:,} with the same value in every sample.",
    ]
    if found.tested:
        sentences.append(
            f"{plural(found.tested, 'difference was', 'differences were')} tested, p-values corrected by Holm's "
            f"method: the chance of any false alarm is at most {100 * LEVEL:g} %. Each test would have found its "
            f"detectable difference with a probability of about {100 * POWER:g} % or more."
        )
    sentences += untested(found)
    changed = found.changed
    if changed:
        apart = sum(line.apart for line in changed)
        of = f"{len(changed):,} of {plural(len(found.details), 'measurement')} of single cells"
        sentences.append(
            f"Details: {of} differ in values or samples. They are not tested: their intervals are not corrected, and "
            f"{apart:,} of them {'excludes' if apart == 1 else 'exclude'} 0."
        )
    if found.lost:
        ended = "ended well before and now has" if len(found.lost) == 1 else "ended well before and now have"
        sentences.append(f"{plural(len(found.lost), 'cell')} {ended} no measurements.")
    if found.lone_rows:
        n = len({lone.before.cell for lone in found.lone_rows})
        which = "one run has rows of it that the other lacks" if n == 1 else "one run has rows that the other lacks"
        sentences.append(f"{plural(n, 'cell')} ended well in both runs, but {which}; these rows are left out.")
    alone = [(len(lone), name) for lone, name in ((found.only_before, "before"), (found.only_after, "after")) if lone]
    sentences += [f"{plural(n, 'cell')} only in the run {name}." for n, name in alone]
    return sentences


def untested(found: Diff) -> list[str]:
    """Return one sentence for each reason why questions were not tested."""
    reasons = Counter(one.why for one in found.untested)
    return [
        f"{plural(n, 'question')} ({', '.join(dict.fromkeys(u.question for u in found.untested if u.why == why))}) not "
        f"tested: {why}."
        for why, n in reasons.items()
    ]


def cell_name(cell: CellRow) -> str:
    """Return the coordinates of a cell in one line, with the labels of its suite."""
    parts = [cell.dataset, cell.defense]
    parts += [f"for {cell.authorised}"] if cell.authorised else []
    parts.append(f"{cell.attack} via {cell.via}" if cell.via else cell.attack)
    parts += [f"{cell.evaluated} ({cell.role})" if cell.role != "any" else cell.evaluated] if cell.evaluated else []
    parts += [f"repeat {cell.repeat}"] if cell.repeat else []
    return f"{cell.experiment}: {', '.join(parts)}"


def primary_row(test: PrimaryTest) -> list[str]:
    """Return a primary test as texts for the columns `TEST_COLUMNS`."""
    p, detectable = test.corrected, test.detectable
    return [
        test.verdict,
        test.question,
        f"{test.setting} ({plural(len(test.cells), 'cell')})",
        *_numbers(test.metric, test.found, test.better),
        "" if p is None else "<0.0001" if p < 1e-4 else f"{p:.4f}",
        "none, too few people" if detectable is None else f"±{test.metric.shown(detectable)}",
    ]


def detail_row(line: DiffLine) -> list[str]:
    """Return the difference of a metric in a cell as texts for the columns `DETAIL_COLUMNS`."""
    level = f" at σ = {line.sigma:g}" if line.sigma is not None else ""
    note = f" ({line.note})" if line.note else ""
    return [cell_name(line.before), *_numbers(line.metric, line.found, line.better, f"{level}{note}")]


def _numbers(metric: SampleMetric, found: Difference, better: Better, about: str = "") -> list[str]:
    """Return a difference as texts for the columns `_NUMBERS`."""
    unit = f" ({metric.unit})" if metric.unit else ""
    arrow = {"higher": " ↑", "lower": " ↓"}.get(better, "")
    value = metric.shown(found.value)
    return [
        f"{metric.label}{unit}{about}{arrow}",
        metric.shown(found.before),
        metric.shown(found.after),
        value if value.startswith("−") or found.value == 0 else f"+{value}",
        metric.span(*metric.difference_within(found.low, found.high)),
        _sample_size(found),
    ]


def _sample_size(found: Difference) -> str:
    """Return N as text, with a note if the samples are unpaired, and the number of samples that were left out."""
    left_out = f" (without {found.left_out:,} of one run only)" if found.left_out else ""
    return f"{found.n:,}{'' if found.paired else ' unpaired'}{left_out}"


def lone_name(lone: UnmatchedCell) -> str:
    """Return the name of a cell that only one run has, with the reason."""
    return cell_name(lone.cell) + (f" ({lone.why})" if lone.why else "")


def lone_rows(found: Diff) -> list[str]:
    """Return a line for each cell that ended well in both runs, and each table of which only one run has its rows."""
    return [f"{cell_name(lone.before)}: rows of {lone.table} only {lone.there}" for lone in found.lone_rows]


def show(found: Diff, out: Console) -> None:
    """Print a comparison: primary tests, details, cells without a partner, changes of the records, and a summary."""
    out.print(f"before: {found.before.folder}\nafter:  {found.after.folder}\n")
    tests = [test for verdict in SHOWN for test in found.of(verdict)]
    _table(out, "primary tests:", TEST_COLUMNS, [primary_row(test) for test in tests], numbers=4)
    apart = [line for line in found.changed if line.apart]
    title = "details, not tested, whose uncorrected interval excludes 0:"
    _table(out, title, DETAIL_COLUMNS, [detail_row(line) for line in apart], numbers=2)
    _list(out, "no measurements any more:", [f"{cell_name(e.before)}: {_status(e.after)}" for e in found.lost])
    _list(out, "ended well in both runs, with rows in one only:", lone_rows(found))
    _list(out, "only before:", [lone_name(lone) for lone in found.only_before])
    _list(out, "only after:", [lone_name(lone) for lone in found.only_after])
    for kind, lines in found.changes.items():
        _list(out, f"changed {kind} (before -> after):", lines)
    for sentence in summary(found):
        out.print(sentence)


def _table(out: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int) -> None:
    """Print the first `MOST` rows of a table and the number of the others; nothing without rows. ``numbers``: the
    columns from this one on are aligned to the right."""
    if not rows:
        return
    out.print(title)
    table = _laid_out(columns, numbers)
    for row in rows[:MOST]:
        table.add_row(*row)
    out.print(table)
    _more(out, len(rows))
    out.print()


def _laid_out(columns: Sequence[str], numbers: int) -> Table:
    """Return an empty table whose columns are aligned to the right from ``numbers`` on. Long cells are folded: a name
    is never cut."""
    table = Table(*columns, box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for column in table.columns[numbers:]:
        column.justify = "right"
    return table


def show_changed(found: Diff, out: Console) -> None:
    """Print the measurements that differ between two runs, significant or not: the first `SOME`, and their number."""
    changed = found.changed
    columns = [DETAIL_COLUMNS.index(name) for name in ("cell", "metric", "before", "after", "difference", "N")]
    if changed:
        table = _laid_out([DETAIL_COLUMNS[i] for i in columns], numbers=2)
        for line in changed[:SOME]:
            row = detail_row(line)
            table.add_row(*(row[i] for i in columns))
        out.print(table)
    if len(changed) > SOME:
        all_of_them = shlex.join(["bench", "diff", str(found.before.folder), str(found.after.folder), "--json"])
        out.print(f"  and {len(changed) - SOME:,} more; all of them: {all_of_them}", soft_wrap=True)
    cells = len({line.before.cell for line in changed})
    measurements = f"{len(changed):,} of {plural(len(found.details), 'measurement')}"
    out.print(f"{measurements} changed, in {cells:,} of {plural(found.cells, 'cell')}", soft_wrap=True)


def _status(cell: CellRow) -> str:
    """Return the status of a cell with its reason."""
    return f"{cell.status}, {cell.reason}" if cell.reason else cell.status


def _list(out: Console, title: str, lines: Sequence[str]) -> None:
    if lines:
        out.print(title)
        for line in lines[:MOST]:
            out.print(f"  {line}")
        _more(out, len(lines))
        out.print()


def _more(out: Console, n: int) -> None:
    if n > MOST:
        out.print(f"  and {n - MOST:,} more; all of them: --json or --html FILE")
