"""Undoes fixed permutations and mixtures of blocks or pixels, and fixed linear maps within blocks, found from pairs.

A convolution cannot move content across a picture, so a network of convolutions cannot undo a permutation of blocks,
which humans and recognisers cannot read and which protects nothing (block-wise learnable encryption: Tanaka 2018; how
it is broken: Chang and Li 2020, "Attacks on image encryption schemes for privacy-preserving deep neural networks"). The
permutation, though, is found without descent: content that comes from one place varies together over faces. What maps
blocks linearly is found in closed form.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench_learners.blocks import to_blocks, with_blocks

FACES = 256  # At most so many faces decide.
_MATCHED, _MATCHED_FINE = 96, 48  # So many faces decide where blocks come from; fewer for blocks smaller than `_FINE`.
_FINE = 4
_LARGEST_MAP = 16  # Larger blocks have too many pixels for a linear map of all of them.
_MOST_PLACES = 20_000  # More blocks than these are not matched: it would take minutes.
_CHUNK = 1024  # So many positions are compared with all others at a time.
_RIDGE = 1e-3  # of the mean variance of the values within a block
_TINY = 1e-12
_MOST_MIXED = 1024  # More blocks than these are not mixed: there would be more weights than can be learnt.
_GAIN = 0.99  # A candidate must have less than this share of the error of the simpler ones.
_GAIN_OF_MIXTURE = 0.5  # A mixture has many weights and also takes noise away, as the network behind it does better.


class Found(NamedTuple):
    """A rearrangement: ``block`` is the side of a block in pixels, and ``within (d, d)`` a linear map of the
    ``d = 3 block^2`` values of a block, empty if there is none. ``between`` says where the content of each of ``p``
    blocks comes from: from one place, int64 ``(p,)``, or from all blocks with the weights ``(p, p)`` of a mixture."""

    block: int
    between: Tensor
    within: Tensor

    @property
    def mixes(self) -> bool:
        """Whether each block is a weighted sum of all blocks."""
        return self.between.ndim == 2


class Rearrangement(nn.Module):
    """Turns pictures ``(n, 3, h, w)`` into pictures of the same size whose blocks come from other places, as `Found`
    says. What is left over beside whole blocks remains in its place. Nothing of it is trained: all tensors are
    buffers."""

    block: Tensor
    between: Tensor
    within: Tensor
    mean_in: Tensor
    mean_out: Tensor

    def __init__(self, found: Found, mean_in: Tensor, mean_out: Tensor) -> None:
        super().__init__()
        self.register_buffer("block", torch.tensor(float(found.block)))
        self.register_buffer("between", found.between.float())
        self.register_buffer("within", found.within)
        self.register_buffer("mean_in", mean_in)
        self.register_buffer("mean_out", mean_out)
        self.in_order = torch.equal(found.between.cpu(), torch.arange(len(found.between)))
        self.trivial = self.in_order and not found.within.numel()

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor], prefix: str) -> Rearrangement:
        """Return the rearrangement whose buffers a state dict holds under names with this prefix."""
        held = {name: state[prefix + name] for name in ("block", "between", "within", "mean_in", "mean_out")}
        return cls(_found(held["block"], held["between"], held["within"]), held["mean_in"], held["mean_out"])

    def forward(self, images: Tensor) -> Tensor:
        """Return the rearranged pictures."""
        if self.trivial:
            return images
        found = _found(self.block, self.between, self.within)
        return _rearranged(images - self.mean_in, found) + self.mean_out


def _found(block: Tensor, between: Tensor, within: Tensor) -> Found:
    """Return what the buffers of a `Rearrangement` hold."""
    return Found(int(block), between if between.ndim == 2 else between.long(), within)


def nothing_rearranged(mean: Tensor) -> Rearrangement:
    """Return the rearrangement that leaves pictures of the shape of ``mean (3, h, w)`` as they are."""
    order = torch.arange(mean.shape[1] * mean.shape[2], device=mean.device)
    return Rearrangement(Found(1, order, mean.new_empty(0)), mean, mean)


def find(inputs: Tensor, faces: Tensor, chosen_on: tuple[Tensor, Tensor]) -> Rearrangement:
    """Return the rearrangement of ``inputs (n, 3, h, w)`` that is nearest to ``faces (n, 3, h, w)``.

    Candidates are found on these pairs and compared by their mean squared error on the pairs ``chosen_on`` of other
    people. Nothing is rearranged if that is best.
    """
    x, y = inputs[:FACES], faces[:FACES]
    mean_in, mean_out = x.mean(0), y.mean(0)
    x, y = x - mean_in, y - mean_out
    held_x, held_y = chosen_on[0][:FACES] - mean_in, chosen_on[1][:FACES] - mean_out
    h, w = x.shape[2:]
    nothing = Found(1, torch.arange(h * w, device=x.device), x.new_empty(0))
    least, best = _nearest(chain([nothing], _moves(x, y)), held_x, held_y)
    error, mixture = _nearest(chain([best], _mixtures(x, y)), held_x, held_y)
    return Rearrangement(mixture if error < _GAIN_OF_MIXTURE * least else best, mean_in, mean_out)


def _nearest(candidates: Iterable[Found], x: Tensor, y: Tensor) -> tuple[float, Found]:
    """Return the least error of centred pictures ``x`` after a candidate, and the candidate; of about equally good
    ones that which comes first."""
    others = iter(candidates)
    best = next(others)
    least = _error(_rearranged(x, best), y)
    for candidate in others:
        error = _error(_rearranged(x, candidate), y)
        if error < _GAIN * least:
            least, best = error, candidate
    return least, best


def _sizes(images: Tensor, most: int) -> list[int]:
    """Return the sides of blocks of which pictures ``(n, 3, h, w)`` hold at least 4 and at most ``most``."""
    h, w = images.shape[2:]
    return [size for size in range(1, min(h, w) // 2 + 1) if (h // size) * (w // size) <= most]


def _moves(x: Tensor, y: Tensor) -> Iterator[Found]:
    """Yield rearrangements of centred pictures ``x`` towards ``y`` in which each block comes from one place, the
    simpler ones first."""
    matched = dict[int, Tensor]()
    h, w = x.shape[2:]
    sizes = _sizes(x, _MOST_PLACES)
    for block in sizes:
        few = slice(_MATCHED_FINE if block < _FINE else _MATCHED)
        blocks = to_blocks(x[few], block), to_blocks(y[few], block)
        matched[block] = _sources(*blocks)
        yield Found(block, matched[block], x.new_empty(0))
    for block in (size for size in sizes if _FINE <= size <= _LARGEST_MAP and h % size == w % size == 0):
        a, b = to_blocks(x, block), to_blocks(y, block)
        in_order = torch.arange(a.shape[1], device=x.device)
        by_mean = _sources(_means(a), _means(b))
        different = {tuple(source.tolist()): source for source in (in_order, matched[block], by_mean)}
        for source in different.values():
            yield Found(block, source, _linear_map(a[:, source].flatten(0, 1), b.flatten(0, 1)))


def _mixtures(x: Tensor, y: Tensor) -> Iterator[Found]:
    """Yield the best mixture of all blocks of centred pictures ``x`` towards ``y``, for each size of blocks."""
    for block in _sizes(x, _MOST_MIXED):
        # One row for each value of a block in each picture, with the values of all blocks there.
        a, b = (to_blocks(images[:_MATCHED], block).transpose(1, 2).flatten(0, 1) for images in (x, y))
        yield Found(block, _linear_map(a, b).T, x.new_empty(0))


def _rearranged(images: Tensor, found: Found) -> Tensor:
    blocks = to_blocks(images, found.block)
    blocks = found.between @ blocks if found.mixes else blocks[:, found.between]
    if found.within.numel():
        blocks = blocks @ found.within
    return with_blocks(images, blocks, found.block)


def _means(blocks: Tensor) -> Tensor:
    """Return the mean of each channel of blocks ``(n, p, 3 d)``: ``(n, p, 3)``."""
    n, p, d = blocks.shape
    return blocks.reshape(n, p, 3, d // 3).mean(3)


def _sources(x: Tensor, y: Tensor) -> Tensor:
    """Return for each block of ``y (n, p, d)`` the place ``(p,)`` of the block of ``x (n, p, d)`` that it correlates
    most with."""
    a, b = (z.transpose(0, 1).flatten(1) for z in (x, y))
    a, b = (z / z.norm(dim=1, keepdim=True).clamp_min(_TINY) for z in (a, b))
    return torch.cat([(part @ a.T).argmax(1) for part in b.split(_CHUNK)])


def _linear_map(x: Tensor, y: Tensor) -> Tensor:
    """Return the map ``(d, d)`` that takes the rows of ``x (n, d)`` nearest to those of ``y (n, d)`` (ridge
    regression)."""
    gram, cross = x.T @ x, x.T @ y
    ridge = _RIDGE * gram.diagonal().mean() + _TINY
    found: Tensor = torch.linalg.solve(gram + ridge * torch.eye(len(gram), device=x.device), cross)
    return found


def _error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).square().mean())
