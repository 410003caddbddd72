"""Search for data sets in the data folders, and choice of their readers.

Known names are searched in every folder of ``$BENCH_DATA``, in order. Such a folder may also be the set itself, or
contain the files in a folder ``bin``.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import DataError, MissingDataError, data_folders, file_stamp, is_settled, places_named
from bench_facesets.choices import Choices
from bench_facesets.collection import Collection
from bench_facesets.people import with_known_people
from bench_facesets.readers import image_folders, insightface_bin, original_layouts, parquet, recordio, tables
from bench_facesets.readers.images import suffixes
from bench_facesets.readers.listing import hint, in_words, list_images
from bench_facesets.readers.safe_paths import entries, files_below, shown

_FINDS_OUT = Choices()
Reader = Callable[[Path, Choices], Collection]


@dataclass(frozen=True, kw_only=True)
class Names:
    """The names under which a set is known: files, and folders of the original layout."""

    files: tuple[str, ...]
    folders: tuple[str, ...]
    reader: str

    def words(self) -> str:
        """Return the names as text, for messages."""
        return ", ".join([*self.files, *(f"{f}/" for f in self.folders)])


KNOWN = {
    "lfw": Names(
        files=("lfw.bin", "lfw.parquet"),
        folders=("lfw", "LFW", "lfw-deepfunneled", "lfw_funneled"),
        reader="lfw",
    ),
    "agedb30": Names(
        files=("agedb_30.bin", "agedb30.bin", "agedb30.parquet", "agedb_30.parquet"),
        folders=("AgeDB", "agedb", "agedb30", "agedb_30"),
        reader="agedb30",
    ),
    "calfw": Names(files=("calfw.bin", "calfw.parquet"), folders=("calfw", "CALFW"), reader="calfw"),
    "cfp-ff": Names(
        files=("cfp_ff.bin", "cfp-ff.parquet", "cfp_ff.parquet"),
        folders=("cfp-dataset", "cfp", "CFP", "cfp-ff", "cfp_ff"),
        reader="cfp-ff",
    ),
    "casia-webface": Names(
        files=("casia-webface.parquet", "casia_webface.parquet"),
        folders=("casia-webface", "CASIA-WebFace", "casia_webface", "faces_webface_112x112", "casia"),
        reader="people",
    ),
}


def _candidates(names: Names) -> Iterator[tuple[Path, str]]:
    """Yield every path where a set could be, with its reader."""
    for folder in data_folders():
        for place in (folder, folder / "bin"):
            for name in names.files:
                yield place / name, "bin" if name.endswith(".bin") else "parquet"
        for name in names.folders:
            for file in names.files:
                yield folder / name / file, "bin" if file.endswith(".bin") else "parquet"
            yield folder / name, names.reader


def find(name: str) -> tuple[Path, str]:
    """Return the path of a known set and its reader. Raises MissingDataError, which says where it was searched."""
    names = KNOWN[name]
    for path, reader in _candidates(names):
        if os.path.isfile(path) or (os.path.isdir(path) and reader == names.reader):
            return path, reader
    for folder in data_folders():  # A data folder may be the set itself.
        if os.path.isdir(folder) and name in original_layouts.detect(folder):
            return folder, name
    searched = ", ".join(map(str, data_folders()))
    if not searched:
        raise MissingDataError(
            f"no folder of data sets is known; set BENCH_DATA (or --data-dir) to a folder that has one of: "
            f"{names.words()}"
        )
    raise MissingDataError(f"not found in {searched}; put one of these there: {names.words()}")


def named(text: str) -> Path:
    """Return the file or folder that the parameter ``path`` names. Raises DataError, which says where it was looked
    for, if it does not exist."""
    places = places_named(text, "path")
    for place in places:
        if os.path.exists(place):
            return place
    if len(places) == 1:
        raise DataError(f"{places[0]}: expected a file or folder, found none; correct the parameter path")
    beside, here = places
    raise DataError(
        f"path = {text!r}: expected a file or folder, found none: neither {beside} (from the suite) nor "
        f"{here.absolute()} (from the working folder) exists; correct the parameter path"
    )


def known_at(name: str, path: Path) -> tuple[Path, str]:
    """Return the path of a known set and its reader, from the path that the user names.

    The path may be the set itself, or a folder that contains a file with one of the set's known names. Any other folder
    is read in the original layout of the set. Raises DataError if the path does not exist or is of another kind.
    """
    reader = detect(path)
    if not path.is_dir() or reader != "people":
        return path, reader
    file = next((path / f for f in KNOWN[name].files if (path / f).is_file()), None)
    return (path, name) if file is None else (file, detect(file))


def detect(path: Path) -> str:
    """Return the reader for the user's path. Raises DataError if the path does not exist or is of another kind."""
    if not path.exists():
        raise DataError(f"{path}: expected a file or folder, found none; correct the parameter path")
    if path.is_file():
        suffix = path.suffix.lower()
        reader = {".bin": "bin", ".rec": "people", **dict.fromkeys(tables.SUFFIXES, "table")}.get(suffix)
        if parquet.is_parquet(path.name):
            reader = "parquet"
        if reader is None:
            advice = "name the folder of the images" if suffix in suffixes() else hint(path)
            raise DataError(
                f"{path}: expected a folder, .bin, .parquet, .rec, or a table ({', '.join(tables.SUFFIXES)}) of images "
                f"and people, found {shown(suffix) or 'a file without suffix'}{f'; {advice}' if advice else ''}"
            )
        return reader
    if found := list(original_layouts.detect(path)):
        return found[0]
    return "parquet" if _has_parquet(path) else "people"


