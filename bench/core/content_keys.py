"""Content keys and seeds: what decides a result, as a digest. Pure: no torch."""

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
    """A JSON-able form of parameters and components that is equal for equal meaning."""
    if isinstance(value, Component):
        return {
            "name": value.name,
            "params": canonical(value.params),
            "version": value.origin.version,
            "distribution": value.origin.distribution,
            "digest": value.origin.digest,
            "weights": value.weights,
        } | ({"via": canonical(value.via)} if value.via else {})
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
    """sha256 of the canonical JSON of a value."""
    text = json.dumps(canonical(value), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def joined_digest(*parts: str) -> str:
    """sha256 of texts without line breaks, in order: of digests, names and numbers."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def scoped_seed(suite_seed: int, *scope: object) -> int:
    """The seed of a named scope: the first 8 bytes of the sha256 of the suite's seed and the scope's names."""
    text = "/".join(str(part) for part in (suite_seed, *scope))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
