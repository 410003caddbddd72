"""Fault injection: whatever happens to a run, its rows are those of a run to which nothing happened.

A short form is part of ``make test``; ``make faults`` injects more (``BENCH_FAULTS=full``). Either prints a table at
its end (see `fault_table`): how often each fault was injected, and how many rows were lost or wrong afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fault_table import FULL, FaultTable
from injecting import GATED, REFERENCE, Lab, Reference, Tally
from processes import Running
from support import Command


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether all faults are injected, or a few of each."""
    return FULL


@pytest.fixture(scope="session")
def tally(fault_table: FaultTable) -> Tally:
    """Counts what was injected, and what came of it."""
    return Tally(fault_table)


@pytest.fixture(scope="session")
def reference(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A suite with every kind of artifact, and the run of it that nothing happens to."""
    return Reference.shared(tmp_path_factory, bench, "reference", REFERENCE)


@pytest.fixture
def lab(reference: Reference, bench: Command, start: Callable[..., Running], tmp_path: Path) -> Lab:
    """Runs the suite of the reference in a folder of the test's own."""
    return Lab(reference, bench, start, tmp_path / "out")


@pytest.fixture(scope="session")
def gated_reference(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A suite with two stages that wait for a gate, which was open."""
    return Reference.shared(tmp_path_factory, bench, "gated-reference", GATED)


@pytest.fixture
def gated(gated_reference: Reference, bench: Command, start: Callable[..., Running], tmp_path: Path) -> Lab:
    """Runs the suite of that reference in a folder of the test's own."""
    return Lab(gated_reference, bench, start, tmp_path / "out")
