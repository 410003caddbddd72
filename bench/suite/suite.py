"""TOML -> `Suite` with every plugin and parameter resolved. Pure: no torch.

Every mistake is a `SuiteError` that names the TOML path, what was expected, what was found and what to do.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bench.core.domain import Component, DataMode, Kind, StageKind
from bench.core.errors import BenchError, MissingDataError, SuiteError
from bench.core.provenance import file_sha256
from bench.registry.components import Reference, component, expand_grid, label_of
from bench.registry.discovery import Registry
from bench.suite.claim_check import axes_of, check_claims
from bench.suite.claims import ClaimTable
from bench.suite.limits import by_kind
from bench.suite.overrides import override
from bench.suite.paper_tables import published, read_claims
from bench.suite.tables import _TABLES, ExperimentTable, SuiteFile, TrainTable, _explain


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment with its axes resolved to components. ``claims``: the paper's figures as CSV, or none."""

    name: str
    table: str | None
    figures: tuple[str, ...]
    datasets: tuple[Component, ...]
    authorised: tuple[tuple[Component, ...], ...]
    defenses: tuple[Component, ...]
    attacks: tuple[Component, ...]
    evaluated: tuple[Component, ...]
    pairs: int
    repeats: int
    kappa: float
    fmr: float
    threshold: Literal["fmr", "accuracy"]
    upload: Literal["images", "features"]
    split: str
    auxiliary: Component | None
    noise_levels: tuple[float, ...]
    claims: str | None


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A validated suite. ``raw`` is the TOML as run, after ``--set``; ``sha256`` is that of the file;
    ``train`` is left to `bench.runs.train`. The limits are by kind of stage, of those kinds that have one."""

    path: Path
    name: str
    title: str
    description: str
    seed: int
    stage_timeout_s: Mapping[StageKind, float]
    stage_memory_mb: Mapping[StageKind, float]
    deterministic: bool
    experiments: tuple[Experiment, ...]
    train: tuple[TrainTable, ...]
    claims: tuple[ClaimTable, ...]
    raw: Mapping[str, Any]
    sha256: str


def read(path: Path, overrides: Sequence[str] = ()) -> tuple[SuiteFile, dict[str, Any]]:
    """Parse and validate a suite's structure, after applying ``path=value`` overrides.

    A claim may be about what an override took out of the suite: then it is not measured.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SuiteError(f"{path}: expected a suite file, found nothing there.{_suites_nearby(path)}") from None
    except IsADirectoryError:
        raise SuiteError(f"{path}: expected a suite file, found a folder.{_suites_nearby(path / 'x')}") from None
    except OSError as error:
        raise SuiteError(f"{path}: expected a suite file, found one that cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SuiteError(f"{path}: expected a suite file in UTF-8, found something else") from None
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"{path}: not valid TOML: {error}") from None
    written = copy.deepcopy(raw)
    for text in overrides:
        override(raw, text)
    try:
        file = SuiteFile.model_validate(raw)
        if file.claims:
            check_claims(file.claims, axes_of([*file.experiment, *_experiments(written)]))
    except ValidationError as error:
        raise SuiteError("\n".join(f"{path}: {line}" for line in _explain(error, _TABLES))) from None
    except SuiteError as error:
        raise SuiteError(f"{path}: {error}") from None
    return file, raw


def _experiments(raw: Mapping[str, Any]) -> list[ExperimentTable]:
    """The experiments of a suite as it was written; none when it was not sound before its overrides."""
    try:
        return SuiteFile.model_validate(raw).experiment
    except ValidationError:
        return []


def _suites_nearby(path: Path) -> str:
    folder = path.parent
    found = sorted(p.name for p in folder.glob("*.toml")) if folder.is_dir() else []
    return f" In {folder} there are: {', '.join(found)}" if found else " Give the path of a TOML file."


