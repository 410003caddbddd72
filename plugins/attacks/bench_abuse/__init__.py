"""Data abuse: images uploaded for one model are fed to other models (paper, section 4.1.2, Tables VII and IX)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench import Attack, hookimpl


@dataclass(frozen=True, kw_only=True)
class Abuse(Attack):
    """Recognition without permission: the received images are fed to the evaluated model unchanged.

    The adversary holds the received image as probe, one clean enrolment image per identity, and a recognition model of
    its choice. If the evaluated model is the authorised one, the same cell measures the utility of the protection.
    """

    sees = frozenset({"images"})
    outputs = "recognition"
    license = "none needed: no weights of its own"
    threat = "sees the uploaded images and clean enrolment images; uses a recognition model of its own; does not adapt"


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """Register ``abuse``."""
    return {"abuse": Abuse}
