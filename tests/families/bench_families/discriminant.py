"""A linear recogniser for vectors, learnt from labelled people: what separates people is kept, what varies within one
person is scaled down."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray


def learnt(vectors: torch.Tensor, subjects: NDArray[np.int64], size: int) -> Mapping[str, torch.Tensor]:
    """Return the mean ``(d,)`` and the projection ``(d, size)`` of a linear discriminant analysis.

    ``vectors (n, d)`` show people ``subjects (n,)``, with several pictures each. Principal components come first, so
    that there are fewer of them than pictures.
    """
    mean = vectors.mean(dim=0)
    centred = vectors - mean
    kept = min(2 * size, len(vectors) // 2, vectors.shape[1])
    main = torch.linalg.svd(centred, full_matrices=False).Vh[:kept].T
    low = centred @ main
    _, person = np.unique(subjects, return_inverse=True)
    one = torch.nn.functional.one_hot(torch.from_numpy(person)).to(low.dtype)
    means = (one.T @ low) / one.sum(dim=0)[:, None]
    within = low - means[torch.from_numpy(person)]
    spread = within.T @ within / len(low) + 1e-3 * low.var() * torch.eye(kept)
    values, directions = torch.linalg.eigh(spread)
    white = directions / values.sqrt()
    between = torch.linalg.svd(means @ white, full_matrices=False).Vh[: min(size, kept)].T
    projection = main @ white @ between
    missing = size - projection.shape[1]
    return {"mean": mean, "projection": torch.nn.functional.pad(projection, (0, missing))}
