"""The face wall of an experiment: the worst, the median and the best face of each data set, beside its protected and
reconstructed pictures.

As in the paper's Figures 6 and 7, each row is a face, and each column a defense or an attack on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bench.analysis.cells import UPLOAD, CellRow
from bench.analysis.measures import measure
from bench.analysis.rows import Rows
from bench.analysis.table_model import TableMetric
from bench.analysis.tables.row_layout import is_control, label_of
from bench.report.page.face_choice import RANKED, Judges, Kind, Likeness, Pick, choose
from bench.report.page.image_budget import Album, is_png

ATTACKS = 4  # If an experiment has more attacks that reconstruct images, a wall shows a choice of them.
COLUMNS = 24  # The most columns of a wall.
_SSIM = TableMetric(label="SSIM", digits=3)
_COSINE = TableMetric(label="cosine", digits=2)
Caption = tuple[str, str, str]
Known = Mapping[tuple[str, int], Mapping[str, Likeness]]
"""The known similarities of faces (by sample id), for each data set and index of a column."""


@dataclass(frozen=True, kw_only=True)
class Face:
    """One picture with its captions, each a name, a value, and the model that measured it (empty if it is obvious).

    ``picture`` is its CSS class in the album, or None if it cannot be shown.
    """

    picture: str | None
    alt: str
    captions: Sequence[Caption] = ()


@dataclass(frozen=True, kw_only=True)
class FaceWallColumn:
    """One column of a wall: the faces protected by one defense for one authorised set, as they were uploaded
    (``picture`` is empty), or as the attack ``picture`` reconstructed them.

    ``group`` is the heading: the defense, with its authorised set if there are several. ``cells`` are all cells of the
    defense with that set.
    """

    defense: str
    authorised: str
    picture: str
    group: str
    cells: Sequence[CellRow]

    @property
    def leaky(self) -> bool:
        """Whether the attack learnt from the people that are shown."""
        return any(c.leaky for c in self.cells if c.picture == self.picture)

    @property
    def control(self) -> bool:
        """Whether the defense is a control, and no protection."""
        return any(is_control(c) for c in self.cells)

    @property
    def attacks(self) -> list[str]:
        """The attacks by which the column is filtered: the one that made its pictures, or all attacks on an upload."""
        return list(dict.fromkeys(c.attack for c in self.cells if not self.picture or c.picture == self.picture))

    @property
    def label(self) -> str:
        """The second line of the heading: the attack, or that the pictures are shown as uploaded."""
        return self.picture or "as uploaded"


@dataclass(frozen=True, kw_only=True)
class FaceRow:
    """One row of a wall: an original, and one face per column. ``title`` and ``reason`` say why this face is shown."""

    kind: Kind
    sample: str
    title: str
    reason: str
    original: Face
    faces: Sequence[Face]


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The faces of one data set. ``about`` says how many pictures are stored, and the similarities of all faces."""

    dataset: str
    about: str
    rows: Sequence[FaceRow]


@dataclass(frozen=True, kw_only=True)
class Wall:
    """The pictures of an experiment.

    ``withheld`` is the reason if none is shown. ``about`` says how the faces were chosen, ``legend`` explains their
    captions, and ``notes`` say what is left out.
    """

    columns: Sequence[FaceWallColumn] = ()
    shelves: Sequence[Shelf] = ()
    withheld: str | None = None
    about: str = ""
    legend: str = ""
    notes: Sequence[str] = ()


def walls(rows: Rows, experiments: Sequence[Sequence[str]], include_real: bool, album: Album) -> dict[str, Wall]:
    """Return the wall of each experiment and add its pictures to the album, as far as the album has room.

    Real faces are shown only if ``include_real``. ``experiments`` are groups of names that get room one after the
    other: within a group first the worst face of every data set, then the median ones, then the best ones. The first
    row that does not fit ends the filling.
    """
    judges = Judges(rows)
    drafts = {name: _draft(rows, name, include_real, judges) for group in experiments for name in group}
    for group in experiments:
        filled = [draft for name in group if isinstance(draft := drafts[name], _Draft)]
        for place in range(len(RANKED)):
            for draft in filled:
                for dataset, picks in draft.picks.items():
                    if len(picks) > place and not draft.place(dataset, _by_need(picks)[place], album):
                        return _finished(drafts)
    return _finished(drafts)


