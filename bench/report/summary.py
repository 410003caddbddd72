"""The summary per authorised model, the bars, and the image metrics beside their floors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from bench.report.figures import ROW_KINDS, Column, Figure, Group, Quantity, Role, Row, RowKind, Table, absent, distinct
from bench.report.recognition import measure_named, point
from bench.report.rows import CellRow, Matrix, Part, Rows, Scores, finite, mean, why_absent

AUTHORISED = Quantity(name="authorised accuracy", unit="%", digits=1, better="higher")
CLEAN_ACCURACY = Quantity(name="clean accuracy", unit="%", digits=1, better="higher")
DROP = Quantity(name="drop from clean", unit="points", digits=1, better="lower")
UNAUTHORISED = Quantity(name="unauthorised accuracy, average", unit="%", digits=1, better="lower")
WORST = Quantity(name="unauthorised accuracy, worst case", unit="%", digits=1, better="lower")
SSIM = Quantity(name="SSIM", digits=3, better="lower")
PSNR = Quantity(name="PSNR", unit="dB", digits=2, better="lower")

POOLED = "all data sets"
FLOORS = {
    "another_face": "another person's face",
    "mean_face": "the mean face",
    "grey": "a flat grey image",
    "noise": "random noise",
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar: what is asked of a defense with an authorised model, protocols pooled."""

    quantity: Quantity
    limit: float
    text: str

    def met(self, figure: Figure) -> bool | None:
        """Whether the figure itself meets the bar; none without a figure."""
        if figure.value is None:
            return None
        return figure.value >= self.limit if self.quantity.better == "higher" else figure.value <= self.limit

    def certain(self, figure: Figure) -> bool:
        """Whether the whole interval lies on the same side of the bar."""
        if figure.low is None or figure.high is None:
            return False
        return figure.low >= self.limit or figure.high <= self.limit


BARS = (
    Bar(quantity=AUTHORISED, limit=0.90, text="at least 90 %"),
    Bar(quantity=DROP, limit=0.08, text="at most 8 points"),
    Bar(quantity=UNAUTHORISED, limit=0.20, text="at most 20 %"),
    Bar(quantity=SSIM, limit=0.03, text="at most 0.03"),
)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One defense for one authorised set (or for all sets together: ``authorised`` is none), protocols pooled.

    For a defense that knows no model, ``authorised`` is empty, ``kept``, ``clean`` and ``drop`` are absent, and
    ``leaked`` is the accuracy of all models. ``worst_at`` is the cell of the worst case.
    """

    experiment: str
    defense: str
    authorised: str | None
    kind: RowKind
    stands_in_for: str | None
    models: int
    kept: Figure
    clean: Figure
    drop: Figure
    leaked: Figure
    worst: Figure
    worst_at: CellRow | None
    ssim: Figure
    psnr: Figure

    @property
    def verdicts(self) -> list[tuple[Bar, Figure, bool | None]]:
        """Each bar with the figure that it is held against; empty where nothing is authorised."""
        if self.kind != "authorised":
            return []
        return [(b, f, b.met(f)) for b, f in zip(BARS, (self.kept, self.drop, self.leaked, self.ssim), strict=True)]

    @property
    def meets_all(self) -> bool:
        """Whether every bar is met (a bar without a figure is not met)."""
        return bool(self.verdicts) and all(met for _, _, met in self.verdicts)


def summaries(rows: Rows, matrix: Matrix) -> list[Summary]:
    """One summary per defense and authorised set, in the suite's order, references first."""
    cells = rows.of(matrix)
    keys = dict.fromkeys((c.defense, c.authorised) for c in cells)
    made = [_summary(rows, [c for c in cells if (c.defense, c.authorised) == key], key[1]) for key in keys]
    return sorted(made, key=lambda s: ROW_KINDS.index(s.kind))


