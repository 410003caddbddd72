"""The domain types: frozen dataclasses that the packages of bench exchange. No torch.

A *component* is a plugin with its parameters. A suite is planned as *cells*, the points of its experiments, and as a
graph of *stages*, the units of work whose artifacts answer the cells. A `StageResult` says how a stage ended, an
`Outcome` how a cell ended.

Arrays are numpy arrays. Stored images are RGB, channels first, ``uint8`` in [0, 255]: what leaves a client is an 8-bit
image, so everything after it (recognition, attacks, metrics) works on the quantised image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["dataset", "model", "defense", "attack", "metric"]
DataMode = Literal["auto", "real", "stand-in"]
Status = Literal["ok", "skipped", "failed", "timeout", "queued"]
# What a component is to a stage. ``via`` is the attack whose reconstructions the stage's own attack works on,
# ``scored`` the data set whose scored people are left out of auxiliary faces, and ``protected_for`` are the authorised
# models of the defense that an attack queries.
ComponentRole = Literal[
    "dataset", "model", "defense", "authorised", "surrogates", "attack", "via", "scored", "protected_for", "metric"
]  # in a stage
CellRole = Literal[
    "dataset", "authorised", "surrogates", "evaluated", "defense", "attack", "via", "auxiliary", "metric"
]  # in cells
# What a defense is for, which decides what counts as its utility (see `bench.api.defense.Defense`).
Goal = Literal["recognition", "appearance", "anonymity", "template"]
# What the tester must find of a defense whose answer is known (see `bench.api.defense.Defense`).
Control = Literal["leaks", "safe", "learnable"]
Side = Literal["probe", "gallery", "both"]  # which pictures of a pair are protected: the left, the right, both
# What an attack recovers of a person: the kind of leak that it looks for.
Channel = Literal["recognition", "reconstruction", "attributes", "linkage"]
CHANNELS: Mapping[str, Channel] = {
    "recognition": "recognition",
    "images": "reconstruction",
    "attributes": "attributes",
    "links": "linkage",
}  # by what an attack outputs
# What an adversary may know, from the weakest to the strongest; cells record the index.
KNOWLEDGE = (
    "the upload alone",
    "several uploads",
    "the public shallow model",
    "faces of other people, unprotected",
    "faces of other people, protected",
    "the full model of the service",
)
MAX_REPEATS = 1000  # of an experiment
StageKind = Literal["faces", "embed", "fit_defense", "protect", "fit_attack", "attack", "score"]


def channel(outputs: str) -> Channel:
    """Return the channel of an attack from what it outputs: ``images`` belong to ``reconstruction``, ``links`` to
    ``linkage``; the other two have their own names. Raise KeyError for any other text."""
    return CHANNELS[outputs]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a plugin comes from: its distribution, version, package folder, and the digest of its sources.

    ``libraries`` are the further packages whose code decides its results, by name: the version of a published package,
    the digest of the source of any other (see `bench.registry.sources`).
    """

    distribution: str
    version: str
    package: str
    digest: str
    libraries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Component:
    """A plugin together with its parameters, as an entry of a suite names it.

    ``==`` compares identity. To find out whether two components mean the same, compare their digests (see
    `bench.core.content_keys`).

    - ``kind``, ``name``: the kind of plugin, and the name under which it is registered
    - ``label``: the name that rows and reports show
    - ``params``: all parameters, with defaults filled in; ``passed``: only those that the suite sets
    - ``origin``: the distribution and source code of the plugin
    - ``weights``: the digest of what the component reads: the weights of a model, the files of a data set, or the
      files and programs that a defense, an attack or a metric declares; None if it reads nothing
    - ``via``: for an attack that works on reconstructed images, the attack that reconstructs them; otherwise None
    - ``on_stand_ins``: for a defense, the same defense with the parameters that apply when it protects for models
      trained on synthetic faces; None if the suite sets no such parameters
    - ``instead_of``: for a stand-in, the label of the component that the suite names; otherwise None
    - ``because``: for a stand-in, the reason why it is used; otherwise None
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
    """One point of an experiment: one combination of its axes, which gets one result.

    - ``id``: the first 16 hexadecimal digits of a digest of everything that identifies the cell
    - ``suite_version``: the version of the suite; None if it has none
    - ``experiment``: the name of its experiment; ``table``: the table of the paper that it belongs to, or None
    - ``dataset``: the source of its faces
    - ``authorised``: the models that the client authorises; empty if the cell does not depend on any
    - ``surrogates``: the models that the client uses in place of an unknown enemy; empty if the defense needs none
    - ``defense``: what protects the faces; ``attack``: what the adversary does with the upload
    - ``evaluated``: the model that recognises faces in what the attack returns; None if no model is evaluated
    - ``repeat``: the number of the repetition, from 0; each has seeds of its own
    - ``pairs``: the number of verification pairs
    - ``kappa``: the fixed threshold of the experiment
    - ``threat``: what the adversary knows, as a sentence for the report
    - ``upload``: what leaves the client, as text: ``images``, or ``features at`` and the names of the split points
    - ``splits``: the split points whose features leave the client; empty if images do
    - ``goal``: what the defense is for, which decides what counts as its utility
    - ``protects``: which pictures of a pair are protected: ``probe``, ``gallery`` or ``both``
    - ``bound``: the formal guarantee of the defense as JSON; None if it gives none
    - ``control``: what the tester must find if the defense is a control; None if it is a protection to be judged
    - ``outputs``: what the attack returns: ``recognition``, ``images``, ``attributes`` or ``links``
    - ``embeds``: True if the attack embeds pictures itself; False if the evaluated model does, as it is
    - ``adapts``: True if it embeds with what it has learnt, so that the evaluated model is only where it began
    - ``insider``: True if the attack uses the whole authorised models: it is the authorised service itself
    - ``budget``: what the attack may spend, as JSON by name (see `bench.api.attack.Attack.budget`); None if it says
      nothing
    - ``knowledge``: how much the adversary knows, an index of `KNOWLEDGE`; None if an older version of
      bench planned the cell
    - ``leaky``: True if the attack was trained on the evaluated faces themselves
    - ``learner_overlap``: whether the people from whom the defense and the attack learn are scored, as text (see
      `bench.planning.learners`); None if nothing learns from auxiliary faces
    - ``training_overlap``: whether the people on whom the networks were trained are scored, as text; None if these
      people are not known
    - ``adversary_threshold``: the people on whose pictures the adversary sets his threshold: the ``scored`` ones, or
      those of the ``calibration`` split; None if he needs no threshold
    - ``threshold_note``: why these are not the people whom the experiment names, or how little the threshold rests on;
      None if there is nothing to say
    - ``skip``: the reason why this combination makes no sense, so that it is not computed; None if it is computed
    - ``stages``: the keys of the score stages whose rows are the result of the cell
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
    suite_version: str | None = None
    upload: str = "images"
    splits: tuple[str, ...] = ()
    surrogates: tuple[Component, ...] = ()
    goal: Goal = "recognition"
    protects: Side = "probe"
    bound: str | None = None
    control: Control | None = None
    outputs: str = "recognition"
    embeds: bool = False
    adapts: bool = False
    insider: bool = False
    budget: str | None = None
    knowledge: int | None = None
    leaky: bool = False
    learner_overlap: str | None = None
    training_overlap: str | None = None
    adversary_threshold: str | None = None
    threshold_note: str | None = None
    skip: str | None = None
    stages: tuple[str, ...] = ()

    @property
    def components(self) -> tuple[Component, ...]:
        """All components that take part in the cell."""
        return tuple(component for _, component in self.roles)

    @property
    def roles(self) -> tuple[tuple[CellRole, Component], ...]:
        """All components that take part in the cell, each with its role; a component with two roles is listed twice."""
        parts: tuple[tuple[CellRole, Component | None], ...] = (
            ("dataset", self.dataset),
            *(("authorised", model) for model in self.authorised),
            *(("surrogates", model) for model in self.surrogates),
            ("defense", self.defense),
            ("attack", self.attack),
            ("evaluated", self.evaluated),
            ("via", self.attack.via),
        )
        return tuple((role, component) for role, component in parts if component is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One unit of work in the stage graph; it computes one artifact.

    - ``kind``: what it does: load faces, embed images, fit a defense or an attack, protect, attack, or score
    - ``name``: a description for people
    - ``key``: the content key (see `bench.planning.graph`); stages with the same key have the same artifact
    - ``components``: the plugins that it runs, by role (``dataset``, ``defense``, ``authorised`` ...)
    - ``options``: the settings of the stage itself, such as batch size, dtype and device
    - ``inputs``: the keys of the stages whose artifacts it reads, by role (``faces``, ``protected`` ...)
    - ``seed``: the seed of its random streams
    - ``units``: the number of samples that it processes
    - ``declared``: the seconds on one core for all samples that follow from what plugins declare
    - ``cost``: the estimated seconds: the declared ones, corrected by what earlier stages of this name took
    - ``cost_name``: the name under which that correction is kept for later estimates
    - ``size``: the estimated size of the artifact in bytes
    - ``time_limit_s``: the seconds after which it is ended
    - ``memory_limit_mb``: the memory in MB beyond which it is ended; None for 90 % of the memory of the machine
    """

    kind: StageKind
    name: str
    key: str
    components: Mapping[ComponentRole, tuple[Component, ...]]
    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    seed: int
    units: int
    declared: float
    cost: float
    cost_name: str
    size: int
    time_limit_s: float = 3600.0
    memory_limit_mb: float | None = None

    @property
    def attacks(self) -> bool:
        """True if an attack works in it: on what was sent, or on clean pictures in the same way."""
        return self.kind == "attack" or (self.kind == "embed" and "attack" in self.components)


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """How one stage ended.

    - ``key``: the content key of the stage; ``status``: how it ended
    - ``cached``: True if the artifact existed before this run
    - ``seconds``, ``peak_mb``: duration and peak memory of the computation, even if an earlier run did it
    - ``device``: the device type on which it was computed
    - ``reason``, ``traceback``, ``log``: for a stage that failed, a sentence, the traceback and what it had printed
    - ``failed_stage``: for a stage that failed, the key of the stage that failed by itself: this one, or one before it
    - ``batch``: the batch size that was used, if there was not enough memory for the planned one; otherwise None
    - ``attempts``: how many times the stage was started
    - ``client_flops``, ``client_seconds``: for a stage that protects, what a single face costs the client: the number
      of floating-point operations in convolutions and matrix products, and the seconds on the device of the stage
      (processor time on a CPU)
    - ``client_reason``: why these two are unknown, if they could not be measured
    - ``checked``: for a stage that protects, or in which an attack works on what was sent, how many faces were
      processed again to check it; None if it was not checked
    - ``unstable``: what differed then, in words; None if nothing did
    """

    key: str
    status: Status
    cached: bool
    seconds: float
    peak_mb: float
    device: str
    reason: str | None = None
    failed_stage: str | None = None
    traceback: str | None = None
    log: str = ""
    batch: int | None = None
    attempts: int = 1
    client_flops: int | None = None
    client_seconds: float | None = None
    client_reason: str | None = None
    checked: int | None = None
    unstable: str | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened during a run, for the journal and for progress displays.

    ``planned`` describes the work before it begins: ``cells`` and ``total`` are the numbers of cells and stages in the
    plan, and ``stages`` are the stages that must be computed. ``path_seconds`` maps the key of each of these stages to
    the estimated seconds of the longest path from its beginning to the end of the graph.

    Each of the following events is about one ``stage``:

    - ``started``: an attempt begins; ``attempt`` is its number, ``batch`` its batch size if it is not the planned one
    - ``progress``: the fraction ``share`` is done, as the process ``worker`` (``host:pid``) reports
    - ``retried``: an attempt has failed for the reason in ``message``; ``attempt`` and ``batch`` are those of the next
    - ``finished``: the stage has its final ``result``, from the process ``worker``
    - ``damaged``: its artifact does not match its checksums and is computed again; ``message`` gives details

    ``stopping``: the user has interrupted the run; the running ``stages`` get a few seconds to finish.
    """

    kind: Literal["planned", "started", "progress", "retried", "finished", "damaged", "stopping"]
    stage: Stage | None = None
    stages: Sequence[Stage] = ()
    path_seconds: Mapping[str, float] = field(default_factory=dict)
    cells: int = 0
    total: int = 0
    result: StageResult | None = None
    message: str = ""
    share: float = 0.0
    batch: int | None = None
    attempt: int = 1
    worker: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one cell ended; it becomes one row of ``cells.parquet``.

    - ``cell``: the cell; ``device``: the device type of the run
    - ``status``: ``queued`` while the run has not computed all of its stages
    - ``reason``: why the cell was skipped or failed; None if it succeeded
    - ``failed_stage``: the key of the stage that failed by itself, because of which the cell failed; otherwise None
    - ``seconds``, ``peak_mb``: the total duration and the peak memory of all stages that the cell depends on; None if
      none of them has a result
    - ``cached``: True if all these stages had been computed by earlier runs
    - ``traceback``, ``log``: of the stage that failed: the traceback, and what it had printed
    - ``batch``: the smallest batch size that any of these stages had to be reduced to for lack of memory; None if all
      were computed as planned
    - ``protect``: the keys of the stages in which the client of the cell protects its faces
    - ``attacks``: the keys of the stages in which the attacks of the cell work
    """

    cell: Cell
    status: Status
    reason: str | None
    seconds: float | None
    peak_mb: float | None
    cached: bool
    device: str
    failed_stage: str | None = None
    traceback: str | None = None
    log: str = ""
    batch: int | None = None
    protect: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
