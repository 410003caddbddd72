"""Readers of the original layouts of LFW, AgeDB-30, CALFW and CFP-FF, each with its own pair protocol.

Every reader gets the set's folder and searches the protocol files in it, one folder below it, and beside it. Images
keep their names; aligned copies may have another suffix (``.png`` for ``.jpg``). Pairs whose image is missing, because
no face was found in it for example, are left out and counted, as long as few images are missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench import DataError, MissingDataError
from bench_facesets.collection import FOLDS, Collection, pair_table
from bench_facesets.readers import matfile
from bench_facesets.readers.image_index import ImageIndex
from bench_facesets.readers.safe_paths import entries, inside, read_text

MAX_PAIRS = 1_000_000


def find_file(folder: Path, names: Sequence[str], what: str) -> Path:
    """Return a protocol file in a folder, one folder below it, or beside it. Raises MissingDataError, which says where
    the file belongs."""
    root = folder.resolve()
    below = [Path(e.path) for e in entries(root, root) if e.is_dir()]
    for place in (root, *below, root.parent):
        for name in names:
            if (place / name).is_file():
                return place / name
    raise MissingDataError(
        f"{folder}: the images exist, but {what} is missing: expected {' or '.join(names)} inside this folder or "
        f"beside it. To draw pairs without a protocol, use the data set face-set with path = {str(folder)!r}"
    )


def _first_folder(folder: Path, *names: str) -> Path:
    """Return the first of the named folders that exists, else the set's own folder."""
    return next((folder / name for name in names if (folder / name).is_dir()), folder)


def _lines(path: Path) -> list[tuple[str, str]]:
    """Return the position, for messages, and the text of each line that is neither empty nor a comment (``# ...``).
    Raises DataError."""
    texts = re.split("\r\n|\r|\n", read_text(path))
    lines = [(f"{path}: line {k}", text.strip("\ufeff\x1a \t\xa0")) for k, text in enumerate(texts, 1)]
    found = [(where, text) for where, text in lines if text and not text.startswith("#")]
    if not 0 < len(found) <= 2 * MAX_PAIRS:
        raise DataError(f"{path}: expected a list of pairs, found {len(found):,} lines")
    return found


