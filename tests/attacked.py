"""Shared by the tests of attacks: a suite, and references computed with numpy and separate toy networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from support import Computed

BASE = """\
[suite]
name = "toy"
seed = 5

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a", "toy-b"]
defenses = ["noise"]
attacks = ["abuse"]
pairs = 70
"""
FEATURES = 'upload = "features"\n'
UP = "noise_levels = [0.0, 0.1, 0.4]\n"
FACES = "evaluation faces of toy-faces"
NOISY = "toy-faces protected by noise"


def network(name: str) -> Any:
    """Return a new toy network, which the code under test does not use."""
    from bench_toy import models

    return {"toy-a": models.ToyA, "toy-b": models.ToyB}[name]().load().eval().requires_grad_(False)


def as_float(images: Any) -> torch.Tensor:
    """Return 8-bit images as the float input of a network."""
    return torch.from_numpy(np.array(images)).float() / 255


def unit(vectors: Any) -> Any:
    """Return the rows scaled to length 1, in double precision."""
    values = np.asarray(vectors, np.float64)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def left_of(done: Computed) -> Any:
    """Return the indices of the left images, each once."""
    return np.unique(done.artifact(FACES).tables["pairs"]["left"].to_numpy())


def up_rows(done: Computed, protected: str, model: str) -> dict[str, Any]:
    """Return the rows of UP under noise, from the only attribute attack."""
    (attack,) = {c.attack.label for c in done.plan.cells if c.outputs == "attributes"}
    return done.table(f"{attack} and recognition of {protected} under noise, by {model}", "up")


def of_level(rows: dict[str, Any], sigma: float) -> dict[str, Any]:
    """Return the rows of one noise level."""
    return {name: column[rows["sigma"] == sigma] for name, column in rows.items()}
