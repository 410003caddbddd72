"""LPIPS with the user's own VGG-16 weights: finding them, checking them, computing the distance.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric". The linear heads come with
the package ``lpips``; the trunk is torchvision's VGG-16, 528 MB that the user has or has not. Without it there is no
LPIPS: nothing is downloaded, and no number is ever computed on another trunk. The network is laid out on torch's
``meta`` device, which holds no values, so a weight that was not loaded cannot take part.

Finding the weights does not import torch: plans ask for them.
"""

from __future__ import annotations

import functools
import importlib.resources
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import DataError
from bench.core.provenance import file_sha256

if TYPE_CHECKING:
    import torch

VGG_FILE = "vgg16-397923af.pth"
VGG_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
VGG_URL = f"https://download.pytorch.org/models/{VGG_FILE}"
VARIABLE = "BENCH_LPIPS_VGG"
LPIPS_VARIANT = f"LPIPS 0.1, VGG-16 trunk ({VGG_FILE}), images scaled from [0, 1] to [-1, 1], original size"

_CHUNK = 8  # images at a time: two passes of VGG-16 at 112x112 hold about 40 MB for each
_MIN_SIDE = 16  # four poolings by two


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The verified weights of the trunk."""

    path: Path
    sha256: str
    reason: ClassVar[None] = None


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Why there are no weights, and what to do about it; what the LPIPS columns say in place of a number."""

    reason: str
    path: ClassVar[None] = None
    sha256: ClassVar[None] = None


def find_vgg(expected_sha256: str = VGG_SHA256) -> Weights | Missing:
    """The VGG-16 weights of this machine: the file that ``$BENCH_LPIPS_VGG`` names, else the one in torch's cache.

    The cache is ``$TORCH_HOME``, ``$XDG_CACHE_HOME/torch`` or ``~/.cache/torch``, there ``hub/checkpoints``, where
    torchvision puts its downloads. A file with another sha256 is not used. Raises DataError when the variable names
    a file that is missing or wrong: whoever sets it wants LPIPS.
    """
    asked = os.environ.get(VARIABLE)
    if asked:
        path = Path(asked).expanduser().absolute()
        found = _digest(path, expected_sha256, f"${VARIABLE}")
        return Weights(path=path, sha256=found)
    path = _hub_cache() / VGG_FILE
    if not os.path.exists(path):
        return Missing(reason=f"LPIPS needs {VGG_FILE} (528 MB, {VGG_URL}): {_remedy(path)}")
    try:
        return Weights(path=path, sha256=_digest(path, expected_sha256, "torch's cache"))
    except DataError as error:
        return Missing(reason=f"LPIPS: {error}")


def _hub_cache() -> Path:
    """Where torch keeps downloaded weights, as ``torch.hub.get_dir`` has it."""
    home = os.environ.get("TORCH_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(home) if home else Path(cache) / "torch").expanduser() / "hub" / "checkpoints"


def _digest(path: Path, expected: str, where: str) -> str:
    """The sha256 of the weights; `DataError` when they are not those that the heads of LPIPS were fitted to."""
    if not os.path.isfile(path):  # False, too, where the folder may not be read
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
    """The path as a message shows it: reports are passed on, and need not tell whose home it was."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


class Lpips:
    """The distance, ready to compute: heads and verified trunk on ``device``, frozen, in evaluation mode."""

    def __init__(self, path: Path, device: torch.device | str, expected_sha256: str = VGG_SHA256) -> None:
        """Load the trunk from ``path``. Raises DataError when the file is not the expected one or lacks a weight."""
        _digest(path, expected_sha256, "LPIPS")
        self.device = device
        self._network = _network(path).to(device).eval().requires_grad_(False)

    def distance(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
        """LPIPS per image: uint8 RGB ``(n, 3, h, w)`` twice to ``(n,)``, from 0, hardly above 1; 0 for equal images.

        ``sum_l mean_hw sum_c w_lc (f_lc(a) - f_lc(b))^2`` over five layers, ``f`` of unit length over channels
        (Zhang et al. 2018, Equation 1). Higher is better for a defense. Raises ValueError for other types, unequal
        shapes, and images of less than 16 pixels a side.
        """
        import torch

        for images in (a, b):
            if images.dtype != np.uint8:
                raise ValueError(f"expected images uint8 (n, 3, h, w), got {images.dtype} {images.shape}")
        left, right = (torch.from_numpy(np.ascontiguousarray(images)) for images in (a, b))
        return self._distance(left, right, scale=255.0)

    def distance_of(self, a: torch.Tensor, b: torch.Tensor) -> NDArray[np.float64]:
        """As `distance`, of float images ``(n, 3, h, w)`` in [0, 1] on any device: for noise that is not quantised.

        Raises ValueError for values outside [0, 1], where the metric would quietly mean something else.
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
            for first in range(0, len(a), _CHUNK):
                part = slice(first, first + _CHUNK)
                x, y = (images[part].to(self.device, torch.float32) / scale for images in (a, b))
                value[part] = self._network(x, y, normalize=True).flatten().cpu().numpy()
        return value


@functools.lru_cache(maxsize=2)
def _loaded(path: Path, sha256: str, device: str) -> Lpips:
    return Lpips(path, device, sha256)


def load(device: torch.device | str) -> Lpips:
    """The distance with the weights that `find_vgg` finds, loaded once per process; `DataError` when there are none."""
    weights = find_vgg()
    if isinstance(weights, Missing):
        raise DataError(weights.reason)
    return _loaded(weights.path, weights.sha256, str(device))


def _network(path: Path) -> Any:
    """LPIPS with its heads and the trunk of a torchvision VGG-16 file; no value in it is from anywhere else."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torchvision\.")  # lpips asks for the trunk in torchvision's old way
        from lpips import LPIPS

        with torch.device("meta"):
            network = LPIPS(net="vgg", pnet_rand=True, pretrained=False, verbose=False)
    heads = torch.load(_heads_file(), weights_only=True, map_location="cpu")
    network.load_state_dict(heads, strict=False, assign=True)  # what stays on the meta device cannot be moved off it
    _load_trunk(network.net, path)
    return network


def _heads_file() -> Path:
    return Path(str(importlib.resources.files("lpips"))) / "weights" / "v0.1" / "vgg.pth"


def _load_trunk(slices: torch.nn.Module, path: Path) -> None:
    """The convolutions of a VGG-16 file into lpips' slices: ``features.N.*`` to ``sliceK.N.*``; the rest is ignored."""
    import torch

    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        trunk = {name: state["features." + name.partition(".")[2]].float() for name in slices.state_dict()}
        slices.load_state_dict(trunk, strict=True, assign=True)
    except Exception as error:  # whatever a damaged file makes torch raise
        raise DataError(f"{_shown(path)}: expected the weights of a VGG-16: {error}") from None
