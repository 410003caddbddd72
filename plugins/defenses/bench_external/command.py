"""Runs a program on a folder of pictures, and ends it with all that it has started."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import torch

from bench import ContractError, DataError, printable
from bench_external.pictures import read, write

if TYPE_CHECKING:
    from bench import Context

_SHOWN = 2000  # bytes at the end of what a program has printed


def protected_by(command: Sequence[str], timeout_s: float, images: torch.Tensor, ctx: Context) -> torch.Tensor:
    """Return the images ``(n, 3, h, w)`` that a program makes of images. Raise `ContractError` if it fails, takes too
    long, or writes anything but the expected pictures."""
    with tempfile.TemporaryDirectory(prefix="bench-external-", ignore_cleanup_errors=True) as place:
        given, made, here = (Path(place, name) for name in ("input", "output", "work"))
        for folder in (given, made, here):
            folder.mkdir()
        names = [f"{number:05d}.png" for number in range(len(images))]
        for name, image in zip(names, images, strict=True):
            write(image, given / name)
        _run([part.replace("{input}", str(given)).replace("{output}", str(made)) for part in command], timeout_s, here)
        _check_names(made, set(names), command)
        try:
            return torch.stack([read(made / name, made, images[0]) for name in names]).to(images)
        except DataError as error:
            raise ContractError(f"{ctx.plugin}: {error}") from None


def _run(command: Sequence[str], timeout_s: float, here: Path) -> None:
    """Run a program without a shell and without input, in an empty folder."""
    # Python imports nothing from the folder that it is started in. Output goes to a file, however much it is.
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    with tempfile.TemporaryFile() as printed:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                cwd=here,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise ContractError(f"{command[0]}: the program cannot be started: {error.strerror}") from None
        with _ended(process, here.parent):
            try:
                code = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                raise ContractError(
                    f"{command[0]}: expected it to end within {timeout_s:g} seconds; it did not, and was ended; set "
                    f"timeout_s to more.{_end_of(printed)}"
                ) from None
        if code:
            raise ContractError(f"{command[0]}: expected it to end with 0, found {code}.{_end_of(printed)}")


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes], place: Path) -> Iterator[None]:
    """End a program and all that it has started in its session at the end of ``with``.

    A worker of bench may be killed at any time, and the program has a session of its own. So a shell waits for the end
    of a pipe whose other end this process holds; if this process was killed, it also removes the folder ``place``.
    """
    reading, writing = os.pipe()
    script = 'read -r ended; kill -s KILL -- "-$1"; [ "$ended" ] || rm -rf -- "$2"'
    try:
        guard = subprocess.Popen(
            ["sh", "-u", "-c", script, "sh", str(process.pid), str(place)],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(reading)
        try:
            yield
        finally:
            os.write(writing, b"ended\n")
            guard.wait()
            process.wait()
    finally:
        os.close(writing)


def _end_of(printed: BinaryIO) -> str:
    """Return the end of what a program has printed as a sentence; nothing if it printed nothing."""
    size = printed.seek(0, os.SEEK_END)
    printed.seek(max(0, size - _SHOWN))
    text = printable(printed.read(_SHOWN).decode("utf-8", "replace").strip())
    return f" It printed: {text}" if text else " It printed nothing."


def _check_names(folder: Path, expected: set[str], command: Sequence[str]) -> None:
    """Raise `ContractError` unless a folder has exactly the expected names."""
    found: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name not in expected:
                raise ContractError(
                    f"{command[0]}: expected a picture for each one of {{input}} in {{output}} and nothing else, found "
                    f"{printable(repr(entry.name))}"
                )
            found.add(entry.name)
    if missing := sorted(expected - found):
        raise ContractError(
            f"{command[0]}: expected {len(expected)} pictures in {{output}}, under the names of those in {{input}}; "
            f"{len(missing)} are missing, such as {missing[0]}"
        )
