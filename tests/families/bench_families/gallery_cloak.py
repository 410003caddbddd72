"""A cloak of the pictures that somebody enrols: later, a clean picture of the person should not match them."""

from __future__ import annotations

from dataclasses import dataclass

from bench_families.cloak import Cloak


@dataclass(frozen=True, kw_only=True)
class GalleryCloak(Cloak):
    """Cloaks the gallery, as a person does who publishes pictures that others collect."""

    protects = frozenset({"gallery"})
    promise = "a clean picture of the person does not match the published ones"
