"""``bench verify``: checks the bundle of a stranger, and recomputes some of its cells on this machine.

Nothing from a bundle is executed. Its suite is data, from which the plan is made again with the plugins that are
installed here (`bench.runs.replan`); code and files that the suite names beside these must be allowed by the user. All
cells must be those of this plan, and the rows of some of them, chosen by a seed that nobody knows before, must be those
that are computed here.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.core.domain import Cell
from bench.core.errors import BenchError
from bench.core.paths import child
from bench.core.provenance import VERSION, device_name
from bench.engine.factory import check_device
from bench.planning.plan import Plan, select
from bench.registry.discovery import Registry
from bench.runs.against_plan import cells_by_id, differences_from_plan
from bench.runs.bundle_rows import MOST_TOLD, disagreements
from bench.runs.named_files import require_no_files
from bench.runs.replan import plan_again
from bench.runs.same_rows import compared
from bench.store.bundles import open_bundle
from bench.store.cell_rows import labels_of_row
from bench.store.reading import RunResults
from bench.store.reference import defense_tables, find_reference
from bench.store.run_folders import require_output_file
from bench.store.run_record import RECORD, RunRecord
from bench.store.verifications import RecomputedCell, Verification, verification_file
from bench.store.workspace import Folders
from bench.suite.bundled import published as published_suites
from bench.suite.from_reference import same_questions
from bench.suite.paper_tables import published as published_numbers
from bench.suite.suite import read, reread
from bench.suite.version import CHANGED

# By how much numbers may differ. The name of the processor does not decide it: a publisher may write any, two
# generations share one, and with another number of threads the same processor adds numbers in another order.
TOLERANCE = 1e-3
_LONGEST_TABLE = 20  # characters of the name of a table of the paper


@dataclass
class Verifying:
    """A verification in progress: the results in the bundle, and what was found so far.

    ``tolerance`` is by how much numbers may differ. ``chosen`` are the cells to recompute, of so many ``recomputable``
    ones, which are those that are not skipped. ``differences`` are what does not agree, ``unchecked`` what could not be
    checked.
    """

    file: Path
    sha256: str
    results: RunResults
    seed: int
    tolerance: float
    chosen: Sequence[Cell] = ()
    recomputable: int = 0
    differences: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    recomputed: list[RecomputedCell] = field(default_factory=list)

    @property
    def record(self) -> RunRecord:
        """The record of the run, whose suite lies in the current folder, wherever the stranger says that it lay."""
        found = self.results.run
        return replace(found, suite=replace(found.suite, path=Path(found.suite.path or "suite.toml").name))

    @property
    def note(self) -> str | None:
        """A sentence if the run was computed on another processor, or None."""
        here, there = device_name("cpu"), self.results.run.machine.processor
        return None if there == here else f"recorded on {there}, this is {here}, which may add numbers in another order"

    def found(self) -> Verification:
        """Return what was found, to be written beside the bundle."""
        everything = bool(self.recomputed) and len(self.recomputed) == len(self.chosen)
        return Verification(
            sha256=self.sha256,
            ok=everything and not self.differences and not self.unchecked,
            bench=VERSION,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=self.seed,
            recomputable=self.recomputable,
            tolerance=self.tolerance,
            cells=tuple(self.recomputed),
            differences=tuple(self.differences),
            unchecked=tuple(self.unchecked),
        )


@contextlib.contextmanager
def verifying(file: Path, seed: int | None = None, tolerance: float = TOLERANCE) -> Iterator[Verifying]:
    """Context manager that gives the verification of a bundle, after every row in it was read and compared with its
    cell. Raises `StorageError` for what is no bundle, and for rows that cannot be read.

    ``seed`` chooses the cells to recompute; by default it is a random one. ``tolerance``: by how much numbers may
    differ.
    """
    with open_bundle(file) as bundle:
        require_output_file(verification_file(file), option="BUNDLE")
        results = RunResults(bundle.folder)
        seed = secrets.randbits(32) if seed is None else seed
        found = Verifying(file=file, sha256=bundle.sha256, results=results, seed=seed, tolerance=tolerance)
        found.differences += _some(disagreements(results))
        yield found


def plan_cells(
    state: Verifying,
    registry: Registry,
    count: int,
    timeout_s: float | None = None,
    *,
    trust: bool = False,
    files: bool = False,
) -> Plan | None:
    """Make the plan of the run in a bundle again, compare all cells with it, and choose ``count`` of them.

    Return the plan of the chosen cells; None if nothing can be recomputed, which the verification then says.
    ``trust``: code outside the installed plugins that the suite names may run; ``files``: files that it names may be
    read.
    """
    record = state.record
    try:
        reread(record.suite)
        state.differences += _wrong_claims(record)
        state.unchecked += _unknown_version(state, record)
        if not files:
            require_no_files(record.suite, registry)
        plan = plan_again(state.file, record, registry, timeout_s=timeout_s, strict=True, trust=trust)
        check_device(plan.device)
    except BenchError as error:
        state.unchecked.append(f"none of the {len(state.results.cells)} cells could be recomputed: {error}")
        return None
    for differing in differences_from_plan(state.results, record, plan, registry):
        state.differences += _some(differing)
    asked = [cell for cell in plan.cells if cell.skip is None]
    state.recomputable = len(asked)
    state.chosen = choose(asked, count, f"{state.seed}/{state.sha256}")
    if not state.chosen:
        state.unchecked.append("no cell was recomputed: all of them are skipped")
        return None
    return select(plan, {cell.id for cell in state.chosen})


def _some(lines: Iterator[str]) -> list[str]:
    """Return the first lines, because a stranger may have made many."""
    found = list(itertools.islice(lines, MOST_TOLD + 1))
    return found if len(found) <= MOST_TOLD else [*found[:-1], "and more of this kind"]


def choose(cells: Sequence[Cell], count: int, seed: str) -> list[Cell]:
    """Return some cells, which follow from a seed and nothing else that a forger could choose."""

    def drawn(cell: Cell) -> str:
        return hashlib.sha256(f"{seed}/{cell.id}".encode()).hexdigest()

    return sorted(cells, key=drawn)[:count]


@contextlib.contextmanager
def place_to_compute(state: Verifying) -> Iterator[tuple[Folders, Path]]:
    """Context manager that gives the folders in which cells are recomputed, with a cache of their own, and the run
    folder to write; all of them are temporary."""
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        folders = Folders(out=Path(place))
        yield folders, child(folders.results, state.record.suite.name, "recomputed")


def compare(state: Verifying, again: Path) -> None:
    """Compare the chosen cells of a bundle with the run folder in which they were recomputed."""
    now = RunResults(again)
    theirs, ours = (cells_by_id(results) for results in (state.results, now))
    for cell in state.chosen:
        if cell.id not in theirs:  # `differences_from_plan` has said so.
            continue
        where = f"cell {cell.id} ({_words(cell)})"
        ends = [(row["status"], row["failed_stage"]) for row in (ours[cell.id], theirs[cell.id])]
        (expected, stage), (given, _) = ends
        if ends[0] == ends[1] or (expected, given) == ("ok", "ok"):
            found = compared(labels_of_row(ours[cell.id]), state.results, now, state.tolerance)
            state.recomputed.append(RecomputedCell(cell=cell.id, rows=found.rows, largest=found.largest))
            state.differences += [f"{where}: {text}" for text in found.texts]
        elif expected == "ok" and given != "timeout":
            state.differences.append(f"{where}: status: expected ok, found {given}")
        else:
            here = f"{expected}{f' ({stage})' if stage else ''} here"
            state.unchecked.append(f"{where}: it ended otherwise, {here} and {given} in the bundle")


def _words(cell: Cell) -> str:
    evaluated = f", seen by {cell.evaluated.label}" if cell.evaluated else ""
    return f"{cell.experiment}: {cell.defense.label} on {cell.dataset.label}, {cell.attack.label}{evaluated}"


# ---- what the suite claims -------------------------------------------------------------------------------------------


def _wrong_claims(record: RunRecord) -> Iterator[str]:
    """Yield the experiments whose published numbers are not those of the paper."""
    for experiment in record.suite.experiments:
        if not record.suite.table(experiment.name).get("claims"):
            table = experiment.table or ""
            expected = published_numbers(table) if 0 < len(table) <= _LONGEST_TABLE else None
            if experiment.claims != expected:
                yield f"{RECORD}: suite.experiments: {experiment.name}: expected the numbers of the paper, found others"


def _unknown_version(state: Verifying, record: RunRecord) -> Iterator[str]:
    """Yield why the version of the suite cannot be checked; add a difference if it is not the suite of that version."""
    version = record.suite.version
    if version is None or version.endswith(CHANGED):
        return
    for path in published_suites().values():
        suite = read(path)
        if suite.tables.suite.version == version:
            where = f"{RECORD}: suite.version: expected the questions of {version}"
            pairs = {e.name: e.pairs for e in record.suite.experiments}
            if not same_questions(suite.raw, record) or pairs != {e.name: e.pairs for e in suite.tables.experiment}:
                state.differences.append(f"{where}, found a suite that asks others")
            elif left := sorted(_missing_defenses(suite.raw, record)):
                state.differences.append(f"{where}, found a suite without {', '.join(left)}, which it asks about")
            return
    yield f"no suite of the version {version} comes with this bench, so that its questions could not be compared"


def _missing_defenses(raw: Mapping[str, Any], record: RunRecord) -> set[str]:
    """Return the defenses of a suite, such as its controls, that a run neither has nor may read from a reference."""
    reference = find_reference(record.suite.version)
    known = defense_tables(reference.run) if reference else {}
    asked = defense_tables(record)
    return {
        str(defense.get("label", defense.get("plugin")) if isinstance(defense, dict) else defense)
        for table in raw["experiment"]
        for defense in table["defenses"]
        if defense not in [*asked.get(table["name"], ()), *known.get(table["name"], ())]
    }
