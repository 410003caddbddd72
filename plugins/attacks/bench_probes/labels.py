"""The labels of auxiliary faces, as targets of an attack that learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench import DataError

if TYPE_CHECKING:
    from bench import Context, Examples

UNKNOWN = -1  # The class of a face without a label.


def targets(examples: Examples, attribute: str, classes: Sequence[str], ctx: Context) -> Tensor:
    """Return the labels of all faces: numbers of classes int64 ``(n,)``, or without classes numbers float ``(n,)``.

    A face without a label, or with one that is not among the classes, has `UNKNOWN` or NaN. Raise `DataError` if the
    faces have no such attribute, or if fewer than two of its values occur.
    """
    if attribute not in examples.attributes:
        there = ", ".join(sorted(examples.attributes)) or "none"
        raise DataError(
            f"{ctx.plugin} learns the attribute {attribute!r}: expected auxiliary faces with labels of it, found the "
            f"attributes: {there}; name a data set with such labels as 'auxiliary' of the experiment"
        )
    labels = np.asarray(examples.attributes[attribute])
    found = _classes(labels.astype(str), classes) if classes else _numbers(labels)
    known = found[found >= 0] if classes else found[~found.isnan()]
    if len(set(known.tolist())) < 2:
        there = ", ".join(sorted(set(labels.astype(str).tolist()))[:8])
        expected = f"labels of at least two of {', '.join(classes)}" if classes else "different numbers"
        raise DataError(f"{ctx.plugin} learns the attribute {attribute!r}: expected {expected}, found {there}")
    return found


def _classes(labels: np.ndarray[tuple[int], np.dtype[np.str_]], classes: Sequence[str]) -> Tensor:
    known = {name: index for index, name in enumerate(classes)}
    return torch.tensor([known.get(label, UNKNOWN) for label in labels.tolist()])


def _numbers(labels: np.ndarray[tuple[int], np.dtype[np.generic]]) -> Tensor:
    try:
        return torch.from_numpy(labels.astype(np.float32))
    except ValueError:  # These labels are no numbers.
        return torch.full((len(labels),), torch.nan)
