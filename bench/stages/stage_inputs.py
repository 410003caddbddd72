"""The inputs of a stage: its job (artifacts, components, device), networks, faces and uploads."""

from __future__ import annotations

import contextlib
import copy
import functools
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.api.context import Capabilities, Context, Network, Sent
from bench.api.defense import Defense
from bench.api.folding import as_it_is, folded
from bench.api.hookspecs import Attack, Model
from bench.api.types import Faces, Pairs, Pictures, Received
from bench.core.cache_folder import cache_folder
from bench.core.content_keys import digest_of
from bench.core.domain import Component, ComponentRole, Stage
from bench.core.errors import ContractError
from bench.registry.discovery import discover
from bench.stages.undeclared import observed
from bench.store.artifact_forms import read_input
from bench.store.artifacts import REPRESENTATION, Artifact, Cache

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
        found = read_input(self.cache, role, self.stage.inputs[role])
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

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Context manager in which no progress is reported, for calls that repeat what is done."""
        before, self.progress = self.progress, None
        try:
            yield
        finally:
            self.progress = before

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
def _loaded(model: _SameModel, device: str) -> Network:
    network = build(model.component).load()
    network.to(device).eval().requires_grad_(False)
    return network  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=8)
def _folded(model: _SameModel, device: str) -> Network:
    plugin: Model = build(model.component)
    network = _loaded(model, device)
    grey = torch.full((1, 3, *plugin.input_size), 0.5, device=device)

    def run(net: Network) -> list[torch.Tensor]:
        return [net(grey), *(net.features(grey, tuple(plugin.splits)) if plugin.splits else ())]

    return folded(network, run)


def forget_networks() -> None:
    """Load networks again when they are needed."""
    _folded.cache_clear()
    _loaded.cache_clear()


def network(component: Component, device: torch.device, *, fast: bool = True) -> Network:
    """Return a model's network: frozen, in evaluation mode, on the device. It is loaded once per worker.

    With ``fast`` it is in the form in which it is fast (`bench.api.folding`), otherwise as the plugin has made it, with
    all its layers and parameters.

    What it reads without declaring it counts for each stage that uses it; the stage that embeds images names it.
    """
    with observed(component, build(component), cache_folder(), warn=False):
        return (_folded if fast else _loaded)(_SameModel(digest_of(component), component), str(device))


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


def protected_rows(pairs: Pairs, side: str = "probe") -> NDArray[np.int64]:
    """Return the indices of the pictures that are protected, each once, ascending: those on one ``side`` of the pairs,
    ``probe`` (left) or ``gallery`` (right), or on ``both``."""
    columns = {"probe": (pairs.left,), "gallery": (pairs.right,), "both": (pairs.left, pairs.right)}[side]
    return np.unique(np.concatenate(columns))


def defense_capabilities(
    job: Job, defense: Defense, role: ComponentRole = "authorised", *, fast: bool = True
) -> Capabilities:
    """Return the capabilities of the defense of a stage, without those that differ from batch to batch (`of_batch`).
    ``role`` is that of the models which are authorised; ``fast`` as in `network`."""
    return Capabilities.of_defense(
        defense.needs,
        copies_of(job, role, fast=fast),
        uploaded=tuple(job.stage.options.get("splits", ())),
        surrogates={label: model for label, (model, _) in copies_of(job, "surrogates", fast=fast).items()},
        targets=_pictures(job, job.input("targets")) if "targets" in job.stage.inputs else None,
    )


def of_batch(job: Job, capabilities: Capabilities, subjects: NDArray[np.int64]) -> Capabilities:
    """Return the capabilities of a defense for a batch that shows these people."""
    enrolment = None
    if "enrolment" in job.stage.inputs:
        held = job.input("enrolment")
        rows = np.flatnonzero(np.isin(read_faces(held).subjects, subjects))
        enrolment = _pictures(job, held, rows)
    return replace(capabilities, subjects=torch.from_numpy(subjects), enrolment=enrolment)


def _pictures(job: Job, held: Artifact, rows: NDArray[np.int64] | None = None) -> Pictures:
    """Return pictures of an artifact with faces as a plugin receives them; ``rows`` are their indices, None for all."""
    faces = read_faces(held)
    chosen = np.arange(len(faces.images)) if rows is None else rows
    images, subjects = job.to_float(faces.images[chosen]), torch.from_numpy(faces.subjects[chosen])
    return Pictures(images=images, subjects=subjects)


def attack_capabilities(
    job: Job,
    attack: Attack,
    faces: NDArray[np.uint8],
    *,
    queries: Callable[[torch.Tensor, torch.Tensor | None], Received] | None = None,
) -> Capabilities:
    """Return the capabilities of an attack of a stage on uploads of these faces, uint8 ``(n, 3, h, w)``. ``queries``
    has images protected for it; None if it may have none protected."""
    h, w = faces.shape[2:]
    adapts = attack.outputs in ("recognition", "links") or "recogniser" in attack.sees
    models = job.stage.components.get("model", ()) if adapts else ()
    for model in models:
        network(model, job.device, fast=False)  # Loaded here, where nobody observes which files the attack reads.
    return Capabilities.of_attack(
        attack.sees,
        copies_of(job),
        uploaded=tuple(job.stage.options.get("uploaded", ())),
        image_size=(h, w),
        evaluated=functools.partial(_to_adapt, models[0], job.device) if models else None,
        queries=queries,
    )


def _to_adapt(model: Component, device: torch.device) -> Network:
    """Return a copy of a model's network that an attack may train."""
    found: Any = _copied(model, device, fast=False)
    adapted: Network = found.requires_grad_(True)
    return adapted


