"""The shares in which auxiliary faces are protected, so that attacks with different budgets use the same. No torch.

An attack that may learn from 400 faces learns from the first 400, person by person, and one that may learn from 1600
from these and 1200 more. The shares end at 100, 200, 400, 800 ... faces and at the budget itself. They depend on the
budget of the attack alone, never on other attacks of the suite, so that a cell has the same stages in any suite.
"""

from __future__ import annotations

from collections.abc import Iterator

FIRST = 100  # The faces of the first share.


def shares(most: int) -> Iterator[tuple[int, int]]:
    """Yield the first face of each share of the first ``most`` faces, and the first after it."""
    start, stop = 0, FIRST
    while stop < most:
        yield start, stop
        start, stop = stop, 2 * stop
    yield start, most