def _finished(drafts: Mapping[str, _Draft | Wall]) -> dict[str, Wall]:
    return {name: draft if isinstance(draft, Wall) else draft.wall() for name, draft in drafts.items()}


def _by_need(picks: Sequence[Pick]) -> list[Pick]:
    """Return the chosen faces in the order in which they get room: worst, median, best."""
    return [*picks[:1], *picks[1:-1], *picks[1:][-1:]]


# ---- which faces and columns -----------------------------------------------------------------------------------------


def _draft(rows: Rows, experiment: str, include_real: bool, judges: Judges) -> _Draft | Wall:
    """Return a draft with the columns and chosen faces of a wall, or a wall that says why no picture is shown."""
    table = _stored(rows, experiment)
    if table.empty:
        return Wall(withheld="No example faces were stored: no defense finished on any data set.")
    table = table[table["repeat"] == table["repeat"].min()]
    cells = [c for c in rows.cells if c.experiment == experiment]
    real = {c.dataset for c in rows.cells if not c.synthetic}
    if "synthetic" in table:
        real |= set(table.loc[~table["synthetic"].astype(bool), "dataset"])
    held_back = [] if include_real else [d for d in dict.fromkeys(table["dataset"]) if d in real]
    table = table[~table["dataset"].isin(held_back)]
    if table.empty:
        return Wall(withheld="The faces of these data sets are real and are not shown.")
    table = table[table["readable"]]
    if table.empty:
        return Wall(withheld="No example faces were stored.")
    columns = _columns(rows, cells, table)
    if not columns:
        return Wall(withheld="Nothing was protected here, and nothing reconstructed.")
    draft = _Draft(rows=rows, table=table, columns=columns[:COLUMNS], left_out=len(columns[COLUMNS:]))
    if held_back:
        draft.notes.append(f"The faces of {', '.join(held_back)} are real and are not shown.")
    draft.choose(judges)
    return draft


def _stored(rows: Rows, experiment: str) -> pd.DataFrame:
    """Return the table of an experiment's stored faces without the pictures; ``readable``: whether they are PNGs."""
    made = []
    rows.results.require("examples")
    for batch in rows.results.batches("examples", {"experiment": experiment}):
        readable = batch["protected"].map(is_png) & batch["original"].map(is_png)
        made.append(batch.drop(columns=["protected", "original"]).assign(readable=readable))
    if not made:
        return pd.DataFrame()
    table = pd.concat(made)
    return table.assign(sample_id=table["sample_id"].astype(str))


def _columns(rows: Rows, cells: Sequence[CellRow], table: pd.DataFrame) -> list[FaceWallColumn]:
    """Return the columns for which pictures are stored: for each defense the upload, then the reconstructions.

    As in the tables, no protection and defenses that know no model come first.
    """
    stored = set(zip(table["defense"], table["authorised"], table["attack"], strict=True))
    attacks = _shown_attacks(rows, cells)
    points = sorted(dict.fromkeys((c.defense, c.authorised, c.clean) for c in cells), key=_order)
    made = []
    for defense, authorised, clean in points:
        own = [c for c in cells if (c.defense, c.authorised) == (defense, authorised)]
        pictures = [*([] if clean else [""]), *attacks]
        group = label_of(cells, (defense, authorised))
        made += [
            FaceWallColumn(defense=defense, authorised=authorised, picture=p, group=group, cells=own)
            for p in pictures
            if (own[0].recorded, authorised, p) in stored
        ]
    return made


def _order(point: tuple[str, str, bool]) -> tuple[bool, bool]:
    """Return the sorting key of a column: no protection, then defenses that know no model, then all others."""
    return not point[2], bool(point[1])


def _shown_attacks(rows: Rows, cells: Sequence[CellRow]) -> list[str]:
    """Return the attacks whose reconstructions are shown.

    If there are more than `ATTACKS`, these are for each attack plugin its first attack, and the one with the highest
    SSIM on protected faces.
    """
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
        strengths = {a: measure(rows, own, "ssim").value or 0.0 for a, own in protected.items()}
        chosen += [labels[0], max(labels, key=lambda a: strengths[a])]
    return [name for name in names if name in chosen]


