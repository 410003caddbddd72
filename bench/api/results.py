"""What a report section of a plugin may read of a finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd


class Results(Protocol):
    """The results of one or several runs, read-only. ``run`` is the content of ``run.json``."""

    @property
    def runs(self) -> Sequence[Results]:
        """The runs that these results come from: one, unless a report covers several."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """A name for each of `runs` that tells them apart; ``("",)`` for a single run."""
        ...

    @property
    def run(self) -> Mapping[str, Any]:
        """The provenance record of the run: suite, code, data, weights, machine."""
        ...

    @property
    def cells(self) -> pd.DataFrame:
        """One row per cell, with its status and the reason if it was skipped or failed."""
        ...

    def samples(
        self, name: str, where: Mapping[str, Any] | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Rows of one sample table, for example ``verification``, in the order of the cells.

        ``where`` maps a column to the value, or the collection of values, to keep. ``columns`` selects columns; None
        returns all of them. Raises `StorageError` for an unknown column.
        """
        ...
