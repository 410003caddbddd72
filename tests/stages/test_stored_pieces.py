"""Images that are added piece by piece and read as one array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import StorageError
from bench.stages import stored_pieces
from bench.stages.stored_pieces import StoredPieces


@pytest.fixture(params=[1 << 20, 100], ids=["in memory", "in a file"])
def pieces(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StoredPieces:
    """Return pieces that are all kept in memory, or soon written to a file."""
    monkeypatch.setattr(stored_pieces, "_IN_MEMORY", request.param)
    return StoredPieces(tmp_path)


def test_pieces_are_read_as_they_were_added(pieces: StoredPieces, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 5), np.uint8)
    for part in (slice(0, 4), slice(4, 8), slice(8, 10)):
        pieces.add(images[part])
    (found,) = pieces.streams().values()
    assert found.shape == images.shape
    assert found.dtype == np.uint8
    for part in (slice(0, 10), slice(3, 9), slice(9, 20), slice(2, 2)):
        assert np.array_equal(found[part], images[part])
    assert not list(tmp_path.iterdir()), "the file has no name, so that nothing is left of it"


def test_without_pieces_there_are_no_images(pieces: StoredPieces) -> None:
    assert pieces.streams() == {}


def test_images_in_any_order_of_memory_are_stored_row_by_row(pieces: StoredPieces) -> None:
    images = np.arange(120, dtype=np.uint8).reshape(2, 4, 5, 3).transpose(0, 3, 1, 2)
    pieces.add(images)
    assert np.array_equal(pieces[0:2], images)


def test_a_full_disk_is_an_error_of_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_pieces, "_IN_MEMORY", 1)
    full = StoredPieces(tmp_path / "gone")
    with pytest.raises(StorageError, match="cannot store images"):
        full.add(np.zeros((1, 3, 2, 2), np.uint8))
