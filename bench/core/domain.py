"""Domain types: what crosses module borders. Frozen, keyword-only, no torch.

Arrays are numpy. Images are RGB, channels first, ``uint8`` in [0, 255] when stored: what leaves a client is an
8-bit image, so everything downstream (recognition, attacks, metrics) sees the quantised one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    pass

Kind = Literal["dataset", "model", "defense", "attack"]
DataMode = Literal["auto", "real", "stand-in"]
Status = Literal["ok", "skipped", "failed", "timeout", "queued"]
StageKind = Literal["faces", "embed", "fit_defense", "protect", "fit_attack", "attack", "score"]


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
    (see `bench.core.content_keys`); ``==`` tells whether they are the same object.

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
    """One unit of work of the graph. ``key`` is the content key (see `bench.planning.plan`): same key, same artifact.

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


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened, for whoever shows or journals it: ``planned`` lists the ``stages`` that will be
    computed, of ``total`` and for how many ``cells``, with the estimated seconds of the longest path ``behind`` each,
    itself included; the others are about one ``stage``.

    ``progress``: the ``share`` of it that is done. ``finished``: its ``result``, and the ``worker`` (``host:pid``).
    ``retried`` and ``damaged`` say why in ``message``; ``batch`` and ``attempt`` are those of what begins.
    ``stopping``: the run was asked to end, and gives the running ``stages`` a moment.
    """

    kind: Literal["planned", "started", "progress", "retried", "finished", "damaged", "stopping"]
    stage: Stage | None = None
    stages: Sequence[Stage] = ()
    behind: Mapping[str, float] = field(default_factory=dict)
    cells: int = 0
    total: int = 0
    result: StageResult | None = None
    message: str = ""
    share: float = 0.0
    batch: int | None = None
    attempt: int = 1
    worker: str = ""
