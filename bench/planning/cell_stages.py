"""The stages of a cell and their inputs, from the faces of a data set to the scores of the cell. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from bench.api.hookspecs import Defense
from bench.core.domain import Component, ComponentRole
from bench.core.memoize import remembered
from bench.planning.adversary_stages import AdversaryStages, Attacker
from bench.planning.graph import CALIBRATION_IMAGES, Graph, LearntFaces, forward_cost
from bench.planning.instances import Client, Combination, Splits
from bench.planning.learners import Learners
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
    that of its ``via``. ``learners`` decides which auxiliary faces are learnt from; None to load all of them, where
    nothing will be computed from them.
    """

    def __init__(self, experiment: Experiment, graph: Graph, splits: Splits, learners: Learners | None = None) -> None:
        self.learners = learners
        self.experiment = experiment
        self.graph = graph
        self.splits = splits
        self.instances = graph.instances
        self.pairs = experiment.pairs
        self.adversary = AdversaryStages(experiment, graph, splits, learners, self)

    def scores(self, combination: Combination) -> tuple[str, ...]:
        """Add the stages of a cell and return the keys of its score stages, those of the cell's own metric first."""
        client, attack, evaluated = combination
        outputs = self.instances.of(attack).outputs
        first = attack if outputs == "images" else attack.via
        intermediate = self.reconstructed(client, first) if first else self.uploaded(client)
        if outputs == "attributes":
            own = [self.attribute_score(client.dataset, self.alone(attack), attack.label, intermediate.key)]
            if evaluated is not None:
                own.append(self.trade_off(client, attack, evaluated))
        else:
            assert evaluated is not None
            own = [self.verification(client, Attacker(attack, evaluated), intermediate)]
        return (*own, *intermediate.scores)

    @remembered
    def alone(self, attack: Component) -> Component:
        """Return an attack without its ``via``, on which its estimates on original images do not depend."""
        return replace(attack, via=None)

    def faces(self, dataset: Component) -> str:
        """Add the stage that loads the faces that are scored."""
        return self.graph.faces(dataset, "evaluation", self.pairs)

    # ---- the client ----------------------------------------------------------------------------------------------

    @remembered
    def uploaded(self, client: Client) -> _Intermediate:
        """Add the stages that make what leaves the client, and their scores."""
        faces, name = self.faces(client.dataset), client.defense.label
        key = self.protect(client, client.dataset, faces, self.pairs)
        scores = [self.graph.baselines(client.dataset, faces, self.pairs)]
        if "image" in self.instances.of(client.defense).sends:
            scores.insert(0, self.image_score(client, key, name, reconstructed=False))
        return _Intermediate(key, name, tuple(scores))

    @remembered
    def protect(self, client: Client, source: Component, faces: str, count: int) -> str:
        """Add the stage in which the client protects the ``count`` images of the stage ``faces``.

        These are the left images of pairs, since Equation 10 protects x1 only, or all auxiliary faces of the data set
        ``source`` if an attack learns from protected images.
        """
        defense: Defense = self.instances.of(client.defense)
        splits = self.splits.uploaded(client.authorised) if "feature" in defense.sends else ()
        models = client.authorised if splits else self.known(client)  # Shapes of features come from the models.
        authorised = "+".join(c.label for c in models)
        names = "+".join(c.name for c in models)
        inputs = {"faces": faces}
        if "training" in defense.needs:
            inputs["state"] = self.fit_defense(client)
        mflops = sum(self.instances.of(m).mflops for m in models)
        h, w = self.instances.of(client.dataset).image_size
        name = f"{self.graph.name(faces).removeprefix('evaluation faces of ')} protected by {client.defense.label}"
        return self.graph.stage(
            "protect",
            f"{name} for {authorised}" if authorised else name,
            ":".join(("protect", client.defense.name, *(c.name for c in models))),
            components={"defense": (client.defense,), "authorised": models},
            options={"splits": splits} if splits else {},
            inputs=inputs,
            seed=self.graph.seed("protect", client.defense.name, source.name, names, client.repeat),
            units=count,
            unit_cost=1e-3 + defense.passes() * forward_cost(mflops),
            size=count * (3 * h * w + self._feature_bytes(client, splits)),
        )

    @remembered
    def fit_defense(self, client: Client) -> str:
        """Add the stage in which a defense learns from auxiliary faces."""
        models = self.known(client)
        learnt = self.learners.of_defense(client.dataset) if self.learners else LearntFaces()
        scope = (client.defense.name, client.dataset.name, "+".join(c.name for c in models), client.repeat)
        return self.graph.stage(
            "fit_defense",
            f"{client.defense.label} fitted on {client.dataset.label}",
            f"fit_defense:{client.defense.name}",
            components={"defense": (client.defense,), "authorised": models},
            inputs={"faces": self.graph.auxiliary(client.dataset, learnt)},
            seed=self.graph.seed("fit_defense", *scope),
            units=CALIBRATION_IMAGES,
            unit_cost=1e-2,
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
        return _Intermediate(key, name, (self.image_score(client, key, name, reconstructed=True), *upload.scores))

    # ---- scores --------------------------------------------------------------------------------------------------

    def verification(self, client: Client, attacker: Attacker, intermediate: _Intermediate) -> str:
        """Add the score with one row per pair: the embedded image against its original and against the other image."""
        attack, evaluated = attacker
        assert evaluated is not None
        own = self.adversary.adversaries.embeds(attack)
        splits = () if self.instances.of(attack).outputs == "images" else self.splits.uploaded(client.authorised)
        if own:
            embedded = self.adversary.embed(client, attacker, intermediate.key)
        elif splits:
            embedded = self.graph.embed_features(client.authorised[0], intermediate.key, splits[-1], self.pairs)
        else:
            embedded = self.graph.embed(evaluated, intermediate.key, self.pairs)
        clean = self.enrolled(client, attacker) if own else self.clean(client.dataset, evaluated)
        by = f"{attack.label} with {evaluated.label}" if own else evaluated.label
        return self.graph.stage(
            "score",
            f"verification of {intermediate.name} by {by} on {client.dataset.label}",
            "score:verification",
            options={"metric": "verification", "fmr": self.experiment.fmr, "threshold": self.experiment.threshold},
            inputs={"protected": embedded, **clean},
            units=self.pairs,
            unit_cost=2e-4 + 1e-6 * self.pairs,  # Every probe is compared with every original.
            size=self.pairs * 150,
        )

    @remembered
    def clean(self, dataset: Component, evaluated: Component) -> Mapping[str, str]:
        """Add the other inputs of a verification: embedded originals, and the calibration split for the threshold."""
        faces, calibration = self.faces(dataset), self.graph.faces(dataset, "calibration")
        return {
            "faces": faces,
            "clean": self.graph.embed(evaluated, faces, 2 * self.pairs),
            "calibration_faces": calibration,
            "calibration": self.graph.embed(evaluated, calibration, CALIBRATION_IMAGES),
        }

    @remembered
    def enrolled(self, client: Client, attacker: Attacker) -> Mapping[str, str]:
        """Add what `clean` adds, with embeddings by the attack."""
        faces, calibration = self.faces(client.dataset), self.graph.faces(client.dataset, "calibration")
        return {
            "faces": faces,
            "clean": self.adversary.enrol(client, attacker, faces, 2 * self.pairs),
            "calibration_faces": calibration,
            "calibration": self.adversary.enrol(client, attacker, calibration, CALIBRATION_IMAGES),
        }

    def image_score(self, client: Client, images: str, name: str, *, reconstructed: bool) -> str:
        """Add the score with one row per image: its similarity to the original; it also keeps some example pictures."""
        splits = self.splits.uploaded(client.authorised)
        h, w = self.instances.of(client.dataset).image_size
        return self.graph.stage(
            "score",
            f"image similarity of {name} on {client.dataset.label}",
            "score:images",
            options={
                "metric": "images",
                "lpips": self.graph.lpips,
                "reconstructed": reconstructed,
                "upload_bytes": self._feature_bytes(client, splits) if splits else 3 * h * w,
            },
            inputs={"faces": self.faces(client.dataset), "protected": images},
            units=self.pairs,
            unit_cost=8e-3,
            size=self.pairs * 120 + 24 * 80_000,
        )

    @remembered
    def attribute_score(self, dataset: Component, attack: Component, label: str, seen: str) -> str:
        """Add the score with one row per image and attribute: the estimate on the image of the stage ``seen`` against
        that on the original."""
        graph, faces = self.graph, self.faces(dataset)
        return graph.stage(
            "score",
            f"{label} of {graph.name(seen)}",
            "score:attributes",
            components={"attack": (attack,)},
            options={"metric": "attributes"},
            inputs={
                "faces": faces,
                "original": graph.estimate(attack, faces, 2 * self.pairs),
                "received": graph.estimate(attack, seen, self.pairs),
                "constant": graph.estimate(attack, graph.faces(dataset, "calibration"), CALIBRATION_IMAGES),
            },
            units=self.pairs,
            unit_cost=1e-3,
            size=self.pairs * 500,
        )

    def trade_off(self, client: Client, attack: Component, evaluated: Component) -> str:
        """Add the score with one row per image and noise level: the two terms of UP (Equation 9)."""
        via, levels = attack.via, self.experiment.noise_levels
        protected = self.uploaded(client).key
        inputs = {"faces": self.faces(client.dataset), "protected": protected}
        if via is not None and self.instances.of(via).trains_on != "nothing":
            inputs["state"] = self.adversary.fit_attack(client, Attacker(via, None))
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
            },
            inputs=inputs,
            seed=self.graph.seed("up", client.dataset.name, client.repeat),
            units=self.pairs * len(levels),
            unit_cost=2 * ((1 + passes) * forward_cost(self.instances.of(evaluated).mflops) + 5e-3),
            size=self.pairs * len(levels) * 100,
        )