def resolve(
    file: SuiteFile, raw: Mapping[str, Any], path: Path, sha256: str, registry: Registry, pairs: int | None = None
) -> Suite:
    """Resolve every component of a suite. ``sha256`` is that of its file; ``pairs`` (``--pairs``) overrides that of
    every experiment."""
    if not file.experiment and not file.train:
        raise SuiteError(f"{path}: expected at least one [[experiment]] or [[train]], found neither")
    names = [e.name for e in file.experiment]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise SuiteError(f"{path}: experiment[{i}].name: {name!r} is used twice; names of experiments are unique")
    if pairs is not None and not 2 <= pairs <= 1_000_000:
        raise SuiteError(f"--pairs: expected a number from 2 to 1000000, found {pairs}")
    head = file.suite
    if head.data == "real":
        _require_files(file, path, registry)
    try:
        experiments = tuple(
            _experiment(e, f"experiment[{i}]", path, registry, pairs, head.data) for i, e in enumerate(file.experiment)
        )
    except BenchError as error:
        raise type(error)(f"{path}: {error}") from None
    return assemble(file, raw, path, sha256, experiments)


def assemble(
    file: SuiteFile, raw: Mapping[str, Any], path: Path, sha256: str, experiments: tuple[Experiment, ...]
) -> Suite:
    """The suite of a file and of its experiments, whose components are resolved."""
    head = file.suite
    return Suite(
        path=path,
        name=head.name,
        title=head.title or head.name,
        description=head.description,
        seed=head.seed,
        stage_timeout_s=by_kind(head.stage_timeout_s),
        stage_memory_mb=by_kind(head.stage_memory_mb),
        deterministic=head.deterministic,
        experiments=experiments,
        train=tuple(file.train),
        claims=tuple(file.claims),
        raw=raw,
        sha256=sha256,
    )


def load(path: Path, registry: Registry, overrides: Sequence[str] = (), pairs: int | None = None) -> Suite:
    """Read and resolve a suite file."""
    file, raw = read(path, overrides)
    return resolve(file, raw, path, file_sha256(path), registry, pairs)


def restore(record: Mapping[str, Any], registry: Registry) -> Suite:
    """The suite that a run was of, from what ``run.json`` says of it; its files need not be there any more."""
    asked = {e["name"]: e for e in record["experiments"]}
    suite = resolve(reread(record), record["raw"], Path(record["path"]), record["sha256"], registry)
    return replace(suite, experiments=tuple(replace(e, claims=asked[e.name]["claims"]) for e in suite.experiments))


def reread(record: Mapping[str, Any], where: str = "the suite in its record cannot be read") -> SuiteFile:
    """The file of the suite that a run was of, from what ``run.json`` says of it, without the paper's figures."""
    try:
        file = SuiteFile.model_validate(record["raw"])
    except ValidationError as error:
        raise SuiteError("\n".join(f"{where}: {line}" for line in _explain(error, _TABLES))) from None
    pairs = {e["name"]: e["pairs"] for e in record["experiments"]}  # those of --pairs are not in the file
    tables = [e.model_copy(update={"pairs": pairs[e.name], "claims": None}) for e in file.experiment]
    return file.model_copy(update={"experiment": tables})


def _require_files(file: SuiteFile, path: Path, registry: Registry) -> None:
    """`MissingDataError` that tells everything that a suite with ``data = "real"`` misses, each thing once."""
    missing: dict[str, None] = {}
    for i, table in enumerate(file.experiment):
        where = f"{path}: experiment[{i}]"
        models = [r for entry in table.authorised for r in (entry if isinstance(entry, list) else [entry])]
        wanted: list[tuple[Kind, Reference]] = [("model", r) for r in (*models, *table.evaluated)]
        wanted += [("dataset", r) for r in (*table.datasets, *([table.auxiliary] if table.auxiliary else []))]
        for kind, reference in wanted:
            try:
                component(kind, reference, where, registry, "real")
            except MissingDataError as error:
                message = str(error).removeprefix(f"{where}: ")
                name = label_of(reference)
                missing.setdefault(message if message.startswith(name) else f"{name}: {message}")
    if missing:
        lines = "\n".join(f"  {message}" for message in missing)
        raise MissingDataError(
            f'{path}: the suite asks for real data (data = "real"), and these are missing:\n{lines}\n'
            "Put them there, or let stand-ins take their place with: --data auto"
        )


