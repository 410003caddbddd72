"""The section "What was run": facts about the run, about each experiment, and about how its numbers are computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bench.analysis.cells import CellRow
from bench.analysis.measures import METRICS, metric_named
from bench.analysis.plugin_metrics import metrics_of
from bench.analysis.pooling import DRAWS, SEED
from bench.analysis.rows import Rows
from bench.analysis.table_model import distinct
from bench.analysis.tables.attributes import estimated
from bench.analysis.tables.recommendation import Recommendation
from bench.core.people import LEARNT_FROM, TRAINED_ON, may_be_scored
from bench.core.text import duration
from bench.store.run_record import RunCounts, RunRecord


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of text, whose rows are named by their first cell.

    ``numbers`` are the indices of columns with numbers, which are aligned to the right; ``code`` those of columns in a
    monospaced font.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    code: frozenset[int] = frozenset()


# ---- the run ---------------------------------------------------------------------------------------------------------


def facts(rows: Rows) -> list[tuple[str, str]]:
    """Return what was run, as pairs of a name and a text; for several runs only pairs and cells."""
    pairs = sorted({c.pairs for c in rows.cells})
    repeats = len({c.repeat for c in rows.cells})
    size = " or ".join(f"{n:,}" for n in pairs) or "none"
    size_and_cells = [
        ("Pairs", f"{size} per data set, half genuine{f'; up to {repeats} repeats' if repeats > 1 else ''}"),
        ("Cells", _cell_counts(rows)),
    ]
    if len(rows.results.runs) > 1:  # The table of runs at the top of the page has the other facts.
        return size_and_cells
    run = rows.results.run
    counts = run.counts or RunCounts()
    version = f", version {run.suite.version}" if run.suite.version else ""
    ended = "" if run.status == "running" else f"finished {when(run.finished)}"
    return [
        ("Suite", f"{run.suite.name}{version} ({run.suite.path or 'unknown'})"),
        *([("Added with --defense", ", ".join(run.suite.added))] if run.suite.added else []),
        *size_and_cells,
        ("Stages", f"{counts.computed or 0} computed, {counts.cached or 0} from earlier runs"),
        ("Device", machine(run)),
        ("Time", f"{duration(run.seconds)}{'; ' + ended if ended else ' so far'}"),
    ]


def _cell_counts(rows: Rows) -> str:
    """Return the number of cells by status, as text."""
    count = Counter(c.status for c in rows.cells)
    missing = f", {count['queued']} still missing" if count["queued"] else ""
    failed = count["failed"] + count["timeout"]
    return f"{count['ok']} with a result, {count['skipped']} skipped, {failed} failed{missing}"


def machine(run: RunRecord) -> str:
    """Return the device, processor and number of cores that a run was computed on, as text."""
    found = run.machine
    return f"{run.device or 'unknown'}; {found.processor or ''}, {found.cores or '?'} cores"


def when(text: str | None) -> str:
    """Return a recorded time, in ISO format, as text for people; a text that is no time is returned as it is."""
    try:
        return datetime.fromisoformat(text or "").strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return text or "unknown"


def licenses(rows: Rows) -> list[tuple[str, str]]:
    """Return the real data sets of a run, whose faces may be shown, each with its license note."""
    real = {c.dataset for c in rows.cells if not c.synthetic}
    components = rows.results.run.components
    known = {c.label: c.license or "unknown" for c in components if c.kind == "dataset"}
    return [(label, text) for label, text in known.items() if label in real]


def stand_in_models(rows: Rows) -> list[str]:
    """Return the models that were trained on generated faces; an empty list if the run has no real faces."""
    if all(c.synthetic for c in rows.cells):
        return []
    components = rows.results.run.components
    return sorted(c.label for c in components if c.kind == "model" and c.synthetic)


def badges(rows: Rows, *, include_real_faces: bool) -> list[tuple[str, str]]:
    """Return what a reader must know before all else, as pairs of a name and a text; the first stays in view."""
    found = []
    if rows.synthetic:
        whole = all(c.synthetic for c in rows.cells)
        which = "These data are" if whole else "Some of these data are"
        found.append(
            ("Synthetic stand-in", f"{which} computer-generated faces. Nothing here is a claim about real faces.")
        )
    if include_real_faces and (shown := licenses(rows)):
        notes = "; ".join(f"{label}: {text}" for label, text in shown)
        own = "This page shows pictures of data sets that have licenses of their own"
        found.append(("Faces of real people", f"{own}: {notes}. Do not pass it on unless they allow it."))
    if models := stand_in_models(rows):
        words = (
            "learnt from computer-generated faces. What they make of real faces says little about recognition systems."
        )
        found.append(("Stand-in models on real faces", f"{', '.join(models)} {words}"))
    return found


# ---- an experiment ---------------------------------------------------------------------------------------------------


def about(rows: Rows, experiment: str) -> list[tuple[str, str]]:
    """Return what an experiment is, as pairs of a name and a text: its size, what is uploaded, and each threat
    model."""
    cells = [c for c in rows.cells if c.experiment == experiment]
    attacks: dict[str, str] = {}
    for c in cells:
        mark = " (trained on the evaluated identities: leakage)" if c.leaky else ""
        attacks.setdefault(f"{c.attack}{f' via {c.via}' if c.via and c.via not in c.attack else ''}{mark}", c.threat)
    threats: dict[str, list[str]] = {}
    for attack, threat in attacks.items():
        threats.setdefault(threat or "not stated", []).append(attack)
    uploads = ", ".join(dict.fromkeys(c.upload for c in cells))
    pairs = ", ".join(f"{n:,}" for n in sorted({c.pairs for c in cells}))
    kappas = ", ".join(f"{k:g}" for k in dict.fromkeys(c.kappa for c in cells))
    count = len({c.repeat for c in cells})
    repeats = f"; {count} repeats of every defense and attack" if count > 1 else ""
    return [
        ("Experiment", f"{experiment}; {pairs} pairs per data set{repeats}; fixed κ = {kappas}"),
        ("Uploaded", uploads),
        *(("Adversary", f"{', '.join(names)}: {threat}") for threat, names in threats.items()),
        *_overlaps(cells),
    ]


def _overlaps(cells: Sequence[CellRow]) -> list[tuple[str, str]]:
    """Return whether people who are learnt from, and those on whom networks were trained, are scored, as pairs of a
    name and a text with the data sets; nothing where no such people are known or the run did not record it."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for c in cells:
        if c.learner_overlap:
            found.setdefault((LEARNT_FROM.capitalize(), c.learner_overlap), {})[c.dataset] = None
        if c.training_overlap and may_be_scored(c.training_overlap):
            found.setdefault((TRAINED_ON.capitalize(), c.training_overlap), {})[c.dataset] = None
    return [(name, f"{', '.join(datasets)}: {text}") for (name, text), datasets in found.items()]


