"""What attacks declare: who embeds pictures, what an attack may spend, and declarations that contradict each other.

No torch.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator, Mapping
from dataclasses import replace

from bench.api.attack import Attack, Budgeted
from bench.core.domain import Component
from bench.core.errors import BenchError, PluginError, did_you_mean, error_text
from bench.core.memoize import remembered
from bench.core.text import shortened, shortened_repr
from bench.planning.instances import Instances
from bench.planning.knowledge import knowledge
from bench.registry.components import component_of, foreign_code

_BUDGETED: tuple[str, ...] = typing.get_args(Budgeted)
_MOST = 10**12  # of anything that an attack spends


class Adversaries:
    """Answers questions about the declarations of attacks."""

    def __init__(self, instances: Instances) -> None:
        self.instances = instances

    @remembered
    def embeds(self, attack: Component) -> bool:
        """Return True if an attack embeds pictures itself; otherwise the evaluated model does, as it is."""
        instance: Attack = self.instances.of(attack)
        own = _defines(instance, "embed") or _defines(instance, "enrol")
        return instance.outputs == "recognition" and (own or instance.trains_on != "nothing")

    @remembered
    def embeds_uploads(self, attack: Component) -> bool:
        """Return True if an attack does not feed uploads to the evaluated model unchanged, whatever they are."""
        instance: Attack = self.instances.of(attack)
        return _defines(instance, "embed") or (instance.outputs == "links" and _defines(instance, "link"))

    @remembered
    def estimates_images_only(self, attack: Component) -> bool:
        """Return True if the estimates of an attack on an image depend on nothing but this image."""
        instance: Attack = self.instances.of(attack)
        more = {"features", "representation", "shallow_weights", "uploads", "full_model", "recogniser"}
        return instance.trains_on == "nothing" and not instance.sees & more

    @remembered
    def recognises(self, attack: Component) -> bool:
        """Return True if an attack that estimates attributes does so with the evaluated model."""
        instance: Attack = self.instances.of(attack)
        return instance.outputs == "attributes" and "recogniser" in instance.sees

    @remembered
    def queries(self, attack: Component) -> int:
        """Return how many images an attack may have protected while it learns."""
        return int(self.spends(attack).get("queries", 0))

    @remembered
    def most_faces(self, attack: Component) -> int | None:
        """Return the largest number of auxiliary faces that an attack learns from; None for any number."""
        faces = self.spends(attack).get("faces")
        return None if faces is None else int(faces)

    @remembered
    def spends(self, attack: Component) -> Mapping[str, float]:
        """Return the budget of an attack; raise `PluginError` unless it holds positive numbers under known names."""
        instance: Attack = self.instances.of(attack)
        if not callable(instance.budget):  # An older plugin with a parameter of this name.
            return {}
        where = f"attack {attack.label}: budget()"
        try:
            found = dict(instance.budget())
        except BenchError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(f"{where} failed with {shortened(error_text(error))}") from error
        for name, value in found.items():
            if name not in _BUDGETED:
                raise PluginError(f"{where}: expected {', '.join(_BUDGETED)}; {did_you_mean(str(name), _BUDGETED)}")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 1 <= value <= _MOST or value != int(value):
                raise PluginError(
                    f"{where}: {name}: expected a whole number from 1 to {_MOST:,}, found {shortened_repr(value)}"
                )
        return found

    @remembered
    def trained_as(self, attack: Component) -> Component:
        """Return the attack whose `fit` trains an attack: mostly itself. Raise `PluginError` if that cannot be."""
        where = f"attack {attack.label}: trained_as()"
        try:
            other = self.instances.of(attack).trained_as()
        except (Exception, SystemExit) as error:
            raise PluginError(f"{where} failed with {shortened(error_text(error))}") from error
        if other is None:
            return attack
        if not isinstance(other, Mapping) or not isinstance(other.get("plugin"), str):
            raise PluginError(
                f"{where}: expected an attack as a suite writes it, such as {{'plugin': 'decoder'}}, "
                f"found {shortened_repr(other)}"
            )
        params = {str(name): value for name, value in other.items() if name != "plugin"}
        found = component_of("attack", other["plugin"], params, where, self.instances.registry)
        if problem := next(self._mistraining(attack, found), None):
            raise PluginError(f"{where}: {found.name} {problem}")
        return replace(found, label=f"training of {attack.label}")

    def _mistraining(self, attack: Component, other: Component) -> Iterator[str]:
        """Yield why the training of another attack cannot be that of an attack."""
        own, trained = self.instances.of(attack), self.instances.of(other)
        if trained.trained_as() is not None:
            yield "names another attack for its training; name that one"
        if code := foreign_code(trained):
            yield f"runs code outside the installed plugins, {code}, which only a suite may name"
        if trained.trains_on != own.trains_on:
            yield f"learns from {trained.trains_on!r}; expected {own.trains_on!r}, as this attack"
        if more := sorted(trained.sees - own.sees):
            yield f"sees {', '.join(more)}, which this attack does not; add that to the sees of this attack"
        if self.spends(other).get("faces") != self.spends(attack).get("faces"):
            yield "has another budget of faces; expected the same number in both"
        if (trained.uploads, trained.uploads_of) != (own.uploads, own.uploads_of):
            yield "receives other uploads; expected the same uploads and uploads_of in both"
        if text := self.contradiction(other):
            yield f"cannot be trained: {text}"

    @remembered
    def budget(self, attack: Component) -> str | None:
        """Return the budget of an attack, and of that of its ``via``, as JSON, with the number of ``uploads`` if they
        receive several; None if neither has one."""
        both = {**(self.spends(attack.via) if attack.via else {}), **self.spends(attack)}
        uploads = max(self.uploads(one) for one in (attack, attack.via) if one)
        both |= {"uploads": uploads} if uploads > 1 else {}
        return json.dumps({name: int(both[name]) for name in sorted(both)}) if both else None

    @remembered
    def uploads(self, attack: Component) -> int:
        """Return how many uploads of each face an attack receives."""
        found: int = self.instances.of(attack).uploads
        return found

    @remembered
    def knowledge(self, attack: Component) -> int:
        """Return how much an attack knows, with its ``via`` (see `bench.planning.knowledge`)."""
        parts = {one: self.instances.of(one) for one in (attack, attack.via) if one}
        return max(knowledge(own.sees, own.trains_on, self.uploads(one)) for one, own in parts.items())

    @remembered
    def contradiction(self, attack: Component) -> str | None:
        """Return in words which declarations of an attack contradict each other, and what to do; None if none do."""
        instance: Attack = self.instances.of(attack)
        return next((f"{attack.label} {text}" for text in self._contradictions(attack, instance)), None)

    def _contradictions(self, attack: Component, instance: Attack) -> Iterator[str]:
        learns, spends = instance.trains_on != "nothing", self.spends(attack)
        if learns and not _defines(instance, "fit") and self.trained_as(attack) is attack:
            yield (
                f"declares trains_on = {instance.trains_on!r} and has no fit(); define fit(), or declare "
                "trains_on = 'nothing'"
            )
        users = {"recognition": ("embed", "enrol"), "links": ("link", "embed")}.get(instance.outputs, ())
        if learns and users and not any(_defines(instance, method) for method in users):
            yield f"outputs {instance.outputs} and learns, and nothing uses it; define {users[0]}() or {users[1]}()"
        if learns and attack.via:
            yield (
                f"learns from uploads, and would be shown what {attack.via.label} makes of them; name it without via, "
                "or declare trains_on = 'nothing'"
            )
        if "labels" in instance.sees and not learns:
            yield (
                "sees labels, which come with the faces that it learns from, and learns nothing; declare trains_on, or "
                "leave 'labels' out of its sees"
            )
        if "recogniser" in instance.sees and instance.outputs == "images":
            yield (
                "sees a recogniser and outputs images, which every evaluated model recognises afterwards; leave "
                "'recogniser' out of its sees"
            )
        if "recogniser" in instance.sees and attack.via:
            yield (
                f"estimates with an evaluated model, and cannot do so on what {attack.via.label} makes; name it "
                "without via"
            )
        if instance.uploads > 1 and "uploads" not in instance.sees:
            yield f"declares uploads = {instance.uploads} and does not see them; declare 'uploads' in its sees"
        if instance.uploads == 1 and "uploads" in instance.sees:
            yield "sees several uploads and declares uploads = 1; declare how many it receives"
        if instance.uploads > 1 and instance.outputs == "links":
            yield "outputs links, which compare two uploads, and declares further ones; declare uploads = 1"
        if "faces" in spends and instance.trains_on not in ("clean", "defense"):
            yield (
                f"has a budget of auxiliary faces and learns from none (trains_on = {instance.trains_on!r}); leave "
                "'faces' out of budget(), or declare trains_on 'clean' or 'defense'"
            )
        if "queries" in spends and not learns:
            yield (
                "has a budget of queries, which fit() may make, and learns nothing; declare trains_on, or leave "
                "'queries' out of budget()"
            )
        if "queries" in spends and "defense" not in instance.sees:
            yield "has a budget of queries and does not see the defense; declare 'defense' in its sees"


def _defines(instance: Attack, method: str) -> bool:
    """Return True if a plugin defines a method, which it need not, itself."""
    return getattr(type(instance), method) is not getattr(Attack, method)