def copies_of(
    job: Job, role: ComponentRole = "authorised", *, fast: bool = True
) -> dict[str, tuple[Network, Sequence[str]]]:
    """Return copies of the authorised models of a stage, or of those of another role, with the names of their split
    points, so that a plugin cannot change those of other stages. ``fast`` as in `network`."""
    return {
        c.label: (_copied(c, job.device, fast=fast), tuple(build(c).splits)) for c in job.stage.components.get(role, ())
    }


def _copied(model: Component, device: torch.device, *, fast: bool) -> Network:
    made = copy.deepcopy(network(model, device, fast=fast))
    return made if fast else as_it_is(made)


def read_state(job: Job, role: str = "state") -> dict[str, torch.Tensor]:
    """Return what the plugin of a stage has learnt, on the device; empty if it has learnt nothing."""
    if role not in job.stage.inputs:
        return {}
    return {k: torch.from_numpy(v.copy()).to(job.device) for k, v in job.input(role).tensors.items()}


# ---- what was uploaded -----------------------------------------------------------------------------------------------


def victim_of(job: Job) -> Component | None:
    """Return the model whose features are attacked, which is the only authorised one; None if images are attacked."""
    models = job.stage.components.get("authorised", ())
    return models[0] if job.stage.options["splits"] else None


class Uploads:
    """What a client uploads: the images, features or representation in an artifact of a stage ``faces`` or ``protect``.

    ``splits`` are the split points of the features, and ``model`` is the model that computes them. Features that the
    artifact lacks are computed from its images. ``n`` is the number of uploads. Raise `ContractError` if the artifact
    has neither images nor a representation, and no features at these split points.
    """

    def __init__(self, job: Job, artifact: Artifact, model: Component | None, splits: Sequence[str]) -> None:
        self.job = job
        self.splits = tuple(splits)
        self.native = {s: artifact.tensors[f"features/{s}"] for s in splits if f"features/{s}" in artifact.tensors}
        self.pixels = artifact.tensors.get("images")
        sent = {name: held for name, held in artifact.tensors.items() if name.startswith(REPRESENTATION)}
        self.sent = {name.removeprefix(REPRESENTATION): held for name, held in sent.items()}
        self.computed = tuple(s for s in splits if s not in self.native)
        self.network = network(model, job.device) if model and self.computed else None
        self.shapes = dict(build(model).splits) if model else {}
        self.model = f"model {model.label}" if model else ""
        held = self.pixels if self.pixels is not None else next(iter([*self.native.values(), *sent.values()]), None)
        if held is None:
            raise ContractError(f"{job.stage.name}: nothing was uploaded at {', '.join(splits) or 'any split'}")
        self.n = len(held)

    def images(self, rows: Any) -> torch.Tensor | None:
        """Return the images of some rows, float in [0, 1]; None if the artifact has features only."""
        return None if self.pixels is None else self.job.to_float(self.pixels[rows])

    @torch.no_grad()
    def features(self, rows: Any, *, mirrored: bool = False) -> dict[str, torch.Tensor]:
        """Return the features ``(n, c, h, w)`` of some rows by split point; ``mirrored``: those of the mirror images.

        Raise `ContractError` if they were not uploaded and cannot be computed, or have another shape than declared.
        """
        found = {s: torch.from_numpy(maps[rows]).to(self.job.device) for s, maps in self.native.items()}
        if self.computed:
            if self.pixels is None or self.network is None:
                raise ContractError(f"{self.job.stage.name}: no features were sent at {', '.join(self.computed)}")
            images = self.job.to_float(self.pixels[rows])
            maps = self.network.features(images.flip(-1) if mirrored else images, self.computed)
            for split, made in zip(self.computed, maps, strict=True):
                if tuple(made.shape[1:]) != self.shapes[split]:
                    got = tuple(made.shape[1:])
                    raise ContractError(
                        f"{self.model}: declares {self.shapes[split]} at {split}, its features are {got}"
                    )
            found |= zip(self.computed, maps, strict=True)
        return {s: found[s] for s in self.splits}

    def received(self, rows: Any, *, images: bool, mirrored: bool = False) -> Received:
        """Return what an adversary receives of some rows: features, the representation of the defense, and images if
        ``images`` is True; ``mirrored``: what he would receive of mirror images, if he mirrors the images that he
        receives."""
        features = self.features(rows, mirrored=mirrored) if self.splits else {}
        sent = {name: torch.from_numpy(held[rows]).to(self.job.device) for name, held in self.sent.items()}
        pixels = self.images(rows) if images else None
        if mirrored and pixels is not None:
            pixels = pixels.flip(-1)
        role: ComponentRole = "attack" if "attack" in self.job.stage.components else "defense"
        plugin = f"{role} {self.job.component(role).label}"
        return Received(
            images=pixels,
            features=Sent(features, "features", plugin),
            representation=Sent(sent, "representation", plugin),
        )
