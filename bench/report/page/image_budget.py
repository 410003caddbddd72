"""The pictures of a page: each is embedded once, compressed, and all together stay within a budget of bytes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

BUDGET = 2_300_000  # The bytes of all pictures of a page, encoded as base64.
_PNG = b"\x89PNG\r\n\x1a\n"
_SMALL = 2_000  # A PNG of at most so many bytes is embedded as it is.
_QUALITY, _COLOURS = 80, 64  # The quality of a WebP, and the number of colours of a palette.
_LARGEST = 1024  # The most pixels per side; a larger picture is not shown.
_RULE = 32  # The bytes of a CSS rule besides its picture.


class Album:
    """The pictures of a page as CSS classes with background images.

    A picture that is shown in several places is embedded once, and is shown without scripts. ``left`` is the number of
    bytes that are left of the budget.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.left = budget
        self._encoded: dict[bytes, str | None] = {}
        self._names: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._names)

    def fitting(self, pictures: Sequence[bytes]) -> int:
        """Return how many of these PNGs, from the first on, fit into the rest of the budget."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # Compression runs outside of the interpreter.
            pictured = list(threads.map(self._encode, pictures))
        room, new = self.left, set[str]()
        for i, found in enumerate(pictured):
            if found is None or found in self._names or found in new:
                continue
            new.add(found)
            room -= len(found) + _RULE
            if room < 0:
                return i
        return len(pictures)

    def add(self, picture: bytes) -> str | None:
        """Add a PNG and return the CSS class that shows it; None if it cannot be read."""
        found = self._encode(picture)
        if found is None:
            return None
        if found not in self._names:
            self._names[found] = f"p{len(self._names)}"
            self.left -= len(found) + _RULE
        return self._names[found]

    def styles(self) -> Markup:
        """Return the CSS rules of all classes."""
        return Markup("\n".join(f'.{name}{{background-image:url("{uri}")}}' for uri, name in self._names.items()))

    def _encode(self, picture: bytes) -> str | None:
        """Return a PNG as a data URI, cached by its digest; None if it cannot be read."""
        key = hashlib.sha256(picture).digest()
        if key not in self._encoded:
            self._encoded[key] = encoded(picture)
        return self._encoded[key]


def is_png(data: object) -> bool:
    """Return whether a value is bytes that begin like a PNG file."""
    return isinstance(data, bytes) and data.startswith(_PNG)


def encoded(data: bytes) -> str | None:
    """Return a PNG as a data URI, compressed if it is large; None if it cannot be read.

    It is compressed as WebP or with a palette, whichever has the smaller mean squared error. Photographs are closer in
    WebP. Coloured noise is not, because WebP halves the resolution of colours, which turns it grey.
    """
    pixels = _pixels(data)
    if pixels is None:
        return None
    if len(data) <= _SMALL:
        return data_uri("png", data)
    palette = pixels.quantize(_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    webp = saved(pixels, "WEBP", quality=_QUALITY)
    with Image.open(io.BytesIO(webp)) as other:
        photograph = _difference(pixels, other.convert("RGB"))
    if photograph <= _difference(pixels, palette.convert("RGB")):
        return data_uri("webp", webp)
    return data_uri("png", saved(palette, "PNG", optimize=True))


def _pixels(data: bytes) -> Image.Image | None:
    """Return the picture in a PNG of a run; None if it is damaged or too large."""
    with warnings.catch_warnings(), contextlib.suppress(Exception):  # Decoders raise nearly any for damaged files.
        warnings.simplefilter("ignore")  # The size, about which Pillow warns, is checked here.
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            return picture.convert("RGB") if max(picture.size) <= _LARGEST else None
    return None


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture as the bytes of a file of some kind."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _difference(picture: Image.Image, other: Image.Image) -> int:
    """Return the sum of the squared differences of two pictures of the same size, in squared grey levels."""
    change = np.asarray(picture, np.int64) - np.asarray(other, np.int64)
    return int((change * change).sum())


def data_uri(kind: str, data: bytes) -> str:
    """Return the bytes of a picture as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
