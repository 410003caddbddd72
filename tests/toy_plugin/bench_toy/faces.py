"""Toy faces: 32x32 images, one smooth random pattern per subject plus a little noise per image."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from bench import DataError, Dataset, Faces, MissingDataError, Pairs, TrainingSet

if TYPE_CHECKING:
    from bench import Context

SIZE = 32
WAVES = 4  # The number of cosines per axis: a pattern has 3 x 4 x 4 coefficients.
# The first subject numbers of each split; the ranges do not overlap.
EVALUATION, CALIBRATION, AUXILIARY, TRAINING = 0, 1_000_000, 2_000_000, 3_000_000


def draw(subject: int, image: int, seed: int) -> NDArray[np.uint8]:
    """Draw image number ``image`` of a subject: uint8 ``(3, 32, 32)``."""
    place = (np.arange(SIZE) + 0.5) / SIZE
    basis = np.cos(np.pi * np.arange(WAVES)[:, None] * place)
    coefficients = np.random.default_rng([seed, subject]).normal(size=(3, WAVES, WAVES))
    pattern = np.einsum("cij,ix,jy->cxy", coefficients, basis, basis)
    noise = np.random.default_rng([seed, subject, image + 1]).normal(size=pattern.shape)
    return np.clip(255 * (0.5 + 0.1 * pattern + 0.03 * noise), 0, 255).round().astype(np.uint8)


def faces(who: list[tuple[int, int]], seed: int, prefix: str) -> Faces:
    """Return the faces of a list of (subject, image number)."""
    return Faces(
        images=np.stack([draw(subject, image, seed) for subject, image in who]),
        subjects=np.array([subject for subject, _ in who]),
        sample_ids=np.array([f"{prefix}-{subject}-{image}" for subject, image in who]),
        attributes={
            "age": np.array([20.0 + subject % 50 for subject, _ in who]),
            "colour": np.array([("red", "green", "blue")[subject % 3] for subject, _ in who]),
        },
    )


@dataclass(frozen=True, kw_only=True)
class ToyFaces(Dataset):
    """Smooth coloured patterns in place of faces, one pattern per subject."""

    stands_in_for: ClassVar[str | None] = "Toy"
    synthetic: ClassVar[bool] = True
    image_size: ClassVar[tuple[int, int]] = (SIZE, SIZE)
    license: ClassVar[str] = "generated"

    seed: Annotated[int, Ge(0)] = 0
    auxiliary_images: Annotated[int, Ge(2)] = 40

    def fingerprint(self) -> str:
        """Return a digest of the generator. ``TOY_DATA`` changes it, like a changed file."""
        return hashlib.sha256(f"toy 1 {self.seed} {os.environ.get('TOY_DATA', '')}".encode()).hexdigest()

    def evaluation(self, pairs: int, ctx: Context) -> tuple[Faces, Pairs]:
        """Return the first pairs. Pairs 2k and 2k + 1 share their left image: genuine with the subject's next image,
        impostor with the next subject."""
        groups = (pairs + 1) // 2
        who: list[tuple[int, int]] = []
        for group in range(groups):
            subject = EVALUATION + 2 * group
            who += [(subject, 0), (subject, 1), (subject + 1, 0)]
        number = np.arange(pairs)
        first = 3 * (number // 2)
        same = number % 2 == 0
        found = Pairs(left=first, right=np.where(same, first + 1, first + 2), same=same, fold=number // 2 % 10)
        return faces(who, self.seed, "evaluation"), found

    def calibration(self, ctx: Context) -> Faces:
        """Return 40 subjects with two images each."""
        return faces([(CALIBRATION + i // 2, i % 2) for i in range(80)], self.seed, "calibration")

    def calibration_people(self) -> int:
        """Return the number of calibration subjects."""
        return 40

    def auxiliary(self, ctx: Context) -> Faces:
        """Return ``auxiliary_images`` images, two of each subject."""
        return faces([(AUXILIARY + i // 2, i % 2) for i in range(self.auxiliary_images)], self.seed, "auxiliary")


class OnDemand:
    """An implementation of `bench.LazyImages` for a list of (subject, image number)."""

    dtype = np.dtype(np.uint8)

    def __init__(self, who: list[tuple[int, int]]) -> None:
        self.who = who
        self.shape = (len(who), 3, SIZE, SIZE)

    def __len__(self) -> int:
        return len(self.who)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.uint8]:
        chosen = np.arange(len(self))[rows]
        return np.stack([draw(*self.who[i], 0) for i in chosen])


@dataclass(frozen=True, kw_only=True)
class ToyPhotos(Dataset):
    """Toy faces that count as real, decoded on demand, in the folder that ``TOY_PHOTOS`` names; thresholds are set on
    pairs."""

    stands_in_for: ClassVar[str | None] = "Toy"
    stand_in: ClassVar[str | None] = "toy-faces"
    image_size: ClassVar[tuple[int, int]] = (SIZE, SIZE)
    license: ClassVar[str] = "toy license"

    auxiliary_images: Annotated[int, Ge(2)] = 40
    shown: bool = True

    def fingerprint(self) -> str:
        """Return the digest of the folder's only file. Raises DataError if it contains ``damaged``."""
        path = Path(os.environ.get("TOY_PHOTOS") or "photos") / "toys.txt"
        if not path.is_file():
            raise MissingDataError(f"{path}: expected the toy photos, found nothing there; set TOY_PHOTOS")
        if "damaged" in path.read_text():
            raise DataError(f"{path}: expected toy photos, found damage")
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def pairs_beside_auxiliary(self) -> int:
        """Return 60: with more pairs, attackers would learn from the people in them."""
        return 60

    def evaluation(self, pairs: int, ctx: Context) -> tuple[Faces, Pairs]:
        """Return the pairs of `ToyFaces`."""
        faces, found = ToyFaces().evaluation(pairs, ctx)
        return self._on_demand(faces), found

    def calibration(self, ctx: Context) -> tuple[Faces, Pairs]:
        """Return the first 100 pairs of the protocol."""
        return self.evaluation(100, ctx)

    def auxiliary(self, ctx: Context) -> Faces:
        """Return ``auxiliary_images`` images, two of each subject."""
        return self._on_demand(faces([(AUXILIARY + i // 2, i % 2) for i in range(self.auxiliary_images)], 0, "aux"))

    def _on_demand(self, faces: Faces) -> Faces:
        names = [str(name).rsplit("-", 2) for name in faces.sample_ids]
        who = [(int(subject), int(image)) for _, subject, image in names]
        return replace(faces, images=OnDemand(who))


@dataclass(frozen=True, kw_only=True)
class ToyTraining(TrainingSet):
    """Two images of each of ``identities`` subjects."""

    image_size: ClassVar[tuple[int, int]] = (SIZE, SIZE)
    license: ClassVar[str] = "generated"

    identities: Annotated[int, Ge(1)] = 4

    def fingerprint(self) -> str:
        """Return a digest of the number of identities."""
        return hashlib.sha256(f"toy training 1 {self.identities}".encode()).hexdigest()

    def labels(self) -> NDArray[np.int64]:
        """Return 0 0 1 1 2 2 ..."""
        return np.repeat(np.arange(self.identities), 2)

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images ``rows``."""
        return np.stack([draw(TRAINING + int(row) // 2, int(row) % 2, 0) for row in rows])