def subjects(rows: Rows, experiment: str) -> Grid:
    """Return a table of the data sets, models, defenses and attacks of an experiment, with their parameters and what
    they stand in for."""
    cells = [c for c in rows.cells if c.experiment == experiment]
    components = {(c.kind, c.label): c.params for c in rows.results.run.components}
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for c in cells:
        stands_in_for = _stand_in(c.dataset_stands_in_for, c.dataset, c.synthetic)
        found.setdefault(("data set", c.dataset), (stands_in_for, params(components.get(("dataset", c.dataset), {}))))
    for c in cells:
        names = dict(zip(c.authorised_models, c.authorised_models_stand_in_for, strict=False))
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
    """Return what a data set stands in for, as text; a dash if it stands in for nothing."""
    name = distinct(paper, label)
    mark = "synthetic stand-in"
    return (f"{name} ({mark})" if name else mark) if synthetic else name or "–"


def params(found: Mapping[str, Any]) -> str:
    """Return parameters as text in one line."""
    return ", ".join(f"{k} = {v}" for k, v in found.items()) or "–"


# ---- metrics and thresholds ------------------------------------------------------------------------------------------


# Rows of `methods` that are no metrics: name, explanation, and rows.
_FURTHER = [
    [
        "worst case",
        "The highest measurement of a single unauthorised model on a single data set (recognition), or of a single "
        "attack with data sets pooled (reconstruction, attributes). The interval is that of the one measurement; the "
        "highest of several is biased upwards by chance.",
        "those of the metric",
    ],
    [
        "calibrated κ",
        "The threshold of a deployed service, set on clean faces of people who are not scored: the smallest whose "
        "false match rate (FMR, ISO/IEC 19795-1) is at most the requested one (rule fmr), or that of the best balanced "
        "accuracy (rule accuracy). Utility is measured at it.",
        "samples/verification: kappa_calibrated, threshold_rule, fmr, fmr_realised, calibration_impostors, "
        "calibration_people",
    ],
    [
        "adversary's κ",
        "The smallest threshold whose FMR is at most the requested one on impostors as the adversary sees them: "
        "uploads or reconstructions against clean originals of other people. What he ends with shows people of the "
        "calibration split, protected and attacked in the same way (adversary_rule calibration), or scored people "
        "outside of the probe's group (adversary_rule scored). "
        "Leakage is measured at it, beside the share of other people that the same probes match.",
        "samples/verification: kappa_adversary, adversary_rule, adversary_impostors, adversary_people, "
        "adversary_fmr_realised, impostor_match_adversary",
    ],
    [
        "baselines",
        "The same image metrics for pictures that hold nothing of the face; for attributes, the answers permuted over "
        "people (permuted), and beside it the best constant answer on other people's faces (baseline).",
        "samples/baselines; samples/attributes: permuted, baseline",
    ],
    [
        "interval of independent decisions",
        "95 %, for a share of decisions that show every person once (Wilson 1927).",
        "N is the number of pairs",
    ],
    [
        "interval of other averages",
        "95 %, with a variance that is clustered by both people of a pair (Aronow, Samii and Assenova 2015), corrected "
        "for few people (Bell and McCaffrey 2002). Shares: Wilson's interval with the effective number of decisions of "
        "this variance (Korn and Graubard 1998). Other means: a t-interval.",
        "N is the number of decisions (pairs times models) or images; people are counted on both sides of pairs",
    ],
    [
        "repeats",
        "Random defenses are applied, and learners trained, several times with their own seeds (repeats in a suite). "
        "A number is the mean over repeats. Its variance is that between people, whose scores in all repeats are one "
        "cluster, plus s² / R for R repeats whose means have the variance s²; the quantile is the weighted mean of "
        "those of both (Cochran and Cox 1957). Without repeats, an interval holds for the one seed that was used.",
        "cells: repeat; N counts the scores of one repeat",
    ],
    [
        "interval of the worst of several attacks",
        "95 %: from the highest of the lower bounds that hold for all attacks together to the highest of the upper "
        "ends. Bounds of shares are exact (Clopper and Pearson 1934), and how far attacks vary together is known from "
        f"{DRAWS} random weights of people, seed {SEED}.",
        "so it holds although the attack was chosen",
    ],
]


