"""What the kit calls plugins with: drawn faces of people who do not exist, a tiny network with split points, contexts.

Everything follows from fixed numbers, so that it is the same in every process.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.api.context import Capabilities, Context
from bench.api.folding import as_it_is
from bench.api.types import Pictures
from bench.stages.stage_inputs import StoredFaces

SIZE = (112, 112)
SEED = 20_240_229
CPU = torch.device("cpu")
MODEL = "kit-model"  # the label of the authorised model
SURROGATE = "kit-surrogate"
SPLITS: Mapping[str, tuple[int, int, int]] = {
    "stem": (8, 56, 56),
    "stage1": (8, 28, 28),
    "stage2": (16, 14, 14),
    "stage3": (16, 7, 7),
    "stage4": (32, 7, 7),
}
EMBEDDING = 128
_EMOTIONS = ("happy", "neutral", "sad")
_GROUPS = ("group-a", "group-b", "group-c", "group-d")


def draw(person: int, picture: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Draw a picture of a person, uint8 ``(3, h, w)``: an oval of skin with hair, eyes and a mouth, moved and lit a
    little differently in each picture."""
    own, shot = np.random.default_rng([SEED, person]), np.random.default_rng([SEED, person, picture + 1])
    y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in size), indexing="ij")
    x, y = x - shot.uniform(-0.05, 0.05), y - shot.uniform(-0.05, 0.05)
    width, height = own.uniform(0.5, 0.7), own.uniform(0.7, 0.9)
    apart, eye, smile = own.uniform(0.2, 0.3), own.uniform(0.05, 0.1), own.uniform(-0.1, 0.1)
    image = np.empty((3, *size))
    image[:] = own.uniform(0.1, 0.6, (3, 1, 1))
    skin, hair, lips = own.uniform(0.4, 0.9, 3), own.uniform(0.0, 0.4, 3), own.uniform(0.2, 0.7, 3)
    parts = [
        (hair, (x / (width + 0.1)) ** 2 + ((y + 0.1) / (height + 0.1)) ** 2 < 1),
        (skin, (x / width) ** 2 + ((y - 0.1) / height) ** 2 < 1),
        (hair / 2, (np.abs(x) - apart) ** 2 + (y + 0.15) ** 2 < eye**2),
        (lips, (x / 0.3) ** 2 + ((y - 0.45 + smile * x**2) / 0.08) ** 2 < 1),
    ]
    for colour, where in parts:
        image[:, where] = colour[:, None]
    light = shot.uniform(0.85, 1.1) * (1 + shot.uniform(-0.1, 0.1) * x)
    noisy = image * light + shot.normal(0, 0.02, image.shape)
    found: NDArray[np.uint8] = (255 * np.clip(noisy, 0, 1)).round().astype(np.uint8)
    return found


def faces(people: int, pictures: int = 2, *, first: int = 0, size: tuple[int, int] = SIZE) -> StoredFaces:
    """Return pictures of people, person by person, with labels; ``first`` is the number of the first person."""
    who = [(first + p, k) for p in range(people) for k in range(pictures)]
    numbers = np.array([person for person, _ in who], np.int64)
    return StoredFaces(
        images=np.stack([draw(person, picture, size) for person, picture in who]),
        subjects=numbers,
        sample_ids=np.array([f"kit/{person}/{picture}" for person, picture in who]),
        attributes={
            "age": 20.0 + numbers % 50,
            "gender": np.array(["woman", "man"])[numbers % 2],
            "emotion": np.array(_EMOTIONS)[numbers % 3],
            "group": np.array(_GROUPS)[numbers % 4],
        },
    )


def floats(images: NDArray[np.uint8]) -> torch.Tensor:
    """Return images uint8 ``(n, 3, h, w)`` as a plugin receives them: floats in [0, 1]."""
    return torch.from_numpy(np.array(images, order="C")).float().div_(255.0)


class TinyNetwork(nn.Module):
    """A recognition network of five small convolutions with random weights, with the split points of `SPLITS`; an
    implementation of `bench.Network`."""

    def __init__(self, seed: int = 0, splits: Sequence[str] = tuple(SPLITS)) -> None:
        super().__init__()
        self.splits = tuple(splits)
        with torch.random.fork_rng([]):  # The layers draw their first weights from the global stream.
            widths = [3, *(channels for channels, _, _ in SPLITS.values())]
            strides = [2, 2, 2, 2, 1]
            self.stages = nn.ModuleList(
                nn.Sequential(nn.Conv2d(a, b, 3, stride=s, padding=1, bias=False), nn.BatchNorm2d(b), nn.PReLU(b))
                for (a, b), s in zip(itertools.pairwise(widths), strides, strict=True)
            )
            self.head = nn.Linear(widths[-1] * 49, EMBEDDING, bias=False)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.ndim > 1:
                    fan_in = parameter[0].numel()
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * (2 / fan_in) ** 0.5)

    def features(self, images: torch.Tensor, splits: Sequence[str]) -> list[torch.Tensor]:
        """Return the feature maps at the named split points."""
        found: dict[str, torch.Tensor] = {}
        maps = 2 * images - 1
        for name, stage in zip(self.splits, self.stages, strict=True):
            if set(splits) <= found.keys():
                break
            maps = found[name] = stage(maps)
        return [found[name] for name in splits]

    def from_features(self, features: torch.Tensor, split: str) -> torch.Tensor:
        """Return the embeddings ``(n, 128)`` that follow from the feature maps at a split point."""
        for stage in self.stages[self.splits.index(split) + 1 :]:
            features = stage(features)
        return self.head(torch.nn.functional.adaptive_avg_pool2d(features, 7).flatten(1))  # type: ignore[no-any-return]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings ``(n, 128)`` of images."""
        (deepest,) = self.features(images, self.splits[-1:])
        return self.from_features(deepest, self.splits[-1])


def network(seed: int = 0) -> TinyNetwork:
    """Return a tiny network as the host hands it to plugins: frozen, in evaluation mode."""
    return as_it_is(TinyNetwork(seed).eval().requires_grad_(False))


def to_adapt(of: nn.Module) -> Any:
    """Return a copy of a network that an attack may train."""
    return as_it_is(copy.deepcopy(of)).requires_grad_(True)


def pictures(of: StoredFaces) -> Pictures:
    """Return faces as a plugin receives further pictures of people."""
    return Pictures(images=floats(of.images), subjects=torch.from_numpy(of.subjects.copy()))


def context(
    plugin: str = "plugin",
    capabilities: Capabilities | None = None,
    *,
    sample_ids: Sequence[str] = (),
    state: Mapping[str, torch.Tensor] | None = None,
) -> Context:
    """Return a context on the CPU with the seed of the kit."""
    return Context(
        device=CPU,
        seed=SEED,
        capabilities=capabilities or Capabilities(),
        state=state or {},
        sample_ids=[str(name) for name in sample_ids],
        plugin=plugin,
    )
