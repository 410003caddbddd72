"""A table of public checkpoints: the network that fits the keys, its pixels, its split points. No torch.

Several layouts have the same keys and shapes and differ only in their pixels, so the contents of a file cannot
distinguish them. In this case `guess` uses the name under which the file was published, else the first layout of the
table below, and `alternatives` returns the others; a suite decides with ``channels``, ``mean`` and ``std``.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bench import did_you_mean
from bench_facenets.files.pixels import Channels, Pixels

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]
ARCHITECTURES = ("mobileface", "ir50", "ir-se50", "mobilenet", "resnet50")
SPLITS = ("stem", "stage1", "stage2", "stage3", "stage4")
COUNTER = "num_batches_tracked"  # A counter of normalisation layers, which checkpoints of torch before 0.4.1 lack.


@dataclass(frozen=True)
class Points:
    """The split points of a network: ``stages`` and ``units`` map module paths to the shape ``(c, h, w)`` of the map.

    ``stages``: the stem and the four stages, each the last module of its resolution (MobileFace: the last stage is the
    1x1 expansion). ``units``: the alternatives for "the fifth unit" of the paper.
    """

    stages: Mapping[str, Shape]
    units: Mapping[str, Shape]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """A public family of checkpoints.

    ``family`` and ``options`` select the network of `bench_facenets.networks`; ``embedding_key`` is the tensor whose
    first side is the embedding size. ``mflops``: for one image at ``embedding_size``, a multiply-add counts as two.
    ``license``: that of the published weights. ``files``: patterns of the names under which they are published.
    """

    name: str
    architecture: str
    family: str
    options: Mapping[str, Any] = field(default_factory=dict)
    embedding_key: str
    embedding_size: int = 512
    pixels: Pixels
    points: Points
    mflops: float
    license: str
    source: str
    files: tuple[str, ...] = ()

    @property
    def splits(self) -> Mapping[str, str]:
        """The stem and the stages: name to module path, from shallow to deep."""
        return dict(zip(SPLITS, self.points.stages, strict=True))

    @property
    def units(self) -> Mapping[str, str]:
        """Further split points, under their module paths."""
        return {path: path for path in self.points.units}

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """The shape ``(c, h, w)`` of the map at every name of `splits` and `units`."""
        return dict(zip(SPLITS, self.points.stages.values(), strict=True)) | dict(self.points.units)

    def build(self, embedding_size: int | None = None) -> nn.Sequential:
        """Return the network without values, on torch's meta device, in evaluation mode."""
        import torch

        from bench_facenets.networks.families import FAMILIES

        with torch.device("meta"):
            return FAMILIES[self.family](embedding_size or self.embedding_size, **self.options).eval()

    def tensors(self, embedding_size: int | None = None) -> Mapping[str, Shape]:
        """Return the key and the shape of every tensor of the state dict."""
        return _tensors(self, embedding_size or self.embedding_size)

    def embedding_size_in(self, shapes: Mapping[str, Shape]) -> int:
        """Return the embedding size of a state dict of this layout, or the usual one if its key is missing."""
        shape = shapes.get(self.embedding_key, ())
        return shape[0] if shape and 1 <= shape[0] <= 65536 else self.embedding_size

    def matches(self, shapes: Mapping[str, Shape]) -> bool:
        """Return whether a state dict has exactly the keys and shapes of this layout."""
        return _without_counters(shapes) == _without_counters(self.tensors(self.embedding_size_in(shapes)))


@functools.lru_cache(maxsize=64)
def _tensors(layout: Layout, embedding_size: int) -> Mapping[str, Shape]:
    state = layout.build(embedding_size).state_dict()
    return MappingProxyType({key: tuple(tensor.shape) for key, tensor in state.items()})


def _without_counters(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    return {key: tuple(shape) for key, shape in shapes.items() if not key.endswith(COUNTER)}


# ---- pixels, licenses and split points -------------------------------------------------------------------------------


def _pixels(channels: Channels, std: float, width: int = 112) -> Pixels:
    return Pixels(width=width, mean=(127.5,) * 3, std=(std,) * 3, channels=channels)


_IMAGENET = Pixels(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))

_ROBFR = "published for research without a license of its own; the training set's terms apply"
_MIT_CODE = "MIT (code); the training set's terms apply to the weights"
_INSIGHTFACE = "non-commercial research only"
_UNSTATED = "published for research, no license stated"


def _mobileface_points(stem: str, blocks: str, width: int) -> Points:
    w = width // 16  # The width of the last map, whose height is 7.
    stages = {
        stem: (64, 56, 8 * w),
        f"{blocks}.4": (64, 28, 4 * w),
        f"{blocks}.11": (128, 14, 2 * w),
        f"{blocks}.14": (128, 7, w),
        "conv2": (512, 7, w),
    }
    return Points(stages, {f"{blocks}.2": (64, 28, 4 * w), f"{blocks}.5": (128, 14, 2 * w)})


