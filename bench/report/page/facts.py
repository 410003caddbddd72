"""What the page says about the run itself: what was run, how it is counted, where it comes from."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

import numpy as np

from bench.report.figures import distinct, duration, plural
from bench.report.measures import MEASURES, measure_named
from bench.report.pooling import DRAWS, SEED
from bench.report.rows import Rows
from bench.report.tables.attributes import estimated
from bench.store import Results


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A plain table of text. The first cell of a row names it; ``numbers`` are the columns that align right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    code: frozenset[int] = frozenset()


def facts(rows: Rows) -> list[tuple[str, str]]:
    """The run in a few lines."""
    pairs = sorted({c.pairs for c in rows.cells})
    repeats = len({c.repeat for c in rows.cells})
    size = " or ".join(f"{n:,}" for n in pairs) or "none"
    asked = [
        ("Pairs", f"{size} per data set, half genuine{f'; {repeats} repeats' if repeats > 1 else ''}"),
        ("Cells", _counts(rows)),
    ]
    if len(rows.results.runs) > 1:  # what else there is to say is said of each
        return asked
    run = rows.results.run
    suite, counts = run.get("suite") or {}, run.get("counts") or {}
    ended = "" if run.get("status") == "running" else f"finished {when(run.get('finished'))}"
    return [
        ("Suite", f"{suite.get('name', 'unknown')} ({suite.get('path', 'unknown')})"),
        *asked,
        ("Stages", f"{counts.get('computed', 0)} computed, {counts.get('cached', 0)} from earlier runs"),
        ("Device", machine(run)),
        ("Time", f"{duration(run.get('seconds'))}{'; ' + ended if ended else ' so far'}"),
    ]


def machine(run: Mapping[str, Any]) -> str:
    """What a run was computed on."""
    found = run.get("machine") or {}
    return f"{run.get('device', 'unknown')}; {found.get('processor', '')}, {found.get('cores', '?')} cores"


def _counts(rows: Rows) -> str:
    count = Counter(c.status for c in rows.cells)
    missing = f", {count['queued']} still missing" if count["queued"] else ""
    failed = count["failed"] + count["timeout"]
    return f"{count['ok']} with a result, {count['skipped']} skipped, {failed} failed{missing}"


def when(text: str | None) -> str:
    """A recorded time, as it is read."""
    try:
        return datetime.fromisoformat(text or "").strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return text or "unknown"


def about(rows: Rows, experiment: str) -> list[tuple[str, str]]:
    """What an experiment is, in a few lines: what is uploaded, who attacks it knowing what, on how much."""
    cells = [c for c in rows.cells if c.experiment == experiment]
    attacks: dict[str, str] = {}
    for c in cells:
        mark = " (trained on the evaluated identities: leakage)" if c.leaky else ""
        attacks.setdefault(f"{c.attack}{f' via {c.via}' if c.via and c.via not in c.attack else ''}{mark}", c.threat)
    threats: dict[str, list[str]] = {}
    for attack, threat in attacks.items():
        threats.setdefault(threat or "not said", []).append(attack)
    uploads = ", ".join(dict.fromkeys(c.upload for c in cells))
    pairs = ", ".join(f"{n:,}" for n in sorted({c.pairs for c in cells}))
    kappas = ", ".join(f"{k:g}" for k in dict.fromkeys(c.kappa for c in cells))
    return [
        ("Experiment", f"{experiment}; {pairs} pairs per data set; fixed κ = {kappas}"),
        ("Uploaded", uploads),
        *(("Adversary", f"{', '.join(names)}: {threat}") for threat, names in threats.items()),
    ]


def licenses(rows: Rows) -> list[tuple[str, str]]:
    """The data sets whose real faces may be shown, each with its license note."""
    real = {c.dataset for c in rows.cells if not c.synthetic}
    components = rows.results.run.get("components") or []
    known = {c["label"]: c.get("license") or "unknown" for c in components if c["kind"] == "dataset"}
    return [(label, text) for label, text in known.items() if label in real]


def stand_in_models(rows: Rows) -> list[str]:
    """The models that learnt from generated faces, where they meet real ones."""
    if all(c.synthetic for c in rows.cells):
        return []
    components = rows.results.run.get("components") or []
    return sorted(c["label"] for c in components if c["kind"] == "model" and c.get("synthetic"))


def subjects(rows: Rows, experiment: str) -> Grid:
    """What was compared: data sets, models, defenses and attacks of an experiment, with what they stand in for."""
    cells = [c for c in rows.cells if c.experiment == experiment]
    components = {(c["kind"], c["label"]): c.get("params") or {} for c in rows.results.run.get("components") or []}
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for c in cells:
        stands_in_for = _stand_in(c.dataset_stands_in_for, c.dataset, c.synthetic)
        found.setdefault(("data set", c.dataset), (stands_in_for, params(components.get(("dataset", c.dataset), {}))))
    for c in cells:
        names = dict(zip(c.authorised.split("+"), c.authorised_stands_in_for.split("+"), strict=False))
        for model, paper in {**names, c.evaluated: c.evaluated_stands_in_for}.items():
            if model:
                shown = params(components.get(("model", model), {}))
                found.setdefault(("model", model), (distinct(paper, model) or "–", shown))
    for c in cells:
        found.setdefault(("defense", c.defense), ("–", params(c.params)))
    for c in cells:
        found.setdefault(("attack", c.attack), ("–", params(c.attack_params)))
    made = [[label, kind, *about] for (kind, label), about in found.items()]
    return Grid(columns=["name", "kind", "in place of", "parameters"], rows=made)


def _stand_in(paper: str | None, label: str, synthetic: bool) -> str:
    name = distinct(paper, label)
    mark = "synthetic stand-in"
    return (f"{name} ({mark})" if name else mark) if synthetic else name or "–"


def params(found: Mapping[str, Any]) -> str:
    """Parameters in one line."""
    return ", ".join(f"{k} = {v}" for k, v in found.items()) or "–"


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


# ---- how it is counted -----------------------------------------------------------------------------------------------


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
    attributes = (
        dict.fromkeys(a for e in rows.experiments for a in estimated(rows, e)) if "attributes" in outputs else {}
    )
    found = [m for m in MEASURES.values() if m.outputs & outputs]
    if not noisy:
        found = [m for m in found if "samples/up" not in m.source]
    found += [measure_named(f"similarity:{a}") for a in attributes]
    if not outputs & {"images"}:
        found = [m for m in found if not m.name.startswith("srra")]
    made = [[m.quantity.name, m.about, m.source] for m in found]
    return Grid(columns=["number", "how, and where it is from", "rows"], rows=[*made, *_FURTHER], code=frozenset({2}))


# ---- where it comes from ---------------------------------------------------------------------------------------------


def place(results: Results) -> str:
    """The run folder, as written below the folder of results."""
    return str(PurePath(*results.folder.parts[-3:]))


def commands(rows: Rows, tables: Sequence[str], claims: bool) -> list[tuple[str, str]]:
    """The commands that make the runs, this page and its tables again."""
    runs = rows.results.runs
    several = len(runs) > 1
    folders = [shlex.quote(place(run)) for run in runs]
    of = [f" of {name}" if several else "" for name in rows.results.names]
    found = [
        (f"Compute the rows{which}", shlex.join(str(a) for a in run.run.get("command") or []))
        for run, which in zip(runs, of, strict=True)
    ]
    found.append(("Make this page from the rows", f"bench report {' '.join(folders)}"))
    if claims:
        found += [
            (f"Hold the claims{which} against the rows", f"bench claims {folder}")
            for folder, which in zip(folders, of, strict=True)
        ]
    return [
        *found,
        *(
            (f"Print table {name}", f"bench export {' '.join(folders)} --table {name} --format csv")
            for name in dict.fromkeys(tables)
        ),
    ]


def identities(rows: Rows) -> list[tuple[str, list[tuple[str, str]]]]:
    """What identifies each run, by the run's name."""
    return [(name, identity(run)) for name, run in zip(rows.results.names, rows.results.runs, strict=True)]


