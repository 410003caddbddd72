"""Full-size networks, public checkpoints, ONNX files, and any torch module that a suite names.

Nothing here imports torch: a suite is planned from these declarations and from *cards*, which
`bench_facenets.checks.probe` works out once for each weights file.
"""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench import DataError, DataStatus, MissingDataError, Model, Network, file_sha256, hookimpl
from bench_facenets.files import onnx_files
from bench_facenets.files.locate import given_weights, named_weights
from bench_facenets.files.pixels import Pixels, with_parameters
from bench_facenets.loading import factory as factories

if TYPE_CHECKING:
    import click

    from bench import TrainingJob
    from bench_facenets.files.card import Card
    from bench_facenets.loading.build import Source

__all__ = ["FaceNet", "NamedNet", "OnnxModel", "TorchModule", "bench_commands", "bench_models"]


@dataclass(frozen=True, kw_only=True)
class FaceNet(Model):
    """A network in a file. It is given the aligned 112x112 face; what follows says what it makes of that.

    Weights
        ``weights_file``: a path; a relative one is looked up in the weights folders (``$BENCH_WEIGHTS``, then
        ``weights`` of each folder of ``$BENCH_DATA``), then below the current folder. ``~`` and ``$VARIABLES`` are
        filled in.
    Pixels
        ``net_input_size`` is ``[height, width]``: up to 112 of each is the centre of the face (112x96: columns 8 to
        104), any other size is resized to. Then the ``channels``, ``rgb`` or ``bgr``, are put in order, and each
        becomes (x - ``mean``) / ``std``: one number, or three in that order, on the scale of ``pixel_range``:
        255, or 1 as in the usual ImageNet statistics ``[0.485, 0.456, 0.406]``. What is not given is what the
        file's layout says; without a layout it is 112x112 RGB, (x - 127.5) / 127.5.
    Split points
        ``split_points``: dotted names of the modules that end the stages, ``["layer1", "layer2"]``, or a table of
        names for them, ``{stem = "conv1", stage1 = "layer1"}``. Without: those of the layout, else the last module
        at each resolution, called ``56x56``, ``28x28`` ...
    """

    weights_file: str = ""
    net_input_size: tuple[int, int] | None = None
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None
    pixel_range: Literal[1, 255] = 255
    channels: Literal["rgb", "bgr"] | None = None
    split_points: tuple[str, ...] | tuple[tuple[str, str], ...] | Mapping[str, str] = ()

    def __post_init__(self) -> None:
        """Checks that span fields; tables become pairs, so that the component is hashable. Raises ValueError."""
        if isinstance(self.split_points, Mapping):
            object.__setattr__(self, "split_points", tuple(sorted(self.split_points.items())))
        if len(self.wanted_splits()) != len(self.split_points):
            raise ValueError(f"split_points: expected each name once, got {list(self.split_points)}")
        self.pixels(Pixels())

    def pixels(self, layout: Pixels) -> Pixels:
        """What the network wants: ``layout`` with what the suite says otherwise."""
        return with_parameters(
            layout,
            size=self.net_input_size,
            mean=self.mean,
            std=self.std,
            pixel_range=self.pixel_range,
            channels=self.channels,
        )

    def wanted_splits(self) -> dict[str, str]:
        """Names of split points to module paths, as the suite says; empty when it says nothing."""
        return dict(point if isinstance(point, tuple) else (point, point) for point in self.split_points)

    def weights(self) -> Path:
        """The weights file; `MissingDataError` when it is not there."""
        return given_weights(self.weights_file)

    @abstractmethod
    def source(self) -> Source:
        """The module and what its file says of it; imports torch."""

    def card(self) -> Card:
        """What is known of the network, worked out once for each file; `BenchError` when it fails its self-check."""
        from bench_facenets.checks.probe import card

        return card(self)

    @property
    def splits(self) -> Mapping[str, tuple[int, int, int]]:  # type: ignore[override]
        """The split points from shallow to deep with their shapes, from the card."""
        return self.card().shapes

    @property
    def embedding_size(self) -> int:  # type: ignore[override]
        """From the card."""
        return self.card().embedding_size

    @property
    def mflops(self) -> float:  # type: ignore[override]
        """From the card: per image, a multiply-add counts as two."""
        return self.card().mflops

    def load(self) -> Network:
        """The network on the CPU, frozen; a kept card is believed only as far as the network bears it out."""
        from bench_facenets.checks import probe
        from bench_facenets.loading import build

        try:
            return build.load(self, probe.card(self))
        except DataError:
            return build.load(self, probe.card(self, fresh=True))

    def status(self) -> DataStatus:
        """What ``bench models status`` shows; `DataError` for weights that are there and cannot be used."""
        try:
            where, card = str(self.weights()), self.card()
        except MissingDataError as error:
            return DataStatus(missing=str(error))
        return DataStatus(where=where, layout=card.layout, notes=card.warnings)


