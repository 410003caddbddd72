"""Pictures in folders that somebody else may have written: PNG files of one size, and no links."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench import DataError, MissingDataError

MOST_BYTES_PER_PIXEL = 16  # A PNG needs 8 at most (four channels of 16 bits), and some bytes for its headers.
_HEADERS = 1 << 20  # bytes, with colour profiles and texts


def write(image: torch.Tensor, path: Path) -> None:
    """Write an image ``(3, h, w)`` in [0, 1] as an 8-bit PNG."""
    pixels = image.mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels).save(path)


def named(folder: Path, sample: str) -> Path:
    """Return the file of a sample below a folder. Raise `DataError` if its name leads out of the folder."""
    parts = f"{sample}.png".split("/")
    if "\0" in sample or "\\" in sample or any(part in ("", ".", "..") for part in parts):
        raise DataError(f"{folder}: the sample {sample!r} has a name that cannot be a path below this folder")
    return folder.joinpath(*parts)


def read(path: Path, folder: Path, like: torch.Tensor) -> torch.Tensor:
    """Return the PNG at a path below a folder as float ``(3, h, w)`` RGB in [0, 1], of the size of ``like (3, h, w)``.

    Raise `MissingDataError` if it does not exist, and `DataError` if it is, or lies behind, a link, is too large, no
    PNG, or of another size.
    """
    height, width = like.shape[-2:]
    data = _plain_file(path, folder, _HEADERS + MOST_BYTES_PER_PIXEL * height * width)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            if picture.size != (width, height):
                found = f"{picture.size[0]} x {picture.size[1]}"
                raise DataError(f"{path}: expected a picture of {width} x {height} pixels, found {found}")
            pixels = np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: expected a PNG file: {error}") from None
    return torch.from_numpy(pixels).permute(2, 0, 1).float().div(255)


def _opened(path: str, flags: int) -> int:
    """Open a file that is no link, without waiting for whoever writes to a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _plain_file(path: Path, folder: Path, most: int) -> bytes:
    """Return the content of a plain file. Links between the folder and the file are refused; those above it are the
    business of whoever named the folder."""
    for above in (one for one in path.parents if one.is_relative_to(folder) and one != folder):
        if above.is_symlink():
            raise DataError(f"{above}: expected a folder, found a link; replace it by what it points to")
    try:
        with open(path, "rb", opener=_opened) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DataError(f"{path}: expected a plain file, found a pipe or a device")
            data = file.read(most + 1)
    except FileNotFoundError:
        raise MissingDataError(f"{path}: this picture does not exist; put the protected picture there") from None
    except OSError as error:
        found = "a link; replace it by what it points to" if path.is_symlink() else error.strerror
        raise DataError(f"{path}: expected a plain file that can be read, found {found}") from None
    if len(data) > most:
        raise DataError(f"{path}: expected a picture of at most {most:,} bytes, found more")
    return data
