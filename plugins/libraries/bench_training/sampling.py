"""The images of each step, as a pure function of seed and position; and preparation of batches in advance."""

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
    """Return a random generator for one purpose, identified by ``parts``; equal parts give equal numbers."""
    words = np.random.SeedSequence(parts).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


def shuffled(first: int, last: int, n: int, *purpose: int) -> NDArray[np.int64]:
    """Return the images at the positions ``first`` to ``last`` of an endless sequence of shuffled passes over ``n``
    images: ``(last - first,)``.

    The image at a position depends on ``n`` and ``purpose`` only, not on earlier calls or the number of processes.
    """
    parts = []
    for epoch in range(first // n, (last - 1) // n + 1):
        order = _pass(n, *purpose, epoch)
        parts.append(order[max(first - epoch * n, 0) : last - epoch * n])
    return np.concatenate(parts)


def grouped(step: int, batch: int, per_person: int, starts: NDArray[np.int64], *purpose: int) -> NDArray[np.int64]:
    """Return the images of one step, ``(batch,)``: ``per_person`` images of each of several people, in order of people.

    The people of successive steps follow an endless sequence of shuffled passes over all people; the images of each are
    drawn at random. Those of person i are ``starts[i]`` to ``starts[i + 1] - 1``; a person with fewer than
    ``per_person`` images has some of them twice. The result depends on the arguments only, not on earlier calls.
    """
    count = batch // per_person
    people = shuffled(step * count, (step + 1) * count, len(starts) - 1, *purpose)
    generator = stream(*purpose, 1, step)
    rows = []
    for person in people.tolist():
        first, n = int(starts[person]), int(starts[person + 1] - starts[person])
        drawn = torch.randperm(n, generator=generator).numpy()
        rows.append(first + np.resize(drawn, per_person))
    return np.concatenate(rows).astype(np.int64)


@functools.lru_cache(maxsize=4)
def _pass(n: int, *purpose: int) -> NDArray[np.int64]:
    order: NDArray[np.int64] = torch.randperm(n, generator=stream(*purpose)).numpy()
    return order


def ahead(make: Callable[[_A], _T], wanted: Iterable[_A], workers: int) -> Generator[_T]:
    """Yield ``make(x)`` for each x of ``wanted``, in order, computed by threads while earlier results are used.

    At most ``workers + 1`` results wait, so memory is bounded. An error of ``make`` is raised in place of its result.
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
