"""Toy attacks: one that recognises, and two whose cells are skipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench import Attack


@dataclass(frozen=True, kw_only=True)
class ToyRecognise(Attack):
    """Feeds the received images to the evaluated model."""

    outputs = "recognition"
    threat = "sees the images"


@dataclass(frozen=True, kw_only=True)
class ToyReconstruct(Attack):
    """Outputs images, which cannot be scored yet."""

    outputs = "images"
    threat = "reconstructs"


ATTACKS: Mapping[str, type[Attack]] = {"toy-recognise": ToyRecognise, "toy-reconstruct": ToyReconstruct}
