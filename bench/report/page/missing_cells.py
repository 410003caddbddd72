"""What a run does not have: cells that failed, were skipped, or are still to be computed; and what it computed with
smaller batches than planned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.analysis.rows import CellRow, Rows
from bench.core.text import plural

SHOWN_CELLS = 12  # per reason, before "and n more"
SHOWN_DETAILS = 3  # different tracebacks and logs per reason
_NO_REASON = {"queued": "not computed yet"}
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ORDER = ("queued", "skipped")  # after whatever failed


@dataclass(frozen=True)
class FailureDetail:
    """What the stage of a failed cell printed and where it failed; either may be empty."""

    cell: str
    traceback: str
    log: str


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Cells without a result that share a status and a reason: the names of the first, ``more`` others, and the
    different details of all."""

    status: str
    reason: str
    count: int
    cells: Sequence[str]
    details: Sequence[FailureDetail] = ()

    @property
    def more(self) -> int:
        """How many cells are not named."""
        return self.count - len(self.cells)

    @property
    def failed(self) -> bool:
        """Whether something went wrong."""
        return self.status not in _ORDER


def gaps(rows: Rows) -> list[Gap]:
    """Cells without a result, by status and reason; failures first, then what is still missing."""
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
    return [_question(c, several) for c in cells[:SHOWN_CELLS]]


def _details(cells: Sequence[CellRow], several: bool) -> list[FailureDetail]:
    found: dict[tuple[str, str], CellRow] = {}
    for cell in cells:
        if cell.traceback or cell.log:
            found.setdefault((_plain(cell.traceback), _plain(cell.log)), cell)
    return [FailureDetail(_question(c, several), *about) for about, c in list(found.items())[:SHOWN_DETAILS]]


def _plain(text: str) -> str:
    """What a terminal would show in the end: without colours, and a line for each state of a progress bar."""
    lines = _COLOURS.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in lines if c in "\n\t" or c.isprintable()).strip("\n")


def _question(cell: CellRow, several: bool) -> str:
    aim = f" for {cell.authorised}" if cell.authorised else ""
    attack = f", attacked by {cell.attack}" if cell.outputs != "recognition" else ""
    model = f", evaluated by {cell.evaluated}" if cell.evaluated else ""
    repeat = f", repeat {cell.repeat}" if cell.repeat else ""
    place = f" ({cell.experiment})" if several else ""
    return f"{cell.defense}{aim}{attack}{model} on {cell.dataset}{repeat}{place}"


def unfinished(rows: Rows) -> str:
    """What a reader must know of a run that did not end well, or not yet; empty for a complete one."""
    status = rows.results.run.status
    queued = sum(c.status == "queued" for c in rows.cells)
    missing = f"{queued:,} of {plural(len(rows.cells), 'cell')} {'is' if queued == 1 else 'are'} still missing"
    failed = sum(c.status in ("failed", "timeout") for c in rows.cells)
    others = f", and {failed:,} failed" if failed else ""
    run = "This run" if len(rows.results.runs) == 1 else "One of these runs"
    if status == "running":
        return f"{run} has not ended: {missing}{others}."
    if queued:
        return f"{run} was interrupted: {missing}{others}. The command that began it goes on."
    return "" if status == "complete" else f"{run} is not complete: some cells failed."


@dataclass(frozen=True, kw_only=True)
class SmallerBatches:
    """Cells that were computed with a smaller batch than planned, because memory ran out."""

    batch: int
    count: int
    cells: Sequence[str]

    @property
    def more(self) -> int:
        """How many cells are not named."""
        return self.count - len(self.cells)


def smaller_batches(rows: Rows) -> list[SmallerBatches]:
    """The cells of each smaller batch, largest batch first."""
    found: dict[int, list[CellRow]] = {}
    for cell in rows.cells:
        if cell.batch is not None:
            found.setdefault(cell.batch, []).append(cell)
    several = len(rows.experiments) > 1
    return [
        SmallerBatches(batch=batch, count=len(found[batch]), cells=_names(found[batch], several))
        for batch in sorted(found, reverse=True)
    ]
