"""The exceptions of bench, and what each one means.

::

    BenchError                 any error that is reported without a traceback (exit code 2)
    ├── SuiteError             a mistake in a suite: names the TOML path, what was expected, what was found
    │   └── UntrustedError     a suite or a record names code that the user has not allowed to run
    ├── PluginError            a plugin that is missing, broken, or registered twice
    ├── StorageError           a folder or file that cannot be read or written
    ├── ReplayError            a run that cannot be replayed from its record: lists what has changed since
    ├── DataError              a data set or weights file that is damaged, or not the expected one
    │   └── MissingDataError   files that do not exist on this machine: a stand-in may replace them
    └── ContractError          a plugin that broke its contract (shape, range, undeclared need)
        └── CapabilityError    a plugin that used a capability which it had not declared

A ``ContractError`` fails only the cells that use the plugin; the others usually end the command before anything is
computed.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.core.packages import how_to_install


class BenchError(Exception):
    """An error that the user can correct; the message says where, what was expected, what was found and what to do."""


class SuiteError(BenchError):
    """A suite is not valid: an unknown key, a value of the wrong type, or settings that contradict each other."""


class UntrustedError(SuiteError):
    """A suite or the record of a run names code outside the installed plugins, and ``--trust`` does not allow it."""


class PluginError(BenchError):
    """A plugin cannot be used: it is missing, cannot be imported, or two plugins have its name."""


class StorageError(BenchError):
    """A file or folder cannot be read or written, or a disk is full."""


class ReplayError(BenchError):
    """A run cannot be replayed, because code, data or weights differ from those in its provenance record."""


class DataError(BenchError):
    """A data set or weights file is damaged, or is not the expected one."""


class MissingDataError(DataError):
    """Data or weights are missing on this machine; the message says which files, and where to put them.

    With ``data = "auto"`` in a suite, this is the only error that is answered with a stand-in. Damaged files are never
    replaced by one, because the results would silently be those of other data.
    """


class ContractError(BenchError):
    """A plugin broke its contract, for example by returning images of the wrong shape or range."""


class CapabilityError(ContractError):
    """A plugin used a method of the context whose capability it had not declared in ``needs`` or ``sees``."""


def with_article(kind: str) -> str:
    """Return the name of a kind of plugin with its article: ``an attack plugin`` for ``attack``."""
    words = {"dataset": "data set"}.get(kind, kind.replace("_", " "))
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words} plugin"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown word: ``did you mean 'pmt'?``, or the list of known words if none is similar."""
    import difflib  # Importing it takes longer than most of what bench does at its start.

    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(names)}" if names else "none are known"


def missing_package(error: BaseException) -> str:
    """Return how to install a package of bench that could not be imported, to follow the error; empty for any other
    error."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    command = how_to_install(name) if name else None
    return f"; install it with: {command}" if command else ""


def error_text(error: BaseException) -> str:
    """Return the class name and the message of an exception as text, even if its ``__str__`` raises.

    For a missing package of bench or of its built-in plugins, the text says how to install it.
    """
    try:
        return f"{type(error).__name__}: {error}{missing_package(error)}"
    except Exception as another:  # The plugin's own __str__ raised.
        return f"{type(error).__name__}, whose message cannot be shown: {type(another).__name__}"
