"""The declarations of all models of this plugin. No torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench import DataError, DataStatus, MissingDataError, Model, Network, file_sha256, read_json, registered
from bench_facenets.files import onnx_files
from bench_facenets.files.locate import given_weights, named_weights
from bench_facenets.files.pixels import Pixels
from bench_facenets.loading import factory as factories
from bench_facenets.parameters import NetworkParameters

if TYPE_CHECKING:
    from bench import TrainingJob
    from bench_facenets.files.card import Card
    from bench_facenets.loading.source import Source


@dataclass(frozen=True, kw_only=True)
class FaceNet(NetworkParameters, Model):
    """A network in a file, whose declarations come from its card."""

    def card(self) -> Card:
        """Return the card of the network, which is computed once for each file. Raises BenchError if the network fails
        its self-check."""
        from bench_facenets.checks.probe import card

        return card(self)

    @property
    def splits(self) -> Mapping[str, tuple[int, int, int]]:  # type: ignore[override]
        """The split points from shallow to deep with their shapes ``(c, h, w)``, from the card."""
        return self.card().shapes

    @property
    def embedding_size(self) -> int:  # type: ignore[override]
        """The embedding size, from the card."""
        return self.card().embedding_size

    @property
    def mflops(self) -> float:  # type: ignore[override]
        """The cost per image in MFLOP, from the card; a multiply-add counts as two."""
        return self.card().mflops

    def load(self) -> Network:
        """Return the network on the CPU, frozen. If it does not agree with the kept card, the card is computed anew."""
        from bench_facenets.checks import probe
        from bench_facenets.loading import build

        try:
            return build.load(self, probe.card(self))
        except DataError:
            return build.load(self, probe.card(self, fresh=True))

    def status(self) -> DataStatus:
        """Return the status for ``bench models status``. Raises DataError for weights that exist but cannot be used."""
        try:
            where, card = str(self.weights()), self.card()
        except MissingDataError as error:
            return DataStatus(missing=str(error))
        return DataStatus(where=where, layout=card.layout, notes=card.warnings)


@dataclass(frozen=True, kw_only=True)
class NamedNet(FaceNet):
    """One of the paper's networks, from a public checkpoint.

    Its file is ``weights_file``, or is searched in the weights folders under the network's name and under its public
    file names. An ONNX file is accepted too, with InsightFace's normalisation.
    """

    architecture: ClassVar[str]
    name: ClassVar[str]
    loss: ClassVar[str] = "arcface"  #: The loss of the published network, and of ``bench train`` by default.

    @property
    def loss_kind(self) -> str:  # type: ignore[override]
        """The kind of that loss."""
        return "classes" if self.loss == "softmax" else "classes with a margin"

    def weights(self) -> Path:
        """Return the weights file. Raises MissingDataError, which says which names were searched, and where."""
        return given_weights(self.weights_file) if self.weights_file else named_weights(self.name)

    def fingerprint(self) -> str:
        """Return the digest of the weights."""
        path = self.weights()
        return onnx_files.fingerprint(path) if path.suffix.lower() == ".onnx" else file_sha256(path)

    @property
    def libraries(self) -> Sequence[str]:
        """The packages that convert an ONNX file; none for a checkpoint."""
        try:
            return onnx_files.CONVERTERS if self.weights().suffix.lower() == ".onnx" else ()
        except MissingDataError:
            return ()

    @property
    def license(self) -> str:  # type: ignore[override]
        """The license of the checkpoint as far as it is known, from the card."""
        return self.card().license

    @property
    def trained_on(self) -> str:  # type: ignore[override]
        """The training set that the card of ``bench train`` beside the weights names; empty without such a card."""
        return self._training_set()[0]

    @property
    def trained_on_parameters(self) -> Mapping[str, Any]:  # type: ignore[override]
        """The parameters of this training set, from the same card."""
        return self._training_set()[1]

    def _training_set(self) -> tuple[str, Mapping[str, Any]]:
        """Return the registered name and the parameters of the training set on the card of ``bench train``."""
        try:
            card = read_json(self.weights().with_suffix(".json"))
            data, known = card["data"], card["data"]["training_set"]
        except (MissingDataError, OSError, ValueError, TypeError, KeyError):
            return "", {}
        for name, cls in registered("training_set").items():
            if cls.__name__ == known:
                return name, {f.name: data[f.name] for f in fields(cls) if f.name in data}
        return "", {}

    def source(self) -> Source:
        """Return the network with the weights of its checkpoint."""
        from bench_facenets.loading import source

        path = self.weights()
        if path.suffix.lower() == ".onnx":
            if self.weights_key:
                raise DataError(
                    f"weights_key = {self.weights_key!r}: expected a checkpoint, found the ONNX file {path}"
                )
            return source.from_onnx(path, self.pixels, self.net_input_size, "unknown")
        return source.from_checkpoint(path, self.architecture, self.weights_key)

    def train(self, job: TrainingJob) -> Mapping[str, Any]:
        """Train the network with `bench_training` and return its model card."""
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
    that imports only installed packages. It is called with the table ``arguments`` (texts, numbers, booleans and lists
    of these) and returns a ``torch.nn.Module`` whose forward returns embeddings ``(n, d)``, alone or first in a tuple.
    The weights in ``weights_file`` must be exactly those of the module. ``license`` is that of the weights.
    """

    factory: str
    arguments: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()
    license: str = "unknown"  # type: ignore[misc]

    def __post_init__(self) -> None:
        """Check the parameters, and convert the table to pairs, so that components are hashable. Raises ValueError."""
        super().__post_init__()
        factories.parse(self.factory)
        if not self.weights_file:
            raise ValueError("weights_file: expected the path of the weights; a network without is never used")
        object.__setattr__(self, "arguments", tuple(sorted((k, _frozen(k, v)) for k, v in self.keywords().items())))

    def keywords(self) -> dict[str, Any]:
        """Return the keyword arguments of the factory, with lists as lists."""
        return {name: _thawed(value) for name, value in dict(self.arguments).items()}

    def foreign_code(self) -> str:
        """Return the factory, which is code that the suite names, and its arguments."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.keywords().items())
        return f"factory {self.factory}, called as {self.factory.rpartition(':')[2]}({given})"

    def fingerprint(self) -> str:
        """Return a digest of the weights and of the factory's source code."""
        own = [file_sha256(self.weights()), factories.source_digest(self.factory)]
        return hashlib.sha256("".join(own).encode()).hexdigest()

    @property
    def libraries(self) -> Sequence[str]:
        """The packages that the factory's source imports."""
        return factories.imported(self.factory)

    def source(self) -> Source:
        """Return the factory's module with the weights."""
        from bench_facenets.loading import source

        wanted, path = self.pixels(Pixels()), self.weights()
        return source.from_factory(self.factory, self.keywords(), path, wanted, self.license, self.weights_key)


