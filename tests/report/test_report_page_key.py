"""A page is kept as long as rows, code and options are the same, and rendered again when any of them is not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_run import FakeRun, write_fake_run

from bench import Section
from bench.report import page_key as keys
from bench.report.page import write_report
from bench.report.page_key import is_current, page_key, sealed
from bench.store.reading import RunResults


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResults, Path]:
    """Return a run and the path of its page."""
    home = tmp_path_factory.mktemp("keyed")
    results = write_fake_run(home / "run", FakeRun())
    return results, write_report(results, home / "index.html")


def key_of(results: RunResults, *sections: Section, faces: bool = False) -> str:
    return page_key(results.folder, sections, include_real_faces=faces)


@pytest.mark.slow
def test_a_page_that_was_just_rendered_is_current(made: tuple[RunResults, Path]) -> None:
    results, page = made
    assert is_current(page, key_of(results))
    assert page.read_text(encoding="utf-8").count("<!-- bench-page ") == 1


def test_options_and_sections_of_plugins_are_part_of_the_key(made: tuple[RunResults, Path]) -> None:
    results, page = made
    section = Section(title="mine", columns=("a",), rows=((1,),))
    other = Section(title="mine", columns=("a",), rows=((2,),))
    found = {key_of(results), key_of(results, faces=True), key_of(results, section), key_of(results, other)}
    assert len(found) == 4
    assert not is_current(page, key_of(results, faces=True))


def test_the_record_of_the_run_is_part_of_the_key(made: tuple[RunResults, Path], tmp_path: Path) -> None:
    results, _ = made
    folder = tmp_path / "run"
    shutil.copytree(results.folder, folder)
    before = page_key(folder, (), include_real_faces=False)
    (folder / "run.json").write_text((folder / "run.json").read_text() + " ")
    assert page_key(folder, (), include_real_faces=False) != before


def test_code_and_packages_are_part_of_the_key(
    made: tuple[RunResults, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, _ = made
    before = key_of(results)
    package = tmp_path / "bench"
    shutil.copytree(keys._BENCH, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(keys, "_BENCH", package)
    assert key_of(results) == before
    script = next(package.rglob("wall.js"))
    script.write_text(script.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    changed = key_of(results)
    assert changed != before
    monkeypatch.setattr(keys, "version", lambda name: "99" if name == "altair" else "1")
    assert key_of(results) not in (before, changed)


@pytest.mark.parametrize("damage", ["edited", "cut", "appended", "empty", "gone", "other seal"])
def test_a_page_that_is_not_as_it_was_written_is_not_current(
    made: tuple[RunResults, Path], damage: str, tmp_path: Path
) -> None:
    results, page = made
    key = key_of(results)
    content = page.read_bytes()
    changed = {
        "edited": content.replace(b"<title>", b"<title>not ", 1),
        "cut": content[:-10],
        "appended": content + b"more\n",
        "empty": b"",
        "other seal": sealed("<html></html>", "0" * 64).encode(),
    }
    copy = tmp_path / "index.html"
    if damage != "gone":
        assert changed[damage] != content
        copy.write_bytes(changed[damage])
    assert not is_current(copy, key)
    copy.write_bytes(content)
    assert is_current(copy, key)


def test_values_in_the_middle_of_a_long_section_are_part_of_the_key(made: tuple[RunResults, Path]) -> None:
    """The ``repr`` of an array leaves them out."""
    results, _ = made
    rows = np.arange(6000).reshape(3000, 2)
    other = rows.copy()
    other[1500, 1] = -1
    assert repr(rows) == repr(other)
    found = [key_of(results, Section(title="mine", columns=("a", "b"), rows=r)) for r in (rows, other)]  # type: ignore[arg-type]
    assert found[0] != found[1]


def test_the_path_that_the_page_shows_is_part_of_the_key(made: tuple[RunResults, Path], tmp_path: Path) -> None:
    results, _ = made
    folder = Path(shutil.copytree(results.folder, tmp_path / "other" / results.folder.name))
    assert page_key(folder, (), include_real_faces=False) != key_of(results)


def test_a_link_is_no_page(made: tuple[RunResults, Path], tmp_path: Path) -> None:
    results, page = made
    link = tmp_path / "index.html"
    link.symlink_to(page)
    assert not is_current(link, key_of(results))
    link.unlink()
    link.mkdir()
    assert not is_current(link, key_of(results))
    link.rmdir()
    os.mkfifo(link)
    assert not is_current(link, key_of(results))
