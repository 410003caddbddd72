"""The pytest plugin of bench: faces, tiny networks and contexts as fixtures, for the tests of plugin authors.

It is loaded in every session of pytest where bench is installed, so that torch is imported only by a fixture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import torch

    from bench.api.context import Context
    from bench.api.types import Faces


@pytest.fixture
def kit_faces() -> Faces:
    """Eight drawn faces of four people who do not exist, 112 x 112 pixels, with labels (`bench.Faces`)."""
    from bench.kit import world

    return world.faces(4)


@pytest.fixture
def kit_images(kit_faces: Faces) -> torch.Tensor:
    """The images of ``kit_faces`` as a defense receives them: float ``(8, 3, 112, 112)`` in [0, 1]."""
    from bench.kit import world

    return world.floats(kit_faces.images[:])


@pytest.fixture
def kit_network() -> Any:
    """A tiny recognition network with split points, frozen (`bench.Network`)."""
    from bench.kit import world

    return world.network()


@pytest.fixture
def kit_context(kit_faces: Faces) -> Callable[..., Context]:
    """Return a function that makes a context on the CPU for ``kit_images``: ``kit_context(capabilities, state=...)``;
    `bench.Capabilities` say what the plugin may use."""
    from bench.kit import world

    def make(capabilities: Any = None, **more: Any) -> Context:
        return world.context("plugin", capabilities, sample_ids=list(kit_faces.sample_ids), **more)

    return make
