"""LPIPS, a perceptual distance between images, computed with VGG-16 weights that the user provides.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric". LPIPS consists of a trunk
and linear heads. The heads come with the package ``lpips``. The trunk is torchvision's VGG-16, a file of 528 MB, which
the user must provide. Without it no LPIPS is computed: nothing is downloaded, and no other trunk is used. The network
is built on torch's ``meta`` device, which holds no values, so that every weight must have been loaded from a file.

The planner calls `find_vgg`, which therefore does not import torch.
"""

from __future__ import annotations

import functools
import importlib.resources
import importlib.util
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import DataError
from bench.core.packages import how_to_install
from bench.core.provenance import file_sha256

if TYPE_CHECKING:
    import torch

VGG_FILE = "vgg16-397923af.pth"
VGG_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
VGG_URL = f"https://download.pytorch.org/models/{VGG_FILE}"
VARIABLE = "BENCH_LPIPS_VGG"
LPIPS_VARIANT = f"LPIPS 0.1, VGG-16 trunk ({VGG_FILE}), images scaled from [0, 1] to [-1, 1], original size"

_PIECE = 8  # images that are processed at a time; two passes of VGG-16 at 112x112 need about 40 MB for each
_MIN_SIDE = 16  # pixels; the trunk halves the size four times


@dataclass(frozen=True, kw_only=True)
class VggWeights:
    """The verified VGG-16 weights of this machine: path and sha256 of their file. ``reason`` is None."""

    path: Path
    sha256: str
    reason: ClassVar[None] = None


@dataclass(frozen=True, kw_only=True)
class MissingVgg:
    """The result of `find_vgg` without usable weights. ``reason`` says why, and what to do; reports show it."""

    reason: str
    path: ClassVar[None] = None
    sha256: ClassVar[None] = None


def find_vgg(expected_sha256: str = VGG_SHA256) -> VggWeights | MissingVgg:
    """Find the VGG-16 weights of this machine: the file that ``$BENCH_LPIPS_VGG`` names, else the one in torch's cache.

    The cache is ``hub/checkpoints`` in ``$TORCH_HOME``, ``$XDG_CACHE_HOME/torch`` or ``~/.cache/torch``, where
    torchvision stores its downloads. A file with another sha256 is not used. Raises DataError if the variable names a
    missing or wrong file, or the package ``lpips`` is missing, because a user who sets it expects LPIPS to be computed.
    """
    chosen = os.environ.get(VARIABLE)
    install = how_to_install("lpips") or "pip install lpips"  # Sources that are not installed name no package.
    absent = "" if importlib.util.find_spec("lpips") else f"LPIPS needs the package lpips: {install}"
    if absent and chosen:
        raise DataError(f"${VARIABLE} is set, and {absent}")
    if absent:
        return MissingVgg(reason=absent)
    if chosen:
        path = Path(chosen).expanduser().absolute()
        return VggWeights(path=path, sha256=_digest(path, expected_sha256, f"${VARIABLE}"))
    path = _hub_cache() / VGG_FILE
    if not os.path.exists(path):
        return MissingVgg(reason=f"LPIPS needs {VGG_FILE} (528 MB, {VGG_URL}): {_remedy(path)}")
    try:
        return VggWeights(path=path, sha256=_digest(path, expected_sha256, "torch's cache"))
    except DataError as error:
        return MissingVgg(reason=f"LPIPS: {error}")


