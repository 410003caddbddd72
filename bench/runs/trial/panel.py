"""The picture of a trial: faces side by side, enlarged, in a PNG that says who made it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bench.core.errors import StorageError
from bench.core.files import replacing, require_replaceable
from bench.core.whole_files import read_whole
from bench.runs.trial.faces import Pixels

_ENLARGED, _GAP = 3, 8  # times; pixels
_MARK = ("Software", "bench try")
_LARGEST = 64 << 20  # bytes of a picture that is looked at before it is replaced


def difference(first: Pixels, second: Pixels) -> Pixels:
    """Return by how much each value of two pictures differs."""
    return np.abs(first.astype(np.int16) - second.astype(np.int16)).astype(np.uint8)


def require_own(path: Path, *, force: bool) -> None:
    """Raise `StorageError` if a file exists already that no trial has made, unless ``force`` is True."""
    require_replaceable(path, option="--out")
    if force or not path.exists() or _is_own(path):
        return
    raise StorageError(
        f"--out: {path}: expected no file, or one that bench try has made, found another; choose another with --out, "
        "or replace it with --force"
    )


def _is_own(path: Path) -> bool:
    try:
        with Image.open(io.BytesIO(read_whole(path, _LARGEST)), formats=("PNG",)) as opened:
            return opened.info.get(_MARK[0]) == _MARK[1]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def write_panel(path: Path, pictures: Sequence[Pixels]) -> None:
    """Write pictures side by side. Raise `StorageError` if the file cannot be written."""
    large = [np.kron(picture, np.ones((1, _ENLARGED, _ENLARGED), np.uint8)) for picture in pictures]
    gap = np.full((3, large[0].shape[1], _GAP), 255, np.uint8)
    parts = [part for picture in large for part in (gap, picture)][1:]
    about = PngInfo()
    about.add_text(*_MARK)
    with replacing(path) as temporary:
        Image.fromarray(np.concatenate(parts, axis=2).transpose(1, 2, 0)).save(temporary, "PNG", pnginfo=about)
