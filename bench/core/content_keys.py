"""Content keys and seeds: digests of everything that decides a result. Pure functions; no torch.

Two stages with the same content key have the same artifact, so the artifact is computed once and found by its key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from bench.core.domain import Component
from bench.core.errors import PluginError


def canonical(value: Any) -> Any:
    """Convert parameters and components to plain JSON values that are equal if the originals mean the same.

    Tuples become lists, the keys of tables are sorted, paths and dates become text. Of a component only that remains
    which decides results: neither its label nor whether it is a stand-in. Raises `PluginError` for any other type.
    """
    if isinstance(value, Component):
        found = {
            "name": value.name,
            "params": canonical(value.params),
            "version": value.origin.version,
            "distribution": value.origin.distribution,
            "digest": value.origin.digest,
            "weights": value.weights,
        }
        found |= {"libraries": canonical(value.origin.libraries)} if value.origin.libraries else {}
        return found | ({"via": canonical(value.via)} if value.via else {})
    if isinstance(value, Mapping):
        return {str(k): canonical(v) for k, v in sorted(value.items())}
    if isinstance(value, tuple | list):
        return [canonical(v) for v in value]
    if isinstance(value, Path | date):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise PluginError(
        f"a parameter has the value {value!r}; expected text, numbers, paths, dates, lists or tables of these, "
        "which mean the same in every process"
    )


def digest_of(value: Any) -> str:
    """Return the sha256 of a value in its `canonical` form, as 64 hexadecimal digits."""
    text = json.dumps(canonical(value), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def joined_digest(*parts: str) -> str:
    """Return the sha256 of several texts in this order, as 64 hexadecimal digits. The texts hold no line breaks."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def scoped_seed(suite_seed: int, *scope: object) -> int:
    """Derive the seed of a scope, such as ``("faces", "lfw")``, from the seed of the suite; in [0, 2^63).

    It is made of the first 8 bytes of the sha256 of the suite's seed and the names in ``scope``, so that two scopes
    have independent random streams, and one scope has the same stream in every run of the suite.
    """
    text = "/".join(str(part) for part in (suite_seed, *scope))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
