"""The table of injected faults at the end of a test session: a pytest plugin, which also works with pytest-xdist.

Every process that runs tests counts its own faults. A worker of pytest-xdist sends its counts to the controller when
its tests are over, and the controller prints the sum.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

FULL = os.environ.get("BENCH_FAULTS") == "full"
_KEY = "injected_faults"


@dataclass
class FaultTable:
    """How often each fault was injected, what it did, and remarks of single tests.

    For each fault: the rows that were ``lost`` or ``wrong`` afterwards, the foreign files whose code was run (``ran``),
    and the files that were changed outside of the folders of bench (``outside``).
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add(self, fault: str, *, times: int, lost: int = 0, wrong: int = 0, ran: int = 0, outside: int = 0) -> None:
        """Count a fault that was injected ``times`` times."""
        done = {"times": times, "lost": lost, "wrong": wrong, "ran": ran, "outside": outside}
        self.counts.setdefault(fault, Counter()).update(done)

    def merge(self, sent: dict[str, Any]) -> None:
        """Add the counts of another process, as `sendable` returned them."""
        for fault, count in sent["counts"].items():
            self.add(fault, **count)
        self.remarks += sent["remarks"]

    def sendable(self) -> dict[str, Any]:
        """The counts as plain dictionaries and lists, which pytest-xdist can send."""
        return {"counts": {fault: dict(count) for fault, count in self.counts.items()}, "remarks": self.remarks}

    def lines(self) -> Iterator[str]:
        """The table as text; nothing if no fault was injected."""
        if not self.counts:
            return
        width = max(map(len, self.counts))
        yield f"{'fault':<{width}}  injected  lost rows  wrong rows  code run  files touched outside"
        total = sum(self.counts.values(), Counter())
        for fault, count in [*self.counts.items(), ("all", total)]:
            rows = f"{count['times']:>8}  {count['lost']:>9}  {count['wrong']:>10}"
            yield f"{fault:<{width}}  {rows}  {count['ran']:>8}  {count['outside']:>21}"
        yield from self.remarks


_TABLE = pytest.StashKey[FaultTable]()


def pytest_configure(config: pytest.Config) -> None:
    """Start with an empty table."""
    config.stash[_TABLE] = FaultTable()


@pytest.fixture(scope="session")
def fault_table(pytestconfig: pytest.Config) -> FaultTable:
    """The table of this process."""
    return pytestconfig.stash[_TABLE]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist, leave the table for the controller."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_KEY] = session.config.stash[_TABLE].sendable()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """In the controller, add the table of a worker that has ended; one that crashed sends none."""
    output = getattr(node, "workeroutput", {})
    if _KEY in output:
        node.config.stash[_TABLE].merge(output[_KEY])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    if lines := list(config.stash[_TABLE].lines()):
        terminalreporter.section("faults injected" + ("" if FULL else " (short form; make faults injects more)"))
        for line in lines:
            terminalreporter.write_line(line)
