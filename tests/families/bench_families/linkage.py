"""An adversary who links uploads of one person, with an embedding that he has adapted to protected pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch.nn.functional import cosine_similarity

from bench import Attack


@dataclass(frozen=True, kw_only=True)
class Linkage(Attack):
    """Whitens the evaluated recogniser's embeddings of uploads by their scatter within people; compares by cosine."""

    sees = frozenset({"images", "labels", "defense"})
    outputs = "links"
    trains_on = "defense"
    threat = "learns from protected pictures of other people, several of each, what stays the same about a person"
    license = "none needed"

    faces: Annotated[int, Ge(4)] = 400
    shrinkage: Annotated[float, Gt(0)] = 0.1

    def budget(self):
        return {"faces": self.faces}

    def fit(self, examples, ctx):
        subjects = np.asarray(examples.subjects)
        parts = np.array_split(np.arange(len(subjects)), 1 + len(subjects) // 64)
        with torch.no_grad():
            found = torch.cat([self.embed(examples.received(part), ctx) for part in parts]).double()
        centred = found - found.mean(0)
        for person in np.unique(subjects):
            own = torch.from_numpy(np.flatnonzero(subjects == person)).to(ctx.device)
            centred[own] = found[own] - found[own].mean(0)
        within = centred.T @ centred / len(centred)
        within += self.shrinkage * torch.eye(len(within), device=ctx.device) * within.diagonal().mean()
        values, vectors = torch.linalg.eigh(within)
        return {"mean": found.mean(0), "whitening": vectors * values.rsqrt()}

    def link(self, first, second, ctx):
        with torch.no_grad():
            sides = [self.embed(side, ctx).double() - ctx.state["mean"] for side in (first, second)]
        return cosine_similarity(*(side @ ctx.state["whitening"] for side in sides))
