"""Chooses the faces that the page shows by their identity similarity.

Identity similarity is the cosine between the embeddings of a picture and of its original. The highest similarity found
by any held-out recogniser (a model that is not authorised) counts: one model that finds the person again is enough.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from bench.analysis.cells import CellRow
from bench.analysis.rows import Rows

Kind = Literal["worst", "median", "best", "first", "middle", "last"]
RANKED: Sequence[Kind] = ("worst", "median", "best")
_PLACED: Sequence[Kind] = ("first", "middle", "last")


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """The cosines between one picture and its original.

    ``own`` is that of the authorised model, the lowest of several; ``other`` is the highest of all other models, and
    ``by`` the model that gives it. They are None if no such model evaluated the picture.
    """

    own: float | None = None
    other: float | None = None
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A chosen face. ``kind`` is its rank by similarity, or its position (``first``, ``middle``, ``last``) if no
    similarity is known."""

    kind: Kind
    sample: str
    likeness: Likeness


def choose(stored: Sequence[str], known: Mapping[str, Likeness]) -> list[Pick]:
    """Return up to three of the stored faces, ranked by ``Likeness.other``: the worst for privacy (the highest
    similarity), the median (the worse of two), and the best.

    Faces with equal similarities keep the order in which they are stored. Faces without a known similarity are not
    ranked; if none is known, the first, middle and last face are returned.
    """
    values = {s: v for s in stored if s in known and (v := known[s].other) is not None}
    ranked = sorted(values, key=lambda s: -values[s]) or list(stored)
    worst, median, best = RANKED if values else _PLACED
    last = len(ranked) - 1
    # If there are few faces, one of them has several ranks; the later entries win.
    places: dict[int, Kind] = {last // 2: median, last: best, 0: worst}
    return [
        Pick(kind=places[i], sample=ranked[i], likeness=known.get(ranked[i], Likeness()))
        for i in sorted(places)
        if 0 <= i <= last
    ]


class Judges:
    """Finds the similarities of each face of a picture in the scores of a run's cells.

    A picture is what one defense and one attack make of a data set.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._found: dict[tuple[str, ...], Mapping[str, Likeness]] = {}

    def of(self, cells: Sequence[CellRow]) -> tuple[Mapping[str, Likeness], bool]:
        """Return the similarities of each face of one picture, and whether they come from other experiments.

        All ``cells`` belong to that picture: one data set, one defense, one attack. If they have no verification
        scores, cells of other experiments with the very same pictures are used.
        """
        own = [c for c in cells if c.cell in self._rows.scores]
        lent = [] if own else self._cells_of_other_experiments(cells)
        key = tuple(c.cell for c in own or lent)
        if key not in self._found:
            self._found[key] = self._read(own or lent)
        return self._found[key], bool(lent)

    def _read(self, cells: Iterable[CellRow]) -> Mapping[str, Likeness]:
        """Return the similarities of each face, by sample id, from the verification scores of some cells."""
        own: dict[str, float] = {}
        other: dict[str, tuple[float, str]] = {}
        for cell in cells:
            scores = self._rows.scores[cell.cell]
            for sample, value in zip(map(str, scores.left_id), scores.cos_self.tolist(), strict=True):
                if not np.isfinite(value):
                    continue
                if cell.role == "authorised":
                    own[sample] = min(value, own.get(sample, value))
                elif sample not in other or value > other[sample][0]:
                    other[sample] = value, cell.evaluated
        unknown = (None, "")
        return {
            s: Likeness(own=own.get(s), other=other.get(s, unknown)[0], by=other.get(s, unknown)[1])
            for s in {**own, **other}
        }

    def _cells_of_other_experiments(self, cells: Sequence[CellRow]) -> list[CellRow]:
        """Return the cells with verification scores of the same pictures: those with the same content key."""
        keys = {key for c in cells if (key := self._picture(c)) is not None}
        return [c for key in sorted(keys) for c in self._scored_cells.get(key, [])]

    @cached_property
    def _scored_cells(self) -> Mapping[str, list[CellRow]]:
        """The cells with verification scores, by the key of their pictures."""
        found: dict[str, list[CellRow]] = defaultdict(list)
        for cell in self._rows.cells:
            if cell.cell in self._rows.scores and (key := self._picture(cell)) is not None:
                found[key].append(cell)
        return found

    def _picture(self, cell: CellRow) -> str | None:
        """Return the key of the stage that compared a cell's pictures with their originals; None if it is not recorded.

        A cell with reconstructions has two such stages: first that of the reconstruction, then that of the upload.
        """
        found = [k for k in self._stages.get(cell.cell, ()) if k in self._comparing]
        return None if not found else found[0] if cell.picture else found[-1]

    @cached_property
    def _stages(self) -> Mapping[str, Sequence[str]]:
        table = self._rows.results.cells
        if "stages" not in table:
            return {}
        return {
            str(c): json.loads(s) for c, s in zip(table["cell"], table["stages"], strict=True) if isinstance(s, str)
        }

    @cached_property
    def _comparing(self) -> set[str]:
        named = self._rows.results.stages
        return {str(s["key"]) for s in named if s.get("metric") == "images"}
