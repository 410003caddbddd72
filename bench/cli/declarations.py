"""What a plugin declares, as text: its class attributes and properties, its guarantee, what it sends, its training."""

from __future__ import annotations

import dataclasses

from bench.api.attack import Attack
from bench.api.defense import Defense
from bench.suite.expand import reference_words


def declarations(cls: type) -> dict[str, str]:
    """Return the public class attributes and properties of a component as text, by name.

    Properties, which may depend on parameters, are read from an instance with the default parameters. They are left out
    if a parameter has no default.
    """
    fields = {f.name for f in dataclasses.fields(cls)}
    found = {}
    for name in dir(cls):
        value = getattr(cls, name)
        if name.startswith("_") or name in fields or callable(value):
            continue
        depends = isinstance(value, property)
        if depends:
            try:
                value = getattr(cls(), name)
            except Exception:  # A parameter has no default, so the property has no value to show.
                continue
        if isinstance(value, frozenset):
            value = ", ".join(sorted(value)) or "nothing"
        elif isinstance(value, tuple) and all(isinstance(word, str) for word in value):
            value = ", ".join(value) or "nothing"
        elif isinstance(value, dict):
            value = ", ".join(f"{k} {'x'.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in value.items())
        found[name.replace("_", " ")] = f"{value} (with the default parameters)" if depends else str(value)
    if issubclass(cls, Defense):
        found |= _of_defense(cls)
    elif issubclass(cls, Attack):
        found |= _of_attack(cls)
    return found


def _of_attack(cls: type[Attack]) -> dict[str, str]:
    """Return the attack whose training an attack uses with the default parameters, as text by name; empty if it is its
    own, or not known because a parameter has no default."""
    try:
        other = cls().trained_as()
        return {} if other is None else {"trained as": f"{reference_words(other)} (with the default parameters)"}
    except Exception:  # A parameter has no default, or the plugin is broken, which `bench plan` tells.
        return {}


def _of_defense(cls: type[Defense]) -> dict[str, str]:
    """Return the formal guarantee of a defense and the shapes of its representation with the default parameters, as
    text by name; without what cannot be known because a parameter has no default."""
    found = {}
    try:
        instance = cls()
        if bound := instance.bound():
            numbers = [
                f"{name} {value:g}" for name, value in (("epsilon", bound.epsilon), ("k", bound.k)) if value is not None
            ]
            found["bound"] = ", ".join([bound.words, *numbers])
        if "representation" in cls.sends:
            shapes = instance.representation().items()
            found["representation"] = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes)
    except Exception:  # A parameter has no default, or the plugin is broken, which `bench doctor` tells.
        return found
    return {name: f"{text} (with the default parameters)" for name, text in found.items()}
