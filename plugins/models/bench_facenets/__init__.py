"""Full-size networks: public checkpoints, ONNX files, and any torch module that a suite names.

Importing this package does not import torch: a suite is planned from the declarations in `declarations` and from
*cards*, which `checks.probe` computes once for each weights file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench import Model, hookimpl
from bench_facenets.declarations import (
    MODELS,
    NAMED,
    FaceNet,
    Ir50ArcFace,
    Ir50Softmax,
    Ir50SphereFace,
    IrSe50,
    MobileFace,
    MobileNet,
    NamedNet,
    OnnxModel,
    ResNet50,
    TorchModule,
)

if TYPE_CHECKING:
    import click

__all__ = [
    "MODELS",
    "NAMED",
    "FaceNet",
    "Ir50ArcFace",
    "Ir50Softmax",
    "Ir50SphereFace",
    "IrSe50",
    "MobileFace",
    "MobileNet",
    "NamedNet",
    "OnnxModel",
    "ResNet50",
    "TorchModule",
    "bench_commands",
    "bench_models",
]


@hookimpl
def bench_models() -> Mapping[str, type[Model]]:
    """Register the paper's networks from public checkpoints, torch modules and ONNX files."""
    return MODELS


@hookimpl
def bench_commands() -> Mapping[str, click.Command]:
    """Register ``bench models check``."""
    from bench_facenets.commands import check

    return {"models check": check}