@dataclass(frozen=True, kw_only=True)
class NamedNet(FaceNet):
    """One of the paper's networks, from a public checkpoint: found under its name, or under its public file name, in
    the weights folders; or ``weights_file``. An ONNX file is taken too, with InsightFace's normalisation."""

    architecture: ClassVar[str]
    name: ClassVar[str]
    loss: ClassVar[str] = "arcface"  #: of ``bench train``, unless the recipe says otherwise

    def weights(self) -> Path:
        """The weights file; `MissingDataError` says which names were looked for, and where."""
        return given_weights(self.weights_file) if self.weights_file else named_weights(self.name)

    def fingerprint(self) -> str:
        """The digest of the weights."""
        path = self.weights()
        return onnx_files.fingerprint(path) if path.suffix.lower() == ".onnx" else file_sha256(path)

    @property
    def license(self) -> str:  # type: ignore[override]
        """From the card: what is known of the checkpoint's terms."""
        return self.card().license

    def source(self) -> Source:
        """The network with its checkpoint."""
        from bench_facenets.loading.build import named

        return named(self)

    def train(self, job: TrainingJob) -> Mapping[str, Any]:
        """Train the network, by the code that made the zoo; returns its model card."""
        from bench_facenets.train import train_facenet

        return train_facenet(self.name, self.architecture, self.loss, job)


@dataclass(frozen=True, kw_only=True)
class MobileFace(NamedNet):
    """MobileFaceNet."""

    name = architecture = "mobileface"
    stands_in_for = "MobileFace"
    stand_in = "zoo-mobileface"


@dataclass(frozen=True, kw_only=True)
class Ir50ArcFace(NamedNet):
    """IR50 (improved residual units), trained with ArcFace."""

    name = "ir50-arcface"
    architecture = "ir50"
    stands_in_for = "ArcFace"
    stand_in = "zoo-ir-arcface"


@dataclass(frozen=True, kw_only=True)
class Ir50SphereFace(NamedNet):
    """IR50 (improved residual units), trained with SphereFace."""

    name = "ir50-sphereface"
    architecture = "ir50"
    loss = "sphereface"
    stands_in_for = "IR50-SphereFace"
    stand_in = "zoo-ir-sphereface"


@dataclass(frozen=True, kw_only=True)
class Ir50Softmax(NamedNet):
    """IR50 (improved residual units), trained with softmax."""

    name = "ir50-softmax"
    architecture = "ir50"
    loss = "softmax"
    stands_in_for = "IR50-Softmax"
    stand_in = "zoo-ir-softmax"


@dataclass(frozen=True, kw_only=True)
class IrSe50(NamedNet):
    """IR50 with squeeze-and-excitation, trained with ArcFace."""

    name = architecture = "ir-se50"
    stands_in_for = "ArcFace"
    stand_in = "zoo-ir-arcface"


@dataclass(frozen=True, kw_only=True)
class MobileNet(NamedNet):
    """MobileNetV1."""

    name = architecture = "mobilenet"
    stands_in_for = "MobileNet"
    stand_in = "zoo-mobilenet"


@dataclass(frozen=True, kw_only=True)
class ResNet50(NamedNet):
    """ResNet50."""

    name = architecture = "resnet50"
    stands_in_for = "ResNet50"
    stand_in = "zoo-resnet"


