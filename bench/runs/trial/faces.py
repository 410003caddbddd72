"""The face of a trial: a generated one of the bundled data set, or a picture that the user names."""

from __future__ import annotations

import csv
import io
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from bench.core.errors import DataError, MissingDataError
from bench.core.paths import child
from bench.core.processes import python, run
from bench.core.whole_files import read_whole
from bench.registry.discovery import commands
from bench.runs.trial.setting import TrialSetting
from bench.stages.stage_inputs import Job, read_faces, read_pairs

_LARGEST = 64 << 20  # bytes of a picture
_MOST_PIXELS = 80_000_000
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_LONGEST_S = 600.0  # in which one picture is aligned
Pixels = NDArray[np.uint8]  # (3, h, w) RGB


@dataclass(frozen=True, kw_only=True)
class TriedFace:
    """A face: its pixels, its person and name as a run would know them, and in ``words`` where it comes from.

    ``another`` is a second picture of the same person, and ``stranger`` one of somebody else; a picture of the user's
    has neither.
    """

    pixels: Pixels
    subject: int
    sample_id: str
    words: str
    another: TriedFace | None = None
    stranger: TriedFace | None = None

    @property
    def bundled(self) -> bool:
        """True for a generated face of the bundled data set."""
        return self.another is not None


def bundled_face(setting: TrialSetting) -> TriedFace:
    """Return the first face of the bundled data set, with another picture of this person and one of somebody else."""
    cell = setting.cells[0]
    key = setting.score(cell).inputs["faces"]
    job = setting.job(setting.score(cell).key, "faces")
    pairs = read_pairs(job.input("faces"))
    own, other = int(np.flatnonzero(pairs.same)[0]), int(np.flatnonzero(~pairs.same)[0])
    words = f"a generated face of {setting.stage(key).components['dataset'][0].label}"
    another, stranger = (_face(job, int(pairs.right[pair]), words) for pair in (own, other))
    first = _face(job, int(pairs.left[own]), words)
    return TriedFace(**{**vars(first), "another": another, "stranger": stranger})


def _face(job: Job, row: int, words: str) -> TriedFace:
    faces = read_faces(job.input("faces"))
    return TriedFace(
        pixels=np.array(faces.images[row]),
        subject=int(faces.subjects[row]),
        sample_id=str(faces.sample_ids[row]),
        words=f"{words}, {faces.sample_ids[row]}",
    )


def picture_face(path: Path, size: tuple[int, int]) -> TriedFace:
    """Return the face in a picture: as it is if it has the size ``(h, w)`` of aligned faces, otherwise found and
    aligned. Raise `DataError` if it is no picture or shows no face, and `MissingDataError` if it does not exist."""
    pixels = _read(path)
    words = f"{path}, used as it is: it has the {size[1]}x{size[0]} pixels of an aligned face"
    if pixels.shape[1:] != size:
        h, w = pixels.shape[1:]
        pixels = _aligned(path, size)
        words = f"{path}, {w}x{h} pixels: its face was found and aligned as by bench data align"
    return TriedFace(pixels=pixels, subject=-1, sample_id="picture", words=words)


def _read(path: Path) -> Pixels:
    expected = f"{path}: expected a picture ({', '.join(_FORMATS)})"
    try:
        content = read_whole(path, _LARGEST)
    except FileNotFoundError:
        raise MissingDataError(f"{expected}, found nothing there") from None
    except IsADirectoryError:
        raise DataError(f"{expected}, found a folder") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise DataError(f"{expected} of at most {_MOST_PIXELS:,} pixels, found {opened.width}x{opened.height}")
            rgb = _as_seen(opened, expected)
    except UnidentifiedImageError:
        raise DataError(
            f"{expected}, found {'one that is damaged or of another kind' if content else 'an empty file'}"
        ) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{expected}, found one that cannot be decoded: {error}") from None
    return np.asarray(rgb, np.uint8).transpose(2, 0, 1).copy()


def _as_seen(image: Image.Image, expected: str) -> Image.Image:
    """Return a picture in RGB of 8 bits, turned as its EXIF orientation says."""
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I;16"):
        turned = Image.fromarray(((np.asarray(turned, dtype=np.uint32) + 128) // 257).astype(np.uint8))
    elif turned.mode in ("I", "F"):
        raise DataError(f"{expected} of at most 16 bits per channel, found one of 32; save it with 8")
    return turned.convert("RGB")


def _aligned(path: Path, size: tuple[int, int]) -> Pixels:
    """Return the aligned face of a picture of any size, as the command ``bench data align`` makes it.

    The command runs in a process of its own: a face detector may bring a library, such as TensorFlow, that aborts in a
    process with torch.
    """
    needed = f"{path}: expected an aligned face of {size[1]}x{size[0]} pixels"
    if "align" not in commands("data"):
        raise DataError(f"{needed}, and no installed plugin provides bench data align; align it first")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "picture"), Path(folder, "aligned")
        source.mkdir()
        copy = child(source, f"picture{path.suffix}")
        copy.write_bytes(read_whole(path, _LARGEST))
        try:
            done = run(python("-m", "bench", "data", "align", str(source), str(target)), _LONGEST_S)
        except subprocess.TimeoutExpired:
            raise DataError(f"{needed}, or one that can be aligned within {_LONGEST_S:.0f} s") from None
        if done.returncode:
            said = done.stderr.rpartition("Error: ")[2].strip() or f"it ended with code {done.returncode}"
            raise DataError(f"{needed}, or one that can be aligned: bench data align: {said}")
        crop = target / "picture.png"
        if not crop.is_file():
            raise DataError(f"{needed}, or a picture with one clear face, found {_why_not(target)}")
        return _read(crop)


def _why_not(target: Path) -> str:
    """Return why a picture was not aligned, from the list that the alignment leaves."""
    reasons = target / "not-found.csv"
    rows = list(csv.DictReader(io.StringIO(reasons.read_text(encoding="utf-8")))) if reasons.is_file() else []
    return ": ".join(filter(None, (rows[0].get("reason"), rows[0].get("detail")))) if rows else "none"
