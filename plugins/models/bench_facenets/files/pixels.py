"""The input of a network: size, channel order, mean and standard deviation of pixels. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Channels = Literal["rgb", "bgr", "grey"]
Numbers = float | tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """The input of a network: ``(n, 3, height, width)``, each value ``(x - mean) / std`` of a pixel in [0, 255].

    ``mean`` and ``std`` are in the network's own channel order. InsightFace's networks take RGB and 127.5 for both.
    With ``grey`` channels, the input is ``(n, 1, height, width)``, and all three numbers are equal.
    """

    height: int = 112
    width: int = 112
    mean: tuple[float, ...] = (127.5, 127.5, 127.5)
    std: tuple[float, ...] = (127.5, 127.5, 127.5)
    channels: Channels = "rgb"

    def __str__(self) -> str:
        mean, std = (short(values) for values in (self.mean, self.std))
        return f"{self.height}x{self.width} {self.channels}, (x - {mean}) / {std}"


def three(values: Numbers, name: str) -> tuple[float, ...]:
    """Return three numbers from one number for all channels, or from three. Raises ValueError for any other count."""
    found = tuple(map(float, values)) if isinstance(values, Sequence) else (float(values),) * 3
    if len(found) != 3:
        raise ValueError(f"{name}: expected one number or three, got {len(found)}")
    return found


def with_parameters(
    pixels: Pixels,
    *,
    size: tuple[int, int] | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    pixel_range: int = 255,
    channels: Channels | None = None,
) -> Pixels:
    """Return ``pixels`` with the changes of a suite; ``pixel_range`` is the scale of the suite's mean and std.

    Raises ValueError for an implausible size, mean or standard deviation, such as ``mean = [0.485, ...]`` (the
    statistics of ImageNet, for pixels in [0, 1]) with ``pixel_range = 255``.
    """
    changes: dict[str, Any] = {}
    if size is not None:
        if min(size) < 16 or max(size) > 1024:
            raise ValueError(f"net_input_size: expected height and width between 16 and 1024, got {list(size)}")
        changes |= {"height": size[0], "width": size[1]}
    if mean is not None:
        found = three(mean, "mean")
        if pixel_range == 255 and 0 < max(found) <= 1:
            raise ValueError(
                f"mean = {short(found)}: expected a mean for pixels from 0 to 255, got one that looks like pixels "
                "from 0 to 1; set pixel_range = 1"
            )
        if pixel_range == 1 and max(found) > 1:
            raise ValueError(f"mean = {short(found)}: expected at most 1 with pixel_range = 1; set pixel_range = 255")
        changes["mean"] = tuple(value * 255 / pixel_range for value in found)
    if std is not None:
        found = three(std, "std")
        if min(found) <= 0:
            raise ValueError(f"std: expected numbers above 0, got {short(found)}")
        if pixel_range == 255 and max(found) < 1:
            raise ValueError(
                f"std = {short(found)}: expected the scale of pixels from 0 to 255, got one that looks like pixels "
                "from 0 to 1; set pixel_range = 1"
            )
        if pixel_range == 1 and max(found) > 1:
            raise ValueError(f"std = {short(found)}: expected at most 1 with pixel_range = 1; set pixel_range = 255")
        changes["std"] = tuple(value * 255 / pixel_range for value in found)
    if channels is not None:
        changes["channels"] = channels
    if channels == "grey":
        for name in ("mean", "std"):
            if len(set(changes.get(name, ()))) > 1:
                raise ValueError(f"{name}: expected one number for grey images, got {short(changes[name])}")
    return replace(pixels, **changes)


def short(values: Sequence[float]) -> str:
    texts = [f"{value:g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"
