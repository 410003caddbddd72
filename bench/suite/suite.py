"""A suite file becomes a `Suite`, whose plugins and parameters are all resolved. No torch.

`read` checks the tables of the file. `resolve` then makes two passes: `bench.suite.expand` writes out every reference
to a component, and `bench.suite.resolve` makes a component of each; what an experiment combines is checked at the end.
Every mistake is a `SuiteError` that names the TOML path, what was expected, what was found and what to do.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bench.api.datasets import Dataset
from bench.api.hookspecs import Attack
from bench.api.search_paths import use_suite_folder
from bench.core.content_keys import digest_of
from bench.core.domain import Component, StageKind
from bench.core.errors import BenchError, SuiteError
from bench.core.parsing import decode_text, parse_toml
from bench.core.provenance import file_sha256
from bench.core.text import spelling
from bench.core.whole_files import LARGEST_SUITE, read_whole
from bench.metrics.vocabulary import IMAGE_METRICS, METRIC_NAMES
from bench.registry.discovery import Registry
from bench.store.reference import defense_tables, find_reference
from bench.store.run_record import RunRecord, SuiteRecord
from bench.suite.added_defenses import AddedDefense, add_defenses, check_defenses, parse_defenses
from bench.suite.bundled import check_standard
from bench.suite.claim_check import axes_of, check_claims, metrics_of
from bench.suite.claims import ClaimTable
from bench.suite.defaults import write_defaults
from bench.suite.expand import ExpandedExperiment, FullReference, expand
from bench.suite.from_reference import leave_out, require_own_labels, same_questions, take_over
from bench.suite.limits import by_kind
from bench.suite.overrides import override
from bench.suite.paper_tables import published, read_claims
from bench.suite.questions_of import require_no_questions_of, write_questions
from bench.suite.resolve import Resolver
from bench.suite.tables import ExperimentTable, SuiteFile, TrainTable, explain
from bench.suite.version import mark_changes


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment whose axes are resolved to components.

    The fields are those of `bench.suite.tables.ExperimentTable`, but ``claims`` is the CSV text of the paper's
    published numbers, or None.
    """

    name: str
    table: str | None
    figures: tuple[str, ...]
    datasets: tuple[Component, ...]
    authorised: tuple[tuple[Component, ...], ...]
    surrogates: tuple[Component, ...]
    defenses: tuple[Component, ...]
    attacks: tuple[Component, ...]
    evaluated: tuple[Component, ...]
    protects: Literal["auto", "probe", "gallery", "both"]
    pairs: int
    repeats: int
    kappa: float
    fmr: float
    threshold: Literal["fmr", "accuracy"]
    adversary_threshold: Literal["scored", "calibration"]
    adversary_people: int
    upload: Literal["images", "features"]
    split: str
    auxiliary: Component | None
    noise_levels: tuple[float, ...]
    claims: str | None
    metrics: tuple[Component, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A resolved suite. ``raw`` is the TOML as run, after ``--set``; ``sha256`` is that of the file.

    The tables ``train`` are not resolved here; `bench.runs.train` does that. ``stage_timeout_s`` and
    ``stage_memory_mb`` have an entry for each kind of stage that has a limit. ``added`` are the labels of the defenses
    that the command line added to its file.
    """

    path: Path
    name: str
    version: str | None
    title: str
    description: str
    seed: int
    stage_timeout_s: Mapping[StageKind, float]
    stage_memory_mb: Mapping[StageKind, float]
    deterministic: bool
    check_defenses: bool
    check_attacks: bool
    experiments: tuple[Experiment, ...]
    train: tuple[TrainTable, ...]
    claims: tuple[ClaimTable, ...]
    raw: Mapping[str, Any]
    sha256: str
    added: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SuiteSource:
    """The checked tables of a suite, with nothing resolved; the other fields are those of `Suite`.

    ``relocated`` returns an error message with the place of ``[defaults]``, if the value comes from there.
    """

    path: Path
    tables: SuiteFile
    raw: Mapping[str, Any]
    sha256: str
    added: tuple[str, ...] = ()
    relocated: Callable[[str], str] = str


# ---- from a file or a record to tables -------------------------------------------------------------------------------


def read(
    path: Path,
    overrides: Sequence[str] = (),
    pairs: int | None = None,
    defenses: Sequence[AddedDefense] = (),
    *,
    recompute: bool = False,
) -> SuiteSource:
    """Read a suite file, apply ``path=value`` overrides, add ``defenses``, and check its tables and claims.

    A claim may be about something that an override removed from the suite; it is not measured then. ``pairs``
    (``--pairs``) is only looked at to mark the version of a suite that it changes. With ``defenses``, and in a suite
    that takes its questions from another one, defenses of the suite are left out if its reference run has them;
    ``recompute``: instead, all of the reference run are added.
    """
    try:
        text = decode_text(read_whole(path, LARGEST_SUITE), "a suite file")
    except FileNotFoundError:
        raise SuiteError(f"{path}: expected a suite file, found nothing there.{_suites_nearby(path)}") from None
    except IsADirectoryError:
        raise SuiteError(f"{path}: expected a suite file, found a folder.{_suites_nearby(path / 'x')}") from None
    except OSError as error:
        raise SuiteError(f"{path}: expected a suite file, found one that cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SuiteError(f"{path}: {error}") from None
    try:
        raw = parse_toml(text)
    except ValueError as error:
        raise SuiteError(f"{path}: not valid TOML: {error}") from None
    try:
        asks_anothers = write_questions(raw)
    except SuiteError as error:
        raise SuiteError(f"{path}: {error}") from None
    written, added = copy.deepcopy(raw), tuple[str, ...]()
    inherited = _apply(raw, overrides, path)
    with contextlib.suppress(SuiteError):  # The file alone was wrong; what is run is checked below.
        write_defaults(written)
    mark_changes(raw, written, pairs)
    try:
        tables = SuiteFile.model_validate(raw)
        require_no_questions_of(raw)
        check_standard(tables.suite.standard)
        if defenses or recompute or asks_anothers:
            added = _change_defenses(raw, tables, defenses, recompute=recompute)
            tables = SuiteFile.model_validate(raw)
        if tables.claims:
            reference = _reference_of(raw, tables)
            shown = [] if reference is None else _experiments_of(reference.suite.raw)
            experiments = [*expand(tables.experiment), *_experiments_of(written), *shown]
            check_claims(tables.claims, axes_of(experiments), metrics_of(experiments))
    except ValidationError as error:
        lines = dict.fromkeys(inherited(line) for line in explain(error))
        raise SuiteError("\n".join(f"{path}: {line}" for line in lines)) from None
    except SuiteError as error:
        raise SuiteError(f"{path}: {inherited(str(error))}") from None
    return SuiteSource(path=path, tables=tables, raw=raw, sha256=file_sha256(path), added=added, relocated=inherited)


def _apply(raw: dict[str, Any], overrides: Sequence[str], path: Path) -> Callable[[str], str]:
    """Apply overrides to the content of a suite file: those of ``[defaults]``, and of the list of experiments as a
    whole, before the defaults are written into the experiments.

    Return a function that makes the place in a message that of the defaults, where it comes from these.
    """
    early = [text for text in overrides if re.match(r"\s*(defaults\b|experiment\s*=)", text)]
    for text in early:
        override(raw, text)
    try:
        inherited = write_defaults(raw)
    except SuiteError as error:
        raise SuiteError(f"{path}: {error}") from None
    for text in overrides:
        if text not in early:
            override(raw, text)
    return inherited


def _change_defenses(
    raw: dict[str, Any], tables: SuiteFile, defenses: Sequence[AddedDefense], *, recompute: bool
) -> tuple[str, ...]:
    """Change the defenses of a valid suite for one run (see `read`); return the labels of those that were added."""
    reference = _reference_of(raw, tables)
    if reference is not None:
        if recompute:
            take_over(raw, reference)
        else:
            leave_out(raw, reference, defenses)
            if not defenses and not any(table["defenses"] for table in raw["experiment"]):
                raise SuiteError(
                    f"defaults.defenses: expected a defense that the reference run of {tables.suite.version} lacks, "
                    "found none; add one, or compute these with --recompute-reference"
                )
    shown = {} if reference is None or recompute else defense_tables(reference)
    added = add_defenses(raw, defenses, shown)
    if reference is not None and not recompute:
        require_own_labels(raw, reference)
    return added


def _reference_of(raw: Mapping[str, Any], tables: SuiteFile) -> RunRecord | None:
    """Return the record of the reference run of a suite, whose rows are shown beside its own; None if there is none."""
    found = find_reference(tables.suite.version)
    return found.run if found is not None and same_questions(raw, found.run) else None


def _experiments_of(raw: Mapping[str, Any]) -> Sequence[ExpandedExperiment]:
    """Return the experiments of a suite as they were before overrides; empty if the suite was not valid then."""
    try:
        return expand(SuiteFile.model_validate(raw).experiment)
    except (ValidationError, SuiteError):
        return []


def _suites_nearby(path: Path) -> str:
    folder = path.parent
    found = sorted(p.name for p in folder.glob("*.toml")) if folder.is_dir() else []
    return f" In {folder} there are: {', '.join(found)}" if found else " Give the path of a TOML file."


def reread(record: SuiteRecord, where: str = "the suite in its record cannot be read") -> SuiteSource:
    """Return the tables of the suite of a run from its record, without the paper's numbers.

    The suite file need not exist any more. ``where`` begins the message of a `SuiteError`.
    """
    try:
        tables = SuiteFile.model_validate(record.raw)
    except ValidationError as error:
        raise SuiteError("\n".join(f"{where}: {line}" for line in explain(error))) from None
    pairs = {e.name: e.pairs for e in record.experiments}  # the tables lack the pairs of --pairs
    for table in tables.experiment:
        if pairs.get(table.name) is None:
            raise SuiteError(f"{where}: expected the pairs of experiment {table.name!r}, found none")
    experiments = [e.model_copy(update={"pairs": pairs[e.name], "claims": None}) for e in tables.experiment]
    tables = tables.model_copy(update={"experiment": experiments})
    return SuiteSource(
        path=Path(record.path or ""),
        tables=tables,
        raw=record.raw,
        sha256=record.sha256 or "",
        added=tuple(record.added),
    )


# ---- from tables to components ---------------------------------------------------------------------------------------


def load(
    path: Path,
    registry: Registry,
    overrides: Sequence[str] = (),
    pairs: int | None = None,
    *,
    defenses: Sequence[str] = (),
    recompute: bool = False,
    trust: bool = False,
) -> Suite:
    """Read and resolve a suite file. ``defenses`` are values of ``--defense``, which are added to every experiment;
    ``recompute`` as in `read`. ``trust``: code outside the installed plugins that it names may run."""
    added = parse_defenses(defenses)
    check_defenses(added, registry)
    return resolve(read(path, overrides, pairs, added, recompute=recompute), registry, pairs, trust=trust)


def restore(record: SuiteRecord, registry: Registry, *, trust: bool = False) -> Suite:
    """Resolve the suite of a run again, from the suite in its ``run.json`` alone; ``trust`` as in `load`."""
    claims = {e.name: e.claims for e in record.experiments}
    suite = resolve(reread(record), registry, trust=trust)
    return replace(suite, experiments=tuple(replace(e, claims=claims[e.name]) for e in suite.experiments))


def resolve(source: SuiteSource, registry: Registry, pairs: int | None = None, *, trust: bool = False) -> Suite:
    """Resolve every component of a suite; its relative paths start in the folder of the suite.

    ``pairs`` (``--pairs``) overrides that of every experiment; ``trust`` as in `load`.
    """
    path, tables = source.path, source.tables
    use_suite_folder(path.parent)
    if not tables.experiment and not tables.train:
        raise SuiteError(f"{path}: expected at least one [[experiment]] or [[train]], found neither")
    names = [e.name for e in tables.experiment]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise SuiteError(f"{path}: experiment[{i}].name: {name!r} is used twice; names of experiments are unique")
    if pairs is not None and not 2 <= pairs <= 1_000_000:
        raise SuiteError(f"--pairs: expected a number from 2 to 1000000, found {pairs}")
    try:
        expanded = expand(tables.experiment)
        resolver = Resolver(registry, tables.suite.data, trust=trust)
        resolver.resolve(itertools.chain.from_iterable(e.references() for e in expanded))
        experiments = [_experiment(e, resolver, path.parent, pairs) for e in expanded]
        _check_one_meaning(experiments)
    except BenchError as error:
        raise type(error)(f"{path}: {source.relocated(str(error))}") from None
    return assemble(source, experiments)


def assemble(source: SuiteSource, experiments: Sequence[Experiment]) -> Suite:
    """Return the suite of checked tables and of its experiments, whose components are resolved."""
    head = source.tables.suite
    return Suite(
        path=source.path,
        name=head.name,
        version=head.version,
        title=head.title or head.name,
        description=head.description,
        seed=head.seed,
        stage_timeout_s=by_kind(head.stage_timeout_s),
        stage_memory_mb=by_kind(head.stage_memory_mb),
        deterministic=head.deterministic,
        check_defenses=head.check_defenses,
        check_attacks=head.check_attacks,
        experiments=tuple(experiments),
        train=tuple(source.tables.train),
        claims=tuple(source.tables.claims),
        raw=source.raw,
        sha256=source.sha256,
        added=source.added,
    )


def experiment_of(table: ExperimentTable, **resolved: Any) -> Experiment:
    """Return the experiment of a table; ``resolved`` are the fields that need more than the table: components, pairs
    and claims."""
    return Experiment(
        name=table.name,
        table=table.table,
        figures=tuple(table.figures),
        protects=table.protects,
        repeats=table.repeats,
        kappa=table.kappa,
        fmr=table.fmr,
        threshold=table.threshold,
        adversary_threshold=table.adversary_threshold,
        adversary_people=table.adversary_people,
        upload=table.upload,
        split=table.split,
        noise_levels=tuple(table.noise_levels),
        **resolved,
    )


def _experiment(expanded: ExpandedExperiment, resolver: Resolver, folder: Path, pairs: int | None) -> Experiment:
    """Return an experiment of which every reference is resolved, after the checks that need its components."""

    def axis(references: Sequence[FullReference]) -> tuple[Component, ...]:
        return tuple(map(resolver.component, references))

    table, where = expanded.table, expanded.where
    experiment = experiment_of(
        table,
        datasets=axis(expanded.datasets),
        authorised=tuple(map(axis, expanded.authorised)),
        surrogates=axis(expanded.surrogates),
        defenses=axis(expanded.defenses),
        attacks=axis(expanded.attacks),
        evaluated=axis(expanded.evaluated),
        pairs=table.pairs if pairs is None else pairs,
        auxiliary=resolver.component(expanded.auxiliary) if expanded.auxiliary else None,
        claims=_published(table, where, folder),
        metrics=axis(expanded.metrics),
    )
    _check_labels(experiment, where)
    _check_metrics(experiment.metrics, f"{where}.metrics")
    _check_pairs(experiment, where, resolver.registry)
    if sorted(set(table.noise_levels)) != table.noise_levels:
        raise SuiteError(f"{where}.noise_levels: expected rising levels, each once, found {table.noise_levels}")
    if table.upload == "images" and "split" in table.model_fields_set:
        raise SuiteError(f'{where}.split: only features are uploaded at a split; add upload = "features" or remove it')
    _check_attacks(experiment.attacks, experiment.noise_levels, where, resolver.registry)
    return experiment


def _published(table: ExperimentTable, where: str, folder: Path) -> str | None:
    """Return the paper's numbers for an experiment: its CSV file, else those of its table of the paper, else None."""
    if table.claims:
        return read_claims(folder / table.claims, f"{where}.claims")
    return published(table.table) if table.table else None


# ---- checks of an experiment -----------------------------------------------------------------------------------------


def _check_labels(experiment: Experiment, where: str) -> None:
    """Raise `SuiteError` if a label occurs twice on an axis, or if a model has two labels or shares one."""
    for i, models in enumerate(experiment.authorised):
        _check_distinct([c.label for c in models], f"{where}.authorised[{i}]")
    _check_distinct(["+".join(c.label for c in models) for models in experiment.authorised], f"{where}.authorised")
    for name in ("surrogates", "evaluated", "datasets", "attacks", "defenses", "metrics"):
        _check_distinct([c.label for c in getattr(experiment, name)], f"{where}.{name}")
    by_label: dict[str, tuple[str, Component]] = {}
    by_meaning: dict[str, Component] = {}
    authorised = itertools.chain.from_iterable(experiment.authorised)
    for model in (*authorised, *experiment.surrogates, *experiment.evaluated):
        meaning = digest_of([model.name, dict(model.params)])
        known, other = by_label.setdefault(model.label, (meaning, model))
        if known == meaning:
            other = by_meaning.setdefault(meaning, model)
        if known != meaning or other.label != model.label:
            raise SuiteError(
                f"{where}: the models of authorised, surrogates and evaluated must have one label each; "
                f"{other.name!r} is called {other.label!r} and {model.name!r} is called {model.label!r}"
            )


def _check_distinct(labels: Sequence[str], where: str) -> None:
    known: dict[str, str] = {}
    for i, label in enumerate(labels):
        spelt = spelling(label)
        if spelt in known:
            differs = f"differs from {known[spelt]!r} only in spaces, case, invisible characters or Unicode form"
            problem = "appears twice" if label == known[spelt] else differs
            raise SuiteError(f'{where}[{i}]: {label!r} {problem}; give one of them a label = "..." of its own')
        known[spelt] = label


def _check_metrics(metrics: Sequence[Component], where: str) -> None:
    """Raise `SuiteError` if a label of a metric cannot be its name in rows and claims."""
    for i, metric in enumerate(metrics):
        if metric.label in IMAGE_METRICS:
            raise SuiteError(f"{where}[{i}]: {metric.label!r} is computed in every experiment; remove it from the list")
        if metric.label in METRIC_NAMES:
            raise SuiteError(
                f'{where}[{i}]: {metric.label!r} is the name of a metric of bench; give it another label = "..."'
            )
        if ":" in metric.label or not metric.label.isprintable():
            raise SuiteError(f"{where}[{i}].label: expected a name without colon, found {metric.label!r}")


def _check_one_meaning(experiments: Sequence[Experiment]) -> None:
    """Raise `SuiteError` if two experiments give one label to different metrics, since a run has one metric of a
    name."""
    known: dict[str, tuple[str, str]] = {}
    for number, experiment in enumerate(experiments):
        for metric in experiment.metrics:
            where = f"experiment[{number}].metrics"
            meaning, first = known.setdefault(metric.label, (digest_of(metric), where))
            if meaning != digest_of(metric):
                raise SuiteError(
                    f"{where}: {metric.label!r} stands for another metric in {first}; give one of them another label"
                )


def _check_pairs(experiment: Experiment, where: str, registry: Registry) -> None:
    """Raise `SuiteError` if a data set has fewer verification pairs than the experiment scores."""
    for component in experiment.datasets:
        dataset: Dataset = registry.build(component)
        most = dataset.max_pairs()
        if most is not None and experiment.pairs > most:
            raise SuiteError(
                f"{where}.pairs: {component.label} has at most {most} pairs, {experiment.pairs} are requested"
            )


def _check_attacks(attacks: Sequence[Component], noise_levels: Sequence[float], where: str, registry: Registry) -> None:
    """Raise `SuiteError` if noise is measured without an attack that needs it, or if two attacks share a label."""
    built: list[Attack] = [registry.build(attack) for attack in attacks]
    if noise_levels and "attributes" not in [attack.outputs for attack in built]:
        raise SuiteError(
            f"{where}.noise_levels: Equation 9 needs an attack that outputs attributes; {where}.attacks has none"
        )
    known: dict[str, Component] = {}
    for attack in [*attacks, *(a.via for a in attacks if a.via)]:
        same = known.setdefault(attack.label, attack)
        if (same.name, same.params, same.via) != (attack.name, attack.params, attack.via):
            raise SuiteError(
                f"{where}.attacks: {attack.label!r} stands for two attacks; give one of them another label"
            )
