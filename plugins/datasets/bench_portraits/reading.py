"""Photos are listed, decoded and aligned. Nothing outside the folder is read, and nothing is written."""

from __future__ import annotations

import functools
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from bench_facesets.alignment.detect import Face, MtcnnDetector, subject_of
from bench_facesets.alignment.geometry import crop
from bench_facesets.readers.images import MAX_ITEM_BYTES, SIZE, decode, suffixes
from bench_facesets.readers.safe_paths import MAX_DEPTH, MAX_FILES, is_debris, read_bytes
from numpy.typing import NDArray

from bench import DataError, Faces, Pairs, file_sha256

if TYPE_CHECKING:
    from bench import Context

Pixels = NDArray[np.uint8]

NO_PICTURE, LINK, SAME_NAME, UNREADABLE = "no picture", "link", "same name", "unreadable"
NO_FACE, SEVERAL, NO_COUNTERPART = "no face", "several faces", "no counterpart"
_SHAPE = 0.05  # Pictures whose ratios of width to height differ by more show another part, or are distorted.


@dataclass(frozen=True, kw_only=True)
class File:
    """A file below the folder: its name relative to it without suffix, its path, and why it is not read if it is not;
    ``detail`` says more."""

    name: str
    path: Path
    problem: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A file after reading: ``pixels (3, 112, 112)`` of its face, black if there is a ``problem``."""

    file: File
    pixels: Pixels
    note: str = ""


class _NoFaceError(DataError):
    """A picture has no face that can be used; ``problem`` in a word or two, and the message as detail."""

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem


# ---- the files -------------------------------------------------------------------------------------------------------


def listed(folder: Path, suffix: str = "") -> list[File]:
    """Return the files below a folder by name, without what systems leave there. Raises DataError for a folder that
    cannot be read, or with too many files or folders inside each other."""
    root = folder.resolve()
    found = sorted(_below(root, root, suffix, 0), key=lambda file: (file.name, str(file.path)))
    usable = defaultdict(list)
    for file in found:
        if not file.problem:
            usable[file.name].append(file)
    twice = {name: files for name, files in usable.items() if len(files) > 1}

    def checked(file: File) -> File:
        if file.problem or file.name not in twice:
            return file
        names = ", ".join(_shown(other.path.name) for other in twice[file.name])
        return replace(file, problem=SAME_NAME, detail=f"{names} have one name but for what follows the last dot")

    return [checked(file) for file in found]


def _below(folder: Path, root: Path, suffix: str, depth: int) -> Iterator[File]:
    if depth > MAX_DEPTH:
        raise DataError(f"{folder}: expected at most {MAX_DEPTH} folders inside each other; start elsewhere")
    try:
        with os.scandir(folder) as found:
            entries = sorted((e for e in found if not is_debris(e.name)), key=lambda e: e.name)
    except OSError as error:
        raise DataError(f"{folder}: expected a readable folder: {error.strerror}") from None
    if len(entries) > MAX_FILES:
        raise DataError(f"{folder}: expected at most {MAX_FILES:,} files")
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _below(path, root, suffix, depth + 1)
        else:
            problem, detail = _problem(entry)
            yield File(name=_name(path, root, suffix), path=path, problem=problem, detail=detail)


def _problem(entry: os.DirEntry[str]) -> tuple[str, str]:
    """Return why an entry of a folder is not read as a picture; empty texts if it is."""
    ending = os.path.splitext(entry.name)[1].lower()
    if entry.is_symlink():
        return LINK, "links are not followed; put the picture itself here"
    if not entry.is_file(follow_symlinks=False):
        return NO_PICTURE, "a pipe or a device"
    if ending not in suffixes():
        return NO_PICTURE, f"a file {_shown(ending)}" if ending else "a file without suffix"
    return "", ""


def _name(path: Path, root: Path, suffix: str) -> str:
    relative = path.relative_to(root).with_suffix("").as_posix()
    return _shown(relative.removesuffix(suffix) or relative)


def _shown(text: str) -> str:
    """Return a name as text that can be stored: bytes that are not UTF-8 are escaped."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def digest(folder: Path) -> str:
    """Return a digest of the names and contents of all pictures below a folder."""
    total = hashlib.sha256()
    for file in listed(folder):
        if not file.problem:
            total.update(f"{file.name}\0{file_sha256(file.path)}\0".encode())
    return total.hexdigest()


# ---- the faces -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class How:
    """How the pictures of a folder are read: the parameters of the data set; ``like`` are the pictures by name from
    which the places of faces are taken, None if they are searched."""

    aligned: bool
    min_score: float
    like: Mapping[str, File] | None


