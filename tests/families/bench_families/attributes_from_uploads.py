"""An adversary who learns to describe people from protected pictures whose labels he knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch.nn.functional import adaptive_avg_pool2d

from bench import Attack


@dataclass(frozen=True, kw_only=True)
class AttributesFromUploads(Attack):
    """Ridge regression from the coarse colours of an upload to the classes of one attribute."""

    sees = frozenset({"images", "labels"})
    outputs = "attributes"
    threat = "learns an attribute from protected pictures of other people with their labels"
    license = "none needed"

    attribute: str = "gender"
    names: tuple[str, ...] = ("woman", "man")
    learns: str = "defense"
    faces: Annotated[int, Ge(2)] = 400
    cells: Annotated[int, Ge(1)] = 8
    ridge: Annotated[float, Gt(0)] = 1.0

    @property
    def trains_on(self):
        return self.learns

    def budget(self):
        return {"faces": self.faces}

    def classes(self):
        return {self.attribute: self.names}

    def described(self, images):
        coarse = adaptive_avg_pool2d(images, self.cells).flatten(1)
        return torch.cat([coarse, torch.ones(len(coarse), 1, device=coarse.device)], dim=1)

    def fit(self, examples, ctx):
        labels = np.asarray(examples.attributes[self.attribute]).astype(str)
        rows = np.flatnonzero(np.isin(labels, self.names))
        x = torch.cat(
            [self.described(examples.received(part).images) for part in np.array_split(rows, 1 + len(rows) // 64)]
        )
        y = torch.from_numpy((labels[rows, None] == np.array(self.names)).astype(np.float32)).to(ctx.device)
        inner = x.T @ x + self.ridge * torch.eye(x.shape[1], device=ctx.device)
        return {"weights": torch.linalg.solve(inner, x.T @ y)}

    def estimate(self, images, ctx):
        return {self.attribute: (self.described(images) @ ctx.state["weights"] * 10).softmax(1)}
