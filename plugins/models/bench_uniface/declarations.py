"""The declarations of the recognition networks that uniface publishes. No torch, no uniface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bench_facenets import FaceNet
from bench_facenets.files import onnx_files
from bench_facenets.files.locate import given_weights
from bench_facenets.files.pixels import Pixels

from bench import DataStatus
from bench_uniface import files, library
from bench_uniface.catalogue import RECOGNISERS, Fetchable

if TYPE_CHECKING:
    from bench_facenets.loading.source import Source

ARCFACE = "classes with a margin"  # The kind of loss, as the bundled networks name it.


@dataclass(frozen=True, kw_only=True)
class UnifaceNet(FaceNet):
    """A network that ``bench models fetch`` gets through the library uniface, as an ONNX file.

    The file is searched in the weights folders and in uniface's cache, and must have the sha256 that uniface lists.
    ``weights_file`` names another file, which is not compared; its pixels are those that the file asks for, in the
    network's order of channels.
    """

    name: ClassVar[str]
    channel_order: ClassVar[Literal["rgb", "bgr"]] = "rgb"
    libraries = onnx_files.CONVERTERS

    @classmethod
    def fetchable(cls) -> Fetchable:
        """Return the entry of the catalogue."""
        return RECOGNISERS[cls.name]

    @property
    def license(self) -> str:  # type: ignore[override]
        """The terms of code, weights and training set, as far as they are known."""
        return "unknown" if self.weights_file else self.fetchable().license

    def weights(self) -> Path:
        """Return the weights file. Raises MissingDataError, which says where it was searched and how to fetch it, and
        DataError if it does not have the sha256 that uniface lists."""
        return given_weights(self.weights_file) if self.weights_file else files.find(self.fetchable())

    def fingerprint(self) -> str:
        """Return a digest of the file and of its external data."""
        return onnx_files.fingerprint(self.weights())

    def status(self) -> DataStatus:
        """Return the status for ``bench models status``."""
        found = super().status()
        if found.missing or self.weights_file or library.installed():
            return found
        return replace(found, notes=(*found.notes, files.UNVERIFIED))

    def pixels(self, layout: Pixels) -> Pixels:
        """Return the input of the network: as uniface prepares it, or as the user's own file asks for it, changed by
        the parameters that are set."""
        if self.weights_file:  # A file does not tell the order of colours; the network's is the better guess.
            grey = layout.channels == "grey"
            return super().pixels(layout if grey else replace(layout, channels=self.channel_order))
        uniface = Pixels(channels=self.channel_order)
        return super().pixels(replace(layout, mean=uniface.mean, std=uniface.std, channels=uniface.channels))

    def source(self) -> Source:
        """Return the converted network."""
        from bench_facenets.loading import source

        return source.from_onnx(self.weights(), self.pixels, self.net_input_size, self.license)


@dataclass(frozen=True, kw_only=True)
class MobileNetV1Quarter(UnifaceNet):
    """MobileNetV1 of a quarter of the width, trained on MS1MV2 (uniface calls it MobileFace)."""

    name = "mobilenetv1-025"
    architecture = "mobilenet"


@dataclass(frozen=True, kw_only=True)
class MobileNetV2(UnifaceNet):
    """MobileNetV2, trained on MS1MV2 (uniface calls it MobileFace)."""

    name = architecture = "mobilenetv2"


@dataclass(frozen=True, kw_only=True)
class MobileNetV3Small(UnifaceNet):
    """MobileNetV3, small, trained on MS1MV2 (uniface calls it MobileFace)."""

    name = "mobilenetv3-small"
    architecture = "mobilenetv3"


@dataclass(frozen=True, kw_only=True)
class MobileNetV3Large(UnifaceNet):
    """MobileNetV3, large, trained on MS1MV2 (uniface calls it MobileFace)."""

    name = "mobilenetv3-large"
    architecture = "mobilenetv3"


@dataclass(frozen=True, kw_only=True)
class Sphere20(UnifaceNet):
    """SphereFace's network of 20 layers, trained on MS1MV2."""

    name = "sphere20"
    architecture = "sphere"


@dataclass(frozen=True, kw_only=True)
class Sphere36(UnifaceNet):
    """SphereFace's network of 36 layers, trained on MS1MV2."""

    name = "sphere36"
    architecture = "sphere"


@dataclass(frozen=True, kw_only=True)
class ArcFaceMobile(UnifaceNet):
    """InsightFace's MobileFaceNet, trained with ArcFace on WebFace600K (w600k_mbf)."""

    name = "arcface-mnet"
    architecture = "mobileface"
    loss_kind = ARCFACE


@dataclass(frozen=True, kw_only=True)
class ArcFaceResNet(UnifaceNet):
    """InsightFace's IR50, trained with ArcFace on WebFace600K (w600k_r50)."""

    name = "arcface-resnet"
    architecture = "ir50"
    loss_kind = ARCFACE


@dataclass(frozen=True, kw_only=True)
class AdaFaceIr18(UnifaceNet):
    """IR18, trained with AdaFace on WebFace4M; it takes BGR."""

    name = "adaface-ir-18"
    architecture = "ir18"
    loss_kind = ARCFACE
    channel_order = "bgr"


@dataclass(frozen=True, kw_only=True)
class AdaFaceIr50(UnifaceNet):
    """IR50, trained with AdaFace on WebFace4M; it takes BGR."""

    name = "adaface-ir-50"
    architecture = "ir50"
    loss_kind = ARCFACE
    channel_order = "bgr"


@dataclass(frozen=True, kw_only=True)
class AdaFaceIr101(UnifaceNet):
    """IR101, trained with AdaFace on WebFace12M; it takes BGR."""

    name = "adaface-ir-101"
    architecture = "ir101"
    loss_kind = ARCFACE
    channel_order = "bgr"


@dataclass(frozen=True, kw_only=True)
class EdgeFaceXxs(UnifaceNet):
    """EdgeFace XXS, an EdgeNeXt."""

    name = "edgeface-xxs"
    architecture = "edgenext"


@dataclass(frozen=True, kw_only=True)
class EdgeFaceXs(UnifaceNet):
    """EdgeFace XS with low-rank layers (gamma 0.6), an EdgeNeXt."""

    name = "edgeface-xs-gamma-06"
    architecture = "edgenext"


@dataclass(frozen=True, kw_only=True)
class EdgeFaceS(UnifaceNet):
    """EdgeFace S with low-rank layers (gamma 0.5), an EdgeNeXt."""

    name = "edgeface-s-gamma-05"
    architecture = "edgenext"


@dataclass(frozen=True, kw_only=True)
class EdgeFaceBase(UnifaceNet):
    """EdgeFace base, an EdgeNeXt."""

    name = "edgeface-base"
    architecture = "edgenext"


MODELS: Mapping[str, type[UnifaceNet]] = {
    cls.name: cls
    for cls in (
        MobileNetV1Quarter,
        MobileNetV2,
        MobileNetV3Small,
        MobileNetV3Large,
        Sphere20,
        Sphere36,
        ArcFaceMobile,
        ArcFaceResNet,
        AdaFaceIr18,
        AdaFaceIr50,
        AdaFaceIr101,
        EdgeFaceXxs,
        EdgeFaceXs,
        EdgeFaceS,
        EdgeFaceBase,
    )
}
