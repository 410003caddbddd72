"""Notices files and programs that a defense, an attack or a metric uses without declaring them.

What a plugin declares is part of content keys: with another file, its results have another key. What it does not
declare is known only after a stage has used it. The manifest of the artifact, and those of all that are made from it,
then hold the digest of the file; an artifact is computed again when such a file has changed. A warning names the file,
too, which becomes a note of the run. Python reports what its own functions open and call; what native code opens is not
noticed. Built-in plugins and those that have a ``fingerprint`` are not observed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.api.defense import Defense
from bench.api.hookspecs import Attack
from bench.api.metric import Metric
from bench.core.domain import Component
from bench.core.packages import DISTRIBUTION
from bench.core.provenance import file_sha256
from bench.registry.sources import declared_files, declared_programs

_MOST = 5  # files and programs that are named for a plugin
_CODE = (".py", ".pyc", ".so")  # Imported code is found in the source of the plugin.
# Folders of the system, Python and its packages. Elsewhere in /usr and /var people keep weights.
_SYSTEM = (
    *("/proc", "/sys", "/dev", "/etc", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"),
    *(f"/usr/share/{name}" for name in ("fontconfig", "fonts", "i18n", "locale", "mime", "zoneinfo")),
    *("/var/cache/fontconfig", f"{sys.prefix}/lib", f"{sys.base_prefix}/lib"),
)
_SHELLS = ("ash", "bash", "dash", "fish", "ksh", "sh", "zsh")
_CALLS = {"subprocess.Popen", "os.posix_spawn", "os.exec"}


@dataclass
class _Used:
    """What the code of a plugin has opened for reading, which programs it has called, and what of both its components
    have declared, in this process."""

    files: dict[str, None] = field(default_factory=dict)
    programs: dict[str, None] = field(default_factory=dict)
    declared: set[Path] = field(default_factory=set)


_known: dict[str, _Used] = {}  # by package: a plugin may keep what it has read for all later stages of this process
_current: _Used | None = None
_read: dict[str, str] = {}  # the files and programs of the current stage, with their sha256
_hooked = False


def take_read() -> dict[str, str]:
    """Return the sha256 of each undeclared file and program that was used since the last call, by path."""
    found = dict(_read)
    _read.clear()
    return found


@contextlib.contextmanager
def observed(component: Component, plugin: Defense | Attack | Metric, cache: Path) -> Iterator[None]:
    """Warn of each file and program that the body of ``with`` uses, which calls a plugin, and that it does not declare.

    ``cache`` is the folder of the artifacts of the host. What a queried defense uses is not the attack's.
    """
    global _current, _hooked
    unobserved = component.origin.distribution == DISTRIBUTION or _has_fingerprint(plugin)
    if not _hooked and not unobserved:
        sys.addaudithook(_note)
        _hooked = True
    began, outer = time.time(), _current
    used = _known.setdefault(component.origin.package, _Used())
    _current = None if unobserved else used
    try:
        yield
    finally:
        _current = outer
    if not unobserved:
        _report(component, plugin, used, began, cache)


def _has_fingerprint(plugin: Defense | Attack | Metric) -> bool:
    return callable(plugin.fingerprint) and plugin.fingerprint() is not None


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    """Keep the file that is opened or the program that is called; a hook of `sys.addaudithook`."""
    if _current is None:
        return
    if event == "open" and isinstance(arguments[0], str | bytes):
        _, mode, flags = arguments
        if not (set(mode or "") & set("wax+")) and not (mode is None and (flags or 0) & (os.O_WRONLY | os.O_RDWR)):
            _current.files[os.path.abspath(os.fsdecode(arguments[0]))] = None
    elif event in _CALLS:
        words = list(arguments[1])
        through_shell = len(words) > 2 and _takes_command(arguments[0], words[1])
        _current.programs.update(dict.fromkeys(_first_word(words[2] if through_shell else arguments[0], through_shell)))
    elif event == "os.system":
        _current.programs.update(dict.fromkeys(_first_word(arguments[0], True)))


def _takes_command(program: Any, option: Any) -> bool:
    """Return True if a program is a shell, and its first option, such as ``-c`` or ``-lc``, announces a command."""
    text = os.fsdecode(option)
    return Path(os.fsdecode(program)).name in _SHELLS and text.startswith("-") and text.endswith("c")


def _first_word(program: Any, is_command: bool) -> list[str]:
    """Return the name of a program, or that of the first one in a command for a shell; empty if there is none."""
    text = os.fsdecode(program)
    return text.split()[:1] if is_command else [text]


def _report(component: Component, plugin: Defense | Attack | Metric, used: _Used, began: float, cache: Path) -> None:
    """Add what is not declared to `_read`, and warn of the first of it."""
    files = [path for path, _ in declared_files(plugin)]
    used.declared |= {path.resolve() for path in (*files, *declared_programs(plugin))}
    roots = (*_SYSTEM, str(cache), *_own_folders(component))
    passed_over = [Path(root).resolve() for root in roots]
    texts = []
    for path in map(Path, list(used.files)):
        if path.resolve() not in used.declared and _is_input(path, passed_over, began):
            _read[str(path)] = file_sha256(path)
            texts.append(f"reads {path}, which it does not declare in weights()")
    for name in list(used.programs):
        program = Path(shutil.which(name) or name).resolve()
        if program not in used.declared:
            texts.append(f"calls {name}, which it does not declare in its programs")
            _read.update({str(program): file_sha256(program)} if program.is_file() else {})
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # The plugin may have turned warnings into errors.
        for text in texts[:_MOST]:
            warnings.warn(text, UserWarning, stacklevel=1)


def _own_folders(component: Component) -> Iterator[str]:
    """Yield the folder of the package of a plugin, whose files are part of content keys."""
    module = sys.modules.get(component.origin.package)
    yield from getattr(module, "__path__", ())


def _is_input(path: Path, passed_over: Collection[Path], began: float) -> bool:
    """Return True for a file that existed before the call, is no code, and lies in none of the folders."""
    real = path.resolve()
    if real.suffix in _CODE or any(real.is_relative_to(folder) for folder in passed_over):
        return False
    try:
        return real.is_file() and real.stat().st_mtime < began
    except OSError:
        return False
