"""The comparison of two runs as text: sentences, lines, and tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench.analysis.compare.diff import Diff, DiffLine, DiffVerdict
from bench.analysis.compare.matching import UnmatchedCell
from bench.analysis.compare.significance import LEVEL, Difference
from bench.analysis.rows import CellRow
from bench.core.text import plural

SIGNIFICANT: Sequence[DiffVerdict] = ("regression", "improvement", "change")
MOST, SOME = 40, 12  # The most rows that ``bench diff`` prints, and that ``bench rescore`` prints.
COLUMNS = ("verdict", "cell", "metric", "before", "after", "difference", "95 % interval", "N", "corrected p")


def summary(found: Diff) -> list[str]:
    """Return sentences with the number of compared cells, differences by verdict, tests, and cells without a
    partner."""
    counts = found.counts
    sentences = [
        f"{plural(found.cells, 'cell')} in both runs, {plural(len(found.lines), 'comparison')}: "
        f"{plural(counts['regression'], 'regression')}, {plural(counts['improvement'], 'improvement')}, "
        f"{counts['change']:,} other significant changes, {counts['not significant']:,} not significant, "
        f"{counts['same']:,} with the same value in every sample.",
    ]
    if found.tested:
        sentences.append(
            f"{plural(found.tested, 'difference was', 'differences were')} tested, p-values corrected by Holm's "
            f"method: the chance of any false alarm is at most {100 * LEVEL:g} %."
        )
    if found.lost:
        sentences.append(f"{plural(len(found.lost), 'cell')} ended well before and now have no measurements.")
    alone = [(len(lone), name) for lone, name in ((found.only_before, "before"), (found.only_after, "after")) if lone]
    sentences += [f"{plural(n, 'cell')} only in the run {name}." for n, name in alone]
    return sentences


def cell_name(cell: CellRow) -> str:
    """Return the coordinates of a cell in one line, with the labels of its suite."""
    parts = [cell.dataset, cell.defense]
    parts += [f"for {cell.authorised}"] if cell.authorised else []
    parts.append(f"{cell.attack} via {cell.via}" if cell.via else cell.attack)
    parts += [f"{cell.evaluated} ({cell.role})" if cell.role != "any" else cell.evaluated] if cell.evaluated else []
    parts += [f"repeat {cell.repeat}"] if cell.repeat else []
    return f"{cell.experiment}: {', '.join(parts)}"


def line_row(line: DiffLine) -> list[str]:
    """Return one difference as texts for the columns `COLUMNS`."""
    metric, found = line.metric, line.found
    unit = f" ({metric.unit})" if metric.unit else ""
    level = f" at σ = {line.sigma:g}" if line.sigma is not None else ""
    arrow = {"higher": " ↑", "lower": " ↓"}.get(line.better, "")
    value = metric.shown(found.value)
    return [
        line.verdict,
        cell_name(line.before),
        f"{metric.label}{unit}{level}{arrow}",
        metric.shown(found.before),
        metric.shown(found.after),
        value if value.startswith("−") or found.value == 0 else f"+{value}",
        metric.span(found.low, found.high),
        _sample_size(found),
        "" if line.corrected is None else "<0.0001" if line.corrected < 1e-4 else f"{line.corrected:.4f}",
    ]


def _sample_size(found: Difference) -> str:
    """Return N as text, with a note if the samples are unpaired, and the number of samples that were left out."""
    left_out = f", {found.left_out:,} left out" if found.left_out else ""
    return f"{found.n:,}{'' if found.paired else ' unpaired'}{left_out}"


def lone_name(lone: UnmatchedCell) -> str:
    """Return the name of a cell that only one run has, with the reason."""
    return cell_name(lone.cell) + (f" ({lone.why})" if lone.why else "")


def show(found: Diff, out: Console) -> None:
    """Print a comparison: significant differences, cells without a partner, changes of the records, and a summary."""
    out.print(f"before: {found.before.folder}\nafter:  {found.after.folder}\n")
    significant = [line for verdict in SIGNIFICANT for line in found.of(verdict)]
    if significant:
        table = Table(*COLUMNS, box=None, pad_edge=False)
        _lay_out(table, numbers=3)
        for line in significant[:MOST]:
            table.add_row(*line_row(line))
        out.print(table)
        _more(out, len(significant))
        out.print()
    _list(out, "no measurements any more:", [f"{cell_name(e.before)}: {_status(e.after)}" for e in found.lost])
    _list(out, "only before:", [lone_name(lone) for lone in found.only_before])
    _list(out, "only after:", [lone_name(lone) for lone in found.only_after])
    for kind, lines in found.changes.items():
        _list(out, f"changed {kind} (before -> after):", lines)
    for sentence in summary(found):
        out.print(sentence)


def _lay_out(table: Table, numbers: int) -> None:
    """Align the columns from ``numbers`` on to the right, and fold long cells: a name is never cut."""
    for column in table.columns:
        column.overflow = "fold"
    for column in table.columns[numbers:]:
        column.justify = "right"


def show_changed(found: Diff, out: Console) -> None:
    """Print the measurements that differ between two runs, significant or not: the first `SOME`, and their number."""
    changed = [line for line in found.lines if not line.found.same]
    columns = [COLUMNS.index(name) for name in ("cell", "metric", "before", "after", "difference", "N")]
    if changed:
        table = Table(*(COLUMNS[i] for i in columns), box=None, pad_edge=False)
        _lay_out(table, numbers=2)
        for line in changed[:SOME]:
            row = line_row(line)
            table.add_row(*(row[i] for i in columns))
        out.print(table)
    cells = len({line.before.cell for line in changed})
    measurements = f"{len(changed):,} of {plural(len(found.lines), 'measurement')}"
    more = f"; all of them: bench diff {found.before.folder} {found.after.folder}" if len(changed) > SOME else ""
    out.print(f"{measurements} changed, in {cells:,} of {plural(found.cells, 'cell')}{more}", soft_wrap=True)


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
