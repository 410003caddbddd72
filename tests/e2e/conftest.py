"""End-to-end tests drive the installed command in processes of its own; all of them are slow."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import PATIENCE, Running
from support import BENCH, environment, members


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


def _listen_to_ctrl_c() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and the tests inherit that; `bench` must not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(toy_site: Path) -> Iterator[Callable[..., Running]]:
    """Starts ``bench`` in the background; whatever a failed test leaves is ended."""
    started: list[Running] = []

    def popen(*args: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> Running:
        process = subprocess.Popen(
            [str(BENCH), *map(str, args)],
            env=environment([toy_site], env or {}),
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_listen_to_ctrl_c,
        )
        started.append(Running(process))
        return started[-1]

    yield popen
    for running in started:
        for pid in members(running.process.pid):
            os.kill(pid, signal.SIGKILL)
        running.process.wait(PATIENCE)
        for pipe in (running.process.stdout, running.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small disk of its own; skips where that is not permitted."""
    mounted: list[Path] = []

    def mount(size: str, *options: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(place)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs permission to mount a tmpfs")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True, capture_output=True)
