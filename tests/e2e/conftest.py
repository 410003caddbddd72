"""End-to-end tests drive the installed command in processes of its own; all of them are slow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import Running, disks, starting


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def start(toy_site: Path) -> Iterator[Callable[..., Running]]:
    """Starts ``bench`` in the background."""
    with starting(toy_site) as popen:
        yield popen


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small disk of its own."""
    with disks(tmp_path) as mount:
        yield mount
