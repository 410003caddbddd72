"""Which networks of the paper uniface's files serve, and what remains missing. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench_facenets.files.locate import PUBLIC_FILES, named_weights

from bench import MissingDataError
from bench_uniface.catalogue import FETCHABLE


@dataclass(frozen=True, kw_only=True)
class PaperNetwork:
    """A network of the paper: ``served_by`` names the file of the catalogue, or is None; ``why`` says what that file
    is, or why no file of uniface serves."""

    name: str
    served_by: str | None
    why: str


NETWORKS: Mapping[str, PaperNetwork] = {
    name: PaperNetwork(name=name, served_by=served_by, why=why)
    for name, served_by, why in (
        ("mobileface", "arcface-mnet", "a MobileFaceNet, trained with ArcFace on WebFace600K, not on the paper's set"),
        ("ir50-arcface", "arcface-resnet", "an IR50, trained with ArcFace on WebFace600K, not on the paper's set"),
        ("ir50-sphereface", None, "uniface has no IR50 trained with SphereFace; sphere20 and sphere36 are no IR50"),
        ("ir50-softmax", None, "uniface has no IR50 trained with softmax"),
        ("ir-se50", None, "uniface has no IR50 with squeeze-and-excitation"),
        ("mobilenet", None, "uniface has MobileNetV1 of a quarter of the width only (mobilenetv1-025)"),
        ("resnet50", None, "uniface has no ResNet50; its arcface-resnet is an IR50"),
    )
}


def found(network: PaperNetwork) -> Path | None:
    """Return the file that ``bench run`` would use for a network of the paper; None if there is none."""
    try:
        return named_weights(network.name)
    except MissingDataError:
        return None


def unserved() -> list[str]:
    """Return the names of the files for the paper's networks, except networks for which you have a file of your own."""
    found_files = {network: found(network) for network in NETWORKS.values()}
    return [
        network.served_by
        for network, file in found_files.items()
        if network.served_by and (file is None or file.name == FETCHABLE[network.served_by].file)
    ]


def missing(network: PaperNetwork, folder: Path) -> str:
    """Return what is missing for a network that uniface does not serve: why, which file helps, and where it belongs."""
    names = ", ".join((f"{network.name}.safetensors", *PUBLIC_FILES.get(network.name, ())))
    return f"{network.why}. Put one of these into {folder}: {names}"
