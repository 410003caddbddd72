"""Reconstruction with networks that were trained to make faces: from protected pictures, and from an embedding.

- ``decoder`` turns an uploaded picture into the face, as a network learnt it from pictures of other people. McPherson,
  Shokri and Shmatikov ("Defeating image obfuscation with deep learning", 2016) and Todt, Hanisch and Strufe ("Fantômas:
  understanding face anonymization reversibility", 2024) show that most anonymisations are reversible in this way.
- ``embedding-inversion`` makes a face from nothing but the embedding that the authorised service computes (Mai et al.,
  "On the reconstruction of face images from deep face templates", 2018).

Both learn from some auxiliary people and stop early on others. This module holds the declarations and does not import
torch; networks and training are in the library `bench_translation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Gt, MultipleOf
from bench_translation.public_networks import fingerprint_of, packages_of, public_network, training_seconds

from bench import Attack, Examples, Received, Reconstructed, Sees, hookimpl
from bench_decoder.parameters import DecoderParameters

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = ["Decoder", "EmbeddingInversion", "bench_attacks"]


@dataclass(frozen=True, kw_only=True)
class _Learnt(DecoderParameters, Attack):
    """What both attacks have in common: the budget, and the public network whose features are compared."""

    outputs: ClassVar[Literal["recognition", "images", "attributes", "links"]] = "images"
    license: ClassVar[str] = "none needed: its weights are trained in the run"

    def __post_init__(self) -> None:
        """Raise ValueError if no model of the name ``network`` is installed."""
        public_network(self.network)

    @property
    def libraries(self) -> Sequence[str]:  # type: ignore[override]
        """The package of the public network."""
        return packages_of(public_network(self.network))

    def fingerprint(self) -> str | None:
        """Return the digest of the public network's weights; None without a network."""
        return fingerprint_of(public_network(self.network))

    def budget(self) -> Mapping[str, float]:
        """Return the numbers of auxiliary faces and of steps."""
        return {"faces": self.faces, "steps": self.steps}

    def fit_seconds(self) -> float:
        """Return the seconds of the training."""
        return training_seconds(self.steps, self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Decoder(_Learnt):
    """A U-Net-style network from protected pictures to faces, after a layer that undoes permutations of blocks.

    ``pairs``: it learns from what the ``defense`` makes of auxiliary faces; or from ``clean`` faces, which it degrades
    itself by random blur, noise and pixelation, so that it restores pictures without knowing the defense (blind
    restoration: Wang et al., "Real-ESRGAN", 2021).
    """

    @property
    def sees(self) -> frozenset[Sees]:  # type: ignore[override]
        """The uploaded images; also the defense, if it learns from its pictures."""
        return frozenset({"images", "pairs", "defense"} if self.pairs == "defense" else {"images", "pairs"})

    @property
    def trains_on(self) -> Literal["nothing", "clean", "defense"]:  # type: ignore[override]
        """Pictures of auxiliary faces, clean or protected."""
        return self.pairs

    @property
    def threat(self) -> str:  # type: ignore[override]
        """The adversary's knowledge, as a sentence."""
        learnt = (
            "trains a network to undo what the defense makes of them; adaptive"
            if self.pairs == "defense"
            else "trains a network to undo blur, noise and pixelation of its own; does not know the defense"
        )
        return f"sees the uploaded images; has up to {self.faces} faces of other people and {learnt}"

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Train the network and return its weights. Raises ContractError if it receives no images that fit the faces,
        and if the training diverges."""
        from bench_decoder.learning import fit_decoder

        return fit_decoder(self, examples, ctx)

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Return images float ``(n, 3, h, w)`` RGB in [0, 1]; no image depends on the others."""
        from bench_decoder.learning import decoded

        return decoded(self, received, ctx)


@dataclass(frozen=True, kw_only=True)
class EmbeddingInversion(_Learnt):
    """A stack of upsampling units from the embedding of the authorised model to the face.

    ``pairs``: it learns from embeddings of ``clean`` auxiliary faces, or of what the ``defense`` makes of them.
    """

    pairs: Literal["clean", "defense"] = "clean"
    channels: Annotated[int, Gt(0), MultipleOf(8)] = 24

    @property
    def sees(self) -> frozenset[Sees]:  # type: ignore[override]
        """The uploaded features, from which the full model computes the embedding; also the defense, if it learns from
        its pictures."""
        known: frozenset[Sees] = frozenset({"features", "full_model", "pairs"})
        return known | {"defense"} if self.pairs == "defense" else known

    @property
    def trains_on(self) -> Literal["clean", "defense"]:  # type: ignore[override]
        """Uploads of auxiliary faces, clean or protected."""
        return self.pairs

    @property
    def threat(self) -> str:  # type: ignore[override]
        """The adversary's knowledge, as a sentence."""
        of = "what the defense makes of them" if self.pairs == "defense" else "them"
        return (
            "insider: is the authorised service, which has its whole model; has up to "
            f"{self.faces} faces of other people, and trains a network from the embeddings of {of} to the faces; "
            "uses nothing of an upload but its embedding"
        )

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> tuple[str, ...]:
        """Return the deepest split, from which the model computes the embedding. Raises ValueError if there is none."""
        if not available:
            raise ValueError("expected a model with split points, got one without")
        return (available[-1],)

    def passes(self) -> float:
        """Return 1: one pass of the model per attacked image."""
        return 1.0

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Train the network and return its weights. Raises ContractError if not exactly one model is authorised, and if
        the training diverges."""
        from bench_decoder.learning import fit_embedding_inversion

        return fit_embedding_inversion(self, examples, ctx)

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Return images float ``(n, 3, h, w)`` RGB in [0, 1]; no image depends on the others."""
        from bench_decoder.learning import decoded_embeddings

        return decoded_embeddings(self, received, ctx)


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """Register ``decoder`` and ``embedding-inversion``."""
    return {"decoder": Decoder, "embedding-inversion": EmbeddingInversion}
