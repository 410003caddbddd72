"""The rows of verification pairs as arrays, cell by cell, and the thresholds of a cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.analysis.pooling import Floats
from bench.metrics import recognition
from bench.store.row_index import Recent, RowIndex
from bench.store.schema import ADVERSARY_RULE, NEWER_COLUMNS

HELD = 32 << 20  # Bytes of rows that stay in memory, for each kind of row.
# The columns of which the first row of a cell is kept.
OF_THRESHOLD = (
    *("kappa_calibrated", "fmr", "calibration_impostors", "gallery", "threshold_rule", "fmr_realised"),
    *("calibration_people", "kappa_adversary", "adversary_impostors", "adversary_people", "adversary_fmr_realised"),
    ADVERSARY_RULE,
)

OF_LINKS = ("kappa", "fmr", "kappa_impostors", "kappa_people", "kappa_fmr_realised", ADVERSARY_RULE)  # as well


@dataclass(frozen=True, kw_only=True)
class VerificationScores:
    """The verification rows of one cell as arrays of shape ``(n,)``.

    ``person`` is the person whose face was protected, ``other`` that of the other face. Undefined ranks and rates are
    NaN. The columns are described in docs/exporting.md. ``older``: an older version wrote the rows, without the
    adversary's threshold and without measured chance levels. In their place are the calibrated threshold, the false
    match rate (FMR) that it was set for, and 1 / the number of pictures in the gallery. Where rows have no probability
    of rank 1, it is 1 for rank 1 and 0 for others. ``cos_clean`` and
    ``flip_clean`` are NaN where a defense has its own recogniser, which embeds protected pictures only.
    """

    cell: str
    person: NDArray[Any]
    other: NDArray[Any]
    left_id: NDArray[Any]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]
    cos_self: Floats
    cos_cross: Floats
    cos_clean: Floats
    flip_cross: Floats
    flip_clean: Floats
    kappa_calibrated: Floats
    rank: Floats
    rank_first: Floats
    rank_enrolled: Floats
    rank_enrolled_first: Floats
    kappa_adversary: Floats
    kappa_enrolled: Floats
    impostor_match_adversary: Floats
    impostor_match_enrolled: Floats
    impostor_match: Floats
    rank_chance: Floats
    rank_enrolled_chance: Floats
    older: bool

    def hits(self, kappa: float | None = None) -> Floats:
        """Return the decision of Equation 10 for each pair, 0 or 1; ``kappa`` is by default the calibrated
        threshold."""
        threshold = self.kappa_calibrated if kappa is None else kappa
        return recognition.verification_hits(self.cos_self, self.cos_cross, self.same, threshold).astype(np.float64)

    def clean_hits(self, kappa: float | None = None) -> Floats | None:
        """Return the same decisions for unprotected faces, whose similarity to themselves is 1; None if nothing
        recognises these."""
        if np.isnan(self.cos_clean).all():
            return None
        threshold = self.kappa_calibrated if kappa is None else kappa
        itself = np.ones_like(self.cos_clean)
        return recognition.verification_hits(itself, self.cos_clean, self.same, threshold).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The thresholds of the first row of a cell, and what they rest on.

    - ``kappa``: the calibrated threshold, which a deployed service would use; ``impostors`` and ``people`` are the
      numbers of impostor scores and of people of its calibration
    - ``fmr``: the requested false match rate (FMR); ``rule``: how ``kappa`` was set, at this FMR (``fmr``) or for the
      best accuracy (``accuracy``); ``realised``: the FMR of the calibration at ``kappa``
    - ``adversary``: the threshold that the adversary sets on protected or reconstructed pictures, from
      ``adversary_impostors`` scores of ``adversary_people`` people; ``adversary_realised``: the FMR of these scores at
      it; ``adversary_rule``: whose they are, ``scored`` people or those of the ``calibration`` split
    - ``gallery``: the number of originals in the gallery of the ranks

    ``rule``, ``people``, ``realised`` and those of the adversary are None where an older version wrote the rows.
    """

    kappa: float
    fmr: float
    impostors: int
    gallery: int
    rule: str | None = None
    realised: float | None = None
    people: int | None = None
    adversary: float | None = None
    adversary_impostors: int | None = None
    adversary_people: int | None = None
    adversary_realised: float | None = None
    adversary_rule: str | None = None