def _whole(text: str, where: str, what: str, low: int, high: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise DataError(f"{where}: expected {what} from {low} to {high}, found {text[:40]!r}")
    return int(text)


# ---- LFW -------------------------------------------------------------------------------------------------------------


def read_lfw(folder: Path) -> Collection:
    """Read ``Name/Name_0001.jpg`` with ``pairs.txt``: a header ``sets pairs``, then lines of 3 fields (genuine) or 4
    (impostor)."""
    path = find_file(folder, ("pairs.txt", "pairs_LFW.txt"), "the pair protocol of LFW")
    index = ImageIndex(folder, 2)
    (where, header), *lines = _lines(path)
    numbers = [_whole(n, where, "a number of the header", 1, MAX_PAIRS) for n in header.split()]
    if len(numbers) not in (1, 2):
        raise DataError(f"{where}: expected the header 'sets pairs' (such as '10 300'), found {header[:60]!r}")
    sets, per = numbers if len(numbers) == 2 else (1, numbers[0])
    if sets > FOLDS or sets * per * 2 != len(lines):
        raise DataError(
            f"{path}: the header announces {sets} sets of {per} genuine and {per} impostor pairs ({2 * sets * per}; "
            f"at most {FOLDS} sets), found {len(lines)} pairs"
        )
    rows = []
    for k, (where, text) in enumerate(lines):
        fields = [f.strip() for f in text.split("\t") if f.strip()] if "\t" in text else text.split()
        if len(fields) not in (3, 4):
            raise DataError(f"{where}: expected 'name i j' or 'name i name j', found {text[:80]!r}")
        names = (fields[0], fields[-2] if len(fields) == 4 else fields[0])
        numbers = [_whole(shot, where, "the number of a picture", 1, 9999) for shot in (fields[1], fields[-1])]
        left, right = (index.row(f"{n}/{n}_{shot:04d}", where) for n, shot in zip(names, numbers, strict=True))
        rows.append((left, right, len(fields) == 3, k // (2 * per) if sets > 1 else -1))
    return index.collection("LFW, original", [path], lambda f: f.parent.name, pair_table(rows))


# ---- CALFW -----------------------------------------------------------------------------------------------------------


def read_calfw(folder: Path) -> Collection:
    """Read CALFW with ``pairs_CALFW.txt``: one image and a token per line, two lines per pair.

    A token from 1 to 10 is the fold of a genuine pair, 0 marks an impostor pair; the protocol gives impostor pairs no
    folds.
    """
    path = find_file(folder, ("pairs_CALFW.txt",), "the pair protocol of CALFW")
    index = ImageIndex(_first_folder(folder, "aligned images", "aligned_images"), 1)
    lines = _lines(path)
    if len(lines) % 2:
        raise DataError(f"{path}: expected two lines per pair, found {len(lines)} lines")
    rows = []
    for (where, one), (_, other) in zip(lines[::2], lines[1::2], strict=True):
        fields = [text.rsplit(maxsplit=1) for text in (one, other)]
        if any(len(f) != 2 for f in fields) or fields[0][1] != fields[1][1]:
            raise DataError(
                f"{where}: expected 'image token' twice with the same token, found {one[:60]!r}, {other[:60]!r}"
            )
        token = _whole(fields[0][1], where, "a token", 0, FOLDS)
        rows.append((index.row(fields[0][0], where), index.row(fields[1][0], where), token > 0, token - 1))
    note = "the folds of impostor pairs are not part of the protocol: the k-th of them, tenth by tenth"
    return index.collection("CALFW, original", [path], lambda f: re.sub(r"_\d+$", "", f.stem), pair_table(rows), note)


# ---- CFP-FF ----------------------------------------------------------------------------------------------------------


def read_cfp(folder: Path) -> Collection:
    """Read CFP-FF with ``Pair_list_F.txt`` (number, from 1, and path of every frontal image) and
    ``Split/FF/01..10/{same,diff}.txt``."""
    root = folder.resolve()
    listing = next(
        (p for p in (root / "Protocol" / "Pair_list_F.txt", root / "Pair_list_F.txt") if p.is_file()), None
    ) or find_file(folder, ("Pair_list_F.txt",), "the pair protocol of CFP")
    splits = next((p for p in (listing.parent / "Split" / "FF", root / "Split" / "FF") if p.is_dir()), None)
    if splits is None:
        raise MissingDataError(
            f"{folder}: expected the folds in {listing.parent / 'Split' / 'FF'}, found no such folder"
        )
    index = ImageIndex(folder, 3)
    known = {}
    for where, text in _lines(listing):
        fields = text.split(maxsplit=1)
        if len(fields) != 2:
            raise DataError(f"{where}: expected a number and a path, found {text[:80]!r}")
        number = _whole(fields[0], where, "the number of an image", 1, MAX_PAIRS)
        known[number] = _cfp_image(index, fields[1], listing.parent, where)
    rows, files = [], [listing]
    for fold in range(FOLDS):
        for name, same in (("same.txt", True), ("diff.txt", False)):
            path = splits / f"{fold + 1:02d}" / name
            if not path.is_file():
                raise DataError(f"{path}: the pairs of fold {fold + 1} are missing; copy Split/FF as a whole")
            files.append(path)
            rows += [(*_cfp_pair(text, where, known), same, fold) for where, text in _lines(path)]
    return index.collection("CFP-FF, original", files, lambda f: f.parent.parent.name, pair_table(rows))


def _cfp_image(index: ImageIndex, listed: str, start: Path, where: str) -> int:
    """Return the row of a listed image such as ``../Data/Images/001/frontal/01.jpg``, a path relative to the list.

    Only its last three parts have to exist below the set's folder.
    """
    path = Path(listed.replace("\\", "/"))
    if path.is_absolute():
        inside(index.root, listed, where)
    if start.is_relative_to(index.root):
        inside(index.root, str(start.relative_to(index.root) / path), where)
    return index.row("/".join(path.parts[-3:]), where)


def _cfp_pair(text: str, where: str, known: dict[int, int]) -> tuple[int, int]:
    fields = text.split(",")
    if len(fields) != 2:
        raise DataError(f"{where}: expected 'i,j', found {text[:60]!r}")
    numbers = [_whole(f.strip(), where, "the number of an image", 1, MAX_PAIRS) for f in fields]
    for number in numbers:
        if number not in known:
            raise DataError(f"{where}: expected the number of a listed image, found {number}")
    return known[numbers[0]], known[numbers[1]]


# ---- AgeDB-30 --------------------------------------------------------------------------------------------------------

AGEDB_SPLITS = "04_FINAL_protocol_30_years.mat"


def read_agedb(folder: Path) -> Collection:
    """Read AgeDB-30 with ``04_FINAL_protocol_30_years.mat``.

    Its variable ``splits`` has ten cells. Each is a structure of a cell (2, n) of images, which are structures of a
    name without suffix and an age, and of n labels, 1 for genuine and -1 for impostor pairs.
    """
    path = find_file(folder, (AGEDB_SPLITS,), "the pair protocol of AgeDB-30")
    index = ImageIndex(_first_folder(folder, "03_Protocol_Images"), 1)
    splits = matfile.load(path).get("splits")
    if not isinstance(splits, list) or not 1 <= len(splits) <= FOLDS:
        raise DataError(f"{path}: expected 'splits', a cell of up to {FOLDS} folds, found none")
    rows: list[tuple[int, int, bool, int]] = []
    for fold, split in enumerate(splits):
        where = f"{path}: split {fold + 1}"
        if not (isinstance(split, list) and split and isinstance(split[0], dict) and len(split[0]) >= 2):
            raise DataError(f"{where}: expected a structure of images and labels")
        names, labels = list(split[0].values())[:2]
        if not isinstance(names, list) or not hasattr(labels, "tolist") or len(names) != 2 * len(labels):
            raise DataError(f"{where}: expected two images for each label")
        found = [_agedb_image(index, item, f"{where}, image {k}") for k, item in enumerate(names)]
        for k, label in enumerate(labels.tolist()):
            if label not in (1, -1, 0):
                raise DataError(f"{where}: expected the labels 1 and -1, found {label}")
            rows.append((found[2 * k], found[2 * k + 1], label == 1, fold))
    if not 0 < len(rows) <= MAX_PAIRS:
        raise DataError(f"{path}: expected pairs, found {len(rows)}")
    return index.collection("AgeDB-30, original", [path], lambda f: agedb_person(f.stem), pair_table(rows))


def _agedb_image(index: ImageIndex, item: object, where: str) -> int:
    name = next(iter(item[0].values()), None) if isinstance(item, list) and item and isinstance(item[0], dict) else item
    if isinstance(name, list) and name:  # The text may be in a cell.
        name = name[0]
    if not isinstance(name, str):
        raise DataError(f"{where}: expected the name of an image")
    return index.row(name, where)


def agedb_person(stem: str) -> str:
    """Return the person of a file name such as ``0_MariaCallas_35_f``: its first part of at least two
    characters that is not a number."""
    return next((part for part in stem.split("_") if len(part) > 1 and re.search("[^0-9]", part)), stem)


READERS: dict[str, Callable[[Path], Collection]] = {
    "lfw": read_lfw,
    "agedb30": read_agedb,
    "calfw": read_calfw,
    "cfp-ff": read_cfp,
}


def detect(folder: Path) -> Iterable[str]:
    """Yield the names of the protocols whose files are in a folder."""
    names = {"lfw": ("pairs.txt",), "agedb30": (AGEDB_SPLITS,), "calfw": ("pairs_CALFW.txt",)}
    for protocol, files in names.items():
        if any(os.path.isfile(folder / f) for f in files):
            yield protocol
    if any(os.path.isfile(place / "Pair_list_F.txt") for place in (folder / "Protocol", folder)):
        yield "cfp-ff"
