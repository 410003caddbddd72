"""The data that plugins and the host exchange: faces, verification pairs, uploads, reconstructions, checks.

Faces and pairs are numpy arrays, as they are stored. Uploads and reconstructions are torch tensors, as they are
computed. torch is imported for type checking only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


@runtime_checkable
class LazyImages(Protocol):
    """Images that are decoded only when they are indexed, so that a large data set never has to fit into memory.

    ``shape`` is ``(n, 3, h, w)`` and ``dtype`` uint8. ``images[a:b]`` and ``images[rows]`` return numpy arrays.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[np.uint8]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Face images with their labels.

    - ``images``: uint8 ``(n, 3, h, w)`` RGB, a numpy array or `LazyImages`
    - ``subjects``: int64 ``(n,)``, the number of the person that each image shows, the same in all splits of a data set
    - ``sample_ids``: str ``(n,)``, a unique name for each image
    - ``attributes``: by name, an array ``(n,)`` of labels, for example ``age`` in years; empty if nothing is known
    """

    images: NDArray[np.uint8] | LazyImages
    subjects: NDArray[np.int64]
    sample_ids: NDArray[np.str_]
    attributes: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Verification pairs of the images of a `Faces`.

    - ``left``, ``right``: int64 ``(m,)``, the indices of the two images of each pair
    - ``same``: bool ``(m,)``, True for a genuine pair (one person), False for an impostor pair (two people)
    - ``fold``: int64 ``(m,)`` in [0, 10), the fold of the pair in cross-validation
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Further pictures that a defense may use: ``images`` float ``(m, 3, h, w)`` RGB in [0, 1] on the device of the
    context, and ``subjects`` int64 ``(m,)``, the people whom they show."""

    images: torch.Tensor
    subjects: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A formal guarantee of a defense, shown beside the measured leakage.

    ``words`` is a sentence that says what is guaranteed, ``epsilon`` the privacy loss per picture of differential
    privacy, and ``k`` the size of the groups of k-anonymity; a number is None if the guarantee has none.
    """

    words: str
    epsilon: float | None = None
    k: int | None = None


@dataclass(frozen=True, kw_only=True)
class Protected:
    """What a defense returns for a batch of ``n`` faces: the upload that leaves the client.

    - ``images``: float ``(n, 3, h, w)`` RGB in [0, 1]; None if the defense sends no images
    - ``features``: by split point, a tensor ``(n, ...)``; empty if the defense sends no features
    - ``representation``: by name, a tensor ``(n, ...)`` of a shape that `Defense.representation` declares; empty if the
      defense sends none
    - ``extra``: by name, numbers ``(n,)`` to record for each sample, for example the final loss
    """

    images: torch.Tensor | None = None
    features: Mapping[str, torch.Tensor] = field(default_factory=dict)
    representation: Mapping[str, torch.Tensor] = field(default_factory=dict)
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Received:
    """What an adversary, or the service, receives for ``n`` faces: the upload, and the features of the shallow model.

    - ``images``: float ``(n, 3, h, w)`` RGB in [0, 1]; None if the client uploads no images
    - ``features``: by split point, a tensor ``(n, c, h, w)``, at the split points that `Attack.splits` names: the
      uploaded features, or else those that the shallow model computes from the uploaded images
    - ``representation``: by name, the tensors that a defense sends as its own representation
    - ``further``: the second and all further uploads of the same faces, if the attack receives several of each
      (`Attack.uploads`)
    """

    images: torch.Tensor | None = None
    features: Mapping[str, torch.Tensor] = field(default_factory=dict)
    representation: Mapping[str, torch.Tensor] = field(default_factory=dict)
    further: tuple[Received, ...] = ()


class Examples(Protocol):
    """The training data of an attack: ``n`` faces, and the uploads that belong to each of them.

    ``images`` uint8 ``(n, 3, h, w)`` RGB are the faces, ``subjects (n,)`` the numbers of the people that they show, and
    ``attributes`` by name arrays ``(n,)`` of labels. Only an attack that sees ``labels``, or outputs images, may read
    subjects and attributes; for any other they raise `CapabilityError`. An attribute that the data set does not know
    raises `ContractError`; ``name in attributes`` says whether it does.
    """

    images: NDArray[np.uint8]

    @property
    def subjects(self) -> NDArray[np.int64]: ...
    @property
    def attributes(self) -> Mapping[str, NDArray[Any]]: ...

    def received(self, rows: NDArray[np.int64], upload: int = 0) -> Received:
        """Return the uploads of the faces at the indices ``rows``, on the device of the context, without gradients.

        ``upload`` is the number of the upload, from 0, for an attack that receives several of each face.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Reconstructed:
    """What a reconstruction attack returns for ``n`` uploads.

    - ``images``: float ``(n, 3, h, w)`` RGB in [0, 1], the reconstructed faces
    - ``extra``: by name, numbers ``(n,)`` to record for each sample, as in `Protected`
    """

    images: torch.Tensor
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DataStatus:
    """What ``bench data status`` and ``bench models status`` show about the files of a component.

    - ``where``: the place that it is read from; None if its files are missing
    - ``layout``: the format as text, such as ``InsightFace .bin`` or ``generated``
    - ``images``, ``pairs``: how many it has; None if unknown or unlimited
    - ``missing``: what is missing and where to put it; None if nothing is missing
    - ``notes``: further lines to show
    """

    where: str | None = None
    layout: str = ""
    images: int | None = None
    pairs: int | None = None
    missing: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """The result of one check of ``bench data verify``.

    ``what`` names the check, ``ok`` is True if it passed, and ``found`` says what was found or what to do.
    """

    what: str
    ok: bool
    found: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table that a plugin adds to the report: a title, column names and rows. It is text; the host escapes it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
