"""Reader of image folders: ``subject/image``, one folder per person. Files are listed but not read.

The folders of people may lie deeper: in a folder that contains everything, or in ``train`` and ``test``. Where two
levels of folders could be the people, nothing is guessed: people who are merged by mistake make every number wrong.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import DataError
from bench_facesets.collection import Collection
from bench_facesets.readers.images import MAX_ITEM_BYTES
from bench_facesets.readers.listing import Listing, in_words, list_images
from bench_facesets.readers.safe_paths import read_bytes, shown

_NAMED = 3  # The number of folders that a message lists.
# Names of the parts into which a set is divided; such a folder is no person.
_SPLIT = re.compile(
    r"(train(ing)?|val(id(ation)?)?|test(ing)?|dev|eval(uation)?|gallery|probes?|query|queries|enrol(l?ment)?|"
    r"((train|test|val)[-_ ]?)?(fold|split|part|partition|shard|chunk)[-_ ]?\d+)"
    r"([-_ ]?(set|data|images|faces|split))?",
    re.IGNORECASE,
)


class FileImages:
    """Encoded images in separate files below a folder."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root = root
        self._names = names  # Relative to the root, to save memory: a set may have half a million images.

    def __len__(self) -> int:
        return len(self._names)

    def read(self, row: int) -> bytes:
        """Return the contents of the file."""
        return read_bytes(self._root / self._names[row], MAX_ITEM_BYTES, "an image")

    def name(self, row: int) -> str:
        """Return the path of the file."""
        return shown(str(self._root / self._names[row]))


def read(path: Path, level: int = 0) -> Collection:
    """Read a folder of folders of images, one per person; their names are the people.

    ``level``: on which level below ``path`` the people's folders are, from 1; 0 finds out. Raises DataError if there
    are no images, too many, or if two levels could be the people.
    """
    listing = list_images(path)
    names = [f.relative_to(listing.root).parts for f in listing.images]
    found = _Level(level, ()) if level else _people_level(names, path, listing)
    chosen = [k for k, parts in enumerate(names) if len(parts) > found.level]
    if not chosen:
        raise DataError(f"{path}: expected folders of images, one per person (subject/image.png), {_nothing(listing)}")
    # A folder that contains everything is no part of the names of images: its own name says nothing about the set.
    first = names[chosen[0]]
    above = 0
    while above < found.level - 1 and all(names[k][above] == first[above] for k in chosen):
        above += 1
    root = listing.root.joinpath(*first[:above])
    files = [listing.images[k] for k in chosen]
    relative = [str(f.relative_to(root)) for f in files]
    passed_over = [in_words(listing.passed_over, listing.root), _loose(names, found.level)]
    return Collection(
        layout="image folder",
        root=root,
        files=files,
        encoded=FileImages(root, relative),
        ids=[shown(name) for name in relative],
        people=[shown(names[k][found.level - 1]) for k in chosen],
        notes=(*found.notes, *_repeated(names, found.level)),
        passed_over="; ".join(filter(None, passed_over)),
    )


@dataclass(frozen=True)
class _Level:
    """The level of the folders of people, from 1, and what the user should know about the choice."""

    level: int
    notes: tuple[str, ...]


def _people_level(names: Sequence[tuple[str, ...]], path: Path, listing: Listing) -> _Level:
    """Find the level of folders that are people, from the parts of the paths of all images. Raises DataError if two
    levels could be it."""
    level = 1
    while True:
        upper = sorted({parts[:level] for parts in names if len(parts) > level})
        direct = {parts[:level] for parts in names if len(parts) == level + 1}
        lower = sorted({parts[: level + 1] for parts in names if len(parts) > level + 1})
        if not upper:
            raise DataError(
                f"{path}: expected folders of images, one per person (subject/image.png), {_nothing(listing)}"
            )
        splits = [folder for folder in upper if _SPLIT.fullmatch(folder[-1])]
        if splits and (len(splits) < len(upper) or direct):
            what = "images" if direct.intersection(splits) else "other folders"
            raise DataError(
                f"{path}: expected folders of images, one per person, found {_listed(splits)}, which are parts of a "
                f"set, with {what} directly in them or beside them; name one of them as the path, or {_ask(level)}"
            )
        if splits or (len(upper) == 1 and not direct):
            level += 1
            continue
        own = Counter(parts[:level] for parts in names if len(parts) == level + 1)
        below_it = Counter(parts[:level] for parts in names if len(parts) > level + 1)
        # A folder with a few images beside many in its folders, such as a cover, may be a group of people.
        direct = {folder for folder in direct if own[folder] >= below_it[folder]}
        inner = [folder for folder in lower if folder[:level] not in direct]
        counts = Counter(folder[:level] for folder in inner)
        several = {folder for folder, n in counts.items() if n > 1}
        if not several:
            return _Level(level, ())
        below = {folder[-1] for folder in inner if folder[:level] in several}
        # Few names that return in many folders are sessions or views of a person, and so are folders beside images.
        if 2 * len(below) <= len(several) or 2 * len(direct) >= len(upper):
            listed = ", ".join(shown(name) for name in sorted(below)[:_NAMED])
            return _Level(level, (f"people are the {len(upper)} upper folders; those in them ({listed}) are joined",))
        raise DataError(
            f"{path}: expected folders of images, one per person, found folders on two levels: {_listed(upper)}, and "
            f"{_listed(inner)} in them; either could be the people: {_ask(level)}"
        )


def _ask(level: int) -> str:
    return (
        f"set person_level = {level} (of face-set, or --person-level of bench data convert) if the upper folders are "
        f"the people, or person_level = {level + 1} if the folders in them are"
    )


def _listed(folders: Sequence[tuple[str, ...]]) -> str:
    named = ", ".join(shown("/".join(folder)) for folder in folders[:_NAMED])
    more = " ..." if len(folders) > _NAMED else ""
    return f"{len(folders)} folder{'' if len(folders) == 1 else 's'} ({named}{more})"


def _nothing(listing: Listing) -> str:
    """Say what a folder has instead of folders of images."""
    loose = f"found {len(listing.images)} images that lie in no such folder" if listing.images else "found none"
    others = in_words(listing.passed_over, listing.root)
    return f"{loose}; {others}" if others else loose


def _repeated(names: Sequence[tuple[str, ...]], level: int) -> Sequence[str]:
    """Say which people have several folders, in different parts of the set."""
    folders = Counter(parts[level - 1] for parts in {parts[:level] for parts in names if len(parts) > level})
    several = sorted(name for name, n in folders.items() if n > 1)
    if not several:
        return ()
    listed = ", ".join(shown(name) for name in several[:_NAMED])
    return (f"{len(several)} people have folders of one name in several parts of the set and are joined: {listed}",)


def _loose(names: Sequence[tuple[str, ...]], level: int) -> str:
    """Say which images lie in no folder of a person."""
    loose = [parts for parts in names if len(parts) <= level]
    if not loose:
        return ""
    images = "1 image is" if len(loose) == 1 else f"{len(loose)} images are"
    return f"{images} passed over, in no folder of a person, such as {shown('/'.join(loose[0]))}"
