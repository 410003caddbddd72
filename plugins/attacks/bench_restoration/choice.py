"""The choice of a filter: with which one a recogniser matches most uploads of auxiliary people."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from bench_learners.examples import faces_of, parts
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from bench import DataError
from bench_restoration.filters import Change, Filter, unchanged

if TYPE_CHECKING:
    from bench import Context, Examples, Network

SCREENED = 48  # The number of faces on which all filters are tried, and of which the best go on to all faces.
FINALISTS = 5
FMR = 0.01  # The share of other people above the threshold at which matches are counted.

Uploads = Callable[[NDArray[np.int64]], Tensor]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How well a recogniser does with a filter: the share of uploads that it ``matched`` at a false match rate of 1 %,
    and the share of other people who are ``ranked`` below the right one."""

    matched: float
    ranked: float

    @property
    def order(self) -> tuple[float, float]:
        """What trials are compared by."""
        return self.matched, self.ranked


def choose(filters: Sequence[Filter], examples: Examples, uploads: Uploads, ctx: Context) -> dict[str, Tensor]:
    """Return the index of the best filter as ``filter``, and as ``matched (k,)`` the share of uploads that each one has
    matched.

    ``uploads`` returns the images, float ``(n, 3, h, w)``, that the adversary holds of some of the faces of
    ``examples``. The first filter must be that which changes nothing. A filter that was not tried on all faces, because
    others were better on some of them, has NaN. Raise `DataError` for faces of fewer than two people.
    """
    subjects = np.asarray(examples.subjects)
    if len(np.unique(subjects)) < 2:
        raise DataError(
            f"{ctx.plugin} compares uploads with pictures of the same and of other people: expected auxiliary faces "
            f"of at least two people, found {len(np.unique(subjects))}; name a data set with more, or raise 'faces'"
        )
    compared = _Compared(examples, uploads, subjects, ctx)
    few = _of_most_people(subjects)[:SCREENED]
    tried: dict[int, Trial] = {}
    for index, filter_ in enumerate(filters):
        tried[index] = compared.trial(filter_, few)
        ctx.progress(0.5 * (index + 1), len(filters))
    best = sorted(tried, key=lambda i: tried[i].order, reverse=True)
    finalists = sorted({0, *best[:FINALISTS]})
    final: dict[int, Trial] = {}
    for done, index in enumerate(finalists):
        final[index] = compared.trial(filters[index], np.arange(len(subjects)))
        ctx.progress(0.5 + 0.5 * (done + 1) / len(finalists), 1)
    chosen = max(finalists, key=lambda i: (*final[i].order, -i))
    _note(filters[chosen], final[chosen], final[0], len(subjects), ctx)
    matched = torch.full((len(filters),), torch.nan)
    for index, trial in final.items():
        matched[index] = trial.matched
    return {"filter": torch.tensor(chosen), "matched": matched}


def chosen_filter(filters: Sequence[Filter], state: Mapping[str, Tensor]) -> Filter:
    """Return the filter that `choose` has chosen."""
    return filters[int(state["filter"])]


def _of_most_people(subjects: NDArray[Any]) -> NDArray[np.int64]:
    """Return all rows, the first two pictures of every person before any others."""
    earlier = np.zeros(len(subjects), np.int64)
    for person in np.unique(subjects):
        own = np.flatnonzero(subjects == person)
        earlier[own] = np.arange(len(own)) // 2
    return np.argsort(earlier, kind="stable")


def embedded(images: Tensor, change: Change, ctx: Context) -> Tensor:
    """Return the embeddings of images after a change by the evaluated network."""
    with torch.no_grad():
        return ctx.evaluated()(change(images))


def _note(chosen: Filter, with_it: Trial, without: Trial, faces: int, ctx: Context) -> None:
    """Say which filter was chosen; the host stores it with the notes of the run."""
    found = f"of {faces} uploads of auxiliary people it matched {with_it.matched:.1%} (without a filter "
    warnings.warn(f"{ctx.plugin} chose {chosen.words}: {found}{without.matched:.1%})", UserWarning, stacklevel=2)


class _Compared:
    """Compares uploads of auxiliary people, after a filter, with their pictures and those of others."""

    def __init__(self, examples: Examples, uploads: Uploads, subjects: NDArray[Any], ctx: Context) -> None:
        self.examples, self.uploads, self.subjects = examples, uploads, subjects
        self.network: Network = ctx.evaluated()
        self.ctx = ctx
        self.enrolled: dict[int, Tensor] = {}

    def trial(self, filter_: Filter, rows: NDArray[np.int64]) -> Trial:
        """Return how well the recogniser does with a filter on some of the faces."""
        probes = self._embedded(self.uploads, filter_.uploads, rows)
        cosine = probes @ self._enrolled(filter_.enrolled, rows).T
        who = torch.from_numpy(self.subjects[rows])
        same = who[:, None] == who[None, :]
        others = cosine[~same]
        threshold = float(np.quantile(others.numpy(), 1 - FMR))
        # Another picture of the person is the harder and the usual case; one that has no other is compared with itself.
        own = torch.eye(len(rows), dtype=torch.bool)
        wanted = same & ~own
        wanted |= own & ~wanted.any(dim=1, keepdim=True)
        right = cosine[wanted]
        ranked = torch.searchsorted(others.sort().values, right).double().mean() / len(others)
        return Trial(matched=float((right > threshold).double().mean()), ranked=float(ranked))

    def _enrolled(self, change: Change, rows: NDArray[np.int64]) -> Tensor:
        """Return the embeddings of unprotected pictures after a change; they are kept, as most filters share them."""
        if change is not unchanged:
            return self._embedded(self._faces, change, rows)
        if len(rows) not in self.enrolled:
            self.enrolled[len(rows)] = self._embedded(self._faces, change, rows)
        return self.enrolled[len(rows)]

    def _faces(self, rows: NDArray[np.int64]) -> Tensor:
        return faces_of(self.examples, rows, self.ctx)

    def _embedded(self, source: Uploads, change: Change, rows: NDArray[np.int64]) -> Tensor:
        """Return unit embeddings ``(n, d)`` of images after a change, on the CPU."""
        with torch.no_grad():
            found = torch.cat([self.network(change(source(part))).float().cpu() for part in parts(rows)])
        return normalize(found, dim=1)
