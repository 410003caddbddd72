"""Real networks by one command: ``bench models fetch`` gets verified weights through the library uniface.

Importing this package imports neither torch nor uniface: a suite is planned from the declarations, and uniface is
imported only while files are fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench import Model, hookimpl
from bench_uniface.catalogue import ATTRIBUTES, FETCHABLE, RECOGNISERS, Fetchable
from bench_uniface.declarations import MODELS, UnifaceNet

if TYPE_CHECKING:
    import click

__all__ = [
    "ATTRIBUTES",
    "FETCHABLE",
    "MODELS",
    "RECOGNISERS",
    "Fetchable",
    "UnifaceNet",
    "bench_commands",
    "bench_models",
]


@hookimpl
def bench_models() -> Mapping[str, type[Model]]:
    """Register the recognition networks that uniface publishes."""
    return MODELS


@hookimpl
def bench_commands() -> Mapping[str, click.Command]:
    """Register ``bench models fetch``."""
    from bench_uniface.commands import fetch

    return {"models fetch": fetch}
