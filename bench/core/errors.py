"""The exceptions of bench, and what each one means.

::

    BenchError                 anything that bench reports without a traceback (exit code 2)
    ├── SuiteError             a suite file: names the TOML path, what was expected, what was found
    ├── PluginError            a plugin that is missing, broken, or named twice
    ├── StorageError           a folder or file that cannot be read or written
    ├── ReplayError            a run that cannot be made again from its record: lists what has changed since
    ├── DataError              a data set or weights file that is damaged, or not what it should be
    │   └── MissingDataError   files that are simply not there: a stand-in may take their place
    └── ContractError          a plugin that broke its contract (shape, range, undeclared need)
        └── CapabilityError    a plugin that asked for what it did not declare

``ContractError`` spoils the cells of the plugin that raised it; the others stop the command before anything runs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """A mistake that the user can mend; its message says where, what was expected, what was found, what to do."""


class SuiteError(BenchError):
    """A suite that does not say something sensible."""


class PluginError(BenchError):
    """A plugin that cannot be used."""


class StorageError(BenchError):
    """A place that cannot be read or written."""


class ReplayError(BenchError):
    """A run that cannot be made again from its record."""


class DataError(BenchError):
    """Data or weights that are missing or damaged."""


class MissingDataError(DataError):
    """Data or weights that are not there; its message says what is missing and where to put it.

    Only this makes ``data = "auto"`` use a stand-in: damaged files are an error, never a reason for another number.
    """


class ContractError(BenchError):
    """A plugin returned something that its contract forbids."""


class CapabilityError(ContractError):
    """A plugin asked the context for something that it did not declare in ``needs``."""


def with_article(kind: str) -> str:
    """A kind of component in words: ``an attack``, ``a data set``."""
    words = {"dataset": "data set"}.get(kind, kind.replace("_", " "))
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words} plugin"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint such as ``did you mean 'pmt'?`` or, without a near match, the list of what is known."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(names)}" if names else "none are known"


def in_words(error: BaseException) -> str:
    """The kind of an error and what it says, whatever its own ``__str__`` does."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as another:  # its __str__ is broken, too
        return f"{type(error).__name__}, which cannot be put in words: {type(another).__name__}"
