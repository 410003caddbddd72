"""What recognition models say about two pictures in a trial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bench.core.domain import Cell, Component
from bench.runs.trial.faces import Pixels
from bench.runs.trial.setting import TrialSetting
from bench.stages.embedding import embedded
from bench.stages.stage_inputs import Job, build, network
from bench.stages.verification import Calibration, calibrated


@dataclass(frozen=True, kw_only=True)
class JudgedFace:
    """What one judge says: the cosine of two pictures, beside its threshold. ``role`` says what the judge is to the
    client, or which pictures it compares."""

    judge: str
    role: str
    cosine: float
    threshold: Calibration

    @property
    def match(self) -> bool:
        """True if the judge takes both pictures for one person."""
        return self.cosine > self.threshold.kappa


def judged(setting: TrialSetting, original: Pixels, other: Pixels) -> list[JudgedFace]:
    """Return what every model of the setting says about a picture and the original."""
    return [
        JudgedFace(
            judge=cell.evaluated.label,
            role=role_of(setting, cell),
            cosine=cosine(setting.job(setting.score(cell).key, "calibration"), cell.evaluated, original, other),
            threshold=threshold_of(setting, cell),
        )
        for cell in setting.cells
        if cell.evaluated is not None and cell.evaluated.kind == "model"
    ]


def role_of(setting: TrialSetting, cell: Cell) -> str:
    """Return what the evaluated model of a cell is to the client."""
    assert cell.evaluated is not None
    (authorised,) = setting.plan.suite.experiments[0].authorised
    return "authorised" if cell.evaluated.name in {model.name for model in authorised} else "held out"


def threshold_of(setting: TrialSetting, cell: Cell) -> Calibration:
    """Return the threshold that a judge sets on people of the calibration split, as in a run."""
    job = setting.job(setting.score(cell).key, "calibration_faces", "calibration")
    return calibrated(job)(0)


def cosine(job: Job, model: Component, first: Pixels, second: Pixels) -> float:
    """Return the cosine of the embeddings of two pictures by a model."""
    net = network(model, job.device)
    with torch.inference_mode():
        images = job.to_float(np.stack([first, second]))
        return cosine_of(embedded(net, images, build(model).embedding_size, f"model {model.label}"))


def cosine_of(embeddings: torch.Tensor) -> float:
    """Return the cosine of two unit embeddings ``(2, d)``."""
    return float((embeddings[0] * embeddings[1]).sum())
