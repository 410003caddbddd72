"""The form of artifacts by the kind of their stage: the arrays and columns that every reader of one needs.

Checksums say that files are undamaged, not that they hold what a stage makes: a cache may be shared with strangers. An
artifact of another form counts as damaged, so that it is named, removed and made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.store.artifacts import REPRESENTATION, Artifact, Cache, DamagedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTEGERS: tuple[str, Callable[[pa.DataType], bool]] = ("whole numbers", pa.types.is_integer)
FLAGS: tuple[str, Callable[[pa.DataType], bool]] = ("true and false", pa.types.is_boolean)
TEXTS: tuple[str, Callable[[pa.DataType], bool]] = ("texts", pa.types.is_string)
BYTES: tuple[str, Callable[[pa.DataType], bool]] = ("bytes", pa.types.is_binary)
FLOATS: tuple[str, Callable[[pa.DataType], bool]] = (
    "numbers",
    lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind),
)
_COLUMNS: Mapping[str, Mapping[str, tuple[str, Callable[[pa.DataType], bool]]]] = {
    "faces": {"sample_id": TEXTS, "subject": INTEGERS},
    "pairs": {"left": INTEGERS, "right": INTEGERS, "same": FLAGS, "fold": INTEGERS},
    "samples": {"face": INTEGERS},
    "learnt": {"subject": INTEGERS, "sample_id": TEXTS, "picture": BYTES},
    "scores": {"score": FLOATS, "partner": INTEGERS},
}
# The kinds of stages whose artifacts are read in a role; in any other role, those of any stage that is not a score.
_UPLOADED = ("faces", "protect", "attack")
_KINDS: Mapping[str, Sequence[str]] = {
    "faces": ("faces",),
    "calibration_faces": ("faces",),
    "strangers_faces": ("faces",),
    "strangers": ("embed",),
    "stranger_links": ("attack",),
    "targets": ("faces",),
    "enrolment": ("faces",),
    "first": ("protect",),
    "second": ("protect",),
    "links": ("attack",),
    "clean": ("embed",),
    "calibration": ("embed",),
    "original": ("attack",),
    "received": ("attack",),
    "constant": ("attack",),
    "images": _UPLOADED,
    "protected": (*_UPLOADED, "embed"),
    "state": ("fit_defense", "fit_attack"),
}


def read_input(cache: Cache, role: str, key: str) -> Artifact:
    """Read the artifact that is the input ``role`` of a stage, verified. Raises `DamagedError`, also for another form
    than that of the stages that are read in this role."""
    artifact = cache.read(key)
    try:
        kinds = _KINDS.get(role.partition(", share ")[0], tuple(_FORMS))
        require(artifact.kind in kinds, f"the result of a stage {' or '.join(kinds)}", artifact.kind)
        _FORMS[artifact.kind](artifact)
    except WrongFormError as error:
        raise DamagedError(f"{cache.folder(key)}: {error}") from None
    return artifact


class WrongFormError(Exception):
    """What was expected of an artifact, and what was found."""


def require(holds: bool, expected: str, found: object) -> None:
    """Raise `WrongFormError` unless something holds."""
    if not holds:
        raise WrongFormError(f"expected {expected}, found {found}")


def require_type(table: str, column: str, kind: pa.DataType, wanted: tuple[str, Callable[[pa.DataType], bool]]) -> None:
    """Raise `WrongFormError` unless a column has the type that is wanted, which is given in words and as a check."""
    words, fits = wanted
    require(fits(kind), f"{words} in the column {column} of {table}", kind)


def _table(artifact: Artifact, name: str) -> pa.Table:
    """Return a table after checking its columns."""
    require(name in artifact.tables, f"a table {name}", ", ".join(artifact.tables) or "none")
    table = artifact.tables[name]
    for column, wanted in _COLUMNS[name].items():
        require(column in table.column_names, f"{name} with the column {column}", ", ".join(table.column_names))
        require_type(name, column, table[column].type, wanted)
        require(not table[column].null_count, f"a value in every row of the column {column} of {name}", "none in one")
    return table


def _array(artifact: Artifact, name: str, kinds: str, dimensions: int) -> NDArray[Any]:
    """Return an array after checking its type (the characters of numpy's ``dtype.kind``) and dimensions."""
    require(name in artifact.tensors, f"an array {name}", ", ".join(artifact.tensors) or "none")
    array: NDArray[Any] = artifact.tensors[name]
    fits = array.dtype.kind in kinds and array.ndim == dimensions
    require(fits, f"an array {name} of {dimensions} dimensions", f"{array.dtype} {array.shape}")
    return array


def _images(artifact: Artifact) -> NDArray[np.uint8]:
    images = _array(artifact, "images", "u", 4)
    fits = images.dtype == np.uint8 and images.shape[1] == 3
    require(fits, "images of 8 bits (n, 3, h, w)", f"{images.dtype} {images.shape}")
    return images


def _rows(artifact: Artifact, name: str, n: int) -> None:
    count = len(_table(artifact, name))
    require(count == n, f"{n} rows in {name}, one for each picture", count)


def _faces(artifact: Artifact) -> None:
    n = len(_images(artifact))
    _rows(artifact, "faces", n)
    for side in ("left", "right") if "pairs" in artifact.tables else ():
        found = pc.min_max(_table(artifact, "pairs")[side]).as_py()
        within = found["min"] is None or (found["min"] >= 0 and found["max"] < n)
        require(within, f"numbers of the {n} faces in the column {side} of pairs", f"{found['min']} to {found['max']}")


def _embeddings(artifact: Artifact) -> None:
    plain, flipped = (_array(artifact, name, "f", 2) for name in ("plain", "flipped"))
    require(plain.shape == flipped.shape, f"an array flipped of the shape {plain.shape}", flipped.shape)


def _uploads(artifact: Artifact) -> None:
    sent = [name for name in artifact.tensors if name.startswith("features/")]
    counts = {len(_array(artifact, name, "f", 4)) for name in sent}
    own = [held for name, held in artifact.tensors.items() if name.startswith(REPRESENTATION)]
    counts |= {len(held) if held.ndim else -1 for held in own}
    if "images" in artifact.tensors or not (sent or own):
        counts.add(len(_images(artifact)))
    for count in counts:
        _rows(artifact, "samples", count)


def _attacked(artifact: Artifact) -> None:
    """Check reconstructions, scores of links, or estimated attributes: arrays ``(n,)`` or ``(n, k)``."""
    if "scores" in artifact.tables:
        _table(artifact, "scores")
        return
    if artifact.tables:
        _uploads(artifact)
        return
    require(bool(artifact.tensors), "arrays of estimates", "none")
    for name, array in artifact.tensors.items():
        require(array.dtype.kind == "f" and array.ndim in (1, 2), f"estimates {name}", f"{array.dtype} {array.shape}")


def _state(artifact: Artifact) -> None:
    if "learnt" in artifact.tables:
        _table(artifact, "learnt")


_FORMS: Mapping[str, Callable[[Artifact], None]] = {
    "faces": _faces,
    "embed": _embeddings,
    "protect": _uploads,
    "attack": _attacked,
    "fit_defense": _state,
    "fit_attack": _state,
}
