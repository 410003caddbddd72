"""Which images a step sees, as a pure function of seed and position; and batches that are made ahead of time."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

_T = TypeVar("_T")
_A = TypeVar("_A")


def stream(*parts: int) -> torch.Generator:
    """A random stream for one named purpose; equal parts give equal numbers."""
    words = np.random.SeedSequence(parts).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


def shuffled(first: int, last: int, n: int, *purpose: int) -> NDArray[np.int64]:
    """Positions ``first`` to ``last`` of an endless row of shuffled passes over ``n`` images: ``(last - first,)``.

    Whoever asks for a position gets the same image, whatever was asked before and however many processes ask.
    """
    parts = []
    for epoch in range(first // n, (last - 1) // n + 1):
        order = _pass(n, *purpose, epoch)
        parts.append(order[max(first - epoch * n, 0) : last - epoch * n])
    return np.concatenate(parts)


@functools.lru_cache(maxsize=4)
def _pass(n: int, *purpose: int) -> NDArray[np.int64]:
    order: NDArray[np.int64] = torch.randperm(n, generator=stream(*purpose)).numpy()
    return order


def ahead(make: Callable[[_A], _T], wanted: Iterable[_A], workers: int) -> Generator[_T]:
    """``make`` of each of the wanted things, in order, made by threads while the last ones are used.

    At most ``workers + 1`` results wait, so memory is bounded. Errors of ``make`` appear where their result would.
    """
    things = iter(wanted)
    waiting: deque[Future[_T]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for thing in things:
                waiting.append(pool.submit(make, thing))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
