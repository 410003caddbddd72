"""Fixtures of the report's tests."""

from __future__ import annotations

import pytest
from fake_run import FakeRun, one_of_each, one_skipped, paper_run, write_fake_run

from bench.report.rows import Rows
from bench.store import Results


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The run that most tests use: one failed, one skipped cell."""
    folder = tmp_path_factory.mktemp("run") / "fake"
    return write_fake_run(folder, FakeRun(failed=one_of_each, skipped=one_skipped))


@pytest.fixture(scope="session")
def paper_results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A run that answers every table of the paper."""
    return write_fake_run(tmp_path_factory.mktemp("run") / "paper", paper_run())


@pytest.fixture(scope="session")
def paper_rows(paper_results: Results) -> Rows:
    """Its rows, indexed once for all tests."""
    return Rows(paper_results)
