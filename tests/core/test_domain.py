"""The channel of an attack follows from what it outputs."""

from __future__ import annotations

from typing import get_args

import pytest

from bench.api.attack import Outputs
from bench.core.domain import CHANNELS, Channel, channel


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ("recognition", "recognition"),
        ("images", "reconstruction"),
        ("attributes", "attributes"),
        ("links", "linkage"),
    ],
)
def test_channel_of_an_output(outputs: str, expected: str) -> None:
    assert channel(outputs) == expected


def test_every_output_has_a_channel_of_its_own() -> None:
    assert set(CHANNELS) == set(get_args(Outputs))
    assert set(CHANNELS.values()) == set(get_args(Channel))


def test_an_unknown_output_has_no_channel() -> None:
    with pytest.raises(KeyError):
        channel("pictures")
