"""The tree of exceptions in the docstring, and the hints in messages."""

from __future__ import annotations

import inspect
import re

from bench.core import errors


def test_the_docstring_draws_every_exception_under_its_parent() -> None:
    classes = {n: c for n, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__}
    drawn: dict[int, str] = {}
    found = {}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    ([│├└─ ]*)(\w+Error) ", line):
            depth = len(match[1]) // 4
            drawn[depth] = match[2]
            found[match[2]] = drawn.get(depth - 1)
    assert found == {n: c.__base__.__name__ if c.__base__ is not Exception else None for n, c in classes.items()}


def test_did_you_mean_names_the_nearest_or_all() -> None:
    assert errors.did_you_mean("nosie", ["noise", "identity"]) == "did you mean 'noise'?"
    assert errors.did_you_mean("zzz", ["noise", "identity"]) == "known: identity, noise"
    assert errors.did_you_mean("zzz", []) == "none are known"
