"""An index of the images of a folder by their names, for protocols and tables that name them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bench import DataError, MissingDataError
from bench_facesets.collection import Collection, PairTable, check_lacking
from bench_facesets.people import tidy
from bench_facesets.readers.image_folders import FileImages
from bench_facesets.readers.images import suffixes
from bench_facesets.readers.listing import in_words, list_images
from bench_facesets.readers.safe_paths import inside


class ImageIndex:
    """An index of the images of a folder by the last ``parts`` parts of their paths, without suffix.

    Names are compared in Unicode's composed form: some systems write file names in the decomposed form. Raises
    MissingDataError if there are no images, DataError if two images have the same key.
    """

    def __init__(self, folder: Path, parts: int) -> None:
        listing = list_images(folder)
        self.root, self.files = listing.root, listing.images
        self.passed_over = in_words(listing.passed_over, self.root)
        if not self.files:
            others = f"; {self.passed_over}" if self.passed_over else ""
            raise MissingDataError(f"{folder}: expected the images in this folder, found none{others}")
        self.names = [str(f.relative_to(self.root)) for f in self.files]
        self.parts = parts
        self.named: dict[tuple[str, ...], int] = {}  # The images that the protocol names, -1 for a missing one.
        self.missing: list[str] = []
        self.rows: dict[tuple[str, ...], int] = {}
        for row, file in enumerate(self.files):
            first = self.rows.setdefault(self.key(file.with_suffix("")), row)
            if first != row:
                raise DataError(
                    f"{folder}: two images have the same name: {self.names[first]} and {self.names[row]}; "
                    f"keep one version of the set in this folder"
                )

    def key(self, path: Path) -> tuple[str, ...]:
        return tuple(map(tidy, path.parts[-self.parts :]))

    def row(self, relative: str, where: str) -> int:
        """Return the row of the image that a protocol names, with or without a suffix; -1 if it does not exist.

        Raises DataError if its path leads out of the folder.
        """
        path = Path(relative.strip().replace("\\", "/"))
        # Other paths need no check, because every indexed file was checked when the folder was listed.
        if path.is_absolute() or ".." in path.parts or ":" in relative:
            inside(self.root, relative, where)
        whole = self.key(path)
        if whole not in self.named:
            plain = self.key(path.with_suffix("")) if path.suffix.lower() in suffixes() else whole
            found = self.rows.get(whole, self.rows.get(plain, -1))
            self.named[whole] = found
            if found < 0:
                self.missing.append(f"{where}: the image {relative} is not in {self.root}")
        return self.named[whole]

    def collection(
        self, layout: str, protocol: Sequence[Path], people: Callable[[Path], str], pairs: PairTable | None, *notes: str
    ) -> Collection:
        """Return the collection; pairs keep the row -1 of a missing image. Raises DataError if too many are missing."""
        if pairs is not None and self.missing:
            check_lacking(len(self.missing), len(self.named), self.missing[0])
            lacking = int(((pairs.left < 0) | (pairs.right < 0)).sum())
            notes += (f"{lacking:,} of {len(pairs):,} pairs are left out, because their image is missing: "
                      f"{len(self.missing):,} of {len(self.named):,} images, such as {self._example()}",)  # fmt: skip
        return Collection(
            layout=layout,
            root=self.root,
            files=[*self.files, *protocol],
            encoded=FileImages(self.root, self.names),
            ids=self.names,
            people=[people(f) for f in self.files],
            pairs=pairs,
            notes=notes,
            passed_over=self.passed_over,
        )

    def _example(self) -> str:
        return "/".join(next(key for key, row in self.named.items() if row < 0))
