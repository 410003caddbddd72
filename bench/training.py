"""``bench train``: the ``[[train]]`` entries of a suite are checked here and carried out by their plugins."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.components import Reference, instantiate
from bench.errors import BenchError, ContractError, PluginError, SuiteError, did_you_mean, with_article
from bench.hookspecs import Attack, Dataset, Model, TrainingSet
from bench.plugins import Registry, discover
from bench.store import require_writable
from bench.suite import TrainTable, read

DEFAULT_WORK = Path("results") / ".train"


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What the ``train`` of a model or an attack gets.

    ``name``: what is trained; ``data``: the faces; ``recipe``: the suite's parameters, for the plugin to check;
    ``validate_on``: data sets by label, each with ``validation_pairs`` pairs; ``work``: a folder for checkpoints and
    prepared data, which the same job finds again after an interruption; ``log`` shows a line (in the first process
    only, when torchrun has started several); ``where`` is the TOML path, for error messages; ``command`` is how to do
    it again, for cards.
    """

    name: str
    data: TrainingSet
    seed: int
    recipe: Mapping[str, Any]
    validate_on: Mapping[str, Dataset]
    validation_pairs: int
    work: Path
    log: Callable[[str], None]
    where: str
    command: str = ""


def train_suite(
    path: Path, overrides: Sequence[str], only: Sequence[str], work: Path | None, log: Callable[[str], None]
) -> None:
    """Check every entry of a training suite, then train one after the other.

    Under torchrun each of its processes does this; the first alone says anything.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK", "0") != "0":
        log = _silence
    registry = discover()
    file, _ = read(path, overrides)
    if not file.train:
        raise SuiteError(
            f"{path}: expected at least one [[train]], found none; run its experiments with: bench run {path}"
        )
    work = work or DEFAULT_WORK
    require_writable(work)
    try:
        jobs = [_job(table, file.recipe, f"train[{i}]", registry, work, log) for i, table in enumerate(file.train)]
    except (PluginError, SuiteError) as error:
        raise type(error)(f"{path}: {error}") from None
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


def _silence(line: str) -> None:
    """What the other processes of torchrun say."""


def _job(
    table: TrainTable, shared: Mapping[str, Any], where: str, registry: Registry, work: Path, log: Callable[[str], None]
) -> tuple[TrainingJob, Model | Attack]:
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
    """A component of any kind without its weights: they need not exist before training."""
    params = {"plugin": reference} if isinstance(reference, str) else dict(reference)
    name = params.pop("plugin", None)
    if not isinstance(name, str):
        raise SuiteError(f"{where}.plugin: expected the name of {with_article(kind)}, found {name!r}")
    registration = registry.find(kind, name, where)
    return name, instantiate(registration.cls, params, where)
