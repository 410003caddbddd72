"""Example faces: the same few originals under every defense and attack, within a budget of bytes.

The layout is that of the paper's Figures 6 and 7: faces down, what becomes of them across.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from PIL import Image

from bench.report.figures import Quantity
from bench.report.measures import figure
from bench.report.rows import UPLOAD, CellRow, Rows
from bench.report.tables.layout import label_of

BUDGET = 2_600_000  # bytes of all pictures of a page, as base64
MOST, FEWEST = 4, 2  # faces per grid
ATTACKS = 4  # reconstructions per defense in a grid
_PNG = b"\x89PNG\r\n\x1a\n"
_SMALL = 4_000  # bytes up to which a picture is embedded as it is
_QUALITY = 80
_LARGEST = 1024  # pixels per side
_SSIM = Quantity(name="SSIM", digits=3)
_COSINE = Quantity(name="cosine", digits=2)


@dataclass(frozen=True, kw_only=True)
class Face:
    """One picture with what is said below it. ``data`` is a data URI, none when there is no such picture."""

    data: str | None
    alt: str
    captions: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class Column:
    """What became of the faces: one defense for one authorised set, as uploaded or as an attack reconstructed it.

    ``group`` names the defense, and for whom it protects where there are several.
    """

    defense: str
    authorised: str
    picture: str
    group: str
    cells: Sequence[CellRow]

    @property
    def leaky(self) -> bool:
        """Whether the attack learnt from the very people that are shown."""
        return any(c.leaky for c in self.cells if c.picture == self.picture)

    @property
    def label(self) -> str:
        """What is shown, below the defense."""
        return self.picture or "as uploaded"


@dataclass(frozen=True, kw_only=True)
class FaceRow:
    """One original and what became of it, one face per column."""

    dataset: str
    sample: str
    original: Face
    faces: Sequence[Face]


@dataclass(frozen=True, kw_only=True)
class Wall:
    """A grid of pictures. ``withheld`` says why none is shown; ``left_out`` counts columns for which there is no room.

    ``captions`` explains the small print.
    """

    columns: Sequence[Column] = ()
    rows: Sequence[FaceRow] = ()
    left_out: int = 0
    withheld: str | None = None
    captions: str = ""

    @property
    def attacked(self) -> bool:
        """Whether reconstructions are shown."""
        return any(c.picture for c in self.columns)

    @property
    def firsts(self) -> list[Column]:
        """The first column of each defense."""
        return [c for i, c in enumerate(self.columns) if i == 0 or self.columns[i - 1].group != c.group]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The defenses with the number of columns of each, from left to right."""
        made: list[tuple[str, int]] = []
        for c in self.columns:
            if made and made[-1][0] == c.group:
                made[-1] = (c.group, made[-1][1] + 1)
            else:
                made.append((c.group, 1))
        return made


def wall(rows: Rows, experiment: str, include_real: bool, budget: int = BUDGET) -> Wall:
    """The grid of one experiment. Faces that are not synthetic are shown only when ``include_real``."""
    table = _stored(rows, experiment)
    if table.empty:
        return Wall(withheld="No example faces were stored: no defense finished on any data set.")
    table = table[table["repeat"] == table["repeat"].min()]
    cells = [c for c in rows.cells if c.experiment == experiment]
    if not include_real:
        table = table[table["dataset"].isin({c.dataset for c in cells if c.synthetic})]
        if table.empty:
            return Wall(withheld="The faces of these data sets are real and are not shown.")
    table = table[table["readable"]]
    if table.empty:
        return Wall(withheld="No example faces were stored.")
    columns = _columns(rows, cells, table)
    if not columns:
        return Wall(withheld="Nothing was protected here, and nothing reconstructed.")
    return _filled(rows, table, columns, budget)


def _stored(rows: Rows, experiment: str) -> pd.DataFrame:
    """Which faces of an experiment are stored, and whether they are pictures; without the pictures themselves."""
    made = []
    for batch in rows.results.batches("examples", {"experiment": experiment}):
        readable = batch["protected"].map(_is_png) & batch["original"].map(_is_png)
        made.append(batch.drop(columns=["protected", "original"]).assign(readable=readable))
    if not made:
        return pd.DataFrame()
    table = pd.concat(made)
    return table.assign(sample_id=table["sample_id"].astype(str))


def _pictures(rows: Rows, stored: pd.DataFrame) -> tuple[bytes, bytes]:
    """The original and what became of it, of the first of some stored faces."""
    first = stored.iloc[0]
    found = rows.examples_of(*(first[name] for name in UPLOAD))
    pair = found[found["sample_id"].astype(str) == first["sample_id"]].iloc[0]
    return pair["original"], pair["protected"]


