"""The stages of the adversary: it learns, reconstructs, embeds pictures, and links uploads. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from bench.api.attack import Attack
from bench.core.domain import Component, ComponentRole, Side
from bench.core.memoize import remembered
from bench.planning.adversaries import Adversaries
from bench.planning.graph import CALIBRATION_IMAGES, Graph, LearntFaces, forward_cost
from bench.planning.instances import Client, Splits
from bench.planning.learners import Learners
from bench.planning.shares import shares
from bench.planning.strangers import ENOUGH
from bench.suite.suite import Experiment

# The inputs of a stage that protects, as inputs of the stage of an attack that queries the defense.
_QUERIED = {"state": "defense_state", "targets": "targets", "enrolment": "enrolment"}


class AttackAndModel(NamedTuple):
    """The adversary of a cell: the attack, and the model that it may adapt; None if it has none."""

    attack: Component
    evaluated: Component | None


class ClientStages(Protocol):
    """The stages of the client, whose results the adversary gets."""

    def faces(self, client: Client) -> str: ...
    def shown_pairs(self, client: Client) -> int: ...
    def protect(
        self,
        client: Client,
        source: Component,
        faces: str,
        count: int,
        upload: int = 0,
        share: tuple[int, int] | None = None,
    ) -> str: ...
    def given(self, client: Client) -> Mapping[str, str]: ...
    def known(self, client: Client) -> tuple[Component, ...]: ...
    def probes(self, client: Client) -> int: ...
    def of_client(
        self, client: Client, models: tuple[Component, ...]
    ) -> dict[ComponentRole, tuple[Component, ...]]: ...


class AdversaryStages:
    """Adds the stages of adversaries of one experiment to the graph. Methods return keys of stages."""

    def __init__(
        self, experiment: Experiment, graph: Graph, splits: Splits, learners: Learners | None, client: ClientStages
    ) -> None:
        self.experiment = experiment
        self.graph = graph
        self.splits = splits
        self.learners = learners
        self.client = client
        self.instances = graph.instances
        self.adversaries = Adversaries(graph.instances)
        self.pairs = experiment.pairs

    # ---- what it may see -----------------------------------------------------------------------------------------

    def victims(self, client: Client, attack: Component) -> tuple[Component, ...]:
        """Return the authorised models that an attack works on; empty if it works on images only."""
        features = self.experiment.upload == "features" or self.instances.uses_features(attack)
        return client.authorised if features or self.instances.is_insider(attack) else ()

    def seen(self, client: Client, attack: Component) -> dict[str, Any]:
        """Return the options of an attack stage: the split points whose features the attack gets, and those that were
        uploaded."""
        uploaded = self.splits.uploaded(client.authorised)
        attacked = self.splits.attacked(client.authorised, attack, client.defense)
        found: dict[str, Any] = {"splits": attacked, "uploaded": uploaded}
        instance: Attack = self.instances.of(attack)
        if instance.uploads > 1:
            found |= {"uploads": instance.uploads, "uploads_of": instance.uploads_of}
        return found

    def further(self, client: Client, attack: Component, source: Component, faces: str, count: int) -> dict[str, str]:
        """Return the further inputs of a stage in which an attack receives several uploads of each of the ``count``
        protected ones of the stage ``faces`` of the data set ``source``; none if it receives one, or if they are other
        uploads of that stage."""
        instance: Attack = self.instances.of(attack)
        numbers = range(1, instance.uploads)
        if instance.uploads_of == "photo":
            return {f"further {j}": self.client.protect(client, source, faces, count, upload=j) for j in numbers}
        if instance.uploads == 1 or self.graph.split(faces) != "evaluation":
            return {}
        photos = self.graph.faces(source, "further", self.pairs)
        return {"further": self.client.protect(client, source, photos, self.pairs), "further_faces": photos}

    def further_of(self, client: Client, attack: Component) -> dict[str, str]:
        """Return what `further` returns for uploads of the faces of the client."""
        faces, count = self.client.faces(client), self.client.probes(client)
        return self.further(client, attack, client.dataset, faces, count)

    def state(self, client: Client, attacker: AttackAndModel) -> Mapping[str, str]:
        """Return the input ``state`` of the stages of an attack that learns; empty if it does not."""
        learns = self.instances.of(attacker.attack).trains_on != "nothing"
        return {"state": self.fit_attack(client, attacker)} if learns else {}

    def roles(self, client: Client, attacker: AttackAndModel) -> dict[ComponentRole, tuple[Component, ...]]:
        """Return the components of a stage of an attack, by role."""
        found: dict[ComponentRole, tuple[Component, ...]] = {
            "attack": (attacker.attack,),
            "authorised": self.victims(client, attacker.attack),
        }
        return found | ({"model": (attacker.evaluated,)} if attacker.evaluated else {})

    def named(self, attacker: AttackAndModel) -> str:
        """Return the label of an attack, with that of the model that it may adapt."""
        attack, evaluated = attacker
        return f"{attack.label} with {evaluated.label}" if evaluated else attack.label

    # ---- stages --------------------------------------------------------------------------------------------------

    @remembered
    def fit_attack(self, client: Client, attacker: AttackAndModel) -> str:
        """Add the stage in which an attack learns from uploads of auxiliary faces, clean or protected, or of the
        scored faces."""
        first = self.adversaries.trained_as(attacker.attack)
        attacker, attack = attacker._replace(attack=first), self.instances.of(first)
        source = self.experiment.auxiliary or client.dataset
        faces, learnt = self.client.faces(client._replace(people="scored")), LearntFaces()
        if attack.trains_on != "evaluated":
            learnt = self.learners.of_attack(client.dataset, client.defense) if self.learners else LearntFaces()
            learnt = learnt._replace(most=self.adversaries.most_faces(first))
            faces = self.graph.auxiliary(source, learnt)
        inputs, where = {"faces": faces}, self.graph.name(faces)
        if attack.trains_on == "defense":
            inputs |= self.learnt_uploads(client, first, source, faces, learnt)
            where = f"{where} protected by {client.defense.label}"
        roles, options = self.roles(client, attacker), self.seen(client, first)
        if queries := self.adversaries.queries(first):
            options["queries"] = queries
            known = self.client.of_client(client, self.client.known(client))
            roles |= {**known, "authorised": roles["authorised"], "protected_for": known["authorised"]}
            inputs |= {_QUERIED[role]: key for role, key in self.client.given(client).items()}
        names = "+".join(m.name for m in (*roles["authorised"], *roles.get("model", ())))
        return self.graph.stage(
            "fit_attack",
            f"{self.named(attacker)} learning from {where}",
            f"fit_attack:{first.name}:{first.label}",
            components=roles,
            options=options,
            inputs=inputs,
            seed=self.graph.seed("fit_attack", first.name, source.name, names, client.repeat),
            units=1,
            unit_cost=attack.fit_seconds(),
            size=20_000_000,
        )

    def learnt_uploads(
        self, client: Client, attack: Component, source: Component, faces: str, learnt: LearntFaces
    ) -> dict[str, str]:
        """Return the inputs of a stage in which an attack learns from protected auxiliary faces, those of the stage
        ``faces``: the uploads, in shares if the attack has a budget of faces, and further uploads of the same photos.

        A defense that must see all faces at once protects them as one set.
        """
        if learnt.most is None or "whole_set" in self.instances.of(client.defense).needs:
            protected = self.client.protect(client, source, faces, 4 * CALIBRATION_IMAGES)
            further = self.further(client, attack, source, faces, 4 * CALIBRATION_IMAGES)
            return {"protected": protected, **further}
        instance: Attack = self.instances.of(attack)
        uploads = range(instance.uploads if instance.uploads_of == "photo" else 1)
        found = {}
        for number, share in enumerate(shares(learnt.most)):
            shown = self.graph.auxiliary(source, learnt._replace(most=share[1]))
            for j in uploads:
                role = f"further {j}" if j else "protected"
                protected = self.client.protect(client, source, shown, share[1] - share[0], upload=j, share=share)
                found[f"{role}, share {number}"] = protected
        return found

    def reconstruct(self, client: Client, first: Component, protected: str) -> str:
        """Add the stage in which an attack reconstructs images from the upload, after the stage in which it learns."""
        attack: Attack = self.instances.of(first)
        h, w = self.instances.of(client.dataset).image_size
        attacker = AttackAndModel(first, None)
        roles = self.roles(client, attacker)
        mflops = sum(self.instances.of(m).mflops for m in roles["authorised"])
        return self.graph.stage(
            "attack",
            f"{first.label} on {self.graph.name(protected)}",
            ":".join(("attack", first.name, *(m.name for m in roles["authorised"]))),
            components=roles,
            options={**self.seen(client, first), **self.graph.checks_attacks},
            inputs={
                "faces": self.client.faces(client),
                "protected": protected,
                **self.state(client, attacker),
                **self.further_of(client, first),
            },
            seed=self.graph.seed("attack", first.name, client.dataset.name, client.repeat),
            units=self.client.shown_pairs(client),
            unit_cost=2e-2 + attack.passes() * forward_cost(mflops),
            size=self.client.shown_pairs(client) * 3 * h * w,
        )

    @remembered
    def embed(self, client: Client, attacker: AttackAndModel, protected: str, count: int) -> str:
        """Add the stage in which an attack embeds the ``count`` uploads of the stage ``protected``."""
        inputs = {"images": protected, "faces": self.client.faces(client)}
        inputs |= self.further_of(client, attacker.attack)
        return self._embeddings(client, attacker, inputs, count, enrolled=False)

    @remembered
    def enrol(self, client: Client, attacker: AttackAndModel, faces: str, count: int) -> str:
        """Add the stage in which an attack embeds the ``count`` clean images of the stage ``faces``."""
        return self._embeddings(client, attacker, {"images": faces}, count, enrolled=True)

    def _embeddings(
        self, client: Client, attacker: AttackAndModel, inputs: Mapping[str, str], count: int, *, enrolled: bool
    ) -> str:
        attack: Attack = self.instances.of(attacker.attack)
        model = attacker.evaluated
        assert model is not None
        roles = self.roles(client, attacker)
        mflops = self.instances.of(model).mflops * (1 + attack.passes())
        return self.graph.stage(
            "embed",
            f"embeddings of {self.graph.name(inputs['images'])} by {self.named(attacker)}",
            f"embed:{attacker.attack.name}:{model.name}",
            components=roles,
            options={**self.seen(client, attacker.attack), "enrolled": enrolled, **self.graph.checks_attacks},
            inputs={**inputs, **self.state(client, attacker)},
            seed=self.graph.seed("embed", attacker.attack.name, client.dataset.name, client.repeat),
            units=count,
            unit_cost=1e-3 + 2 * forward_cost(mflops),
            size=count * self.instances.of(model).embedding_size * 8,
        )

    def estimates(self, client: Client, attacker: AttackAndModel, images: str, count: int, *, rebuilt: bool) -> str:
        """Add the stage in which an attack estimates the attributes of what the stage ``images`` shows: uploads, or
        clean faces as if they had been uploaded. ``rebuilt``: the attack gets images that another attack makes."""
        if not rebuilt and not self.adversaries.estimates_images_only(attacker.attack):
            return self._own_estimates(client, attacker, images, count)
        return self.graph.estimate(attacker.attack, images, count)

    @remembered
    def _own_estimates(self, client: Client, attacker: AttackAndModel, images: str, count: int) -> str:
        inputs = {"images": images, "faces": self.client.faces(client), **self.state(client, attacker)}
        attack = attacker.attack
        mflops = self.instances.of(attacker.evaluated).mflops if attacker.evaluated else 0.0
        if self.graph.stages[images].kind == "protect":
            inputs |= self.further_of(client, attack)
        return self.graph.stage(
            "attack",
            f"estimates by {self.named(attacker)} of {self.graph.name(images)}",
            f"attack:{attack.name}",
            components=self.roles(client, attacker),
            options={**self.seen(client, attack), **self.graph.checks_attacks},
            inputs=inputs,
            seed=self.graph.seed("attack", attack.name, client.dataset.name, client.repeat),
            units=count,
            unit_cost=1e-2 + forward_cost(mflops),
            size=count * 1000,
        )

    @remembered
    def links(self, client: Client, attacker: AttackAndModel) -> str:
        """Add the stage in which an attack scores pairs of two uploads. Both pictures of a pair are protected for it,
        whatever side the experiment protects for verification."""
        first, second = self._linked(client)
        inputs = {"faces": self.client.faces(client), "first": first, "second": second}
        return self._links(client, attacker, inputs, {}, self.pairs)

    @remembered
    def links_of_strangers(self, client: Client, attacker: AttackAndModel) -> str:
        """Add the stage in which an attack scores pairs of an upload of somebody of the calibration split and a second
        upload of a scored person: as many as a threshold needs, since each is a call of the attack."""
        others = client._replace(people="calibration", side="probe")
        faces = self.client.faces(others)
        first = self.client.protect(others, client.dataset, faces, self.client.probes(others))
        inputs = {"faces": self.client.faces(client), "strangers_faces": faces, "first": first}
        wanted = math.ceil(ENOUGH / self.experiment.fmr)
        inputs["second"] = self._linked(client)[1]
        there = self.client.probes(others) * self.pairs
        return self._links(client, attacker, inputs, {"impostors": wanted}, min(wanted, there))

    def _linked(self, client: Client) -> tuple[str, str]:
        """Add the stages in which both pictures of pairs are protected."""
        sides: tuple[Side, Side] = ("both", "both") if client.side == "both" else ("probe", "gallery")
        faces = self.client.faces(client)
        first, second = (
            self.client.protect(client._replace(side=side), client.dataset, faces, self.client.probes(client))
            for side in sides
        )
        return first, second

    def _links(
        self,
        client: Client,
        attacker: AttackAndModel,
        inputs: Mapping[str, str],
        options: Mapping[str, Any],
        count: int,
    ) -> str:
        attack: Attack = self.instances.of(attacker.attack)
        assert attacker.evaluated is not None
        mflops = self.instances.of(attacker.evaluated).mflops * (1 + attack.passes())
        return self.graph.stage(
            "attack",
            f"links of {self.graph.name(inputs['first'])} by {self.named(attacker)}",
            f"attack:{attacker.attack.name}",
            components=self.roles(client, attacker),
            options={**self.seen(client, attacker.attack), **self.graph.checks_attacks, **options},
            inputs={**inputs, **self.state(client, attacker)},
            seed=self.graph.seed("links", attacker.attack.name, client.dataset.name, client.repeat),
            units=count,
            unit_cost=1e-3 + 4 * forward_cost(mflops),
            size=count * 30,
        )
