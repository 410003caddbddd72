"""The parameters that all networks in files share, and what follows from them. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench_facenets.files.locate import given_weights
from bench_facenets.files.pixels import Pixels, with_parameters

if TYPE_CHECKING:
    from bench_facenets.loading.source import Source


@dataclass(frozen=True, kw_only=True)
class NetworkParameters(ABC):
    """Parameters of every network in a file: where its weights are, how the aligned 112x112 face is converted to its
    input, and where it can be split.

    Weights
        ``weights_file``: a path; a relative one is searched in the folder of the suite, then in the weights folders
        (``$BENCH_WEIGHTS``, then ``weights`` of each folder of ``$BENCH_DATA``), then in the working folder. ``~`` and
        ``$VARIABLES`` are expanded. ``weights_key``: which network of a checkpoint that holds several, such as
        ``state_dict_ema`` or ``teacher.backbone``; ``.`` for the one that is in no dictionary of its own.
    Pixels
        ``net_input_size`` is ``[height, width]``: up to 112 of each is the centre of the face (112x96: columns 8 to
        104); for any other size the face is resized. Then the channels are brought into the order ``channels``,
        ``rgb`` or ``bgr``, or become one ``grey`` channel (ITU-R 601), and each value becomes (x - ``mean``) / ``std``:
        one number, or three in that order, on the scale of ``pixel_range``: 255, or 1 as in the usual ImageNet
        statistics ``[0.485, 0.456, 0.406]``. Defaults come from the file's layout, or from the first operations of the
        network; without either they are 112x112 RGB, (x - 127.5) / 127.5.
    Split points
        ``split_points``: dotted names of the modules that end the stages, ``["layer1", "layer2"]``, or a table of
        names for them, ``{stem = "conv1", stage1 = "layer1"}``. By default: those of the layout, else the last module
        at each resolution, called ``56x56``, ``28x28`` ...
    """

    weights_file: str = ""
    weights_key: str = ""
    net_input_size: tuple[int, int] | None = None
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None
    pixel_range: Literal[1, 255] = 255
    channels: Literal["rgb", "bgr", "grey"] | None = None
    split_points: tuple[str, ...] | tuple[tuple[str, str], ...] | Mapping[str, str] = ()

    def __post_init__(self) -> None:
        """Check the parameters, and convert tables to pairs, so that components are hashable. Raises ValueError."""
        if isinstance(self.split_points, Mapping):
            object.__setattr__(self, "split_points", tuple(sorted(self.split_points.items())))
        if len(self.wanted_splits()) != len(self.split_points):
            raise ValueError(f"split_points: expected each name once, got {list(self.split_points)}")
        self.pixels(Pixels())

    def pixels(self, layout: Pixels) -> Pixels:
        """Return the input of the network: that of the ``layout``, changed by the parameters that are set."""
        return with_parameters(
            layout,
            size=self.net_input_size,
            mean=self.mean,
            std=self.std,
            pixel_range=self.pixel_range,
            channels=self.channels,
        )

    def wanted_splits(self) -> dict[str, str]:
        """Return the split points that the suite names, name to module path; empty if it names none."""
        return dict(point if isinstance(point, tuple) else (point, point) for point in self.split_points)

    def weights(self) -> Path:
        """Return the weights file. Raises DataError if it does not exist."""
        return given_weights(self.weights_file)

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a digest of the weights and of everything else that decides the network."""

    @abstractmethod
    def source(self) -> Source:
        """Return the module and what its file says about it. This imports torch."""
