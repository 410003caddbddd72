"""Attacks on what a defense sends in place of a picture: named tensors of any shapes.

That nobody can look at a representation is no protection. Whoever can run the client's program learns from what it
sends of other people:

- ``representation-decoder`` makes the picture (Mai, Cao, Yuen and Jain, "On the reconstruction of face images from deep
  face templates", 2019, for templates; McPherson, Shokri and Shmatikov, "Defeating image obfuscation with deep
  learning", 2016, for whatever else is sent).
- ``representation-recogniser`` finds the embedding of the original, which any recogniser compares with clean pictures.
- ``representation-linked`` says whether two uploads show one person.
- ``representation-probe`` reads an attribute (Terhörst et al., "Beyond identity: what information is stored in
  biometric face templates?", 2020).

*With the same key.* The host protects auxiliary faces with the same defense, so that a defense with a secret key uses
the same one for them. The adversary is therefore the service that holds the key, somebody who stole it, or a client of
the same key; without it, what is learnt under another key says little.

This module holds the declarations and does not import torch. Shapes are sorted out in `reading`, linear readings are in
`linear`, the attacks in `decoding`, `recognising` and `probing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench_learners.parameters import AdaptationParameters
from bench_linkage import Linked
from bench_translation.public_networks import fingerprint_of, packages_of, public_network, training_seconds

from bench import Attack, Examples, Received, Reconstructed, Sees, hookimpl
from bench_readers.parameters import DecoderParameters, ReadAttributeParameters

if TYPE_CHECKING:
    import torch

    from bench import Context

__all__ = [
    "RepresentationDecoder",
    "RepresentationLinked",
    "RepresentationProbe",
    "RepresentationRecogniser",
    "bench_attacks",
]

_RUNS = "runs the client's program, with its key if it has one, on"
_LICENSE = "none needed: its weights are trained in the run"


@dataclass(frozen=True, kw_only=True)
class RepresentationDecoder(DecoderParameters, Attack):
    """A network from a representation to the face.

    It begins with the linear map to a picture that suits pairs of other people best, and adds what residual units on a
    growing grid learn, from a fully connected layer of vectors and a convolution of maps.
    """

    sees: ClassVar[frozenset[Sees]] = frozenset({"representation", "pairs", "defense"})
    outputs: ClassVar[Literal["images"]] = "images"
    trains_on: ClassVar[Literal["defense"]] = "defense"
    license: ClassVar[str] = _LICENSE

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

    @property
    def threat(self) -> str:  # type: ignore[override]
        """The adversary's knowledge, as a sentence."""
        return (
            f"sees what is sent in place of a picture; {_RUNS} up to {self.faces} faces of other people, and trains a "
            "network from what is sent to the faces; adaptive"
        )

    def budget(self) -> Mapping[str, float]:
        """Return the numbers of auxiliary faces and of steps."""
        return {"faces": self.faces, "steps": self.steps}

    def fit_seconds(self) -> float:
        """Return the seconds of the training."""
        return training_seconds(self.steps, self.batch_size)

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Train the network and return its weights. Raises ContractError if it receives no representation, and if the
        training diverges."""
        from bench_readers.decoding import fit_decoder

        return fit_decoder(self, examples, ctx)

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Return images float ``(n, 3, h, w)`` RGB in [0, 1]; no image depends on the others."""
        from bench_readers.decoding import decoded

        return decoded(self, received, ctx)


