"""How the kit calls data sets: it asks for a few pairs, and for the splits that are set apart from them."""

from __future__ import annotations

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
        """Raise `BrokenError` if a person is in two folds or splits, or if genuine pairs are far from half of them."""
        assert self.evaluated is not None
        faces, pairs = self.evaluated
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
        self._check_apart(faces)

    def _check_apart(self, evaluated: Faces) -> None:
        scored = set(np.asarray(evaluated.subjects).tolist())
        for name in self._splits():
            faces, pairs = self.split(name)
            people, counts = np.unique(np.asarray(faces.subjects), return_counts=True)
            if pairs is not None:  # The people of a protocol's pairs are scored, in other folds.
                continue
            if shared := scored & set(people.tolist()):
                raise BrokenError(f"no scored person in {name}()", f"person {min(shared)} is in both")
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

    def _splits(self) -> Mapping[str, bool]:
        has_auxiliary = type(self.plugin).auxiliary is not Dataset.auxiliary
        return {"calibration": True, **({"auxiliary": True} if has_auxiliary else {})}
