"""What the headers of images tell that their user should know: EXIF orientations, and grey of 16 bits."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import numpy as np

from bench import DataError
from bench_facesets.collection import Collection, Ints
from bench_facesets.readers.images import Encoded, oddities
from bench_facesets.remembered import remembered

_TURNED, _SIXTEEN = 1, 2  # Bits of the number of an image.
_VERSION = 1  # Change it with the meaning of the numbers, so that remembered ones are not used.
SAMPLE = 1000  #: The number of images of a training set whose headers are read.


def of_evaluation_set(collection: Collection, fingerprint: str) -> tuple[str, ...]:
    """Return sentences on the headers of all images; what they tell is remembered under the digest of the files."""
    found = remembered("headers", _VERSION, collection, fingerprint, 4, lambda: _numbers(collection.encoded))
    return tuple(in_words(collection.encoded, found).values())


def of_training_set(collection: Collection) -> tuple[str, ...]:
    """Return sentences on the headers of the first `SAMPLE` images: a training set may have millions."""
    found = _numbers(collection.encoded, SAMPLE)
    some = f" (of the first {SAMPLE:,} images)" if len(found) < len(collection.encoded) else ""
    return tuple(f"{sentence}{some}" for sentence in in_words(collection.encoded, found).values())


def _numbers(encoded: Encoded, limit: int | None = None) -> Ints:
    found = np.zeros(min(len(encoded), limit or len(encoded)), dtype=np.int64)
    for row in range(len(found)):
        with contextlib.suppress(DataError):  # Whoever uses the image gets the error.
            found[row] = number_of(encoded.read(row))
    return found


def number_of(data: bytes) -> int:
    """Return the number by which `in_words` knows what the header of an encoded image tells."""
    turned, sixteen = oddities(data)
    return _TURNED * turned + _SIXTEEN * sixteen


def in_words(encoded: Encoded, numbers: Ints) -> Mapping[str, str]:
    """Return a sentence on each oddity that occurs among images with these numbers, by its name."""
    said = {
        "orientation": (_TURNED, "an EXIF orientation, which is not applied to aligned faces"),
        "bits": (_SIXTEEN, "grey values of 16 bits, which are divided by 257 and rounded"),
    }
    found = {}
    for name, (bit, what) in said.items():
        rows = np.flatnonzero(numbers & bit)
        if len(rows):
            have = "image has" if len(rows) == 1 else "images have"
            found[name] = f"{len(rows):,} {have} {what}: look at {encoded.name(int(rows[0]))}"
    return found
