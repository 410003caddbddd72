"""Fixtures of the tests of tables and pages: runs that were never computed, and the pages made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_run import HOSTILE, Cell, FakeRun, paper_run, write_fake_run

from bench.analysis.rows import Rows
from bench.report.page import write_report
from bench.store.reading import Results


def one_of_each(cell: Cell) -> str | None:
    """The failed cell of the usual run."""
    point = (cell["dataset"], cell["authorised"], cell["evaluated"])
    return f"out of memory {HOSTILE}" if point == ("synth-calfw", "net-b", "net-a") else None


def one_skipped(cell: Cell) -> str | None:
    """The skipped cell of the usual run."""
    point = (cell["dataset"], cell["defense"], cell["evaluated"])
    return "takes 160x160 images & not 112x112" if point == ("synth-calfw", "Noise 0.3", "net-b") else None


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


@pytest.fixture(scope="session")
def report_file(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the usual run as a file."""
    return write_report(results, tmp_path_factory.mktemp("page") / "index.html")


@pytest.fixture(scope="session")
def paper_file(paper_results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the run that answers every table of the paper."""
    return write_report(paper_results, tmp_path_factory.mktemp("page") / "index.html")
