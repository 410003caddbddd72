"""What a network does to pixels before its first convolution: a normalisation that its file contains.

Public networks are exported with and without their normalisation. If it is applied again, the network sees nearly
constant images, and its embeddings are wrong without any error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench import DataError
from bench_facenets.files.pixels import Pixels, short

_LAYERS = ("convolution", "mm", "addmm", "bmm", "linear", "baddbmm", "matmul")
_MOST_LAYERS = 4  # The number of first layers that are looked at.
_STRAIGHT = 1e-3  # The largest relative departure from a straight line that rounding in float32 explains.


class _Found(BaseException):
    """Ends a forward pass at its first layer with weights. A network's own ``except Exception`` does not catch it."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """The start of a network: ``channels`` that its first convolution takes, if it takes the images themselves; else
    None. ``mean`` and ``std``: before the first layer, a value x of channel i becomes (x - mean[i]) / std[i]; empty if
    x is passed on as it is. ``straight``: whether this is all that happens to x."""

    channels: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    straight: bool = True

    @property
    def divisor(self) -> float | None:
        """The divisor that brings pixels from 0 to 255 to the values that the normalisation is made for: 1 if these are
        0 to 255, 255 if they are 0 to 1; None if the normalisation does not tell."""
        if not self.straight or not self.mean:
            return None
        for divisor, low, high, narrow, wide in _RANGES:
            if all(low <= m <= high for m in self.mean) and all(narrow <= abs(s) <= wide for s in self.std):
                return divisor
        return None

    def __str__(self) -> str:
        return f"(x - {short(self.mean)}) / {short(self.std)}" if self.straight else "something that is not understood"


AS_IT_IS = Start()

# The divisor, and between which numbers the mean and the standard deviation of a normalisation lie that is made for
# pixels from 0 to 255 (with a mean, or only a division) or from 0 to 1. Learnt statistics lie there too.
_RANGES = ((1.0, 20.0, 235.0, 0.5, 400.0), (1.0, -1.0, 20.0, 20.0, 400.0), (255.0, 0.26, 0.75, 0.05, 1.1))


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A convolution or matrix product that a forward pass has reached: its input, its weights, and the number of groups
    of a convolution, which is 0 for a matrix product."""

    x: Tensor
    weights: Tensor
    groups: int

    def is_pointwise(self, channels: int) -> bool:
        """Return True if the layer computes each pixel of an image with so many channels from this pixel alone."""
        if self.groups:
            return all(side == 1 for side in self.weights.shape[2:])
        return channels in self.x.shape and self.x.numel() > channels > 1 and self.weights.numel() == channels**2

    def values(self, channels: int) -> Tensor:
        """Return the values of the middle of the input ``(c,)``, in double precision; a single one if an input of a
        matrix product has no axis for the channels."""
        x = self.x.double()
        if self.groups:
            for side in reversed(x.shape[2:]):
                x = x[..., side // 2]
            return x[0]
        if not self.is_pointwise(channels):
            return x.flatten()[x.numel() // 2].reshape(1)
        pixels = x.movedim(list(x.shape).index(channels), 0).reshape(channels, -1)
        return pixels[:, pixels.shape[1] // 2]


class _FirstLayers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the first convolutions and matrix products, and ends the forward pass at the first one that combines
    pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.channels = channels
        self.layers: list[_Layer] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        tensors = [arg.detach() for arg in args if isinstance(arg, Tensor)]
        if name in _LAYERS and any(tensor.is_floating_point() for tensor in tensors):
            groups = args[8] if name == "convolution" else 0
            x, weights = tensors[1:] if name in ("addmm", "baddbmm") else tensors[:2]
            if not groups and weights.numel() > x.numel() == self.channels**2:  # The matrix comes first.
                x, weights = weights, x
            self.layers.append(_Layer(x=x, weights=weights, groups=groups))
            if len(self.layers) == _MOST_LAYERS or not self.layers[-1].is_pointwise(self.channels):
                raise _Found
        return func(*args, **(kwargs or {}))


def start_of(net: nn.Module, channels: int, size: tuple[int, int]) -> Start:
    """Return what a network does to images ``(n, channels, height, width)`` before its first layer that combines
    pixels. What layers without spatial extent do, such as a 1x1 convolution, counts if each channel stays by itself;
    else the first of them is a layer that was learnt."""
    grey = [torch.full((1, channels, *size), value) for value in (0.0, 1.0, 255.0)]
    coloured = [torch.zeros(1, channels, *size) for _ in range(channels)]
    for i, image in enumerate(coloured):
        image[:, i] = 255.0
    seen = [_first_layers(net, image, channels) for image in (*grey, *coloured)]
    if not all(seen):
        return Start()
    taken = _channels(seen[0][0], channels, size)
    found = []
    for k in range(min(map(len, seen))):
        values = [layers[k].values(channels) for layers in seen]
        start = _start(values[:3], values[3:])
        if k == 0:
            start = start or _start(values[:3], [])
        elif start is None and len(values[0]) == channels:  # Perhaps a conversion of colours.
            start = Start(straight=False)
        found += [start] if start else []
    return replace(found[-1] if found else AS_IT_IS, channels=taken)


def _first_layers(net: nn.Module, images: Tensor, channels: int) -> list[_Layer]:
    """Return the first layers that a forward pass reaches; none if it fails."""
    mode = _FirstLayers(channels)
    try:
        with torch.no_grad(), mode:
            net(images)
    except _Found:
        return mode.layers
    except Exception:  # A network that takes other images; its own error is shown when it is used.
        return []
    return mode.layers


def _start(grey: Sequence[Tensor], coloured: Sequence[Tensor]) -> Start | None:
    """Return what becomes of each channel, from the values ``(c,)`` of a layer's input for grey images of 0, 1 and 255,
    and for images of 255 in one channel each and 0 in the others. None if channels are mixed, or if it is not a
    straight line and images of one channel each are given."""
    zero, one, white = grey
    slope, order = (white - zero) / 255, list(range(len(zero)))
    if coloured:
        response = torch.stack([(values - zero) / 255 for values in coloured])  # (channels of the image, of the input)
        if response.shape[0] != response.shape[1]:
            return None
        largest = response.abs().max(dim=0)
        order = largest.indices.tolist()
        rest = response.abs().sum(dim=0) - largest.values
        if len(set(order)) < len(order) or bool((rest > _STRAIGHT * largest.values).any()):
            return None
    finite = bool(torch.isfinite(torch.stack([zero, one, white])).all())
    straight = finite and bool(((one - zero - slope).abs() <= _STRAIGHT * (slope.abs() + zero.abs())).all())
    if coloured and not straight:
        return None
    if not finite or bool((slope == 0).any()):
        return Start(straight=False)
    if bool(torch.allclose(slope, torch.ones_like(slope), atol=1e-6)) and bool((zero.abs() < 1e-6).all()):
        return Start(straight=straight)
    of_image = [order.index(i) for i in range(len(order))]
    mean, std = (-zero / slope)[of_image].tolist(), (1 / slope)[of_image].tolist()
    return Start(mean=_rounded(mean), std=_rounded(std), straight=straight)


def _channels(layer: _Layer, channels: int, size: tuple[int, int]) -> int | None:
    """Return the number of channels that a first convolution takes, if it gets the images themselves."""
    x, weights = layer.x, layer.weights
    if not layer.groups or weights.ndim != 4 or x.ndim != 4 or x.shape[1] != channels or tuple(x.shape[2:]) != size:
        return None
    return weights.shape[1] * layer.groups


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    found = tuple(float(f"{value:.4g}") for value in values)
    return tuple(value + 0.0 for value in found)


def pixels_for(start: Start, default: Pixels) -> Pixels:
    """Return the pixels that a network with this start gets unless the suite says otherwise."""
    grey = replace(default, channels="grey") if start.channels == 1 else default
    return grey if start.divisor is None else replace(grey, mean=(0.0,) * 3, std=(start.divisor,) * 3)


def notes(start: Start, default: Pixels, pixels: Pixels) -> tuple[str, ...]:
    """Return what the user must know about the start of a network: ``default`` are its pixels without a suite,
    ``pixels`` those with it."""
    found = []
    if default.channels == "grey":
        found.append('the network takes one channel: it gets grey images (channels = "grey", ITU-R 601)')
    given = f"(x - {short(pixels.mean)}) / {short(pixels.std)} of pixels from 0 to 255"
    as_by_default = (pixels.mean, pixels.std) == (default.mean, default.std)
    if start.divisor is not None:
        values = "0 to 255" if start.divisor == 1 else "0 to 1"
        if as_by_default:
            found.append(f"the network normalises pixels itself, {start}: it gets values from {values}")
        else:
            found.append(
                f"the network normalises pixels itself, {start}, as for values from {values}, but mean and std give it "
                f"{given}: pixels are normalised twice; leave mean and std out"
            )
    elif (start.mean or not start.straight) and as_by_default:
        found.append(
            f"before its first convolution the network computes {start}, which does not tell what pixels it takes; it "
            f"gets {given}: set mean = 0 and std = 1 if it takes 0 to 255, or mean = 0 and std = 255 if it takes 0 to 1"
        )
    return tuple(found)


def check_channels(start: Start, pixels: Pixels) -> None:
    """Raise DataError unless the network takes as many channels as it gets, with one mean and std for grey images."""
    if pixels.channels == "grey" and len(set(pixels.mean)) + len(set(pixels.std)) > 2:
        raise DataError(
            f"mean, std: expected one number each for a network that takes grey images, found {short(pixels.mean)} and "
            f"{short(pixels.std)}"
        )
    given = 1 if pixels.channels == "grey" else 3
    if start.channels not in (None, given):
        settings = {1: 'set channels = "grey"', 3: 'set channels = "rgb" or "bgr"'}
        hint = settings.get(start.channels or 0, "only networks that take 3 (or 1 for grey images) can be used")
        raise DataError(
            f"expected a network that takes images of {given} channels (channels = {pixels.channels!r}), found a first "
            f"convolution of {start.channels}; {hint}"
        )
