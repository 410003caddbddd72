"""An encoder that the client holds, a recogniser that the service holds, and the adversaries that they are trained
against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from bench_learners.losses import towards
from bench_learners.weights import restored, state_of
from torch import Tensor, nn

from bench import ContractError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench import Context
    from bench_representations.training_faces import TrainingFaces

_RATE, _ADVERSARY_RATE = 1e-3, 2e-3
_WIDTH = 64  # channels inside of the adversaries
_SHRUNK = 56  # pixels: the side of the pictures that the decoder makes while the encoder is trained
_MOST_CLASSES = 20
_UNLABELLED = -1  # the class of a face without a label
_PREFIX = "coder."


class Coder(nn.Module):
    """A recognition network that is cut at a split point: all up to a narrow code is the client's encoder, and the rest
    the service's recogniser."""

    def __init__(self, network: Any, split: str, features: int, channels: int) -> None:
        super().__init__()
        self.network: nn.Module = network
        self.split = split
        with torch.random.fork_rng(devices=[]):  # `_start` or a state gives them their weights.
            self.narrow = nn.Conv2d(features, channels, 1)
            self.widen = nn.Conv2d(channels, features, 1)

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes ``(n, channels, h, w)`` in [-1, 1] of images ``(n, 3, h, w)``."""
        (maps,) = self.network.features(images, [self.split])  # type: ignore[operator]
        codes: Tensor = self.narrow(maps).tanh()
        return codes

    def recognise(self, codes: Tensor) -> Tensor:
        """Return the embeddings ``(n, d)`` of codes."""
        found: Tensor = self.network.from_features(self.widen(codes), self.split)  # type: ignore[operator]
        return found


class Decoder(nn.Module):
    """The adversary that makes pictures ``(n, 3, 56, 56)`` in [0, 1] of codes ``(n, channels, h, w)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.body = nn.Sequential(
                nn.Conv2d(channels, _WIDTH, 3, padding=1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(_WIDTH, 2 * _WIDTH, 3, padding=1),
                nn.LeakyReLU(0.2),
                nn.PixelShuffle(2),
                nn.Conv2d(_WIDTH // 2, _WIDTH // 2, 3, padding=1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(_WIDTH // 2, 12, 3, padding=1),
                nn.PixelShuffle(2),
                nn.Sigmoid(),
            )

    def forward(self, codes: Tensor) -> Tensor:
        """Return what it makes of codes, which are resized to 14 x 14 if they are of another size."""
        pictures: Tensor = self.body(F.adaptive_avg_pool2d(codes, _SHRUNK // 4))
        return pictures


class Classifier(nn.Module):
    """The adversary that estimates an attribute with ``classes`` values from codes."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.body = nn.Sequential(
                nn.Conv2d(channels, _WIDTH, 3, stride=2, padding=1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(_WIDTH, _WIDTH, 3, stride=2, padding=1),
                nn.LeakyReLU(0.2),
                nn.AdaptiveAvgPool2d(2),
                nn.Flatten(),
                nn.Linear(4 * _WIDTH, classes),
            )

    def forward(self, codes: Tensor) -> Tensor:
        """Return the logits ``(n, classes)``."""
        logits: Tensor = self.body(codes)
        return logits


@dataclass(frozen=True, kw_only=True)
class Game:
    """What a coder is trained for: the number of ``steps``, how much it counts that the decoder fails
    (``reconstruction``) and that the classifier fails (``attribute``), and the ``labels`` of all faces from 0, None
    without a classifier."""

    steps: int
    reconstruction: float
    attribute: float = 0.0
    labels: NDArray[np.int64] | None = None


def trained(coder: Coder, training: TrainingFaces, game: Game, ctx: Context) -> dict[str, Tensor]:
    """Return the state of a coder after the game against its adversaries.

    In each step the adversaries learn from the codes of a batch first, and then the coder minimises

        recognition - reconstruction * min(R, 1) - attribute * min(A, 1)

    where R is the squared error of the decoder, relative to that of the mean face, and A the cross-entropy of the
    classifier, relative to that of a guess by the frequencies of the classes. At 1 the adversary knows nothing, and the
    coder has nothing to gain: a picture in negative or swapped classes, which another adversary would read, are no
    better. All steps are taken: held-out people have no part in this.
    """
    _start(coder, next(training.pictures()))
    adversaries = Adversaries(coder.narrow.out_channels, training, game, ctx)
    optimizer = torch.optim.AdamW(coder.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=_RATE, total_steps=game.steps)
    coder.train()
    for step in range(game.steps):
        images, targets, rows = training.batch()
        with torch.enable_grad():
            codes = coder.encode(images)
            adversaries.learn(codes.detach(), images, rows)
            loss = towards(coder.recognise(codes), targets) - adversaries.fooled(codes, images, rows)
            if not torch.isfinite(loss):
                raise ContractError(f"{ctx.plugin}: the loss of step {step + 1} is {loss.item()}; lower its weights")
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        schedule.step()
        ctx.progress(step + 1, game.steps)
    return state_of(coder, _PREFIX)


def with_state(coder: Coder, ctx: Context) -> Coder:
    """Return the coder with the weights that are in the state of the context."""
    restored(coder, ctx.state, _PREFIX)
    return coder


class Adversaries:
    """A decoder, and a classifier if the game has labels, which learn beside the coder."""

    def __init__(self, channels: int, training: TrainingFaces, game: Game, ctx: Context) -> None:
        self.game = game
        self.mean_face = torch.cat([_shrunk(images) for images in training.pictures()]).mean(dim=0)
        self.decoder = Decoder(channels).to(ctx.device)
        networks: list[nn.Module] = [self.decoder]
        if game.labels is not None:
            self.labels = torch.from_numpy(game.labels).to(ctx.device)
            self.classifier = Classifier(channels, int(game.labels.max()) + 1).to(ctx.device)
            self.guess = _entropy(game.labels[training.rows])
            networks.append(self.classifier)
        for network in networks:
            _draw(network, training.generator)
        self.optimizer = torch.optim.AdamW([p for n in networks for p in n.parameters()], lr=_ADVERSARY_RATE)

    def learn(self, codes: Tensor, images: Tensor, rows: NDArray[np.int64]) -> None:
        """Take one step of learning from codes."""
        self.optimizer.zero_grad()
        torch.autograd.backward(torch.stack(self._errors(codes, images, rows)).sum())
        self.optimizer.step()

    def fooled(self, codes: Tensor, images: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Return how well the adversaries are fooled, each from 0 to the weight that it has in the game."""
        weights = (self.game.reconstruction, self.game.attribute)
        errors = self._errors(codes, images, rows)
        return torch.stack([w * e.clamp(max=1) for w, e in zip(weights, errors, strict=False)]).sum()

    def _errors(self, codes: Tensor, images: Tensor, rows: NDArray[np.int64]) -> list[Tensor]:
        """Return the error of each adversary, which is 1 if it knows nothing."""
        wanted = _shrunk(images)
        errors = [F.mse_loss(self.decoder(codes), wanted) / F.mse_loss(self.mean_face.expand_as(wanted), wanted)]
        if self.game.labels is not None:
            logits, labels = self.classifier(codes), self.labels[rows]
            if (labels >= 0).any():  # The mean over no face would be no number.
                errors.append(F.cross_entropy(logits, labels, ignore_index=_UNLABELLED) / self.guess)
        return errors


def _entropy(labels: NDArray[np.int64]) -> float:
    """Return the cross-entropy of a guess that knows nothing but how frequent each class is, at least 1e-6."""
    share = np.bincount(labels[labels >= 0]) / max(1, (labels >= 0).sum())
    return max(float(-(share[share > 0] * np.log(share[share > 0])).sum()), 1e-6)


def classes_of(values: NDArray[Any], what: str, who: str) -> NDArray[np.int64]:
    """Return the number of the class of each value of an attribute, -1 where there is no label (none, not a number, or
    an empty text). Raise `DataError`, which names ``who``, unless it has between 2 and 20 values."""
    names = sorted({value for value in values.tolist() if _is_label(value)})
    if not 2 <= len(names) <= _MOST_CLASSES:
        raise DataError(
            f"{who}: expected an attribute with 2 to {_MOST_CLASSES} values, found {len(names)} of {what!r} in the "
            "auxiliary faces; name another attribute"
        )
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers.get(value, _UNLABELLED) for value in values.tolist()], np.int64)


def _is_label(value: object) -> bool:
    return value is not None and value != "" and not (isinstance(value, float) and np.isnan(value))


def _start(coder: Coder, images: Tensor) -> None:
    """Let the code hold the principal components of the features of some images, with a standard deviation of 1/2."""
    with torch.no_grad():
        (maps,) = coder.network.features(images, [coder.split])  # type: ignore[operator]
        points = maps.movedim(1, -1).flatten(0, 2)
        mean = points.mean(dim=0)
        variances, axes = torch.linalg.eigh(torch.cov((points - mean).T.double(), correction=0))
        count = coder.narrow.out_channels
        kept, scale = axes[:, -count:].T.float(), 2 * variances[-count:].clamp(min=1e-6).sqrt().float()[:, None]
        for layer, weight, bias in (
            (coder.narrow, kept / scale, -(kept / scale) @ mean),
            (coder.widen, (kept * scale).T, mean),
        ):
            assert layer.bias is not None
            layer.weight.copy_(weight[:, :, None, None])
            layer.bias.copy_(bias)


def _draw(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of a network from N(0, 2 / fan_in) (He et al. 2015); biases are 0."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
                assert module.bias is not None
                module.bias.zero_()


def _shrunk(images: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(images, _SHRUNK)
