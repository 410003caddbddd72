"""An adversary who averages several uploads of one photo, so that fresh randomness of the defense cancels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge

from bench import Attack


@dataclass(frozen=True, kw_only=True)
class AveragesUploads(Attack):
    """Feeds the mean of all uploads of a photo, or of a person, to the evaluated model."""

    sees = frozenset({"images", "uploads"})
    outputs = "recognition"
    threat = "receives several uploads of each photo and averages them"
    license = "none needed"

    many: Annotated[int, Ge(2)] = 4
    of: str = "photo"

    @property
    def uploads(self):
        return self.many

    @property
    def uploads_of(self):
        return self.of

    def embed(self, received, ctx):
        pictures = torch.stack([received.images, *(further.images for further in received.further)])
        with torch.no_grad():
            return ctx.evaluated()(pictures.mean(dim=0))
