"""What leaves the client in a trial: one face, protected by one call of the defense, and what an attack receives."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.api.defense import Defense
from bench.api.types import Protected, Received
from bench.core.domain import Cell
from bench.core.errors import DataError
from bench.engine.seeds import seed_streams
from bench.runs.trial.faces import Pixels, TriedFace
from bench.runs.trial.setting import TrialSetting
from bench.stages import contracts
from bench.stages.stage_inputs import (
    Job,
    Uploads,
    build,
    defense_capabilities,
    of_batch,
    protected_rows,
    read_faces,
    read_pairs,
    read_state,
    victim_of,
)
from bench.stages.stored import to_store
from bench.stages.undeclared import observed
from bench.store.artifacts import Artifact


@dataclass(frozen=True, kw_only=True)
class SentFace:
    """What leaves the client: as it would be stored, the picture if there is one, the numbers that the defense returns
    with it, and the seconds that the call took."""

    held: Artifact
    pixels: Pixels | None
    extra: Mapping[str, float]
    seconds: float


def protect_key(setting: TrialSetting, cell: Cell) -> str:
    """Return the stage in which the defense of a cell protects the scored faces for their first upload."""

    def is_first(key: str) -> bool:
        stage = setting.stage(key)
        if stage.kind != "protect" or "upload" in stage.options:
            return False
        return str(setting.stage(stage.inputs["faces"]).options["split"]) == "evaluation"

    return next(key for key in setting.plan.path_of(cell) if is_first(key))


def send(setting: TrialSetting, key: str, face: TriedFace) -> SentFace:
    """Protect a face as the stage ``key`` protects faces, in one call of the defense.

    A defense that must see all faces at once sees those of the stage, with this one in place of the first.
    """
    job = setting.job(key)
    component = job.component("defense")
    defense: Defense = build(component)
    if "enrolment" in defense.needs and not face.bundled:
        raise DataError(
            f"{face.words}: {component.label} needs further pictures of the person, which there are of generated faces "
            "only; try it without a picture"
        )
    images, subjects, ids = _batch(job, face, whole="whole_set" in defense.needs)
    uploaded = tuple(job.stage.options.get("splits", ()))
    shapes = dict(build(job.component("authorised")).splits) if uploaded else {}
    seen = of_batch(job, defense_capabilities(job, defense), subjects)
    ctx = job.context(f"defense {component.label}", seen, state=read_state(job), sample_ids=ids)
    x = job.to_float(images)
    seed_streams(job.stage.seed)
    with observed(component, defense, job.cache.root):
        started = time.perf_counter()
        made = contracts.protect_checked(defense, x, ctx, shapes)
        seconds = time.perf_counter() - started
    return _sent(made, uploaded, seconds)


def _batch(
    job: Job, face: TriedFace, *, whole: bool
) -> tuple[Pixels, np.ndarray[tuple[int], np.dtype[np.int64]], list[str]]:
    """Return the images, people and names of the faces that are protected in one call; the first is the tried one."""
    if not whole:
        return face.pixels[None], np.array([face.subject]), [face.sample_id]
    source = job.input("faces")
    faces, rows = read_faces(source), protected_rows(read_pairs(source), job.stage.options.get("protects", "probe"))
    images, subjects, ids = np.array(faces.images[rows]), np.array(faces.subjects[rows]), faces.sample_ids[rows]
    images[0], subjects[0] = face.pixels, face.subject
    return images, subjects, [face.sample_id, *map(str, ids[1:])]


def _sent(made: Protected, uploaded: Sequence[str], seconds: float) -> SentFace:
    stored = {name: values[:1] for name, values in to_store(made, uploaded).items()}
    extra = {name: float(values.flatten()[0]) for name, values in made.extra.items()}
    pixels = stored.get("images")
    return SentFace(
        held=Artifact(tensors=stored), pixels=None if pixels is None else pixels[0], extra=extra, seconds=seconds
    )


def as_it_is(face: TriedFace) -> SentFace:
    """Return what leaves the client without any protection."""
    return SentFace(held=Artifact(tensors={"images": face.pixels[None]}), pixels=face.pixels, extra={}, seconds=0.0)


def received(job: Job, uploads: Sequence[SentFace]) -> Received:
    """Return what the attack of a stage receives of one face that was uploaded once, or several times."""
    options = job.stage.options
    first, *further = (
        Uploads(job, sent.held, victim_of(job), options["splits"]).received(slice(0, 1), images=not options["uploaded"])
        for sent in uploads
    )
    return replace(first, further=tuple(further))
