"""An adversary who is the authorised service itself: it recognises what it receives with its own whole model."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench import Attack


@dataclass(frozen=True, kw_only=True)
class Insider(Attack):
    """Embeds uploads and enrolled pictures with the authorised model, whatever model is evaluated."""

    sees = frozenset({"images", "full_model"})
    outputs = "recognition"
    threat = "is the authorised service: has its whole model and all pictures that clients upload"
    license = "none needed"

    def embed(self, received, ctx):
        return self.enrol(received.images, ctx)

    def enrol(self, images, ctx):
        with torch.no_grad():
            return ctx.network(ctx.authorised[0])(images)
