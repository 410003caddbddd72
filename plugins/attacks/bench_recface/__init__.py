"""RecFace, the black-box reconstruction of faces from split features (paper, section 4.1.1, Equation 1): declarations.

An adversary without the weights of the shallow model E_c queries it with faces of its own and trains a decoder R on
the answers, ``min_R E ||R(E_c(x)) - x||^2``. The paper describes R only as "a modified U-Net". Two choices that it
leaves open decide how well a defense does against it (``docs/design/recface.md``): which stages R decodes, and on
which pairs it is trained. Both are parameters.

This module holds the declarations and `parameters` the parameters; neither imports torch. The decoder is in `network`
and its training in `training`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench import Attack, Examples, Received, Reconstructed, Sees, hookimpl
from bench_recface.parameters import RecFaceParameters

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
class RecFace(RecFaceParameters, Attack):
    """A U-Net-style decoder from split features to images, trained with the mean squared error (Equation 1)."""

    outputs: ClassVar[Literal["recognition", "images", "attributes"]] = "images"
    license: ClassVar[str] = "none needed: its weights are trained in the run"

    @property
    def sees(self) -> frozenset[Sees]:  # type: ignore[override]
        """Features, and pairs to learn from; also the defense if the pairs are made with it."""
        return frozenset({"features", "pairs", "defense"} if self.pairs == "defense" else {"features", "pairs"})

    @property
    def trains_on(self) -> Literal["clean", "defense", "evaluated"]:  # type: ignore[override]
        """Uploads of auxiliary faces, clean or defended, or of the evaluated faces (leakage)."""
        return "evaluated" if self.pairs == "paper-leaky" else self.pairs

    @property
    def threat(self) -> str:  # type: ignore[override]
        """The adversary's knowledge, as a sentence."""
        return _THREATS[self.pairs].format(_STAGES[self.stages])

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> tuple[str, ...]:
        """Return the splits that are decoded, from shallow to deep. Raises ValueError if they are not available."""
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
        """Return 1: one forward pass of the shallow model per attacked image."""
        return 1.0

    def fit_seconds(self) -> float:
        """Return the seconds of the training: 1000 steps take about a minute of one core."""
        return 0.06 * self.steps

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Train the decoder and return its weights, with the number of steps made under the name ``steps``.

        Raises ContractError for features that are not finite, and if the training diverges.
        """
        from bench_recface.training import train

        return train(self, examples, ctx)

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Return images float ``(n, 3, h, w)`` RGB in [0, 1] of the size that the decoder was trained on."""
        from bench_recface.training import reconstruct

        return reconstruct(self, received, ctx)


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """Register ``recface``."""
    return {"recface": RecFace}
