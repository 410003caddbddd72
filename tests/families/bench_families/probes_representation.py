"""An adversary who learns to describe people from what a defense sends in place of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench_families.attributes_from_uploads import AttributesFromUploads


@dataclass(frozen=True, kw_only=True)
class ProbesRepresentation(AttributesFromUploads):
    """A linear probe: ridge regression from all tensors of a representation to the classes of one attribute."""

    sees = frozenset({"representation", "labels"})
    threat = "learns an attribute from what is sent of other people with their labels"

    def described(self, received):
        sent = [received.representation[name].flatten(1) for name in sorted(received.representation)]
        flat = torch.cat(sent, dim=1)
        return torch.cat([flat, torch.ones(len(flat), 1, device=flat.device)], dim=1)

    def estimate(self, images, ctx):
        return {self.attribute: (self.described(ctx.received) @ ctx.state["weights"] * 10).softmax(1)}