def overall(rows: Rows, matrix: Matrix) -> list[Summary]:
    """One summary per defense, its authorised sets pooled, in the suite's order."""
    cells = rows.of(matrix)
    return [
        _summary(rows, [c for c in cells if c.defense == defense], None)
        for defense in dict.fromkeys(c.defense for c in cells)
    ]


def _summary(rows: Rows, cells: Sequence[CellRow], authorised: str | None) -> Summary:
    first = cells[0]
    knows_models = any(c.authorised for c in cells)
    own = [c for c in cells if c.role == "authorised"]
    others = [c for c in cells if c.role != "authorised"]
    kept, clean, drop = _utility(rows, own) if knows_models else (_not_applicable(),) * 3
    worst, worst_at = _worst(rows, others)
    role: Role = "unauthorised" if knows_models else "any"
    image_rows = _image_rows(rows, first.experiment, first.defense, authorised)
    return Summary(
        experiment=first.experiment,
        defense=first.defense,
        authorised=authorised if knows_models else "",
        kind="clean" if first.clean else "authorised" if knows_models else "model-free",
        stands_in_for=distinct(first.authorised_stands_in_for, first.authorised) if authorised else None,
        models=len({c.authorised for c in cells if c.authorised}),
        kept=kept,
        clean=clean,
        drop=drop,
        leaked=_pooled(rows, others, lambda s: s.hits(), role, _paper_mean(rows, others)),
        worst=replace(worst, paper=None),
        worst_at=worst_at,
        ssim=_image_mean(image_rows, "ssim", cells),
        psnr=_image_mean(image_rows, "psnr", cells),
    )


def _not_applicable() -> Figure:
    return absent("not applicable", "this defense knows no model, so none is authorised")


def _people(cell: CellRow, scores: Scores) -> Any:
    return np.array([f"{cell.dataset}/{p}" for p in scores.person], dtype=object)


def _paper_mean(rows: Rows, cells: Sequence[CellRow]) -> float | None:
    """The mean of the paper's figures for these cells, when it has all of them."""
    papers = [rows.paper(c) for c in cells]
    known = [p for p in papers if p is not None]
    return sum(known) / len(known) if known and len(known) == len(papers) else None


def _parts(rows: Rows, cells: Iterable[CellRow], values: Callable[[Scores], Any]) -> list[Part]:
    return [Part(values(s), _people(c, s)) for c in cells if (s := rows.scores.get(c.cell)) is not None]


def _pooled(
    rows: Rows, cells: Sequence[CellRow], values: Callable[[Scores], Any], role: Role, paper: float | None = None
) -> Figure:
    """All pairs of all cells together, with what is missing named."""
    parts = _parts(rows, cells, values)
    if not parts:
        status, reason = why_absent(cells)
        return absent(status, reason, role=role)
    figure = mean(parts, role=role, cells=tuple(c.cell for c in cells), paper=paper)
    return replace(figure, note=f"{len(parts)} of {len(cells)} cells" if len(parts) < len(cells) else None)


def _utility(rows: Rows, own: Sequence[CellRow]) -> tuple[Figure, Figure, Figure]:
    """Accuracy with protection, without it on the same pairs, and the drop from one to the other (paired)."""
    kept = _pooled(rows, own, lambda s: s.hits(), "authorised", _paper_mean(rows, own))
    clean = _pooled(rows, own, lambda s: s.clean_hits(), "any")
    parts = _parts(rows, own, lambda s: s.clean_hits() - s.hits())
    if not parts:
        return kept, clean, absent(kept.status, kept.reason)
    return kept, clean, replace(mean(parts, share=False, cells=kept.cells), note=kept.note)


