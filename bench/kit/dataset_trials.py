"""How the kit calls data sets: it asks for a few pairs, and for the splits that are set apart from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.api.datasets import Dataset
from bench.api.types import Faces, Pairs
from bench.core.errors import ContractError
from bench.kit import world
from bench.kit.findings import BrokenError, NotAskedError
from bench.kit.trials import Rows, Trial
from bench.stages import contracts
from bench.stages.comparison import Results

PAIRS = 12
_FEWER = 6
_SHOWN = 64  # images of a split that are looked at
_MORE = 60  # pairs whose people are looked at
_COMPARED = 128  # pictures of each split whose pixels are compared


class DatasetTrial(Trial):
    """A data set of which a few pairs are evaluated."""

    kind = "dataset"

    def __init__(self, plugin: Dataset, label: str) -> None:
        super().__init__(plugin, label)
        self.plugin: Dataset = plugin
        most = plugin.max_pairs()
        self.pairs = PAIRS if most is None else min(PAIRS, most)
        self.evaluated: tuple[Faces, Pairs] | None = None

    def split(self, name: str, pairs: int | None = None) -> tuple[Faces, Pairs | None]:
        """Return a split after the checks of a run."""
        plugin, where = self.plugin, f"{self.where} ({name})"
        ctx = world.context(where)
        found: Any
        if name == "evaluation":
            found = plugin.evaluation(pairs or self.pairs, ctx)
        else:
            found = plugin.calibration(ctx) if name == "calibration" else plugin.auxiliary(ctx)
        faces, held = found if isinstance(found, tuple) else (found, None)
        if not isinstance(faces, Faces) or not (held is None or isinstance(held, Pairs)):
            raise ContractError(f"{where}: expected bench.Faces and bench.Pairs, got {type(faces).__name__}")
        contracts.check_faces(faces, plugin.image_size, where)
        if held is not None:
            wanted = (pairs or self.pairs) if name == "evaluation" else None
            contracts.check_pairs(held, faces, wanted, where)
        return faces, held

    def results(self, rows: Rows) -> Results:
        """Return the images and pairs that are evaluated; ``rows`` are not used, since a data set has its own."""
        faces, pairs = self.split("evaluation")
        if pairs is None:
            raise ContractError(f"{self.where}: evaluation() must return faces and pairs, got faces alone")
        self.evaluated = faces, pairs
        self.n = len(faces.images)
        images = contracts.CheckedImages(faces.images, self.where)[:_SHOWN]
        held: dict[str, NDArray[Any]] = {"images": images, "subjects": np.asarray(faces.subjects[:_SHOWN])}
        return held | {f"pairs {name}": np.asarray(getattr(pairs, name)) for name in ("left", "right", "same", "fold")}

    def bytes_per_face(self, results: Results) -> float:
        """Return how many bytes an image has."""
        return float(results["images"][0].nbytes)

    def check_prefix(self) -> None:
        """Raise `BrokenError` if pairs depend on how many are requested, or images on the part that is read."""
        if self.pairs < _FEWER:
            raise NotAskedError(f"it has {self.pairs} pairs only")
        assert self.evaluated is not None
        faces, pairs = self.evaluated
        fewer, first = self.split("evaluation", _FEWER)
        assert first is not None
        for side in ("left", "right"):
            long = [str(name) for name in faces.sample_ids[getattr(pairs, side)[:_FEWER]]]
            short = [str(name) for name in fewer.sample_ids[getattr(first, side)]]
            if other := [i for i, (a, b) in enumerate(zip(long, short, strict=True)) if a != b]:
                raise BrokenError(
                    f"the first {_FEWER} of {self.pairs} pairs to be those of a request for {_FEWER}",
                    f"the {side} picture of pair {other[0]} is {short[other[0]]!r} instead of {long[other[0]]!r}",
                )
        rows = np.arange(min(4, len(faces.images)))
        together, single = faces.images[rows], np.concatenate([faces.images[r : r + 1] for r in rows.tolist()])
        if not np.array_equal(together, single):
            raise BrokenError("the same images in any part", "images[rows] and images[a:b] differ")

    def check_people(self) -> None:
        """Raise `BrokenError` if a person or a picture is in two folds or splits, or if pairs are not as declared."""
        most = self.plugin.max_pairs()
        faces, pairs = self.split("evaluation", _MORE if most is None else min(_MORE, most))
        assert pairs is not None
        folds: dict[int, set[int]] = {}
        for side in (pairs.left, pairs.right):
            for person, fold in zip(faces.subjects[side].tolist(), pairs.fold.tolist(), strict=True):
                folds.setdefault(person, set()).add(fold)
        if twice := [person for person, own in folds.items() if len(own) > 1]:
            person = twice[0]
            raise BrokenError(
                "each person in the pairs of one fold", f"person {person} is in the folds {sorted(folds[person])}"
            )
        genuine = int(np.asarray(pairs.same).sum())
        if abs(2 * genuine - len(pairs.same)) > 1:
            raise BrokenError(f"half of the {len(pairs.same)} pairs to be genuine", f"{genuine} genuine pairs")
        if len(same := np.flatnonzero(pairs.left == pairs.right)):
            raise BrokenError("two pictures in each pair", f"pair {same[0]} compares a picture with itself")
        self._check_apart(faces, len(pairs.same))
        self._check_further(faces, pairs)

    def _check_apart(self, evaluated: Faces, scored: int) -> None:
        """Raise `BrokenError` if splits share a person or a picture, or if calibration() is not what is declared.
        ``scored`` is the number of pairs that are evaluated."""
        known = {"evaluation": evaluated}
        for name in self._splits():
            faces, pairs = self.split(name)
            if pairs is not None:  # The people of a protocol's pairs are scored, in other folds.
                continue
            beside = self.plugin.pairs_beside_auxiliary()
            for split, other in known.items():
                if (split, name) != ("evaluation", "auxiliary") or beside is None or scored <= beside:
                    self._check_two(other, split, faces, name)
            known[name] = faces
            people, counts = np.unique(np.asarray(faces.subjects), return_counts=True)
            if name == "calibration" and (counts < 2).any():
                raise BrokenError(
                    "at least two pictures of each person in calibration()",
                    f"person {people[counts < 2][0]} has one picture",
                )
            if name == "calibration" and self.plugin.calibration_people() > (counts > 1).sum():
                raise BrokenError(
                    f"calibration_people() to be at most the {(counts > 1).sum()} people of calibration()",
                    f"{self.plugin.calibration_people()}",
                )

    def _check_two(self, first: Faces, one: str, second: Faces, other: str) -> None:
        if shared := set(np.asarray(first.subjects).tolist()) & set(np.asarray(second.subjects).tolist()):
            raise BrokenError(f"no person of {one}() in {other}()", f"person {min(shared)} is in both")
        mine, theirs = self._pictures(first), self._pictures(second)
        if same := mine.keys() & theirs.keys():
            picture = min(same)
            raise BrokenError(
                f"no picture of {one}() in {other}()", f"{mine[picture]!r} and {theirs[picture]!r} have the same pixels"
            )

    def _pictures(self, faces: Faces) -> dict[bytes, str]:
        """Return the names of the first pictures by the digests of their pixels."""
        images = contracts.CheckedImages(faces.images, self.where)[: min(_COMPARED, len(faces.images))]
        digests = (hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)
        return dict(zip(digests, map(str, faces.sample_ids), strict=False))

    def _check_further(self, evaluated: Faces, pairs: Pairs) -> None:
        """Raise `BrokenError` if further() shows others than scored people, too few pictures, or scored pictures."""
        declared = self.plugin.further_pictures(len(pairs.same))
        if not declared:
            return
        where = f"{self.where} (further)"
        faces = self.plugin.further(len(pairs.same), world.context(where))
        if not isinstance(faces, Faces):
            raise BrokenError("bench.Faces from further()", type(faces).__name__)
        contracts.check_faces(faces, self.plugin.image_size, where)
        paired = np.unique(np.concatenate([pairs.left, pairs.right]))
        scored = np.unique(np.asarray(evaluated.subjects)[paired])
        counts = {person: int((faces.subjects == person).sum()) for person in scored.tolist()}
        if few := [person for person, count in counts.items() if count < declared]:
            raise BrokenError(
                f"{declared} pictures of each scored person in further(), as further_pictures() says",
                f"{counts[few[0]]} of person {few[0]}",
            )
        if len(others := np.setdiff1d(faces.subjects, scored)):
            raise BrokenError("nobody but scored people in further()", f"person {others[0]}")
        ids = {str(name) for name in evaluated.sample_ids[paired]}
        if shared := sorted(ids & set(map(str, faces.sample_ids))):
            raise BrokenError("no picture of a pair in further()", f"{shared[0]!r} is in both")

    def _splits(self) -> Mapping[str, bool]:
        has_auxiliary = type(self.plugin).auxiliary is not Dataset.auxiliary
        return {"calibration": True, **({"auxiliary": True} if has_auxiliary else {})}
