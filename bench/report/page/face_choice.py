"""How alike a face and what became of it are, as models see it, and which faces are shown for that reason.

Identity similarity is the cosine of the embeddings of a picture and of its original. Of all models that took no part
(those that are not authorised) the highest counts: one that finds the person again is enough.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from bench.analysis.rows import CellRow, Rows

Kind = Literal["worst", "median", "best", "first", "middle", "last"]
RANKED: Sequence[Kind] = ("worst", "median", "best")
_PLACED: Sequence[Kind] = ("first", "middle", "last")
_IMAGE_SCORE = "image similarity of "  # how the plan names the stages that compare pictures with their originals


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """The cosines of one picture to its original: of the authorised models (the lowest of several), and the highest of
    all others, with the model that gives it. None where no such model looked."""

    own: float | None = None
    other: float | None = None
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A face that is shown, and why: ``first``, ``middle`` and ``last`` where nothing is known by which to rank."""

    kind: Kind
    sample: str
    likeness: Likeness


def choose(stored: Sequence[str], known: Mapping[str, Likeness]) -> list[Pick]:
    """Up to three of the stored faces by the highest similarity that others find: the worst for privacy, the median
    (of two in the middle the worse), the best.

    Equals stay in the order in which they are stored. Faces of which nothing is known are not ranked, unless that is
    so of all.
    """
    values = {s: v for s in stored if s in known and (v := known[s].other) is not None}
    ranked = sorted(values, key=lambda s: -values[s]) or list(stored)
    worst, median, best = RANKED if values else _PLACED
    last = len(ranked) - 1
    places: dict[int, Kind] = {last // 2: median, last: best, 0: worst}  # of few faces, the ends are named
    return [
        Pick(kind=places[i], sample=ranked[i], likeness=known.get(ranked[i], Likeness()))
        for i in sorted(places)
        if 0 <= i <= last
    ]


class Judges:
    """Which cells of a run say who is recognised in a picture, and what they say, face by face."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._found: dict[tuple[str, ...], Mapping[str, Likeness]] = {}

    def of(self, cells: Sequence[CellRow]) -> tuple[Mapping[str, Likeness], bool]:
        """What is known of each face of one picture (all cells are about it: one data set, one defense, one attack),
        and whether other experiments say so of the very same pictures, because these cells ask no model."""
        own = [c for c in cells if c.cell in self._rows.scores]
        lent = [] if own else self._lent(cells)
        key = tuple(c.cell for c in own or lent)
        if key not in self._found:
            self._found[key] = self._read(own or lent)
        return self._found[key], bool(lent)

    def _read(self, cells: Iterable[CellRow]) -> Mapping[str, Likeness]:
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
        nobody = (None, "")
        return {
            s: Likeness(own=own.get(s), other=other.get(s, nobody)[0], by=other.get(s, nobody)[1])
            for s in {**own, **other}
        }

    def _lent(self, cells: Sequence[CellRow]) -> list[CellRow]:
        """The cells of other experiments in which models look at the same pictures: those with the same content key."""
        keys = {key for c in cells if (key := self._picture(c)) is not None}
        return [c for key in sorted(keys) for c in self._judging.get(key, [])]

    @cached_property
    def _judging(self) -> Mapping[str, list[CellRow]]:
        found: dict[str, list[CellRow]] = defaultdict(list)
        for cell in self._rows.cells:
            if cell.cell in self._rows.scores and (key := self._picture(cell)) is not None:
                found[key].append(cell)
        return found

    def _picture(self, cell: CellRow) -> str | None:
        """The key of the stage that compared a cell's pictures with their originals; none where the rows do not say.

        A cell of reconstructions has that of the reconstruction first and that of the upload after it.
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
        return {str(s["key"]) for s in named if str(s.get("name", "")).startswith(_IMAGE_SCORE)}
