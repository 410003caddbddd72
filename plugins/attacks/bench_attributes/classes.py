"""The classes of the built-in attribute network, and the command that trains it. No torch."""

from __future__ import annotations

from collections.abc import Mapping

COMMAND = "bench train suites/attributes.toml"

CLASSES: Mapping[str, tuple[str, ...]] = {
    "gender": ("woman", "man"),
    "emotion": ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
    "group": ("group-a", "group-b", "group-c", "group-d", "group-e", "group-f"),
}
"""Each attribute that the built-in network classifies, with its classes in the order of the network's outputs. The
network also estimates the age."""
