"""The pages of data sets, of recognisers and of runs: facts, digests and calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.analysis.cells import CellRow
from bench.analysis.measures import measure, metric_named
from bench.analysis.table_model import Measurement
from bench.analysis.tables.questions import PRIMARY, is_upload
from bench.analysis.threshold_words import percent, rule_of
from bench.core.text import joined_labels, plural
from bench.report.page import provenance
from bench.report.page.judges import judged_models
from bench.report.page.provenance import Step
from bench.report.page.run_facts import Grid, params
from bench.report.site.defense_page import MISSING
from bench.report.site.links import Content
from bench.report.site.sources import Source
from bench.store.run_record import ComponentRecord

Facts = list[tuple[str, str]]
ACCURACY = metric_named(PRIMARY["reference"])


@dataclass(frozen=True, kw_only=True)
class CleanRecognition:
    """How a recogniser does on clean pairs of a data set: its accuracy, and the threshold of a service with the false
    match rate (FMR) that it realises."""

    dataset: str
    dataset_page: str
    judge: str
    judge_page: str
    source: Source
    accuracy: Measurement
    threshold: str
    rate: str
    basis: str


@dataclass(frozen=True, kw_only=True)
class FactsPage:
    """The page of a data set or a recogniser."""

    name: str
    path: str
    synthetic: bool
    facts: Facts
    calibrations: Sequence[CleanRecognition]
    sources: Sequence[Source]
    notes: Sequence[str] = ()
    metric = ACCURACY


@dataclass(frozen=True, kw_only=True)
class RunPage:
    """The page of a run: what identifies it, how to make it again, and the digests of all its components."""

    source: Source
    path: str
    facts: Facts
    steps: Sequence[Step]
    components: Grid
    notes: Sequence[tuple[str, str]]


# ---- data sets and recognisers ---------------------------------------------------------------------------------------


def dataset_pages(content: Content, calibrations: Sequence[CleanRecognition]) -> list[FactsPage]:
    """Return the page of each data set of all runs."""
    made = []
    for found in content.components("dataset").values():
        component, path = found[0][1], content.page_of_component("data", found[0][1])
        made.append(
            FactsPage(
                name=component.label,
                path=path,
                synthetic=component.synthetic,
                facts=[*_common(component), *_of_dataset(found)],
                calibrations=[c for c in calibrations if c.dataset_page == path],
                sources=[source for source, _ in found],
                notes=list(dict.fromkeys(note for _, c in found for note in c.notes)),
            )
        )
    return made


def judge_pages(content: Content, calibrations: Sequence[CleanRecognition]) -> list[FactsPage]:
    """Return the page of each recogniser of all runs."""
    made = []
    for found in content.components("model").values():
        source, component = found[0]
        path = content.page_of_component("judge", component)
        made.append(
            FactsPage(
                name=component.label,
                path=path,
                synthetic=component.synthetic,
                facts=[*_common(component), *_of_judge(source, component)],
                calibrations=[c for c in calibrations if c.judge_page == path],
                sources=[own for own, _ in found],
                notes=list(dict.fromkeys(note for _, c in found for note in c.notes)),
            )
        )
    return made


def _common(component: ComponentRecord) -> Facts:
    origin = component.origin
    found = [
        ("Plugin", f"{component.name}, {origin.distribution} {origin.version}".strip()),
        ("Parameters", params(component.params)),
        ("License", component.license or MISSING),
        ("Code, sha256", origin.digest or MISSING),
        ("Data or weights, sha256", component.weights or "none"),
    ]
    if component.instead_of:
        found.append(("In place of", f"{component.instead_of}{f': {component.because}' if component.because else ''}"))
    return found


def _of_dataset(found: Sequence[tuple[Source, ComponentRecord]]) -> Facts:
    source, component = found[0]
    cells = [c for c in source.rows.cells if c.dataset == component.label]
    pairs = sorted({c.pairs for c in cells})
    about = [("Faces", "generated; nobody is shown" if component.synthetic else "of real people")]
    if pairs:
        about.append(("Pairs", " or ".join(f"{n:,}" for n in pairs) + ", half genuine"))
        about.append(("Experiments", joined_labels(dict.fromkeys(c.experiment for c in cells))))
    else:
        about.append(("Role", "further people, from whom attackers learn"))
    for name, value in (component.source or {}).items():
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            about.append((f"Source: {name}", f"{value:,}" if isinstance(value, int) else value))
    return about


def _of_judge(source: Source, component: ComponentRecord) -> Facts:
    declared = component.model
    judged = judged_models(source.rows).get(component.label)
    roles = dict.fromkeys(
        role
        for c in source.rows.cells
        for role, there in (
            ("authorised model", component.label in c.authorised_models),
            ("surrogate", component.label in c.surrogates),
        )
        if there
    )
    found = [("Role", ", ".join([*roles, *(["held-out recogniser"] if judged else [])]) or "recogniser")]
    if judged:
        found.append(("Judges uploads for", joined_labels(judged)))
    for name, text in (
        ("Architecture", declared and declared.architecture),
        ("Kind of loss", declared and declared.loss_kind),
        ("Training pictures", declared and declared.trained_on),
        ("People in them", declared and declared.trained_on_people),
    ):
        found.append((name, text or MISSING))
    return found


def calibrations_of(content: Content) -> Iterator[CleanRecognition]:
    """Yield how each recogniser does on clean pairs of each data set, in each run."""
    for source in content.sources:
        points: dict[tuple[str, str], list[CellRow]] = {}
        for c in source.rows.cells:
            if c.clean and c.evaluated and is_upload(c):
                points.setdefault((c.dataset, c.evaluated), []).append(c)
        for (dataset, judge), cells in points.items():
            yield _calibration(content, source, dataset, judge, cells)


def _calibration(
    content: Content, source: Source, dataset: str, judge: str, cells: Sequence[CellRow]
) -> CleanRecognition:
    threshold = next((t for c in cells if (t := source.rows.scores.threshold(c.cell)) is not None), None)
    of_data, of_judge = source.run.component("dataset", dataset), source.run.component("model", judge)
    people = f" of {threshold.people:,} people" if threshold and threshold.people is not None else ""
    return CleanRecognition(
        dataset=dataset,
        dataset_page=content.page_of_component("data", of_data) if of_data else "",
        judge=judge,
        judge_page=content.page_of_component("judge", of_judge) if of_judge else "",
        source=source,
        accuracy=measure(source.rows, cells, ACCURACY),
        threshold=f"{threshold.kappa:.3f}" if threshold else MISSING,
        rate=percent(threshold.realised) if threshold and threshold.realised is not None else MISSING,
        basis=f"{rule_of(threshold)}; {threshold.impostors:,} impostor scores{people}" if threshold else "",
    )


# ---- runs ------------------------------------------------------------------------------------------------------------


def run_pages(content: Content) -> list[RunPage]:
    """Return the page of each run."""
    return [
        RunPage(
            source=source,
            path=content.page_of_source(source),
            facts=[*_of_source(source), *provenance.identity(source.results)],
            steps=provenance.steps(source.results),
            components=provenance.components(source.rows),
            notes=provenance.notes(source.rows),
        )
        for source in content.sources
    ]


def _of_source(source: Source) -> Facts:
    kinds = {
        "run": "a run folder of whoever made this site",
        "reference": "the reference run, which comes with bench",
        "bundle": "a bundle, by whoever made it",
    }
    found = [("From", kinds[source.kind])]
    if source.kind == "bundle":
        found += [("Bundle, sha256", source.sha256), ("Verified", verification_in_words(source))]
    counts = source.results.cells["status"].value_counts().to_dict()
    found.append(("Cells", ", ".join(f"{number} {status}" for status, number in counts.items()) or "none"))
    found.append(("Status", source.run.status))
    return found


def verification_in_words(source: Source) -> str:
    """Return what the record of verification beside a bundle says, as text."""
    known = source.verification
    if known is None:
        return "no: no record of bench verify lies beside it"
    cells = f"{len(known.cells)} of {plural(known.recomputable, 'cell')} recomputed"
    agreed = f"{cells} on {known.date} with bench {known.bench}"
    if known.ok:
        return f"yes: {agreed}; all that is compared agrees, {known.agreement}"
    problems = [*known.differences, *known.unchecked]
    return f"no: {agreed}; {'; '.join(problems[:5]) or 'it does not agree'}"