def identity(results: Results) -> list[tuple[str, str]]:
    """What identifies a run."""
    run = results.run
    suite, machine = run.get("suite") or {}, run.get("machine") or {}
    seed = ((suite.get("raw") or {}).get("suite") or {}).get("seed", 0)
    versions = ", ".join(f"{k} {v}" for k, v in (run.get("versions") or {}).items())
    return [
        ("Rows", place(results)),
        ("Commit", run.get("commit") or "not run from a checkout"),
        ("Plan digest", run.get("digest") or "unknown"),
        ("Suite file, sha256", suite.get("sha256") or "unknown"),
        ("Seed", str(seed)),
        ("Started", when(run.get("started"))),
        ("Finished", when(run.get("finished"))),
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
        run = [str(c["run"])] if "run" in c else []
        made.append([str(c.get("label")), str(c.get("kind")), str(c.get("name")), package, *digests, *run])
    run = ["run"] if len(rows.results.runs) > 1 else []
    columns = ["name", "kind", "plugin", "distribution", "code, sha256", "weights or data", *run]
    return Grid(columns=columns, rows=made, code=frozenset({4, 5}))


def plugins(rows: Rows) -> list[str]:
    """Plugins that could not be used, with the reason."""
    found = rows.results.run.get("plugins") or []
    return [f"{p.get('name')} ({p.get('distribution')}): {p['reason']}" for p in found if p.get("reason")]


def stages(rows: Rows) -> Grid:
    """Every stage of the run."""
    made = []
    for s in rows.results.stages:
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
                *([str(s["run"])] if "run" in s else []),
            ]
        )
    run = ["run"] if len(rows.results.runs) > 1 else []
    columns = ["stage", "kind", "status", "time", "peak MB", "device", "seed", "key", *run]
    return Grid(columns=columns, rows=made, numbers=frozenset({3, 4}), code=frozenset({6, 7}))


def totals(rows: Rows) -> str:
    """How many stages there are and what they cost when they were computed."""
    found = rows.results.stages
    seconds = float(np.sum([float(s.get("seconds") or 0) for s in found]))
    return f"{plural(len(found), 'stage')}, {duration(seconds)} of computing when they were made"
