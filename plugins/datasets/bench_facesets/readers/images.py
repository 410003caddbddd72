"""Decoding of images to uint8 RGB, one batch at a time.

Pixels of aligned faces are used as they are stored: an EXIF orientation is not applied, because aligned crops are
upright and the tag describes the camera's original image. ``bench data align`` applies it. Grey images become three
equal channels (of 16 bits, each value is divided by 257), transparency is dropped. Of a JPEG with several pictures
(MPO, as phones write it) the first is used.
"""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from bench import DataError

SIZE = (112, 112)  #: Height and width of the aligned five-point crop.
# The formats in which faces are distributed, in the words of Pillow. Each is decoded by Pillow itself or a library in
# it; EPS, for example, would start another program.
FORMATS = (
    "JPEG", "PNG", "BMP", "WEBP", "PPM", "GIF", "TIFF", "AVIF", "JPEG2000", "DIB", "PCX", "QOI", "SGI", "SUN",
)  # fmt: skip
MAX_PIXELS = 64_000_000
MAX_ITEM_BYTES = 64 * 2**20
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}  # ISO/IEC 23008-12
_SIXTEEN = {"I;16", "I;16B", "I;16L"}  # Grey of 16 bits, in both orders of bytes.
_MODES = {
    *_SIXTEEN,
    "1",
    "L",
    "LA",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBX",
    "CMYK",
    "YCbCr",
}  # Others have more bits per channel.


_FLIP = Image.Transpose
# What undoes the rotation that Pillow makes for an orientation.
_UNDO = {
    2: _FLIP.FLIP_LEFT_RIGHT, 3: _FLIP.ROTATE_180, 4: _FLIP.FLIP_TOP_BOTTOM, 5: _FLIP.TRANSPOSE, 6: _FLIP.ROTATE_90,
    7: _FLIP.TRANSVERSE, 8: _FLIP.ROTATE_270,
}  # fmt: skip


@functools.cache
def suffixes() -> frozenset[str]:
    """Return the suffixes of the images that are read, in lower case: those that Pillow registers for `FORMATS`."""
    formats = {*FORMATS, "MPO"}  # A JPEG with several pictures, as phones write it.
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in formats)


class Encoded(Protocol):
    """A list of encoded images, which are read one at a time, so that it needs little memory."""

    def __len__(self) -> int: ...
    def read(self, row: int) -> bytes:
        """Return the encoded image as it is stored; at most `MAX_ITEM_BYTES` bytes."""
        ...

    def name(self, row: int) -> str:
        """Return the name of an image for error messages: a path, or a file and a number."""
        ...


def decode(data: bytes, name: str, size: tuple[int, int] | None = SIZE, upright: bool = False) -> NDArray[np.uint8]:
    """Decode one image to RGB ``(3, h, w)``; with ``upright``, rotated as its EXIF orientation says.

    Raises DataError, which gives its ``name``, if it is damaged, animated, too large or not of the expected size.
    """
    if len(data) > MAX_ITEM_BYTES:
        raise DataError(f"{name}: expected at most {MAX_ITEM_BYTES:,} bytes of image, found {len(data):,}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The conditions that matter among Pillow's warnings are checked here.
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check(image, name, size)
                return _pixels(_turned(image) if upright else _as_stored(image))
        except DataError:
            raise
        except Image.DecompressionBombError:
            raise DataError(f"{name}: expected at most {MAX_PIXELS:,} pixels; this image declares far more") from None
        except UnidentifiedImageError:
            kinds = ", ".join(FORMATS)
            raise DataError(f"{name}: expected an image ({kinds}), found {_something_else(data)}") from None
        except Exception as error:  # Decoders can raise nearly any exception for damaged images.
            reason = str(error).strip("'\"") or type(error).__name__
            raise DataError(f"{name}: this image is damaged: {reason}") from None


def oddities(data: bytes) -> tuple[bool, bool]:
    """Return what the header of an encoded image tells: whether its EXIF orientation says that it is seen rotated or
    mirrored, and whether it is grey with 16 bits. Both are False if the header is unreadable."""
    with warnings.catch_warnings(), contextlib.suppress(Exception):  # Decoders can raise nearly any exception.
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
            return turned, image.mode in _SIXTEEN
    return False, False


def _something_else(data: bytes) -> str:
    """Say what bytes are that are no image, if that is easily seen."""
    if not data:
        return "an empty file"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
        return "HEIC; convert it to JPEG or PNG first, for example with the Python library pillow-heif"
    if data.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS; fetch the file itself with: git lfs pull"
    if data.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return "a web page; download the file itself"
    return f"{len(data)} bytes of something else"


def _check(image: Image.Image, name: str, size: tuple[int, int] | None) -> None:
    """Raise DataError if the header shows that the image cannot be used; no pixel is decoded."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{name}: expected at most {MAX_PIXELS:,} pixels, found {width} x {height}")
    # Phones put a second picture (of another exposure or depth) into a JPEG; the first one is the photo.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise DataError(
            f"{name}: expected one picture, found several: an animation, or a file of pages; save the one to use"
        )
    if image.mode not in _MODES:
        raise DataError(f"{name}: expected 8 bits per channel, found the pixel mode {image.mode}; convert it first")
    if size is not None and (height, width) != size:
        raise DataError(
            f"{name}: expected an aligned face of {size[1]} x {size[0]}, found {width} x {height}; "
            f"align the set first: bench data align SRC DST"
        )


def _as_stored(image: Image.Image) -> Image.Image:
    """Return an image whose pixels are as they are stored: Pillow would rotate a TIFF when it is loaded."""
    if isinstance(image, TiffImageFile) and ExifTags.Base.Orientation in image.tag_v2:
        undo = _UNDO.get(image.tag_v2[ExifTags.Base.Orientation])
        image.load()
        return image if undo is None else image.transpose(undo)
    return image


def _turned(image: Image.Image) -> Image.Image:
    """Return an image rotated as its EXIF orientation says; as it is if its EXIF data are damaged."""
    image.load()  # Pillow rotates a TIFF here, and removes the tag.
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Damaged EXIF data can raise nearly any exception.
        return image


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _SIXTEEN:
        wide = np.asarray(image, dtype=np.uint32)
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
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
