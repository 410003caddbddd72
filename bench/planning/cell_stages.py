"""The stages of a cell and their inputs, from the faces of a data set to the scores of the cell. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from bench.api.defense import Defense
from bench.core.domain import Component, ComponentRole
from bench.core.memoize import remembered
from bench.planning.adversary_stages import AdversaryStages, AttackAndModel
from bench.planning.graph import CALIBRATION_IMAGES, STRANGERS, Graph, LearntFaces, forward_cost
from bench.planning.instances import Client, Combination, Splits
from bench.planning.learners import Learners
from bench.planning.strangers import Strangers
from bench.suite.suite import Experiment


class _Intermediate(NamedTuple):
    """An intermediate result (images or features): its stage key, its display name, and the keys of every score stage
    computed from it or its inputs."""

    key: str
    name: str
    scores: tuple[str, ...]


class CellStages:
    """Adds the stages of the cells of one experiment to the graph.

    Methods return keys of stages. ``first`` is the attack that works on the upload itself: the attack of the cell, or
    that of its ``via``. ``learners`` decides which auxiliary faces are learnt from, and ``strangers`` tells how many
    people adversaries set their thresholds on. Without them, all faces are learnt from, and there are as many people as
    the experiment allows: good enough where nothing will be computed.
    """

    def __init__(
        self,
        experiment: Experiment,
        graph: Graph,
        splits: Splits,
        learners: Learners | None = None,
        strangers: Strangers | None = None,
    ) -> None:
        self.learners = learners
        self.strangers = strangers
        self.experiment = experiment
        self.graph = graph
        self.splits = splits
        self.instances = graph.instances
        self.pairs = experiment.pairs
        self.adversary = AdversaryStages(experiment, graph, splits, learners, self)

    def scores(self, combination: Combination) -> tuple[str, ...]:
        """Add the stages of a cell and return the keys of its score stages, those of the cell's own metric first."""
        client, attack, evaluated, _ = combination
        outputs = self.instances.of(attack).outputs
        first = self.first(attack)
        intermediate = self.reconstructed(client, first) if first else self.uploaded(client)
        if outputs == "attributes":
            own = [self.attribute_score(client, self.estimator(attack, evaluated), intermediate.key)]
            if evaluated is not None and self.experiment.noise_levels:
                own.append(self.trade_off(client, attack, evaluated))
        elif outputs == "links":
            own = [self.link_score(combination)]
        else:
            own = [self.verification(combination, intermediate)]
        return (*own, *intermediate.scores)

    @remembered
    def first(self, attack: Component) -> Component | None:
        """Return the attack that reconstructs images from the upload; None if the upload is recognised as it is."""
        return attack if self.instances.of(attack).outputs == "images" else attack.via

    @remembered
    def alone(self, attack: Component) -> Component:
        """Return an attack without its ``via``, on which its estimates on original images do not depend."""
        return replace(attack, via=None)

    def scored(self, dataset: Component) -> str:
        """Add the stage that loads the faces that are scored."""
        return self.graph.faces(dataset, "evaluation", self.pairs)

    # ---- the client ----------------------------------------------------------------------------------------------

    @remembered
    def uploaded(self, client: Client) -> _Intermediate:
        """Add the stages that make what leaves the client, and their scores."""
        faces, name, key = self.scored(client.dataset), client.defense.label, self.sent(client)
        scores = [self.graph.baselines(client.dataset, faces, self.probes(client), client.side)]
        if "image" in self.instances.of(client.defense).sends:
            scores = [*self.image_scores(client, key, name, reconstructed=False), *scores]
        return _Intermediate(key, name, tuple(scores))

    def faces(self, client: Client) -> str:
        """Add the stage that loads the faces of which a client protects some."""
        if client.people == "scored":
            return self.scored(client.dataset)
        return self.graph.strangers(client.dataset, self.experiment.adversary_people, self.shown_pairs(client))

    def sent(self, client: Client) -> str:
        """Add the stages that make what leaves the client."""
        return self.protect(client, client.dataset, self.faces(client), self.probes(client))

    def shown_pairs(self, client: Client) -> int:
        """Return how many pairs the faces of a client form."""
        if client.people == "scored":
            return self.pairs
        return self.strangers.people(client.dataset) if self.strangers else self.experiment.adversary_people

    def probes(self, client: Client) -> int:
        """Return how many of the pictures in pairs are protected."""
        return self.shown_pairs(client) * (2 if client.side == "both" else 1)

    def protected_side(self, client: Client) -> dict[str, Any]:
        """Return the option that says which pictures of a pair are protected; none for the left ones, which keeps the
        keys of earlier versions."""
        return {} if client.side == "probe" else {"protects": client.side}

    @remembered
    def protect(
        self,
        client: Client,
        source: Component,
        faces: str,
        count: int,
        upload: int = 0,
        share: tuple[int, int] | None = None,
    ) -> str:
        """Add the stage in which the client protects the ``count`` images of the stage ``faces``.

        These are the pictures of pairs on the side that is protected (Equation 10 protects x1 only), of scored people
        or of those on whom an adversary sets his threshold; or all faces of another split of the data set ``source``:
        auxiliary faces if an attack learns from protected images, calibration faces if the recogniser of the defense is
        calibrated. ``upload`` counts repeated uploads of the same photos; ``share`` is the part of auxiliary faces to
        protect (see `bench.planning.shares`), None for all.
        """
        defense: Defense = self.instances.of(client.defense)
        splits = self.splits.uploaded(client.authorised) if "feature" in defense.sends else ()
        models = client.authorised if splits else self.known(client)  # Shapes of features come from the models.
        authorised = "+".join(c.label for c in models)
        names = "+".join(c.name for c in models)
        split = self.graph.split(faces)
        scored = split == "evaluation"
        inputs = {"faces": faces, **self.given(client)}
        options: dict[str, Any] = {"splits": splits} if splits else {}
        options |= self.protected_side(client) if scored or split == STRANGERS else {}
        options |= {} if self.graph.check_defenses or not scored else {"check": False}
        options |= {"upload": upload} if upload else {}
        options |= {"share": share} if share else {}
        again = (f"upload {upload}",) if upload else ()
        mflops = sum(self.instances.of(m).mflops for m in models)
        h, w = self.instances.of(client.dataset).image_size
        name = f"{self.graph.name(faces).removeprefix('evaluation faces of ')} protected by {client.defense.label}"
        part = (f"faces {share[0] + 1} to {share[1]}",) if share and share[0] else ()
        return self.graph.stage(
            "protect",
            ", ".join((f"{name} for {authorised}" if authorised else name, *again, *part)),
            ":".join(("protect", client.defense.name, *(c.name for c in models))),
            components=self.of_client(client, models),
            options=options,
            inputs=inputs,
            seed=self.graph.seed("protect", client.defense.name, source.name, names, client.repeat, *again),
            units=count,
            unit_cost=1e-3 + defense.passes() * forward_cost(mflops),
            size=count * (3 * h * w + self._feature_bytes(client, splits)),
        )

    def of_client(self, client: Client, models: tuple[Component, ...]) -> dict[ComponentRole, tuple[Component, ...]]:
        """Return the components of a stage in which a defense works for these authorised models."""
        found: dict[ComponentRole, tuple[Component, ...]] = {"defense": (client.defense,), "authorised": models}
        return found | ({"surrogates": client.surrogates} if client.surrogates else {})

    @remembered
    def given(self, client: Client) -> Mapping[str, str]:
        """Return the further inputs of a stage in which a defense protects: what it has learnt, and pictures that it
        declares to need."""
        needs = self.instances.of(client.defense).needs
        found = {}
        if "training" in needs:
            found["state"] = self.fit_defense(client)
        if "targets" in needs:
            found["targets"] = self.graph.auxiliary(client.dataset, self.defense_learns_from(client))
        if "enrolment" in needs:
            found["enrolment"] = self.graph.faces(client.dataset, "further", self.pairs)
        return found

    def defense_learns_from(self, client: Client) -> LearntFaces:
        """Return from which auxiliary faces a defense learns."""
        return self.learners.of_defense(client.dataset) if self.learners else LearntFaces()

    @remembered
    def fit_defense(self, client: Client) -> str:
        """Add the stage in which a defense learns from auxiliary faces."""
        models = self.known(client)
        scope = (client.defense.name, client.dataset.name, "+".join(c.name for c in models), client.repeat)
        return self.graph.stage(
            "fit_defense",
            f"{client.defense.label} fitted on {client.dataset.label}",
            f"fit_defense:{client.defense.name}",
            components=self.of_client(client, models),
            inputs={"faces": self.graph.auxiliary(client.dataset, self.defense_learns_from(client))},
            seed=self.graph.seed("fit_defense", *scope),
            units=1,
            unit_cost=self.instances.of(client.defense).fit_seconds(),
            size=1_000_000,
        )

    def known(self, client: Client) -> tuple[Component, ...]:
        """Return the authorised models that the defense uses; empty if it depends on no model."""
        return client.authorised if self.instances.knows_models(client.defense) else ()

    def _feature_bytes(self, client: Client, splits: Sequence[str]) -> int:
        shapes = [self.instances.of(client.authorised[0]).splits[s] for s in splits]
        return sum(4 * c * h * w for c, h, w in shapes)

    # ---- the adversary -------------------------------------------------------------------------------------------

    @remembered
    def reconstructed(self, client: Client, first: Component) -> _Intermediate:
        """Add the stages in which an attack reconstructs images from the upload, and their scores."""
        upload = self.uploaded(client)
        key, name = self.adversary.reconstruct(client, first, upload.key), f"{first.label} against {upload.name}"
        scores = self.image_scores(client, key, name, reconstructed=True)
        return _Intermediate(key, name, (*scores, *upload.scores))

    # ---- scores --------------------------------------------------------------------------------------------------

    def verification(self, combination: Combination, intermediate: _Intermediate) -> str:
        """Add the score with one row per pair: the embedded image against its original and against the other image."""
        client, attack, evaluated, strangers = combination
        assert evaluated is not None
        attacker = AttackAndModel(attack, evaluated)
        inputs = {"protected": self.embedded(client, attacker, intermediate.key), **self.clean(client, attacker)}
        if strangers == "calibration":
            others = client._replace(people="calibration", side="gallery" if client.side == "gallery" else "probe")
            first = self.first(attack)
            key = self.adversary.reconstruct(others, first, self.sent(others)) if first else self.sent(others)
            inputs |= {"strangers_faces": self.faces(others), STRANGERS: self.embedded(others, attacker, key)}
        by = self.adversary.named(attacker) if self.embeds_itself(attacker) else evaluated.label
        return self.verification_score(client, by, intermediate.name, inputs)

    def embeds_itself(self, attacker: AttackAndModel) -> bool:
        """Return True if the attack embeds pictures, and False if the evaluated model or the defense does."""
        attack, evaluated = attacker
        own = evaluated is not None and evaluated.kind == "defense"
        return not own and self.adversary.adversaries.embeds(attack)

    def embedded(self, client: Client, attacker: AttackAndModel, images: str) -> str:
        """Add the stage in which the adversary embeds what he ends with, which the stage ``images`` makes."""
        attack, evaluated = attacker
        assert evaluated is not None
        if evaluated.kind == "defense":
            return self.embed_own(client, images, self.probes(client))
        if self.embeds_itself(attacker):
            return self.adversary.embed(client, attacker, images, self.probes(client))
        splits = () if self.instances.of(attack).outputs == "images" else self.splits.uploaded(client.authorised)
        if splits:
            return self.graph.embed_features(client.authorised[0], images, splits[-1], self.shown_pairs(client))
        return self.graph.embed(evaluated, images, self.probes(client))

    def clean(self, client: Client, attacker: AttackAndModel) -> Mapping[str, str]:
        """Add the other inputs of a verification: embedded originals, and the calibration split for the threshold."""
        evaluated = attacker.evaluated
        assert evaluated is not None
        if evaluated.kind == "defense":
            return self.own_calibration(client)
        if self.embeds_itself(attacker):
            return self.enrolled(client, attacker)
        return self.clean_by_model(client.dataset, evaluated)

    @remembered
    def own_calibration(self, client: Client) -> Mapping[str, str]:
        """Add the same inputs for the recogniser of the defense, which compares protected with protected pictures. Its
        threshold is set on protected pictures of the calibration split."""
        calibration = self.graph.faces(client.dataset, "calibration")
        protected = self.protect(client, client.dataset, calibration, CALIBRATION_IMAGES)
        return {
            "faces": self.scored(client.dataset),
            "calibration_faces": calibration,
            "calibration": self.embed_own(client, protected, CALIBRATION_IMAGES),
        }

    @remembered
    def embed_own(self, client: Client, protected: str, count: int) -> str:
        """Add the stage in which the recogniser of a defense embeds what the defense sends."""
        defense: Defense = self.instances.of(client.defense)
        state = {"state": self.fit_defense(client)} if "training" in defense.needs else {}
        return self.graph.stage(
            "embed",
            f"embeddings of {self.graph.name(protected)} by its own recogniser",
            f"embed:{client.defense.name}",
            components=self.of_client(client, self.known(client)),
            inputs={"images": protected, **state},
            seed=self.graph.seed("embed", client.defense.name, client.dataset.name, client.repeat),
            units=count,
            unit_cost=1e-3,
            size=count * defense.recogniser_size * 8,
        )

    def verification_score(self, client: Client, by: str, name: str, inputs: Mapping[str, str]) -> str:
        """Add the score of verification of embeddings; ``by`` names who has embedded."""
        rule = {"metric": "verification", "fmr": self.experiment.fmr, "threshold": self.experiment.threshold}
        return self.graph.stage(
            "score",
            f"verification of {name} by {by} on {client.dataset.label}",
            "score:verification",
            options=rule | self.protected_side(client),
            inputs=inputs,
            units=self.pairs,
            unit_cost=2e-4 + 1e-6 * self.pairs,  # Every probe is compared with every original.
            size=self.pairs * 150,
        )

    @remembered
    def clean_by_model(self, dataset: Component, evaluated: Component) -> Mapping[str, str]:
        """Add the same inputs, with embeddings by a model."""
        faces, calibration = self.scored(dataset), self.graph.faces(dataset, "calibration")
        return {
            "faces": faces,
            "clean": self.graph.embed(evaluated, faces, 2 * self.pairs),
            "calibration_faces": calibration,
            "calibration": self.graph.embed(evaluated, calibration, CALIBRATION_IMAGES),
        }

    @remembered
    def enrolled(self, client: Client, attacker: AttackAndModel) -> Mapping[str, str]:
        """Add the same inputs, with embeddings by an attack."""
        faces, calibration = self.scored(client.dataset), self.graph.faces(client.dataset, "calibration")
        return {
            "faces": faces,
            "clean": self.adversary.enrol(client, attacker, faces, 2 * self.pairs),
            "calibration_faces": calibration,
            "calibration": self.adversary.enrol(client, attacker, calibration, CALIBRATION_IMAGES),
        }

    def image_scores(self, client: Client, images: str, name: str, *, reconstructed: bool) -> tuple[str, ...]:
        """Add the scores with one row per image: that of the built-in metrics, then one for each further metric, so
        that a metric can be added without computing anything else again. One that learnt from generated faces is left
        out on real ones."""
        first = self.image_score(client, images, name, reconstructed=reconstructed)
        metrics = [m for m in self.experiment.metrics if self.instances.can_judge(m, client.dataset)]
        return (first, *(self.metric_score(client, m, images, name, reconstructed=reconstructed) for m in metrics))

    def metric_score(self, client: Client, metric: Component, images: str, name: str, *, reconstructed: bool) -> str:
        """Add the score of images by one metric of a plugin."""
        return self.graph.stage(
            "score",
            f"{metric.label} of {name} on {client.dataset.label}",
            f"score:metric:{metric.name}",
            components={"metric": (metric,)},
            options={"metric": "metrics", "called": metric.label, "reconstructed": reconstructed},
            inputs={"faces": self.scored(client.dataset), "protected": images},
            seed=self.graph.seed("metric", client.dataset.name),
            units=self.pairs,
            unit_cost=1e-3 + self.instances.of(metric).seconds(),
            size=self.pairs * 40,
        )

    def image_score(self, client: Client, images: str, name: str, *, reconstructed: bool) -> str:
        """Add the score with one row per image: its similarity to the original; it also keeps some example pictures."""
        splits = self.splits.uploaded(client.authorised)
        h, w = self.instances.of(client.dataset).image_size
        return self.graph.stage(
            "score",
            f"image similarity of {name} on {client.dataset.label}",
            "score:images",
            components={"metric": self.graph.image_metrics},
            options={
                "metric": "images",
                "reconstructed": reconstructed,
                "upload_bytes": self._feature_bytes(client, splits) if splits else 3 * h * w,
            },
            inputs={"faces": self.scored(client.dataset), "protected": images},
            units=self.pairs,
            unit_cost=8e-3,
            size=self.pairs * 120 + 24 * 80_000,
        )

    def link_score(self, combination: Combination) -> str:
        """Add the score with one row per pair of two uploads: do they show one person?"""
        client, attack, evaluated, strangers = combination
        attacker = AttackAndModel(attack, evaluated)
        links = self.adversary.links(client, attacker)
        inputs = {"faces": self.scored(client.dataset), "links": links}
        if strangers == "calibration":
            inputs["stranger_links"] = self.adversary.links_of_strangers(client, attacker)
        return self.graph.stage(
            "score",
            f"score of {self.graph.name(links)}",
            "score:links",
            options={"metric": "links", "fmr": self.experiment.fmr},
            inputs=inputs,
            units=self.pairs,
            unit_cost=1e-4,
            size=self.pairs * 100,
        )

    def estimator(self, attack: Component, evaluated: Component | None) -> AttackAndModel:
        """Return an attack that estimates attributes, with the evaluated model if it does so with that."""
        return AttackAndModel(attack, evaluated if self.adversary.adversaries.recognises(attack) else None)

    @remembered
    def attribute_score(self, client: Client, attacker: AttackAndModel, seen: str) -> str:
        """Add the score with one row per image and attribute: the estimate on the image of the stage ``seen`` against
        that on the original, or against the label of the original if an attack learns from labels or reads a
        representation, which originals do not have."""
        graph, dataset = self.graph, client.dataset
        attack = attacker.attack
        faces, alone = self.scored(dataset), self.alone(attack)
        calibration = graph.faces(dataset, "calibration")

        def estimates(images: str, count: int) -> str:
            found = attacker._replace(attack=alone)
            return self.adversary.estimates(client, found, images, count, rebuilt=attack.via is not None)

        inputs = {"faces": faces, "received": estimates(seen, self.probes(client))}
        by_label = not attack.via and self.instances.reads_representation(client.defense, attack)
        if not by_label:
            inputs["original"] = estimates(faces, 2 * self.pairs)
            inputs["constant"] = estimates(calibration, CALIBRATION_IMAGES)
        if by_label or "labels" in self.instances.of(attack).sees:
            inputs["calibration_faces"] = calibration
        return graph.stage(
            "score",
            f"{self.adversary.named(attacker)} of {graph.name(seen)}",
            "score:attributes",
            components={"attack": (alone,)},
            options={"metric": "attributes", **self.protected_side(client)},
            inputs=inputs,
            units=self.pairs,
            unit_cost=1e-3,
            size=self.pairs * 500,
        )

    def trade_off(self, client: Client, attack: Component, evaluated: Component) -> str:
        """Add the score with one row per image and noise level: the two terms of UP (Equation 9)."""
        via, levels = attack.via, self.experiment.noise_levels
        protected = self.uploaded(client).key
        inputs = {"faces": self.scored(client.dataset), "protected": protected}
        if via is not None and self.instances.of(via).trains_on != "nothing":
            inputs["state"] = self.adversary.fit_attack(client, AttackAndModel(via, None))
        if via is None and self.instances.of(attack).trains_on != "nothing":
            inputs["estimator"] = self.adversary.fit_attack(client, self.estimator(attack, evaluated))
        components: dict[ComponentRole, tuple[Component, ...]] = {
            "attack": (self.alone(attack),),
            "model": (evaluated,),
            "authorised": client.authorised,
        }
        if via is not None:
            components["via"] = (via,)
        passes = self.instances.of(via).passes() if via else 0.0
        return self.graph.stage(
            "score",
            f"{attack.label} and recognition of {self.graph.name(protected)} under noise, by {evaluated.label}",
            f"score:up:{attack.label}",
            components=components,
            options={
                "metric": "up",
                "lpips": self.graph.lpips,
                "noise_levels": levels,
                "upload": self.experiment.upload,
                **self.adversary.seen(client, via or attack),
                **self.protected_side(client),
            },
            inputs=inputs,
            seed=self.graph.seed("up", client.dataset.name, client.repeat),
            units=self.pairs * len(levels),
            unit_cost=2 * ((1 + passes) * forward_cost(self.instances.of(evaluated).mflops) + 5e-3),
            size=self.pairs * len(levels) * 100,
        )