def _hub_cache() -> Path:
    """Return the folder of torch's downloaded weights, as ``torch.hub`` determines it, without importing torch."""
    home = os.environ.get("TORCH_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(home) if home else Path(cache) / "torch").expanduser() / "hub" / "checkpoints"


def _digest(path: Path, expected: str, where: str) -> str:
    """Return the sha256 of the weights file. Raise DataError unless it is the one that the heads were fitted to."""
    if not os.path.isfile(path):  # This is also False if the folder is not readable.
        raise DataError(f"{where}: expected the file {VGG_FILE}, found nothing at {_shown(path)}; {_remedy(path)}")
    found = file_sha256(path)
    if found != expected:
        raise DataError(
            f"{where}: {_shown(path)} is not {VGG_FILE}: expected sha256 {expected[:16]}..., got {found[:16]}...; "
            f"download it again from {VGG_URL}"
        )
    return found


def _remedy(path: Path) -> str:
    return f"put it at {_shown(path)}, or name it in ${VARIABLE}"


def _shown(path: Path) -> str:
    """Shorten the home folder in a path to ``~``: messages appear in published reports and must not name the user."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


class Lpips:
    """The LPIPS network with heads and verified trunk on ``device``, frozen and in evaluation mode."""

    def __init__(self, path: Path, device: torch.device | str, expected_sha256: str = VGG_SHA256) -> None:
        """Load the trunk from ``path``. Raises DataError if the file is not the expected one or lacks a weight."""
        import torch

        _digest(path, expected_sha256, "LPIPS")
        self.device = device
        network = _network(path).to(device).eval().requires_grad_(False)
        self._network = network.to(memory_format=torch.channels_last)  # a sixth faster on a CPU

    def distance(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return LPIPS per image, from 0 for equal images to hardly above 1; higher is better for a defense.

        ``sum_l mean_hw sum_c w_lc (f_lc(a) - f_lc(b))^2`` over five layers, with features ``f`` of unit length over
        channels (Zhang et al. 2018, Equation 1): two arrays uint8 RGB ``(n, 3, h, w)`` to ``(n,)``. Raises ValueError
        for other types, unequal shapes, and images of less than 16 pixels a side.
        """
        import torch

        for images in (a, b):
            if images.dtype != np.uint8:
                raise ValueError(f"expected images uint8 (n, 3, h, w), got {images.dtype} {images.shape}")
        left, right = (torch.from_numpy(np.ascontiguousarray(images)) for images in (a, b))
        return self._distance(left, right, scale=255.0)

    def distance_of(self, a: torch.Tensor, b: torch.Tensor) -> NDArray[np.float64]:
        """Return LPIPS as `distance` does, for float images ``(n, 3, h, w)`` in [0, 1] on any device.

        It serves images with noise, which are not quantised. Raises ValueError also for values outside [0, 1], where
        the result would silently mean something else.
        """
        a, b = a.detach(), b.detach()
        for images in (a, b):
            if not images.is_floating_point():
                raise ValueError(f"expected float images in [0, 1], got {images.dtype}")
            if images.numel() and not bool(((images >= 0) & (images <= 1)).all()):
                low, high = float(images.min()), float(images.max())
                raise ValueError(f"expected images in [0, 1], got values from {low:.4g} to {high:.4g}")
        return self._distance(a, b, scale=1.0)

    def _distance(self, a: torch.Tensor, b: torch.Tensor, scale: float) -> NDArray[np.float64]:
        import torch

        if a.shape != b.shape or a.ndim != 4 or a.shape[1] != 3:
            raise ValueError(f"expected two arrays (n, 3, h, w) of one shape, got {tuple(a.shape)}, {tuple(b.shape)}")
        if min(a.shape[2:]) < _MIN_SIDE:
            raise ValueError(f"expected images of at least 16x16 pixels, got {a.shape[2]}x{a.shape[3]}")
        value = np.empty(len(a))
        with torch.inference_mode():
            for first in range(0, len(a), _PIECE):
                part = slice(first, first + _PIECE)
                x, y = (images[part].to(self.device, torch.float32) / scale for images in (a, b))
                value[part] = self._network(x, y, normalize=True).flatten().cpu().numpy()
        return value


@functools.lru_cache(maxsize=2)
def _loaded(path: Path, sha256: str, device: str) -> Lpips:
    return Lpips(path, device, sha256)


def load(device: torch.device | str) -> Lpips:
    """Return the network with the weights of `find_vgg`, loaded once per process. Raise DataError if there are none."""
    weights = find_vgg()
    if isinstance(weights, MissingVgg):
        raise DataError(weights.reason)
    return _loaded(weights.path, weights.sha256, str(device))


def _network(path: Path) -> Any:
    """Build LPIPS from the heads of the package and the trunk in a VGG-16 file of torchvision."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torchvision\.")  # lpips uses a deprecated call of torchvision.
        from lpips import LPIPS

        with torch.device("meta"):
            network = LPIPS(net="vgg", pnet_rand=True, pretrained=False, verbose=False)
    heads = torch.load(_heads_file(), weights_only=True, map_location="cpu")
    network.load_state_dict(heads, strict=False, assign=True)  # Weights left on the meta device raise later.
    _load_trunk(network.net, path)
    return network


def _heads_file() -> Path:
    return Path(str(importlib.resources.files("lpips"))) / "weights" / "v0.1" / "vgg.pth"


def _load_trunk(slices: torch.nn.Module, path: Path) -> None:
    """Load the convolutions of a VGG-16 file into the slices of lpips: ``features.N.*`` becomes ``sliceK.N.*``."""
    import torch

    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        trunk = {name: state["features." + name.partition(".")[2]].float() for name in slices.state_dict()}
        slices.load_state_dict(trunk, strict=True, assign=True)
    except Exception as error:  # A damaged file makes torch raise various exceptions.
        raise DataError(f"{_shown(path)}: expected the weights of a VGG-16: {error}") from None
