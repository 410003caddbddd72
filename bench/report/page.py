"""What the page says about the run itself: what was run, how it is counted, what is missing, where it comes from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

import numpy as np

from bench import metrics
from bench.report.figures import distinct, duration, plural
from bench.report.rows import DRAWS, SEED, CellRow, Matrix, Rows

SHOWN_CELLS = 12  # per reason, before "and n more"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A plain table of text. The first cell of a row names it; ``numbers`` are the columns that align right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    code: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Cells without a result that share a status and a reason."""

    status: str
    reason: str
    count: int
    cells: Sequence[str]
    more: int


def facts(rows: Rows) -> list[tuple[str, str]]:
    """The run in a few lines."""
    run = rows.results.run
    counts = run.get("counts") or {}
    machine = run.get("machine") or {}
    suite = run.get("suite") or {}
    pairs = sorted({c.pairs for c in rows.cells})
    repeats = len({c.repeat for c in rows.cells})
    size = " or ".join(f"{n:,}" for n in pairs) or "none"
    return [
        ("Suite", f"{suite.get('name', 'unknown')} ({suite.get('path', 'unknown')})"),
        ("Pairs", f"{size} per data set, half genuine{f'; {repeats} repeats' if repeats > 1 else ''}"),
        ("Cells", _counts(counts)),
        ("Stages", f"{counts.get('computed', 0)} computed, {counts.get('cached', 0)} from earlier runs"),
        (
            "Device",
            f"{run.get('device', 'unknown')}; {machine.get('processor', '')}, {machine.get('cores', '?')} cores",
        ),
        ("Time", f"{duration(run.get('seconds'))}; finished {_when(run.get('finished'))}"),
    ]


def _counts(counts: Mapping[str, Any]) -> str:
    failed = (counts.get("failed") or 0) + (counts.get("timeout") or 0)
    return f"{counts.get('ok', 0)} with a result, {counts.get('skipped', 0)} skipped, {failed} failed"


def _when(text: str | None) -> str:
    try:
        return datetime.fromisoformat(text or "").strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return text or "unknown"


def subjects(rows: Rows, matrix: Matrix) -> Grid:
    """What was compared: data sets, models and defenses of an experiment, with what they stand in for."""
    cells = rows.of(matrix)
    components = {(c["kind"], c["label"]): c for c in rows.results.run.get("components") or []}
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for c in cells:
        found.setdefault(
            ("data set", c.dataset), (_stand_in(c.dataset_stands_in_for, c.dataset, c.synthetic), "dataset")
        )
    for c in cells:
        name = distinct(c.evaluated_stands_in_for, c.evaluated)
        found.setdefault(("model", c.evaluated), (name or "–", "model"))
    for c in cells:
        found.setdefault(("defense", c.defense), ("", "defense"))
    for c in cells:
        found.setdefault(("attack", c.attack), ("", "attack"))
    made = []
    for (kind, label), (stands_in_for, key) in found.items():
        params = (components.get((key, label)) or {}).get("params") or {}
        made.append([label, kind, stands_in_for or "–", _params(params)])
    return Grid(columns=["name", "kind", "in place of", "parameters"], rows=made)


def _stand_in(paper: str | None, label: str, synthetic: bool) -> str:
    name = distinct(paper, label)
    mark = "synthetic stand-in"
    return (f"{name} ({mark})" if name else mark) if synthetic else name or "–"


def _params(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} = {v}" for k, v in params.items()) or "–"


def thresholds(rows: Rows, matrix: Matrix) -> tuple[Grid, str]:
    """The calibrated threshold of every model on every data set, and how it was set."""
    cells = rows.of(matrix)
    models = list(dict.fromkeys(c.evaluated for c in cells))
    made, impostors, rates = [], set(), set()
    for dataset in dict.fromkeys(c.dataset for c in cells):
        line = [dataset]
        for model in models:
            scores = rows.scores_of(c for c in cells if c.dataset == dataset and c.evaluated == model)
            line.append(f"{scores[0].kappa_calibrated[0]:.3f}" if scores and len(scores[0].same) else "–")
            for s in scores[:1]:
                impostors |= set(s.calibration_impostors.tolist())
                rates |= set(s.fmr.tolist())
        made.append(line)
    rate = " or ".join(f"{100 * r:g} %" for r in sorted(rates)) or "the asked rate"
    size = f"{min(impostors):,}" if impostors else "no"
    at_most = f" to {max(impostors):,}" if len(impostors) > 1 else ""
    fixed = ", ".join(f"{k:g}" for k in dict.fromkeys(c.kappa for c in cells))
    about = (
        f"The smallest κ at which at most {rate} of impostor pairs are accepted (FMR), set on {size}{at_most} impostor "
        f"scores of people who are not scored. The paper's fixed κ is {fixed}."
    )
    return Grid(columns=["data set", *models], rows=made, numbers=frozenset(range(1, len(models) + 1))), about


