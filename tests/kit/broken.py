"""Plugins that are broken in one way each; `BROKEN` names the only check that each must fail."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge

from bench import Attack, Dataset, Defense, Faces, Metric, Model, Pairs, Protected, Reconstructed, TrainingSet
from bench.kit import world
from bench.kit.world import TinyNetwork

HELD = Path(tempfile.gettempdir()) / "bench-kit-undeclared.txt"
_LEFT: dict[str, torch.Tensor] = {}


@dataclass(frozen=True, kw_only=True)
class Sound(Defense):
    """Darkens the picture; nothing is wrong with it."""

    def protect(self, images, ctx):
        return Protected(images=self.made(images, ctx).clamp(0, 1))

    def made(self, images, ctx):
        return images * 0.5


@dataclass(frozen=True, kw_only=True)
class DefaultOutOfBounds(Sound):
    block: Annotated[int, Ge(1)] = 0


class NoDataclass(Sound):
    block: int = 8


@dataclass(frozen=True, kw_only=True)
class NeedsIsText(Sound):
    needs = "shallow"


@dataclass(frozen=True, kw_only=True)
class TemplateWithoutRecogniser(Sound):
    goal = "template"


@dataclass(frozen=True, kw_only=True)
class OtherFingerprint(Sound):
    def fingerprint(self):
        return os.urandom(8).hex()


class Raises(Sound):
    def made(self, images, ctx):
        return images.no_such_method()


class Exits(Sound):
    def made(self, images, ctx):
        sys.exit(3)


class UsesUndeclaredNetwork(Sound):
    def made(self, images, ctx):
        ctx.shallow("kit-model")
        return images


class OtherShape(Sound):
    def made(self, images, ctx):
        return images[:, :, ::2, ::2]


class Unclamped(Sound):
    def protect(self, images, ctx):
        return Protected(images=images * 2)


class NotANumber(Sound):
    def protect(self, images, ctx):
        return Protected(images=images / 0 * 0)


class WholeNumbers(Sound):
    def protect(self, images, ctx):
        return Protected(images=(images * 255).to(torch.uint8))


class InPlace(Sound):
    def made(self, images, ctx):
        return images.mul_(0.5)


class ChangesNetwork(Sound):
    needs = frozenset({"full_gradients"})

    def made(self, images, ctx):
        with torch.no_grad():
            next(ctx.network(ctx.authorised[0]).parameters()).mul_(1.5)
        return images


class LeavesTrainMode(Sound):
    needs = frozenset({"surrogates"})

    def made(self, images, ctx):
        ctx.surrogate(ctx.surrogates[0]).train()
        return images


class SeedsTorch(Sound):
    def made(self, images, ctx):
        torch.manual_seed(0)
        return images * torch.rand(images.shape[-2:])


class DrawsFromNumpy(Sound):
    def made(self, images, ctx):
        return images * float(np.random.uniform())


class DrawsFromPython(Sound):
    def made(self, images, ctx):
        return images * random.random()


class DrawsFromSystem(Sound):
    def made(self, images, ctx):
        return images * (os.urandom(1)[0] / 255)


class CountsCalls(Sound):
    def made(self, images, ctx):
        _LEFT["calls"] = _LEFT.get("calls", torch.zeros(())) + 1
        return images / _LEFT["calls"]


class SpoilsPixels(Sound):
    """Inverts twelve pixels in every call but the first."""

    def made(self, images, ctx):
        found = images * 0.5
        if _LEFT.setdefault("calls", torch.zeros(())).add_(1) > 1:
            found[..., 0, :12] = 1 - found[..., 0, :12]
        return found


class MarksPlace(Sound):
    """Inverts twelve pixels of all but the first picture."""

    def made(self, images, ctx):
        found = images * 0.5
        found[1:, :, 0, :12] = 1 - found[1:, :, 0, :12]
        return found


class LooksAtPlace(Sound):
    def made(self, images, ctx):
        return images * torch.linspace(0.1, 1, 8)[: len(images), None, None, None]


class MixesBatch(Sound):
    def made(self, images, ctx):
        return images - images.mean(dim=0) + 0.5


class UsesHash(Sound):
    def made(self, images, ctx):
        return images * ((hash("a text") % 1000) / 1000)


class AsksForCuda(Sound):
    def made(self, images, ctx):
        return images.cuda().cpu()


class ReadsUndeclared(Sound):
    def made(self, images, ctx):
        return images * float(HELD.read_text())


@dataclass(frozen=True, kw_only=True)
class Learner(Sound):
    """Subtracts what it has learnt."""

    needs = frozenset({"training"})

    def fit(self, faces, ctx):
        return {"mean": torch.from_numpy(faces.images[:]).float().mean(dim=0) / 255}

    def made(self, images, ctx):
        return images - ctx.state["mean"] + 0.5


class LearnsByChance(Learner):
    def fit(self, faces, ctx):
        return {"mean": torch.full((3, 1, 1), os.urandom(1)[0] / 255)}


class LearnsNoTensors(Learner):
    def fit(self, faces, ctx):
        return {"mean": 0.5}


class LearnsUnstorable(Learner):
    def fit(self, faces, ctx):
        return {"mean": torch.zeros(3, 1, 1, dtype=torch.bfloat16)}


class LearnsIntoModule(Learner):
    def fit(self, faces, ctx):
        _LEFT["mean"] = super().fit(faces, ctx)["mean"]
        return {}

    def made(self, images, ctx):
        return images - _LEFT["mean"] + 0.5


class QueriesTooOften(Attack):
    """Asks for more protected pictures than its budget names."""

    sees = frozenset({"images", "defense"})
    trains_on = "clean"

    def budget(self):
        return {"queries": 1}

    def fit(self, examples, ctx):
        return {"grey": ctx.defense(torch.full((2, *examples.images.shape[1:]), 0.5)).images}

    def reconstruct(self, received, ctx):
        return Reconstructed(images=received.images)


class ReadsLabels(Attack):
    """Learns from labels that it does not declare to see."""

    outputs = "attributes"
    trains_on = "clean"

    def fit(self, examples, ctx):
        return {"people": torch.from_numpy(examples.subjects)}

    def estimate(self, images, ctx):
        return {"age": torch.zeros(len(images))}


class TwoLengths(Attack):
    """Embeddings of uploads and of clean pictures that cannot be compared."""

    outputs = "recognition"

    def enrol(self, images, ctx):
        return images.flatten(1)[:, :7] + 1


class ChangesUploads(Attack):
    """Works on what it receives, in place."""

    def reconstruct(self, received, ctx):
        return Reconstructed(images=received.images.sqrt_().clamp(0, 1))


class ScoreAboveRange(Metric):
    """A difference that is declared as smaller than it is."""

    formula = "a hundred times the mean difference"
    range = (0.0, 1.0)

    def compute(self, original, other, ctx):
        return 100 + (original - other).abs().mean(dim=(1, 2, 3))


class RanksInBatch(Metric):
    """A rank among the pictures of the batch."""

    formula = "the rank of the difference in the batch"

    def compute(self, original, other, ctx):
        return (original - other).abs().mean(dim=(1, 2, 3)).argsort().argsort().double()


@dataclass(frozen=True, kw_only=True)
class SoundModel(Model):
    """A tiny network; nothing is wrong with it."""

    embedding_size = world.EMBEDDING
    splits: ClassVar[Mapping[str, tuple[int, int, int]]] = world.SPLITS

    def weights(self):
        return Path(__file__)

    def load(self):
        return TinyNetwork()


class WrongSplit(SoundModel):
    splits = {**world.SPLITS, "stage4": (32, 14, 14)}


class _Rounded(TinyNetwork):
    def features(self, images, splits):
        return super().features((images * 255).round() / 255, splits)


class NoGradients(SoundModel):
    def load(self):
        return _Rounded()


class _AlwaysTraining(TinyNetwork):
    def features(self, images, splits):
        self.train()
        return super().features(images, splits)


class NormalisesBatches(SoundModel):
    def load(self):
        return _AlwaysTraining()


@dataclass(frozen=True, kw_only=True)
class SoundFaces(Dataset):
    """Drawn faces, two pictures of each person; nothing is wrong with it."""

    def fingerprint(self):
        return "kit"

    def evaluation(self, pairs, ctx):
        found = world.faces(pairs, 2)
        number = np.arange(pairs)
        same = number % 2 == 0
        left = 4 * (number // 2)
        right = np.where(same, left + 1, left + 2)
        return found, Pairs(left=left, right=right, same=same, fold=number // 2 % 10)

    def calibration(self, ctx):
        return world.faces(4, 2, first=1000)

    def auxiliary(self, ctx):
        return world.faces(4, 2, first=2000)


class PersonInTwoFolds(SoundFaces):
    def evaluation(self, pairs, ctx):
        faces, found = super().evaluation(pairs, ctx)
        return faces, replace(found, fold=np.arange(pairs) % 10)


class CalibratesOnScored(SoundFaces):
    def calibration(self, ctx):
        return world.faces(4, 2, first=3)


class LearnsFromCalibration(SoundFaces):
    """Auxiliary people who are those of the calibration split."""

    def auxiliary(self, ctx):
        return world.faces(4, 2, first=1000)


class SamePictures(SoundFaces):
    """Auxiliary pictures that are scored, under other numbers of people."""

    def auxiliary(self, ctx):
        found = world.faces(4, 2)
        return replace(found, subjects=found.subjects + 5000)


class LateInTwoFolds(SoundFaces):
    """The thirtieth pair shows a person of another fold."""

    def evaluation(self, pairs, ctx):
        faces, found = super().evaluation(pairs, ctx)
        fold = found.fold.copy()
        fold[30:31] += 1
        return faces, replace(found, fold=fold)


class WithItself(SoundFaces):
    """Genuine pairs of one picture."""

    def evaluation(self, pairs, ctx):
        faces, found = super().evaluation(pairs, ctx)
        return faces, replace(found, right=np.where(found.same, found.left, found.right))


class FurtherOfPairs(SoundFaces):
    """Further pictures that are those of the pairs."""

    def further_pictures(self, pairs):
        return 1

    def further(self, pairs, ctx):
        return self.evaluation(pairs, ctx)[0]


class TooFewFurther(FurtherOfPairs):
    """Fewer further pictures than declared."""

    def further_pictures(self, pairs):
        return 3

    def further(self, pairs, ctx):
        scored, pairs = self.evaluation(pairs, ctx)
        people = np.unique(scored.subjects[np.r_[pairs.left, pairs.right]])
        held = world.faces(int(people.max()) + 1, 4)
        rows = np.flatnonzero(np.isin(held.subjects, people) & (np.arange(len(held.subjects)) % 4 > 1))
        chosen = {name: getattr(held, name)[rows] for name in ("images", "subjects", "sample_ids")}
        return Faces(**chosen)


class WithFurther(TooFewFurther):
    """Two further pictures of each person; nothing is wrong with it."""

    def further_pictures(self, pairs):
        return 2


class OtherPairsForMore(SoundFaces):
    def evaluation(self, pairs, ctx):
        faces, found = super().evaluation(pairs, ctx)
        return faces, Pairs(**{name: np.ascontiguousarray(held[::-1]) for name, held in vars(found).items()})


class LabelsContradict(SoundFaces):
    def evaluation(self, pairs, ctx):
        faces, found = super().evaluation(pairs, ctx)
        return faces, replace(found, same=~found.same)


class FloatFaces(SoundFaces):
    def evaluation(self, pairs, ctx) -> tuple[Faces, Pairs]:
        faces, found = super().evaluation(pairs, ctx)
        return replace(faces, images=faces.images / 255), found


@dataclass(frozen=True, kw_only=True)
class UnsortedTraining(TrainingSet):
    """Labels that do not ascend."""

    def fingerprint(self):
        return "kit"

    def labels(self) -> Any:
        return np.array([0, 1, 0, 1])

    def images(self, rows):
        return np.stack([world.draw(int(row) % 2, int(row)) for row in rows])


SOUND = (Sound, Learner, SoundModel, SoundFaces, WithFurther)
BROKEN: Mapping[type, str] = {
    DefaultOutOfBounds: "parameters",
    NoDataclass: "parameters",
    NeedsIsText: "declarations",
    TemplateWithoutRecogniser: "declarations",
    OtherFingerprint: "files",
    Raises: "call",
    Exits: "call",
    UsesUndeclaredNetwork: "needs",
    QueriesTooOften: "needs",
    ReadsLabels: "needs",
    OtherShape: "output",
    Unclamped: "output",
    NotANumber: "output",
    WholeNumbers: "output",
    TwoLengths: "output",
    ScoreAboveRange: "output",
    WrongSplit: "output",
    LabelsContradict: "output",
    FloatFaces: "output",
    UnsortedTraining: "output",
    InPlace: "inputs",
    ChangesUploads: "inputs",
    ChangesNetwork: "networks",
    LeavesTrainMode: "networks",
    NormalisesBatches: "networks",
    SeedsTorch: "random",
    DrawsFromNumpy: "random",
    DrawsFromPython: "random",
    AsksForCuda: "device",
    ReadsUndeclared: "undeclared",
    LearnsByChance: "learning",
    LearnsNoTensors: "state",
    LearnsUnstorable: "state",
    DrawsFromSystem: "repeat",
    CountsCalls: "repeat",
    SpoilsPixels: "repeat",
    MarksPlace: "order",
    LooksAtPlace: "order",
    RanksInBatch: "split",
    MixesBatch: "split",
    OtherPairsForMore: "prefix",
    PersonInTwoFolds: "people",
    CalibratesOnScored: "people",
    LearnsFromCalibration: "people",
    SamePictures: "people",
    LateInTwoFolds: "people",
    WithItself: "people",
    FurtherOfPairs: "people",
    TooFewFurther: "people",
    UsesHash: "process",
    LearnsIntoModule: "process",
    NoGradients: "gradients",
}
