"""Defenses that send channels of frequencies: the coefficients of blocks, the same frequency of all blocks together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Interval

from bench import Bound, Protected, Received
from bench_representations.learnt import Learnt
from bench_representations.shapes import COLOURS, FREQUENCIES, LOW, SUBSETS, side_of

if TYPE_CHECKING:
    import torch

    from bench import Context, Faces
    from bench_representations.channel_recogniser import ChannelRecogniser

_REACH = 5  # positions: a position alone tells little without its low frequencies
_MAPS_SECONDS = 17.0  # measured

Upsampling = Literal[1, 2, 4, 8]


@dataclass(frozen=True, kw_only=True)
class DctChannels(Learnt):
    """Sends the coefficients of 8 x 8 blocks without DC, each with Laplace noise of the budget ``epsilon``.

    The picture is enlarged ``upsampling`` times, so that it has s x s blocks with s = 14 ``upsampling``. Of each colour
    (Y, Cb, Cr; black is -1/2 and white 1/2) of each block, the 63 coefficients c of the orthonormal cosine transform
    other than DC are sent as

        min(max(c, low), high) + (high - low) / epsilon * Laplace(1)

    where low and high are the smallest and largest value that this coefficient has among auxiliary faces: two pictures
    differ by at most high - low in it, so each coefficient is ``epsilon``-differentially private and the upload
    (189 s^2 ``epsilon``)-differentially private, for any two pictures of people from whom nothing was learnt.

    The service's recogniser begins with the linear map of a position to its pixels that estimates them best, behind
    which the network follows; both are trained on what the client sends.

    Source: DCTDP of Ji et al., "Privacy-preserving face recognition with learnable privacy budgets in frequency domain"
    (ECCV 2022). They enlarge eight times, which sends 189 x 112 x 112 numbers, 63 times those of the picture; 1 is our
    choice, and sends about as many as the picture has. They learn how the sum of all budgets is divided among the
    coefficients; here each has the same one. They train a recogniser from the beginning, on millions of faces; here it
    starts from a network. The mean budget of their public code is 4, with which little is recognised after so short a
    training; 16 is our choice.
    """

    promise = "that the upload shows no face to people, and depends little on any single coefficient of the picture"
    trusts = "the service, which can recognise and link all uploads"
    not_promised = (
        "anything by the epsilon of a whole picture, which is hundreds of thousands; anything for several uploads, "
        "whose noise is averaged; anything for the auxiliary people; the guarantee itself for floating-point numbers "
        "from a seeded stream, as here: it is that of real numbers and secret randomness (Mironov 2012)"
    )

    epsilon: Annotated[float, Interval(gt=0, le=1e6)] = 16.0
    upsampling: Upsampling = 1

    def bound(self) -> Bound:
        """Return the epsilon of a whole picture."""
        count = COLOURS * (FREQUENCIES - 1) * side_of(self.upsampling) ** 2
        words = (
            f"{count * self.epsilon:g}-differentially private for any two pictures: {count} coefficients with "
            f"{self.epsilon:g} each"
        )
        return Bound(words=words, epsilon=count * self.epsilon)

    def beside_network(self) -> float:
        """Return the seconds of channels and noise of a step, which grow with their number."""
        return 0.12 * self.upsampling**2

    def representation(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of the channels: colours and frequencies, rows and columns of blocks."""
        side = side_of(self.upsampling)
        return {"channels": (COLOURS * (FREQUENCIES - 1), side, side)}

    def fit(self, faces: Faces, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return the ranges of the coefficients, and the weights of the recogniser."""
        import torch

        from bench_representations.channel_recogniser import one_set, trained
        from bench_representations.cosines import without_dc
        from bench_representations.noise import noisy, ranges_of
        from bench_representations.training_faces import TrainingFaces

        model = self.started_from()
        training = TrainingFaces.of(faces, model, ctx)
        low, high = ranges_of(without_dc(images, self.upsampling, ctx.plugin) for images in training.pictures())

        def sent(images: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
            found = without_dc(images, self.upsampling, ctx.plugin)
            drawn = torch.rand(found.shape, generator=generator).to(found)
            return one_set(noisy(found, low, high, self.epsilon, drawn))

        return {"low": low, "high": high, **trained(self._new(ctx), sent, training, self.steps, ctx)}

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return channels of float ``(n, 3, 112, 112)`` RGB in [0, 1]; each image draws from its own stream."""
        from bench_representations.cosines import without_dc
        from bench_representations.noise import noisy

        found = without_dc(images, self.upsampling, ctx.plugin)
        sent = noisy(found, ctx.state["low"], ctx.state["high"], self.epsilon, ctx.rand(found))
        return Protected(representation={"channels": sent})

    def recogniser(self, ctx: Context) -> Callable[[Received], torch.Tensor]:
        """Return the trained recogniser of channels."""
        from bench_representations.channel_recogniser import one_set, with_state

        recogniser = with_state(self._new(ctx), ctx)
        return lambda received: recogniser(*one_set(received.representation["channels"]))

    def _new(self, ctx: Context) -> ChannelRecogniser:
        from bench_representations.channel_recogniser import recogniser_of

        return recogniser_of(self.started_from(), COLOURS * (FREQUENCIES - 1), side_of(self.upsampling), ctx)


@dataclass(frozen=True, kw_only=True)
class PartialDct(Learnt):
    """Sends a random sixth of the higher frequencies: another one for every upload, and the same for the whole picture.

    The picture is enlarged ``upsampling`` times and its 8 x 8 blocks are transformed as by ``dct-channels``. The ten
    lowest frequencies are dropped. ``key`` divides the other 54 into six subsets of nine; each upload holds one subset
    of all three colours, 27 of 192 channels, and its number. Which one is drawn for each upload.

    The service knows the division. Its recogniser is trained as that of ``dct-channels``, on a random subset of each
    picture in each step; it begins with a linear map of 5 x 5 positions for each subset.

    Source: PartialFace of Mi et al., "Privacy-preserving face recognition using random frequency components" (ICCV
    2023), who enlarge eight times and send nine channels of each colour as well. They also put the nine channels in one
    of a few orders, and do not tell the recogniser which subset and which order it gets; it learns that from millions
    of faces. Here it is told the subset, so that an order would hide nothing. They train on three of the six subsets of
    each person only, which protects the faces of the training.
    """

    promise = "that the upload shows no face to people, and lacks too much for a picture to be made of it"
    trusts = "the service, which can recognise and link all uploads"
    not_promised = "anything for several uploads of one picture, which together hold all subsets"

    upsampling: Upsampling = 2
    key: Annotated[int, Interval(ge=0, lt=2**32)] = 0

    def beside_network(self) -> float:
        """Return the seconds of the channels of a step, which grow with their number."""
        return 0.08 * self.upsampling**2

    def fit_seconds(self) -> float:
        """Return the seconds of the training on one core, with those of the linear maps that it begins with."""
        return super().fit_seconds() + _MAPS_SECONDS

    def representation(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the channels (colours and frequencies, rows and columns of blocks), and of the number of
        the subset."""
        side = side_of(self.upsampling)
        return {"channels": (COLOURS * (FREQUENCIES - len(LOW)) // SUBSETS, side, side), "subset": (1,)}

    def fit(self, faces: Faces, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Return the weights of the recogniser."""
        import torch

        from bench_representations.channel_recogniser import trained
        from bench_representations.subsets import chosen, drawn
        from bench_representations.training_faces import TrainingFaces

        model = self.started_from()
        training = TrainingFaces.of(faces, model, ctx)

        def sent(images: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
            subset = drawn(torch.rand(len(images), 1, generator=generator).to(images))
            return chosen(images, subset, self.upsampling, self.key, ctx.plugin), subset[:, 0].long()

        return trained(self._new(ctx), sent, training, self.steps, ctx)

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return channels of float ``(n, 3, 112, 112)`` RGB in [0, 1]; each image draws from its own stream."""
        from bench_representations.subsets import chosen, drawn

        subset = drawn(ctx.rand(images.new_empty(len(images), 1)))
        sent = chosen(images, subset, self.upsampling, self.key, ctx.plugin)
        return Protected(representation={"channels": sent, "subset": subset})

    def recogniser(self, ctx: Context) -> Callable[[Received], torch.Tensor]:
        """Return the trained recogniser of channels and the number of their subset."""
        from bench_representations.channel_recogniser import with_state

        recogniser = with_state(self._new(ctx), ctx)
        return lambda received: recogniser(
            received.representation["channels"], received.representation["subset"][:, 0].long()
        )

    def _new(self, ctx: Context) -> ChannelRecogniser:
        from bench_representations.channel_recogniser import recogniser_of

        kept = COLOURS * (FREQUENCIES - len(LOW)) // SUBSETS
        return recogniser_of(self.started_from(), kept, side_of(self.upsampling), ctx, SUBSETS, _REACH)
