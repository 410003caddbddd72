"""``bench train``: checks the ``[[train]]`` entries of a suite and lets their plugins train."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.api.datasets import Dataset, TrainingJob
from bench.api.defense import Defense
from bench.api.hookspecs import Attack, Model
from bench.api.metric import Metric
from bench.api.search_paths import use_suite_folder
from bench.core.errors import BenchError, ContractError, PluginError, SuiteError, did_you_mean, with_article
from bench.registry.components import build_component, foreign_code, require_trust
from bench.registry.discovery import Registry, discover
from bench.store.run_folders import require_writable
from bench.suite.suite import read
from bench.suite.tables import Reference, TrainTable

DEFAULT_WORK = Path("results") / ".train"


def train_suite(
    path: Path,
    overrides: Sequence[str],
    only: Sequence[str],
    work: Path | None,
    log: Callable[[str], None],
    *,
    trust: bool = False,
) -> None:
    """Check every entry of a training suite, then train one after the other. ``trust``: code outside the installed
    plugins that the suite names may run.

    Under torchrun every process does this, and only the first one prints progress.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK", "0") != "0":
        log = _silence
    registry = discover()
    file = read(path, overrides).tables
    use_suite_folder(path.parent)
    if not file.train:
        raise SuiteError(
            f"{path}: expected at least one [[train]], found none; run its experiments with: "
            f"bench run {shlex.quote(str(path))}"
        )
    work = work or DEFAULT_WORK
    require_writable(work)
    try:
        jobs = [_job(table, file.recipe, f"train[{i}]", registry, work, log) for i, table in enumerate(file.train)]
    except (PluginError, SuiteError) as error:
        raise type(error)(f"{path}: {error}") from None
    if not trust:
        require_trust(f"{path}", (code for job, one in jobs for code in _foreign_code(job, one)))
    names = [job.name for job, _ in jobs]
    for i, name in enumerate(names):
        if name in names[:i]:
            where = f"train[{i}].{file.train[i].subject[0]}"
            raise SuiteError(f"{path}: {where}: {name!r} is trained twice; its checkpoints would collide")
    for name in only:
        if name not in names:
            raise BenchError(f"--only {name}: {path} trains nothing of that name; {did_you_mean(name, names)}")
    for job, component in jobs:
        if not only or job.name in only:
            log(f"training {job.name}")
            words = ["bench", "train", str(path), *(f"--set={o}" for o in overrides), f"--only={job.name}"]
            try:
                card = component.train(replace(job, command=shlex.join(words)))
            except SuiteError as error:
                raise SuiteError(f"{path}: {error}") from None
            if not isinstance(card, Mapping):
                raise ContractError(f"{job.name}: train() must return its card, got {type(card).__name__}")
            log(f"trained {job.name}: sha256 {card.get('sha256', 'unknown')}")


def _foreign_code(job: TrainingJob, component: Model | Defense | Attack | Metric) -> Iterator[str]:
    """Yield which code outside the installed plugins the components of a job name."""
    for name, one in ((job.name, component), ("data", job.data), *job.validate_on.items()):
        if code := foreign_code(one):
            yield f"{name}: {code}"


def _silence(line: str) -> None:
    """Ignore a line of progress, in all processes of torchrun but the first."""


def _job(
    table: TrainTable, shared: Mapping[str, Any], where: str, registry: Registry, work: Path, log: Callable[[str], None]
) -> tuple[TrainingJob, Model | Defense | Attack | Metric]:
    kind, reference = table.subject
    name, component = _build(kind, reference, f"{where}.{kind}", registry)
    _, data = _build("training_set", table.data, f"{where}.data", registry)
    validate_on: dict[str, Dataset] = {}
    for i, reference in enumerate(table.validate_on):
        label, dataset = _build("dataset", reference, f"{where}.validate_on[{i}]", registry)
        if label in validate_on:
            raise SuiteError(f"{where}.validate_on[{i}]: {label!r} appears twice")
        validate_on[label] = dataset
    job = TrainingJob(
        name=name,
        data=data,
        seed=table.seed,
        recipe={**shared, **table.recipe},
        validate_on=validate_on,
        validation_pairs=table.validation_pairs,
        work=work,
        log=log,
        where=f"{where}.recipe",
    )
    return job, component


def _build(kind: str, reference: Reference, where: str, registry: Registry) -> tuple[str, Any]:
    """Build a component of any kind without its weights, which need not exist before training."""
    params = {"plugin": reference} if isinstance(reference, str) else dict(reference)
    name = params.pop("plugin", None)
    if not isinstance(name, str):
        raise SuiteError(f"{where}.plugin: expected the name of {with_article(kind)}, found {name!r}")
    return name, build_component(kind, name, params, where, registry)
