"""Takes the current folder out of the places from which ``python -m bench`` imports; the first module that it runs.

Python puts that folder first, and a file there may have the name of any module. Before this module is run, Python
itself has looked there for ``bench`` and for the ten modules that its option ``-m`` needs; only ``python -P -m bench``
and the command ``bench`` look there for nothing. Only the built-in module ``sys`` may be imported here.
"""

import sys


def _requested_module() -> str:
    """Return the module that the option ``-m`` of Python names, in any of its forms (``-um bench``, ``-mbench``)."""
    for i, word in enumerate(sys.orig_argv):
        flags, option, attached = word.partition("m")
        if option and flags[:1] == "-" and not set(flags[1:]) & {"-", "W", "X", "c"}:
            return attached or "".join(sys.orig_argv[i + 1 : i + 2])
    return ""


# While Python looks for the module, the program has the name -m.
if sys.argv[:1] == ["-m"] and _requested_module() in ("bench", "bench.__main__") and not sys.flags.safe_path:
    del sys.path[0]
