"""From a recipe to a weights file and its model card: render, train, round, verify, write."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from bench import TrainingSet

from .config import TrainConfig
from .data import prepare
from .evaluate import PairList, Verification, verify
from .networks import FaceNetwork, build, count_flops, count_parameters
from .train import Progress, train

COMMAND = "bench train suites/zoo.toml"


def half_weights(net: FaceNetwork) -> dict[str, Tensor]:
    """The network's state with floats rounded to half precision, contiguous.

    Raises ValueError when a value does not fit into half precision.
    """
    out = {}
    for name, value in net.state_dict().items():
        rounded = value.half() if value.is_floating_point() else value
        if not torch.isfinite(rounded).all():
            raise ValueError(f"{name}: expected values that fit into half precision, got up to {value.abs().max():g}")
        out[name] = rounded.contiguous().clone()
    return out


def from_half(architecture: str, weights: dict[str, Tensor]) -> FaceNetwork:
    """A float32 network in evaluation mode with half-precision `weights`."""
    net = build(architecture)
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    return net.eval()


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file beside `path`, then rename it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def model_card(
    config: TrainConfig,
    data: Mapping[str, Any],
    net: FaceNetwork,
    results: Sequence[Verification],
    *,
    command: str = COMMAND,
) -> dict[str, Any]:
    """What a reader needs to judge and remake the weights, as plain data (without the file's digest).

    `data` describes the training faces; `results` are of identities that were not trained on.
    """
    return {
        "name": config.name,
        "architecture": config.architecture,
        "loss": config.loss,
        "seed": config.seed,
        "input": "float (n, 3, 112, 112), RGB, [0, 1]",
        "output": "embedding (n, 128), not normalised",
        "parameters": count_parameters(net),
        "mflops": round(count_flops(net) / 1e6, 2),
        "flops_convention": "a multiply-add counts as two; convolutions and linear layers only",
        "data": dict(data),
        "recipe": config.as_dict(),
        "recipe_digest": config.digest,
        "torch": torch.__version__,
        "weights_precision": "float16; evaluated after rounding",
        "verification": [r.as_dict() for r in results],
        "verification_people": "identities that were not trained on",
        "command": command,
    }


def write_model(weights: dict[str, Tensor], card: dict[str, Any], weights_dir: Path) -> dict[str, Any]:
    """Write `<name>.safetensors`, then `<name>.json` with its size and sha256; returns the completed card."""
    weights_dir.mkdir(parents=True, exist_ok=True)
    path = weights_dir / f"{card['name']}.safetensors"
    content = save(weights, metadata={"model": str(card["name"])})
    _replace(path, lambda beside: _write_bytes(beside, content))
    complete = {**card, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    text = json.dumps(complete, indent=2) + "\n"
    _replace(path.with_suffix(".json"), lambda beside: _write_text(beside, text))
    written: dict[str, Any] = json.loads(text)
    return written


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def check_model(card_path: Path) -> None:
    """Raises ValueError unless the weights beside a card have its size and sha256 and load into its architecture."""
    card = json.loads(card_path.read_text(encoding="utf-8"))
    path = card_path.with_suffix(".safetensors")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if (len(content), digest) != (card["bytes"], card["sha256"]):
        raise ValueError(
            f"{path}: expected {card['bytes']} bytes with sha256 {card['sha256']}, got {len(content)} with {digest}"
        )
    from_half(card["architecture"], load_file(path))


def make_model(
    config: TrainConfig,
    source: TrainingSet,
    *,
    about: Mapping[str, Any],
    protocols: Callable[[], Sequence[PairList]],
    cache_dir: Path,
    weights_dir: Path,
    command: str = COMMAND,
    progress: Progress = print,
) -> dict[str, Any]:
    """Train one network from its recipe, or continue doing so, and write its weights and card.

    Args:
        config: the recipe.
        source: the faces to train on.
        about: what the card says about them; the fingerprint is added.
        protocols: makes the pair lists to verify on; called when they are needed.
        cache_dir: where prepared faces and checkpoints are kept.
        weights_dir: where the result goes.
        command: how to remake it, for the card.
        progress: called with lines of text.

    Returns:
        The model card.
    """
    data = prepare(source, cache_dir, progress=progress)
    lists = list(protocols())

    def after_phase(phase: int, net: FaceNetwork) -> None:
        if config.phases[phase].size == data.images.shape[1]:
            for pairs in lists:
                progress(_summary(config.name, verify(net, pairs)))

    net = train(config, data, cache_dir / "checkpoints", on_phase=after_phase, progress=progress)
    if net is None:  # only with stop_after
        raise RuntimeError(f"{config.name}: training stopped before its end")
    weights = half_weights(net)
    rounded = from_half(config.architecture, weights)
    results = [verify(rounded, pairs) for pairs in lists]
    faces = {**about, "fingerprint": source.fingerprint()}
    card = write_model(weights, model_card(config, faces, net, results, command=command), weights_dir)
    for result in results:
        progress(_summary(f"{config.name} final", result))
    return card


def _summary(name: str, result: Verification) -> str:
    return (
        f"{name} {result.name}: {100 * result.accuracy:.2f} % of {result.pairs} pairs, "
        f"threshold {result.threshold:.3f}, impostors {result.impostor_mean:.3f} +- {result.impostor_std:.3f}, "
        f"genuine {result.genuine_mean:.3f}"
    )
