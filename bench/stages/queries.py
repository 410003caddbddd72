"""The defense as an oracle: an attack that knows it has images of its choice protected while it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from bench.api.defense import Defense
from bench.api.types import Received
from bench.core.errors import CapabilityError
from bench.stages import contracts
from bench.stages.stage_inputs import Job, Uploads, build, defense_capabilities, of_batch, read_state
from bench.stages.stored import quantised, to_store
from bench.stages.undeclared import observed
from bench.store.artifacts import Artifact


class Queries:
    """Protects images of an attack's choice with the defense of the client, up to the number that the stage names.

    ``shape`` is ``(3, h, w)`` of the images, ``plugin`` names the attack in messages.
    """

    def __init__(self, job: Job, shape: tuple[int, ...], plugin: str) -> None:
        self.job = job
        self.shape = shape
        self.plugin = plugin
        self.component = job.component("defense")
        self.defense: Defense = build(self.component)
        self.uploaded: tuple[str, ...] = tuple(job.stage.options["uploaded"])
        known = defense_capabilities(job, self.defense, "protected_for")
        self.capabilities = replace(known, uploaded=self.uploaded)
        self.state = read_state(job, "defense_state")
        self.most: int = job.stage.options["queries"]
        self.made = 0

    def __call__(self, images: torch.Tensor, subjects: torch.Tensor | None = None) -> Received:
        """Return what is received if these images are protected.

        Raise `CapabilityError` if this is more than the budget, or if the defense needs to know who is shown, and
        `ContractError` for images of another shape or range.
        """
        chosen = contracts.checked_query(images, self.shape, self.plugin)
        if self.made + len(chosen) > self.most:
            raise CapabilityError(
                f"{self.plugin} requested {self.made + len(chosen)} protected images; its budget() names {self.most} "
                "queries"
            )
        if subjects is None and self.defense.needs & {"subjects", "key", "enrolment"}:
            raise CapabilityError(
                f"{self.plugin} requested protected images; {self.component.label} must know whom they show: "
                "pass subjects"
            )
        ids = [f"query/{self.made + i}" for i in range(len(chosen))]
        self.made += len(chosen)
        held = Artifact(tensors=self._protected(chosen, subjects, ids))
        options = self.job.stage.options
        victims = self.job.stage.components.get("authorised", ())
        uploads = Uploads(self.job, held, victims[0] if options["splits"] else None, options["splits"])
        return uploads.received(slice(None), images=not self.uploaded)

    def _protected(
        self, images: torch.Tensor, subjects: torch.Tensor | None, ids: list[str]
    ) -> dict[str, contracts.Array]:
        """Return what leaves the client as it would be stored; the images are 8-bit photos before they are protected,
        too."""
        capabilities = self.capabilities
        if subjects is not None:
            capabilities = of_batch(self.job, capabilities, subjects.cpu().numpy().astype(np.int64))
        plugin = f"defense {self.component.label}"
        ctx = self.job.context(plugin, capabilities, state=self.state, sample_ids=ids)
        ctx.on_progress = None  # It is the attack that reports the progress of the stage.
        shapes = dict(build(self.job.stage.components["authorised"][0]).splits) if self.uploaded else {}
        photos = self.job.to_float(quantised(images))
        with torch.enable_grad(), observed(self.component, self.defense, self.job.cache.root):
            return to_store(contracts.protect_checked(self.defense, photos, ctx, shapes), self.uploaded)
