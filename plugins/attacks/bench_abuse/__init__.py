"""Data abuse: what was uploaded for one model is fed to others (paper, section 4.1.2, Tables VII and IX)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench import Attack, hookimpl


@dataclass(frozen=True, kw_only=True)
class Abuse(Attack):
    """Recognition without permission: the received images go into the evaluated model as they are.

    The adversary holds the received image, one clean enrolment image per identity, and a recognition model of its
    choice. When the evaluated model is the authorised one, the same cell measures the utility of the protection.
    """

    sees = frozenset({"images"})
    outputs = "recognition"
    threat = "sees the uploaded images and clean enrolment images; uses a recognition model of its own; does not adapt"


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """The attack of this plugin."""
    return {"abuse": Abuse}
