"""Verification of a few hundred pairs: does a network recognise faces with its pixels, and with the usual other ones?

A wrong normalisation or channel order is the usual mistake with a foreign checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from bench import Context, DataError, Dataset
from bench.metrics import cosine
from bench_facenets.checks.separation import Separation, auc_difference_error, separation
from bench_facenets.files.pixels import Channels, Numbers, Pixels, with_parameters
from bench_facenets.loading.splitting import SplitNetwork

SCREENED = 64  # The number of pairs on which alternatives are compared before the best is tested on all pairs.
CLEARLY = 0.005  # A smaller gain in AUC is not reported, even if it is certain.
BATCH = 32

# These are mean, std and pixel_range as in a suite. Dividing by 128 instead of 127.5 makes no visible difference.
NORMALISATIONS: tuple[tuple[Numbers, Numbers, int], ...] = (
    (127.5, 127.5, 255),
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1),  # ImageNet, RGB
    (0.0, 255.0, 255),
    (0.0, 1.0, 255),
)


@dataclass(frozen=True, kw_only=True)
class PairImages:
    """Images uint8 ``(n, 3, 112, 112)`` RGB, and pairs of their rows: ``left``, ``right``, ``same``, each ``(m,)``."""

    images: NDArray[np.uint8]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    same: NDArray[np.bool_]

    @property
    def grey(self) -> bool:
        """Whether the channels of every image are equal, so that their order does not matter."""
        return bool((self.images == self.images[:, :1]).all())

    def first(self, pairs: int) -> PairImages:
        """Return the first ``pairs`` pairs with their images, half of them genuine if there are enough."""
        half = [np.flatnonzero(self.same == kind)[: pairs // 2] for kind in (True, False)]
        rows = np.sort(np.concatenate(half))
        used, where = np.unique([self.left[rows], self.right[rows]], return_inverse=True)
        left, right = where.reshape(2, -1)
        return PairImages(images=self.images[used], left=left, right=right, same=self.same[rows])


@dataclass(frozen=True, kw_only=True)
class Better:
    """Other pixels that separate better: their ``setting`` in a suite, and the resulting separation."""

    setting: str
    separation: Separation


@dataclass(frozen=True, kw_only=True)
class Sanity:
    """The separation of pairs by a network, and by clearly better pixels if they exist.

    ``grey``: the channel order could not be tested, because the faces are grey.
    """

    separation: Separation
    better: Better | None
    grey: bool


def pair_images(dataset: Dataset, name: str, wanted: int) -> PairImages:
    """Return the first pairs of a data set, up to ``wanted``. Raises DataError if there are too few, or if the images
    have another size."""
    most = dataset.max_pairs()
    pairs = (wanted if most is None else min(wanted, most)) // 2 * 2
    if pairs < 20:
        raise DataError(f"{name}: expected at least 20 pairs, found {most}")
    faces, protocol = dataset.evaluation(pairs, Context(device=torch.device("cpu"), seed=0, plugin=f"data set {name}"))
    if tuple(faces.images.shape[1:]) != (3, 112, 112):
        raise DataError(f"{name}: expected aligned faces (3, 112, 112), found {tuple(faces.images.shape[1:])}")
    used, where = np.unique([protocol.left, protocol.right], return_inverse=True)
    left, right = where.reshape(2, -1)
    return PairImages(images=np.asarray(faces.images[used]), left=left, right=right, same=np.asarray(protocol.same))


def judge(network: SplitNetwork, data: PairImages) -> Sanity:
    """Return the separation by a network, and by the best of the usual other pixels if these are clearly better.

    They are clearly better if the area under the ROC curve is larger by more than `CLEARLY` and by more than two
    standard errors of the difference on the same pairs.
    """
    scores = _scores(network, data)
    own = separation(scores, data.same)
    few = data.first(SCREENED)
    screened: list[tuple[float, float, str, Pixels]] = []
    for setting, pixels in _others(network.preprocess.pixels, grey=data.grey):
        found = separation(_scores(_with(network, pixels), few), few.same)
        screened.append((found.auc, found.genuine_mean - found.impostor_mean, setting, pixels))
    *_, setting, pixels = max(screened, key=lambda entry: entry[:2])
    other_scores = _scores(_with(network, pixels), data)
    other = separation(other_scores, data.same)
    error = auc_difference_error(other_scores, scores, data.same)
    clearly = other.auc - own.auc > max(CLEARLY, 2 * error)
    return Sanity(separation=own, better=Better(setting=setting, separation=other) if clearly else None, grey=data.grey)


def _others(own: Pixels, *, grey: bool) -> Iterator[tuple[str, Pixels]]:
    """Yield the usual pixels that differ from a network's own, each with its setting in a suite. For grey images the
    channel order is not varied."""
    orders: tuple[Channels, ...] = (own.channels,) if grey or own.channels == "grey" else ("rgb", "bgr")
    for channels, (mean, std, scale) in product(orders, NORMALISATIONS):
        if channels == "grey" and isinstance(mean, tuple):
            continue
        if channels == "bgr":
            mean, std = (values[::-1] if isinstance(values, tuple) else values for values in (mean, std))
        pixels = with_parameters(own, mean=mean, std=std, pixel_range=scale, channels=channels)
        alike = np.allclose([*pixels.mean, *pixels.std], [*own.mean, *own.std], rtol=0.02)
        if channels != own.channels or not alike:
            setting = [f'channels = "{channels}"', f"mean = {_toml(mean)}", f"std = {_toml(std)}"]
            yield ", ".join([*setting, *(["pixel_range = 1"] if scale == 1 else [])]), pixels


def _toml(values: Numbers) -> str:
    return str(list(values)) if isinstance(values, tuple) else f"{values:g}"


def _with(network: SplitNetwork, pixels: Pixels) -> SplitNetwork:
    """Return the same network with other pixels."""
    device = next(network.preprocess.buffers()).device
    return SplitNetwork(network.net, pixels, {}, looped=network.looped).to(device)


@torch.no_grad()
def _scores(network: SplitNetwork, data: PairImages) -> NDArray[np.float64]:
    """Return the cosines of pairs ``(m,)``; 0 for embeddings that are not numbers."""
    device = next(network.preprocess.buffers()).device
    found = []
    for start in range(0, len(data.images), BATCH):
        batch = torch.from_numpy(np.array(data.images[start : start + BATCH])).to(device).float() / 255
        found.append(network(batch).double().cpu())
    embeddings = torch.cat(found).numpy()
    return np.nan_to_num(cosine(embeddings[data.left], embeddings[data.right]), nan=0.0)