@dataclass(frozen=True)
class _Reference:
    """The column by which faces are chosen: a defense, and its upload (``picture`` is empty) or an attack.

    ``among``: among how many defenses the defense was chosen, and among how many columns of this defense the picture.
    """

    defense: str
    picture: str
    among: tuple[int, int]


def _reference(columns: Sequence[FaceWallColumn], known: Known) -> _Reference | None:
    """Return the strongest attack on the defense that hides most, by the mean similarity found by models that are not
    authorised; None if no similarity is known.

    Attacks that learnt from the people that are shown do not count, and unprotected faces and controls count only if
    there are no others.
    """
    strength: dict[str, dict[str, list[float]]] = {}
    aside = {c.defense for c in columns if c.control or all(cell.clean for cell in c.cells)}
    for (_, i), faces in known.items():
        column = columns[i]
        values = [face.other for face in faces.values() if face.other is not None]
        if values and not column.leaky:
            strength.setdefault(column.defense, {}).setdefault(column.picture, []).extend(values)
    means = {d: {p: float(np.mean(v)) for p, v in pictures.items()} for d, pictures in strength.items()}
    tested = [d for d in means if d not in aside] or list(means)
    if not tested:
        return None
    defense = min(tested, key=lambda d: max(means[d].values()))
    picture = max(means[defense], key=lambda p: means[defense][p])
    return _Reference(defense, picture, (len(tested), len(means[defense])))


