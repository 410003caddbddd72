"""What is tried of each kind of component on one face, and what is said about it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.api.defense import Defense
from bench.api.metric import Metric
from bench.core.domain import Kind
from bench.core.errors import PluginError, SuiteError, did_you_mean
from bench.core.text import shortened
from bench.engine.seeds import seed_streams
from bench.metrics.images import psnr, ssim
from bench.registry import discovery
from bench.registry.discovery import Registry
from bench.runs.trial.adversary import attacked
from bench.runs.trial.client import protect_key, send
from bench.runs.trial.faces import Pixels, TriedFace, bundled_face, picture_face
from bench.runs.trial.judges import JudgedFace, cosine, judged, threshold_of
from bench.runs.trial.panel import difference
from bench.runs.trial.setting import TrialSetting, called, check_parameters, in_suite, make_setting
from bench.stages import contracts
from bench.stages.stage_inputs import build
from bench.stages.undeclared import observed

KINDS: tuple[Kind, ...] = ("defense", "attack", "model", "metric")
_ELSEWHERE: Mapping[str, str] = {
    "dataset": "a data set has no single face to be tried on; check it with: bench data verify {}",
    "training_set": "a training set is learnt from, and tried on no face; see: bench data status",
}


@dataclass(frozen=True, kw_only=True)
class TrialRequest:
    """What the command line asks for: a component, the defense before an attack or metric, the picture, the seed."""

    table: Mapping[str, Any]
    defense: Mapping[str, Any]
    picture: Path | None = None
    seed: int = 0
    device: str = "cpu"
    trust: bool = False


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What a trial found: what was compared, what each judge says, further sentences, and pictures by name.

    ``measure`` is the command that measures what one face cannot show, and ``fmr`` the false match rate that judges
    allow at most on the pairs on which they set their thresholds.
    """

    face: TriedFace
    measure: str
    fmr: float
    compared: str = ""
    judgements: Sequence[JudgedFace] = ()
    lines: Sequence[str] = ()
    pictures: Mapping[str, Pixels] = field(default_factory=dict)


def kind_of(name: str, registry: Registry, where: str) -> Kind:
    """Return the kind of the component with this name. Raise an error if nothing has it, or nothing that can be tried
    on one face."""
    known = {*registry.components, *registry.conflicts}
    for kind in KINDS:
        if (kind, name) in known:
            return kind
    for other, words in _ELSEWHERE.items():
        if (other, name) in known:
            raise SuiteError(f"{where}: expected a defense, an attack, a model or a metric; {words.format(name)}")
    names = sorted({known_name for kind, known_name in known if kind in KINDS})
    lines = [f"{where}: expected the name of a defense, an attack, a model or a metric; {did_you_mean(name, names)}"]
    broken = [plugin for plugin in registry.plugins if plugin.reason]
    lines += [f"  note: plugin {p.name!r} ({p.distribution}) could not be loaded: {p.reason}" for p in broken]
    raise PluginError("\n".join(lines))


def try_component(request: TrialRequest, note: Callable[[str], None]) -> Tried:
    """Try the requested component on one face. Exceptions of its own code are raised as they are."""
    registry = discovery.discover()
    name = str(request.table["plugin"])
    where = f"bench try {name}"
    kind = kind_of(name, registry, where)
    instance = check_parameters(kind, request.table, registry, where)
    components: dict[Kind, Mapping[str, Any]] = {kind: request.table}
    defense = instance
    if kind in ("attack", "metric"):
        components["defense"] = request.defense
        defense = check_parameters("defense", request.defense, registry, f"--defense {request.defense['plugin']}")
    setting = make_setting(
        components,
        registry,
        where=where,
        seed=request.seed,
        device=request.device,
        features=isinstance(defense, Defense) and defense.sends == frozenset({"feature"}),
        trust=request.trust,
        note=note,
    )
    face = bundled_face(setting)
    if request.picture is not None:
        if kind == "model":
            raise SuiteError(f"{where}: a model compares two pictures; expected no picture, found {request.picture}")
        face = picture_face(request.picture, face.pixels.shape[1:])
    tried: Mapping[str, Callable[[TrialSetting, TriedFace, TrialRequest], Tried]] = {
        "defense": _try_defense,
        "attack": _try_attack,
        "model": _try_model,
        "metric": _try_metric,
    }
    return tried[kind](setting, face, request)


# ---- a defense -------------------------------------------------------------------------------------------------------


