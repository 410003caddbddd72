"""The base class of attacks: what an adversary does with the uploads that it receives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench.api.files import named_files
from bench.api.types import Examples, Received, Reconstructed
from bench.core.errors import ContractError

if TYPE_CHECKING:
    import torch

    from bench.api.context import Context
    from bench.api.datasets import TrainingJob

Sees = Literal[
    "images",
    "features",
    "representation",
    "shallow_weights",
    "pairs",
    "defense",
    "labels",
    "uploads",
    "full_model",
    "recogniser",
]
Outputs = Literal["recognition", "images", "attributes", "links"]
Budgeted = Literal["faces", "steps", "queries"]


@dataclass(frozen=True, kw_only=True)
class Attack:
    """What an adversary does with the uploads that it receives.

    - ``sees``: what the adversary must know: the uploaded ``images``; ``features`` of the shallow model; the
      ``representation`` that a defense sends; ``pairs`` of features and images for training; ``shallow_weights``, which
      allows ``ctx.shallow``; the ``full_model`` of the authorised service, which allows ``ctx.network`` (an insider);
      the ``labels`` of the faces that it learns from, which are `Examples.subjects` and `Examples.attributes`; a
      ``recogniser`` of its own, which is the evaluated model and allows ``ctx.evaluated`` in an attack that outputs
      attributes; several ``uploads`` of one face; the ``defense`` itself, which allows ``ctx.defense`` in `fit` if
      `budget` names ``queries``
    - ``outputs``: ``recognition`` if the uploads are recognised: by the evaluated model as it is, unless the attack
      implements `embed` or `enrol`; ``images`` if the attack implements `reconstruct`, ``attributes`` if it implements
      `estimate`, ``links`` if it says whether two uploads show one person (`link`)
    - ``trains_on``: the training data of `fit`: ``nothing`` (`fit` is not called); ``clean``, uploads of unprotected
      auxiliary faces; ``defense``, uploads of auxiliary faces after the defense (an adaptive attack); ``evaluated``,
      unprotected uploads of the evaluated faces themselves, which is leakage and is reported as such
    - ``uploads``: how many uploads of each face it receives; the second and all further ones are `Received.further`
    - ``uploads_of``: what these uploads show: one ``photo``, which the client protects several times with fresh
      randomness, or several photos of one ``person``
    - ``threat``: what the adversary knows, as a sentence for the report
    - ``synthetic``: True if the weights of the attack were trained on generated faces only; the attack is then skipped
      on real faces
    - ``license``: the license of the weights that come with the attack
    - ``programs``, ``libraries``: the programs that it calls and further packages that it uses, as in `Defense`

    Each of these may also be a property that depends on the parameters.
    """

    synthetic: ClassVar[bool] = False
    sees: ClassVar[frozenset[Sees]] = frozenset({"images"})
    outputs: ClassVar[Outputs] = "images"
    trains_on: ClassVar[Literal["nothing", "clean", "defense", "evaluated"]] = "nothing"
    uploads: ClassVar[int] = 1
    uploads_of: ClassVar[Literal["photo", "person"]] = "photo"
    threat: ClassVar[str] = ""
    programs: ClassVar[Sequence[str]] = ()
    libraries: ClassVar[Sequence[str]] = ()
    license: ClassVar[str] = "unknown"
    time_limit_s: ClassVar[float | None] = None

    def weights(self) -> Path | Sequence[Path]:
        """Return the files that decide what the attack does, as `Defense.weights` does."""
        return named_files(self)

    def fingerprint(self) -> str | None:
        """Return a text that changes with anything else that decides what the attack does, such as a digest of its
        weights; None if there is nothing.

        Raise `DataError` naming a file that is missing.
        """
        return None

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> Sequence[str]:
        """Return the split points whose features the attack uses.

        If images are uploaded, it can choose among all split points of the model, which are ``available``. If features
        are uploaded, only the ``uploaded`` split points are available. Raise ValueError if the attack cannot work with
        these; the cell is then skipped.
        """
        return uploaded or available

    def splits_knowing(
        self, available: Sequence[str], uploaded: Sequence[str], matched: Sequence[str]
    ) -> Sequence[str]:
        """Return the split points whose features the attack uses, if it is public how the defense works.

        ``matched`` are the split points of the authorised model that the defense uses (`Defense.splits`); none if it
        works without the model. By default they are ignored, and the answer is that of `splits`. Raise ValueError if
        the attack cannot work with these; the cell is then skipped.
        """
        return self.splits(available, uploaded)

    def passes(self) -> float:
        """Return the forward passes of the shallow model per attacked image, for time estimates.

        A backward pass counts as two forward passes.
        """
        return 0.0

    def fit_seconds(self) -> float:
        """Return the seconds that `fit` takes on one core, for time estimates: roughly, and larger for settings with
        which it takes longer. Once such a training was measured, only the ratio of two settings counts."""
        return 120.0

    def budget(self) -> Mapping[str, float]:
        """Return what the attack may spend, by name; it is stored with every cell.

        ``faces``: the largest number of auxiliary faces that it learns from; the host gives at most so many, person by
        person. ``queries``: the largest number of images that it has protected with ``ctx.defense`` during `fit`.
        ``steps``: the optimisation steps that it takes, which the host cannot count.
        """
        return {}

    def trained_as(self) -> Mapping[str, Any] | None:
        """Return another attack, as a suite writes it, whose `fit` trains this one too; None if its own does.

        An attack that uses the same trained network in another way names the attack that trains it, such as
        ``{"plugin": "adapted-recogniser", "faces": 400}``. Both then share one training. The other attack must learn
        from the same faces and see nothing that this one does not.
        """
        return None

    def fit(self, examples: Examples, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Train the attack on examples and return its state, which its other methods receive as ``ctx.state``.

        An attack that outputs recognition or links may adapt ``ctx.evaluated()`` and return the weights of the adapted
        network (``network.state_dict()``).

        Not called if ``trains_on`` is ``nothing``, or if `trained_as` names another attack.
        """
        raise ContractError(f"{type(self).__name__} declares trains_on = {self.trains_on!r} and has no fit()")

    def embed(self, received: Received, ctx: Context) -> torch.Tensor:
        """Return the embeddings ``(n, d)`` of a batch of uploads (for ``outputs`` ``recognition`` and ``links``).

        By default they are those of the evaluated network. The host normalises them to length 1.
        """
        network = ctx.evaluated()
        if received.images is not None:
            return network(received.images)
        if not received.features:
            raise ContractError(f"{ctx.plugin} received neither images nor features; define embed() for what it sees")
        split, maps = list(received.features.items())[-1]
        return network.from_features(maps, split)

    def enrol(self, images: torch.Tensor, ctx: Context) -> torch.Tensor:
        """Return the embeddings ``(n, d)`` of clean images ``(n, 3, h, w)``, with which uploads are compared (for
        ``outputs = "recognition"``).

        By default they are those of the evaluated network. The host normalises them to length 1.
        """
        return ctx.evaluated()(images)

    def link(self, first: Received, second: Received, ctx: Context) -> torch.Tensor:
        """Return scores ``(n,)`` of pairs of uploads, which are higher if both show one person (for
        ``outputs = "links"``).

        By default they are the cosines of what `embed` returns.
        """
        from torch.nn.functional import cosine_similarity

        return cosine_similarity(self.embed(first, ctx), self.embed(second, ctx))

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Reconstruct the images of the faces from a batch of uploads (required for ``outputs = "images"``)."""
        raise ContractError(f"{type(self).__name__} declares that it outputs images and has no reconstruct()")

    def estimate(self, images: torch.Tensor, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Estimate attributes of images ``(n, 3, h, w)`` RGB in [0, 1] (required for ``outputs = "attributes"``).

        An attack that sees ``features``, a ``representation`` or several ``uploads`` finds them in ``ctx.received``;
        ``images`` is None if no images are uploaded. Estimates on originals, with which those on uploads are compared,
        are made as if the originals had been uploaded.

        Return by attribute the scores ``(n, k)`` of its ``k`` classes; for an attribute that is a number, such as
        ``age`` in years, return the estimates ``(n,)``.
        """
        raise ContractError(f"{type(self).__name__} declares that it outputs attributes and has no estimate()")

    def classes(self) -> Mapping[str, Sequence[str]]:
        """Return, by attribute, the names of the classes in the order of the scores of `estimate`."""
        return {}

    def train(self, job: TrainingJob) -> Mapping[str, Any]:
        """Train the weights of the attack, store them and return their card. Called by ``bench train`` only."""
        raise ContractError(f"{type(self).__name__} has no train(): it cannot be trained by bench")
