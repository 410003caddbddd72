"""The networks: picture to picture (U-Net style), and embedding to picture. They take pictures of any size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from bench_learners.rearrangement import Rearrangement
from torch import Tensor, nn

from bench import ContractError

_GROUPS = 8
_SCALES = 4  # The picture is worked on at 1/2, 1/4, 1/8 and 1/16 of its size.
_DEEPEST = 4  # The coarsest scale has so many times the channels of the finest, and so does the one before.
_FIRST = 7  # The side of the map that an embedding is turned into.


class Residual(nn.Module):
    """Two 3x3 convolutions around which the input is passed on; it starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(_GROUPS, channels),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the same shape."""
        out: Tensor = x + self.body(x)
        return out


class Translator(nn.Module):
    """A U-Net from pictures to faces, after a `Rearrangement` (Ronneberger et al. 2015, with residual units).

    It sees the picture both as it is and rearranged, and learns what to add to the rearranged one.
    """

    def __init__(self, front: Rearrangement, channels: int) -> None:
        super().__init__()
        self.front = front
        widths = [channels * min(2**k, _DEEPEST) for k in range(_SCALES)]
        self.inward = nn.Conv2d(6 * 4, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in itertools.pairwise(widths))
        self.encode = nn.ModuleList(Residual(width) for width in widths)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(widths))
        self.decode = nn.ModuleList(Residual(width) for width in widths[:-1])
        self.out = nn.Conv2d(widths[0], 3 * 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return faces ``(n, 3, h, w)`` for pictures ``(n, 3, h, w)`` in [0, 1]; they are not clamped."""
        start = self.front(images)
        h, w = images.shape[2:]
        x = F.pad(torch.cat([images, start], 1) - 0.5, (0, w % 2, 0, h % 2), mode="replicate")
        x = self.encode[0](self.inward(F.pixel_unshuffle(x, 2)))
        held = []
        for down, encode in zip(self.down, self.encode[1:], strict=True):
            held.append(x)
            x = encode(down(x))
        for k in reversed(range(len(self.up))):
            x = held[k] + F.interpolate(self.up[k](x), size=held[k].shape[2:], mode="nearest")
            x = self.decode[k](x)
        made: Tensor = F.pixel_shuffle(self.out(x), 2)[..., :h, :w] + start
        return made


class EmbeddingDecoder(nn.Module):
    """A stack of upsampling residual units from embeddings to faces (after NbNet: Mai et al. 2018).

    It starts as the ``mean_face (3, h, w)`` for every embedding, and sees embeddings ``(n, d)`` of length 1.
    """

    mean_face: Tensor

    def __init__(self, size: int, mean_face: Tensor, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean_face", mean_face)
        steps = max(1, math.ceil(math.log2(max(mean_face.shape[1:]) / (2 * _FIRST))))
        widths = [max(channels, 4 * channels // 2**k) for k in range(steps + 1)]
        self.first = nn.Linear(size, widths[0] * _FIRST * _FIRST)
        self.units = nn.ModuleList(Residual(width) for width in widths)
        self.up = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in itertools.pairwise(widths))
        self.out = nn.Conv2d(widths[-1], 3 * 4, 3, padding=1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return faces ``(n, 3, h, w)``; they are not clamped."""
        h, w = self.mean_face.shape[1:]
        scaled = F.normalize(embeddings, dim=1) * math.sqrt(embeddings.shape[1])
        x = self.units[0](self.first(scaled).unflatten(1, (-1, _FIRST, _FIRST)))
        for up, unit in zip(self.up, self.units[1:], strict=True):
            x = unit(F.interpolate(up(x), scale_factor=2, mode="nearest"))
        made = F.pixel_shuffle(self.out(x), 2)
        if made.shape[2:] != (h, w):
            made = F.interpolate(made, size=(h, w), mode="bilinear", align_corners=False)
        return made + self.mean_face


def initialised(network: nn.Module, ends: Sequence[nn.Conv2d], generator: torch.Generator) -> None:
    """Draw the weights of a network from N(0, 1 / fan_in) with ``generator``; those of its last layer ``ends`` and of
    the last layer of each residual unit are 0. The global random state is not used."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * fan_in**-0.5)
                assert module.bias is not None
                module.bias.zero_()
        last = [module.body[-1] for module in network.modules() if isinstance(module, Residual)]
        for end in (*ends, *last):
            assert isinstance(end, nn.Conv2d)
            end.weight.zero_()


def translator_of(state: Mapping[str, Tensor], channels: int, who: str, prefix: str = "") -> Translator:
    """Return a trained translator from its state, for use. Raise `ContractError`, which names ``who``, if it does not
    fit."""
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    try:
        with torch.random.fork_rng(devices=[]):
            network = Translator(Rearrangement.of_state(own, "front."), channels)
        network.load_state_dict(own)
    except (KeyError, RuntimeError) as error:
        raise ContractError(f"{who}: what was learnt does not fit this decoder: {error}") from None
    return network.eval().requires_grad_(False)


def embedding_decoder_of(state: Mapping[str, Tensor], size: int, channels: int, who: str) -> EmbeddingDecoder:
    """Return a trained decoder of embeddings of this size from its state, for use. Raise `ContractError` if it does not
    fit."""
    try:
        with torch.random.fork_rng(devices=[]):
            network = EmbeddingDecoder(size, state["mean_face"], channels)
        network.load_state_dict(dict(state))
    except (KeyError, RuntimeError) as error:
        raise ContractError(f"{who}: what was learnt does not fit embeddings of length {size}: {error}") from None
    return network.eval().requires_grad_(False)