def _filled(rows: Rows, table: pd.DataFrame, columns: Sequence[Column], budget: int) -> Wall:
    """As many faces, and then as many columns, as the budget allows."""
    chosen = _choose(table, MOST)
    probes = range(0, len(table), max(1, len(table) // 24))
    sizes = [len(_encoded(_pictures(rows, table.iloc[i : i + 1])[1]) or "") for i in probes]
    size = max(1.0, float(np.mean(sizes)))
    down = int(max(min(FEWEST, len(chosen)), min(len(chosen), budget / size // (len(columns) + 1))))
    fitting = int(max(1, budget / size // down - 1))
    made = []
    for dataset, sample in _choose(table, down):
        mine = table[(table["dataset"] == dataset) & (table["sample_id"] == sample)]
        original = Face(
            data=_encoded(_pictures(rows, mine)[0]),
            alt=f"{dataset} face {sample}, original",
            captions=_estimates(rows, [c for col in columns for c in col.cells], dataset, sample, "original"),
        )
        faces = [_face(rows, mine, column, (dataset, sample)) for column in columns[:fitting]]
        made.append(FaceRow(dataset=dataset, sample=sample, original=original, faces=faces))
    shown = columns[:fitting]
    return Wall(columns=shown, rows=made, left_out=len(columns) - len(shown), captions=_legend(shown))


def _legend(columns: Sequence[Column]) -> str:
    kinds = {c.outputs for column in columns for c in column.cells}
    told = ["SSIM compares a picture with its original."]
    if kinds & {"images", "recognition"}:
        told.append(
            "cos is the cosine of their embeddings, for the authorised model and for the highest of all others; for "
            "the others, lower is better."
        )
    if "attributes" in kinds:
        told.append("Below a picture stands what the attribute attack takes it for, with ≠ where the original differs.")
    return " ".join(told)


# ---- what is shown ---------------------------------------------------------------------------------------------------


def _columns(rows: Rows, cells: Sequence[CellRow], table: pd.DataFrame) -> list[Column]:
    """References first, as in the tables; of each the uploaded picture and then what attacks made of it."""
    stored = set(zip(table["defense"], table["authorised"], table["attack"], strict=True))
    attacks = _attacks(rows, cells)
    points = sorted(dict.fromkeys((c.defense, c.authorised, c.clean) for c in cells), key=_order)
    made = []
    for defense, authorised, clean in points:
        own = [c for c in cells if (c.defense, c.authorised) == (defense, authorised)]
        pictures = [*([] if clean else [""]), *attacks]
        group = label_of(cells, (defense, authorised))
        made += [
            Column(defense=defense, authorised=authorised, picture=p, group=group, cells=own)
            for p in pictures
            if (defense, authorised, p) in stored
        ]
    return made


def _order(point: tuple[str, str, bool]) -> tuple[bool, bool]:
    """No protection, then what knows no model, then what protects for one."""
    return not point[2], bool(point[1])


def _attacks(rows: Rows, cells: Sequence[CellRow]) -> list[str]:
    """The reconstructions to show: all, or of each kind of attack the first and the strongest on protected faces."""
    made = [c for c in cells if c.picture]
    names = list(dict.fromkeys(c.picture for c in made))
    if len(names) <= ATTACKS:
        return names
    kinds: dict[str, list[str]] = {}
    for c in made:
        known = kinds.setdefault(c.attack_plugin, [])
        if c.picture not in known:
            known.append(c.picture)
    chosen = []
    for labels in kinds.values():
        protected = {a: [c for c in made if c.picture == a and not c.clean] for a in labels}
        strengths = {a: figure(rows, own, "ssim").value or 0.0 for a, own in protected.items()}
        chosen += [labels[0], max(labels, key=lambda a: strengths[a])]
    return [name for name in names if name in chosen]


def _choose(table: pd.DataFrame, most: int) -> list[tuple[str, str]]:
    """Data sets in turn: the first stored face of each, then the second, and so on. Results play no part."""
    names = [str(d) for d in dict.fromkeys(table["dataset"])]
    stored = [list(dict.fromkeys(table.loc[table["dataset"] == d, "sample_id"])) for d in names]
    order = [(k, d) for k in range(max(map(len, stored), default=0)) for d in range(len(stored)) if k < len(stored[d])]
    return sorted(((names[d], str(stored[d][k])) for k, d in order[:most]), key=lambda c: names.index(c[0]))


def _face(rows: Rows, mine: pd.DataFrame, column: Column, which: tuple[str, str]) -> Face:
    """One face as a column shows it. ``mine`` are the stored pictures of that face."""
    dataset, sample = which
    made = f"reconstructed by {column.picture} from what {column.group} uploads" if column.picture else column.group
    alt = f"{dataset} face {sample}, {made}"
    key = (mine["defense"] == column.defense) & (mine["authorised"] == column.authorised)
    found = mine[key & (mine["attack"] == column.picture)]
    data = None if found.empty else _encoded(_pictures(rows, found)[1])
    if data is None:
        return Face(data=None, alt=alt)
    cells = [c for c in column.cells if c.dataset == dataset and c.picture == column.picture]
    captions = [("SSIM", _SSIM.shown(float(found["ssim"].iloc[0]))), *_cosines(rows, cells, sample)]
    captions += _estimates(rows, cells, dataset, sample, "predicted")
    return Face(data=data, alt=alt, captions=captions)


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


def _estimates(rows: Rows, cells: Sequence[CellRow], dataset: str, sample: str, column: str) -> list[tuple[str, str]]:
    """What an attribute attack says of a face: ``original`` or ``predicted``; the first attack of several."""
    ids = {c.cell for c in cells if c.outputs == "attributes" and c.dataset == dataset}
    found = [own for c in rows.cells if c.cell in ids and not (own := rows.attributes_of(c)).empty]
    if not found:
        return []
    mine = pd.concat([own[own["sample_id"].astype(str) == sample] for own in found])
    said: Mapping[str, tuple[str, str]] = {
        str(a): (str(value), str(was))
        for a, value, was in reversed(list(zip(mine["attribute"], mine[column], mine["original"], strict=True)))
    }
    order = list(dict.fromkeys(map(str, mine["attribute"])))
    return [(f"{a}{' ≠' if said[a][0] != said[a][1] else ''}", said[a][0]) for a in order]


# ---- pictures --------------------------------------------------------------------------------------------------------


def _is_png(data: object) -> bool:
    return isinstance(data, bytes) and data.startswith(_PNG)


@lru_cache(maxsize=2048)
def _encoded(data: bytes) -> str | None:
    """A PNG as a data URI, compressed where it is large; none when it cannot be read."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            if max(picture.size) > _LARGEST:
                return None
            pixels = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError):
        return None
    if len(data) <= _SMALL:
        return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