# ---- pictures --------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class _Draft:
    """A wall while it is filled with pictures.

    ``table`` lists the stored faces; ``picks`` are the chosen faces of each data set, and ``similar`` the similarities
    that they were chosen by. ``lent``: some similarities come from other experiments with the same pictures. ``placed``
    are the rows that had room, and ``left_out`` is the number of columns that had none.
    """

    rows: Rows
    table: pd.DataFrame
    columns: Sequence[FaceWallColumn]
    left_out: int
    notes: list[str] = field(default_factory=list)
    picks: dict[str, list[Pick]] = field(default_factory=dict)
    known: Known = field(default_factory=dict)
    similar: dict[str, Mapping[str, Likeness]] = field(default_factory=dict)
    reference: _Reference | None = None
    lent: bool = False
    placed: dict[str, list[FaceRow]] = field(default_factory=dict)

    def choose(self, judges: Judges) -> None:
        """Choose the faces of each data set."""
        datasets = [str(d) for d in dict.fromkeys(self.table["dataset"])]
        known: dict[tuple[str, int], Mapping[str, Likeness]] = {}
        for dataset in datasets:
            for i in range(len(self.columns)):
                known[dataset, i], lent = judges.of(self._cells(dataset, i))
                self.lent |= lent
        self.known = known
        self.reference = _reference(self.columns, known)
        for dataset in datasets:
            stored = list(dict.fromkeys(self.table.loc[self.table["dataset"] == dataset, "sample_id"]))
            self.similar[dataset] = self._similar(dataset)
            self.picks[dataset] = choose(stored, self.similar[dataset])

    def _similar(self, dataset: str) -> Mapping[str, Likeness]:
        """Return the similarity of each face in the columns of the reference, the highest if these are several."""
        found: dict[str, Likeness] = {}
        for i, column in enumerate(self.columns):
            if self.reference and (column.defense, column.picture) == (self.reference.defense, self.reference.picture):
                for sample, face in self.known[dataset, i].items():
                    held = found.get(sample, Likeness()).other
                    if face.other is not None and (held is None or face.other > held):
                        found[sample] = face
        return found

    def _cells(self, dataset: str, i: int) -> list[CellRow]:
        column, repeat = self.columns[i], self.table["repeat"].iloc[0]
        return [c for c in column.cells if (c.dataset, c.picture, c.repeat) == (dataset, column.picture, repeat)]

    def place(self, dataset: str, pick: Pick, album: Album) -> bool:
        """Add a row to the wall if the album has room for its pictures; return whether it had.

        If the first row of a wall has room for a part of its columns, the wall keeps these columns only.
        """
        stored = [self._stored(dataset, pick.sample, i) for i in range(len(self.columns))]
        original = next((pair[0] for pair in stored if pair is not None), b"")
        offered = [b"" if pair is None else pair[1] for pair in stored]
        room = album.fitting([original, *offered]) - 1
        whole = room >= len(self.columns)
        if not whole and (self.placed or room < 1):
            return False
        self.columns = self.columns[:room]
        self.left_out += len(offered) - len(self.columns)
        faces = [self._face(dataset, pick.sample, i, stored[i], album) for i in range(len(self.columns))]
        row = FaceRow(
            kind=pick.kind,
            sample=pick.sample,
            title=f"{pick.kind.capitalize()} of {self._ranked(dataset)}",
            reason=_reason(pick.likeness),
            original=Face(
                picture=album.add(original),
                alt=f"{_name(dataset, pick.sample)}, original",
                captions=_estimates(self.rows, self._all_cells(), dataset, pick.sample, "original"),
            ),
            faces=faces,
        )
        self.placed.setdefault(dataset, []).append(row)
        return whole

    def _all_cells(self) -> Iterator[CellRow]:
        return (c for column in self.columns for c in column.cells)

    def _stored(self, dataset: str, sample: str, i: int) -> tuple[bytes, bytes, float] | None:
        """Return the PNGs of a face's original and of its picture in column ``i``, and their SSIM; None if not
        stored."""
        c = self.columns[i]
        first = self.table.iloc[0]
        key = {"dataset": dataset, "defense": c.cells[0].recorded, "authorised": c.authorised, "attack": c.picture}
        at = {"experiment": first["experiment"], "repeat": first["repeat"], **key}
        pair = self.rows.example_of(sample, *(at[name] for name in UPLOAD))
        if pair is None or not is_png(pair["original"]) or not is_png(pair["protected"]):
            return None
        return pair["original"], pair["protected"], float(pair["ssim"])

    def _face(self, dataset: str, sample: str, i: int, stored: tuple[bytes, bytes, float] | None, album: Album) -> Face:
        """Return the picture of a face in column ``i`` with its captions; ``stored`` is the result of `_stored`."""
        column = self.columns[i]
        made = f"reconstructed by {column.picture} from what {column.group} uploads" if column.picture else column.group
        alt = f"{_name(dataset, sample)}, {made}"
        shown = None if stored is None else album.add(stored[1])
        if stored is None or shown is None:
            return Face(picture=None, alt=alt)
        captions = [("SSIM", _SSIM.shown(stored[2]), ""), *_cosines(self.known[dataset, i].get(sample, Likeness()))]
        captions += _estimates(self.rows, self._cells(dataset, i), dataset, sample, "predicted")
        return Face(picture=shown, alt=alt, captions=captions)

    def _ranked(self, dataset: str) -> int:
        """Return the number of stored faces of a data set from which the shown ones were chosen."""
        stored = set(self.table.loc[self.table["dataset"] == dataset, "sample_id"])
        return len(stored & self.similar[dataset].keys()) or len(stored)

    # ---- in words ----------------------------------------------------------------------------------------------------

    def wall(self) -> Wall:
        """Return the wall with the rows that were placed."""
        if not self.placed:
            return Wall(withheld="There is no room left on this page; the pictures are in samples/examples.")
        missing = {d: [p.kind for p in picks if not self._is_placed(d, p)] for d, picks in self.picks.items()}
        lost = [f"{' and '.join(kinds)} of {dataset}" for dataset, kinds in missing.items() if kinds]
        if lost:
            self.notes.append(f"No room on this page: {'; '.join(lost)}. All pictures are in samples/examples.")
        if self.left_out:
            these = "1 more column" if self.left_out == 1 else f"{self.left_out} more columns"
            self.notes.append(f"No room on this page: {these}. All pictures are in samples/examples.")
        shelves = [Shelf(dataset=d, about=self._about(d), rows=self._in_order(r)) for d, r in self.placed.items()]
        return Wall(
            columns=self.columns,
            shelves=sorted(shelves, key=lambda s: list(self.picks).index(s.dataset)),
            about=self._how_chosen(),
            legend=_legend(list(self._all_cells()), any(self.known.values())),
            notes=self.notes,
        )

    def _is_placed(self, dataset: str, pick: Pick) -> bool:
        return any(row.sample == pick.sample for row in self.placed.get(dataset, []))

    def _in_order(self, rows: Iterable[FaceRow]) -> list[FaceRow]:
        return sorted(rows, key=lambda r: RANKED.index(r.kind) if r.kind in RANKED else 0)

    def _how_chosen(self) -> str:
        """Return sentences that say how the faces were chosen."""
        if self.reference is None:
            return "No model was evaluated on these pictures: the faces stand at fixed positions of each data set."
        defenses, attacks = self.reference.among
        what = f"in what {self.reference.picture} makes of the face" if self.reference.picture else "in the upload"
        text = (
            "Faces are chosen by identity similarity, the highest cosine to the original that any model without "
            f"authorisation finds {what} under {self.reference.defense}"
            f"{', the defense that hides most' if defenses > 1 else ''}"
            f"{' (the strongest attack on it)' if attacks > 1 else ''}: the worst, the median and the best of those "
            "whose pictures are kept. All columns show the same faces."
        )
        return text + (
            " These similarities come from other experiments with the very same pictures." if self.lent else ""
        )

    def _about(self, dataset: str) -> str:
        """Return sentences about a data set: how many pictures are stored, and the range of similarities of all
        faces."""
        stored = self.table.loc[self.table["dataset"] == dataset, "sample_id"].nunique()
        values = [v for face in self.similar[dataset].values() if (v := face.other) is not None]
        if not values:
            return f"Pictures are kept of {stored} faces."
        worst, median, best = (_COSINE.shown(float(np.quantile(values, q))) for q in (1.0, 0.5, 0.0))
        kept = (
            f"all {stored} faces" if stored >= len(values) else f"{stored} of {len(values)} faces, at fixed positions"
        )
        return (
            f"Pictures are kept of {kept}. Over all {len(values)} the cosine is {worst} at worst, {median} in the "
            f"median, {best} at best."
        )