@dataclass(frozen=True, kw_only=True)
class OnnxModel(FaceNet):
    """A network in an ONNX file: ``weights_file`` is the file, a folder with an InsightFace pack, or the pack's zip.

    By default, pixels are as InsightFace's networks expect them: RGB and (x - 127.5) / 127.5; if the file itself starts
    with a normalisation, they are as that one expects them. The input size is the file's; ``net_input_size`` is used if
    the file leaves it open. ``license`` is that of the weights.
    """

    libraries = onnx_files.CONVERTERS
    license: str = "unknown"  # type: ignore[misc]

    def __post_init__(self) -> None:
        """Check the parameters. Raises ValueError."""
        super().__post_init__()
        if not self.weights_file:
            raise ValueError("weights_file: expected the path of an ONNX file or an InsightFace pack")
        if self.weights_key:
            raise ValueError("weights_key: an ONNX file holds one network, so that there is nothing to choose")

    def weights(self) -> Path:
        """Return the ONNX file (of a folder: that of the recognition network), or the zip."""
        return onnx_files.choose(given_weights(self.weights_file))

    def fingerprint(self) -> str:
        """Return a digest of the file and of its external data."""
        return onnx_files.fingerprint(self.weights())

    def source(self) -> Source:
        """Return the converted network."""
        from bench_facenets.loading import source

        return source.from_onnx(self.weights(), self.pixels, self.net_input_size, self.license)


def _frozen(name: str, value: Any) -> Any:
    """Return a hashable form of a factory's argument. Raises ValueError for a value that a factory cannot get."""
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
