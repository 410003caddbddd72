"""The images below a folder, and the files there that no reader reads, with words that tell the user which they are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import DataError
from bench_facesets.readers.images import suffixes
from bench_facesets.readers.safe_paths import MAX_FILES, files_below, shown

# Files that accompany images: texts, tables, protocols, code. They are no pictures, whatever the set is.
_COMPANIONS = {
    ".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".html", ".htm", ".pdf",
    ".log", ".mat", ".m", ".py", ".ipynb", ".sh", ".sha256", ".md5", ".lst", ".pts", ".xlsx", ".xls", ".doc", ".docx",
    ".license", ".bib",
}  # fmt: skip
_COMPANION_NAMES = {"readme", "license", "licence", "copying", "changelog", "property"}
_HEIF = "convert them to JPEG or PNG first, for example with the Python library pillow-heif"
_ARROW = "write it as Parquet, with the method to_parquet of Hugging Face's Dataset, or of a pandas DataFrame"
_UNPACK = "unpack it first (zip and tar: bench data unpack ARCHIVE FOLDER)"
_PICTURES = "write its images as PNG into a folder per person; arrays do not say what their channels are"
_SHARD = "write the images into a folder per person, or as Parquet"
_HINTS = {
    ".arrow": _ARROW,
    ".feather": _ARROW,
    ".heic": _HEIF,
    ".heif": _HEIF,
    ".idx": "name the .rec beside it",
    ".lmdb": _SHARD,
    ".mdb": _SHARD,
    ".tfrecord": _SHARD,
    ".tfrecords": _SHARD,
    **dict.fromkeys((".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz"), _UNPACK),
    **dict.fromkeys((".npy", ".npz", ".pkl", ".pickle", ".pt", ".pth", ".h5", ".hdf5", ".mat"), _PICTURES),
    **dict.fromkeys((".json", ".jsonl"), "write it as a table (.csv) with the columns file and person"),
}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images below a folder and the other files there, without companions, in order of names."""

    root: Path
    images: list[Path]
    passed_over: list[Path]


def list_images(folder: Path) -> Listing:
    """List the files below a folder of any depth. Raises DataError if it cannot be read or has too many files."""
    root = folder.resolve()
    images: list[Path] = []
    others: list[Path] = []
    known = suffixes()
    for entry in files_below(root, root):
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix in known and entry.is_file():
            images.append(Path(entry.path))
        elif not (suffix in _COMPANIONS or entry.name.lower() in _COMPANION_NAMES):
            others.append(Path(entry.path))
        if len(images) + len(others) > MAX_FILES:
            raise DataError(f"{folder}: expected at most {MAX_FILES:,} images")
    return Listing(root=root, images=images, passed_over=others)


def why(path: Path) -> str:
    """Say of a file that is passed over what it is."""
    if not path.is_file():
        return "link to nothing" if path.is_symlink() else "pipe or device"
    return shown(path.suffix.lower()) or "no suffix"


def hint(path: Path) -> str:
    """Say how a file that is passed over could be read; empty where that is not known."""
    return _HINTS.get(path.suffix.lower(), "")


def in_words(passed_over: Sequence[Path], root: Path) -> str:
    """Return a sentence that counts and names the files that are passed over; empty if there are none."""
    if not passed_over:
        return ""
    counts = Counter(map(why, passed_over))
    kinds = ", ".join(f"{kind} ({n})" for kind, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    hints = "".join(f"; {text}" for text in _distinct(map(hint, passed_over)))
    example = shown(str(passed_over[0].relative_to(root)))
    files = "1 file is" if len(passed_over) == 1 else f"{len(passed_over)} files are"
    return f"{files} passed over, not read as images: {kinds}, such as {example}{hints}"


def _distinct(texts: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(text for text in texts if text)
