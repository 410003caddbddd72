"""The inputs of a stage: its job (artifacts, components, device), networks, faces and uploads."""

from __future__ import annotations

import copy
import functools
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.api.context import Capabilities, Context, Network
from bench.api.hookspecs import Attack, Defense
from bench.api.types import Faces, Pairs, Received
from bench.core.content_keys import digest_of
from bench.core.domain import Component, ComponentRole, Stage
from bench.core.errors import ContractError
from bench.registry.discovery import discover
from bench.store.artifacts import Artifact, Cache

_NOTHING = Capabilities()
_NO_STATE: Mapping[str, torch.Tensor] = {}


class Job:
    """One stage to compute, with access to the artifacts of its inputs, its components and its device."""

    def __init__(self, stage: Stage, cache: Cache, progress: Callable[[float], None] | None = None) -> None:
        self.stage = stage
        self.cache = cache
        self.progress = progress
        self._window = (0.0, 1.0)
        self._reported = 0.0
        self._mapped: list[mmap.mmap] = []
        self.device = torch.device(stage.options["device"])
        self.batch: int = stage.options["batch"]

    def input(self, role: str) -> Artifact:
        """Return the verified artifact of the stage that is the input ``role``."""
        found = self.cache.read(self.stage.inputs[role])
        bases: Iterable[object] = (tensor.base for tensor in found.tensors.values())
        self._mapped += [base for base in bases if isinstance(base, mmap.mmap)]
        return found

    def component(self, role: ComponentRole) -> Component:
        """Return the component of a role that has exactly one."""
        return self.stage.components[role][0]

    def context(
        self,
        plugin: str,
        capabilities: Capabilities = _NOTHING,
        *,
        state: Mapping[str, torch.Tensor] = _NO_STATE,
        sample_ids: Sequence[str] = (),
    ) -> Context:
        """Return the context for a call of a plugin, whose kind and label are ``plugin``."""
        return Context(
            device=self.device,
            seed=self.stage.seed,
            capabilities=capabilities,
            state=state,
            sample_ids=sample_ids,
            plugin=plugin,
            on_progress=self.report_progress,
        )

    def report_progress(self, share: float) -> None:
        """Report the share of the current batch that is done, from 0 to 1; of the stage if it has no batches."""
        if self.progress is not None:
            first, last = self._window
            # A plugin may be called twice for one batch; the reported share never falls.
            self._reported = max(self._reported, first + share * (last - first))
            self.progress(self._reported)

    def batches(self, n: int) -> Iterator[slice]:
        """Yield slices of at most the batch size that cover ``n`` samples, and report progress after each."""
        for start in range(0, n, self.batch):
            stop = min(start + self.batch, n)
            self._window = (start / n, stop / n)
            yield slice(start, stop)
            self.report_progress(1.0)
            self._forget_pages()

    def _forget_pages(self) -> None:
        """Take what was read of mapped files out of the memory of this process; the system may keep it in its cache."""
        for mapped in self._mapped:
            mapped.madvise(mmap.MADV_DONTNEED)

    def to_float(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Turn images uint8 ``(n, 3, h, w)`` into float in [0, 1] on the device of the stage."""
        return torch.from_numpy(np.array(images, order="C")).to(self.device).float().div_(255.0)


def build(component: Component) -> Any:
    """Build the plugin's dataclass of a component in this process."""
    return discover().build(component)


@dataclass(frozen=True)
class _SameModel:
    """A model as a cache key: it equals every model with the same digest, which may be another object."""

    digest: str
    component: Component = field(compare=False)


@functools.lru_cache(maxsize=8)
def _network(model: _SameModel, device: str) -> Network:
    network = build(model.component).load()
    network.to(device).eval().requires_grad_(False)
    return network  # type: ignore[no-any-return]


def network(component: Component, device: torch.device) -> Network:
    """Return a model's network: frozen, in evaluation mode, on the device. It is loaded once per worker."""
    return _network(_SameModel(digest_of(component), component), str(device))


@dataclass(frozen=True, kw_only=True)
class StoredFaces(Faces):
    """The faces of an artifact; ``images`` is an array that may be mapped from its file."""

    images: NDArray[np.uint8]


def read_faces(artifact: Artifact) -> StoredFaces:
    """Return the faces in the artifact of a stage that loads faces."""
    table = artifact.tables["faces"]
    attributes = {
        n.removeprefix("attribute_"): table[n].to_numpy() for n in table.column_names if n.startswith("attribute_")
    }
    return StoredFaces(
        images=images_of(artifact),
        subjects=table["subject"].to_numpy(),
        sample_ids=np.array(table["sample_id"].to_pylist()),
        attributes=attributes,
    )


def images_of(artifact: Artifact) -> NDArray[np.uint8]:
    """Return the images of an artifact, uint8 ``(n, 3, h, w)``."""
    images: NDArray[Any] = artifact.tensors["images"]
    return images


def read_pairs(artifact: Artifact) -> Pairs:
    """Return the verification pairs of an artifact with faces; raise `KeyError` if its split has no pairs."""
    table = artifact.tables["pairs"]
    return Pairs(**{name: table[name].to_numpy() for name in ("left", "right", "same", "fold")})


def defense_capabilities(job: Job, defense: Defense) -> Capabilities:
    """Return the capabilities of the defense of a stage, without the subjects, which differ from batch to batch."""
    uploaded = tuple(job.stage.options.get("splits", ()))
    return Capabilities.of_defense(defense.needs, _authorised_models(job), uploaded=uploaded)


def attack_capabilities(job: Job, attack: Attack, faces: NDArray[np.uint8]) -> Capabilities:
    """Return the capabilities of an attack of a stage on uploads of these faces, uint8 ``(n, 3, h, w)``."""
    h, w = faces.shape[2:]
    uploaded = tuple(job.stage.options.get("uploaded", ()))
    return Capabilities.of_attack(attack.sees, _authorised_models(job), uploaded=uploaded, image_size=(h, w))


def _authorised_models(job: Job) -> dict[str, tuple[Network, Sequence[str]]]:
    """Return copies of the authorised models of a stage, so that a plugin cannot change those of other stages."""
    return {
        c.label: (copy.deepcopy(network(c, job.device)), tuple(build(c).splits))
        for c in job.stage.components.get("authorised", ())
    }


def read_state(job: Job) -> dict[str, torch.Tensor]:
    """Return what the plugin of a stage has learnt, on the device; empty if it has learnt nothing."""
    if "state" not in job.stage.inputs:
        return {}
    return {k: torch.from_numpy(v.copy()).to(job.device) for k, v in job.input("state").tensors.items()}


# ---- what was uploaded -----------------------------------------------------------------------------------------------


class Uploads:
    """What a client uploads: the images or features in an artifact of a stage ``faces`` or ``protect``.

    ``splits`` are the split points of the features, and ``model`` is the model that computes them. Features that the
    artifact lacks are computed from its images. ``n`` is the number of uploads. Raise `ContractError` if the artifact
    has neither images nor features at these split points.
    """

    def __init__(self, job: Job, artifact: Artifact, model: Component | None, splits: Sequence[str]) -> None:
        self.job = job
        self.splits = tuple(splits)
        self.native = {s: artifact.tensors[f"features/{s}"] for s in splits if f"features/{s}" in artifact.tensors}
        self.pixels = artifact.tensors.get("images")
        self.computed = tuple(s for s in splits if s not in self.native)
        self.network = network(model, job.device) if model and self.computed else None
        self.shapes = dict(build(model).splits) if model else {}
        self.model = f"model {model.label}" if model else ""
        held = self.pixels if self.pixels is not None else next(iter(self.native.values()), None)
        if held is None:
            raise ContractError(f"{job.stage.name}: nothing was uploaded at {', '.join(splits) or 'any split'}")
        self.n = len(held)

    def images(self, rows: Any) -> torch.Tensor | None:
        """Return the images of some rows, float in [0, 1]; None if the artifact has features only."""
        return None if self.pixels is None else self.job.to_float(self.pixels[rows])

    @torch.no_grad()
    def features(self, rows: Any) -> dict[str, torch.Tensor]:
        """Return the features ``(n, c, h, w)`` of some rows by split point.

        Raise `ContractError` if they were not uploaded and cannot be computed, or have another shape than declared.
        """
        found = {s: torch.from_numpy(maps[rows]).to(self.job.device) for s, maps in self.native.items()}
        if self.computed:
            if self.pixels is None or self.network is None:
                raise ContractError(f"{self.job.stage.name}: no features were sent at {', '.join(self.computed)}")
            maps = self.network.features(self.job.to_float(self.pixels[rows]), self.computed)
            for split, made in zip(self.computed, maps, strict=True):
                if tuple(made.shape[1:]) != self.shapes[split]:
                    got = tuple(made.shape[1:])
                    raise ContractError(
                        f"{self.model}: declares {self.shapes[split]} at {split}, its features are {got}"
                    )
            found |= zip(self.computed, maps, strict=True)
        return {s: found[s] for s in self.splits}

    def received(self, rows: Any, *, images: bool) -> Received:
        """Return what an adversary receives of some rows: features, and images if ``images`` is True."""
        features = self.features(rows) if self.splits else {}
        return Received(images=self.images(rows) if images else None, features=features)


class LearningExamples:
    """Implements `bench.api.hookspecs.Examples`: faces, with their uploads, from which an attack learns."""

    def __init__(self, faces: StoredFaces, uploads: Uploads, *, with_images: bool) -> None:
        self.images = faces.images
        self.subjects = faces.subjects
        self._uploads = uploads
        self._with_images = with_images

    def received(self, rows: NDArray[np.int64]) -> Received:
        """Return the uploads of some of the faces."""
        return self._uploads.received(rows, images=self._with_images)