def _mobilenet_points(side: int) -> Points:
    """Return the split points of a MobileNet; ``side`` is that of the map after the first convolution."""
    half, quarter, eighth, sixteenth = (-(-side // n) for n in (2, 4, 8, 16))
    stages = {
        "model.1": (64, side, side),
        "model.3": (128, half, half),
        "model.5": (256, quarter, quarter),
        "model.11": (512, eighth, eighth),
        "model.13": (1024, sixteenth, sixteenth),
    }
    return Points(stages, {"model.2": (128, half, half), "model.4": (256, quarter, quarter)})


def _ir_points(stem: str, *stages: str, units: tuple[str, str]) -> Points:
    shapes = ((64, 112, 112), (64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7))
    return Points(dict(zip((stem, *stages), shapes, strict=True)), dict.fromkeys(units, (128, 28, 28)))


_RESNET_POINTS = Points(
    {
        "relu": (64, 56, 56),
        "layer1": (256, 28, 28),
        "layer2": (512, 14, 14),
        "layer3": (1024, 7, 7),
        "layer4": (2048, 4, 4),
    },
    {"layer1.0": (256, 28, 28)},
)


# ---- the table -------------------------------------------------------------------------------------------------------

_MOBILEFACE = Layout(
    name="robfr-mobileface",
    architecture="mobileface",
    family="mobileface",
    embedding_key="linear1.conv.weight",
    pixels=_pixels("bgr", 128),
    points=_mobileface_points("dw_conv1", "blocks", 112),
    mflops=442.3,
    license=_ROBFR,
    source="ShawnXYang/Face-Robustness-Benchmark RobFR/networks/MobileFace.py",
    files=("Backbone_mobileface_*",),
)
_XIAOCCER = replace(
    _MOBILEFACE,
    name="xiaoccer-mobileface",
    options={"last_map": (7, 6)},
    embedding_size=128,
    pixels=_pixels("rgb", 128, width=96),
    points=_mobileface_points("dw_conv1", "blocks", 96),
    mflops=378.8,
    license=_UNSTATED,
    source="Xiaoccer/MobileFaceNet_Pytorch core/model.py",
    files=(),
)
_XIAOCCER_SQUARE = replace(
    _MOBILEFACE,
    name="xiaoccer-mobileface-112x112",
    pixels=_pixels("rgb", 128),
    license=_UNSTATED,
    source="forks of Xiaoccer/MobileFaceNet_Pytorch core/model.py with a 7x7 head",
    files=(),
)
_FOAMLIU = replace(
    _MOBILEFACE,
    name="foamliu-mobileface",
    family="mobileface-relu",
    embedding_key="conv3.weight",
    embedding_size=128,
    pixels=_IMAGENET,
    points=_mobileface_points("dw_conv", "features", 112),
    mflops=467.6,
    license=_UNSTATED,
    source="foamliu/MobileFaceNet mobilefacenet.py",
    files=("mobilefacenet.pt",),
)
_IR50 = Layout(
    name="robfr-ir50",
    architecture="ir50",
    family="ir",
    embedding_key="output_layer.3.weight",
    pixels=_pixels("bgr", 127.5),
    points=_ir_points("input_layer", "body.2", "body.6", "body.20", "body.23", units=("body.3", "body.4")),
    mflops=12593.0,
    license=_ROBFR,
    source="ShawnXYang/Face-Robustness-Benchmark RobFR/networks/IR.py",
    files=("Backbone_IR_50_*_2019-11-*",),
)
_IR50_CASIA = replace(
    _IR50,
    name="robfr-ir50-casia",
    pixels=_pixels("rgb", 127.5),
    files=("Backbone_IR_50_*_2020-*", "CASIA-*"),
)
_EVOLVE_IR50 = replace(
    _IR50_CASIA,
    name="face-evolve-ir50",
    license=_MIT_CODE,
    source="ZhaoJ9014/face.evoLVe backbone/model_irse.py",
    files=("backbone_ir50_*",),
)
_ADAFACE = replace(
    _IR50,
    name="adaface-ir50",
    options={"middle_norm": True, "affine": False, "dropout": 0.4},
    license=_MIT_CODE,
    source="mk-minchul/AdaFace net.py",
    files=("adaface_ir50_*",),
)
_CVLFACE = replace(
    _ADAFACE,
    name="cvlface-ir50",
    pixels=_pixels("rgb", 127.5),
    source="mk-minchul/CVLface models/iresnet",
    files=("cvlface_*",),
)
_IRESNET = replace(
    _IR50_CASIA,
    name="insightface-iresnet50",
    family="iresnet",
    embedding_key="fc.weight",
    points=_ir_points("prelu", "layer1", "layer2", "layer3", "layer4", units=("layer2.0", "layer2.1")),
    mflops=12618.7,
    license=_INSIGHTFACE,
    source="deepinsight/insightface recognition/arcface_torch/backbones/iresnet.py",
    files=("ms1mv3_arcface_r50*", "glint360k_cosface_r50*"),
)
_IR_SE50 = replace(
    _IR50,
    name="robfr-ir-se50",
    architecture="ir-se50",
    options={"squeeze": True},
    pixels=_pixels("rgb", 128),
    mflops=12593.4,
    source="ShawnXYang/Face-Robustness-Benchmark RobFR/networks/ArcFace.py",
    files=("model_ir_se50*",),
)
_EVOLVE_IR_SE50 = replace(
    _IR_SE50,
    name="face-evolve-ir-se50",
    pixels=_pixels("rgb", 127.5),
    license=_MIT_CODE,
    source="ZhaoJ9014/face.evoLVe backbone/model_irse.py",
    files=("backbone_ir_se50_*",),
)
_MOBILENET = Layout(
    name="robfr-mobilenet",
    architecture="mobilenet",
    family="mobilenet",
    embedding_key="fc.weight",
    pixels=_pixels("bgr", 128),
    points=_mobilenet_points(56),
    mflops=296.8,
    license=_ROBFR,
    source="ShawnXYang/Face-Robustness-Benchmark RobFR/networks/Mobilenet.py",
)
_MOBILENET_STRIDE1 = replace(
    _MOBILENET,
    name="robfr-mobilenet-stride1",
    options={"stride": 1},
    points=_mobilenet_points(112),
    mflops=1136.6,
)
_RESNET50 = Layout(
    name="robfr-resnet50",
    architecture="resnet50",
    family="resnet",
    embedding_key="fc.weight",
    pixels=_pixels("bgr", 128),
    points=_RESNET_POINTS,
    mflops=2185.3,
    license=_ROBFR,
    source="ShawnXYang/Face-Robustness-Benchmark RobFR/networks/ResNet.py",
    files=("Backbone_ResNet_50_*_2019-04-14-*",),
)
_RESNET50_CASIA = replace(
    _RESNET50,
    name="robfr-resnet50-casia",
    pixels=_pixels("rgb", 128),
    files=("Backbone_ResNet_50_*_2019-04-28-*", "ResNet50-casia*"),
)
_EVOLVE_RESNET50 = replace(
    _RESNET50,
    name="face-evolve-resnet50",
    pixels=_pixels("rgb", 127.5),
    license=_MIT_CODE,
    source="ZhaoJ9014/face.evoLVe backbone/model_resnet.py",
    files=("backbone_resnet50_*",),
)

_TABLE = (
    *(_MOBILEFACE, _XIAOCCER_SQUARE, _XIAOCCER, _FOAMLIU),
    *(_IR50, _IR50_CASIA, _EVOLVE_IR50, _ADAFACE, _CVLFACE, _IRESNET),
    *(_IR_SE50, _EVOLVE_IR_SE50),
    *(_MOBILENET, _MOBILENET_STRIDE1),
    *(_RESNET50, _RESNET50_CASIA, _EVOLVE_RESNET50),
)
LAYOUTS: Mapping[str, Layout] = MappingProxyType({layout.name: layout for layout in _TABLE})
"""Every layout by name. The first layout with given keys, and the first of an architecture, is the default."""


# ---- recognising -----------------------------------------------------------------------------------------------------


def default(architecture: str) -> Layout:
    """Return the default layout of an architecture. Raises ValueError for an unknown architecture."""
    for layout in _TABLE:
        if layout.architecture == architecture:
            return layout
    raise ValueError(f"unknown architecture {architecture!r}; {did_you_mean(architecture, ARCHITECTURES)}")


def find(name: str) -> Layout:
    """Return a layout by its name, or the default layout of an architecture. Raises ValueError for an unknown name."""
    if name in LAYOUTS:
        return LAYOUTS[name]
    if name in ARCHITECTURES:
        return default(name)
    raise ValueError(f"unknown layout {name!r}; {did_you_mean(name, (*ARCHITECTURES, *LAYOUTS))}")


def guess(shapes: Mapping[str, Shape], file_name: str = "") -> Layout | None:
    """Return the layout whose keys and shapes a state dict has exactly, or None; see `alternatives`.

    Among several layouts, the one published under ``file_name`` is returned, else the first.
    """
    fitting = [layout for layout in _TABLE if layout.matches(shapes)]
    return next((layout for layout in fitting if published_as(layout, file_name)), next(iter(fitting), None))


def published_as(layout: Layout, file_name: str) -> bool:
    """Return whether a file has a name under which a layout is published."""
    return any(fnmatch.fnmatchcase(file_name.lower(), pattern.lower()) for pattern in layout.files)


def alternatives(layout: Layout) -> tuple[Layout, ...]:
    """Return the other layouts with the same network: only the pixels differ, so a file cannot distinguish them."""
    same = (layout.family, layout.options)
    return tuple(other for other in _TABLE if other is not layout and (other.family, other.options) == same)


def nearest(shapes: Mapping[str, Shape]) -> tuple[Layout, float]:
    """Return the layout that has most keys and shapes in common with a state dict, and their share in [0, 1] of all
    keys of both."""

    def share(layout: Layout) -> float:
        wanted = set(_without_counters(layout.tensors(layout.embedding_size_in(shapes))).items())
        found = set(_without_counters(shapes).items())
        return len(wanted & found) / len(wanted | found)

    best = max(_TABLE, key=share)
    return best, share(best)
