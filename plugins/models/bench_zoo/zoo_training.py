"""What ``bench train`` asks of a network of the zoo: a recipe checked, faces prepared, a network trained and stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

import torch

from bench import Dataset, SuiteError
from bench.components import instantiate
from bench.contracts import Context
from bench_zoo import WEIGHTS
from bench_zoo.config import Phase, TrainConfig
from bench_zoo.evaluate import PairList
from bench_zoo.export import make_model

if TYPE_CHECKING:
    from bench.training import TrainingJob


def train_zoo_model(name: str, architecture: str, loss: str, job: TrainingJob) -> Mapping[str, Any]:
    """Train a network by the recipe of a job and put weights and model card into the package; returns the card."""
    config = training_config(name, architecture, loss, job)
    return make_model(
        config,
        job.data,
        about=_about(job),
        protocols=lambda: _pair_lists(job.validate_on, job.validation_pairs),
        cache_dir=job.work,
        weights_dir=WEIGHTS,
        progress=job.log,
    )


def training_config(name: str, architecture: str, loss: str, job: TrainingJob) -> TrainConfig:
    """The recipe of a job, checked; `SuiteError` names the TOML path of what is wrong."""
    fixed = {"name": name, "architecture": architecture, "loss": loss, "seed": job.seed}
    for key in fixed:
        if key in job.recipe:
            raise SuiteError(f"{job.where}.{key}: {name} fixes it as {fixed[key]!r}; remove it from the recipe")
    recipe = dict(job.recipe)
    phases = recipe.pop("phases", [])
    if not isinstance(phases, list) or not all(isinstance(phase, dict) for phase in phases):
        raise SuiteError(f"{job.where}.phases: expected tables, written [[recipe.phases]], found {phases!r}")
    made = [instantiate(Phase, phase, f"{job.where}.phases[{i}]") for i, phase in enumerate(phases)]
    config: TrainConfig = instantiate(TrainConfig, {**recipe, **fixed, "phases": made}, job.where)
    return config


def _about(job: TrainingJob) -> dict[str, Any]:
    """What the card says about the training faces."""
    labels = job.data.labels()
    fields = asdict(job.data) if is_dataclass(job.data) else {}
    return {
        "training_set": type(job.data).__name__,
        "license": job.data.license,
        **fields,
        "identities": int(labels[-1]) + 1,
        "images": len(labels),
    }


def _pair_lists(datasets: Mapping[str, Dataset], pairs: int) -> Sequence[PairList]:
    """The verification protocols on which a network is measured, as the host's data sets give them."""
    lists = []
    for name, dataset in datasets.items():
        faces, chosen = dataset.evaluation(pairs, Context(device=torch.device("cpu"), seed=0, who=name))
        lists.append(
            PairList(
                name=name,
                images=torch.from_numpy(faces.images),
                left=chosen.left,
                right=chosen.right,
                same=chosen.same,
                fold=chosen.fold,
            )
        )
    return lists