def methods(rows: Rows) -> Grid:
    """Return a table of every metric of the run: its definition, the source of the definition, and the rows that it is
    computed from; followed by thresholds, baselines and intervals."""
    outputs = {c.outputs for c in rows.cells}
    noisy = any(rows.noise_levels(c) for c in rows.cells)
    attributes = estimated(rows, *rows.experiments) if "attributes" in outputs else []
    found = [m for m in METRICS.values() if m.outputs & outputs]
    if not noisy:
        found = [m for m in found if m.table != "up"]
    found += [metric_named(f"similarity:{a}") for a in attributes]
    found += metrics_of(rows).values()
    if not outputs & {"images"}:
        found = [m for m in found if not m.name.startswith("srra")]
    made = [[m.label, m.about, m.source] for m in found]
    return Grid(columns=["number", "how, and where it is from", "rows"], rows=[*made, *_FURTHER], code=frozenset({2}))


def repeats(found: Recommendation) -> str:
    """Return the sentence that says for which seeds of defenses and learners the intervals of a verdict hold."""
    known = [m.repeats for e in found.entries for m in (e.utility, e.leakage) if m.value is not None]
    if not known:
        return ""
    fewest, most = min(r[0] for r in known), max(r[1] for r in known)
    if most == 1:
        return (
            "Every random defense was applied and every learning attack trained with one seed. The intervals contain "
            "the spread between people, and hold for this seed only."
        )
    if fewest > 1:
        return "The intervals contain the spread between repeats (other seeds of defenses and learning attacks)."
    return (
        "Where N names repeats (other seeds of defenses and learning attacks), the interval contains the spread "
        "between them. Every other interval holds for the one seed that was used."
    )
