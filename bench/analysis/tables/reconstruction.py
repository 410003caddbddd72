"""Reconstructions of faces from uploads: the paper's Table VI, and a table of every reconstruction attack.

COS and SRRA measure whether the authorised model still recognises a reconstruction; held-out recognisers measure
whether the person can be re-identified. A similarity of pixels alone shows no leakage, because a blank picture is more
similar to a face than many reconstructions; so every table has the baselines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.analysis.cells import CellRow
from bench.analysis.measures import METRICS, measure, select
from bench.analysis.paper_values import paper_value
from bench.analysis.plugin_metrics import metrics_of
from bench.analysis.rows import Rows
from bench.analysis.table_model import Column, Measurement, Role, Row, Table, TableMetric
from bench.analysis.tables.row_layout import attacks, authorised_in, grouped, label_of, points, row_of, side_of
from bench.analysis.tables.summary import baseline_rows
from bench.core.text import plural

WHITE, BLACK = "inversion", "recface"  # The attack plugins of the two settings of section 6.3.
BOXES = {"White-Box": WHITE, "Black-Box": BLACK}
JUDGES = "held-out recognisers"


@dataclass(frozen=True, kw_only=True)
class _AttackColumn:
    """A column: a metric of the cells of the authorised model, of the held-out recognisers, or of the pictures.

    ``side`` is the role of the evaluated models, None for a metric of pictures. ``baseline`` is the metric of the image
    baselines in this column, ``published`` is the paper's name of the column.
    """

    label: str
    metric_name: str
    side: Role | None = None
    baseline: str | None = None
    published: str | None = None

    @property
    def metric(self) -> TableMetric:
        """The metric of the column; a cosine of the authorised model is better if it is higher."""
        metric = METRICS[self.metric_name]
        return replace(metric, label="COS", better="higher") if self.metric_name == "cosine" else metric

    def of(self, rows: Rows, cells: Sequence[CellRow], authorised: set[str], paper: float | None = None) -> Measurement:
        """Return the measurement of the column over cells; ``authorised`` are the authorised models of the
        experiment."""
        chosen = [c for c in cells if self.side is None or side_of(c, authorised) == self.side]
        return measure(rows, chosen, self.metric_name, role=self.side or "any", paper=paper)


_SSIM = _AttackColumn(label="SSIM", metric_name="ssim", baseline="ssim", published="SSIM")
_PSNR = _AttackColumn(label="PSNR", metric_name="psnr", baseline="psnr", published="PSNR")
_COS = _AttackColumn(label="COS", metric_name="cosine", side="authorised", published="COS")
_SRRA = _AttackColumn(label="SRRA", metric_name="srra", side="authorised", published="SRRA")
_SRRA_FIXED = _AttackColumn(label="SRRA at the fixed κ", metric_name="srra-fixed", side="authorised", published="SRRA")
_RANK = _AttackColumn(label="re-identified at rank 1", metric_name="rank-1", side="unauthorised")
_MATCH = _AttackColumn(label="matched by the adversary", metric_name="fmr-match", side="unauthorised")
_LPIPS = _AttackColumn(label="LPIPS", metric_name="lpips", baseline="lpips")
_BYTES = _AttackColumn(label="upload", metric_name="upload-bytes")
_BOX = (_SSIM, _PSNR, _COS, _SRRA, _SRRA_FIXED, _RANK, _MATCH)
_ALL = (_SSIM, _PSNR, _LPIPS, _COS, _SRRA, _SRRA_FIXED, _RANK, _MATCH, _BYTES)
_SOURCE = (
    "samples/images (SSIM, PSNR, LPIPS, upload) and samples/verification (the others), where "
    "experiment, dataset, defense, authorised and attack are those of the row"
)
_JUDGED = (
    f"COS and SRRA: of the authorised model. Re-identification: by {JUDGES}, pooled; at rank 1 among all originals, "
    "and by a similarity above the threshold that the adversary sets on impostors as he sees them. The chance of each "
    "is a metric by itself (rank-1-chance, impostor-match)."
)


# ---- Table VI --------------------------------------------------------------------------------------------------------


def boxes_tables(rows: Rows, experiment: str) -> list[Table]:
    """Build Table VI: SSIM, PSNR, COS and SRRA of white-box and black-box reconstructions."""
    cells = [c for c in select(rows, experiment=experiment, outputs="images") if c.table == "VI"]
    if not cells:
        return []
    authorised = authorised_in(cells)
    columns = [Column(label=f"{box} {e.label}", metric=e.metric) for box in BOXES for e in _BOX]

    def made(of_dataset: list[CellRow]) -> list[Row]:
        found = []
        for point, own in points(of_dataset).items():
            measurements = [f for box, plugin in BOXES.items() for f in _box(rows, own, box, plugin, authorised)]
            found.append(row_of(own[0], label_of(cells, point), measurements))
        return found + baseline_rows(rows, experiment, of_dataset[0].dataset, [e.baseline for _ in BOXES for e in _BOX])

    return [
        Table(
            name="VI",
            title="What do uploaded features show?",
            caption="Reconstructions of faces from what was uploaded, against the originals. " + _JUDGED,
            columns=columns,
            groups=grouped(cells, made),
            experiment=experiment,
            source=_SOURCE,
            notes=_box_notes(cells),
        )
    ]


def _box(rows: Rows, cells: Sequence[CellRow], box: str, plugin: str, authorised: set[str]) -> list[Measurement]:
    """Return the measurements of one setting, white box or black box, in one row.

    White box: each column shows the start of the optimisation that is worst for the defense in this column. Black box:
    all columns show the first attack in the suite that did not learn from the evaluated people.
    """
    found = attacks(c for c in cells if c.attack_plugin == plugin)
    if plugin != WHITE:
        found = dict([(label, own) for label, own in found.items() if not own[0].leaky][:1] or list(found.items())[:1])
    made = []
    for entry in _BOX:
        paper = paper_value(rows, cells[0], f"{box} {entry.published}") if entry.published else None
        made.append(_worst(rows, entry, found, authorised, paper))
    return made


def _worst(
    rows: Rows, entry: _AttackColumn, found: Mapping[str, list[CellRow]], authorised: set[str], paper: float | None
) -> Measurement:
    """Return the measurement of the attack that is worst for the defense in a column; its note names the attack.

    ``found`` are the cells of each attack. Attacks without a value do not count unless no attack has one.
    """
    measurements = {label: entry.of(rows, own, authorised, paper) for label, own in found.items()}
    if not measurements:
        return entry.of(rows, [], authorised, paper)
    values = {label: m.value for label, m in measurements.items() if m.value is not None}
    choose = min if entry.metric.better == "higher" else max
    label = choose(values, key=lambda name: values[name], default=next(iter(measurements)))
    note = f"{label}: the worst of {plural(len(values), 'start')} in this column" if len(values) > 1 else label
    if found[label][0].leaky:
        note = f"{label}: learnt from the evaluated people"
    own_note = measurements[label].note
    return replace(measurements[label], note="; ".join(n for n in (note, own_note) if n), attack=label)


def _box_notes(cells: Sequence[CellRow]) -> list[str]:
    white, black = (list(attacks(c for c in cells if c.attack_plugin == p)) for p in (WHITE, BLACK))
    return [
        f"White-Box: of {plural(len(white), 'start')} ({', '.join(white) or 'none'}) each column shows the one that is "
        "worst for the defense in this column and row, by the direction of its arrow; the note of a number names it. "
        "Columns of one row may therefore belong to different starts.",
        f"Black-Box: {black[0] if black else 'no such attack'}. Every attack by itself is in the table reconstruction.",
        "The paper does not say at which κ its SRRA is counted; it stands beside both, without a difference.",
    ]


# ---- every attack ----------------------------------------------------------------------------------------------------


def attack_tables(rows: Rows, experiment: str) -> list[Table]:
    """Build the table with every reconstruction attack of an experiment in a row of its own."""
    cells = select(rows, experiment=experiment, outputs="images")
    if not cells:
        return []
    authorised = authorised_in(cells)
    further = [metric.toward(cells) for metric in metrics_of(rows, experiment).values()]

    def made(of_dataset: list[CellRow]) -> list[Row]:
        found = []
        for point, own in points(of_dataset).items():
            for label, against in attacks(own).items():
                name = f"{label_of(cells, point)}, {_marked(label, against)}"
                measurements = [e.of(rows, against, authorised) for e in _ALL]
                measurements += [measure(rows, against, metric, role="any") for metric in further]
                found.append(row_of(own[0], name, measurements))
        columns = [*(e.baseline for e in _ALL), *(None for _ in further)]
        return found + baseline_rows(rows, experiment, of_dataset[0].dataset, columns)

    leaky = [label for label, own in attacks(cells).items() if own[0].leaky]
    note = f"Leakage: {', '.join(leaky)} learnt from the people that it is evaluated on; no worst case rests on it."
    return [
        Table(
            name="reconstruction",
            title="Every reconstruction attack by itself",
            caption="Reconstructions of faces from what was uploaded, against the originals. " + _JUDGED,
            columns=[
                *(Column(label=e.label, metric=e.metric) for e in _ALL),
                *(Column(label=metric.label, metric=metric) for metric in further),
            ],
            groups=grouped(cells, made),
            experiment=experiment,
            source=_SOURCE,
            row_heading="Defense, attack",
            notes=[note] if leaky else [],
        )
    ]


def _marked(label: str, cells: Sequence[CellRow]) -> str:
    return f"{label} (leakage)" if cells[0].leaky else label
