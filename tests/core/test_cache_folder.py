"""The user's cache folder."""

from pathlib import Path

import pytest

from bench import cache_folder


@pytest.mark.skipif("sys.platform != 'linux'", reason="other systems keep it elsewhere")
def test_the_cache_folder_is_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value, found in (("", tmp_path / ".cache"), (str(tmp_path / "xdg"), tmp_path / "xdg")):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == found / "face-privacy-bench"