def _legend(cells: Sequence[CellRow], judged: bool) -> str:
    """Return sentences that explain the captions. ``judged``: whether similarities are known."""
    sentences = ["SSIM compares a picture with its original."]
    if judged:
        sentences.append(
            "cos is the cosine of their embeddings, for the authorised model and for the highest of all others; for "
            "the others, lower is better."
        )
    if any(c.outputs == "attributes" for c in cells):
        text = "Below a picture stands what the attribute attack takes it for, with ≠ where the original differs."
        sentences.append(text)
    return " ".join(sentences)


def _name(dataset: str, sample: str) -> str:
    return f"face {sample}" if sample.startswith(dataset) else f"{dataset} face {sample}"


def _reason(face: Likeness) -> str:
    """Return why a face was chosen: its highest cosine with the model that found it, or its position."""
    return "by position" if face.other is None else f"cosine {_COSINE.shown(face.other)}, {face.by}"


def _cosines(face: Likeness) -> list[Caption]:
    """Return captions with the cosine to the original: of the authorised model, and the highest of all other models."""
    made = [] if face.own is None else [("cos, authorised", _COSINE.shown(face.own), "")]
    name = "cos, highest other" if made else "cos, highest"
    return made if face.other is None else [*made, (name, _COSINE.shown(face.other), face.by)]


def _estimates(rows: Rows, cells: Iterable[CellRow], dataset: str, sample: str, column: str) -> list[Caption]:
    """Return captions with the attributes that an attack estimated for a face, the first of several attacks.

    ``column`` is ``predicted`` for the estimates on the shown picture, ``original`` for those on the original. A name
    is followed by ≠ if both differ.
    """
    attribute_cells = {c.cell: c for c in cells if c.outputs == "attributes" and c.dataset == dataset}
    known = [rows.estimates_of(cell) for cell in attribute_cells.values()]
    values = {e.attribute: e for found in reversed(known) for e in reversed(found.get(sample, ()))}
    order = dict.fromkeys(e.attribute for found in known for e in found.get(sample, ()))
    shown = [
        (values[name], values[name].original if column == "original" else values[name].predicted) for name in order
    ]
    return [(f"{e.attribute}{' ≠' if value != e.original else ''}", value, "") for e, value in shown]