def _try_defense(setting: TrialSetting, face: TriedFace, request: TrialRequest) -> Tried:
    sent = send(setting, protect_key(setting, setting.cells[0]), face)
    lines = [f"{name}: {value:.4g} (returned by the defense)" for name, value in sent.extra.items()]
    lines.append(f"the call of protect() took {sent.seconds:.2g} s, with what a first call loads")
    measure = f"bench run standard --defense {shlex.quote(called(request.table))}"
    if sent.pixels is None:
        names = (f"{name} {held.shape[1:]}" for name, held in sent.held.tensors.items())
        lines.insert(0, f"no picture leaves the client, but {', '.join(names)}; models have no picture to compare")
        return Tried(face=face, measure=measure, fmr=setting.fmr, lines=lines)
    return Tried(
        face=face,
        fmr=setting.fmr,
        compared="the original and the protected picture",
        measure=measure,
        judgements=judged(setting, face.pixels, sent.pixels),
        lines=[_similarity(face.pixels, sent.pixels), *lines],
        pictures={
            "original": face.pixels,
            "protected": sent.pixels,
            "difference": difference(face.pixels, sent.pixels),
        },
    )


def _similarity(original: Pixels, other: Pixels) -> str:
    noise = float(psnr(original[None], other[None])[0])
    words = "infinite: the pictures are equal" if np.isinf(noise) else f"{noise:.1f} dB"
    return f"SSIM {float(ssim(original[None], other[None])[0]):.3f}, PSNR {words}"


# ---- an attack, a model, a metric ------------------------------------------------------------------------------------


def _with_suite(axis: str, request: TrialRequest) -> str:
    """Return the command that measures a component that only a suite can name."""
    return (
        f"bench run SUITE, with {axis} = [{in_suite(request.table)}] in an experiment of the suite; bench new writes "
        "one beside a plugin (suite.toml), bench init DIR another to begin with"
    )


def _try_attack(setting: TrialSetting, face: TriedFace, request: TrialRequest) -> Tried:
    found = attacked(setting, face)
    lines = [f"the face was protected by {shortened(called(request.defense))}", *found.lines]
    if (picture := found.pictures.get("reconstructed")) is not None:
        lines.append(f"original and reconstructed picture: {_similarity(face.pixels, picture)}")
    return Tried(
        face=face,
        compared=found.compared,
        measure=_with_suite("attacks", request),
        fmr=setting.fmr,
        judgements=found.judgements,
        lines=lines,
        pictures=found.pictures,
    )


def _try_model(setting: TrialSetting, face: TriedFace, request: TrialRequest) -> Tried:
    assert face.another is not None
    assert face.stranger is not None
    (cell,) = setting.cells
    assert cell.evaluated is not None
    threshold = threshold_of(setting, cell)
    job = setting.job(setting.score(cell).key, "calibration")
    others = {"one person": face.another, "different people": face.stranger}
    found = [
        JudgedFace(
            judge=cell.evaluated.label,
            role=f"two pictures of {who}",
            cosine=cosine(job, cell.evaluated, face.pixels, other.pixels),
            threshold=threshold,
        )
        for who, other in others.items()
    ]
    return Tried(
        face=face,
        compared="two pictures, as they are",
        measure=_with_suite("evaluated", request),
        fmr=setting.fmr,
        judgements=found,
        pictures={"original": face.pixels, **{who: other.pixels for who, other in others.items()}},
    )


def _try_metric(setting: TrialSetting, face: TriedFace, request: TrialRequest) -> Tried:
    cell = setting.cells[0]
    sent = send(setting, protect_key(setting, cell), face)
    stage = next(stage for stage in map(setting.stage, cell.stages) if stage.options["metric"] == "metrics")
    job = setting.job(stage.key, "nothing")
    component = job.component("metric")
    metric: Metric = build(component)
    if not metric.defines("compute"):
        raise SuiteError(f"bench try {component.label}: the metric is one of whole sets; one face is no set")
    protected_by = shortened(called(request.defense))
    if sent.pixels is None:
        raise SuiteError(f"--defense {protected_by}: sends no picture for {component.label}; name another")
    ctx = job.context(f"metric {component.label}")
    seed_streams(stage.seed)
    with observed(component, metric, job.cache.root):
        original, other = job.to_float(face.pixels[None]), job.to_float(sent.pixels[None])
        value = float(contracts.compute_checked(metric, original, other, ctx)[0])
    return Tried(
        face=face,
        measure=_with_suite("metrics", request),
        fmr=setting.fmr,
        lines=[
            f"{component.label} of a face that {protected_by} protected, beside the original: {value:.4g}",
            _similarity(face.pixels, sent.pixels),
        ],
        pictures={"original": face.pixels, "protected": sent.pixels},
    )