def threats(rows: Rows, matrix: Matrix) -> list[str]:
    """What the adversaries of an experiment know, in the plugin's words."""
    return list(dict.fromkeys(c.threat for c in rows.of(matrix) if c.threat))


# ---- what is missing -------------------------------------------------------------------------------------------------


def gaps(rows: Rows) -> list[Gap]:
    """Cells without a result, by status and reason; failures first."""
    found: dict[tuple[str, str], list[CellRow]] = {}
    for cell in rows.cells:
        if cell.status != "ok":
            found.setdefault((cell.status, cell.reason or "no reason was recorded"), []).append(cell)
    made = [
        Gap(
            status=status,
            reason=reason,
            count=len(cells),
            cells=[_question(c) for c in cells[:SHOWN_CELLS]],
            more=max(0, len(cells) - SHOWN_CELLS),
        )
        for (status, reason), cells in found.items()
    ]
    return sorted(made, key=lambda g: (g.status == "skipped", -g.count))


def _question(cell: CellRow) -> str:
    aim = f" for {cell.authorised}" if cell.authorised else ""
    repeat = f", repeat {cell.repeat}" if cell.repeat else ""
    return f"{cell.defense}{aim}, evaluated by {cell.evaluated} on {cell.dataset}{repeat}"


# ---- how it is counted -----------------------------------------------------------------------------------------------


_VERIFICATION = "samples/verification.parquet, by cell"
_IMAGES = "samples/images.parquet, by experiment, dataset, defense, authorised"
_METHODS = [
    [
        "accuracy",
        "Share of pairs for which the protected face x̃₁ still matches its original, cos(f(x̃₁), f(x₁)) > κ, and the "
        "decision against x₂ is right, (cos(f(x̃₁), f(x₂)) > κ) = (same person). Only x₁ is protected.",
        "paper, Equation 10",
        f"{_VERIFICATION}: cos_self, cos_cross, same, kappa_calibrated",
    ],
    [
        "unprotected accuracy",
        "The same with x₁ in place of x̃₁, on the same pairs. The drop is the mean of the paired differences.",
        "paper, Table VII, rows Clean",
        f"{_VERIFICATION}: cos_clean, same, kappa_calibrated",
    ],
    [
        "worst case",
        "The highest accuracy of a single unauthorised model on a single data set; the interval is that of the "
        "one figure.",
        "this project",
        f"{_VERIFICATION}, role = unauthorised in cells.parquet",
    ],
    [
        "calibrated κ",
        "The smallest threshold whose false match rate on impostors of other people is at most the asked FMR.",
        "ISO/IEC 19795-1",
        f"{_VERIFICATION}: kappa_calibrated, fmr, calibration_impostors",
    ],
    [
        "10-fold accuracy",
        "Right decisions when each fold is decided at the threshold that is best on the others; embeddings are "
        "summed with those of the mirrored image.",
        "Huang et al. 2007 (LFW, view 2)",
        f"{_VERIFICATION}: flip_cross, flip_clean, same, fold",
    ],
    ["SSIM", f"{metrics.SSIM_VARIANT}.", "Wang et al. 2004", f"{_IMAGES}: ssim"],
    [
        "PSNR",
        "10 log₁₀(255² / mean squared error); infinite values are counted, never averaged.",
        "–",
        f"{_IMAGES}: psnr",
    ],
    [
        "floors",
        "The same image metrics for pictures that hold nothing of the face.",
        "this project",
        "samples/floors.parquet, by experiment, dataset",
    ],
    [
        "interval of a cell",
        "95 %, for a share of independent decisions.",
        "Wilson 1927",
        "N is the number of pairs",
    ],
    [
        "interval of an average",
        f"95 %, percentile bootstrap over the people whose faces were protected, {DRAWS} draws, seed {SEED}. Where "
        "all decisions agree: Wilson's interval with as many trials as people.",
        "Field and Welsh 2007",
        "N is the number of decisions (pairs times models)",
    ],
]


