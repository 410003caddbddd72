"""The face wall: of each data set the worst, the median and the best face, and what became of it.

The layout is that of the paper's Figures 6 and 7: faces down, defenses and attacks across.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bench.analysis.measures import measure
from bench.analysis.rows import UPLOAD, CellRow, Rows
from bench.analysis.table_model import Metric
from bench.analysis.tables.row_layout import label_of
from bench.report.page.face_choice import RANKED, Judges, Kind, Likeness, Pick, choose
from bench.report.page.image_budget import Album, is_png

ATTACKS = 4  # reconstructions per defense in a wall
COLUMNS = 24  # of a wall
_SSIM = Metric(label="SSIM", digits=3)
_COSINE = Metric(label="cosine", digits=2)
Caption = tuple[str, str, str]
Known = Mapping[tuple[str, int], Mapping[str, Likeness]]  # data set and column to the faces of which something is known


@dataclass(frozen=True, kw_only=True)
class Face:
    """One picture with what is said below it: name, value, and which model says so, where that is not plain.

    ``picture`` is its name in the album, none when there is no picture.
    """

    picture: str | None
    alt: str
    captions: Sequence[Caption] = ()


@dataclass(frozen=True, kw_only=True)
class FaceWallColumn:
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
    def attacks(self) -> list[str]:
        """The attacks that this picture is about: those that end with it, or all that began with the upload."""
        return list(dict.fromkeys(c.attack for c in self.cells if not self.picture or c.picture == self.picture))

    @property
    def label(self) -> str:
        """What is shown, below the defense."""
        return self.picture or "as uploaded"


@dataclass(frozen=True, kw_only=True)
class FaceRow:
    """One original and what became of it, one face per column. ``title`` and ``said`` tell why this face is shown."""

    kind: Kind
    sample: str
    title: str
    said: str
    original: Face
    faces: Sequence[Face]


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The faces of one data set. ``about`` says of how many faces they are, and what is known of all."""

    dataset: str
    about: str
    rows: Sequence[FaceRow]


@dataclass(frozen=True, kw_only=True)
class Wall:
    """The pictures of an experiment. ``withheld`` says why none is shown. ``about`` says how the faces were chosen,
    ``legend`` what stands below them, ``notes`` what is left out."""

    columns: Sequence[FaceWallColumn] = ()
    shelves: Sequence[Shelf] = ()
    withheld: str | None = None
    about: str = ""
    legend: str = ""
    notes: Sequence[str] = ()


def walls(rows: Rows, experiments: Sequence[Sequence[str]], include_real: bool, album: Album) -> dict[str, Wall]:
    """The wall of each experiment, as far as the album has room; faces that are not synthetic only if
    ``include_real``.

    One group of experiments gets room after the other: in a group the worst face of every data set first, then the
    median ones, then the best. With the first row that does not fit, the album is full.
    """
    judges = Judges(rows)
    drafts = {name: _draft(rows, name, include_real, judges) for group in experiments for name in group}
    for group in experiments:
        filled = [draft for name in group if isinstance(draft := drafts[name], _Draft)]
        for place in range(len(RANKED)):
            for draft in filled:
                for dataset, picks in draft.picks.items():
                    if len(picks) > place and not draft.hang(dataset, _by_need(picks)[place], album):
                        return _finished(drafts)
    return _finished(drafts)


def _finished(drafts: Mapping[str, _Draft | Wall]) -> dict[str, Wall]:
    return {name: draft if isinstance(draft, Wall) else draft.wall() for name, draft in drafts.items()}


def _by_need(picks: Sequence[Pick]) -> list[Pick]:
    """The order in which faces get room: the one that tells most of a defense first, the flattering one last."""
    return [*picks[:1], *picks[1:-1], *picks[1:][-1:]]


# ---- which faces and columns -----------------------------------------------------------------------------------------


def _draft(rows: Rows, experiment: str, include_real: bool, judges: Judges) -> _Draft | Wall:
    """What a wall is to show, or the wall that says why it shows nothing."""
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
    """Which faces of an experiment are stored, and whether they are pictures; without the pictures themselves."""
    made = []
    for batch in rows.results.batches("examples", {"experiment": experiment}):
        readable = batch["protected"].map(is_png) & batch["original"].map(is_png)
        made.append(batch.drop(columns=["protected", "original"]).assign(readable=readable))
    if not made:
        return pd.DataFrame()
    table = pd.concat(made)
    return table.assign(sample_id=table["sample_id"].astype(str))


