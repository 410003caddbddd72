"""A whole training: from a `bench.TrainingJob` to a weights file and its model card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from bench import SuiteError, TrainingSet, package_versions

from .config import RunOptions, TrainConfig
from .data import TrainData, open_data
from .evaluate import PairList, pair_lists, summary, verify
from .export import read_card, write_model
from .loop import State, train
from .ranks import Ranks, join

if TYPE_CHECKING:
    from bench import TrainingJob


@dataclass(frozen=True, kw_only=True)
class Product:
    """The result of a training that is stored: ``weights`` with their ``metadata``, the ``network`` with these weights,
    which is verified, and ``facts`` for the card."""

    weights: Mapping[str, Tensor]
    network: nn.Module
    facts: Mapping[str, Any]
    metadata: Mapping[str, str] = field(default_factory=dict)


def train_job(
    job: TrainingJob,
    config: TrainConfig,
    options: RunOptions,
    *,
    build: Callable[[], nn.Module],
    finish: Callable[[nn.Module], Product],
    weights_dir: Path,
) -> dict[str, Any]:
    """Train one network with its recipe, or continue its training; write its weights and card, and return the card.

    ``build`` makes the network with its initial weights: float images RGB in [0, 1] to embeddings. ``finish`` converts
    the trained network to what is stored. Under torchrun every process calls this function, and the first one writes.
    Raises SuiteError for a recipe that does not suit the data or the processes.
    """
    ranks, fingerprint = join(), job.data.fingerprint()
    data = open_data(job.data, job.work, options, ranks, job.log)
    lists, missing = pair_lists(job.validate_on, job.validation_pairs) if ranks.first else ([], {})
    for name, message in missing.items():
        job.log(f"{config.name} is not validated on {name}: {message}")
    try:
        state = train(
            config,
            data,
            build,
            job.work / "checkpoints",
            fingerprint=fingerprint,
            ranks=ranks,
            options=options,
            validate=_validation(config.name, data, lists, job.log),
            progress=job.log,
        )
    except SuiteError as error:
        raise SuiteError(f"{job.where}.{error}") from None
    if ranks.first:
        assert state is not None  # The state is None only with stop_after.
        faces = about(job.data, fingerprint, data.labels.size, data.identities)
        _store(job, config, faces, ranks, state, finish(state.learner.net), lists, missing, weights_dir)
    ranks.wait()
    return read_card(weights_dir, config.name)


def _validation(
    name: str, data: TrainData, lists: list[PairList], log: Callable[[str], None]
) -> Callable[[nn.Module, int], None]:
    def validate(net: nn.Module, size: int) -> None:
        if size == data.size[0]:  # A network in a phase of small images has not been trained on large ones yet.
            for pairs in lists:
                log(summary(name, verify(net, pairs)))

    return validate


def _store(
    job: TrainingJob,
    config: TrainConfig,
    faces: Mapping[str, Any],
    ranks: Ranks,
    state: State,
    product: Product,
    lists: list[PairList],
    missing: Mapping[str, str],
    weights_dir: Path,
) -> None:
    """Verify the trained network and write it, with all that is needed to judge and reproduce it."""
    results = [verify(product.network.to(ranks.device), pairs) for pairs in lists]
    card = {
        "name": config.name,
        "architecture": config.architecture,
        "loss": config.loss,
        "seed": config.seed,
        "parameters": sum(p.numel() for p in product.network.parameters()),
        **product.facts,
        "data": dict(faces),
        "recipe": config.as_dict(),
        "recipe_digest": config.digest,
        "versions": package_versions(),
        "device": ranks.device.type,
        "processes": state.worlds,
        "verification": [result.as_dict() for result in results],
        "verification_missing": dict(missing),
        "verification_people": "identities that were not trained on, as far as the data sets tell",
        "command": job.command,
    }
    write_model(product.weights, card, weights_dir, product.metadata)
    for result in results:
        job.log(summary(f"{config.name} final", result))


def about(source: TrainingSet, fingerprint: str, images: int, people: int) -> dict[str, Any]:
    """Return the card's entries about the training faces."""
    parameters = asdict(source) if is_dataclass(source) else {}
    return {
        "training_set": type(source).__name__,
        "license": source.license,
        **parameters,
        "identities": people,
        "images": images,
        "fingerprint": fingerprint,
    }
