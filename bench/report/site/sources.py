"""The runs that a site is made from: run folders, latest runs of suites, the reference run, and bundles of others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd

from bench.analysis.cells import CellRow
from bench.analysis.rows import Rows
from bench.core.errors import StorageError
from bench.core.packages import DISTRIBUTION
from bench.runs.bundle_rows import require_fit
from bench.runs.combine import require_different
from bench.runs.snapshot import results_of
from bench.store.bundles import open_bundle
from bench.store.public_runs import Publish, as_published, public_record
from bench.store.reading import RunResults
from bench.store.reference import find_reference, find_run_to_read, is_reference
from bench.store.run_record import RunRecord
from bench.store.verifications import Verification, read_verification
from bench.suite.from_reference import same_questions
from bench.suite.suite import reread

SourceKind = Literal["run", "bundle", "reference"]
_BUNDLE = ".zip"


@dataclass(frozen=True)
class PublishedResults(RunResults):
    """The results of a run without the paths of the machine that computed it: a site is for others to read."""

    @cached_property
    def run(self) -> RunRecord:
        """The record of the run, as `bench bundle` publishes it."""
        return public_record(super().run, self._publish)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per cell, whose reason names no path."""
        found = super().cells
        return found.assign(reason=found["reason"].map(lambda text: self._publish("", text), na_action="ignore"))

    @cached_property
    def _publish(self) -> Publish:
        return as_published()


@dataclass(frozen=True)
class Source:
    """A run of a site: its rows, and where they are from.

    ``name`` tells it apart from the others. Of a bundle, ``sha256`` is that of its file, and ``verification`` the
    record beside it of what ``bench verify`` found, or None.
    """

    name: str
    results: RunResults
    kind: SourceKind
    sha256: str = ""
    verification: Verification | None = None

    @cached_property
    def rows(self) -> Rows:
        """The rows of the run, indexed once for all pages."""
        return Rows(self.results)

    @cached_property
    def _by_setting(self) -> Mapping[tuple[str, str], list[CellRow]]:
        found: dict[tuple[str, str], list[CellRow]] = {}
        for cell in self.rows.cells:
            found.setdefault((cell.plugin, cell.settings), []).append(cell)
        return found

    def cells_of(self, cell: CellRow) -> list[CellRow]:
        """Return the cells whose defense has the same plugin and parameters as that of a cell."""
        return self._by_setting[cell.plugin, cell.settings]

    @property
    def run(self) -> RunRecord:
        """The record of the run."""
        return self.results.run

    @property
    def verified(self) -> bool:
        """True for a bundle some of whose cells were recomputed, with results that agree."""
        return self.verification is not None and self.verification.ok

    @property
    def trusted(self) -> bool:
        """True unless it is a bundle that nobody has verified."""
        return self.kind != "bundle" or self.verified

    @property
    def version(self) -> str:
        """The version of bench that made it."""
        return self.run.versions.get(DISTRIBUTION, "unknown")

    @property
    def age(self) -> tuple[bool, str]:
        """What decides which of two measurements of one defense counts: trusted ones do, and of these the newest."""
        return self.trusted, self.run.finished or self.run.started or ""


@contextlib.contextmanager
def opened(arguments: Sequence[str], results: Path) -> Iterator[list[Source]]:
    """Context manager that opens the runs of a site in their order, and the reference runs of their suites behind them.

    An argument is what other commands take as RUN, the version of a suite for its reference run, or a bundle. Raises
    `StorageError` if one is none of these.
    """
    with contextlib.ExitStack() as stack:
        found = [_open(argument, results, stack) for argument in arguments]
        _require_different(arguments, found)
        yield _named([*found, *_references(found)])


def _require_different(arguments: Sequence[str], found: Sequence[Source]) -> None:
    """Raise `StorageError` if a run is named more than once, as a folder, as a bundle or as a copy of one.

    What is published of its record tells, but for the digests of its files, which a bundle writes anew.
    """
    require_different([source.results.folder for source in found])
    known: list[tuple[str, RunRecord]] = []
    for argument, source in zip(arguments, found, strict=True):
        record = replace(public_record(source.run, as_published()), files={})
        if other := next((name for name, earlier in known if earlier == record), None):
            raise StorageError(
                f"{argument}: expected different runs, found the same run twice, also as {other}; name each run once"
            )
        known.append((argument, record))


def _open(argument: str, results: Path, stack: contextlib.ExitStack) -> Source:
    path = Path(argument)
    if path.is_file():
        if path.suffix.lower() == _BUNDLE:
            return _bundle(path, stack)
        kinds = "a run folder, the name of a suite with a run, the version of a suite, or a bundle (.zip)"
        raise StorageError(f"{argument}: expected {kinds}, found another file")
    folder = find_run_to_read(argument, results)
    run = PublishedResults(stack.enter_context(results_of(folder)).folder)
    if is_reference(run):
        return _as_reference(RunResults(folder))
    return Source(name="/".join(run.folder.parts[-2:]), results=run, kind="run")


def _bundle(path: Path, stack: contextlib.ExitStack) -> Source:
    """Open a bundle and the record of its verification. Its rows are checked as `bench verify` does it."""
    bundle = stack.enter_context(open_bundle(path))
    results = RunResults(bundle.folder)
    require_fit(results)
    reread(results.run.suite, f"{path}: the suite in its record cannot be read")
    return Source(
        name=path.name,
        results=results,
        kind="bundle",
        sha256=bundle.sha256,
        verification=read_verification(path, bundle.sha256),
    )


def _as_reference(results: RunResults) -> Source:
    return Source(name=f"reference run of {results.run.suite.version}", results=results, kind="reference")


def _references(found: Sequence[Source]) -> Iterator[Source]:
    """Yield the reference runs of the versions of runs that ask the same questions, unless they are among them."""
    known = {source.results.folder.resolve() for source in found}
    for source in found:
        reference = find_reference(source.run.suite.version)
        if reference is None or (folder := reference.folder.resolve()) in known:
            continue
        if same_questions(source.run.suite.raw, reference.run):
            known.add(folder)
            yield _as_reference(reference)


def _named(found: Sequence[Source]) -> list[Source]:
    """Return runs of which no two have the same name."""
    names = [source.name for source in found]
    several = [replace(source, name=f"{source.name} ({i})") for i, source in enumerate(found, 1)]
    return [one if names.count(one.name) == 1 else other for one, other in zip(found, several, strict=True)]
