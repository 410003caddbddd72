"""The decoder of RecFace: a U-Net (Ronneberger et al. 2015) with inputs at several scales at once.

Scale k has 1/2^k of the image size, rounded up. A feature map enters at the scale nearest to its own size. The
contracting path carries shallow maps down to the coarsest scale; the expanding path adds, at every scale, the output
of the contracting path there. Sums of 1x1 convolutions replace the U-Net's concatenations; both are the same function.
The finest scale is 1: its last convolution computes 2x2 pixels for each position (sub-pixel convolution, Shi et al.
2016), at a quarter of the cost of a convolution at the full size. The network predicts the difference to the mean face
of the training set. Group normalisation (Wu and He 2018) keeps every image independent of its batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, int, int]

_COARSEST = 4  # The contracting path reaches at least this scale, a sixteenth of the image size.
_WIDEST = 3  # The number of channels is doubled at most this often.
_GROUP = 8  # The number of channels that are normalised together.
_FAR = 50.0  # Features are clamped to this many standard deviations, so that an extreme upload stays finite.


class Residual(nn.Module):
    """``(n, c, h, w)`` to the same: two 3x3 convolutions, pre-activated (He et al. 2016, "Identity mappings")."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_activated(channels, channels), *_activated(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the input and the output of the body."""
        out: Tensor = x + self.body(x)
        return out


