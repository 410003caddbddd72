"""What each stage does: a function from its inputs to an artifact. Runs in a worker process.

Images travel as uint8 RGB ``(n, 3, h, w)``: what leaves a client is an 8-bit image, so it is quantised before anyone
recognises, attacks or scores it.
"""

from __future__ import annotations

import copy
import functools
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from bench import contracts, metrics
from bench.cache import Artifact, Cache
from bench.contracts import Context
from bench.errors import ContractError
from bench.hookspecs import Dataset, Defense, Network
from bench.plugins import discover
from bench.types import Component, Faces, Pairs, Stage

EXAMPLES = 6  # faces of each protect stage that are kept as pictures for the report
_QUANTITIES = ("ssim", "psnr")


class Job:
    """One stage with access to its inputs, components and device."""

    def __init__(self, stage: Stage, cache: Cache) -> None:
        self.stage = stage
        self.cache = cache
        self.device = torch.device(stage.options["device"])
        self.batch: int = stage.options["batch"]

    def input(self, role: str) -> Artifact:
        """The verified artifact of an input stage."""
        return self.cache.read(self.stage.inputs[role])

    def component(self, role: str) -> Component:
        """The only component of a role."""
        return self.stage.components[role][0]

    def context(self, who: str, **more: Any) -> Context:
        """The context of a plugin call."""
        return Context(device=self.device, seed=self.stage.seed, who=who, **more)

    def batches(self, n: int) -> Iterator[slice]:
        """Slices of at most the batch size that cover ``n`` samples."""
        for start in range(0, n, self.batch):
            yield slice(start, min(start + self.batch, n))

    def to_float(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """uint8 ``(n, 3, h, w)`` -> float in [0, 1] on the device."""
        return torch.from_numpy(np.ascontiguousarray(images)).to(self.device).float().div_(255.0)


def run(stage: Stage, cache: Cache) -> Artifact:
    """Compute the artifact of a stage."""
    job = Job(stage, cache)
    runner = _SCORES[stage.options["metric"]] if stage.kind == "score" else _RUNNERS[stage.kind]
    return runner(job)


def build(component: Component) -> Any:
    """The plugin's dataclass of a component, in this process."""
    cls = discover().find(component.kind, component.name, component.label).cls
    return cls(**component.params)


@functools.lru_cache(maxsize=8)
def _network(kind: str, name: str, params: tuple[tuple[str, Any], ...], weights: str, device: str) -> Network:
    cls = discover().find(kind, name, name).cls
    network = cls(**dict(params)).load()
    network.to(device).eval().requires_grad_(False)
    return network  # type: ignore[no-any-return]


def network(component: Component, device: torch.device) -> Network:
    """A model's network: frozen, in evaluation mode, on the device. Loaded once per worker."""
    params = tuple(sorted(component.params.items()))
    return _network(component.kind, component.name, params, component.weights or "", str(device))


# ---- faces -----------------------------------------------------------------------------------------------------------


def _faces(job: Job) -> Artifact:
    component = job.component("dataset")
    dataset: Dataset = build(component)
    size = dataset.image_size
    split = job.stage.options["split"]
    who = f"data set {component.label} ({split})"
    ctx = job.context(who)
    if split == "evaluation":
        faces, pairs = dataset.evaluation(job.stage.options["pairs"], ctx)
        contracts.check_faces(faces, size, who)
        contracts.check_pairs(pairs, faces, job.stage.options["pairs"], who)
        columns = {"left": pairs.left, "right": pairs.right, "same": pairs.same, "fold": pairs.fold}
        return Artifact(
            tensors={"images": faces.images}, tables={"faces": _face_table(faces), "pairs": pa.table(columns)}
        )
    faces = dataset.calibration(ctx) if split == "calibration" else dataset.auxiliary(ctx)
    contracts.check_faces(faces, size, who)
    return Artifact(tensors={"images": faces.images}, tables={"faces": _face_table(faces)})


def _face_table(faces: Faces) -> pa.Table:
    columns = {"sample_id": pa.array(map(str, faces.sample_ids)), "subject": faces.subjects.astype(np.int64)}
    return pa.table({**columns, **{f"attribute_{k}": np.asarray(v) for k, v in faces.attributes.items()}})


def read_faces(artifact: Artifact) -> Faces:
    """The `Faces` of a faces artifact."""
    table = artifact.tables["faces"]
    attributes = {
        n.removeprefix("attribute_"): table[n].to_numpy() for n in table.column_names if n.startswith("attribute_")
    }
    return Faces(
        images=_images(artifact),
        subjects=table["subject"].to_numpy(),
        sample_ids=np.array(table["sample_id"].to_pylist()),
        attributes=attributes,
    )


def _images(artifact: Artifact) -> NDArray[np.uint8]:
    images: NDArray[Any] = artifact.tensors["images"]
    return images


def read_pairs(artifact: Artifact) -> Pairs:
    """The `Pairs` of an evaluation faces artifact."""
    table = artifact.tables["pairs"]
    return Pairs(**{name: table[name].to_numpy() for name in ("left", "right", "same", "fold")})


# ---- embed -----------------------------------------------------------------------------------------------------------


def _embed(job: Job) -> Artifact:
    """Unit embeddings ``(n, d)`` of the images, and of image plus mirror image (summed, then normalised)."""
    component = job.component("model")
    images = _images(job.input("images"))
    model = network(component, job.device)
    size = build(component).embedding_size
    plain, flipped = [], []
    with torch.inference_mode():
        for part in job.batches(len(images)):
            x = job.to_float(images[part])
            sides = [model(x), model(x.flip(-1))]
            for side in sides:
                contracts.check_embeddings(side, len(x), size, f"model {component.label}")
            unit = [torch.nn.functional.normalize(side.float(), dim=1) for side in sides]
            plain.append(unit[0].cpu())
            flipped.append(torch.nn.functional.normalize(unit[0] + unit[1], dim=1).cpu())
    return Artifact(tensors={"plain": torch.cat(plain).numpy(), "flipped": torch.cat(flipped).numpy()})


# ---- fit_defense, protect --------------------------------------------------------------------------------------------


def _authorised(job: Job) -> dict[str, Any]:
    """The parts of a context that come from the authorised models: copies, which a defense cannot spoil for others."""
    networks = {
        c.label: (copy.deepcopy(network(c, job.device)), tuple(build(c).splits))
        for c in job.stage.components.get("authorised", ())
    }
    return {"authorised": tuple(networks), "_networks": networks}


def _fit_defense(job: Job) -> Artifact:
    component = job.component("defense")
    defense: Defense = build(component)
    faces = read_faces(job.input("faces"))
    subjects = torch.from_numpy(faces.subjects.copy())
    ctx = job.context(f"defense {component.label}", needs=defense.needs, _subjects=subjects, **_authorised(job))
    ctx.sample_ids = [str(s) for s in faces.sample_ids]
    state = defense.fit(faces, ctx)
    if not (isinstance(state, Mapping) and all(isinstance(v, torch.Tensor) for v in state.values())):
        raise ContractError(f"{ctx.who}: fit() must return a mapping of names to tensors, got {type(state).__name__}")
    return Artifact(tensors={k: v.detach().cpu().numpy() for k, v in state.items()})


def _protect(job: Job) -> Artifact:
    """Protect every left image of the pairs once; its rows say which face each one was."""
    component = job.component("defense")
    defense: Defense = build(component)
    source = job.input("faces")
    faces, pairs = read_faces(source), read_pairs(source)
    chosen = np.unique(pairs.left)
    state = {}
    if "state" in job.stage.inputs:
        state = {k: torch.from_numpy(v.copy()).to(job.device) for k, v in job.input("state").tensors.items()}
    shared = {"needs": defense.needs, "state": state, **_authorised(job)}
    images, extras = [], []
    for part in job.batches(len(chosen)):
        index = chosen[part]
        subjects = torch.from_numpy(faces.subjects[index])
        ids = [str(s) for s in faces.sample_ids[index]]
        ctx = job.context(f"defense {component.label}", sample_ids=ids, _subjects=subjects, **shared)
        protected, extra = contracts.protect_checked(defense, job.to_float(faces.images[index]), ctx)
        images.append(protected.mul(255).round().to(torch.uint8).cpu().numpy())
        extras.append({k: v.detach().double().cpu().numpy() for k, v in extra.items()})
    if any(set(e) != set(extras[0]) for e in extras):
        raise ContractError(f"defense {component.label}: its extra numbers differ from batch to batch")
    columns = {name: np.concatenate([e[name] for e in extras]) for name in extras[0]}
    table = pa.table({"face": chosen, **{f"extra_{k}": v for k, v in columns.items()}})
    return Artifact(tensors={"images": np.concatenate(images)}, tables={"protected": table})


# ---- score -----------------------------------------------------------------------------------------------------------


def _score_verification(job: Job) -> Artifact:
    """One row per pair: what Equation 10, the 10-fold accuracy and every threshold are recomputed from."""
    source = job.input("faces")
    faces, pairs = read_faces(source), read_pairs(source)
    clean, protected = job.input("clean").tensors, job.input("protected").tensors
    chosen = np.unique(pairs.left)
    where = np.searchsorted(chosen, pairs.left)
    subjects = read_faces(job.input("calibration_faces")).subjects
    impostors = metrics.impostor_scores(job.input("calibration").tensors["plain"], subjects)
    if not len(impostors):
        raise ContractError("calibration faces: expected at least two subjects to set a threshold on, got fewer")
    kappa = metrics.threshold_at_fmr(impostors, job.stage.options["fmr"])
    x1, x2, x1_protected = clean["plain"][pairs.left], clean["plain"][pairs.right], protected["plain"][where]
    flip1, flip2 = clean["flipped"][pairs.left], clean["flipped"][pairs.right]
    flip1_protected = protected["flipped"][where]
    n = len(pairs.left)
    rows = pa.table(
        {
            "pair": np.arange(n),
            "left_id": faces.sample_ids[pairs.left],
            "right_id": faces.sample_ids[pairs.right],
            "left_subject": faces.subjects[pairs.left],
            "right_subject": faces.subjects[pairs.right],
            "same": pairs.same,
            "fold": pairs.fold,
            "cos_self": metrics.cosine(x1_protected, x1),
            "cos_cross": metrics.cosine(x1_protected, x2),
            "cos_clean": metrics.cosine(x1, x2),
            "flip_cross": metrics.cosine(flip1_protected, flip2),
            "flip_clean": metrics.cosine(flip1, flip2),
            "kappa_calibrated": np.full(n, kappa),
            "fmr": np.full(n, job.stage.options["fmr"]),
            "calibration_impostors": np.full(n, len(impostors)),
        }
    )
    return Artifact(tables={"verification": rows})


def _score_images(job: Job) -> Artifact:
    """One row per protected image: its similarity to the original; and a few of both as pictures."""
    faces = read_faces(job.input("faces"))
    protected = job.input("protected")
    about = protected.tables["protected"]
    index = about["face"].to_numpy()
    originals, images = faces.images[index], _images(protected)
    extras = {name: about[name] for name in about.column_names if name.startswith("extra_")}
    similarity = _similarity(originals, images)
    rows = pa.table({"sample_id": faces.sample_ids[index], "subject": faces.subjects[index], **similarity, **extras})
    shown = np.unique(np.linspace(0, len(index) - 1, min(EXAMPLES, len(index))).round().astype(int))
    examples = pa.table(
        {
            "sample_id": faces.sample_ids[index][shown],
            "original": pa.array([_png(originals[i]) for i in shown], pa.binary()),
            "protected": pa.array([_png(images[i]) for i in shown], pa.binary()),
            "ssim": similarity["ssim"][shown],
        }
    )
    return Artifact(tables={"images": rows, "examples": examples}, facts={"ssim_variant": metrics.SSIM_VARIANT})


def _score_floors(job: Job) -> Artifact:
    """What each image metric gives for images that hold nothing of the face: the yardstick of every similarity."""
    source = job.input("faces")
    faces, pairs = read_faces(source), read_pairs(source)
    index = np.unique(pairs.left)
    originals = faces.images[index]
    others = read_faces(job.input("calibration_faces")).images
    columns: dict[str, Any] = {"sample_id": faces.sample_ids[index]}
    for name, images in metrics.floor_images(originals, faces.subjects[index], others, job.stage.seed).items():
        columns |= {f"{k}_{name}": v for k, v in _similarity(originals, images).items() if k in _QUANTITIES}
    return Artifact(tables={"floors": pa.table(columns)}, facts={"ssim_variant": metrics.SSIM_VARIANT})


def _similarity(originals: NDArray[np.uint8], images: NDArray[np.uint8]) -> dict[str, Any]:
    psnr = metrics.psnr(originals, images)
    infinite = np.isinf(psnr)
    return {
        "ssim": metrics.ssim(originals, images),
        "psnr": pa.array(np.where(infinite, 0.0, psnr), mask=infinite),
        "psnr_infinite": infinite,
    }


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


_RUNNERS: Mapping[str, Callable[[Job], Artifact]] = {
    "faces": _faces,
    "embed": _embed,
    "fit_defense": _fit_defense,
    "protect": _protect,
}
_SCORES: Mapping[str, Callable[[Job], Artifact]] = {
    "verification": _score_verification,
    "images": _score_images,
    "floors": _score_floors,
}
