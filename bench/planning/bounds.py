"""Formal guarantees: what a defense declares of one upload, and what follows for all that an attack receives.

What an attack learns from are pictures of other people, which spend nothing of the guarantee of the victim, unless it
learns from the evaluated faces themselves: no guarantee of a defense covers these unprotected uploads.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import cast

from bench.api.attack import Attack
from bench.api.defense import Defense
from bench.api.types import Bound
from bench.core.domain import Side
from bench.core.errors import PluginError, error_text

_LEAKED = "it does not cover the unprotected uploads of the same faces that the attack learns from"


def declared(defense: Defense, label: str) -> Bound | None:
    """Return the formal guarantee of a defense, which messages name by its label; None if it gives none."""
    try:
        found = defense.bound()
    except Exception as error:
        raise PluginError(f"defense {label}: bound() failed with {error_text(error)}") from error
    if found is None:
        return None
    if not isinstance(found, Bound):
        raise PluginError(f"defense {label}: bound() must return bench.Bound, got {type(found).__name__}")
    if wrong := _wrong(found):
        raise PluginError(f"defense {label}: bound(): expected {wrong}")
    return found


def received(bound: Bound, attack: Attack, side: Side, *, leaky: bool) -> Bound:
    """Return the guarantee of all uploads together that an attack receives of a face, out of that of one upload.
    ``side`` says which pictures of a pair are protected: ``both`` are released together.

    Several uploads of one photo are protected anew: epsilon and delta add up, and k is that of a defense which sends
    the same again. Different pictures of a person have a guarantee each: their epsilon is that of a picture, and k
    holds within one release. ``leaky``: the attack, or the one whose reconstructions it works on, learns from
    unprotected uploads of the evaluated faces. The guarantee does not cover these, and the words say so.
    """
    found = _of_uploads(bound, attack, side)
    return replace(found, words=f"{found.words}; {_LEAKED}") if leaky else found


def _of_uploads(bound: Bound, attack: Attack, side: Side) -> Bound:
    """Return the guarantee of the uploads of a face that an attack receives."""
    links = attack.outputs == "links"
    pictures = 2 if links else attack.uploads if attack.uploads_of == "person" else 1
    if pictures > 1 and bound.k is None:
        return replace(bound, words=f"{bound.words}, for each of {pictures} pictures of a person alone")
    if pictures > 1 and not (links and side == "both"):
        return replace(
            bound, words=f"{bound.words}; several releases of the same people: k holds for each alone", k=None
        )
    if pictures > 1 or attack.uploads == 1 or (bound.k is not None and bound.epsilon is None):
        return bound
    n = attack.uploads
    words = f"{bound.words}, for each of {n} uploads; for all of them together up to {n} times as much"
    return replace(bound, words=words, epsilon=None if bound.epsilon is None else n * bound.epsilon)


def recorded(bound: Bound, spent: Bound) -> str:
    """Return the guarantee of all that an attack receives as JSON, with the ``declared`` one if that is another."""
    return json.dumps(vars(spent) | ({"declared": vars(bound)} if spent != bound else {}))


def _wrong(bound: Bound) -> str | None:
    """Return what was expected of a formal guarantee and what was found; None if it can be recorded."""
    if not isinstance(bound.words, str) or not bound.words.strip():
        return f"a sentence as words, got {bound.words!r}"
    numbers: dict[str, object] = {"epsilon": bound.epsilon, "k": bound.k}
    for name, value in numbers.items():
        least = 0 if name == "epsilon" else 1  # What shows nothing of the face has an epsilon of 0.
        known = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (known and least <= cast(float, value) < math.inf):
            return f"a finite number of at least {least} as {name}, got {value!r}"
    return None
