"""The stages of the adversary: learning, reconstructing, estimating attributes, and embedding pictures.

Attacks get uploads as they were stored, which is what left the client.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.api.context import Context
from bench.api.hookspecs import Attack
from bench.api.types import Received, Reconstructed
from bench.stages import contracts
from bench.stages.linkage import link_uploads
from bench.stages.queries import Queries
from bench.stages.received import LearningExamples, SeveralUploads
from bench.stages.repeatability import AMONG, checked_attack
from bench.stages.shares import has_input, uploads_of
from bench.stages.splits import check_learnt, learnt
from bench.stages.stage_inputs import (
    Job,
    attack_capabilities,
    build,
    images_of,
    read_faces,
    read_state,
)
from bench.stages.stored import numbers, quantised, sample_table
from bench.stages.stored_pieces import StoredPieces
from bench.stages.undeclared import observed
from bench.store.artifacts import Artifact


def fit_attack(job: Job) -> Artifact:
    """Let an attack learn from uploads of faces; the artifact holds what it returns."""
    component = job.component("attack")
    attack: Attack = build(component)
    source = job.input("faces")
    faces = read_faces(source)
    held = uploads_of(job, "protected", faces.subjects) if has_input(job, "protected") else source
    plugin, ids = f"attack {component.label}", [str(s) for s in faces.sample_ids]
    queries = Queries(job, faces.images.shape[1:], plugin) if "queries" in job.stage.options else None
    ctx = job.context(plugin, attack_capabilities(job, attack, faces.images, queries=queries), sample_ids=ids)
    examples = LearningExamples(
        faces,
        SeveralUploads(job, held, faces.subjects),
        with_images=not job.stage.options["uploaded"],
        labelled="labels" in attack.sees or attack.outputs == "images",
        plugin=plugin,
    )
    with observed(component, attack, job.cache.root):
        state = attack.fit(examples, ctx)
    return learnt(contracts.check_state(state, ctx.plugin), source)


def attack(job: Job) -> Artifact:
    """Reconstruct images from uploads, estimate the attributes of images, or link uploads."""
    plugin: Attack = build(job.component("attack"))
    if plugin.outputs == "links":
        return link_uploads(job)
    return _reconstruct(job, plugin) if plugin.outputs == "images" else _estimate(job, plugin)


def _reconstruct(job: Job, attack: Attack) -> Artifact:
    """Reconstruct one image per upload; it is quantised like an uploaded image."""
    component = job.component("attack")
    held = job.input("protected")
    about = held.tables["samples"]
    check_learnt(job)
    faces = read_faces(job.input("faces"))
    uploads = SeveralUploads(job, held, faces.subjects[about["face"].to_numpy()])
    images, extras = StoredPieces(job.cache.temporary()), []
    capabilities, state = attack_capabilities(job, attack, faces.images), read_state(job)
    shape = (3, *faces.images.shape[2:])
    chosen = about["face"].to_numpy()

    def rebuilt(rows: Any) -> Reconstructed:
        ids = [str(s) for s in faces.sample_ids[chosen[rows]]]
        ctx = job.context(f"attack {component.label}", capabilities, state=state, sample_ids=ids)
        received = uploads.received(rows, images=not job.stage.options["uploaded"])
        return contracts.reconstruct_checked(attack, received, shape, ctx)

    with observed(component, attack, job.cache.root):
        for part in job.batches(uploads.n):
            made = rebuilt(part)
            images.add(quantised(made.images))
            extras.append(numbers(made.extra))
        streams = images.streams()
        first = {name: held[:AMONG] for name, held in streams.items()}
        facts = checked_attack(job, first, lambda rows: {"images": quantised(rebuilt(rows).images)})
    table = sample_table(chosen, extras, f"attack {component.label}")
    return Artifact(streams=streams, tables={"samples": table}, facts=facts)


def _estimate(job: Job, attack: Attack) -> Artifact:
    """Estimate the attributes of every image: vectors ``(n, k)`` or numbers ``(n,)`` by name.

    The options of an attack that learns, or works on more than images, name what it gets.
    """
    component = job.component("attack")
    n, estimate = (_of_uploads if "splits" in job.stage.options else _of_images)(job, attack)
    sent = "samples" in job.input("images").tables  # Otherwise these are originals.
    with observed(component, attack, job.cache.root):
        found = [estimate(part) for part in job.batches(n)]
        contracts.check_same_names(found, f"attack {component.label}", "attributes")
        tensors = {name: np.concatenate([f[name] for f in found]) for name in found[0]}
        first = {name: values[:AMONG] for name, values in tensors.items()}
        facts = checked_attack(job, first, estimate) if sent else {}
    return Artifact(tensors=tensors, facts=facts)


_Estimate = Callable[[Any], dict[str, contracts.Array]]  # of rows: a slice, or their indices


def _of_images(job: Job, attack: Attack) -> tuple[int, _Estimate]:
    """Return the number of images, and a function that estimates the attributes of a batch of them."""
    images, ctx = images_of(job.input("images")), job.context(f"attack {job.component('attack').label}")
    return len(images), lambda part: contracts.estimate_checked(attack, job.to_float(images[part]), ctx)


def _of_uploads(job: Job, attack: Attack) -> tuple[int, _Estimate]:
    """Return the number of uploads, and a function that estimates the attributes of a batch of them."""
    check_learnt(job)
    held, faces = job.input("images"), read_faces(job.input("faces"))
    shown = held.tables["samples"]["face"].to_numpy() if "samples" in held.tables else slice(None)
    subjects = (read_faces(held) if "faces" in held.tables else faces).subjects[shown]
    uploads = SeveralUploads(job, held, subjects)
    capabilities, state = attack_capabilities(job, attack, faces.images), read_state(job)
    plugin, with_images = f"attack {job.component('attack').label}", not job.stage.options["uploaded"]

    def estimate(rows: Any) -> dict[str, contracts.Array]:
        received = uploads.received(rows, images=with_images)
        ctx = job.context(plugin, capabilities, state=state)
        ctx.upload = received
        return contracts.estimate_checked(attack, received.images, ctx, n=len(np.arange(uploads.n)[rows]))

    return uploads.n, estimate


def embed_by_attack(job: Job) -> Artifact:
    """Embed uploads, or with the option ``enrolled`` clean images, as an attack does.

    The artifact is that of `bench.stages.compute` for a model, and says that an attack has made it. Uploads of features
    cannot be mirrored, so both kinds of embeddings are the same for them.
    """
    component = job.component("attack")
    attack: Attack = build(component)
    held, enrolled = job.input("images"), job.stage.options["enrolled"]
    if not enrolled:
        check_learnt(job)
    faces = read_faces(held if enrolled else job.input("faces"))
    shown = np.arange(len(faces.images)) if enrolled else held.tables["samples"]["face"].to_numpy()
    sides = _enrolled(job, attack, faces.images) if enrolled else _received(job, attack, held, faces.subjects[shown])
    capabilities, state = attack_capabilities(job, attack, faces.images), read_state(job)
    plain, flipped = [], []
    plugin = f"attack {component.label}"
    scored = not enrolled and job.input("faces").facts.get("split") == "evaluation"

    def embedded(rows: Any, most: int = 2) -> list[torch.Tensor]:
        ids = [str(s) for s in faces.sample_ids[shown[rows]]]
        contexts = (job.context(plugin, capabilities, state=state, sample_ids=ids) for _ in range(most))
        return [side(ctx) for side, ctx in zip(sides(rows), contexts, strict=False)]

    with observed(component, attack, job.cache.root):
        for part in job.batches(len(shown)):
            unit = embedded(part)
            plain.append(unit[0])
            flipped.append(torch.nn.functional.normalize(unit[0] + unit[-1], dim=1))
        contracts.check_one_size(plain, plugin)
        tensors = {"plain": torch.cat(plain).numpy(), "flipped": torch.cat(flipped).numpy()}
        first = {"plain": tensors["plain"][:AMONG]}
        facts = checked_attack(job, first, lambda rows: {"plain": embedded(rows, 1)[0].numpy()}) if scored else {}
    return Artifact(tensors=tensors, facts={"embedded_by": "attack", **facts})


_Sides = Callable[[Any], Sequence[Callable[[Context], torch.Tensor]]]  # of rows: a slice, or their indices


def _enrolled(job: Job, attack: Attack, images: NDArray[np.uint8]) -> _Sides:
    """Return a function of a batch that gives functions of a context that embed its images, and its mirrored images."""

    def sides(part: Any) -> Sequence[Callable[[Context], torch.Tensor]]:
        x = job.to_float(images[part])
        return [functools.partial(contracts.enrol_checked, attack, seen) for seen in (x, x.flip(-1))]

    return sides


def _received(job: Job, attack: Attack, stored: Artifact, subjects: NDArray[np.int64]) -> _Sides:
    """Return a function of a batch that gives functions of a context that embed its uploads, and if they are images,
    their mirror images."""
    uploads, with_images = SeveralUploads(job, stored, subjects), not job.stage.options["uploaded"]

    def sides(part: Any) -> Sequence[Callable[[Context], torch.Tensor]]:
        seen: list[Received] = [uploads.received(part, images=with_images)]
        if seen[0].images is not None and uploads.mirrorable:
            seen.append(uploads.received(part, images=True, mirrored=True))
        return [functools.partial(contracts.embed_checked, attack, held) for held in seen]

    return sides
