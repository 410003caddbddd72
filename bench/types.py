"""Domain types: what crosses module borders. Frozen, keyword-only, no torch.

Arrays are numpy. Images are RGB, channels first, ``uint8`` in [0, 255] when stored: what leaves a client is an
8-bit image, so everything downstream (recognition, attacks, metrics) sees the quantised one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

Kind = Literal["dataset", "model", "defense", "attack"]
DataMode = Literal["auto", "real", "stand-in"]
Status = Literal["ok", "skipped", "failed", "timeout", "queued"]
StageKind = Literal["faces", "embed", "fit_defense", "protect", "fit_attack", "attack", "score"]


@runtime_checkable
class LazyImages(Protocol):
    """Images that are decoded when they are asked for, so that a large set is never in memory as a whole.

    ``shape`` is ``(n, 3, h, w)``, ``dtype`` uint8; ``images[a:b]`` and ``images[rows]`` are arrays.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[np.uint8]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Face images with what is known about them.

    ``images`` uint8 ``(n, 3, h, w)`` RGB, an array or `LazyImages`; ``subjects`` int64 ``(n,)``; ``sample_ids`` str
    ``(n,)``, unique; ``attributes``: column name to array ``(n,)`` (for example ``age`` in years), empty when nothing
    is known.
    """

    images: NDArray[np.uint8] | LazyImages
    subjects: NDArray[np.int64]
    sample_ids: NDArray[np.str_]
    attributes: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Verification pairs: indices ``left (m,)`` and ``right (m,)`` into a `Faces`, ``same (m,)`` bool (genuine or
    impostor), ``fold (m,)`` int in [0, 10)."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Protected:
    """What leaves the client for a batch of ``n`` faces.

    ``images`` float ``(n, 3, h, w)`` RGB in [0, 1], or none when the defense sends only features.
    ``features``: named split to tensor ``(n, ...)``, empty when it sends only images.
    ``extra``: per-sample numbers worth a column in the results, each ``(n,)`` (for example the final loss).
    """

    images: torch.Tensor | None = None
    features: Mapping[str, torch.Tensor] = field(default_factory=dict)
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Received:
    """What an adversary holds of ``n`` faces: what the client uploaded, and what the shallow model makes of it.

    ``images`` float ``(n, 3, h, w)`` RGB in [0, 1], or none when only features were uploaded.
    ``features``: named split to tensor ``(n, c, h, w)``, at the splits that the attack asked for.
    """

    images: torch.Tensor | None = None
    features: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reconstructed:
    """What a reconstruction attack makes of ``n`` uploads: ``images`` float ``(n, 3, h, w)`` RGB in [0, 1];
    ``extra`` as in `Protected`."""

    images: torch.Tensor
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DataStatus:
    """What ``bench data status`` and ``bench models status`` show of a component.

    ``where`` it is read from, none when it is missing; ``layout`` in words (``InsightFace .bin``, ``generated``);
    ``missing``: what is missing and where to put it, or none; ``notes``: anything else worth a line. Counts are none
    where they are not known or not limited.
    """

    where: str | None = None
    layout: str = ""
    images: int | None = None
    pairs: int | None = None
    missing: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what, whether it is in order, and what was found (or what to do)."""

    what: str
    ok: bool
    found: str


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a plugin comes from: its distribution, version, package folder, and the digest of its sources."""

    distribution: str
    version: str
    package: str
    digest: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Component:
    """One plugin with its parameters, as a suite asks for it. What two of them mean is compared by their digests
    (see `bench.keys`); ``==`` tells whether they are the same object.

    ``params`` are the effective ones (defaults filled in), ``passed`` those that the suite wrote, ``label`` the name
    shown in rows and reports, ``weights`` the sha256 of the weights file of a model or the fingerprint of a data set
    or attack. ``via`` is the attack whose reconstructions an attack works on, or none.
    ``on_stand_ins``: a defense's parameters for models that learnt from synthetic faces, where a suite gives others.
    ``instead_of``: the label of what the suite asked for, where this is its stand-in; ``because`` says why.
    """

    kind: Kind
    name: str
    label: str
    params: Mapping[str, Any]
    passed: Mapping[str, Any]
    origin: Origin
    weights: str | None = None
    via: Component | None = None
    on_stand_ins: Component | None = None
    instead_of: str | None = None
    because: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One point of an experiment: one question with one answer.

    ``authorised`` is empty for a defense that knows no model, ``evaluated`` none where no model is asked;
    ``upload`` says what leaves the client: ``images``, or ``features at`` which splits; ``outputs`` what the attack
    gives; ``leaky`` whether it learnt from the evaluated identities. ``kappa`` is the experiment's fixed threshold;
    ``threat`` says in words what the adversary knows. ``skip`` is the reason why the combination makes no sense,
    or none. ``stages`` are the keys of the score stages whose rows answer it.
    """

    id: str
    experiment: str
    table: str | None
    dataset: Component
    authorised: tuple[Component, ...]
    defense: Component
    attack: Component
    evaluated: Component | None
    repeat: int
    pairs: int
    kappa: float
    threat: str
    upload: str = "images"
    outputs: str = "recognition"
    leaky: bool = False
    skip: str | None = None
    stages: tuple[str, ...] = ()

    @property
    def components(self) -> tuple[Component, ...]:
        """Every plugin that takes part, with its parameters."""
        found = (self.dataset, *self.authorised, self.defense, self.attack, self.evaluated, self.attack.via)
        return tuple(c for c in found if c is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One unit of work of the graph. ``key`` is the content key (see `bench.plan`): same key, same artifact.

    ``components`` are the plugins that it runs; ``options`` the effective parameters of the stage itself;
    ``inputs`` maps a role (``faces``, ``protected`` ...) to the key of the stage that makes it;
    ``units`` is the number of samples, ``cost`` the estimated seconds on one core for all of them, ``cost_name`` what
    measured costs are filed under, ``size`` the estimated bytes of the artifact.
    """

    kind: StageKind
    name: str
    key: str
    components: Mapping[str, tuple[Component, ...]]
    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    seed: int
    units: int
    cost: float
    cost_name: str
    size: int
    time_limit_s: float = 3600.0
    memory_limit_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """How one stage ended. ``cached`` when the artifact was there before; seconds, memory and batch are those of the
    run that computed it. ``batch`` is the batch that it was computed with, where memory did not allow the planned
    one; ``attempts`` how often it was begun; ``log`` what it printed, of a failed stage.

    Of a stage that protects: what one single face costs the client, as floating-point operations of convolutions and
    matrix products (``client_flops``) and as seconds on the stage's device (``client_seconds``); ``client_reason`` says
    why neither is known."""

    key: str
    status: Status
    cached: bool
    seconds: float
    peak_mb: float
    device: str
    reason: str | None = None
    traceback: str | None = None
    log: str = ""
    batch: int | None = None
    attempts: int = 1
    client_flops: int | None = None
    client_seconds: float | None = None
    client_reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one cell ended; one row of ``cells.parquet``. Seconds and memory are none when nothing was run for it.

    ``traceback`` and ``log`` (what was printed) are those of the stage that failed. ``batch`` is the smallest batch
    that memory allowed a stage of the cell, none where all were computed as planned. ``protect`` are the keys of the
    stages in which its client protects faces. ``queued`` is the status of what a run that has not ended has still to
    compute.
    """

    cell: Cell
    status: Status
    reason: str | None
    seconds: float | None
    peak_mb: float | None
    cached: bool
    device: str
    traceback: str | None = None
    log: str = ""
    batch: int | None = None
    protect: tuple[str, ...] = ()
