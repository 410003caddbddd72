"""Files that are replaced, and texts that are kept in the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.core.errors import StorageError
from bench.core.files import kept_text, write_atomically

TEXT = "let a = 1;\r\nlet b = '\u2028ü';\n"


class Maker:
    """Makes the text, and counts how often."""

    def __init__(self, text: str = TEXT) -> None:
        self.text, self.calls = text, 0

    def __call__(self) -> str:
        self.calls += 1
        return self.text


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A file in which `TEXT` is kept."""
    path = tmp_path / "cache" / "library.js"
    assert kept_text(path, Maker()) == TEXT
    return path


def test_a_kept_text_is_made_once_and_read_as_it_was(kept: Path) -> None:
    again = Maker("another text")
    assert kept_text(kept, again) == TEXT
    assert again.calls == 0
    assert [p.name for p in kept.parent.iterdir()] == ["library.js"]


@pytest.mark.parametrize("damaged", ["", "no digest", None, "\udcff"], ids=["empty", "other", "cut", "bytes"])
def test_a_damaged_file_is_replaced(kept: Path, damaged: str | None) -> None:
    content = kept.read_bytes()[:-3] if damaged is None else damaged.encode("utf-8", "surrogateescape")
    kept.write_bytes(content)
    maker = Maker()
    assert kept_text(kept, maker) == TEXT
    assert maker.calls == 1
    assert kept_text(kept, maker) == TEXT
    assert maker.calls == 1


def test_a_link_is_not_followed(kept: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.js"
    kept.rename(elsewhere)
    before = elsewhere.read_bytes()
    kept.symlink_to(elsewhere)
    assert kept_text(kept, Maker("mine")) == "mine"
    assert not kept.is_symlink()
    assert elsewhere.read_bytes() == before


def test_the_file_of_another_user_is_not_used(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: kept.stat().st_uid + 1)
    assert kept_text(kept, Maker("mine")) == "mine"


def test_without_a_place_the_text_is_made_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "library.js", Path("~/library.js")):
        maker = Maker()
        assert [kept_text(path, maker), kept_text(path, maker)] == [TEXT, TEXT]
        assert maker.calls == 2
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("what", ["folder", "pipe or device"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, what: str) -> None:
    place = tmp_path / "out.csv"
    if what == "folder":
        place.mkdir()
    else:
        os.mkfifo(place)
    with pytest.raises(StorageError, match=f"out.csv: expected a file, found a {what}"):
        write_atomically(place, "text")
    assert place.is_dir() or place.is_fifo()
    assert list(tmp_path.iterdir()) == [place]