def _activated(c_in: int, c_out: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return nn.GroupNorm(c_in // _GROUP, c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, stride, padding=1)


class Decoder(nn.Module):
    """Decodes maps of the given shapes ``(c, h, w)`` to images of ``size`` (h, w).

    Its buffers hold statistics of the training set: the ``mean_face`` (3, h, w) and, for map i, ``mean{i}`` and
    ``std{i}`` (c, 1, 1).
    """

    mean_face: Tensor

    def __init__(self, shapes: Sequence[Shape], size: tuple[int, int], channels: int, blocks: int) -> None:
        super().__init__()
        self.size = size
        self.scales = [scale_of(shape[1:], size) for shape in shapes]
        first, last = max(1, min(self.scales)), max(_COARSEST, *self.scales)
        self.last = last
        width = [channels * 2 ** min(k - 1, _WIDEST) if k else 0 for k in range(last + 1)]
        self.inject = nn.ModuleList(
            nn.Conv2d(c if k else 4 * c, width[max(1, k)], 1) for (c, _, _), k in zip(shapes, self.scales, strict=True)
        )
        self.down = nn.ModuleDict(
            {str(k): nn.Sequential(*_activated(width[k - 1], width[k], 2)) for k in range(first + 1, last + 1)}
        )
        self.refine = nn.ModuleDict(
            {str(k): nn.Sequential(*(Residual(width[k]) for _ in range(blocks))) for k in range(2, last + 1)}
        )
        self.up = nn.ModuleDict({str(k): nn.Conv2d(width[k + 1], width[k], 1) for k in range(1, last)})
        self.out = nn.Sequential(*_activated(width[1], 12))
        self.register_buffer("mean_face", torch.zeros(3, *size))
        for i, (c, _, _) in enumerate(shapes):
            self.register_buffer(f"mean{i}", torch.zeros(c, 1, 1))
            self.register_buffer(f"std{i}", torch.ones(c, 1, 1))

    def normalised(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps in standard deviations from the mean, per channel; extreme values are clamped."""
        return [
            ((x.float() - self.get_buffer(f"mean{i}")) / self.get_buffer(f"std{i}")).clamp(-_FAR, _FAR)
            for i, x in enumerate(maps)
        ]

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Decode normalised maps to images ``(n, 3, h, w)``, which are not clamped."""
        contracted = self._contract(maps)
        x: Tensor | None = None
        for k in range(self.last, 0, -1):
            if x is not None:
                x = F.interpolate(self.up[str(k)](x), size=self._size(k), mode="nearest")
            if k in contracted:
                x = contracted[k] if x is None else x + contracted[k]
            x = self.refine[str(k)](x) if k > 1 else x
        assert x is not None
        h, w = self.size
        out: Tensor = self.mean_face + F.pixel_shuffle(self.out(x), 2)[:, :, :h, :w]
        return out

    def _contract(self, maps: Sequence[Tensor]) -> dict[int, Tensor]:
        """Return the outputs of the contracting path by scale, from the finest scale with a map to the coarsest."""
        found: dict[int, Tensor] = {}
        for inject, k, x in zip(self.inject, self.scales, maps, strict=True):
            k, x = max(1, k), inject(self._placed(x, k))
            found[k] = found[k] + x if k in found else x
        for k in range(min(found) + 1, self.last + 1):
            x = self.down[str(k)](found[k - 1])
            found[k] = found[k] + x if k in found else x
        return found

    def _placed(self, x: Tensor, k: int) -> Tensor:
        """Resize a map to the exact size of its scale k. A map of scale 0 is rearranged to four times the channels at
        half the image size (space to depth), which loses nothing."""
        h, w = self._size(max(1, k))
        size = (h, w) if k else (2 * h, 2 * w)
        if x.shape[2:] != size:
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        x = x if k else F.pixel_unshuffle(x, 2)
        return x.contiguous(memory_format=torch.channels_last)

    def _size(self, k: int) -> tuple[int, int]:
        h, w = self.size
        return -(-h // 2**k), -(-w // 2**k)


def scale_of(shape: tuple[int, int], size: tuple[int, int]) -> int:
    """Return the scale k >= 0 whose size is nearest to that of a map ``(h, w)``, by the geometric mean of the sides."""
    return max(0, round(math.log2(size[0] * size[1] / (shape[0] * shape[1])) / 2))


def new_decoder(
    shapes: Sequence[Shape], size: tuple[int, int], channels: int, blocks: int, generator: torch.Generator
) -> Decoder:
    """Return a decoder on the CPU with weights drawn from N(0, 1 / fan_in).

    It starts as the mean face for every input, and each residual block as the identity. Only ``generator`` is used:
    the global random state is neither read nor changed.
    """
    decoder = _empty(shapes, size, channels, blocks).to_empty(device="cpu")
    with torch.no_grad():
        for name, buffer in decoder.named_buffers():
            buffer.fill_(1.0 if name.startswith("std") else 0.0)
        for module in decoder.modules():
            if isinstance(module, nn.GroupNorm | nn.Conv2d):
                assert module.bias is not None
                module.bias.zero_()
                module.weight.fill_(1.0)
            if isinstance(module, nn.Conv2d):
                module.weight.normal_(0, module.weight[0].numel() ** -0.5, generator=generator)
        for ends in (decoder.out, *(module.body for module in decoder.modules() if isinstance(module, Residual))):
            last = ends[-1]
            assert isinstance(last, nn.Conv2d)
            last.weight.zero_()
    return decoder.to(memory_format=torch.channels_last)


def load_decoder(shapes: Sequence[Shape], channels: int, blocks: int, state: Mapping[str, Tensor]) -> Decoder:
    """Return a decoder for evaluation with the weights of a state dict. Raises ValueError if they do not fit maps of
    these shapes."""
    if "mean_face" not in state:
        raise ValueError("expected the state of a trained decoder, found none")
    h, w = state["mean_face"].shape[1:]
    decoder = _empty(shapes, (h, w), channels, blocks)
    try:
        decoder.load_state_dict(dict(state), assign=True)
    except RuntimeError as error:
        raise ValueError(f"the trained decoder does not fit features of shapes {list(shapes)}: {error}") from None
    return decoder.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def _empty(shapes: Sequence[Shape], size: tuple[int, int], channels: int, blocks: int) -> Decoder:
    """Return a decoder on torch's meta device, so that no layer draws initial weights from the global generator."""
    with torch.device("meta"):
        return Decoder(shapes, size, channels, blocks)