def _columns(rows: Rows, cells: Sequence[CellRow], table: pd.DataFrame) -> list[FaceWallColumn]:
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
            FaceWallColumn(defense=defense, authorised=authorised, picture=p, group=group, cells=own)
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
        strengths = {a: measure(rows, own, "ssim").value or 0.0 for a, own in protected.items()}
        chosen += [labels[0], max(labels, key=lambda a: strengths[a])]
    return [name for name in names if name in chosen]


@dataclass(frozen=True)
class _Reference:
    """The defense and the picture (as uploaded, or by an attack) by which faces are chosen; ``among`` counts both."""

    defense: str
    picture: str
    among: tuple[int, int]


def _reference(columns: Sequence[FaceWallColumn], known: Known) -> _Reference | None:
    """Of the defenses the one that hides most, and of the attacks on it the strongest, by the mean similarity that
    others find. Attacks that learnt from the people that are shown have no say; the unprotected face only if there is
    nothing else. None where nothing is known."""
    strength: dict[str, dict[str, list[float]]] = {}
    clean = {c.defense for c in columns if all(cell.clean for cell in c.cells)}
    for (_, i), faces in known.items():
        column = columns[i]
        values = [face.other for face in faces.values() if face.other is not None]
        if values and not column.leaky:
            strength.setdefault(column.defense, {}).setdefault(column.picture, []).extend(values)
    means = {d: {p: float(np.mean(v)) for p, v in pictures.items()} for d, pictures in strength.items()}
    tested = [d for d in means if d not in clean] or list(means)
    if not tested:
        return None
    defense = min(tested, key=lambda d: max(means[d].values()))
    picture = max(means[defense], key=lambda p: means[defense][p])
    return _Reference(defense, picture, (len(tested), len(means[defense])))