@dataclass(frozen=True, kw_only=True)
class TorchModule(FaceNet):
    """Any torch module, without a plugin.

    ``factory`` is ``"package.module:callable"`` of an installed package, or ``"path/to/file.py:callable"`` of a file
    that imports only what is installed. It is called with the table ``arguments`` (texts, numbers, booleans and lists
    of these) and returns a ``torch.nn.Module`` whose forward gives embeddings ``(n, d)``, alone or first in a tuple.
    The ``weights_file`` fills it, strictly. ``license`` is that of the weights.
    """

    factory: str
    arguments: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()
    license: str = "unknown"  # type: ignore[misc]

    def __post_init__(self) -> None:
        """Checks; the table becomes pairs, so that the component is hashable. Raises ValueError."""
        super().__post_init__()
        factories.parse(self.factory)
        if not self.weights_file:
            raise ValueError("weights_file: expected the path of the weights; a network without is never used")
        object.__setattr__(self, "arguments", tuple(sorted((k, _frozen(k, v)) for k, v in self.keywords().items())))

    def keywords(self) -> dict[str, Any]:
        """The keyword arguments of the factory, lists as lists."""
        return {name: _thawed(value) for name, value in dict(self.arguments).items()}

    def fingerprint(self) -> str:
        """The digest of the weights and of the factory's source."""
        own = [file_sha256(self.weights()), factories.source_digest(self.factory)]
        return hashlib.sha256("".join(own).encode()).hexdigest()

    def source(self) -> Source:
        """The factory's module with the weights."""
        from bench_facenets.loading.build import factory

        return factory(self)


@dataclass(frozen=True, kw_only=True)
class OnnxModel(FaceNet):
    """A network in an ONNX file: ``weights_file`` is the file, a folder with an InsightFace pack, or the pack's zip.

    Pixels are as InsightFace's networks want them, RGB and (x - 127.5) / 127.5, unless said otherwise; a network that
    normalises them itself wants ``mean = 0`` and ``std = 1`` (or 255 for pixels in [0, 1]). The input size is the
    file's; ``net_input_size`` counts where the file leaves it open. ``license`` is that of the weights.
    """

    license: str = "unknown"  # type: ignore[misc]

    def __post_init__(self) -> None:
        """Checks. Raises ValueError."""
        super().__post_init__()
        if not self.weights_file:
            raise ValueError("weights_file: expected the path of an ONNX file or an InsightFace pack")

    def weights(self) -> Path:
        """The ONNX file (of a folder: that of the recognition network), or the zip."""
        return onnx_files.choose(given_weights(self.weights_file))

    def fingerprint(self) -> str:
        """The digest of the file and of its external data."""
        return onnx_files.fingerprint(self.weights())

    def source(self) -> Source:
        """The converted network."""
        from bench_facenets.loading.build import onnx

        return onnx(self, self.license)


def _frozen(name: str, value: Any) -> Any:
    """An argument in a form that is hashable. Raises ValueError for what a factory cannot be given."""
    if isinstance(value, list | tuple):
        return tuple(_frozen(name, v) for v in value)
    if isinstance(value, str | int | float) and not (isinstance(value, float) and not math.isfinite(value)):
        return value
    raise ValueError(f"arguments.{name}: expected text, a finite number, a boolean, or a list of these, got {value!r}")


def _thawed(value: Any) -> Any:
    return [_thawed(v) for v in value] if isinstance(value, tuple | list) else value


NAMED: tuple[type[NamedNet], ...] = (MobileFace, Ir50ArcFace, Ir50SphereFace, Ir50Softmax, IrSe50, MobileNet, ResNet50)
MODELS: Mapping[str, type[FaceNet]] = {
    **{cls.name: cls for cls in NAMED},
    "torch-module": TorchModule,
    "onnx-model": OnnxModel,
}
for _cls in MODELS.values():  # what ``bench info`` shows of each: its own words, then those on the shared parameters
    _cls.__doc__ = f"{(_cls.__doc__ or '').rstrip()}\n\n    {(FaceNet.__doc__ or '').rstrip()}"


@hookimpl
def bench_models() -> Mapping[str, type[Model]]:
    """The paper's networks from public checkpoints, torch modules, ONNX files."""
    return MODELS


@hookimpl
def bench_commands() -> Mapping[str, click.Command]:
    """``bench models check``."""
    from bench_facenets.commands import check

    return {"models check": check}
