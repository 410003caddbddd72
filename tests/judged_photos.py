"""Tiny aligned pictures of made-up people for the tests of ``bench judge``, and a recogniser without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def face(person: int, photo: int, noise: float = 12) -> NDArray[np.uint8]:
    """Return a picture (112, 112, 3) of a person: a pattern of his own, with the noise of a photo."""
    pattern = np.random.default_rng(person).uniform(0, 255, (7, 7, 3))
    large = np.kron(pattern, np.ones((16, 16, 1)))
    return (large + np.random.default_rng([person, photo]).normal(0, noise, large.shape)).clip(0, 255).astype(np.uint8)


def same(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Protect nothing."""
    return pixels


def blank(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Protect perfectly: a pattern that does not depend on the picture."""
    return face(-1 % 2**32, 0)


def write(folder: Path, people: Mapping[str, int], photos: int, change: Change = same, suffix: str = "") -> Path:
    """Write pictures of people, in a folder for each by name; the names stand for numbers of people."""
    for name, person in people.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for photo in range(photos):
            Image.fromarray(change(face(person, photo))).save(folder / name / f"{photo}{suffix}.png")
    return folder


def embedded(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Recognise by the mean colours of 7 x 7 squares."""
    small = images.reshape(len(images), 3, 7, 16, 7, 16).mean(axis=(3, 5)).reshape(len(images), -1) - 127.5
    return (small / np.linalg.norm(small, axis=1, keepdims=True).clip(1e-9)).astype(np.float32)