def _experiment(
    table: ExperimentTable, where: str, path: Path, registry: Registry, pairs: int | None, data: DataMode
) -> Experiment:
    def axis(kind: Kind, name: str, references: Sequence[Reference]) -> tuple[Component, ...]:
        found = tuple(
            component(kind, point, f"{where}.{name}[{i}]", registry, data)
            for i, r in enumerate(references)
            for point in expand_grid(r, f"{where}.{name}[{i}]")
        )
        _distinct([c.label for c in found], f"{where}.{name}")
        return found

    sets: list[tuple[Component, ...]] = []
    for i, entry in enumerate(table.authorised):
        if not entry:
            raise SuiteError(f"{where}.authorised[{i}]: expected at least one model, found an empty list")
        if isinstance(entry, list):
            sets.append(axis("model", f"authorised[{i}]", entry))
        else:
            sets.append((component("model", entry, f"{where}.authorised[{i}]", registry, data),))
    _distinct(["+".join(c.label for c in s) for s in sets], f"{where}.authorised")
    evaluated = axis("model", "evaluated", table.evaluated)
    _one_meaning([c for s in sets for c in s] + list(evaluated), where)
    datasets = axis("dataset", "datasets", table.datasets)
    wanted = pairs if pairs is not None else table.pairs
    for dataset in datasets:
        most = registry.find("dataset", dataset.name, where).cls(**dataset.params).max_pairs()
        if most is not None and wanted > most:
            raise SuiteError(f"{where}.pairs: {dataset.label} has at most {most} pairs, {wanted} are asked for")
    levels = table.noise_levels
    if sorted(set(levels)) != levels:
        raise SuiteError(f"{where}.noise_levels: expected rising levels, each once, found {levels}")
    attacks = axis("attack", "attacks", table.attacks)
    _check_attacks(table, attacks, where, registry)
    auxiliary = None
    if table.auxiliary is not None:
        auxiliary = component("dataset", table.auxiliary, f"{where}.auxiliary", registry, data)
    return experiment_of(
        table,
        datasets=datasets,
        authorised=tuple(sets),
        defenses=axis("defense", "defenses", table.defenses),
        attacks=attacks,
        evaluated=evaluated,
        pairs=wanted,
        auxiliary=auxiliary,
        claims=_published(table, where, path),
    )


def experiment_of(table: ExperimentTable, **resolved: Any) -> Experiment:
    """An experiment: what its table says, and what was ``resolved`` of it (components, pairs, claims), by field."""
    return Experiment(
        name=table.name,
        table=table.table,
        figures=tuple(table.figures),
        repeats=table.repeats,
        kappa=table.kappa,
        fmr=table.fmr,
        threshold=table.threshold,
        upload=table.upload,
        split=table.split,
        noise_levels=tuple(table.noise_levels),
        **resolved,
    )


def _published(table: ExperimentTable, where: str, path: Path) -> str | None:
    """The paper's figures of an experiment: the suite's own file, or those of the table that it names."""
    if table.claims:
        return read_claims(path.parent / table.claims, f"{where}.claims")
    return published(table.table) if table.table else None


def _check_attacks(table: ExperimentTable, attacks: Sequence[Component], where: str, registry: Registry) -> None:
    """What an experiment says of uploads and noise must mean something, and one label stand for one attack."""
    if table.upload == "images" and "split" in table.model_fields_set:
        raise SuiteError(f'{where}.split: only features are uploaded at a split; add upload = "features" or remove it')
    outputs = [registry.find("attack", a.name, where).cls(**a.params).outputs for a in attacks]
    if table.noise_levels and "attributes" not in outputs:
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


def _one_meaning(models: Sequence[Component], where: str) -> None:
    """One label stands for one model, and one model has one label: rows are told apart by labels."""
    for i, model in enumerate(models):
        for other in models[:i]:
            same = (model.name, model.params) == (other.name, other.params)
            if same != (model.label == other.label):
                raise SuiteError(
                    f"{where}: the models of authorised and evaluated must have one label each; "
                    f"{other.name!r} is called {other.label!r} and {model.name!r} is called {model.label!r}"
                )


def _distinct(labels: Sequence[str], where: str) -> None:
    for i, label in enumerate(labels):
        if label in labels[:i]:
            raise SuiteError(f'{where}[{i}]: {label!r} appears twice; give one of them a label = "..." of its own')
