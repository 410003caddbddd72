"""The section "Skipped and failed": cells without a result, with their reasons, and cells that were computed with
smaller batches than planned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.analysis.cells import CellRow
from bench.analysis.rows import Rows
from bench.core.text import plural

SHOWN_CELLS = 12  # The most cells named for one reason, before "and n more".
SHOWN_DETAILS = 3  # The most different tracebacks and logs shown for one reason.
_NO_REASON = {"queued": "not computed yet"}
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ORDER = ("queued", "skipped")  # The order of these statuses; failures come before them.


@dataclass(frozen=True)
class FailureDetail:
    """The traceback and the output of the failed stage of a cell; either may be empty."""

    cell: str
    traceback: str
    log: str


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Cells without a result that share a status and a reason: their number, the names of the first ones, and the
    different details of their failures."""

    status: str
    reason: str
    count: int
    cells: Sequence[str]
    details: Sequence[FailureDetail] = ()

    @property
    def more(self) -> int:
        """The number of cells that are not named."""
        return self.count - len(self.cells)

    @property
    def failed(self) -> bool:
        """Whether the cells failed, rather than being skipped or still to be computed."""
        return self.status not in _ORDER


def gaps(rows: Rows) -> list[Gap]:
    """Return the cells without a result, grouped by status and reason: failed, then queued, then skipped ones."""
    found: dict[tuple[str, str], list[CellRow]] = {}
    for cell in rows.cells:
        if cell.status != "ok":
            reason = cell.reason or _NO_REASON.get(cell.status, "no reason was recorded")
            found.setdefault((cell.status, reason), []).append(cell)
    several = len(rows.experiments) > 1
    made = [
        Gap(
            status=status,
            reason=reason,
            count=len(cells),
            cells=_names(cells, several),
            details=_details(cells, several),
        )
        for (status, reason), cells in found.items()
    ]
    return sorted(made, key=lambda g: (_ORDER.index(g.status) if g.status in _ORDER else -1, -g.count))


def _names(cells: Sequence[CellRow], several: bool) -> list[str]:
    """Return the names of the first cells. ``several``: whether they must name their experiment."""
    return [_cell_name(c, several) for c in cells[:SHOWN_CELLS]]


def _details(cells: Sequence[CellRow], several: bool) -> list[FailureDetail]:
    """Return the first different tracebacks and logs, each with the name of one cell."""
    found: dict[tuple[str, str], CellRow] = {}
    for cell in cells:
        if cell.traceback or cell.log:
            found.setdefault((_plain(cell.traceback), _plain(cell.log)), cell)
    return [FailureDetail(_cell_name(c, several), *about) for about, c in list(found.items())[:SHOWN_DETAILS]]


def _plain(text: str) -> str:
    """Return output of a terminal as plain text: without colours, with one line for each state of a progress bar."""
    lines = _COLOURS.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in lines if c in "\n\t" or c.isprintable()).strip("\n")


def _cell_name(cell: CellRow, several: bool) -> str:
    """Return a cell's coordinates as text, with its experiment if there are ``several``."""
    aim = f" for {cell.authorised}" if cell.authorised else ""
    attack = f", attacked by {cell.attack}" if cell.outputs != "recognition" else ""
    model = f", evaluated by {cell.evaluated}" if cell.evaluated else ""
    repeat = f", repeat {cell.repeat}" if cell.repeat else ""
    place = f" ({cell.experiment})" if several else ""
    return f"{cell.defense}{aim}{attack}{model} on {cell.dataset}{repeat}{place}"


def unfinished(rows: Rows) -> str:
    """Return a sentence about a run that has not ended, was interrupted or has failed cells; empty for a complete
    run."""
    status = rows.results.run.status
    queued = sum(c.status == "queued" for c in rows.cells)
    missing = f"{queued:,} of {plural(len(rows.cells), 'cell')} {'is' if queued == 1 else 'are'} still missing"
    failed = sum(c.status in ("failed", "timeout") for c in rows.cells)
    others = f", and {failed:,} failed" if failed else ""
    run = "This run" if len(rows.results.runs) == 1 else "One of these runs"
    if status == "running":
        return f"{run} has not ended: {missing}{others}."
    if queued:
        return f"{run} was interrupted: {missing}{others}. The command that began it continues it."
    return "" if status == "complete" else f"{run} is not complete: some cells failed."


@dataclass(frozen=True, kw_only=True)
class SmallerBatches:
    """Cells that were computed with a smaller batch than planned because memory ran out: their number, and the names of
    the first ones."""

    batch: int
    count: int
    cells: Sequence[str]

    @property
    def more(self) -> int:
        """The number of cells that are not named."""
        return self.count - len(self.cells)


def smaller_batches(rows: Rows) -> list[SmallerBatches]:
    """Return the cells that were computed with smaller batches, grouped by batch, the largest batch first."""
    found: dict[int, list[CellRow]] = {}
    for cell in rows.cells:
        if cell.batch is not None:
            found.setdefault(cell.batch, []).append(cell)
    several = len(rows.experiments) > 1
    return [
        SmallerBatches(batch=batch, count=len(found[batch]), cells=_names(found[batch], several))
        for batch in sorted(found, reverse=True)
    ]
