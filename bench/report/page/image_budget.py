"""The pictures of a page: each once, as small as it can be without looking like another, within a budget of bytes."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

BUDGET = 2_300_000  # bytes of all pictures of a page, as base64
_PNG = b"\x89PNG\r\n\x1a\n"
_SMALL = 2_000  # bytes up to which a picture is embedded as it is
_QUALITY, _COLOURS = 80, 64
_LARGEST = 1024  # pixels per side
_RULE = 32  # bytes of a rule besides its picture


class Album:
    """Pictures by the name of their CSS class, of which the style sheet of a page makes a background.

    A picture that is shown in several places is in the page once, and needs no script to be there.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.left = budget
        self._encoded: dict[bytes, str | None] = {}
        self._names: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._names)

    def fitting(self, pictures: Sequence[bytes]) -> int:
        """How many of some PNGs there is room for, from the first on."""
        room, new = self.left, set[str]()
        for i, picture in enumerate(pictures):
            found = self._of(picture)
            if found is None or found in self._names or found in new:
                continue
            new.add(found)
            room -= len(found) + _RULE
            if room < 0:
                return i
        return len(pictures)

    def add(self, picture: bytes) -> str | None:
        """The class that shows a PNG; none when it cannot be read."""
        found = self._of(picture)
        if found is None:
            return None
        if found not in self._names:
            self._names[found] = f"p{len(self._names)}"
            self.left -= len(found) + _RULE
        return self._names[found]

    def styles(self) -> Markup:
        """The rules of all classes."""
        return Markup("\n".join(f'.{name}{{background-image:url("{uri}")}}' for uri, name in self._names.items()))

    def _of(self, picture: bytes) -> str | None:
        key = hashlib.sha256(picture).digest()
        if key not in self._encoded:
            self._encoded[key] = encoded(picture)
        return self._encoded[key]


def is_png(data: object) -> bool:
    """Whether this begins as a PNG does."""
    return isinstance(data, bytes) and data.startswith(_PNG)


def encoded(data: bytes) -> str | None:
    """A PNG as a data URI, compressed where it is large; none when it cannot be read.

    Of WebP and a palette the one that is closer to the picture is taken. Photographs are closer in WebP. Noise is not:
    WebP halves the resolution of colours, and what is left of colour noise is grey.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            if max(picture.size) > _LARGEST:
                return None
            pixels = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if len(data) <= _SMALL:
        return _uri("png", data)
    palette = pixels.quantize(_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    made = [
        ("webp", _saved(pixels, "WEBP", quality=_QUALITY)),
        ("png", _saved(palette, "PNG", optimize=True)),
    ]
    return _uri(*min(made, key=lambda m: _distance(pixels, m[1])))


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _distance(picture: Image.Image, data: bytes) -> float:
    """The mean squared error of an encoded picture, in squared grey levels."""
    with Image.open(io.BytesIO(data)) as other:
        return float(np.mean((_floats(picture) - _floats(other.convert("RGB"))) ** 2))


def _floats(picture: Image.Image) -> NDArray[np.float64]:
    return np.asarray(picture, np.float64)


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