@dataclass(frozen=True, kw_only=True)
class RepresentationRecogniser(AdaptationParameters, Attack):
    """Gives a representation the embedding that the evaluated recogniser gives to the clean picture.

    Maps are first read as a picture, by the linear map that suits pairs of other people best, and a copy of the
    evaluated recogniser is fine-tuned on these pictures. Vectors are mapped to embeddings by ridge regression and a
    small network beside it; if maps are sent too, both also get the embedding of the picture.
    """

    sees: ClassVar[frozenset[Sees]] = frozenset({"representation", "labels", "defense"})
    outputs: ClassVar[Literal["recognition"]] = "recognition"
    trains_on: ClassVar[Literal["defense"]] = "defense"
    license: ClassVar[str] = _LICENSE
    threat: ClassVar[str] = (
        f"sees what is sent in place of a picture; {_RUNS} pictures of other people, learns which embedding belongs to "
        "what is sent, and compares it with clean pictures; adaptive"
    )

    def budget(self) -> Mapping[str, float]:
        """Return the auxiliary faces and the steps."""
        return {"faces": self.faces, "steps": self.steps}

    def fit_seconds(self) -> float:
        """Return the seconds of the training."""
        return self.adapting_seconds()

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Learn to read representations and return the weights."""
        from bench_readers.recognising import recogniser_weights

        return recogniser_weights(self, examples, ctx)

    def embed(self, received: Received, ctx: Context) -> torch.Tensor:
        """Return the embeddings ``(n, d)`` of representations."""
        from bench_readers.recognising import recogniser_embeddings

        return recogniser_embeddings(received, ctx)


@dataclass(frozen=True, kw_only=True)
class RepresentationLinked(Linked):
    """The mean cosine of the tensors of two representations, or the cosine of what `representation-recogniser` reads.

    ``learns``: ``nothing``, or ``pairs`` of representations and originals; the other parameters are then those of
    `representation-recogniser`, and otherwise mean nothing.
    """

    @property
    def sees(self) -> frozenset[Sees]:  # type: ignore[override]
        """The representation, and if it learns also the defense and who is shown."""
        learnt: frozenset[Sees] = frozenset({"labels", "defense"} if self.learns == "pairs" else ())
        return learnt | {"representation"}

    @property
    def threat(self) -> str:  # type: ignore[override]
        """The adversary's knowledge, as a sentence."""
        if self.learns == "nothing":
            return "compares the numbers that are sent in place of two pictures, and knows nothing else"
        return (
            f"{_RUNS} pictures of other people, learns which embedding belongs to what is sent in place of a picture, "
            "and compares those of two uploads; adaptive"
        )

    def trained_as(self) -> Mapping[str, Any] | None:
        """Return the recogniser of representations; None if nothing is learnt."""
        known = super().trained_as()
        return None if known is None else {**known, "plugin": "representation-recogniser"}

    def embed(self, received: Received, ctx: Context) -> torch.Tensor:
        """Return what `link` compares: the directions of all tensors ``(n, d)``, or learnt embeddings."""
        if self.learns == "nothing":
            from bench_readers.reading import directions

            return directions(received, ctx.plugin)
        from bench_readers.recognising import recogniser_embeddings

        return recogniser_embeddings(received, ctx)


@dataclass(frozen=True, kw_only=True)
class RepresentationProbe(ReadAttributeParameters, Attack):
    """Reads an attribute out of a representation with logistic regression, or a number (``age``) with ridge regression.

    All numbers are standardised; more than 1024 are projected at random to that many.
    """

    sees = frozenset({"representation", "labels", "defense"})
    outputs = "attributes"
    trains_on = "defense"
    license = "none needed: it is trained in the run"

    @property
    def threat(self) -> str:  # type: ignore[override]
        """What the adversary knows, as a sentence."""
        return (
            f"sees what is sent in place of a picture; {_RUNS} labelled pictures of other people, and learns to read "
            f"the {self.attribute} out of what is sent; adaptive"
        )

    def budget(self) -> Mapping[str, float]:
        """Return the number of auxiliary faces."""
        return {"faces": self.faces}

    def fit_seconds(self) -> float:
        """Return the seconds of reading the faces and of the regression."""
        return 20.0 + 0.02 * self.faces

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Learn the probe and return its weights."""
        from bench_readers.probing import learn

        return learn(self, examples, ctx)

    def estimate(self, images: torch.Tensor, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return class probabilities ``(n, k)``, or an age ``(n,)`` in years."""
        from bench_readers.probing import read

        return {self.attribute: read(self, ctx.received, ctx)}


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    """Register ``representation-decoder``, ``-recogniser``, ``-linked`` and ``-probe``."""
    return {
        "representation-decoder": RepresentationDecoder,
        "representation-recogniser": RepresentationRecogniser,
        "representation-linked": RepresentationLinked,
        "representation-probe": RepresentationProbe,
    }