def read(path: Path, *, like: Path, aligned: bool, suffix: str, min_score: float, ctx: Context) -> Faces:
    """Return all samples of a folder as the data set ``photos`` describes them."""
    files = listed(path, suffix)
    others = {file.name: file for file in listed(like)} if like != Path() else None
    how = How(aligned=aligned, min_score=min_score, like=others)
    samples = []
    for done, file in enumerate(files):
        samples.append(_sample(file, how))
        ctx.progress(done + 1, len(files))
    folders = [os.path.dirname(sample.file.name) for sample in samples]
    return Faces(
        images=np.stack([s.pixels for s in samples]) if samples else np.zeros((0, 3, *SIZE), np.uint8),
        subjects=np.unique(folders, return_inverse=True)[1].astype(np.int64),
        sample_ids=np.array([s.file.name for s in samples], dtype=str),
        attributes={
            "problem": np.array([s.file.problem for s in samples], dtype=str),
            "detail": np.array([s.file.detail for s in samples], dtype=str),
            "note": np.array([s.note for s in samples], dtype=str),
        },
    )


def no_pairs() -> Pairs:
    """Return pairs of nothing."""
    none = np.zeros(0, np.int64)
    return Pairs(left=none, right=none, same=none.astype(bool), fold=none)


def _sample(file: File, how: How) -> Sample:
    black = np.zeros((3, *SIZE), np.uint8)
    if file.problem:
        return Sample(file=file, pixels=black)
    try:
        if how.aligned:
            return Sample(file=file, pixels=_decoded(file, size=SIZE, upright=False))
        image = np.ascontiguousarray(_decoded(file).transpose(1, 2, 0))
        if how.like is None:
            landmarks, note = _landmarks(file.path, how.min_score, image), ""
        else:
            landmarks, note = _landmarks_like(how.like.get(file.name), how.min_score, image)
        pixels = np.ascontiguousarray(crop(image, landmarks).transpose(2, 0, 1))
        return Sample(file=file, pixels=pixels, note=note)
    except _NoFaceError as error:
        return Sample(file=replace(file, problem=error.problem, detail=str(error)), pixels=black)
    except DataError as error:
        return Sample(file=replace(file, problem=UNREADABLE, detail=_reason(error, file)), pixels=black)


def _decoded(file: File, size: tuple[int, int] | None = None, *, upright: bool = True) -> Pixels:
    return decode(read_bytes(file.path, MAX_ITEM_BYTES, "a picture"), str(file.path), size=size, upright=upright)


def _reason(error: DataError, file: File) -> str:
    return _shown(str(error).removeprefix(f"{file.path}: "))


def _landmarks_like(file: File | None, min_score: float, image: Pixels) -> tuple[NDArray[np.float64], str]:
    """Return the landmarks of the picture of the same name, on the scale of an image ``(h, w, 3)``, and a note if the
    two pictures have different sizes."""
    if file is None or file.problem:
        raise _NoFaceError(NO_COUNTERPART, "there is no picture of this name to take the place of the face from")
    other = np.ascontiguousarray(_decoded(file).transpose(1, 2, 0))
    landmarks = _landmarks(file.path, min_score, other)
    (height, width), (h, w) = image.shape[:2], other.shape[:2]
    if (height, width) == (h, w):
        return landmarks, ""
    note = f"{width} x {height} pixels in place of {w} x {h}"
    if abs(width * h / (height * w) - 1) > _SHAPE:
        note += ", and of another shape"
    return (landmarks + 0.5) * (width / w, height / h) - 0.5, note


def _landmarks(path: Path, min_score: float, image: Pixels) -> NDArray[np.float64]:
    """Return the landmarks ``(5, 2)`` of the face in an image ``(h, w, 3)``, which is that of a file. Raises
    _NoFaceError."""
    about = path.stat()
    key = str(path), about.st_mtime_ns, about.st_size
    if key not in _KNOWN:
        _KNOWN[key] = tuple(_detector().detect(image))
    sure = [face for face in _KNOWN[key] if face.score >= min_score]
    if not sure:
        best = max((face.score for face in _KNOWN[key]), default=None)
        raise _NoFaceError(NO_FACE, "nothing" if best is None else f"at best a score of {best:.2f}")
    face = subject_of(sure, image.shape[:2])
    if face is None:
        raise _NoFaceError(SEVERAL, f"{len(sure)} faces, and none stands out as large and central")
    return face.landmarks


_KNOWN: dict[tuple[str, int, int], tuple[Face, ...]] = {}  # What the detector found in files of this process.


@functools.cache
def _detector() -> MtcnnDetector:
    return MtcnnDetector()
