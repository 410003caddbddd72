"""Search for weights files: folders, file names, and paths with ``~`` and ``$VARIABLES``. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import DataError, MissingDataError, places_named, weights_folders

EXTENSIONS = ("safetensors", "pth", "pt", "ckpt", "onnx")

# The names under which checkpoints are published, besides <name>.<extension>. RobFR names its files after the end of
# the training; face.evoLVe, AdaFace and InsightFace after the network.
PUBLIC_FILES: Mapping[str, tuple[str, ...]] = {
    "mobileface": (
        "Backbone_mobileface_Epoch_36_Batch_409392_Time_2019-04-07-16-40_checkpoint.pth",
        "model_mobilefacenet.pth",
        "mobilefacenet.pth",
        "mobilefacenet.ckpt",
        "mobilefacenet-112x96.ckpt",
        "w600k_mbf.onnx",
        "arcface_mnet.onnx",
    ),
    "ir50-arcface": (
        "Backbone_IR_50_Epoch_11_Batch_160116_Time_2019-11-09-09-42_checkpoint.pth",
        "Backbone_IR_50_Epoch_16_Batch_14128_Time_2020-08-20-09-55_checkpoint.pth",
        "CASIA-ArcFace.pth",
        "backbone_ir50_ms1m_epoch120.pth",
        "backbone_ir50_ms1m_epoch63.pth",
        "backbone_ir50_asia.pth",
        "ms1mv3_arcface_r50_fp16.pth",
        "ms1mv3_arcface_r50.pth",
        "glint360k_cosface_r50_fp16_0.1.pth",
        "adaface_ir50_casia.ckpt",
        "adaface_ir50_webface4m.ckpt",
        "adaface_ir50_ms1mv2.ckpt",
        "w600k_r50.onnx",
        "arcface_resnet.onnx",
    ),
    "ir50-sphereface": (
        "Backbone_IR_50_Epoch_11_Batch_160116_Time_2019-11-09-10-45_checkpoint.pth",
        "Backbone_IR_50_Epoch_32_Batch_28256_Time_2020-07-31-01-10_checkpoint.pth",
        "CASIA-SphereFace.pth",
    ),
    "ir50-softmax": (
        "Backbone_IR_50_Epoch_9_Batch_131004_Time_2019-11-09-12-30_checkpoint.pth",
        "Backbone_IR_50_Epoch_32_Batch_28256_Time_2020-07-10-06-55_checkpoint.pth",
        "CASIA-Softmax.pth",
    ),
    "ir-se50": ("model_ir_se50.pth", "ArcFace.pth"),
    "mobilenet": ("Backbone_Mobilenet_Epoch_125_Batch_710750_Time_2019-04-14-18-15_checkpoint.pth",),
    "resnet50": ("ResNet50-casia.pth",),
}


def named_weights(name: str) -> Path:
    """Return the weights file of a named model: ``<name>.<extension>``, else a public file name, in the first folder
    that has one.

    Case is ignored, and ``-`` equals ``_``. Raises MissingDataError, which says what was searched, and where.
    """
    wanted = (*(f"{name}.{extension}" for extension in EXTENSIONS), *PUBLIC_FILES.get(name, ()))
    folders = weights_folders()
    for folder in folders:
        there = _files(folder)
        for file in wanted:
            if (found := there.get(_plain(file))) is not None:
                return found
    raise MissingDataError(
        f"{name}: no weights; looked for {name}.{{{','.join(EXTENSIONS)}}} and the public names "
        f"{', '.join(PUBLIC_FILES.get(name, ())) or '(none known)'} in {_places(folders)}. Put one of these files "
        "there, or name your file with weights_file"
    )


def given_weights(path: str) -> Path:
    """Return the file or folder that a suite names. A relative path is searched in the folder of the suite, then in
    the weights folders and then in the working folder.

    Raises DataError, not MissingDataError, if it does not exist: a file that is named explicitly is not replaced by a
    stand-in.
    """
    places = places_named(path, "weights_file", weights_folders())
    for found in places:
        if found.exists():
            return found.absolute()
    searched = ", ".join(str(place.absolute()) for place in places)
    raise DataError(f"weights_file = {path!r}: expected a file, found none at {searched}")


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by their plain name; empty if it cannot be read, which `_places` reports."""
    try:
        return {_plain(file.name): file for file in sorted(folder.iterdir()) if file.is_file()}
    except OSError:
        return {}


def _places(folders: Sequence[Path]) -> str:
    if not folders:
        return "no folder (neither BENCH_WEIGHTS nor BENCH_DATA is set)"
    return ", ".join(f"{folder}{'' if folder.is_dir() else ' (not there)'}" for folder in folders)
