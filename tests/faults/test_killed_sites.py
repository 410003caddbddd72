"""kill -9 of a command that writes a site: the earlier site is left, or nothing that looks like one."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.report.site.folder import MARK, replacing_site

PAGES = ("index.html", "defenses/a.html", "defenses/b.html", "runs/one.html")


def contents(folder: Path) -> dict[str, str]:
    """The files below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def write(folder: Path, names: tuple[str, ...], text: str) -> None:
    """Write a site of these pages."""
    with replacing_site(folder) as unfinished:
        for name in names:
            (unfinished / name).parent.mkdir(exist_ok=True)
            (unfinished / name).write_text(f"{MARK} {text}")


def write_and_die(folder: Path, moment: int) -> None:
    """Write a site in a process that kills itself before a step: a page, a removal, or a move."""
    steps = iter(range(100))

    def step(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            if next(steps) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return called

    for owner, name in ((os, "replace"), (Path, "unlink"), (Path, "write_text")):
        setattr(owner, name, step(getattr(owner, name)))
    write(folder, PAGES, "new")


@pytest.mark.parametrize("moment", range(11))
def test_a_killed_command_leaves_the_earlier_site_or_none(tmp_path: Path, moment: int) -> None:
    """Whether it is killed while it writes pages, removes those of the earlier site, or moves its own."""
    folder = tmp_path / "site"
    write(folder, (*PAGES, "attacks/gone.html"), "old")
    before = contents(folder)
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("mine")
    process = multiprocessing.get_context("fork").Process(target=write_and_die, args=(folder, moment))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = {name: text for name, text in contents(folder).items() if not name.startswith(".")}
    assert left == before or "index.html" not in left or left == dict.fromkeys(PAGES, f"{MARK} new")
    write(folder, PAGES, "next")
    assert contents(folder) == {**dict.fromkeys(PAGES, f"{MARK} next"), ".git/HEAD": "mine"}
