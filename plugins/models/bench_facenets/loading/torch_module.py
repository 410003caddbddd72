"""A torch module that a suite names: the factory makes it, and its weights must be exactly those of the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bench import DataError
from bench_facenets.files.checkpoints import read_weights, seem_to_be, some
from bench_facenets.loading import factory as factories


def load(
    factory: str, arguments: Mapping[str, Any], path: Path, weights_key: str = ""
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the module with its weights, on the CPU, and notes on these. Raises DataError if the factory does not
    return a module, or if the keys or shapes of the file are not exactly those of the module."""
    net = factories.call(factory, arguments)
    if not isinstance(net, nn.Module):
        raise DataError(f"factory = {factory!r}: expected a torch.nn.Module, found {type(net).__name__}")
    weights = read_weights(path, net.state_dict(), weights_key)
    fill(net, weights.tensors, path, f"factory = {factory!r}", weights.where)
    return net, weights.notes


def fill(net: nn.Module, state: Mapping[str, Tensor], path: Path, who: str, where: str = "") -> None:
    """Load a state dict strictly; only counters of batch norm (``num_batches_tracked``) may be missing. Raises
    DataError, which lists missing and unexpected keys, and shapes that differ; ``where``: the keys that led to it."""
    wanted = net.state_dict()
    missing = [k for k in wanted if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in wanted]
    shapes = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in wanted
        if k in state and state[k].shape != wanted[k].shape
    ]
    problems = [
        f"{len(found)} {what}: {some(found)}"
        for what, found in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if found
    ]
    if problems:
        raise DataError(
            f"{path}: expected exactly the weights of {who} ({len(wanted)} tensors), found {len(state)} with "
            f"{'; '.join(problems)}{seem_to_be(where)}; is this the right file, and are the arguments right?"
        )
    net.load_state_dict(state, strict=False)  # Only the batch counters, which old files lack, may be missing.
