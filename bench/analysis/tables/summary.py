"""The summary per authorised model, the bars, and the image metrics beside their baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from bench.analysis.cells import CellRow
from bench.analysis.measures import METRICS, extra_metric, measure
from bench.analysis.paper_values import paper_value
from bench.analysis.plugin_metrics import metrics_of
from bench.analysis.pooling import Pool, SampleScores, mean
from bench.analysis.rows import Matrix, Rows, why_absent
from bench.analysis.sample_metric import SampleMetric
from bench.analysis.sample_values import numbers
from bench.analysis.table_model import (
    ROW_KINDS,
    Column,
    Measurement,
    Role,
    Row,
    RowGroup,
    RowKind,
    Table,
    TableMetric,
    absent,
    distinct,
)
from bench.analysis.tables.goals import AUTHORISED, DROP, PURPOSES, SSIM, UNAUTHORISED, Bar
from bench.analysis.tables.row_layout import (
    CONTROL,
    is_control,
    kind_of,
    not_applicable,
    points,
    row_of,
    unstable_flags,
)
from bench.core.domain import Goal
from bench.metrics.vocabulary import IMAGE_METRICS

CLEAN_ACCURACY = TableMetric(label="clean accuracy", unit="%", digits=1, better="higher")
WORST = TableMetric(label="unauthorised accuracy, worst case", unit="%", digits=1, better="lower")
PSNR = METRICS["psnr"]

POOLED = "all data sets"
BASELINES = {
    "another_face": "another person's face",
    "mean_face": "the mean face",
    "grey": "a flat grey image",
    "noise": "random noise",
    "wide_noise": "random noise of spread 1, PMT's start",
}


BARS = PURPOSES["recognition"].bars


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One defense for one authorised set, with all data sets pooled; ``authorised`` is None for all sets together.

    ``kept`` is the accuracy of authorised models, ``clean`` the same without protection, ``drop`` their difference,
    ``leaked`` the accuracy of unauthorised models and ``worst`` its worst case, in the cell ``worst_at``. For a
    model-free defense, ``authorised`` is empty, ``kept``, ``clean`` and ``drop`` have no value, and ``leaked`` is the
    accuracy of all models. ``control``: it is a control of the run, with which attackers are tested.
    """

    experiment: str
    defense: str
    goal: Goal
    authorised: str | None
    kind: RowKind
    stands_in_for: str | None
    models: int
    together: int
    kept: Measurement
    clean: Measurement
    drop: Measurement
    leaked: Measurement
    worst: Measurement
    worst_at: CellRow | None
    ssim: Measurement
    psnr: Measurement
    control: bool = False

    @property
    def verdicts(self) -> list[tuple[Bar, Measurement, bool | None]]:
        """Each bar of the goal with its measurement and whether that meets it; empty for no protection and controls,
        and if no model that the goal asks for is authorised, or an adversary recognises in its place."""
        served = self.kind == "authorised" and self.kept.status != "not applicable"
        if self.kind == "clean" or self.control or (self.goal == "recognition" and not served):
            return []
        measured = {bar.of: getattr(self, bar.of) for bar in PURPOSES[self.goal].bars}
        return [(bar, measured[bar.of], bar.met(measured[bar.of])) for bar in PURPOSES[self.goal].bars]

    @property
    def meets_all(self) -> bool:
        """True if every bar is met; a bar without a value is not met."""
        return bool(self.verdicts) and all(met for _, _, met in self.verdicts)


_NO_SERVICE = "here an adversary recognises, with a recogniser of its own, and no authorised service"


def summaries(rows: Rows, matrix: Matrix) -> list[Summary]:
    """Return one summary per defense and authorised set, in the suite's order, references first."""
    cells = rows.of(matrix)
    made = [_summary(rows, own, authorised) for (_, authorised), own in points(cells).items()]
    return sorted(made, key=lambda s: ROW_KINDS.index(s.kind))


def overall(rows: Rows, matrix: Matrix) -> list[Summary]:
    """Return one summary per defense, with its authorised sets pooled, in the suite's order."""
    cells = rows.of(matrix)
    return [
        _summary(rows, [c for c in cells if c.defense == defense], None)
        for defense in dict.fromkeys(c.defense for c in cells)
    ]


