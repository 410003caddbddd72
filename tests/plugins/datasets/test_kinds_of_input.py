"""bench_facesets: kinds of files and folders of faces as people really have them; see `kinds_of_input`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import faceset_files as files
import pytest
from bench_facesets import FaceSet
from kinds_of_input import KindOfInput, check, outcome


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and no data folders."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)


def counts(root: Path) -> str:
    """How many images of how many people a set has."""

    def read() -> str:
        found = FaceSet(path=str(root)).collection()
        return f"{len(found.encoded)} images of {len(found.codes[1])} people"

    return outcome(read, root.parent)


KINDS = [
    KindOfInput(
        kind="a folder of folders, one per person",
        expected="6 images of 3 people",
        happened=lambda folder: counts(files.write_folder(folder / "set", {"a": 2, "b": 2, "c": 2})),
    ),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_kinds_of_input(kind: KindOfInput, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Each kind is read with the right value, or refused in words."""
    check(kind, tmp_path / "input", record_property)