# ---- pictures --------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class _Draft:
    """A wall while it is filled: which face is shown where, and what is said of it."""

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
    hung: dict[str, list[FaceRow]] = field(default_factory=dict)

    def choose(self, judges: Judges) -> None:
        """Which faces of each data set are shown."""
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
        """What is known of each face under the reference, whoever is authorised."""
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

    def hang(self, dataset: str, pick: Pick, album: Album) -> bool:
        """Add a face to the wall, if the album has room for its row; a first row may lose columns. Whether it had."""
        stored = [self._stored(dataset, pick.sample, i) for i in range(len(self.columns))]
        original = next((pair[0] for pair in stored if pair is not None), b"")
        offered = [b"" if pair is None else pair[1] for pair in stored]
        room = album.fitting([original, *offered]) - 1
        whole = room >= len(self.columns)
        if not whole and (self.hung or room < 1):
            return False
        self.columns = self.columns[:room]
        self.left_out += len(offered) - len(self.columns)
        faces = [self._face(dataset, pick.sample, i, stored[i], album) for i in range(len(self.columns))]
        row = FaceRow(
            kind=pick.kind,
            sample=pick.sample,
            title=f"{pick.kind.capitalize()} of {self._ranked(dataset)}",
            said=_said(pick.likeness),
            original=Face(
                picture=album.add(original),
                alt=f"{_name(dataset, pick.sample)}, original",
                captions=_estimates(self.rows, self._all_cells(), dataset, pick.sample, "original"),
            ),
            faces=faces,
        )
        self.hung.setdefault(dataset, []).append(row)
        return whole

    def _all_cells(self) -> Iterator[CellRow]:
        return (c for column in self.columns for c in column.cells)

    def _stored(self, dataset: str, sample: str, i: int) -> tuple[bytes, bytes, float] | None:
        """The original, what a column shows of it, and their SSIM."""
        c = self.columns[i]
        first = self.table.iloc[0]
        key = {"dataset": dataset, "defense": c.defense, "authorised": c.authorised, "attack": c.picture}
        at = {"experiment": first["experiment"], "repeat": first["repeat"], **key}
        found = self.rows.examples_of(*(at[name] for name in UPLOAD))
        found = found if found.empty else found[found["sample_id"].astype(str) == sample]
        if found.empty or not is_png(found["original"].iloc[0]) or not is_png(found["protected"].iloc[0]):
            return None
        pair = found.iloc[0]
        return pair["original"], pair["protected"], float(pair["ssim"])

    def _face(self, dataset: str, sample: str, i: int, stored: tuple[bytes, bytes, float] | None, album: Album) -> Face:
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
        """Among how many stored faces of a data set those that are shown were chosen."""
        stored = set(self.table.loc[self.table["dataset"] == dataset, "sample_id"])
        return len(stored & self.similar[dataset].keys()) or len(stored)

    # ---- in words ----------------------------------------------------------------------------------------------------

    def wall(self) -> Wall:
        """The wall as far as it was filled."""
        if not self.hung:
            return Wall(withheld="There is no room left on this page; the pictures are in samples/examples.")
        missing = {d: [p.kind for p in picks if not self._hangs(d, p)] for d, picks in self.picks.items()}
        lost = [f"{' and '.join(kinds)} of {dataset}" for dataset, kinds in missing.items() if kinds]
        if lost:
            self.notes.append(f"No room on this page: {'; '.join(lost)}. All pictures are in samples/examples.")
        if self.left_out:
            these = "1 more column" if self.left_out == 1 else f"{self.left_out} more columns"
            self.notes.append(f"No room on this page: {these}. All pictures are in samples/examples.")
        shelves = [Shelf(dataset=d, about=self._about(d), rows=self._in_order(r)) for d, r in self.hung.items()]
        return Wall(
            columns=self.columns,
            shelves=sorted(shelves, key=lambda s: list(self.picks).index(s.dataset)),
            about=self._how(),
            legend=_legend(list(self._all_cells()), any(self.known.values())),
            notes=self.notes,
        )

    def _hangs(self, dataset: str, pick: Pick) -> bool:
        return any(row.sample == pick.sample for row in self.hung.get(dataset, []))

    def _in_order(self, rows: Iterable[FaceRow]) -> list[FaceRow]:
        return sorted(rows, key=lambda r: RANKED.index(r.kind) if r.kind in RANKED else 0)

    def _how(self) -> str:
        """How the faces were chosen, in words."""
        if self.reference is None:
            return "No model was asked who these people are: the faces stand at fixed positions of each data set."
        defenses, attacks = self.reference.among
        what = f"in what {self.reference.picture} makes of the face" if self.reference.picture else "in the upload"
        text = (
            "Faces are chosen by identity similarity, the highest cosine to the original that any model without "
            f"authorisation finds {what} under {self.reference.defense}"
            f"{', the defense that hides most' if defenses > 1 else ''}"
            f"{' (the strongest attack on it)' if attacks > 1 else ''}: the worst, the median and the best of those "
            "whose pictures are kept. All columns show the same faces."
        )
        return text + (" Other experiments asked those models about the very same pictures." if self.lent else "")

    def _about(self, dataset: str) -> str:
        """Of how many faces those of a data set are, and what is known of all."""
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
    told = ["SSIM compares a picture with its original."]
    if judged:
        told.append(
            "cos is the cosine of their embeddings, for the authorised model and for the highest of all others; for "
            "the others, lower is better."
        )
    if any(c.outputs == "attributes" for c in cells):
        told.append("Below a picture stands what the attribute attack takes it for, with ≠ where the original differs.")
    return " ".join(told)


def _name(dataset: str, sample: str) -> str:
    return f"face {sample}" if sample.startswith(dataset) else f"{dataset} face {sample}"


def _said(face: Likeness) -> str:
    """By what a face was chosen."""
    return "by position" if face.other is None else f"cosine {_COSINE.shown(face.other)}, {face.by}"


def _cosines(face: Likeness) -> list[Caption]:
    """Cosine to the original, as the authorised model sees it and at most by any other."""
    made = [] if face.own is None else [("cos, authorised", _COSINE.shown(face.own), "")]
    name = "cos, highest other" if made else "cos, highest"
    return made if face.other is None else [*made, (name, _COSINE.shown(face.other), face.by)]


def _estimates(rows: Rows, cells: Iterable[CellRow], dataset: str, sample: str, column: str) -> list[Caption]:
    """What an attribute attack says of a face: ``original`` or ``predicted``; the first attack of several."""
    asked = {c.cell: c for c in cells if c.outputs == "attributes" and c.dataset == dataset}
    found = [own for cell in asked.values() if not (own := rows.attributes_of(cell)).empty]
    if not found:
        return []
    mine = pd.concat([own[own["sample_id"].astype(str) == sample] for own in found])
    said: Mapping[str, tuple[str, str]] = {
        str(a): (str(value), str(was))
        for a, value, was in reversed(list(zip(mine["attribute"], mine[column], mine["original"], strict=True)))
    }
    order = list(dict.fromkeys(map(str, mine["attribute"])))
    return [(f"{a}{' ≠' if said[a][0] != said[a][1] else ''}", said[a][0], "") for a in order]
