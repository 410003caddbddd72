"""How the kit calls attacks: with uploads of a simple client, and if they learn, with those of further people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.api.attack import Attack
from bench.api.context import Capabilities, Context, Sent
from bench.api.types import Received
from bench.core.errors import CapabilityError, ContractError
from bench.kit import world
from bench.kit.findings import NotAskedError
from bench.kit.trials import LEARNT_FROM, Rows, Trial, coarser
from bench.registry.components import build_component
from bench.registry.discovery import discover
from bench.stages import contracts
from bench.stages.comparison import Results
from bench.stages.received import LearningExamples, SeveralUploads
from bench.stages.stage_inputs import StoredFaces
from bench.stages.stored import quantised

_REPRESENTATION = 48  # numbers of the representation that the client sends


class KitUploads:
    """What the simple client sends of some faces, in the part of `SeveralUploads` that learning uses."""

    def __init__(self, trial: AttackTrial, faces: StoredFaces) -> None:
        self.trial = trial
        self.sent = coarser(faces.images)
        self.each = trial.plugin.uploads

    def received(self, rows: Any) -> Received:
        """Return what is received of some rows, further uploads included."""
        first, *further = (self.upload(rows, number) for number in range(self.each))
        return Received(
            images=first.images,
            features=first.features,
            representation=first.representation,
            further=tuple(further),
        )

    def upload(self, rows: Any, number: int, *, images: bool = True) -> Received:
        """Return one upload of some rows; further ones are a little darker."""
        trial = self.trial
        sent = world.floats(self.sent[rows]) * (1 - 0.02 * number)
        pixels = trial.lend("the uploaded images", (sent * 255).round() / 255)
        features: dict[str, torch.Tensor] = {}
        if trial.splits:
            with torch.no_grad():
                maps = trial.model.features(pixels, trial.splits)
            features = dict(zip(trial.splits, maps, strict=True))
        representation: dict[str, torch.Tensor] = {}
        if "representation" in trial.plugin.sees:
            representation["codes"] = torch.nn.functional.adaptive_avg_pool2d(pixels, 4).flatten(1)
        for name, held in {**features, **representation}.items():
            trial.lend(f"the received {name}", held)
        return Received(
            images=pixels if trial.gets_images else None,
            features=Sent(features, "features", trial.where),
            representation=Sent(representation, "representation", trial.where),
        )


class AttackTrial(Trial):
    """An attack on the uploads of a client that sends coarse images, or features of the tiny model where the attack
    works on nothing else."""

    kind = "attack"
    strict = False

    def __init__(self, plugin: Attack, label: str) -> None:
        super().__init__(plugin, label)
        self.plugin: Attack = plugin
        self.learns = plugin.trains_on != "nothing"
        self.model = world.network()
        self.splits: tuple[str, ...] = ()
        self.uploaded: tuple[str, ...] = ()
        available = tuple(world.SPLITS)
        if plugin.sees & {"features", "shallow_weights"}:
            try:
                self.splits = tuple(plugin.splits_knowing(available, (), ()))
            except ValueError:  # It may work where features are uploaded.
                self.uploaded = available[-1:]
                self.splits = self._splits_of_uploads()
        only = plugin.sees & {"images", "features", "representation"} == {"representation"}
        self.gets_images = not self.uploaded and not only
        self.queried = 0
        self.uploads = KitUploads(self, self.faces)

    def _splits_of_uploads(self) -> tuple[str, ...]:
        try:
            return tuple(self.plugin.splits_knowing(self.uploaded, self.uploaded, ()))
        except ValueError as error:
            raise NotAskedError(f"it cannot work with the tiny model of the kit: {error}") from None

    def networks(self) -> Mapping[str, nn.Module]:
        """Return the authorised model, of which evaluated networks are copies."""
        return {"the authorised model": self.model}

    def _capabilities(self) -> Capabilities:
        plugin = self.plugin
        adapts = plugin.outputs in ("recognition", "links") or "recogniser" in plugin.sees
        known = plugin.sees & {"shallow_weights", "full_model", "features"}
        queries = "defense" in plugin.sees and "queries" in plugin.budget()
        return Capabilities.of_attack(
            plugin.sees,
            {world.MODEL: (self.model, tuple(world.SPLITS))} if known else {},
            uploaded=self.uploaded,
            image_size=world.SIZE,
            evaluated=(lambda: world.to_adapt(self.model)) if adapts else None,
            queries=self._query if queries else None,
        )

    def _query(self, images: torch.Tensor, subjects: torch.Tensor | None = None) -> Received:
        chosen = contracts.checked_query(images, (3, *world.SIZE), self.where)
        most = int(self.plugin.budget()["queries"])
        self.queried += len(chosen)
        if self.queried > most:
            raise CapabilityError(
                f"{self.where} requested {self.queried} protected images; its budget() names {most} queries"
            )
        return Received(images=world.floats(coarser(quantised(chosen))))

    def fit(self) -> Mapping[str, torch.Tensor]:
        """Let the attack, or the one that trains it, learn from the uploads of other people: of no more faces than its
        budget names, as in a run."""
        learner, other = self.plugin, self.plugin.trained_as()
        if other is not None:
            params = {name: value for name, value in other.items() if name != "plugin"}
            where = f"{self.where}: trained_as()"
            learner = build_component("attack", str(other["plugin"]), params, where, discover())
        self.queried = 0
        people = min(LEARNT_FROM, max(2, int(learner.budget().get("faces", 2 * LEARNT_FROM)) // 2))
        faces = world.faces(people, first=100)
        examples = LearningExamples(
            faces,
            cast(SeveralUploads, KitUploads(self, faces)),
            with_images=self.gets_images,
            labelled="labels" in learner.sees or learner.outputs == "images",
            plugin=self.where,
        )
        return learner.fit(examples, self._context(list(faces.sample_ids)))

    def _context(self, ids: list[str]) -> Context:
        return world.context(self.where, self._capabilities(), sample_ids=ids, state=self.state)

    def results(self, rows: Rows) -> Results:
        """Return what the attack makes of the uploads at these rows."""
        plugin, received = self.plugin, self.uploads.received(rows)
        ctx = self._context(self.ids(rows))
        if plugin.outputs == "images":
            made = contracts.reconstruct_checked(plugin, received, (3, *world.SIZE), ctx)
            return {"images": quantised(made.images)}
        if plugin.outputs == "links":
            partner = self.uploads.received((rows + 1) % self.n)
            return {"links": contracts.link_checked(plugin, received, partner, ctx)}
        if plugin.outputs == "attributes":
            works_on_uploads = self.learns or plugin.sees & {"features", "representation", "uploads", "recogniser"}
            ctx.upload = received if works_on_uploads else None
            return dict(contracts.estimate_checked(plugin, received.images, ctx, n=len(rows)))
        originals = self.lend("the clean images", world.floats(self.faces.images[rows]))
        embedded = contracts.embed_checked(plugin, received, ctx)
        enrolled = contracts.enrol_checked(plugin, originals, self._context(self.ids(rows)))
        if embedded.shape != enrolled.shape:
            raise ContractError(
                f"{self.where}: embed() and enrol() must return embeddings of one length, got "
                f"{embedded.shape[1]} and {enrolled.shape[1]}"
            )
        return {"embeddings of uploads": _plain(embedded), "embeddings of clean images": _plain(enrolled)}


def _plain(embeddings: torch.Tensor) -> NDArray[Any]:
    return np.asarray(embeddings.numpy())
