"""Things that are expensive to make, made once per test session: all processes of pytest-xdist use the same copy.

No test may change them; a test that needs changes works on a copy.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def shared_folder(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder ``name`` of this test session, filled by ``make`` in the process that needs it first.

    Other processes wait for it meanwhile. If ``make`` raises, the next call starts anew with an empty folder.
    """
    session = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent  # a worker has its own folder within that of the session
    folder = session / "shared" / name
    folder.parent.mkdir(exist_ok=True)
    made = folder.parent / f"{name}.made"
    with FileLock(folder.parent / f"{name}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder
