"""The stage graph: what each stage of a cell runs on what, with its content key, seed and estimates. Pure: no torch.

The key of a stage is the sha256 of everything that decides its result: its kind, the plugins (distribution, version,
source digest, effective parameters, weights or data fingerprint), its options (batch size, dtype, device), its seed,
the host's own code and the numeric packages, and the keys of its inputs. Same key, same artifact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.errors import PluginError, did_you_mean
from bench.hookspecs import Attack, Defense, Model
from bench.keys import digest_of, scoped_seed
from bench.limits import Limits
from bench.perceptual import find_vgg
from bench.plugins import Registry
from bench.provenance import runtime_digest
from bench.suite import Experiment, Suite
from bench.types import Component, Stage, StageKind

BATCH = 32  # images per plugin call; part of every key, because it decides the last bits
_MFLOP_PER_S = 50_000.0  # one core, float32; only for estimates before anything was measured
_CALIBRATION_IMAGES = 500  # likewise
_FIT_SECONDS = 120.0  # likewise


@dataclass(frozen=True)
class Point:
    """One combination of the axes. ``evaluated`` is none where no model is asked."""

    dataset: Component
    authorised: tuple[Component, ...]
    defense: Component
    attack: Component
    evaluated: Component | None
    repeat: int

    @property
    def labels(self) -> tuple[str | int, ...]:
        """What tells a point from the others of its experiment: labels are unique on each axis."""
        evaluated = self.evaluated.label if self.evaluated else ""
        axes = (self.dataset, *self.authorised, self.defense, self.attack)
        return (*(c.label for c in axes), evaluated, self.repeat)


class Instances:
    """The plugins' dataclasses of components: their declarations; nothing is loaded."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._made: dict[int, Any] = {}

    def of(self, component: Component) -> Any:
        """The instance of a component, made once."""
        if id(component) not in self._made:
            cls = self.registry.find(component.kind, component.name, component.label).cls
            self._made[id(component)] = cls(**component.params)
        return self._made[id(component)]

    def knows_models(self, defense: Component) -> bool:
        """Whether a defense depends on the authorised models."""
        return bool(self.of(defense).needs & {"shallow", "full_gradients"})

    def uploaded(self, experiment: Experiment, point: Point) -> tuple[str, ...]:
        """The splits whose features leave the client: none when images do. `ValueError` for a name that is missing."""
        if experiment.upload == "images":
            return ()
        model = point.authorised[0]
        available = tuple(self.of(model).splits)
        if not available:
            raise ValueError(f"{model.label} has no named split points, so no features of it can be uploaded")
        if experiment.split in ("all", "last"):
            return available if experiment.split == "all" else available[-1:]
        if experiment.split not in available:
            hint = did_you_mean(experiment.split, available)
            raise ValueError(f"{model.label} has no split point {experiment.split!r}; {hint}")
        return (experiment.split,)

    def attacked(self, experiment: Experiment, point: Point) -> tuple[str, ...]:
        """The splits whose features the (first) attack works on. `ValueError` when it cannot have them."""
        component = point.attack.via or point.attack
        attack: Attack = self.of(component)
        if not uses_features(attack):
            return ()
        uploaded = self.uploaded(experiment, point)
        available = uploaded or tuple(self.of(point.authorised[0]).splits)
        if not available:
            raise ValueError(f"{component.label} needs features, and {point.authorised[0].label} has no split points")
        where = f"attack {component.label}: splits()"
        try:
            chosen = tuple(attack.splits(available, uploaded))
        except ValueError as error:
            raise ValueError(f"{component.label}: {error}") from None
        except Exception as error:
            raise PluginError(f"{where} failed with {type(error).__name__}: {error}") from error
        if not chosen or not set(chosen) <= set(available):
            raise PluginError(f"{where}: expected some of {', '.join(available)}, got {chosen}")
        return chosen


def uses_features(attack: Attack) -> bool:
    """Whether an attack works on features of the shallow model."""
    return bool(attack.sees & {"features", "shallow_weights"})


class Graph:
    """Adds stages, sharing those with equal keys."""

    def __init__(
        self,
        stages: dict[str, Stage],
        instances: Instances,
        *,
        suite: Suite,
        device: str,
        costs: Mapping[str, float],
        limits: Limits,
    ) -> None:
        self.stages = stages
        self.instances = instances
        self.suite_seed = suite.seed
        self.device = device
        self.common: dict[str, Any] = {"batch": BATCH, "dtype": "float32", "device": device}  # options of every stage
        if suite.deterministic:
            self.common["deterministic"] = True
        self.costs = costs
        self.limits = limits
        self.lpips = find_vgg().sha256

    def scores(self, experiment: Experiment, point: Point) -> tuple[str, ...]:
        """The path of one cell through the stages; the keys of its score stages, the cell's own first."""
        attack: Attack = self.instances.of(point.attack)
        n = experiment.pairs
        faces = self.faces(point.dataset, "evaluation", pairs=n)
        protected = self.protect(experiment, point, faces, n)
        shared = [self.floors(point, faces, n)]
        defense: Defense = self.instances.of(point.defense)
        name = point.defense.label
        if "image" in defense.sends:
            shared.insert(0, self.image_score(experiment, point, faces, protected, name, reconstructed=False))
        first = point.attack.via or (point.attack if attack.outputs == "images" else None)
        seen = protected
        if first is not None:
            seen = self.reconstruct(experiment, point, first, faces, protected)
            name = f"{first.label} against {name}"
            shared.insert(0, self.image_score(experiment, point, faces, seen, name, reconstructed=True))
        if attack.outputs == "attributes":
            own = [self.attribute_score(point, faces, seen, n)]
            if experiment.noise_levels:
                own.append(self.trade_off(experiment, point, faces, protected))
            return (*own, *shared)
        if attack.outputs == "images":
            embedded = self.embed(point.evaluated, seen, n)
        else:
            embedded = self.embed_upload(experiment, point, protected, n)
        return (self.verification(experiment, point, faces, embedded, name), *shared)

    # ---- faces and embeddings ------------------------------------------------------------------------------------

    def faces(self, dataset: Component, split: str, pairs: int | None = None) -> str:
        """The stage that makes a data set's images for a split."""
        images = 2 * pairs if pairs else _CALIBRATION_IMAGES
        h, w = self.instances.of(dataset).image_size
        return self.stage(
            "faces",
            f"{split} faces of {dataset.label}",
            f"faces:{dataset.name}",
            components={"dataset": (dataset,)},
            options={"split": split} | ({"pairs": pairs} if pairs else {}),
            seed=self.seed("faces", dataset.name),
            units=images,
            unit_cost=4e-3,
            size=images * 3 * h * w,
        )

    def embed(self, model: Component | None, images: str, count: int) -> str:
        """The stage that embeds the images of another stage, as they are and flipped."""
        assert model is not None
        instance: Model = self.instances.of(model)
        return self.stage(
            "embed",
            f"embeddings of {self.stages[images].name} by {model.label}",
            f"embed:{model.name}",
            components={"model": (model,)},
            inputs={"images": images},
            units=count,
            unit_cost=2 * instance.mflops / _MFLOP_PER_S,
            size=count * instance.embedding_size * 8,
        )

    def embed_upload(self, experiment: Experiment, point: Point, protected: str, count: int) -> str:
        """The embeddings of what was uploaded: of images, or of features by the server part of the authorised model."""
        uploaded = self.instances.uploaded(experiment, point)
        if not uploaded:
            return self.embed(point.evaluated, protected, count)
        model = point.authorised[0]
        instance: Model = self.instances.of(model)
        return self.stage(
            "embed",
            f"embeddings of the features of {self.stages[protected].name} by {model.label}",
            f"embed:{model.name}",
            components={"model": (model,)},
            options={"split": uploaded[-1]},
            inputs={"images": protected},
            units=count,
            unit_cost=instance.mflops / _MFLOP_PER_S,
            size=count * instance.embedding_size * 8,
        )

    # ---- the client ----------------------------------------------------------------------------------------------

    def protect(
        self, experiment: Experiment, point: Point, faces: str, count: int, dataset: Component | None = None
    ) -> str:
        """The stage in which the client protects the left images of pairs (Equation 10 protects x1 only), or all
        auxiliary faces (of ``dataset``) when an attacker learns from what the defense makes."""
        defense: Defense = self.instances.of(point.defense)
        models = point.authorised if self.instances.knows_models(point.defense) else ()
        authorised = "+".join(c.label for c in models)
        names = "+".join(c.name for c in models)
        scope = (point.defense.name, (dataset or point.dataset).name, names, point.repeat)
        components = {"defense": (point.defense,), "authorised": models}
        inputs = {"faces": faces}
        if "training" in defense.needs:
            inputs["state"] = self.stage(
                "fit_defense",
                f"{point.defense.label} fitted on {point.dataset.label}",
                f"fit_defense:{point.defense.name}",
                components=components,
                inputs={"faces": self.faces(point.dataset, "auxiliary")},
                seed=self.seed("fit_defense", point.defense.name, point.dataset.name, names, point.repeat),
                units=_CALIBRATION_IMAGES,
                unit_cost=1e-2,
                size=1_000_000,
            )
        uploaded = self.instances.uploaded(experiment, point) if "feature" in defense.sends else ()
        mflops = sum(self.instances.of(m).mflops for m in models)
        h, w = self.instances.of(point.dataset).image_size
        name = f"{self.stages[faces].name.removeprefix('evaluation faces of ')} protected by {point.defense.label}"
        return self.stage(
            "protect",
            f"{name} for {authorised}" if authorised else name,
            ":".join(("protect", point.defense.name, *(c.name for c in models))),
            components=components,
            options={"splits": list(uploaded)} if uploaded else {},
            inputs=inputs,
            seed=self.seed("protect", *scope),
            units=count,
            unit_cost=1e-3 + defense.passes() * mflops / _MFLOP_PER_S,
            size=count * (3 * h * w + self._feature_bytes(point, uploaded)),
        )

    def _feature_bytes(self, point: Point, splits: Sequence[str]) -> int:
        shapes = [self.instances.of(point.authorised[0]).splits[s] for s in splits]
        return sum(4 * c * h * w for c, h, w in shapes)

    # ---- the adversary -------------------------------------------------------------------------------------------

    def reconstruct(self, experiment: Experiment, point: Point, first: Component, faces: str, protected: str) -> str:
        """The stage in which an attack makes images of what was uploaded, after it has learnt what it learns."""
        attack: Attack = self.instances.of(first)
        n = experiment.pairs
        h, w = self.instances.of(point.dataset).image_size
        models = self._victims(experiment, point, attack)
        mflops = sum(self.instances.of(m).mflops for m in models)
        inputs = {"faces": faces, "protected": protected}
        if attack.trains_on != "nothing":
            inputs["state"] = self.fit_attack(experiment, point, first, faces)
        return self.stage(
            "attack",
            f"{first.label} on {self.stages[protected].name}",
            ":".join(("attack", first.name, *(m.name for m in models))),
            components={"attack": (first,), "authorised": models},
            options=self._seen(experiment, point),
            inputs=inputs,
            seed=self.seed("attack", first.name, point.dataset.name, point.repeat),
            units=n,
            unit_cost=2e-2 + attack.passes() * mflops / _MFLOP_PER_S,
            size=n * 3 * h * w,
        )

    def _victims(self, experiment: Experiment, point: Point, attack: Attack) -> tuple[Component, ...]:
        """The authorised models whose features an attack works on: none when it looks at images only."""
        return point.authorised if uses_features(attack) or experiment.upload == "features" else ()

    def _seen(self, experiment: Experiment, point: Point) -> dict[str, Any]:
        """Which features an attack gets, and which of them were uploaded."""
        uploaded = self.instances.uploaded(experiment, point)
        return {"splits": list(self.instances.attacked(experiment, point)), "uploaded": list(uploaded)}

    def fit_attack(self, experiment: Experiment, point: Point, first: Component, faces: str) -> str:
        """The stage in which an attack learns from uploads of auxiliary faces, clean or defended."""
        attack: Attack = self.instances.of(first)
        dataset = experiment.auxiliary or point.dataset
        inputs = {"faces": faces if attack.trains_on == "evaluated" else self.faces(dataset, "auxiliary")}
        where = f"{self.stages[inputs['faces']].name}"
        if attack.trains_on == "defense":
            count = 4 * _CALIBRATION_IMAGES
            inputs["protected"] = self.protect(experiment, point, inputs["faces"], count, dataset)
            where = self.stages[inputs["protected"]].name
        models = self._victims(experiment, point, attack)
        scope = (first.name, dataset.name, "+".join(m.name for m in models), point.repeat)
        return self.stage(
            "fit_attack",
            f"{first.label} learning from {where}",
            ":".join(("fit_attack", first.name, first.label)),
            components={"attack": (first,), "authorised": models},
            options=self._seen(experiment, point),
            inputs=inputs,
            seed=self.seed("fit_attack", *scope),
            units=1,
            unit_cost=_FIT_SECONDS,
            size=20_000_000,
        )

    def estimate(self, attack: Component, images: str, count: int) -> str:
        """The stage in which an attack estimates the attributes of the images of another stage."""
        return self.stage(
            "attack",
            f"estimates by {attack.name} of {self.stages[images].name}",
            f"attack:{attack.name}",
            components={"attack": (_without_via(attack),)},
            inputs={"images": images},
            seed=self.seed("attack", attack.name),
            units=count,
            unit_cost=1e-2,
            size=count * 1000,
        )

    # ---- scores --------------------------------------------------------------------------------------------------

    def verification(self, experiment: Experiment, point: Point, faces: str, embedded: str, name: str) -> str:
        """One row per pair: the embedded images against the original and the other image of the pair."""
        model, n = point.evaluated, experiment.pairs
        assert model is not None
        calibration = self.faces(point.dataset, "calibration")
        return self.stage(
            "score",
            f"verification of {name} by {model.label} on {point.dataset.label}",
            "score:verification",
            options={"metric": "verification", "fmr": experiment.fmr, "threshold": experiment.threshold},
            inputs={
                "faces": faces,
                "clean": self.embed(model, faces, 2 * n),
                "protected": embedded,
                "calibration_faces": calibration,
                "calibration": self.embed(model, calibration, _CALIBRATION_IMAGES),
            },
            units=n,
            unit_cost=2e-4,
            size=n * 150,
        )

    def image_score(
        self, experiment: Experiment, point: Point, faces: str, images: str, name: str, *, reconstructed: bool
    ) -> str:
        """One row per image: its similarity to the original; and a few of both as pictures."""
        n, uploaded = experiment.pairs, self.instances.uploaded(experiment, point)
        h, w = self.instances.of(point.dataset).image_size
        size = self._feature_bytes(point, uploaded) if uploaded else 3 * h * w
        return self.stage(
            "score",
            f"image similarity of {name} on {point.dataset.label}",
            "score:images",
            options={
                "metric": "images",
                "lpips": self.lpips,
                "reconstructed": reconstructed,
                "upload_bytes": size,
            },
            inputs={"faces": faces, "protected": images},
            units=n,
            unit_cost=8e-3,
            size=n * 120 + 16 * 80_000,
        )

    def floors(self, point: Point, faces: str, n: int) -> str:
        """One row per face: what the image metrics give for pictures that hold nothing of it."""
        return self.stage(
            "score",
            f"floors of the image metrics on {point.dataset.label}",
            "score:floors",
            options={"metric": "floors", "lpips": self.lpips},
            inputs={"faces": faces, "calibration_faces": self.faces(point.dataset, "calibration")},
            seed=self.seed("floors", point.dataset.name),
            units=n,
            unit_cost=3e-2,
            size=n * 120,
        )

    def attribute_score(self, point: Point, faces: str, seen: str, n: int) -> str:
        """One row per image and attribute: estimates on what was received against those on the original."""
        calibration = self.faces(point.dataset, "calibration")
        return self.stage(
            "score",
            f"{point.attack.label} of {self.stages[seen].name}",
            "score:attributes",
            components={"attack": (_without_via(point.attack),)},
            options={"metric": "attributes"},
            inputs={
                "faces": faces,
                "original": self.estimate(point.attack, faces, 2 * n),
                "received": self.estimate(point.attack, seen, n),
                "constant": self.estimate(point.attack, calibration, _CALIBRATION_IMAGES),
            },
            units=n,
            unit_cost=1e-3,
            size=n * 500,
        )

    def trade_off(self, experiment: Experiment, point: Point, faces: str, protected: str) -> str:
        """One row per image and noise level: the two terms of UP (Equation 9)."""
        model, n = point.evaluated, experiment.pairs
        assert model is not None
        via = point.attack.via
        inputs = {"faces": faces, "protected": protected}
        if via is not None and self.instances.of(via).trains_on != "nothing":
            inputs["state"] = self.fit_attack(experiment, point, via, faces)
        components = {"attack": (_without_via(point.attack),), "model": (model,), "authorised": point.authorised}
        passes = self.instances.of(via).passes() if via else 0.0
        cost = 2 * (self.instances.of(model).mflops * (1 + passes) / _MFLOP_PER_S + 5e-3)
        return self.stage(
            "score",
            f"{point.attack.label} and recognition of {self.stages[protected].name} under noise, by {model.label}",
            f"score:up:{point.attack.label}",
            components=components | ({"via": (via,)} if via else {}),
            options={
                "metric": "up",
                "lpips": self.lpips,
                "noise_levels": list(experiment.noise_levels),
                "upload": experiment.upload,
                **self._seen(experiment, point),
            },
            inputs=inputs,
            seed=self.seed("up", point.dataset.name, point.repeat),
            units=n * len(experiment.noise_levels),
            unit_cost=cost,
            size=n * len(experiment.noise_levels) * 100,
        )

    # ---- stages --------------------------------------------------------------------------------------------------

    def seed(self, *scope: object) -> int:
        """The seed of a scope of this suite."""
        return scoped_seed(self.suite_seed, *scope)

    def stage(
        self,
        kind: StageKind,
        name: str,
        cost_name: str,
        *,
        components: Mapping[str, tuple[Component, ...]] | None = None,
        options: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
        seed: int = 0,
        units: int,
        unit_cost: float,
        size: int,
    ) -> str:
        """Add a stage unless one with the same key is there; return its key."""
        components, inputs = dict(components or {}), dict(inputs or {})
        options = {**self.common, **(options or {})}
        key = digest_of(
            {
                "kind": kind,
                "components": components,
                "options": options,
                "inputs": inputs,
                "seed": seed,
                "runtime": runtime_digest(),
            }
        )
        if key not in self.stages:
            cost_name = f"{self.device}:{cost_name}"
            plugins = {c.label: self.instances.of(c) for group in components.values() for c in group}
            self.stages[key] = Stage(
                kind=kind,
                name=name,
                key=key,
                components=components,
                options=options,
                inputs=inputs,
                seed=seed,
                units=units,
                cost=units * self.costs.get(cost_name, unit_cost),
                cost_name=cost_name,
                size=size,
                time_limit_s=self.limits.time_s(kind, plugins),
                memory_limit_mb=self.limits.memory_mb(kind),
            )
        return key


def _without_via(attack: Component) -> Component:
    """The attack by itself: what it estimates on the originals is the same whatever ran before it."""
    return replace(attack, via=None)
