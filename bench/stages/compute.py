"""What each kind of stage computes: a function from its inputs to an artifact. It runs in a worker process.

Images are stored as uint8 RGB ``(n, 3, h, w)``. A client uploads 8-bit images, so they are quantised before they are
recognised, attacked or scored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from bench.api import context
from bench.api.datasets import Dataset
from bench.api.defense import Defense
from bench.api.types import Faces, Pairs, Protected
from bench.core.domain import Component, Stage
from bench.core.errors import ContractError, error_text
from bench.core.people import Half, everyone, half_of, learnable, person_key
from bench.stages import contracts
from bench.stages.attacks import attack, embed_by_attack, fit_attack
from bench.stages.embedding import embedded, unit_embeddings
from bench.stages.flops import FlopCounter
from bench.stages.repeatability import AMONG, checked_defense
from bench.stages.scoring import SCORES
from bench.stages.shares import person_by_person
from bench.stages.splits import check_learnt, facts_of_faces, learnt
from bench.stages.stage_inputs import (
    Job,
    StoredFaces,
    Uploads,
    build,
    defense_capabilities,
    images_of,
    network,
    of_batch,
    protected_rows,
    read_faces,
    read_pairs,
    read_state,
)
from bench.stages.stored import numbers, quantised, sample_table, to_store
from bench.stages.stored_pieces import StoredPieces
from bench.stages.strangers import faces_of_strangers
from bench.stages.undeclared import observed
from bench.store.artifacts import Artifact, Cache


def run(stage: Stage, cache: Cache, progress: Callable[[float], None] | None = None) -> Artifact:
    """Compute the artifact of a stage. ``progress`` is called with the share that is done, from 0 to 1."""
    job = Job(stage, cache, progress)
    runner = SCORES[stage.options["metric"]] if stage.kind == "score" else _RUNNERS[stage.kind]
    return runner(job)


# ---- faces -----------------------------------------------------------------------------------------------------------


def _faces(job: Job) -> Artifact:
    if "calibration_faces" in job.stage.inputs:
        return faces_of_strangers(job)
    component = job.component("dataset")
    dataset: Dataset = build(component)
    size = dataset.image_size
    split = job.stage.options["split"]
    plugin = f"data set {component.label} ({split})"
    ctx = job.context(plugin)
    with observed(component, dataset, job.cache.root):
        faces, pairs = _faces_of(job, dataset, ctx)
    contracts.check_faces(faces, size, plugin)
    tables = {"faces": _face_table(faces)}
    if pairs is not None:
        contracts.check_pairs(pairs, faces, job.stage.options.get("pairs"), plugin)
        columns = {"left": pairs.left, "right": pairs.right, "same": pairs.same, "fold": pairs.fold}
        tables["pairs"] = pa.table(columns)
    facts = facts_of_faces(component, dataset, split)
    if isinstance(faces.images, np.ndarray):
        return Artifact(tensors={"images": faces.images}, tables=tables, facts=facts)
    return Artifact(streams={"images": contracts.CheckedImages(faces.images, plugin)}, tables=tables, facts=facts)


def _faces_of(job: Job, dataset: Dataset, ctx: context.Context) -> tuple[Faces, Pairs | None]:
    """Return the faces of the split that the stage names, and their pairs if it has some."""
    split = job.stage.options["split"]
    if split == "evaluation":
        return dataset.evaluation(job.stage.options["pairs"], ctx)
    if split == "further":
        return dataset.further(job.stage.options["pairs"], ctx), None
    found = dataset.calibration(ctx) if split == "calibration" else _auxiliary(job, dataset, ctx)
    return found if isinstance(found, tuple) else (found, None)


def _auxiliary(job: Job, dataset: Dataset, ctx: context.Context) -> Faces:
    """Return the auxiliary faces that the stage names: without the people who are scored on the data set in the role
    ``scored``, and of one half of the people if it has the option ``half``.

    Where names are unknown, subject numbers decide about the half. Raise `ContractError` if nobody is left.
    """
    options, scored = job.stage.options, job.stage.components.get("scored", ())
    half: Half | None = options.get("half")
    if not scored and half is None:
        return _at_most(dataset.auxiliary(ctx), options.get("most"))
    files = job.component("dataset").weights or ""
    if dataset.auxiliary_people(everyone):
        keys = {person_key(n, c.weights or "") for c in scored for n in build(c).people(options["pairs"])}
        return _at_most(dataset.auxiliary_among(learnable(keys, files, half), ctx), options.get("most"))
    faces = dataset.auxiliary(ctx)
    people = np.unique(faces.subjects)
    own = people[[half_of(str(person)) == half for person in people.tolist()]]
    rows = np.flatnonzero(np.isin(faces.subjects, own))
    if not len(rows):
        raise ContractError(f"{ctx.plugin}: none of its {len(people)} people is in the half for the {half}")
    return _at_most(_rows_of(faces, rows), options.get("most"))


def _at_most(faces: Faces, most: int | None) -> Faces:
    """Return the first faces, person by person in the order of their first faces, and at most ``most`` of them."""
    if most is None or len(faces.images) <= most:
        return faces
    return _rows_of(faces, np.sort(person_by_person(faces.subjects)[:most]))


def _rows_of(faces: Faces, rows: NDArray[np.int64]) -> Faces:
    return replace(
        faces,
        images=faces.images[rows],
        subjects=faces.subjects[rows],
        sample_ids=faces.sample_ids[rows],
        attributes={name: values[rows] for name, values in faces.attributes.items()},
    )


def _face_table(faces: Faces) -> pa.Table:
    columns = {"sample_id": pa.array(map(str, faces.sample_ids)), "subject": faces.subjects.astype(np.int64)}
    return pa.table({**columns, **{f"attribute_{k}": np.asarray(v) for k, v in faces.attributes.items()}})


# ---- embed -----------------------------------------------------------------------------------------------------------


def _embed(job: Job) -> Artifact:
    """Embed images: ``plain`` are the unit embeddings ``(n, d)``, ``flipped`` the normalised sums of the embeddings of
    an image and of its mirror image.

    With the option ``split``, the upload consists of features at that split point, from which the server part of the
    model computes the embeddings. Features cannot be mirrored, so both are the same then; neither can what the own
    recogniser of a defense embeds.
    """
    if "attack" in job.stage.components:
        return embed_by_attack(job)
    if "defense" in job.stage.components:
        return _embed_by_defense(job)
    component = job.component("model")
    if "split" in job.stage.options:
        return _embed_features(job, component)
    images = images_of(job.input("images"))
    model = network(component, job.device)
    size = build(component).embedding_size
    plain, flipped = np.empty((len(images), size), np.float32), np.empty((len(images), size), np.float32)
    with torch.inference_mode(), observed(component, build(component), job.cache.root):
        for part in job.batches(len(images)):
            x = job.to_float(images[part])
            unit = [embedded(model, side, size, f"model {component.label}") for side in (x, x.flip(-1))]
            plain[part] = unit[0].cpu().numpy()
            flipped[part] = torch.nn.functional.normalize(unit[0] + unit[1], dim=1).cpu().numpy()
    return Artifact(tensors={"plain": plain, "flipped": flipped})


def _embed_features(job: Job, component: Component) -> Artifact:
    split = job.stage.options["split"]
    uploads = Uploads(job, job.input("images"), component, (split,))
    model, size = network(component, job.device), build(component).embedding_size
    found = []
    with torch.inference_mode(), observed(component, build(component), job.cache.root):
        for part in job.batches(uploads.n):
            maps = uploads.features(part)[split]
            made = model.from_features(maps, split)
            found.append(unit_embeddings(made, len(maps), size, f"model {component.label}").cpu())
    plain = torch.cat(found).numpy()
    return Artifact(tensors={"plain": plain, "flipped": plain.copy()})


def _embed_by_defense(job: Job) -> Artifact:
    """Embed what a defense sends with the recogniser of the defense."""
    component = job.component("defense")
    defense: Defense = build(component)
    uploads = Uploads(job, job.input("images"), None, ())
    plugin = f"the recogniser of defense {component.label}"
    ctx = job.context(plugin, defense_capabilities(job, defense), state=read_state(job))
    found = []
    with observed(component, defense, job.cache.root):
        recogniser = defense.recogniser(ctx)
        for part in job.batches(uploads.n):
            n = len(range(*part.indices(uploads.n)))
            made = contracts.recognised(
                recogniser, uploads.received(part, images=True), n, defense.recogniser_size, plugin
            )
            found.append(torch.nn.functional.normalize(made, dim=1).cpu())
    plain = torch.cat(found).numpy()
    return Artifact(tensors={"plain": plain, "flipped": plain.copy()})


# ---- fit_defense, protect --------------------------------------------------------------------------------------------


def _fit_defense(job: Job) -> Artifact:
    component = job.component("defense")
    defense: Defense = build(component)
    source = job.input("faces")
    faces = read_faces(source)
    subjects = torch.from_numpy(faces.subjects.copy())
    capabilities = replace(defense_capabilities(job, defense), subjects=subjects)
    ids = [str(s) for s in faces.sample_ids]
    ctx = job.context(f"defense {component.label}", capabilities, sample_ids=ids)
    with observed(component, defense, job.cache.root):
        state = defense.fit(faces, ctx)
    return learnt(contracts.check_state(state, ctx.plugin), source)


def _protect(job: Job) -> Artifact:
    """Protect every image on the protected side of the pairs once, by default the left ones; of other splits than the
    scored one, all images, or those of the ``share`` that the stage names.

    The column ``face`` of the table ``samples`` has the index of the face that each protected image shows.
    """
    component = job.component("defense")
    defense: Defense = build(component)
    source = job.input("faces")
    check_learnt(job)
    faces = read_faces(source)
    chosen = np.arange(len(faces.images))
    if "pairs" in source.tables and source.facts.get("split") != "calibration":
        chosen = protected_rows(read_pairs(source), job.stage.options.get("protects", "probe"))
    elif "share" in job.stage.options:
        chosen = person_by_person(faces.subjects)[job.stage.options["share"][0] :]
    if not len(chosen):  # The data set has fewer faces than a budget allows.
        return Artifact(tensors={"images": faces.images[:0]}, tables={"samples": pa.table({"face": chosen})})
    whole = "whole_set" in defense.needs
    uploaded = tuple(job.stage.options.get("splits", ()))
    capabilities, state = defense_capabilities(job, defense), read_state(job)
    shapes = _split_shapes(job) if uploaded else {}
    plugin = f"defense {component.label}"

    def protected(index: NDArray[np.int64]) -> Protected:
        seen = of_batch(job, capabilities, faces.subjects[index])
        ids = [str(s) for s in faces.sample_ids[index]]
        ctx = job.context(plugin, seen, state=state, sample_ids=ids)
        return contracts.protect_checked(defense, job.to_float(faces.images[index]), ctx, shapes)

    sent: list[dict[str, NDArray[Any]]] = []
    images, extras = StoredPieces(job.cache.temporary()), []
    with observed(component, defense, job.cache.root):
        for part in [slice(0, len(chosen))] if whole else job.batches(len(chosen)):
            made = protected(chosen[part])
            if made.images is not None:
                images.add(quantised(made.images))
            sent.append(to_store(made, uploaded, images=False))
            extras.append(numbers(made.extra))
    tensors = {name: np.concatenate([s[name] for s in sent]) for name in sent[0]}
    streams = images.streams()
    facts: dict[str, Any] = {}
    if job.stage.options.get("share", (0, 0))[0] == 0:  # Further shares would measure the same again.
        facts = _client_cost(job, component, faces, int(chosen[0]), uploaded, shapes)
    if source.facts.get("split") == "evaluation" and job.stage.options.get("check", True):
        first = slice(0, len(chosen) if whole else AMONG)
        results = {name: held[first] for name, held in {**tensors, **streams}.items()}
        again = checked_defense(job, results, lambda rows: to_store(protected(chosen[rows]), uploaded), whole_set=whole)
        facts |= again
    tables = {"samples": sample_table(chosen, extras, plugin)}
    return Artifact(tensors=tensors, streams=streams, tables=tables, facts=facts)


def _client_cost(
    job: Job,
    component: Component,
    faces: StoredFaces,
    row: int,
    uploaded: tuple[str, ...],
    shapes: Mapping[str, tuple[int, int, int]],
) -> dict[str, Any]:
    """Measure what it costs the client to protect a single face, the one at ``row``.

    A first call counts ``client_flops``: the operations of convolutions and matrix products, forward and backward, with
    2 per multiply-add. A second call is timed: ``client_seconds``, in processor time on a CPU, because other stages run
    at the same time, and in passed time on a GPU. ``client_reason`` says why neither is known if the
    defense cannot protect a single face. The calls use networks, state and random streams of their own and come after
    everything that is stored, so they change no result.
    """
    index = np.array([row])
    if "whole_set" in build(component).needs:
        return {"client_reason": "the defense protects all faces together, so one face has no cost of its own"}
    images = job.to_float(faces.images[index])
    plugin, ids = f"defense {component.label}", [str(faces.sample_ids[row])]

    def prepared(*, fast: bool = True) -> tuple[Defense, context.Context]:
        defense: Defense = build(component)
        seen = of_batch(job, defense_capabilities(job, defense, fast=fast), faces.subjects[index])
        return defense, replace(job.context(plugin, seen, state=read_state(job), sample_ids=ids), on_progress=None)

    flops = FlopCounter()
    on_gpu = job.device.type == "cuda"
    try:
        with torch.random.fork_rng([torch.cuda.current_device()] if on_gpu else []):
            defense, ctx = prepared(fast=False)  # The fast form pads some products with zeros.
            with flops:
                contracts.protect_checked(defense, images, ctx, shapes)
            defense, ctx = prepared()
            seconds = _timed(lambda: defense.protect(images, ctx), job.device)
    except (Exception, SystemExit) as error:
        return {"client_reason": f"the defense cannot protect a face by itself: {error_text(error)}"}
    return {"client_flops": flops.total, "client_seconds": seconds}


def _timed(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that a call takes: processor time of all threads, or passed time if it works on a GPU."""
    on_gpu = device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    if on_gpu:
        torch.cuda.synchronize(device)
    started = clock()
    call()
    if on_gpu:
        torch.cuda.synchronize(device)
    return clock() - started


def _split_shapes(job: Job) -> dict[str, tuple[int, int, int]]:
    """Return the declared shapes ``(c, h, w)`` of the features of the authorised model, by split point."""
    return dict(build(job.stage.components["authorised"][0]).splits)


_RUNNERS: Mapping[str, Callable[[Job], Artifact]] = {
    "faces": _faces,
    "embed": _embed,
    "fit_defense": _fit_defense,
    "protect": _protect,
    "fit_attack": fit_attack,
    "attack": attack,
}