def _summary(rows: Rows, cells: Sequence[CellRow], authorised: str | None) -> Summary:
    first = cells[0]
    knows_models = any(c.authorised or c.role == "authorised" for c in cells)
    own = [c for c in cells if c.role == "authorised" and not c.embeds]
    others = [c for c in cells if c.role != "surrogate" and (c.embeds or c.role != "authorised")]
    none = not_applicable(_NO_SERVICE if first.embeds else "this defense knows no model, so none is authorised")
    kept, clean, drop = _utility(rows, own) if knows_models and not first.embeds else (none, none, none)
    worst, worst_at = _worst(rows, others)
    role: Role = "unauthorised" if knows_models else "any"
    return Summary(
        experiment=first.experiment,
        defense=first.defense,
        goal=first.goal,
        authorised=authorised if knows_models else "",
        kind=kind_of(first),
        stands_in_for=distinct(first.authorised_stands_in_for, first.authorised) if authorised else None,
        models=len({c.authorised for c in cells if c.authorised}),
        together=max((len(c.authorised_models) for c in cells), default=0),
        kept=kept,
        clean=clean,
        drop=drop,
        leaked=measure(rows, others, "accuracy", role=role, paper=_paper_mean(rows, others)),
        worst=replace(worst, paper=None),
        worst_at=worst_at,
        ssim=measure(rows, cells, "ssim", role="any"),
        psnr=measure(rows, cells, "psnr", role="any"),
        control=is_control(first),
    )


def _paper_mean(rows: Rows, cells: Sequence[CellRow]) -> float | None:
    """Return the mean of the paper's numbers for these cells; None unless the paper has all of them."""
    papers = [paper_value(rows, c, c.evaluated_stands_in_for) for c in cells]
    known = [p for p in papers if p is not None]
    return sum(known) / len(known) if known and len(known) == len(papers) else None


def _utility(rows: Rows, own: Sequence[CellRow]) -> tuple[Measurement, Measurement, Measurement]:
    """Return the accuracy with protection, without it on the same pairs, and the paired difference of both."""
    kept = measure(rows, own, "accuracy", role="authorised", paper=_paper_mean(rows, own))
    return kept, measure(rows, own, "clean-accuracy", role="any"), measure(rows, own, "accuracy-drop", role="any")


def _worst(rows: Rows, others: Sequence[CellRow]) -> tuple[Measurement, CellRow | None]:
    """Return the highest accuracy of one unauthorised model on one data set, and one of its cells."""
    keys = dict.fromkeys((c.dataset, c.authorised, c.evaluated) for c in others)
    by_key: dict[tuple[str, str, str], list[CellRow]] = {k: [] for k in keys}
    for c in others:
        by_key[c.dataset, c.authorised, c.evaluated].append(c)
    scored = [
        (sum(s.hits().sum() for s in found) / sum(len(s.same) for s in found), cells)
        for cells in by_key.values()
        if (found := list(rows.scores_of(cells)))
    ]
    if not scored:
        status, reason = why_absent(others)
        return absent(status, reason, role="unauthorised"), None
    _, cells = max(scored, key=lambda entry: entry[0])
    return measure(rows, cells, "accuracy", role=cells[0].role), cells[0]


# ---- images ----------------------------------------------------------------------------------------------------------


def baselines(rows: Rows, experiment: str, dataset: str | None = None) -> dict[str, dict[str, Measurement]]:
    """Return SSIM, PSNR and LPIPS of images that show nothing of the face: baseline -> metric -> measurement."""
    if (experiment, dataset) not in rows.baselines:
        table = rows.baselines_of(experiment)
        if dataset is not None and not table.empty:
            table = table[table["dataset"] == dataset]
        rows.baselines[experiment, dataset] = _baselines(table)
    return rows.baselines[experiment, dataset]


def _baselines(table: pd.DataFrame) -> dict[str, dict[str, Measurement]]:
    if table.empty:
        return {}
    people = (table["dataset"].astype(str) + "/" + table["sample_id"].astype(str)).to_numpy(dtype=object)
    return {
        baseline: {m: _baseline(table, people, f"{m}_{baseline}", m) for m in ("ssim", "psnr", "lpips")}
        for baseline in BASELINES
        if f"ssim_{baseline}" in table
    }


def _baseline(table: pd.DataFrame, people: NDArray[Any], column: str, metric: str) -> Measurement:
    values = numbers(table, column)
    if values is None:
        return absent("missing", METRICS[metric].missing)
    found = mean(Pool([SampleScores(values, people)]), share=False)
    low, high = METRICS[metric].within(found.low, found.high)
    return replace(found, low=low, high=high)