def methods() -> Grid:
    """Each number: what it is, where its definition is from, and which rows it is recomputed from."""
    return Grid(columns=["number", "how", "source", "rows"], rows=_METHODS, code=frozenset({3}))


# ---- where it comes from ---------------------------------------------------------------------------------------------


def place(rows: Rows) -> str:
    """The run folder, as written below the folder of results."""
    return str(PurePath(*rows.results.folder.parts[-3:]))


def commands(rows: Rows) -> list[tuple[str, str]]:
    """The commands that make the run, this page and the table again."""
    run = rows.results.run
    folder = place(rows)
    return [
        ("Compute the rows", shlex.join(str(a) for a in run.get("command") or [])),
        ("Make this page from the rows", f"bench report {shlex.quote(folder)}"),
        ("Print a table", f"bench export {shlex.quote(folder)} --table VII --format csv"),
    ]


def identity(rows: Rows) -> list[tuple[str, str]]:
    """What identifies the run."""
    run = rows.results.run
    suite, machine = run.get("suite") or {}, run.get("machine") or {}
    seed = ((suite.get("raw") or {}).get("suite") or {}).get("seed", 0)
    versions = ", ".join(f"{k} {v}" for k, v in (run.get("versions") or {}).items())
    return [
        ("Rows", place(rows)),
        ("Commit", run.get("commit") or "not run from a checkout"),
        ("Plan digest", run.get("digest") or "unknown"),
        ("Suite file, sha256", suite.get("sha256") or "unknown"),
        ("Seed", str(seed)),
        ("Started", _when(run.get("started"))),
        ("Finished", _when(run.get("finished"))),
        ("Versions", versions or "unknown"),
        ("Python", str(machine.get("python", "unknown"))),
        ("Platform", str(machine.get("platform", "unknown"))),
        ("Processor", f"{machine.get('processor', 'unknown')}, {machine.get('cores', '?')} cores"),
    ]


def components(rows: Rows) -> Grid:
    """Every plugin component with the digests of its code and of its weights or data."""
    made = []
    for c in rows.results.run.get("components") or []:
        origin = c.get("origin") or {}
        package = f"{origin.get('distribution', '?')} {origin.get('version', '')}".strip()
        digests = [str(origin.get("digest") or "–")[:16], str(c.get("weights") or "–")[:16]]
        made.append([str(c.get("label")), str(c.get("kind")), str(c.get("name")), package, *digests])
    columns = ["name", "kind", "plugin", "distribution", "code, sha256", "weights or data"]
    return Grid(columns=columns, rows=made, code=frozenset({4, 5}))


def plugins(rows: Rows) -> list[str]:
    """Plugins that could not be used, with the reason."""
    found = rows.results.run.get("plugins") or []
    return [f"{p.get('name')} ({p.get('distribution')}): {p['reason']}" for p in found if p.get("reason")]


def stages(rows: Rows) -> Grid:
    """Every stage of the run."""
    made = []
    for s in rows.results.run.get("stages") or []:
        status = str(s.get("status"))
        made.append(
            [
                str(s.get("name")),
                str(s.get("kind")),
                status if status != "ok" else "cached" if s.get("cached") else "computed",
                duration(s.get("seconds")),
                f"{float(s.get('peak_mb') or 0):,.0f}",
                str(s.get("device")),
                str(s.get("seed")),
                str(s.get("key"))[:12],
            ]
        )
    columns = ["stage", "kind", "status", "time", "peak MB", "device", "seed", "key"]
    return Grid(columns=columns, rows=made, numbers=frozenset({3, 4}), code=frozenset({6, 7}))


def totals(rows: Rows) -> str:
    """How many stages there are and what they cost when they were computed."""
    found = rows.results.run.get("stages") or []
    seconds = float(np.sum([float(s.get("seconds") or 0) for s in found]))
    return f"{plural(len(found), 'stage')}, {duration(seconds)} of computing when they were made"