def _worst(rows: Rows, others: Sequence[CellRow]) -> tuple[Figure, CellRow | None]:
    """The highest accuracy of one unauthorised model on one data set."""
    measure = measure_named("VII")
    keys = dict.fromkeys((c.dataset, c.authorised, c.evaluated) for c in others)
    by_key: dict[tuple[str, str, str], list[CellRow]] = {k: [] for k in keys}
    for c in others:
        by_key[c.dataset, c.authorised, c.evaluated].append(c)
    scored = [
        (sum(s.hits().sum() for s in found) / sum(len(s.same) for s in found), cells)
        for cells in by_key.values()
        if (found := rows.scores_of(cells))
    ]
    if not scored:
        status, reason = why_absent(others)
        return absent(status, reason, role="unauthorised"), None
    _, cells = max(scored, key=lambda entry: entry[0])
    return point(rows, cells, measure), cells[0]


# ---- images ----------------------------------------------------------------------------------------------------------


def _image_rows(rows: Rows, experiment: str, defense: str, authorised: str | None) -> pd.DataFrame:
    """Rows of protected images of one defense; ``authorised`` none takes all sets."""
    table = rows.samples["images"]
    if table.empty:
        return table
    chosen = (table["experiment"] == experiment) & (table["defense"] == defense)
    if authorised is not None:
        chosen &= table["authorised"] == authorised
    return table[chosen]


def _image_mean(table: pd.DataFrame, column: str, cells: Sequence[CellRow] = ()) -> Figure:
    """The mean of a per-image number; infinite PSNRs are counted, never averaged."""
    if table.empty or column not in table:
        status, reason = why_absent([c for c in cells if c.status != "ok"]) if cells else ("missing", None)
        return absent(status, reason or "no image rows")
    values = np.array([finite(v) if finite(v) is not None else np.nan for v in table[column]], dtype=np.float64)
    if column == "psnr" and "psnr_infinite" in table:
        infinite = int(table["psnr_infinite"].astype(bool).sum())
        if infinite == len(table):
            return absent("infinite", "the images equal the originals: PSNR is infinite")
        note = f"without {infinite} images whose PSNR is infinite" if infinite else None
    else:
        note = None
    method: Literal["bootstrap", "none"] = "bootstrap" if column.split("_")[0] in ("ssim", "psnr") else "none"
    person = table["subject"] if "subject" in table else table["sample_id"]
    people = (table["dataset"].astype(str) + "/" + person.astype(str)).to_numpy(dtype=object)
    return replace(mean([Part(values, people)], method=method, share=False), note=note)


def floors(rows: Rows, experiment: str, dataset: str | None = None) -> dict[str, dict[str, Figure]]:
    """What SSIM and PSNR give for images that hold nothing of the face: floor -> metric -> figure."""
    table = rows.samples["floors"]
    if table.empty:
        return {}
    table = table[table["experiment"] == experiment]
    if dataset is not None:
        table = table[table["dataset"] == dataset]
    found = {}
    for floor in FLOORS:
        if f"ssim_{floor}" in table and not table.empty:
            found[floor] = {m: _image_mean(table, f"{m}_{floor}") for m in ("ssim", "psnr")}
    return found


def image_table(rows: Rows, matrix: Matrix) -> Table:
    """SSIM and PSNR per data set and defense, with the floors as the last rows of each data set."""
    cells = rows.of(matrix)
    table = rows.samples["images"]
    extras = _extra_columns(table, matrix.experiment)
    columns = [Column(label="SSIM", quantity=SSIM), Column(label="PSNR", quantity=PSNR)]
    columns += [Column(label=_extra_label(name), quantity=Quantity(name=name, digits=4)) for name in extras]
    sets = list(dict.fromkeys(c.dataset for c in cells))
    groups = []
    for dataset in ([None] if len(sets) > 1 else []) + sets:
        chosen = [c for c in cells if dataset in (None, c.dataset)]
        groups.append(
            Group(
                label=dataset or POOLED,
                rows=_image_group(rows, matrix.experiment, dataset, chosen, extras),
                stands_in_for=distinct(chosen[0].dataset_stands_in_for, dataset) if dataset else None,
                synthetic=any(c.synthetic for c in chosen),
            )
        )
    return Table(
        name="images",
        title="What is left of the picture",
        caption="Similarity of protected images to their originals. Floors: images that show nothing of the face.",
        columns=columns,
        groups=groups,
        experiment=matrix.experiment,
        source="samples/images.parquet and samples/floors.parquet, where experiment, dataset, defense and authorised "
        "are those of the row",
    )


