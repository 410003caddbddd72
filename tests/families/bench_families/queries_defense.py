"""An adversary who runs the defense on pictures of his own choice and learns to undo it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge

from bench import Attack, Reconstructed


@dataclass(frozen=True, kw_only=True)
class QueriesDefense(Attack):
    """Asks how uniform grey pictures and known faces are protected; undoes a change of tone by linear regression."""

    sees = frozenset({"images", "defense"})
    outputs = "images"
    trains_on = "clean"
    threat = "runs the defense on pictures of his choice"
    license = "none needed"

    queries: Annotated[int, Ge(1)] = 16

    def budget(self):
        return {"queries": self.queries}

    def fit(self, examples, ctx):
        rows = np.arange(min(self.queries, len(examples.images)))
        chosen = torch.from_numpy(np.array(examples.images[rows])).to(ctx.device).float() / 255
        answered = ctx.defense(chosen, torch.zeros(len(rows), dtype=torch.int64)).images
        x = answered.permute(0, 2, 3, 1).reshape(-1, 3)
        x = torch.cat([x, torch.ones(len(x), 1, device=x.device)], dim=1)
        return {"weights": torch.linalg.lstsq(x, chosen.permute(0, 2, 3, 1).reshape(-1, 3)).solution}

    def reconstruct(self, received, ctx):
        weights = ctx.state["weights"]
        mixed = torch.einsum("nchw,cd->ndhw", received.images, weights[:3]) + weights[3].reshape(1, 3, 1, 1)
        return Reconstructed(images=mixed.clamp(0, 1))
