"""Fault injection: after any fault, the rows of a run must be the same as those of an undisturbed run.

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
    """Mark all tests in this folder as slow."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def full() -> bool:
    """Return True to inject all faults, False to inject a few of each kind."""
    return FULL


@pytest.fixture(scope="session")
def tally(fault_table: FaultTable) -> Tally:
    """Return the object that counts injected faults and their consequences."""
    return Tally(fault_table)


@pytest.fixture(scope="session")
def reference(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Run a suite with every kind of artifact, undisturbed."""
    return Reference.shared(tmp_path_factory, bench, "reference", REFERENCE)


@pytest.fixture
def lab(reference: Reference, bench: Command, start: Callable[..., Running], tmp_path: Path) -> Lab:
    """Return an object that runs the suite of the reference in a folder of the test."""
    return Lab(reference, bench, start, tmp_path / "out")


@pytest.fixture(scope="session")
def gated_reference(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Run a suite with two stages that wait for a gate, which is open."""
    return Reference.shared(tmp_path_factory, bench, "gated-reference", GATED)


@pytest.fixture
def gated(gated_reference: Reference, bench: Command, start: Callable[..., Running], tmp_path: Path) -> Lab:
    """Return an object that runs the suite with the gate in a folder of the test."""
    return Lab(gated_reference, bench, start, tmp_path / "out")
