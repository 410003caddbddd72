"""Defenses that send the code of an encoder that was trained against adversaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from bench import DataError, Protected, Received, did_you_mean
from bench_representations.learnt import Learnt

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from bench import Context, Faces
    from bench_representations.encoders import Coder

Weight = Annotated[float, Interval(ge=0, le=1e6)]


@dataclass(frozen=True, kw_only=True)
class _Encoder(Learnt):
    """What both have in common: the network is cut at ``split``; all before it and a layer that narrows its feature
    maps to ``channels`` are the client's encoder, and all after it is the service's recogniser."""

    trusts = "the service, which can recognise and link all uploads"
    not_promised = (
        "anything against adversaries who learn longer, or otherwise, than those of the training; anything for those "
        "whom another recogniser finds by the code"
    )

    split: str = "stage2"
    channels: Annotated[int, Interval(ge=1, le=4096)] = 16
    reconstruction: Weight = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError if the network is not installed or has no such split point, or fewer channels there."""
        super().__post_init__()
        splits = self.started_from().splits
        if self.split not in splits:
            raise ValueError(
                f"split: {self.network} has no split point {self.split!r}; {did_you_mean(self.split, splits)}"
            )
        if self.channels > splits[self.split][0]:
            raise ValueError(
                f"channels: expected at most {splits[self.split][0]}, as {self.network} has at {self.split}, found "
                f"{self.channels}"
            )

    def beside_network(self) -> float:
        """Return the seconds of the adversaries in a step."""
        return 0.22

    def representation(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of the code: channels, rows and columns."""
        return {"code": (self.channels, *self.started_from().splits[self.split][1:])}

    def fit(self, faces: Faces, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return the weights of encoder and recogniser."""
        from bench_representations.encoders import Game, trained
        from bench_representations.training_faces import TrainingFaces

        labels, weight = self.hidden(faces, ctx)
        game = Game(steps=self.steps, reconstruction=self.reconstruction, attribute=weight, labels=labels)
        return trained(self._coder(ctx), TrainingFaces.of(faces, self.started_from(), ctx), game, ctx)

    def hidden(self, faces: Faces, ctx: Context) -> tuple[NDArray[np.int64] | None, float]:
        """Return the classes of the attribute that the code shall hide, and how much that counts; None if there is
        none."""
        return None, 0.0

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return codes of float ``(n, 3, h, w)`` RGB in [0, 1]."""
        return Protected(representation={"code": self._learnt(ctx).encode(images)})

    def recogniser(self, ctx: Context) -> Callable[[Received], torch.Tensor]:
        """Return the trained recogniser of codes."""
        coder = self._learnt(ctx)
        return lambda received: coder.recognise(received.representation["code"])

    def _coder(self, ctx: Context) -> Coder:
        from bench_representations.encoders import Coder
        from bench_representations.training_faces import loaded

        model = self.started_from()
        return Coder(loaded(model, ctx), self.split, model.splits[self.split][0], self.channels).to(ctx.device)

    def _learnt(self, ctx: Context) -> Coder:
        from bench_representations.encoders import with_state

        return with_state(self._coder(ctx), ctx)


@dataclass(frozen=True, kw_only=True)
class AdvEncoder(_Encoder):
    """Sends the code of an encoder that was trained so that its recogniser works and a decoder fails.

    The code is tanh(W f(x) + b), where f are the feature maps of a copy of the network at ``split`` and W mixes them to
    ``channels``; the copy is trained as well. In each step a decoder learns to make the picture, shrunk to 56 x 56, of
    the code, by the mean squared error of pixels; then encoder and recogniser minimise

        recognition - reconstruction * min(R, 1)

    where recognition is the distance from the network's embeddings of clean faces, and R the error of the decoder,
    relative to that of the mean face. ``reconstruction`` = 0 trains without an adversary.

    Source: AdvFeat, Xiao, Tsai, Sohn, Chandraker and Yang, "Adversarial learning of privacy-preserving and
    task-oriented representations" (AAAI 2020), who predict attributes and maximise the decoder's error of pixels and of
    features of another network, with another discriminator of pictures. Here the task is recognition, the error is that
    of pixels, and it counts up to that of the mean face only: beyond, a picture in negative would count as protected.
    The weight of 1, the 16 channels and the split are our choice.
    """

    promise = "that a decoder that learns beside the encoder makes no picture of the code"


@dataclass(frozen=True, kw_only=True)
class DeepObfuscator(_Encoder):
    """Sends the code of an encoder that was trained so that its recogniser works, and a decoder and a classifier fail.

    As ``adv-encoder``, with a second adversary that estimates ``hidden_attribute`` of the person from the code:

        recognition - reconstruction * min(R, 1) - attribute * min(A, 1)

    where A is its cross-entropy, relative to that of a guess by the frequencies of the values. The auxiliary faces must
    have labels of the attribute, which has at most 20 values.

    Source: DeepObfuscator, Li, Duan, Yang, Chen and Yang, "DeepObfuscator: obfuscating intermediate representations
    with privacy-preserving adversarial learning on smartphones" (IoTDI 2021), who keep some attributes and hide others;
    here recognition is kept. In their public code the decoder's picture is compared by MS-SSIM, and drawn towards a
    picture of noise; here the error of pixels is raised, up to that of the mean face. The attribute of their public
    code is gender; the weights are our choice.
    """

    promise = (
        "that a decoder and a classifier that learn beside the encoder make no picture, and no attribute, of the code"
    )

    hidden_attribute: str = "gender"
    attribute: Weight = 1.0

    def hidden(self, faces: Faces, ctx: Context) -> tuple[NDArray[np.int64] | None, float]:
        """Return the classes of the attribute. Raise `DataError` if the faces are not labelled with it."""
        from bench_representations.encoders import classes_of

        if self.hidden_attribute not in faces.attributes:
            known = ", ".join(sorted(faces.attributes)) or "no attributes"
            raise DataError(
                f"{ctx.plugin}: expected auxiliary faces with the attribute {self.hidden_attribute!r}, found {known}; "
                "set hidden_attribute, or name a data set that has it"
            )
        return classes_of(faces.attributes[self.hidden_attribute], self.hidden_attribute, ctx.plugin), self.attribute
