"""An adversary who adapts a copy of the evaluated recogniser to protected pictures.

He has the defense protect faces that he knows and trains the copy until the embedding of a protected picture is that of
its original, among those of other people. Clean pictures are embedded by the recogniser as it was.

With its defaults, 1,600 pictures of ``synth-lfw`` with ``auxiliary_identities = 800`` and 200 steps, Equation 10 of
``zoo-resnet`` on 200 pairs of which ``pmt`` (``steps = 25, step_size = 0.02``) has protected the first picture for
``zoo-mobileface`` was 99.0 %, and 12.0 % without adapting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch.nn.functional import cross_entropy, normalize

from bench import Attack

TEMPERATURE = 0.05  # of the softmax over the originals in a batch


@dataclass(frozen=True, kw_only=True)
class RecogniserAdapts(Attack):
    """Distils the evaluated recogniser's embeddings of originals into a copy that sees their protected pictures."""

    sees = frozenset({"images", "defense"})
    outputs = "recognition"
    trains_on = "defense"
    threat = "knows the defense and adapts the recogniser to protected pictures of other people"
    license = "none needed"

    faces: Annotated[int, Ge(2)] = 1600
    steps: Annotated[int, Ge(1)] = 200
    batch: Annotated[int, Ge(2)] = 64
    rate: Annotated[float, Gt(0)] = 1e-3

    def budget(self):
        return {"faces": self.faces, "steps": self.steps}

    def fit(self, examples, ctx):
        original, adapted = ctx.evaluated(), ctx.evaluated()
        adapted.train()
        optimizer = torch.optim.AdamW(adapted.parameters(), lr=self.rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.rate, total_steps=self.steps)
        generator, n = ctx.generator(), len(examples.images)
        for step in range(self.steps):
            rows = torch.randperm(n, generator=generator)[: self.batch].numpy()
            with torch.no_grad():
                clean = torch.from_numpy(np.array(examples.images[rows])).to(ctx.device).float() / 255
                wanted = normalize(original(clean), dim=1)
            found = normalize(adapted(examples.received(rows).images), dim=1)
            own = torch.arange(len(rows), device=ctx.device)
            loss = cross_entropy(found @ wanted.T / TEMPERATURE, own) + (1 - (found * wanted).sum(1)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            ctx.progress(step + 1, self.steps)
        return adapted.state_dict()

    def embed(self, received, ctx):
        adapted = ctx.evaluated()
        adapted.load_state_dict(ctx.state)
        with torch.no_grad():
            return adapted(received.images)