def image_table(rows: Rows, matrix: Matrix) -> Table:
    """Build the table of SSIM, PSNR and the metrics of plugins per data set and defense; the last rows of a data set
    are the baselines."""
    cells = rows.of(matrix)
    extras = rows.extras(matrix.experiment)
    metrics = [METRICS["ssim"], METRICS["psnr"], *metrics_of(rows, matrix.experiment).values()]
    columns = [Column(label=m.label, metric=m.toward(cells)) for m in metrics]
    columns += [Column(label=_extra_label(name), metric=extra_metric(name)) for name in extras]
    sets = list(dict.fromkeys(c.dataset for c in cells))
    groups = []
    for dataset in ([None] if len(sets) > 1 else []) + sets:
        chosen = [c for c in cells if dataset in (None, c.dataset)]
        groups.append(
            RowGroup(
                label=dataset or POOLED,
                rows=_image_group(rows, matrix.experiment, dataset, chosen, metrics, extras),
                stands_in_for=distinct(chosen[0].dataset_stands_in_for, dataset) if dataset else None,
                synthetic=any(c.synthetic for c in chosen),
            )
        )
    return Table(
        name="images",
        title="What is left of the picture",
        caption="Similarity of protected images to their originals. Baselines: images that show nothing of the face.",
        columns=columns,
        groups=groups,
        experiment=matrix.experiment,
        source="samples/images, samples/sets and samples/baselines, where experiment, dataset, defense and authorised "
        "are those of the row",
    )


def _image_group(
    rows: Rows,
    experiment: str,
    dataset: str | None,
    cells: Sequence[CellRow],
    metrics: Sequence[SampleMetric],
    extras: Sequence[str],
) -> list[Row]:
    """Return the rows of the defenses and then of the baselines, for one data set or for all (None)."""
    made = []
    for (defense, authorised), own in points(cells).items():
        measurements = [measure(rows, own, metric, role="any") for metric in metrics]
        measurements += [_extra(rows, own, name) for name in extras]
        made.append(row_of(own[0], f"{defense} for {authorised}" if authorised else defense, measurements))
    made.sort(key=lambda r: ROW_KINDS.index(r.kind))
    return made + baseline_rows(
        rows, experiment, dataset, [*(_baseline_of(m) for m in metrics), *(None for _ in extras)]
    )


def _baseline_of(metric: SampleMetric) -> str | None:
    """Return the name of a metric in the rows of baselines; None for a metric of a plugin, which they lack."""
    return metric.name if metric.name in IMAGE_METRICS else None


def baseline_rows(rows: Rows, experiment: str, dataset: str | None, columns: Sequence[str | None]) -> list[Row]:
    """Return the baselines as rows of a table.

    ``columns`` are the metrics of its columns: ``ssim``, ``psnr``, ``lpips``, or None for any other metric.
    """
    blank = not_applicable("of a defense only")
    return [
        Row(label=BASELINES[baseline], kind="baseline", measurements=[values[c] if c else blank for c in columns])
        for baseline, values in baselines(rows, experiment, dataset).items()
    ]


def _extra(rows: Rows, cells: Sequence[CellRow], name: str) -> Measurement:
    found = measure(rows, cells, extra_metric(name), role="any")
    return not_applicable("this defense does not report it") if found.status == "missing" else found


def _extra_label(name: str) -> str:
    """Return the heading of a column that a defense added, such as ``extra_loss_end``."""
    return f"{name.removeprefix('extra_').replace('_', ' ')} (the defense's own)"


def summary_table(rows: Rows, matrix: Matrix) -> Table:
    """Build the summary as a table with one row per defense and authorised set."""
    pictures = [metric.toward(rows.of(matrix)) for metric in (SSIM, PSNR)]
    metrics = (AUTHORISED, CLEAN_ACCURACY, DROP, UNAUTHORISED, WORST, *pictures)
    unstable = {c.defense: unstable_flags(c) for c in rows.of(matrix) if unstable_flags(c)}
    made = []
    for s in summaries(rows, matrix):
        measurements = [s.kept, s.clean, s.drop, s.leaked, s.worst, s.ssim, s.psnr]
        made.append(
            Row(
                label=f"{s.defense} for {s.authorised}" if s.authorised else s.defense,
                kind=s.kind,
                measurements=measurements,
                defense=s.defense,
                authorised=s.authorised or "",
                stands_in_for=s.stands_in_for,
                flags=[*([CONTROL] if s.control else []), *unstable.get(s.defense, ())],
                looks={CONTROL: "safe"},
            )
        )
    sets = list(dict.fromkeys(c.dataset for c in rows.of(matrix)))
    return Table(
        name="summary",
        title="Summary, data sets pooled",
        caption="Accuracy of Equation 10 at the calibrated threshold, pooled over data sets.",
        columns=[Column(label=m.label, metric=m) for m in metrics],
        groups=[RowGroup(label=" + ".join(sets), rows=made, synthetic=any(c.synthetic for c in rows.of(matrix)))],
        experiment=matrix.experiment,
        source="samples/verification and samples/images",
    )
