"""What the white-box reconstruction learns before it searches: the decoder of its start, and a copy of the defense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench_translation.losses import PictureLoss
from bench_translation.networks import Translator, translator_of
from bench_translation.training import People, Settings, train_restorer, train_translator
from torch import Tensor

from bench import Shallow

if TYPE_CHECKING:
    from bench import Context, Examples
    from bench_inversion.parameters import InversionParameters

_START, _DEFENSE = "start.", "defense."  # Prefixes of the names of weights.


def learn(params: InversionParameters, examples: Examples, ctx: Context) -> Mapping[str, Tensor]:
    """Train the copy of the defense, and the decoder of the start if there is one; return their weights."""
    settings = Settings(
        steps=params.learning_steps, batch=params.batch_size, rate=params.learning_rate, channels=params.channels
    )
    people = People(examples, ctx)
    state = dict[str, Tensor]()
    if params.start == "decoder":
        loss = PictureLoss.of_network(params.network, ctx)
        made = train_restorer(people, params.pairs, loss, settings)
        state |= {f"{_START}{name}": value for name, value in made.items()}
    made = _copy_of_defense(people, ctx, settings)
    return state | {f"{_DEFENSE}{name}": value for name, value in made.items()}


def _copy_of_defense(people: People, ctx: Context, settings: Settings) -> Mapping[str, Tensor]:
    """Train a network from faces to what the defense makes of them, compared in pixels and in the features of the
    shallow model. Its answer is the mean of what can come out of a random defense: that minimises the mean square."""
    shallow = ctx.shallow(ctx.authorised[0])

    def seen(images: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        return shallow.features(images, shallow.splits), ()

    return train_translator(people, lambda rows, step: people.faces(rows), people.uploads, PictureLoss(seen), settings)


def decoder_of_start(params: InversionParameters, ctx: Context) -> Translator:
    """Return the trained decoder of the start; its weights are all that was learnt, unless the defense was too."""
    prefix = _START if params.through == "defense" else ""
    return translator_of(ctx.state, params.channels, ctx.plugin, prefix).to(ctx.device)


class ThroughDefense(Shallow):
    """A shallow model after a learnt copy of the defense."""

    def __init__(self, shallow: Shallow, params: InversionParameters, ctx: Context) -> None:
        self.splits = shallow.splits
        self._shallow = shallow
        self._copy = translator_of(ctx.state, params.channels, ctx.plugin, _DEFENSE).to(ctx.device)

    def features(self, images: Tensor, splits: Sequence[str]) -> list[Tensor]:
        """Return the feature maps of what the copy of the defense makes of images; with gradients."""
        made = self._copy(images.float()).to(images.dtype)
        return self._shallow.features(made.clamp(0, 1), splits)
