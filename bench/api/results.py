"""The read-only view of results that the report sections of plugins receive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd


class RecordedSuite(Protocol):
    """The suite that was run: its name and title, and ``raw``, the content of its file with all overrides."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def raw(self) -> Mapping[str, Any]: ...


class Provenance(Protocol):
    """The provenance record of a run, ``run.json``, as attributes: the most useful ones are listed here.

    ``status`` is ``running``, ``complete``, ``incomplete`` or ``interrupted``; ``started`` and ``finished`` are times
    in ISO 8601; ``versions`` maps packages to versions. An attribute that was not recorded is None or empty.
    """

    @property
    def suite(self) -> RecordedSuite: ...
    @property
    def status(self) -> str: ...
    @property
    def command(self) -> Sequence[str]: ...
    @property
    def started(self) -> str | None: ...
    @property
    def finished(self) -> str | None: ...
    @property
    def seconds(self) -> float | None: ...
    @property
    def device(self) -> str | None: ...
    @property
    def commit(self) -> str | None: ...
    @property
    def versions(self) -> Mapping[str, str]: ...


class Results(Protocol):
    """The results of a run, or of several runs that one report covers. Read-only."""

    @property
    def runs(self) -> Sequence[Results]:
        """The results of each run by itself; a single entry unless a report covers several runs."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """A distinct name for each entry of `runs`; ``("",)`` for a single run."""
        ...

    @property
    def run(self) -> Provenance:
        """The provenance record of the run, ``run.json``: suite, code, data, weights, machine."""
        ...

    @property
    def cells(self) -> pd.DataFrame:
        """One row per cell, with its status, and the reason if it was skipped or failed."""
        ...

    def samples(
        self, name: str, where: Mapping[str, Any] | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Return rows of one table of per-sample scores, for example ``verification``, in the order of the cells.

        ``where`` maps a column to the value, or the collection of values, to keep; a tuple of models is one set of
        ``authorised`` models. ``columns`` selects columns; None
        returns all of them. Raises `StorageError` for an unknown column.
        """
        ...
