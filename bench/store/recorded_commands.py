"""The commands that records of runs hold, as they are offered to whoever reads a run: a record may be a stranger's."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_BENCH = (("bench", "run"), ("bench", "rescore"))
_WARNING = "# the record names another command; read it before you use it:"


def is_bench(command: Sequence[str]) -> bool:
    """Return True if a recorded command runs or rescores something with bench."""
    return tuple(command[:2]) in _BENCH


def offered_words(command: Sequence[str]) -> list[str]:
    """Return the words of a recorded command without ``--trust``, which nobody can give for somebody else."""
    return [word for word in command if word != "--trust"]


def offered(command: Sequence[str], default: Sequence[str] = ()) -> str:
    """Return a recorded command, or the default if none is recorded, as text for a shell.

    A command of another program becomes a comment, which does nothing if it is pasted into a shell.
    """
    if not command:
        return shlex.join(default)
    text = shlex.join(offered_words(command))
    return text if is_bench(command) else f"{_WARNING} {' '.join(text.split())}"
