"""An attack in a trial: what it makes of one face that a defense has protected.

What an attack learns first is learnt as in a run, from the auxiliary faces of the data set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from bench.api.attack import Attack
from bench.api.context import Context
from bench.core.domain import Cell, Stage
from bench.core.errors import DataError
from bench.engine.seeds import seed_streams
from bench.runs.trial.client import SentFace, as_it_is, protect_key, received, send
from bench.runs.trial.faces import Pixels, TriedFace
from bench.runs.trial.judges import JudgedFace, cosine_of, judged, role_of, threshold_of
from bench.runs.trial.setting import TrialSetting
from bench.stages import contracts
from bench.stages.stage_inputs import attack_capabilities, build, read_state
from bench.stages.stored import quantised
from bench.stages.undeclared import observed


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """What an attack made of an upload: what judges compare, what they say, sentences, and pictures by name."""

    compared: str = ""
    judgements: Sequence[JudgedFace] = ()
    lines: Sequence[str] = ()
    pictures: Mapping[str, Pixels] = field(default_factory=dict)


def attacked(setting: TrialSetting, face: TriedFace) -> Attacked:
    """Let the attack of the setting work on what the defense of the setting makes of a face."""
    cells = [cell for cell in setting.cells if cell.evaluated is not None and role_of(setting, cell) == "held out"]
    cell = (cells or setting.cells)[0]  # What learns with a model learns with one of them.
    sent = send(setting, protect_key(setting, cell), face)
    outputs: Mapping[str, Callable[[TrialSetting, Cell, TriedFace, SentFace], Attacked]] = {
        "images": _reconstructed,
        "attributes": _estimated,
        "recognition": _recognised,
        "links": _linked,
    }
    found = outputs[_attack_of(cell).outputs](setting, cell, face, sent)
    shown = {"original": face.pixels} | ({} if sent.pixels is None else {"received": sent.pixels})
    return Attacked(**{**vars(found), "pictures": {**shown, **found.pictures}})


def _attack_of(cell: Cell) -> Attack:
    assert cell.attack is not None
    attack: Attack = build(cell.attack)
    return attack


class _Call:
    """One call of the attack of a stage on uploads: its job and the context."""

    def __init__(self, setting: TrialSetting, stage: Stage, face: TriedFace, *sample_ids: str) -> None:
        self.job = setting.job(stage.key, "state")
        component = self.job.component("attack")
        self.attack: Attack = build(component)
        self.ctx: Context = self.job.context(
            f"attack {component.label}",
            attack_capabilities(self.job, self.attack, face.pixels[None]),
            state=read_state(self.job),
            sample_ids=sample_ids or [face.sample_id],
        )
        self._observed = observed(component, self.attack, self.job.cache.root)
        seed_streams(stage.seed)

    def __enter__(self) -> _Call:
        self._observed.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._observed.__exit__(*error)  # type: ignore[arg-type]


def _uploads(setting: TrialSetting, stage: Stage, face: TriedFace, first: SentFace) -> list[SentFace]:
    """Return all uploads of a face that the attack of a stage receives; ``first`` is the first one."""
    count = stage.options.get("uploads", 1)
    if stage.options.get("uploads_of") == "person" and count > 1:
        label = stage.components["attack"][0].label
        raise DataError(f"{label} receives uploads of {count} photos of a person; it cannot be tried on one face")
    keys = [stage.inputs[f"further {j}"] for j in range(1, count)]
    return [first, *(send(setting, key, face) for key in keys)]


def _reconstructed(setting: TrialSetting, cell: Cell, face: TriedFace, sent: SentFace) -> Attacked:
    """Reconstruct a picture from the upload."""
    embedded = setting.stage(setting.score(cell).inputs["protected"])
    stage = setting.stage(embedded.inputs["images"])
    uploads = _uploads(setting, stage, face, sent)
    with _Call(setting, stage, face) as call:
        made = contracts.reconstruct_checked(call.attack, received(call.job, uploads), face.pixels.shape, call.ctx)
    picture = quantised(made.images)[0]
    extra = [
        f"{name}: {float(values.flatten()[0]):.4g} (returned by the attack)" for name, values in made.extra.items()
    ]
    return Attacked(
        compared="the original and the reconstructed picture",
        judgements=judged(setting, face.pixels, picture),
        lines=extra,
        pictures={"reconstructed": picture},
    )


def _estimated(setting: TrialSetting, cell: Cell, face: TriedFace, sent: SentFace) -> Attacked:
    """Estimate attributes of the upload, and of the original if that can be uploaded as it is."""
    stage = setting.stage(setting.score(cell).inputs["received"])
    found = {"the upload": _estimate(setting, stage, face, _uploads(setting, stage, face, sent))}
    original = setting.score(cell).inputs.get("original")
    if original is not None:
        clean = [as_it_is(face)] * stage.options.get("uploads", 1)
        found = {"the original": _estimate(setting, setting.stage(original), face, clean), **found}
    classes = _attack_of(cell).classes()
    lines = [
        f"{name} of {what}: {_in_words(values[0], classes.get(name))}"
        for what, estimates in found.items()
        for name, values in estimates.items()
    ]
    return Attacked(lines=lines)


def _estimate(
    setting: TrialSetting, stage: Stage, face: TriedFace, uploads: Sequence[SentFace]
) -> dict[str, contracts.Array]:
    with _Call(setting, stage, face) as call:
        if "splits" not in stage.options:  # The attack looks at images only.
            pixels = uploads[0].pixels
            assert pixels is not None
            return contracts.estimate_checked(call.attack, call.job.to_float(pixels[None]), call.ctx)
        call.ctx.upload = received(call.job, uploads)
        return contracts.estimate_checked(call.attack, call.ctx.upload.images, call.ctx, n=1)


def _in_words(values: contracts.Array, names: Sequence[str] | None) -> str:
    if values.ndim == 0:
        return f"{float(values):.1f}"
    best = int(np.argmax(values))
    name = names[best] if names is not None and best < len(names) else f"class {best}"
    return f"{name} (score {float(values[best]):.2f}, the highest of {len(values)})"


def _recognised(setting: TrialSetting, cell: Cell, face: TriedFace, sent: SentFace) -> Attacked:
    """Recognise the upload: by the attack if it embeds itself, and otherwise by the models as they are."""
    compared = "the original and what is received"
    if not cell.embeds:
        judgements = [] if sent.pixels is None else judged(setting, face.pixels, sent.pixels)
        return Attacked(compared=compared, judgements=judgements)
    stage = setting.stage(setting.score(cell).inputs["protected"])
    uploads = _uploads(setting, stage, face, sent)
    with _Call(setting, stage, face) as call:
        found = contracts.embed_checked(call.attack, received(call.job, uploads), call.ctx)
    enrolled = setting.stage(setting.score(cell).inputs["clean"])
    with _Call(setting, enrolled, face) as call:
        own = contracts.enrol_checked(call.attack, call.job.to_float(face.pixels[None]), call.ctx)
    assert cell.evaluated is not None
    judgement = JudgedFace(
        judge=f"the attack with {cell.evaluated.label}",
        role=role_of(setting, cell),
        cosine=cosine_of(torch.cat([found, own])),
        threshold=threshold_of(setting, cell),
    )
    return Attacked(compared=compared, judgements=[judgement])


def _linked(setting: TrialSetting, cell: Cell, face: TriedFace, sent: SentFace) -> Attacked:
    """Link an upload with one of another picture of the person, and with one of somebody else."""
    if face.another is None or face.stranger is None:
        raise DataError(f"{face.words}: this attack links two pictures of a person; try it without a picture")
    stage = setting.stage(setting.score(cell).inputs["links"])
    lines = []
    for who, other in (("of the same person", face.another), ("of somebody else", face.stranger)):
        second = send(setting, stage.inputs["second"], other)
        with _Call(setting, stage, face, f"{face.sample_id}/{other.sample_id}") as call:
            pair = received(call.job, [sent]), received(call.job, [second])
            score = float(contracts.link_checked(call.attack, *pair, call.ctx)[0])
        lines.append(f"link score with an upload of another picture {who}: {score:.3f}")
    return Attacked(lines=lines)
