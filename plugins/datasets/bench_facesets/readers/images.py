"""Decoding of images to uint8 RGB, one batch at a time.

Pixels are used as they are stored: an EXIF orientation is never applied, because aligned crops are upright and the tag
describes the camera's original image. Grey images become three equal channels, transparency is dropped.
"""

from __future__ import annotations

import io
import warnings
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bench import DataError

SIZE = (112, 112)  #: Height and width of the aligned five-point crop.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM")
MAX_PIXELS = 64_000_000
MAX_ITEM_BYTES = 64 * 2**20
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}  # At most eight bits per channel.


class Encoded(Protocol):
    """A list of encoded images, which are read one at a time, so that it needs little memory."""

    def __len__(self) -> int: ...
    def read(self, row: int) -> bytes:
        """Return the encoded image as it is stored; at most `MAX_ITEM_BYTES` bytes."""
        ...

    def name(self, row: int) -> str:
        """Return the name of an image for error messages: a path, or a file and a number."""
        ...


def decode(data: bytes, name: str, size: tuple[int, int] | None = SIZE) -> NDArray[np.uint8]:
    """Decode one image to RGB ``(3, h, w)``.

    Raises DataError, which gives its ``name``, if it is damaged, animated, too large or not of the expected size.
    """
    if len(data) > MAX_ITEM_BYTES:
        raise DataError(f"{name}: expected at most {MAX_ITEM_BYTES:,} bytes of image, found {len(data):,}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The conditions that matter among Pillow's warnings are checked here.
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check(image, name, size)
                return _pixels(image)
        except DataError:
            raise
        except Image.DecompressionBombError:
            raise DataError(f"{name}: expected at most {MAX_PIXELS:,} pixels; this image declares far more") from None
        except UnidentifiedImageError:
            kinds = ", ".join(FORMATS)
            raise DataError(f"{name}: expected an image ({kinds}), found {len(data)} bytes of something else") from None
        except Exception as error:  # Decoders can raise nearly any exception for damaged images.
            reason = str(error).strip("'\"") or type(error).__name__
            raise DataError(f"{name}: this image is damaged: {reason}") from None


def _check(image: Image.Image, name: str, size: tuple[int, int] | None) -> None:
    """Raise DataError if the header shows that the image cannot be used; no pixel is decoded."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{name}: expected at most {MAX_PIXELS:,} pixels, found {width} x {height}")
    if getattr(image, "n_frames", 1) != 1:
        raise DataError(f"{name}: expected one picture, found an animation")
    if image.mode not in _MODES:
        raise DataError(f"{name}: expected 8 bits per channel, found the pixel mode {image.mode}; convert it first")
    if size is not None and (height, width) != size:
        raise DataError(
            f"{name}: expected an aligned face of {size[1]} x {size[0]}, found {width} x {height}; "
            f"align the set first: bench data align SRC DST"
        )


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return np.ascontiguousarray(np.asarray(rgb, dtype=np.uint8).transpose(2, 0, 1))


class DecodedImages:
    """`bench.LazyImages` over some rows of a list of encoded images: decoded on demand, never kept."""

    def __init__(self, encoded: Encoded, rows: NDArray[np.int64], size: tuple[int, int] = SIZE) -> None:
        self._encoded = encoded
        self._rows = rows
        self._size = size

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, 3, h, w)``."""
        return (len(self._rows), 3, *self._size)

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """The type uint8."""
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Decode ``images[a:b]`` or ``images[rows]``. Raises DataError, which names the image."""
        chosen = np.atleast_1d(self._rows[rows])
        out = np.empty((len(chosen), 3, *self._size), dtype=np.uint8)
        for k, row in enumerate(chosen.tolist()):
            out[k] = decode(self._encoded.read(row), self._encoded.name(row), self._size)
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Decode all images at once, for conversions to a numpy array."""
        found = self[:]
        return found if dtype is None else found.astype(dtype)
