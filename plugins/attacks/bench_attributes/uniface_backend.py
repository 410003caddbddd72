"""uniface's FairFace and AgeGender on aligned faces.

The library's own classes prepare each face and run the network, so that colours, sizes and normalisation are theirs.
Their ``predict`` returns only the most probable class and a whole number of years; here the outputs of the network are
kept as probabilities and as a float.
"""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_uniface.fetching import broken
from numpy.typing import NDArray
from torch import Tensor

from bench import DataError, file_sha256
from bench_attributes import uniface_files
from bench_attributes.onnx_threads import limited_threads

Image = NDArray[np.float32]  # BGR (h, w, 3), values from 0 to 255.


def estimate(images: Tensor, attributes: Sequence[str]) -> dict[str, Tensor]:
    """Return ``age (n,)`` in years and class probabilities ``(n, k)`` of images float ``(n, 3, h, w)`` RGB in [0, 1].

    Raises DataError if a file is missing or damaged, or has other outputs than uniface's.
    """
    # All networks are loaded first, so that a missing file is reported before anything is computed.
    networks = {path: _network(path) for path in uniface_files.find(attributes).values()}
    faces = prepare(images)
    found: dict[str, Tensor] = {}
    for path, network in networks.items():
        found |= _fairface(network, faces) if path.stem == "fairface" else _age(network, faces)
    return {name: found[name].to(images) for name in attributes}


def prepare(images: Tensor) -> list[Image]:
    """Convert RGB ``(n, 3, h, w)`` in [0, 1] to the images that uniface takes: BGR ``(h, w, 3)``, from 0 to 255.

    They are not rounded to whole numbers, so that no difference between two images is lost.
    """
    values = images.detach().float().clamp(0, 1).cpu().flip(1).permute(0, 2, 3, 1) * 255
    return [np.ascontiguousarray(face) for face in values.numpy()]


def _fairface(network: Any, faces: Sequence[Image]) -> dict[str, Tensor]:
    """Return the probabilities of gender and race. Without a box, FairFace takes the whole face."""
    rows = [_run(network, network.preprocess(face), (7, 2, 9)) for face in faces]
    race, gender, _groups_of_age = (torch.from_numpy(np.concatenate(values)) for values in zip(*rows, strict=True))
    # FairFace's order of genders is man, woman.
    return {"race": race.softmax(1), "gender": gender.softmax(1).flip(1)}


def _age(network: Any, faces: Sequence[Image]) -> dict[str, Tensor]:
    """Return the ages in years. The aligned face is the box, to which uniface adds its margin, which is black here."""
    boxes = [[0, 0, face.shape[1], face.shape[0]] for face in faces]
    rows = [_run(network, network.preprocess(face, box), (3,))[0] for face, box in zip(faces, boxes, strict=True)]
    return {"age": 100 * torch.from_numpy(np.concatenate(rows))[:, 2]}


def _run(network: Any, blob: Image, widths: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Return the outputs of a network for one face, each ``(1, k)``. Raises DataError unless ``k`` are ``widths``."""
    outputs: list[NDArray[np.float32]] = network.session.run(network.output_names, {network.input_name: blob})
    if [output.shape for output in outputs] != [(1, width) for width in widths]:
        found = [output.shape for output in outputs]
        raise DataError(f"{network.model_path}: expected outputs of {widths} values, found the shapes {found}")
    return outputs


def _network(path: Path) -> Any:
    """Return uniface's object for a verified file. Raises DataError if it is no ONNX network."""
    return _loaded(path, file_sha256(path))


@functools.cache
def _loaded(path: Path, _sha256: str) -> Any:
    """Load a file once for each content, so that a file that is replaced is loaded again."""
    with warnings.catch_warnings(), _cache_is(path.parent):  # Modules that uniface imports raise warnings.
        warnings.simplefilter("ignore")
        try:
            from uniface.attribute import AgeGender, FairFace
        except ImportError as error:
            raise DataError(broken(error)) from None
        made = FairFace if path.stem == "fairface" else AgeGender
        try:
            with limited_threads():
                return made(providers=["CPUExecutionProvider"])
        except RuntimeError as error:
            raise DataError(f"{path}: expected an ONNX network: {str(error).splitlines()[0][:300]}") from None


@contextlib.contextmanager
def _cache_is(folder: Path) -> Iterator[None]:
    """Let uniface find its file in a folder. It would download a missing file; the caller has verified that it is
    there."""
    before = os.environ.get("UNIFACE_CACHE_DIR")
    os.environ["UNIFACE_CACHE_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["UNIFACE_CACHE_DIR"]
        else:
            os.environ["UNIFACE_CACHE_DIR"] = before