def _image_group(
    rows: Rows, experiment: str, dataset: str | None, cells: Sequence[CellRow], extras: Sequence[str]
) -> list[Row]:
    """The defenses and then the floors of one data set, or of all."""
    made = []
    for defense, authorised in dict.fromkeys((c.defense, c.authorised) for c in cells):
        asked = [c for c in cells if (c.defense, c.authorised) == (defense, authorised)]
        chosen = _image_rows(rows, experiment, defense, authorised)
        if dataset is not None and not chosen.empty:
            chosen = chosen[chosen["dataset"] == dataset]
        made.append(_image_row(chosen, asked, ["ssim", "psnr", *extras]))
    blank = [absent("not applicable", "of a defense only")] * len(extras)
    for floor, values in floors(rows, experiment, dataset).items():
        made.append(Row(label=FLOORS[floor], kind="floor", figures=[values["ssim"], values["psnr"], *blank]))
    return sorted(made, key=lambda r: ROW_KINDS.index(r.kind))


def _image_row(table: pd.DataFrame, cells: Sequence[CellRow], names: Sequence[str]) -> Row:
    first = cells[0]
    figures = [_image_mean(table, name, cells) for name in names]
    none = absent("not applicable", "this defense does not report it")
    figures = [none if i > 1 and f.value is None and not table.empty else f for i, f in enumerate(figures)]
    return Row(
        label=f"{first.defense} for {first.authorised}" if first.authorised else first.defense,
        kind="clean" if first.clean else "authorised" if first.authorised else "model-free",
        figures=figures,
        defense=first.defense,
        authorised=first.authorised,
    )


def _extra_label(name: str) -> str:
    """A number of the defense's own, such as ``extra_loss_end``, as a heading."""
    return f"{name.removeprefix('extra_').replace('_', ' ')} (the defense's own)"


def _extra_columns(table: pd.DataFrame, experiment: str) -> list[str]:
    """Numeric columns that defenses added to their images."""
    if table.empty:
        return []
    part = table[table["experiment"] == experiment]
    added = [c for c in map(str, part) if c.startswith("extra_")]
    return [c for c in added if pd.api.types.is_numeric_dtype(part[c]) and part[c].notna().any()]


def summary_table(rows: Rows, matrix: Matrix) -> Table:
    """The summary as a table: one row per defense and authorised set."""
    quantities = (AUTHORISED, CLEAN_ACCURACY, DROP, UNAUTHORISED, WORST, SSIM, PSNR)
    made = []
    for s in summaries(rows, matrix):
        figures = [s.kept, s.clean, s.drop, s.leaked, s.worst, s.ssim, s.psnr]
        made.append(
            Row(
                label=f"{s.defense} for {s.authorised}" if s.authorised else s.defense,
                kind=s.kind,
                figures=figures,
                defense=s.defense,
                authorised=s.authorised or "",
                stands_in_for=s.stands_in_for,
            )
        )
    sets = list(dict.fromkeys(c.dataset for c in rows.of(matrix)))
    return Table(
        name="summary",
        title="Summary, data sets pooled",
        caption="Accuracy of Equation 10 at the calibrated threshold, pooled over data sets.",
        columns=[Column(label=q.name, quantity=q) for q in quantities],
        groups=[Group(label=" + ".join(sets), rows=made, synthetic=any(c.synthetic for c in rows.of(matrix)))],
        experiment=matrix.experiment,
        source="samples/verification.parquet and samples/images.parquet",
    )
