"""Compact networks in the style of the paper's six, trained on synthetic faces: the bundled default models.

They stand in for networks whose weights cannot be shipped. Results obtained with them say nothing about real faces.
This module does not import torch: a suite is planned from these declarations alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench import DataError, Model, Network, hookimpl

if TYPE_CHECKING:
    from bench import TrainingJob

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True, kw_only=True)
class ZooModel(Model):
    """A zoo network: an architecture, the loss that it was trained with, and its weights in this package."""

    loss: ClassVar[str]
    loss_kind: ClassVar[str] = "classes with a margin"
    trained_on: ClassVar[str] = "synth-training"
    trained_on_people: ClassVar[str] = "generated people of seed 20240229"
    embedding_size: ClassVar[int] = 128
    license: ClassVar[str] = "same as this project (trained on generated faces)"
    synthetic: ClassVar[bool] = True

    @classmethod
    def name(cls) -> str:
        """Return the name under which the class is registered."""
        return next(name for name, known in MODELS.items() if known is cls)

    def weights(self) -> Path:
        """Return the bundled safetensors file. Raises DataError if it is missing."""
        path = WEIGHTS / f"{self.name()}.safetensors"
        if not path.is_file():
            raise DataError(f"{path}: the weights are missing; make them with: bench train suites/zoo.toml")
        return path

    def load(self) -> Network:
        """Return the network with its bundled weights."""
        from bench_zoo.loading import load

        return load(self.architecture, self.weights(), tuple(self.splits))

    def train(self, job: TrainingJob) -> Mapping[str, Any]:
        """Train this network and return its model card."""
        from bench_zoo.zoo_training import train_zoo_model

        return train_zoo_model(self.name(), self.architecture, self.loss, job, WEIGHTS)


@dataclass(frozen=True, kw_only=True)
class ZooMobileFace(ZooModel):
    """MobileFaceNet style: inverted bottlenecks with PReLU, global depthwise head; ArcFace loss."""

    stands_in_for = "MobileFace"
    architecture = "mobileface"
    loss = "arcface"
    splits = {
        "stem": (16, 56, 56),
        "stage1": (32, 28, 28),
        "stage2": (64, 14, 14),
        "stage3": (96, 7, 7),
        "stage4": (256, 7, 7),
    }
    mflops = 51.3


class _Ir(ZooModel):
    architecture = "ir"
    splits = {
        "stem": (16, 56, 56),
        "stage1": (32, 28, 28),
        "stage2": (48, 14, 14),
        "stage3": (48, 14, 14),
        "stage4": (96, 7, 7),
    }
    mflops = 68.9


@dataclass(frozen=True, kw_only=True)
class ZooIrArcFace(_Ir):
    """Improved residual units (IR50 style) trained with ArcFace."""

    stands_in_for = "ArcFace"
    loss = "arcface"


@dataclass(frozen=True, kw_only=True)
class ZooIrSphereFace(_Ir):
    """Improved residual units (IR50 style) trained with SphereFace."""

    stands_in_for = "IR50-SphereFace"
    loss = "sphereface"


@dataclass(frozen=True, kw_only=True)
class ZooIrSoftmax(_Ir):
    """Improved residual units (IR50 style) trained with softmax, without a margin."""

    stands_in_for = "IR50-Softmax"
    loss = "softmax"
    loss_kind = "classes"


@dataclass(frozen=True, kw_only=True)
class ZooMobileNet(ZooModel):
    """MobileNetV1 style: depthwise-separable convolutions with ReLU; CosFace loss."""

    stands_in_for = "MobileNet"
    architecture = "mobilenet"
    loss = "cosface"
    splits = {
        "stem": (16, 56, 56),
        "stage1": (48, 28, 28),
        "stage2": (96, 14, 14),
        "stage3": (128, 14, 14),
        "stage4": (192, 7, 7),
    }
    mflops = 24.1


@dataclass(frozen=True, kw_only=True)
class ZooResNet(ZooModel):
    """ResNet style: bottleneck units with ReLU; ArcFace loss."""

    stands_in_for = "ResNet50"
    architecture = "resnet"
    loss = "arcface"
    splits = {
        "stem": (16, 56, 56),
        "stage1": (64, 28, 28),
        "stage2": (128, 14, 14),
        "stage3": (128, 14, 14),
        "stage4": (256, 7, 7),
    }
    mflops = 56.1


class _Judge(ZooModel):
    """A held-out recogniser of leakage.

    It shares no training picture, person, architecture or kind of loss with the six stand-ins, and stands in for no
    network; so it is skipped on real faces.
    """

    loss_kind = "pairs"
    trained_on = "synth-training-judges"
    trained_on_people = "generated people of seed 771402356"


@dataclass(frozen=True, kw_only=True)
class ZooJudgeVgg(_Judge):
    """A judge of leakage in VGG style (plain convolutions), trained with the supervised contrastive loss on other
    people than the stand-ins."""

    architecture = "vgg"
    loss = "supcon"
    splits = {
        "stem": (16, 56, 56),
        "stage1": (32, 28, 28),
        "stage2": (64, 14, 14),
        "stage3": (64, 14, 14),
        "stage4": (128, 7, 7),
    }
    mflops = 68.5


@dataclass(frozen=True, kw_only=True)
class ZooJudgeSqueezeNet(_Judge):
    """A judge of leakage in SqueezeNet style (fire modules), trained with the triplet loss on other people
    than the stand-ins."""

    architecture = "squeezenet"
    loss = "triplet"
    splits = {
        "stem": (16, 56, 56),
        "stage1": (48, 28, 28),
        "stage2": (96, 14, 14),
        "stage3": (128, 14, 14),
        "stage4": (192, 7, 7),
    }
    mflops = 38.7


MODELS: Mapping[str, type[ZooModel]] = {
    "zoo-mobileface": ZooMobileFace,
    "zoo-ir-arcface": ZooIrArcFace,
    "zoo-ir-sphereface": ZooIrSphereFace,
    "zoo-ir-softmax": ZooIrSoftmax,
    "zoo-mobilenet": ZooMobileNet,
    "zoo-resnet": ZooResNet,
    "zoo-judge-vgg": ZooJudgeVgg,
    "zoo-judge-squeezenet": ZooJudgeSqueezeNet,
}


@hookimpl
def bench_models() -> Mapping[str, type[Model]]:
    """Register the six stand-ins and the two judges."""
    return MODELS
