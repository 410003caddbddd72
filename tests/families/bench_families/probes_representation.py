"""An adversary who learns to describe people from what a defense sends in place of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch

from bench_families.attributes_from_uploads import AttributesFromUploads


@dataclass(frozen=True, kw_only=True)
class ProbesRepresentation(AttributesFromUploads):
    """A linear probe: ridge regression from all tensors of a representation to the classes of one attribute."""

    sees = frozenset({"representation", "labels"})
    threat = "learns an attribute from what is sent of other people with their labels"

    def described(self, images):
        return torch.cat([images, torch.ones(len(images), 1, device=images.device)], dim=1)

    def flat(self, received):
        sent = [received.representation[name].flatten(1) for name in sorted(received.representation)]
        return torch.cat(sent, dim=1)

    def fit(self, examples, ctx):
        flat = SimpleNamespace(
            attributes=examples.attributes,
            received=lambda rows: SimpleNamespace(images=self.flat(examples.received(rows))),
        )
        return super().fit(flat, ctx)

    def estimate(self, images, ctx):
        return super().estimate(self.flat(ctx.received), ctx)
