"""What the page says about how its numbers are counted."""

from __future__ import annotations

from bench.report.measures import MEASURES, measure_named
from bench.report.page.facts import Grid
from bench.report.pooling import DRAWS, SEED
from bench.report.rows import Rows
from bench.report.tables.attributes import estimated

_FURTHER = [
    [
        "worst case",
        "The highest figure of a single unauthorised model on a single data set (recognition), or of a single attack "
        "with data sets pooled (reconstruction, attributes). The interval is that of the one figure; the highest of "
        "several is biased upwards by chance.",
        "those of the measure",
    ],
    [
        "calibrated κ",
        "The smallest threshold whose false match rate on impostors of other people is at most the asked FMR "
        "(ISO/IEC 19795-1).",
        "samples/verification: kappa_calibrated, fmr, calibration_impostors",
    ],
    [
        "floors",
        "The same image metrics for pictures that hold nothing of the face; for attributes, what a constant answer "
        "(the mean over other people's faces) scores.",
        "samples/floors; samples/attributes: floor",
    ],
    [
        "interval of a cell",
        "95 %, for a share of independent decisions (Wilson 1927).",
        "N is the number of pairs",
    ],
    [
        "interval of an average",
        f"95 %, percentile bootstrap over the people whose faces were protected, {DRAWS} draws, seed {SEED} (Field and "
        "Welsh 2007). Where all decisions agree: Wilson's interval with as many trials as people.",
        "N is the number of decisions (pairs times models) or images",
    ],
]


def methods(rows: Rows) -> Grid:
    """Each number that this run can have: what it is, where its definition is from, which rows it is computed from."""
    outputs = {c.outputs for c in rows.cells}
    noisy = any(rows.noise_levels(c) for c in rows.cells)
    attributes = estimated(rows, *rows.experiments) if "attributes" in outputs else []
    found = [m for m in MEASURES.values() if m.outputs & outputs]
    if not noisy:
        found = [m for m in found if "samples/up" not in m.source]
    found += [measure_named(f"similarity:{a}") for a in attributes]
    if not outputs & {"images"}:
        found = [m for m in found if not m.name.startswith("srra")]
    made = [[m.quantity.name, m.about, m.source] for m in found]
    return Grid(columns=["number", "how, and where it is from", "rows"], rows=[*made, *_FURTHER], code=frozenset({2}))


def thresholds(rows: Rows) -> tuple[Grid, str]:
    """The calibrated threshold of every model on every data set, and how it was set; empty where no pair was scored."""
    several = len(rows.results.runs) > 1
    values: dict[tuple[str, str, str], dict[str, str]] = {}
    impostors, rates = set(), set()
    for c in rows.cells:
        found = rows.scores.threshold(c.cell)
        if found is not None:
            rate = f"{100 * found.fmr:g} %"
            values.setdefault((c.dataset, rate, c.run), {})[c.evaluated] = f"{found.kappa:.3f}"
            impostors.add(found.impostors)
            rates.add(rate)
    models = list(dict.fromkeys(c.evaluated for c in rows.cells if any(c.evaluated in v for v in values.values())))
    made = []
    for (dataset, rate, run), known in values.items():
        label = [dataset, *([rate] if len(rates) > 1 else []), *([run] if several else [])]
        made.append([", ".join(label), *(known.get(m, "–") for m in models)])
    size = f"{min(impostors):,}" if impostors else "no"
    at_most = f" to {max(impostors):,}" if len(impostors) > 1 else ""
    about = (
        f"The smallest κ at which at most {' or '.join(sorted(rates)) or 'the asked rate'} of impostor pairs are "
        f"accepted (FMR), set on {size}{at_most} impostor scores of people who are not scored."
    )
    return Grid(columns=["data set", *models], rows=made, numbers=frozenset(range(1, len(models) + 1))), about
