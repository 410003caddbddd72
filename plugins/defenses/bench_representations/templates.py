"""Defenses that send a template: an embedding of the authorised model after a transform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval
from bench_templates.sent import Template

from bench import Protected

if TYPE_CHECKING:
    import torch

    from bench import Context


@dataclass(frozen=True, kw_only=True)
class SlerpTemplate(Template):
    """Sends the authorised model's embedding, turned towards noise in groups of values, of which a share is dropped.

    The embedding is cut into groups z of ``group`` values. Each group is replaced by the direction that is the share
    ``alpha`` of the way along the great circle to a normal random vector r,

        sin((1 - alpha) t) / sin(t) z / |z| + sin(alpha t) / sin(t) r / |r|,  cos(t) = z r / (|z| |r|);

    then the share ``drop`` of its values is set to 0, and the rest is scaled to the same length in all groups. Vectors
    and dropped places follow from ``key``, which is that of a service and the same for all its people. Templates under
    one key are compared by their cosine, which is high for different people too, because all of them are near to the
    noise. Nothing turns the share of the embedding that is left, so it is the same under every key. ``size`` is the
    length of the model's embeddings; that of the networks of `bench_zoo` is 128.

    Source: SlerpFace of Zhong et al., "SlerpFace: face template protection via spherical linear interpolation" (AAAI
    2025), with alpha = 0.9 and groups of 16 as in their public code, which drops places that it draws with replacement,
    about 9 of 16 where little is important and 4 where much is; half is our choice. There the groups are
    the places of a feature map, which a network trained for it weighs, so that important groups are turned and dropped
    less; here they are parts of an embedding, and equal. There every enrolled template has noise of its own, with which
    the probe is turned before the two are compared; here both have that of the service, because with noise of a person
    different people would be told apart by the noise in place of the face.
    """

    promise = "that a template looks like noise, and that a stolen one can be replaced"
    not_promised = (
        "anything against those who know the key: they turn what was not dropped back, up to the length of each group; "
        "that templates under different keys cannot be linked: whoever has a few templates under each key subtracts "
        "their mean, and what is left is a share of the embedding"
    )

    group: Annotated[int, Interval(ge=2, le=4096)] = 16
    alpha: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    drop: Annotated[float, Interval(ge=0, lt=1)] = 0.5

    def __post_init__(self) -> None:
        """Raise ValueError if the groups do not divide the embedding."""
        if self.size % self.group:
            raise ValueError(f"group: expected a divisor of size = {self.size}, found {self.group}")

    @property
    def kept(self) -> int:
        """The number of values of each group that are not dropped, at least one."""
        return max(1, self.group - round(self.drop * self.group))

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return templates ``(n, size)`` of float ``(n, 3, h, w)`` RGB in [0, 1]."""
        from bench_representations.rotation import rotated

        def transform(found: torch.Tensor, key: int) -> torch.Tensor:
            return rotated(found, self.alpha, self.size // self.group, self.kept, key)

        return Protected(representation={"template": self.under_key(self.embeddings(images, ctx), transform, ctx)})
