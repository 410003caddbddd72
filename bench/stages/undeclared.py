"""Notices files and programs that a plugin uses without declaring them.

A defense, an attack or a metric declares files and programs; of a model and a data set, all files count as declared
that its ``fingerprint()`` reads. What a plugin declares is part of content keys: with another file, its results have
another key. What it does not declare is known only after a stage has used it. The manifest of the artifact, and those
of all that are made from it, then hold the digest of the file; an artifact is computed again when such a file has
changed. A warning names the file, too, which becomes a note of the run. Python reports what its own functions open and
call; what native code opens is not noticed, nor what a data set reads while its images are streamed. Built-in plugins
are not observed, unless a suite names code that they run, nor are defenses, attacks and metrics with a ``fingerprint``.
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

from bench.api.datasets import Dataset
from bench.api.defense import Defense
from bench.api.hookspecs import Attack, Model
from bench.api.metric import Metric
from bench.core.cache_folder import cache_folder
from bench.core.content_keys import digest_of
from bench.core.domain import Component
from bench.core.packages import DISTRIBUTION
from bench.core.provenance import file_sha256, hashed_files
from bench.registry.sources import declared_files, declared_programs

Plugin = Attack | Dataset | Defense | Metric | Model

_MOST = 5  # files and programs that are named for a plugin
_MOST_KEPT = 100  # files of a plugin whose digests are kept
_CODE = (".py", ".pyc", ".so")  # Imported code is found in the source of the plugin.
# Folders of the system, Python and its packages. Elsewhere in /usr and /var people keep weights.
_SYSTEM = (
    *("/proc", "/sys", "/dev", "/etc", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"),
    *(f"/usr/share/{name}" for name in ("fontconfig", "fonts", "i18n", "locale", "mime", "zoneinfo")),
    *("/var/cache/fontconfig", f"{sys.prefix}/lib", f"{sys.base_prefix}/lib"),
)
_PACKAGES = frozenset({"site-packages", "dist-packages"})  # Folders of installed packages, wherever they lie.
_METADATA = (".dist-info", ".egg-info")  # Folders that say which version of a package is installed.
_SHELLS = ("ash", "bash", "dash", "fish", "ksh", "sh", "zsh")
_CALLS = {"subprocess.Popen", "os.posix_spawn", "os.exec"}


@dataclass
class _Used:
    """What the code of a plugin has opened for reading, which programs it has called, and what of both its components
    have declared, in this process."""

    files: dict[str, None] = field(default_factory=dict)
    programs: dict[str, None] = field(default_factory=dict)
    declared: set[Path] = field(default_factory=set)


# By package, or by the digest of a model or a data set: a plugin may keep what it has read for all later stages of this
# process.
_known: dict[str, _Used] = {}
_current: _Used | None = None
_read: dict[str, str] = {}  # the files and programs of the current stage, with their sha256
_hooked = False


def take_read() -> dict[str, str]:
    """Return the sha256 of each undeclared file and program that was used since the last call, by path."""
    found = dict(_read)
    _read.clear()
    return found


def forget_used() -> None:
    """Count nothing any more that plugins have used or declared in this process, so that the next one is observed as if
    it were the first of its package."""
    _known.clear()


@contextlib.contextmanager
def observed(component: Component, plugin: Plugin, cache: Path, *, warn: bool = True) -> Iterator[None]:
    """Note each file and program that the body of ``with`` uses, which calls a plugin, and that it does not declare.

    ``cache`` is the folder of the artifacts of the host. With ``warn``, which a stage needs whose notes are about the
    plugin, there is a warning for each. What a plugin uses that this plugin calls, such as a queried defense, is not
    counted.
    """
    if not is_observed(component, plugin):
        with _noting(None):
            yield
        return
    began = time.time()
    has_parts = isinstance(plugin, Model | Dataset)  # One package may have many, which read other files each.
    used = _known.setdefault(digest_of(component) if has_parts else component.origin.package, _Used())
    with _noting(used):
        yield
    texts = list(_report(component, plugin, used, began, cache))
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # The plugin may have turned warnings into errors.
        for text in texts[:_MOST] if warn else ():
            warnings.warn(text, UserWarning, stacklevel=1)


def is_observed(component: Component, plugin: Plugin) -> bool:
    """Return True if the host notes what a plugin uses: one from elsewhere that has no fingerprint of its own, or a
    built-in one that runs code which a suite names."""
    if component.origin.distribution == DISTRIBUTION:
        return hasattr(plugin, "foreign_code")
    return isinstance(plugin, Model | Dataset) or not _has_fingerprint(plugin)


def _has_fingerprint(plugin: Defense | Attack | Metric) -> bool:
    return callable(plugin.fingerprint) and plugin.fingerprint() is not None


@contextlib.contextmanager
def _noting(used: _Used | None) -> Iterator[None]:
    """Keep in ``used`` what the body of ``with`` uses; None keeps nothing."""
    global _current, _hooked
    if not _hooked and used is not None:
        sys.addaudithook(_note)
        _hooked = True
    before, _current = _current, used
    try:
        yield
    finally:
        _current = before


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


def _report(component: Component, plugin: Plugin, used: _Used, began: float, cache: Path) -> Iterator[str]:
    """Add what is not declared to `_read`, and yield a sentence about each file or program."""
    own = () if isinstance(plugin, Model | Dataset) else _own_folders(component)
    passed_over = [Path(root).resolve() for root in (*_SYSTEM, str(cache), str(cache_folder()), *own)]
    paths = [path for path in map(Path, list(used.files)) if _is_input(path, passed_over, began)]
    if isinstance(plugin, Model | Dataset):
        used.declared |= _read_by_fingerprint(plugin) if paths else set()
        where = "is not part of its fingerprint"
    else:
        declared = [path for path, _ in declared_files(plugin)]
        used.declared |= {path.resolve() for path in (*declared, *declared_programs(plugin))}
        where = "it does not declare in weights()"
    paths = [path for path in paths if path.resolve() not in used.declared]
    _read.update({str(path): file_sha256(path) for path in paths[:_MOST_KEPT]})
    if len(paths) > _MOST_KEPT:
        yield f"reads {len(paths):,} files, such as {paths[0]}, which {where}; most are not compared when they change"
    else:
        yield from (f"reads {path}, which {where}" for path in paths)
    for name in list(used.programs):
        program = Path(shutil.which(name) or name).resolve()
        if program not in used.declared:
            _read.update({str(program): file_sha256(program)} if program.is_file() else {})
            yield f"calls {name}, which it does not declare in its programs"


def _read_by_fingerprint(plugin: Model | Dataset) -> set[Path]:
    """Return the files that the fingerprint of a model or a data set depends on: those that it opens, and those whose
    digests are known from before."""
    used = _Used()
    with _noting(used), hashed_files() as hashed:
        plugin.fingerprint()
    return {path.resolve() for path in (*map(Path, used.files), *hashed)}


def _own_folders(component: Component) -> Iterator[str]:
    """Yield the folder of the package of a defense or an attack, whose files are part of content keys."""
    module = sys.modules.get(component.origin.package)
    yield from getattr(module, "__path__", ())


def _is_input(path: Path, passed_over: Collection[Path], began: float) -> bool:
    """Return True for a file that existed before the call, is no code, and lies in none of the folders."""
    real = path.resolve()
    if real.suffix in _CODE or any(real.is_relative_to(folder) for folder in passed_over):
        return False
    if not _PACKAGES.isdisjoint(real.parts) or real.parent.suffix in _METADATA:
        return False
    try:
        return real.is_file() and real.stat().st_mtime < began
    except OSError:
        return False
