"""How much an adversary knows, as one number."""

from __future__ import annotations

import pytest

from bench.core.domain import KNOWLEDGE
from bench.planning.knowledge import knowledge

CASES = [
    (("images",), "nothing", 1, "the upload alone"),
    (("features", "representation"), "nothing", 1, "the upload alone"),
    (("images", "uploads"), "nothing", 3, "several uploads"),
    (("images", "shallow_weights", "uploads"), "nothing", 3, "the public shallow model"),
    (("images", "shallow_weights"), "clean", 1, "faces of other people, unprotected"),
    (("images", "labels"), "evaluated", 1, "faces of other people, unprotected"),
    (("images", "shallow_weights"), "defense", 2, "faces of other people, protected"),
    (("images", "defense"), "clean", 1, "faces of other people, protected"),
    (("images", "full_model"), "nothing", 1, "the full model of the service"),
    (("images", "full_model"), "defense", 4, "the full model of the service"),
]


@pytest.mark.parametrize(("sees", "trains_on", "uploads", "expected"), CASES)
def test_the_strongest_kind_of_knowledge_counts(
    sees: tuple[str, ...], trains_on: str, uploads: int, expected: str
) -> None:
    assert KNOWLEDGE[knowledge(sees, trains_on, uploads)] == expected