def _has_parquet(path: Path) -> bool:
    """Return whether a folder has Parquet files, in it or before more than a few images in the folders in it:
    repositories of Hugging Face keep them in ``data``, perhaps beside pictures of their documentation."""
    if any(parquet.is_parquet(file.name) for file in _files(path, "")):
        return True
    images = 0
    for entry in files_below(path.resolve(), path.resolve()):
        if parquet.is_parquet(entry.name):
            return True
        images += _is_image(entry)
        if images > _FEW:
            break
    return False


def _files(path: Path, suffix: str) -> list[Path]:
    """Return the files in a folder that have a suffix, by name. Raises DataError if the folder cannot be read."""
    return [path / e.name for e in entries(path, path.resolve()) if e.name.lower().endswith(suffix) and e.is_file()]


def _people(path: Path, choices: Choices = _FINDS_OUT) -> Collection:
    """Read a training set: a ``.rec`` file, or a folder of people, of ``.rec`` and ``.idx``, or of Parquet."""
    if path.is_file():
        return recordio.read(path)
    if records := _files(path, ".rec"):
        return recordio.read(next((f for f in records if f.name == "train.rec"), records[0]))
    if _has_parquet(path):
        return parquet.read(path, choices)
    return image_folders.read(path, choices)


_FEW = 10  # A folder is one of people if at least so many folders in it contain images.


def _original(reader: Callable[[Path], Collection], path: Path, choices: Choices = _FINDS_OUT) -> Collection:
    """Read a set in its original layout. Without its pair protocol it is read as a folder ``subject/image``, so that
    pairs are drawn."""
    try:
        return reader(path)
    except MissingDataError:
        root = path.resolve()
        people = (Path(e.path) for e in entries(path, root) if e.is_dir())
        if sum(any(map(_is_image, entries(p, root))) for p in itertools.islice(people, _FEW)) < _FEW:
            raise
        return _people(path, choices)


def _is_image(entry: os.DirEntry[str]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in suffixes()


_READERS: dict[str, Reader] = {
    "bin": lambda path, choices: insightface_bin.read(path),
    "parquet": parquet.read,
    "people": _people,
    "table": tables.read,
    **{name: functools.partial(_original, reader) for name, reader in original_layouts.READERS.items()},
}
_Stamps = tuple[tuple[int, ...], ...]
_KEPT = 16  # The number of sets that are kept in a process.
_kept: dict[tuple[Path, str, Choices], tuple[_Stamps, Collection]] = {}


def open_set(path: Path, reader: str, choices: Choices = _FINDS_OUT, fresh: bool = False) -> Collection:
    """Read the set at a path.

    The result is kept in the process until the file changes, unless it changed just now (see `bench.is_settled`). A
    folder or table does not show whether images have changed: it is listed again with ``fresh``, as it is for every
    digest of the set. Raises DataError if the path cannot be read.
    """
    if choices.person_column and reader in ("bin", "people", *original_layouts.READERS):
        raise DataError(f"{path}: person_column: expected Parquet or a table, found no columns; leave it out")
    if choices.person_pattern and (reader != "people" or not path.is_dir()):
        raise DataError(f"{path}: person_pattern: expected a folder of images, found {reader}; leave it out")
    key = (path.absolute(), reader, choices)
    try:
        stamps, is_folder = _stamps(path), path.is_dir() or reader == "table"
        known = _kept.get(key)
        if known is not None and known[0] == stamps and not (fresh and is_folder):
            return known[1]
        keeps = is_folder or all(map(is_settled, stamps))  # Asked before the file is read.
        found = with_known_people(_with_others(_READERS[reader](path, choices), path))
    except OSError as error:
        raise DataError(f"{path}: expected a readable file or folder: {error.strerror}") from None
    if keeps:
        while len(_kept) >= _KEPT and key not in _kept:
            del _kept[next(iter(_kept))]
        _kept[key] = (stamps, found)
    return found


def _with_others(found: Collection, path: Path) -> Collection:
    """Say of a folder of Parquet which other images and files in it are passed over."""
    if found.layout != "Parquet" or found.passed_over or not path.is_dir():
        return found
    listing = list_images(path)
    read = set(found.files)
    others = sorted(file for file in [*listing.images, *listing.passed_over] if file not in read)
    return dataclasses.replace(found, passed_over=in_words(others, listing.root))


def _stamps(path: Path) -> _Stamps:
    """Return the stamps of a file, and of the index beside a ``.rec``. Raises OSError."""
    index = path.with_suffix(".idx")
    return (file_stamp(path), *([file_stamp(index)] if path.suffix == ".rec" and index.exists() else []))
