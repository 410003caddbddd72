"""A small recogniser, generated faces and contexts for the tests of attacks that learn to recognise."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from bench_adapted import bench_attacks
from bench_blocks import permute_blocks
from numpy.typing import NDArray
from torch import Tensor, nn

from bench import Capabilities, Context, Received
from bench.testing import check_state

SIDE = 16


class Recogniser(nn.Module):
    """Embeds coarse pictures linearly, so it recognises people and is lost if blocks change their places."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.linear = nn.Linear(3 * 64, 24, bias=False)
        with torch.no_grad():
            self.linear.weight.normal_(0, 0.07, generator=torch.Generator().manual_seed(seed))

    def forward(self, images: Tensor) -> Tensor:
        coarse = nn.functional.adaptive_avg_pool2d(self.norm(images - 0.5), SIDE // 2)
        found: Tensor = self.linear(coarse.flatten(1))
        return found


class Pictures:
    """Implements `bench.Examples`: ``each`` pictures of each person, ``side`` pixels wide, which differ by noise, and
    what is uploaded."""

    def __init__(
        self,
        people: int = 60,
        each: int = 2,
        protect: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
        side: int = SIDE,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        faces = torch.rand(people, 3, SIDE // 2, SIDE // 2, generator=generator).repeat_interleave(each, 0)
        noise = 0.1 * torch.randn(faces.shape, generator=generator)
        images = nn.functional.interpolate((0.1 + 0.8 * faces + noise).clamp(0, 1), size=(side, side))
        self.subjects = np.arange(people).repeat(each) + 1000 * (1 + seed)
        self.images: NDArray[np.uint8] = (255 * images).round().to(torch.uint8).numpy()
        self.attributes: dict[str, Any] = {}
        self.sent = protect(self.clean(slice(None))) if protect else self.clean(slice(None))
        self.shown = set[int]()

    def clean(self, rows: Any) -> Tensor:
        return torch.from_numpy(self.images[rows]).float() / 255

    def received(self, rows: NDArray[np.int64], upload: int = 0) -> Received:
        self.shown |= set(np.asarray(rows).tolist())
        return Received(images=self.sent[torch.from_numpy(np.asarray(rows))])


def shuffled_blocks(images: Tensor, block: int = 4) -> Tensor:
    """Return images whose blocks have changed their places, in all images in the same way."""
    return permute_blocks(images, block, 5)


def other_colours(images: Tensor) -> Tensor:
    """Return images whose colours have changed their places."""
    return images[:, [1, 2, 0]]


def grey(images: Tensor) -> Tensor:
    """Return a grey picture in place of each."""
    return torch.full_like(images, 0.4)


def recogniser_context(attack: Any, state: Any = None, network: nn.Module | None = None, **more: Any) -> Context:
    """Return the context of a call of an attack that may adapt a recogniser."""
    evaluated: Any = network or Recogniser()
    evaluated = evaluated.eval()
    seen = Capabilities.of_attack(
        attack.sees,
        more.pop("models", {}),
        image_size=(SIDE, SIDE),
        evaluated=lambda: copy.deepcopy(evaluated).requires_grad_(True),
    )
    return Context(
        device=torch.device("cpu"), seed=3, capabilities=seen, state=state or {}, plugin="attack learner", **more
    )


def learnt(attack: Any, examples: Pictures) -> dict[str, Tensor]:
    """Return what an attack learns, or the attack that it is trained as, as it comes back from the cache."""
    named = dict(attack.trained_as() or {})
    learner = bench_attacks()[named.pop("plugin")](**named) if named else attack
    stored = check_state(learner.fit(examples, recogniser_context(learner)), "attack learner")
    return {name: torch.from_numpy(value) for name, value in stored.items()}


def cosines(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines of embeddings at equal places, and those at places that are one apart."""
    similarity = nn.functional.cosine_similarity
    return similarity(first, second), similarity(first.roll(1, 0), second)
