"""RecFace, the black-box reconstruction of faces from split features (paper, section 4.1.1, Equation 1): declarations.

An adversary without the weights of the shallow model E_c queries it with faces of its own and trains a decoder R on
what comes back, ``min_R E ||R(E_c(x)) - x||^2``. The paper describes R as "a modified U-Net" and no more. Two choices
that it leaves open decide what a defense is worth against it (``docs/design/recface.md``): which stages R decodes, and
on which pairs it is trained. Both are parameters.

The decoder is in `network`, its training in `training`; they import torch, this module does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Interval, MultipleOf

from bench import Attack, Examples, Received, Reconstructed, Sees, hookimpl

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["RecFace", "bench_attacks"]

_STAGES = {
    "all": "all stages that it can see",
    "first": "the first stage that it can see",
    "last": "the last stage that it can see",
    "uploaded": "the uploaded stages",
}
_THREATS = {
    "clean": "trains a decoder of {} on clean features of other people's faces; no weights, does not know the defense",
    "defense": "trains a decoder of {} on what the defense makes of other people's faces; no weights; adaptive",
    "paper-leaky": "LEAKAGE: trains a decoder of {} on clean features of the very faces that are attacked; no weights",
}


@dataclass(frozen=True, kw_only=True)
class RecFace(Attack):
    """A U-Net-style decoder from split features to images, trained with the mean squared error (Equation 1).

    Which stages (of the model when the client uploads images, else of those that it uploads)
        ``stages``: ``all``, the ``first``, the ``last``, or those ``uploaded``.
    Which pairs
        ``pairs``: ``clean`` features of auxiliary faces (the paper's attacker); what the ``defense`` makes of auxiliary
        faces (an adaptive attacker); ``paper-leaky``: clean features of the evaluated faces themselves, because the
        paper trains and tests on LFW.
    Budget
        ``steps`` of Adam with ``batch_size`` faces each, or ``seconds`` of wall-clock time if they are over first
        (0: no limit; with a limit the result depends on the machine). The learning rate rises to ``learning_rate``
        in the first tenth of the budget and falls to 0 along a cosine.
    Decoder
        ``channels`` at half the image size, doubled at each coarser scale up to 8 times; ``blocks`` residual blocks
        at each scale from a quarter of the image size on.
    """

    outputs: ClassVar[Literal["recognition", "images", "attributes"]] = "images"

    stages: Literal["all", "first", "last", "uploaded"] = "all"
    pairs: Literal["clean", "defense", "paper-leaky"] = "clean"
    steps: Annotated[int, Interval(ge=1, le=10_000_000)] = 1000
    seconds: Annotated[float, Ge(0)] = 0.0
    batch_size: Annotated[int, Interval(ge=1, le=4096)] = 8
    learning_rate: Annotated[float, Interval(gt=0, le=1)] = 0.002
    channels: Annotated[int, Gt(0), MultipleOf(8)] = 16
    blocks: Annotated[int, Interval(ge=0, le=16)] = 1

    @property
    def sees(self) -> frozenset[Sees]:  # type: ignore[override]
        """Features and pairs to learn from; the defense too when the pairs are made with it."""
        return frozenset({"features", "pairs", "defense"} if self.pairs == "defense" else {"features", "pairs"})

    @property
    def trains_on(self) -> Literal["clean", "defense", "evaluated"]:  # type: ignore[override]
        """Uploads of auxiliary faces, clean or defended, or of the evaluated faces (leakage)."""
        return "evaluated" if self.pairs == "paper-leaky" else self.pairs

    @property
    def threat(self) -> str:  # type: ignore[override]
        """What the adversary knows, in words."""
        return _THREATS[self.pairs].format(_STAGES[self.stages])

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> tuple[str, ...]:
        """The splits that it decodes, from shallow to deep; `ValueError` when it cannot have them."""
        if not available:
            raise ValueError("RecFace decodes features; there is no split point whose features it can have")
        if self.stages == "uploaded":
            return self._uploaded(available, uploaded)
        return {"all": tuple(available), "first": (available[0],), "last": (available[-1],)}[self.stages]

    @staticmethod
    def _uploaded(available: Sequence[str], uploaded: Sequence[str]) -> tuple[str, ...]:
        if not uploaded:
            raise ValueError("stages = 'uploaded', but the client uploads no features; use 'all', 'first' or 'last'")
        missing = [split for split in uploaded if split not in available]
        if missing:
            names = ", ".join(map(repr, missing))
            raise ValueError(f"stages = 'uploaded': it cannot have {names}; available: {', '.join(available)}")
        return tuple(split for split in available if split in uploaded)

    def passes(self) -> float:
        """One forward pass of the shallow model per attacked image."""
        return 1.0

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Train the decoder; returns its weights and ``steps``, how many were made. `ContractError` for features that
        are not finite and for a training that diverges."""
        from bench_recface.training import train

        return train(self, examples, ctx)

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Images float ``(n, 3, h, w)`` RGB in [0, 1] of the size it was trained on."""
        from bench_recface.training import reconstruct

        return reconstruct(self, received, ctx)


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """``recface``."""
    return {"recface": RecFace}
