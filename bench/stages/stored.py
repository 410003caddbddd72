"""The form in which what plugins return is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from bench.api.types import Protected
from bench.stages import contracts
from bench.store.artifacts import REPRESENTATION


def to_store(protected: Protected, uploaded: Sequence[str], *, images: bool = True) -> dict[str, NDArray[Any]]:
    """Return what leaves the client by tensor name: 8-bit images unless ``images`` is False, float32 features at the
    uploaded splits, and the representation of the defense in its own types."""
    pictures = {"images": quantised(protected.images)} if images and protected.images is not None else {}
    features = {s: protected.features[s] for s in uploaded if s in protected.features}
    sent = {REPRESENTATION + name: v.detach().cpu().numpy() for name, v in protected.representation.items()}
    return pictures | sent | {f"features/{k}": v.detach().float().cpu().numpy() for k, v in features.items()}


def quantised(images: torch.Tensor) -> NDArray[np.uint8]:
    return images.mul(255).round().to(torch.uint8).cpu().numpy()


def numbers(extra: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    return {k: v.detach().double().cpu().numpy() for k, v in extra.items()}


def sample_table(chosen: NDArray[np.int64], extras: Sequence[Mapping[str, NDArray[Any]]], plugin: str) -> pa.Table:
    """Return a table with the index of each sample's face and the extra numbers that the plugin returned for it."""
    contracts.check_same_names(extras, plugin, "extra numbers")
    columns = {f"extra_{name}": np.concatenate([e[name] for e in extras]) for name in extras[0]}
    return pa.table({"face": chosen, **columns})
