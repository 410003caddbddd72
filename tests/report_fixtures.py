"""Fixtures of the tests of tables and pages: runs that were never computed, and the pages made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_run import HOSTILE, Cell, FakeRun, paper_run, write_fake_run
from sharing import shared_folder

from bench.analysis.rows import Rows
from bench.report.page import write_report
from bench.store.reading import RunResults


def one_of_each(cell: Cell) -> str | None:
    """The failed cell of the usual run."""
    point = (cell["dataset"], cell["authorised"], cell["evaluated"])
    return f"out of memory {HOSTILE}" if point == ("synth-calfw", "net-b", "net-a") else None


def one_skipped(cell: Cell) -> str | None:
    """The skipped cell of the usual run."""
    point = (cell["dataset"], cell["defense"], cell["evaluated"])
    return "takes 160x160 images & not 112x112" if point == ("synth-calfw", "Noise 0.3", "net-b") else None


def _write_usual_run(folder: Path) -> None:
    write_fake_run(folder / "fake", FakeRun(failed=one_of_each, skipped=one_skipped))


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    """The run that most tests use: one failed, one skipped cell."""
    return RunResults(shared_folder(tmp_path_factory, "fake-run", _write_usual_run) / "fake")


@pytest.fixture(scope="session")
def paper_results(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    """A run that fills every table of the paper."""
    folder = shared_folder(tmp_path_factory, "paper-run", lambda folder: write_fake_run(folder / "paper", paper_run()))
    return RunResults(folder / "paper")


@pytest.fixture(scope="session")
def paper_rows(paper_results: RunResults) -> Rows:
    """The rows of `paper_results`, indexed once for all tests."""
    return Rows(paper_results)


@pytest.fixture(scope="session")
def report_file(results: RunResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the usual run as a file."""
    return _page(tmp_path_factory, "fake-page", results)


@pytest.fixture(scope="session")
def paper_file(paper_results: RunResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `paper_results` as a file."""
    return _page(tmp_path_factory, "paper-page", paper_results)


def _page(factory: pytest.TempPathFactory, name: str, results: RunResults) -> Path:
    return shared_folder(factory, name, lambda folder: write_report(results, folder / "index.html")) / "index.html"
