"""Starts other processes. Nothing else in bench does so, which a test checks.

Python imports from the folder of its script, or from the current folder, before anything else. A file in a folder of
results, perhaps from a stranger, may have the name of a module (``signal.py``, ``pickle.py``) and would be run by every
process. So each Python process is started with ``-P`` or, where it is started by a library, with ``PYTHONSAFEPATH``.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

SAFE_PATH = ("PYTHONSAFEPATH", "bench")  # The variable, and the value that shows that bench set it, not the user.

_LONGEST_TEMPORARY = 75  # characters of the temporary folder with which the name of a Unix socket is not too long
_OPEN_PIPES: list[int] = []  # ends of pipes that stay open as long as this process lives


def name_user() -> None:
    """Set ``HOME`` and ``USER`` for this process and its children where the system knows neither of its user.

    A container may run with the number of a user that it does not know (``docker run --user 4242``), and libraries look
    for settings and caches below the home folder. The root of the file system takes its place, as Docker sets it.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("HOME", "/")
        os.environ.setdefault("USER", str(os.getuid()))


def python(*arguments: str) -> list[str]:
    """Return the command that runs Python with these arguments, and without importing from the current folder."""
    return [sys.executable, "-P", *arguments]


def run(
    command: Sequence[str], timeout_s: float, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program that reads no input, wait for its end, and return its exit code and what it has printed.

    Raises `OSError` if it cannot be started, and `subprocess.SubprocessError` if it takes longer than ``timeout_s``.
    """
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, cwd=cwd, env=env
    )


def filtered(command: Sequence[str], content: bytes, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    """Run a program that reads this content, wait for its end, and return its exit code and what it has written.

    Raises the errors of `run`.
    """
    return subprocess.run(command, input=content, capture_output=True, timeout=timeout_s)


def lines_of(command: Sequence[str], timeout_s: float, *, cwd: Path | None = None) -> list[str] | None:
    """Return the lines that a program prints; None if it does not exist, fails, or takes longer than ``timeout_s``."""
    try:
        done = run(command, timeout_s, cwd=cwd)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.splitlines() if done.returncode == 0 else None


def start_child(target: Callable[..., object], args: Sequence[Any], name: str, template: str) -> BaseProcess:
    """Start a process that calls ``target``, and that can be killed.

    On Linux it is forked from a process that has imported the module ``template`` already; elsewhere a fork is not safe
    once libraries of the system were used. That process listens at a socket in the temporary folder. If the path of the
    socket would be too long, or somebody has removed it, the child is started from nothing.
    """
    import multiprocessing

    if sys.platform == "linux" and len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_TEMPORARY:
        forking = multiprocessing.get_context("forkserver")
        forking.set_forkserver_preload([template])
        forked = forking.Process(target=target, args=args, name=name)
        try:
            forked.start()
        except (FileNotFoundError, ConnectionRefusedError):  # The socket is gone.
            return _spawned(target, args, name)
        return forked
    return _spawned(target, args, name)


def _spawned(target: Callable[..., object], args: Sequence[Any], name: str) -> BaseProcess:
    """Start a process from nothing that calls ``target``."""
    import multiprocessing

    process = multiprocessing.get_context("spawn").Process(target=target, args=args, name=name)
    process.start()
    return process


def own_folder(prefix: str, where: str | None = None) -> Path:
    """Make a temporary folder that is removed soon after this process has ended, even if it was killed.

    A shell waits for the end of this process, which closes its end of a pipe, and then removes the folder.
    """
    folder = tempfile.mkdtemp(prefix=prefix, dir=where)
    reading, writing = os.pipe()
    _OPEN_PIPES.append(writing)  # Nothing is written to it; the kernel closes it when this process ends.
    script = 'exec 3<&0; (read -r _ <&3; sleep 2; rm -rf -- "$1") >/dev/null 2>&1 &'
    subprocess.run(["sh", "-c", script, "sh", folder], stdin=reading, start_new_session=True, check=True)
    os.close(reading)
    return Path(folder)
