"""TODO bench/api/types.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


@runtime_checkable
class LazyImages(Protocol):
    """Images that are decoded when they are asked for, so that a large set is never in memory as a whole.

    ``shape`` is ``(n, 3, h, w)``, ``dtype`` uint8; ``images[a:b]`` and ``images[rows]`` are arrays.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[np.uint8]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Face images with what is known about them.

    ``images`` uint8 ``(n, 3, h, w)`` RGB, an array or `LazyImages`; ``subjects`` int64 ``(n,)``; ``sample_ids`` str
    ``(n,)``, unique; ``attributes``: column name to array ``(n,)`` (for example ``age`` in years), empty when nothing
    is known.
    """

    images: NDArray[np.uint8] | LazyImages
    subjects: NDArray[np.int64]
    sample_ids: NDArray[np.str_]
    attributes: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Verification pairs: indices ``left (m,)`` and ``right (m,)`` into a `Faces`, ``same (m,)`` bool (genuine or
    impostor), ``fold (m,)`` int in [0, 10)."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Protected:
    """What leaves the client for a batch of ``n`` faces.

    ``images`` float ``(n, 3, h, w)`` RGB in [0, 1], or none when the defense sends only features.
    ``features``: named split to tensor ``(n, ...)``, empty when it sends only images.
    ``extra``: per-sample numbers worth a column in the results, each ``(n,)`` (for example the final loss).
    """

    images: torch.Tensor | None = None
    features: Mapping[str, torch.Tensor] = field(default_factory=dict)
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Received:
    """What an adversary holds of ``n`` faces: what the client uploaded, and what the shallow model makes of it.

    ``images`` float ``(n, 3, h, w)`` RGB in [0, 1], or none when only features were uploaded.
    ``features``: named split to tensor ``(n, c, h, w)``, at the splits that the attack asked for.
    """

    images: torch.Tensor | None = None
    features: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reconstructed:
    """What a reconstruction attack makes of ``n`` uploads: ``images`` float ``(n, 3, h, w)`` RGB in [0, 1];
    ``extra`` as in `Protected`."""

    images: torch.Tensor
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DataStatus:
    """What ``bench data status`` and ``bench models status`` show of a component.

    ``where`` it is read from, none when it is missing; ``layout`` in words (``InsightFace .bin``, ``generated``);
    ``missing``: what is missing and where to put it, or none; ``notes``: anything else worth a line. Counts are none
    where they are not known or not limited.
    """

    where: str | None = None
    layout: str = ""
    images: int | None = None
    pairs: int | None = None
    missing: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what, whether it is in order, and what was found (or what to do)."""

    what: str
    ok: bool
    found: str
