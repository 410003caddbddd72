"""Python warnings of libraries and plugins, which every command shows as notes of one line, without file and source."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator

from bench.core.text import one_line, shortened_message


@contextlib.contextmanager
def as_notes(note: Callable[[str], object]) -> Iterator[None]:
    """Context manager in which ``note`` gets the text of each warning that Python would print, each text once."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        text = shortened_message(one_line(" ".join(str(message).split())))
        if text not in seen:
            seen.add(text)
            note(text)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
