"""Reader of image folders: ``subject/image``, one folder per person. Files are listed but not read.

Which folders are people is decided by `person_folders`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench import DataError
from bench_facesets.choices import Choices, set_by
from bench_facesets.collection import Collection
from bench_facesets.readers import person_folders
from bench_facesets.readers.images import MAX_ITEM_BYTES
from bench_facesets.readers.listing import Listing, in_words, list_images
from bench_facesets.readers.safe_paths import entries, read_bytes, shown


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


def read(path: Path, choices: Choices) -> Collection:
    """Read a folder of folders of images, one per person, whose names are the people; or, with a pattern, images whose
    own names tell the people.

    Raises DataError if there are no images or too many, or if it is not clear who the people are.
    """
    listing = list_images(path)
    names = [f.relative_to(listing.root).parts for f in listing.images]
    if choices.person_pattern:
        return _by_pattern(path, listing, choices.person_pattern)
    found = person_folders.find(names, listing.root, path, choices, _nothing(listing, path))
    chosen = [k for k, parts in enumerate(names) if len(parts) > found.level]
    # A folder that contains everything is no part of the names of images: its own name says nothing about the set.
    first = names[chosen[0]]
    above = 0
    while above < found.level - 1 and all(names[k][above] == first[above] for k in chosen):
        above += 1
    if found.level == above + 1 and len({names[k][: found.level] for k in chosen}) == 1:
        raise DataError(
            f"{path}: expected folders of images, one per person (subject/image.png), {_nothing(listing, path)}"
        )
    people = ["/".join(names[k][above if found.apart else found.level - 1 : found.level]) for k in chosen]
    return _collection(listing, above, chosen, people, found.notes, _loose(names, found.level))


def _by_pattern(path: Path, listing: Listing, pattern: str) -> Collection:
    """Read the images whose path without suffix matches a pattern; its first group is the person."""
    relative = [f.relative_to(listing.root).with_suffix("").as_posix() for f in listing.images]
    matches = [re.fullmatch(pattern, name) for name in relative]
    chosen = [k for k, match in enumerate(matches) if match]
    if not chosen:
        such = f", such as {shown(relative[0])}" if relative else ""
        raise DataError(f"{path}: expected images whose path without suffix matches {pattern!r} (person_pattern), "
                        f"found none among {len(relative)} images{such}")  # fmt: skip
    others = [shown(name) for name, match in zip(relative, matches, strict=True) if not match]
    loose = f"{len(others)} images are passed over, as they do not match the pattern: {others[0]}" if others else ""
    people = [match[1] or "" for match in matches if match]
    return _collection(
        listing, 0, chosen, people, (f"people are what {pattern!r} finds in the names of images",), loose
    )


def _collection(
    listing: Listing, above: int, chosen: Sequence[int], people: Sequence[str], notes: tuple[str, ...], loose: str
) -> Collection:
    """Return the chosen images of a listing, with names below the first ``above`` folders."""
    root = listing.root.joinpath(*listing.images[chosen[0]].relative_to(listing.root).parts[:above])
    files = [listing.images[k] for k in chosen]
    relative = [str(f.relative_to(root)) for f in files]
    return Collection(
        layout="image folder",
        root=root,
        files=files,
        encoded=FileImages(root, relative),
        ids=[shown(name) for name in relative],
        people=people,
        notes=notes,
        passed_over="; ".join(filter(None, [in_words(listing.passed_over, listing.root), loose])),
    )


def _nothing(listing: Listing, path: Path) -> str:
    """Say what a folder has instead of folders of images, and what to do about images without folders."""
    others = in_words(listing.passed_over, listing.root)
    if not listing.images:
        return f"found none; {others}" if others else "found none"
    one = {f.parent for f in listing.images}
    where = "in no such folder" if one == {listing.root} else f"in one folder, {shown(listing.images[0].parent.name)}"
    found = f"found {len(listing.images)} images that lie {where}{f'; {others}' if others else ''}"
    stems = Counter(match[1] for f in listing.images if (match := re.fullmatch(r"(.+)[-_ ][0-9]+", f.stem)))
    prefix = "(?:.*/)?" if one != {listing.root} else ""
    asked = set_by("person_pattern", f"'{prefix}(.+)[-_ ][0-9]+'")
    ways = ["put the images of each person into a folder of its own", _table_words(listing.root)]
    if 2 * sum(n for n in stems.values() if n > 1) > len(listing.images):
        ways.append(
            f"or set {asked} if the names of images begin with the "
            f"person: that would be {len(stems)} people, such as {shown(next(iter(stems)))}"
        )
    else:
        ways.append(f"or set {asked} if the names of images tell the person")
    return f"{found}: {', '.join(ways)}"


def _table_words(root: Path) -> str:
    """Say how a table names the people, and which files could be one."""
    tables = [e.name for e in entries(root, root) if e.is_file() and e.name.lower().endswith((".csv", ".tsv", ".txt"))]
    found = f"; {', '.join(map(shown, tables[:3]))} could be one" if tables else ""
    return f"or name as the path a table (.csv, .tsv or .txt with the columns file and person) of these images{found}"


def _loose(names: Sequence[tuple[str, ...]], level: int) -> str:
    """Say which images lie in no folder of a person."""
    loose = [parts for parts in names if len(parts) <= level]
    if not loose:
        return ""
    images = "1 image is" if len(loose) == 1 else f"{len(loose)} images are"
    return f"{images} passed over, in no folder of a person, such as {shown('/'.join(loose[0]))}"
