"""Faces and a network for the tests of the trainer; ``training_worker.py FOLDER PRECISION`` is for torchrun."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from bench_training.config import Phase, RunOptions, TrainConfig
from bench_training.data import DecodedData, TrainData
from bench_training.loop import State, train
from bench_training.ranks import Ranks, join
from numpy.typing import NDArray
from torch import Tensor, nn

from bench import TrainingSet

SIDE = 16


@dataclass(frozen=True, kw_only=True)
class Noise(TrainingSet):
    """Every person is a pattern; every image adds a little noise to it."""

    image_size: ClassVar[tuple[int, int]] = (SIDE, SIDE)
    people_: int = 6
    each: int = 5

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()

    def labels(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(self.people_), self.each)

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        out = np.empty((len(rows), 3, SIDE, SIDE), np.uint8)
        for i, row in enumerate(rows.tolist()):
            pattern = np.random.default_rng([1, row // self.each]).integers(40, 216, out.shape[1:])
            out[i] = pattern + np.random.default_rng([2, row]).integers(-20, 21, out.shape[1:])
        return out


class Tiny(nn.Module):
    """A network without batch normalisation, so that an image's embedding does not depend on its batch."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 2, 1)
        self.act = nn.PReLU(6)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(6 * SIDE * SIDE // 4, 8)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(n, 3, 16, 16)`` in [0, 1] to ``(n, 8)``."""
        maps: Tensor = self.dropout(self.act(self.conv(images - 0.5)))
        embeddings: Tensor = self.linear(maps.flatten(1))
        return embeddings


def build(dropout: float = 0.0) -> nn.Module:
    """Return the network with its initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Tiny(dropout)


SOURCE = Noise()
DATA = DecodedData(source=SOURCE, labels=SOURCE.labels())
CONFIG = TrainConfig(
    name="tiny",
    architecture="tiny",
    loss="arcface",
    seed=4,
    embedding_size=8,
    margin=0.3,
    scale=8.0,
    batch=8,
    clip=1.0,
    phases=(
        Phase(images=64, identities=4, size=SIDE, lr=0.1),
        Phase(images=64, size=SIDE, lr=0.1, margin=1.0),
    ),
)
QUICK = RunOptions(workers=2, log_every=4)


def fit(folder: Path, config: TrainConfig = CONFIG, data: TrainData = DATA, **more: Any) -> State | None:
    """Train in this process; see `bench_training.loop.train`."""
    arguments = {"fingerprint": "noise", "options": QUICK, "progress": lambda _: None, "ranks": Ranks()} | more
    return train(config, data, arguments.pop("build", build), folder, **arguments)


def weights(state: State | None) -> dict[str, Tensor]:
    """The weights and the class matrix at the end of a training."""
    assert state is not None
    return {name: value.detach().clone() for name, value in state.learner.state_dict().items()}


def main(folder: Path, precision: Any, stop_after: int | None) -> None:
    """Train among the processes of torchrun; the first one stores the weights in ``<folder>/weights.pt``."""
    torch.set_num_threads(1)
    ranks = join()
    state = fit(folder, replace(CONFIG, precision=precision), ranks=ranks, progress=print, stop_after=stop_after)
    if ranks.first and state is not None:
        torch.save({"weights": weights(state), "worlds": state.worlds}, folder / "weights.pt")
    ranks.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)
