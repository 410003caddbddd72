"""A run folder from a stranger, for each test anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from stranger import GOLDEN, Stranger


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stranger:
    """The golden run of today's schema, in a folder of its own, which is the working folder."""
    found = Stranger(tmp_path / "home")
    found.folder.parent.mkdir(parents=True)
    shutil.copytree(GOLDEN, found.folder)
    monkeypatch.chdir(found.home)
    return found