class CellScores(Mapping[str, VerificationScores]):
    """The verification scores of a run by cell id; each cell is read from disk when it is looked up."""

    def __init__(self, index: RowIndex) -> None:
        self._index = index
        self._held: Recent[VerificationScores] = Recent(HELD, size_of)

    def __getitem__(self, cell: str) -> VerificationScores:
        if cell not in self:
            raise KeyError(cell)
        return self._held.get(cell, lambda: _scores(cell, cast(pa.Table, self._index.rows((cell,)))))

    def __contains__(self, cell: object) -> bool:
        return (cell,) in self._index

    def __iter__(self) -> Iterator[str]:
        return (str(cell) for (cell,) in self._index)

    def __len__(self) -> int:
        return len(self._index)

    def count(self, cell: str) -> int:
        """Return the number of rows of a cell, without reading them."""
        entry = self._index.get((cell,))
        return 0 if entry is None else sum(stop - start for _, _, start, stop in entry.places)

    def older(self, cell: str) -> bool:
        """Return True if an older version wrote the scores of a cell, without the columns `NEWER_COLUMNS`."""
        entry = self._index.get((cell,))
        return entry is not None and entry.first["adversary_impostors"] is None

    def threshold(self, cell: str) -> Threshold | None:
        """Return the threshold of a cell without reading its scores; None if the cell has no scores."""
        entry = self._index.get((cell,))
        if entry is None:
            return None
        first = entry.first
        return Threshold(
            kappa=first["kappa_calibrated"],
            fmr=first["fmr"],
            impostors=first["calibration_impostors"],
            gallery=first["gallery"],
            rule=first["threshold_rule"],
            realised=first["fmr_realised"],
            people=first["calibration_people"],
            adversary=first["kappa_adversary"],
            adversary_impostors=first["adversary_impostors"],
            adversary_people=first["adversary_people"],
            adversary_realised=first["adversary_fmr_realised"],
            adversary_rule=first[ADVERSARY_RULE],
        )


def size_of(scores: Any) -> int:
    """Return the number of bytes of the arrays of a dataclass of scores."""
    return sum(column.nbytes for column in vars(scores).values() if isinstance(column, np.ndarray))


def _scores(cell: str, part: pa.Table) -> VerificationScores:
    """Return the scores of a cell as copies; a view would keep the rows of other cells in memory."""

    def column(name: str) -> NDArray[Any]:
        return np.array(part[name].to_numpy())

    def floats(name: str) -> Floats:
        found = part[name]
        return np.array((found if found.type == pa.float64() else found.cast(pa.float64())).to_numpy())

    left = part["left_id"].combine_chunks().dictionary_encode()
    older = not NEWER_COLUMNS.issubset(part.column_names)
    fmr, alone = np.array([]), np.array([])
    if older:
        fmr, alone = floats("fmr"), 1 / floats("gallery")
    same = column("same")

    def newer(name: str, otherwise: Floats) -> Floats:
        return otherwise.copy() if older else floats(name)

    def first(rank: str) -> Floats:
        if (name := f"{rank}_first") in part.column_names:
            return floats(name)
        return np.where(np.isnan(floats(rank)), np.nan, floats(rank) == 1)

    kappa_adversary = newer("kappa_adversary", floats("kappa_calibrated"))
    right = "right_subject" if "right_subject" in part.column_names else "left_subject"
    people = [column("left_subject"), column(right)]
    sides = {"cos_probe", "cos_gallery"} <= {*part.column_names}
    if sides and part["cos_probe"].null_count == part.num_rows > part["cos_gallery"].null_count:
        people.reverse()  # Only the right pictures are protected.

    return VerificationScores(
        cell=cell,
        person=people[0],
        other=people[1],
        left_id=left.dictionary.to_numpy(zero_copy_only=False)[left.indices.to_numpy()],
        same=same,
        fold=column("fold"),
        cos_self=floats("cos_self"),
        cos_cross=floats("cos_cross"),
        cos_clean=floats("cos_clean"),
        flip_cross=floats("flip_cross"),
        flip_clean=floats("flip_clean"),
        kappa_calibrated=floats("kappa_calibrated"),
        rank=floats("rank"),
        rank_first=first("rank"),
        rank_enrolled=floats("rank_enrolled"),
        rank_enrolled_first=first("rank_enrolled"),
        kappa_adversary=kappa_adversary,
        kappa_enrolled=floats("kappa_enrolled") if "kappa_enrolled" in part.column_names else kappa_adversary,
        impostor_match_adversary=newer("impostor_match_adversary", fmr),
        impostor_match_enrolled=newer("impostor_match_enrolled", fmr),
        impostor_match=newer("impostor_match", fmr),
        rank_chance=newer("rank_chance", alone),
        rank_enrolled_chance=newer("rank_enrolled_chance", np.where(same, alone, np.nan) if older else alone),
        older=older,
    )
