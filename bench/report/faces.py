"""Example faces: the same few originals under every defense, within a budget of bytes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.report.figures import Quantity
from bench.report.rows import CellRow, Matrix, Rows

BUDGET = 2_000_000  # bytes of all pictures of a page, as base64
MOST, FEWEST = 6, 2  # faces per defense
_PNG = b"\x89PNG\r\n\x1a\n"
_SSIM = Quantity(name="SSIM", digits=3)
_COSINE = Quantity(name="cosine", digits=2)


@dataclass(frozen=True, kw_only=True)
class Face:
    """One picture with what is said below it. ``data`` is base64 PNG, none when there is no such picture."""

    data: str | None
    alt: str
    captions: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class FaceRow:
    """One defense on the chosen faces."""

    label: str
    defense: str
    authorised: str
    faces: Sequence[Face]


@dataclass(frozen=True, kw_only=True)
class Wall:
    """A grid: chosen faces across, originals and defenses down. ``withheld`` says why no picture is shown."""

    heads: Sequence[tuple[str, str]] = ()
    originals: Sequence[Face] = ()
    rows: Sequence[FaceRow] = ()
    left_out: int = 0
    withheld: str | None = None


def wall(rows: Rows, matrix: Matrix, include_real: bool, budget: int = BUDGET) -> Wall:
    """The grid of one experiment. Faces that are not synthetic are shown only when ``include_real``."""
    table = rows.samples["examples"]
    if table.empty:
        return Wall(withheld="No example faces were stored: no defense finished on any data set.")
    table = table[(table["experiment"] == matrix.experiment) & (table["repeat"] == table["repeat"].min())]
    cells = rows.of(matrix)
    if not include_real:
        synthetic = {c.dataset for c in cells if c.synthetic}
        table = table[table["dataset"].isin(synthetic)]
        if table.empty:
            return Wall(withheld="The faces of these data sets are real and are not shown.")
    clean = {c.defense for c in cells if c.clean}
    table = table[table["protected"].map(_is_png) & table["original"].map(_is_png)]
    points = list(dict.fromkeys((c.defense, c.authorised) for c in cells if c.defense not in clean))
    points.sort(key=lambda p: bool(p[1]))  # references first, as in the tables
    chosen = _choose(table, MOST)
    if not chosen:
        return Wall(withheld="No example faces were stored.")
    size = 4 / 3 * max(table["protected"].map(len).mean(), table["original"].map(len).mean())
    across = int(max(FEWEST, min(len(chosen), budget / size // (len(points) + 1))))
    chosen = chosen[:across]
    fitting = int(max(1, budget / size // len(chosen) - 1))
    originals = [_original(table, d, i) for d, i in chosen]
    made = [_face_row(rows, matrix, table, point, chosen) for point in points[:fitting]]
    return Wall(heads=chosen, originals=originals, rows=made, left_out=max(0, len(points) - fitting))


def _is_png(data: object) -> bool:
    return isinstance(data, bytes) and data.startswith(_PNG)


def _choose(table: pd.DataFrame, most: int) -> list[tuple[str, str]]:
    """Data sets in turn: the first stored face of each, then the second, and so on. Results play no part."""
    stored = [
        list(dict.fromkeys(str(i) for i in table.loc[table["dataset"] == d, "sample_id"]))
        for d in dict.fromkeys(table["dataset"])
    ]
    names = [str(d) for d in dict.fromkeys(table["dataset"])]
    order = [(k, d) for k in range(max(map(len, stored), default=0)) for d in range(len(stored)) if k < len(stored[d])]
    return sorted(((names[d], stored[d][k]) for k, d in order[:most]), key=lambda c: names.index(c[0]))


def _original(table: pd.DataFrame, dataset: str, sample: str) -> Face:
    found = table[(table["dataset"] == dataset) & (table["sample_id"].astype(str) == sample)]
    return Face(data=_encoded(found["original"].iloc[0]), alt=f"{dataset} face {sample}, original")


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _face_row(
    rows: Rows, matrix: Matrix, table: pd.DataFrame, point: tuple[str, str], chosen: Sequence[tuple[str, str]]
) -> FaceRow:
    defense, authorised = point
    part = table[(table["defense"] == defense) & (table["authorised"].fillna("") == authorised)]
    faces = []
    for dataset, sample in chosen:
        found = part[(part["dataset"] == dataset) & (part["sample_id"].astype(str) == sample)]
        aim = f" for {authorised}" if authorised else ""
        alt = f"{dataset} face {sample}, protected by {defense}{aim}"
        if found.empty:
            faces.append(Face(data=None, alt=alt))
            continue
        captions = [("SSIM", _SSIM.shown(float(found["ssim"].iloc[0])))]
        captions += _cosines(rows, [c for c in rows.of(matrix) if _is_point(c, dataset, point)], sample)
        faces.append(Face(data=_encoded(found["protected"].iloc[0]), alt=alt, captions=captions))
    return FaceRow(label=authorised or defense, defense=defense, authorised=authorised, faces=faces)


def _is_point(cell: CellRow, dataset: str, point: tuple[str, str]) -> bool:
    return cell.dataset == dataset and (cell.defense, cell.authorised) == point


def _cosines(rows: Rows, cells: Sequence[CellRow], sample: str) -> list[tuple[str, str]]:
    """Cosine to the original, as the authorised model sees it (the lowest of several) and at most by any other."""
    own: list[float] = []
    others: list[float] = []
    for cell in cells:
        scores = rows.scores.get(cell.cell)
        if scores is None:
            continue
        found = scores.cos_self[np.asarray(scores.left_id).astype(str) == sample]
        if len(found) and np.isfinite(found[0]):
            (own if cell.role == "authorised" else others).append(float(found[0]))
    made = [("cos, authorised", _COSINE.shown(min(own)))] if own else []
    name = "cos, highest other" if own else "cos, highest"
    return [*made, (name, _COSINE.shown(max(others)))] if others else made
