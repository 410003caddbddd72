"""Reader of image folders: ``subject/image``, one folder per person. Files are listed but not read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import DataError
from bench_facesets.collection import Collection
from bench_facesets.readers.images import MAX_ITEM_BYTES
from bench_facesets.readers.safe_paths import MAX_FILES, entries, images_below, read_bytes


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
        return str(self._root / self._names[row])


def read(path: Path) -> Collection:
    """Read a folder of folders of images, one per person, in the order of their names; the names are the people.

    Raises DataError if there are no images or too many.
    """
    root = path.resolve()
    files: list[Path] = []
    people: list[str] = []
    for entry in entries(root, root):
        if entry.is_dir():
            found = list(images_below(Path(entry.path), root))
            files += found
            people += [entry.name] * len(found)
        if len(files) > MAX_FILES:
            raise DataError(f"{path}: expected at most {MAX_FILES:,} images")
    if not files:
        raise DataError(f"{path}: expected folders of images, one per person (subject/image.png), found none")
    names = [str(f.relative_to(root)) for f in files]
    return Collection(
        layout="image folder", root=root, files=files, encoded=FileImages(root, names), ids=names, people=people
    )
