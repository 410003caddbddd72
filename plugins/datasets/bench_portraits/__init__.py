"""Photos as people have them: a folder of ordinary pictures, whose faces are found and aligned when they are read.

``bench judge`` reads its folders with this data set. It is no set for suites: it has no pairs, and its pictures may be
protected ones. This module does not import torch; `reading` does the work, with the readers and the face detector of
`bench_facesets`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Le

from bench import ContractError, Dataset, DataStatus, Faces, Pairs, hookimpl

if TYPE_CHECKING:
    from bench import Context

__all__ = ["Photos", "bench_datasets"]


@dataclass(frozen=True, kw_only=True)
class Photos(Dataset):
    """Ordinary photos below the folder ``path``, with one face each, aligned to 112x112. For ``bench judge``, not for
    suites.

    ``aligned``: the pictures are aligned crops of 112x112 already. ``like`` is a folder of pictures with the same
    names: faces are then cut out where they are in those, and none is searched in these pictures. ``suffix`` is a text
    at the end of names that is left out of them. ``min_score`` is how sure the detector must be of a face.

    Every file below the folder is a sample, named by its path without the suffix of the file. The attribute ``problem``
    is empty for a face; for anything else it says in a word or two why there is none, ``detail`` says more, and the
    picture is black. ``note`` says what was done to a picture to use it. Files are read below ``path`` only: links are
    not followed.
    """

    license = "the user's own pictures"

    path: Path
    like: Path = Path()
    aligned: bool = False
    suffix: str = ""
    min_score: Annotated[float, Ge(0), Le(1)] = 0.9

    def fingerprint(self) -> str:
        """Return a digest of the files below the folder."""
        from bench_portraits.reading import digest

        return digest(self.path)

    def max_pairs(self) -> int:
        """Return 0: who is who is not known well enough for the pairs of a suite."""
        return 0

    def evaluation(self, pairs: int, ctx: Context) -> tuple[Faces, Pairs]:
        """Return all samples with the attributes ``problem``, ``detail`` and ``note``, and no pairs. ``subjects`` are
        the folders in which they lie."""
        from bench_portraits.reading import no_pairs, read

        faces = read(
            self.path,
            like=self.like,
            aligned=self.aligned,
            suffix=self.suffix,
            min_score=self.min_score,
            ctx=ctx,
        )
        return faces, no_pairs()

    def calibration(self, ctx: Context) -> Faces:
        """Raise ContractError: the data set is not for suites."""
        raise ContractError("photos: expected a data set with a calibration split, found a folder of photos")

    def status(self) -> DataStatus:
        """Return the number of pictures below the folder."""
        from bench_portraits.reading import listed

        pictures = sum(not file.problem for file in listed(self.path))
        return DataStatus(where=str(self.path), layout="photos", images=pictures, pairs=0)


@hookimpl
def bench_datasets() -> Mapping[str, type[Dataset]]:
    """Register ``photos``."""
    return {"photos": Photos}
