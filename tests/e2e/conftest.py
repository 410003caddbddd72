"""End-to-end tests run the installed command in separate processes. All of them are slow."""

from __future__ import annotations

from pathlib import Path

import pytest
from sharing import shared_folder
from support import Command, Done


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests in this folder as slow."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def quick_run(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The folder in which ``bench run quick`` ran, which no test may change, and how the command ended."""

    def run(home: Path) -> None:
        bench("run", "quick", "--device", "cpu", cwd=home).save(home / "done.json")

    home = shared_folder(tmp_path_factory, "quick-run", run)
    return home, Done.load(home / "done.json")
