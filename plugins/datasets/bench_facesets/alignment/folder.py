"""Alignment of a folder tree of images to the same tree of crops; it can be resumed, and lists faces not found.

A crop appears in the target only when it is complete, so every crop there is finished. `MANIFEST` is written first and
records the source and the settings; crops are never added to a target whose manifest differs.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import Image

from bench import DataError, MissingDataError, StorageError, __version__, read_json, write_atomically
from bench_facesets.alignment.detect import Detector, Face, subject_of
from bench_facesets.alignment.geometry import SIZE, TEMPLATE, crop, displacement
from bench_facesets.readers.images import MAX_ITEM_BYTES, decode
from bench_facesets.readers.listing import hint, in_words, list_images, why
from bench_facesets.readers.safe_paths import entries, read_bytes

MANIFEST = "alignment.json"
REPORT = "not-found.csv"
_LOCK = ".alignment.lock"
_ALIGNED = 2.0  # A crop that alignment moves by at most so many pixels counts as already aligned.
_BIN = (
    "the faces in a .bin file are aligned already, and a second alignment would only blur them; "
    "use the file as it is (bench data convert makes Parquet of it)"
)


@dataclass(frozen=True, kw_only=True)
class NotFound:
    """An image without a crop: its path below the source, the reason in two words, and a detail."""

    path: str
    reason: str
    detail: str


@dataclass(kw_only=True)
class Tally:
    """The result of an alignment in numbers.

    ``images``: all of them; ``made``: new crops; ``kept``: crops that existed before; ``already``: new crops whose
    image was already aligned; ``missing``: images without a crop.
    """

    images: int
    made: int = 0
    kept: int = 0
    already: int = 0
    missing: list[NotFound] = field(default_factory=list)

    @property
    def found(self) -> int:
        """The number of images with a crop."""
        return self.made + self.kept

    @property
    def reasons(self) -> Mapping[str, int]:
        """The number of missing crops for each reason."""
        return dict(sorted(Counter(m.reason for m in self.missing).items()))


class _NoCropError(DataError):
    """An image gets no crop; ``reason`` in two words, and the message as detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def align_folder(
    source: Path,
    target: Path,
    detector: Detector,
    *,
    min_score: float,
    limit: int | None = None,
    overwrite: bool = False,
    on_image: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Align the images below ``source`` (the first ``limit`` by name) into ``target``; call `on_image` after each.

    Raises DataError if the folders cannot be used, StorageError if the target cannot be written.
    """
    source, target = check_folders(source, target)
    images, passed_over = _images(source)
    images = images[:limit]
    settings = {
        "source": _printable(source),
        "detector": detector.name,
        "min_score": min_score,
        "template": TEMPLATE.tolist(),
        "size": [SIZE, SIZE],
    }
    with _claimed(target):
        _check_manifest(target, {"source": settings["source"]} if overwrite else settings)
        if overwrite:  # Old crops are deleted before the new manifest is written, so that none is left beside new ones.
            for image in _images(source)[0]:
                (target / _crop_of(image)).unlink(missing_ok=True)
        about = {"bench": __version__, **settings, "limit": limit}
        _write_manifest(target, {**about, "complete": False})
        tally = Tally(images=len(images) + len(passed_over), missing=[_not_read(source, path) for path in passed_over])
        for path, taken in _with_namesakes(images):
            _align_one(source, target, path, taken, detector, min_score, tally)
            on_image(tally)
        _write_report(target, tally)
        counts = {"images": tally.images, "found": tally.found, "not_found": tally.reasons}
        _write_manifest(target, {**about, "complete": True, "counts": counts})
    return tally


def check_folders(source: Path, target: Path) -> tuple[Path, Path]:
    """Return both folders, resolved. Raises DataError if there is nothing to align or one folder lies in the other."""
    if source.suffix.lower() == ".bin" and not source.is_dir():
        raise DataError(f"{source}: {_BIN}")
    source, target = source.resolve(), target.resolve()
    if not source.is_dir():
        what = "a file" if source.exists() else "nothing"
        raise MissingDataError(f"{source}: expected a folder of images, found {what}")
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise DataError(
            f"{target}: expected a folder apart from {source}, so that crops and originals are never mixed; "
            f"choose another one"
        )
    if target.exists() and not target.is_dir():
        raise DataError(f"{target}: expected a folder, found a file; choose another name")
    return source, target


def _images(source: Path) -> tuple[list[Path], list[Path]]:
    """Return the images below a folder and the files that are passed over, relative to it, in order of their names.

    Raises DataError if there are no images.
    """
    found = list_images(source)
    if not found.images:
        if any(entry.name.lower().endswith(".bin") for entry in entries(source, source)):
            raise DataError(f"{source}: expected images; {_BIN}")
        others = in_words(found.passed_over, source)
        raise MissingDataError(
            f"{source}: expected images (any depth of folders), found none{f'; {others}' if others else ''}"
        )
    return [p.relative_to(source) for p in found.images], [p.relative_to(source) for p in found.passed_over]


def _not_read(source: Path, path: Path) -> NotFound:
    """Return the entry of a file that is passed over."""
    detail = "; ".join(filter(None, [f"not read as an image: {why(source / path)}", hint(path)]))
    return NotFound(path=_printable(path), reason="not read", detail=detail)


def _with_namesakes(images: list[Path]) -> Iterator[tuple[Path, Path | None]]:
    """Yield every image with an earlier image whose crop has the same name, or with None."""
    first: dict[Path, Path] = {}
    for path in images:
        other = first.setdefault(_crop_of(path), path)
        yield path, None if other == path else other


def _crop_of(image: Path) -> Path:
    return image.with_suffix(".png")


def _printable(path: Path) -> str:
    """Return a path as text; bytes that are not UTF-8 are escaped."""
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def _claimed(target: Path) -> Iterator[None]:
    """Lock the target for this process; the lock ends with the process, even if it is killed. Raises StorageError."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        with FileLock(target / _LOCK, timeout=0):
            yield
    except Timeout:
        raise StorageError(f"{target}: another bench data align is at work here; wait for it") from None
    except OSError as error:
        raise StorageError(f"{error.filename or target}: cannot be written: {error.strerror or error}") from None


def _check_manifest(target: Path, settings: Mapping[str, Any]) -> None:
    """Raise DataError unless the target is empty or was made with the same settings."""
    path = target / MANIFEST
    if not path.exists():
        found = next(iter(entries(target, target)), None)
        if found is not None:
            raise DataError(
                f"{target}: expected a new or empty folder, or one that this command began, found {found.name} "
                f"without {MANIFEST}; choose another folder"
            )
        return
    before = _read_manifest(path)
    for key, value in settings.items():
        if before.get(key) == value:
            continue
        way_out = "choose another folder" + ("" if key == "source" else ", or make all crops again with --overwrite")
        raise DataError(f"{path}: expected {key} {value} as requested, found {before.get(key)}; {way_out}")


def _read_manifest(path: Path) -> Mapping[str, Any]:
    try:
        before = read_json(path)
    except ValueError:
        before = None
    if not isinstance(before, dict):
        raise DataError(f"{path}: expected the JSON that this command wrote; choose another folder")
    return before


def _align_one(
    source: Path,
    target: Path,
    path: Path,
    taken: Path | None,
    detector: Detector,
    min_score: float,
    tally: Tally,
) -> None:
    """Align one image, write its crop into the target, and count it in the tally."""
    out = target / _crop_of(path)
    try:
        if taken is not None:
            raise _NoCropError("name taken", f"the crop of {_printable(taken)} has the same name")
        if out.exists():
            tally.kept += 1
            return
        image = _read(source / path)
        face = _subject(detector.detect(image), image.shape[:2], min_score)
        pixels = crop(image, face.landmarks)
    except DataError as error:
        # Another DataError comes from landmarks that are not those of a face.
        reason = error.reason if isinstance(error, _NoCropError) else "no face"
        tally.missing.append(NotFound(path=_printable(path), reason=reason, detail=str(error)))
    else:
        _write_png(out, pixels)
        tally.made += 1
        tally.already += image.shape[:2] == (SIZE, SIZE) and displacement(face.landmarks) <= _ALIGNED


def _read(path: Path) -> NDArray[np.uint8]:
    """Read an image ``(h, w, 3)``, rotated as its EXIF orientation says. Raises _NoCropError if it is damaged."""
    try:
        data = read_bytes(path, MAX_ITEM_BYTES, "an image")
        pixels = decode(data, str(path), size=None, upright=True)
    except DataError as error:
        raise _NoCropError("unreadable", str(error).removeprefix(f"{path}: ")) from None
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def _subject(faces: Any, size: tuple[int, int], min_score: float) -> Face:
    """Return the face of the person whom the image shows. Raises _NoCropError if there is none or no face stands
    out."""
    sure = [face for face in faces if face.score >= min_score]
    if not sure:
        best = max((face.score for face in faces), default=None)
        raise _NoCropError("no face", "nothing" if best is None else f"at best a score of {best:.2f}")
    face = subject_of(sure, size)
    if face is None:
        raise _NoCropError("several", f"{len(sure)} faces, and none stands out as large and central")
    return face


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a file beside the target and rename it. Its name is always the same, so that a later run replaces the file
    of a killed one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    with beside.open("wb") as file:
        Image.fromarray(pixels).save(file, format="PNG")
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _write_manifest(target: Path, manifest: Mapping[str, Any]) -> None:
    write_atomically(target / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def _write_report(target: Path, tally: Tally) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason", "detail"])
    writer.writerows([m.path, m.reason, m.detail] for m in tally.missing)
    write_atomically(target / REPORT, text.getvalue())
