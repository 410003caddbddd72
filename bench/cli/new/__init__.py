"""The command ``bench new``: write a small distribution with a plugin that works, to begin an own one with.

`templates/` holds what is written: `common/` for every kind of plugin, and a folder for each kind. Names in them such
as ``$module`` are replaced; ``.txt`` is taken off their names.
"""

from __future__ import annotations

import contextlib
import keyword
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

import click

from bench.cli.error_messages import begins_again
from bench.cli.terminal import say
from bench.core.errors import PluginError, StorageError
from bench.core.files import remove
from bench.core.paths import child
from bench.core.text import one_line, shortened_repr

_TEMPLATES = Path(__file__).with_name("templates")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """A kind of plugin: what the description says, which method its author replaces, and how to try it."""

    description: str
    method: str
    try_it: tuple[str, str]


_ONE_FACE = ("bench try {name}", "one face, in this process: breakpoints stop")
_CHECK = ("bench check {name}", "whether it keeps the contract, in seconds")
_KINDS: Mapping[str, _Kind] = {
    "defense": _Kind(description="A defense for bench", method="protect", try_it=_ONE_FACE),
    "attack": _Kind(description="An attack for bench", method="reconstruct", try_it=_ONE_FACE),
    "model": _Kind(description="A recognition model for bench", method="load", try_it=_ONE_FACE),
    "dataset": _Kind(
        description="A data set for bench",
        method="pictures",
        try_it=("bench data verify {name}", "checks its pictures and pairs"),
    ),
    "metric": _Kind(description="A metric for bench", method="compute", try_it=_ONE_FACE),
}


@click.command()
@click.argument("kind", type=click.Choice(list(_KINDS)), metavar="KIND")
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="The new folder (default: NAME, here).",
)
@begins_again
def new(kind: str, name: str, into: Path | None) -> None:
    """Write a plugin to begin with: an installable package with a working example, its test and its suite.

    KIND is defense, attack, model, dataset or metric. NAME is the name of the package and of what it provides, in
    lower-case words joined by hyphens. You replace the body of one method.

    \b
    Examples:
      bench new defense my-cloak
      bench new attack my-attack --into ~/plugins/my-attack
    """
    _check_name(name)
    folder = into or Path(name)
    if one_line(str(folder)) != str(folder) or "\t" in str(folder):
        raise StorageError(
            f"--into: expected a folder whose name can be printed, found {shortened_repr(str(folder))}, with "
            "characters that nobody sees; choose another"
        )
    words = _words(kind, name)
    _write(folder, dict(_files(kind, words)))
    say(f"wrote {folder}: {words['description'][0].lower()}{words['description'][1:]}, {name!r}, which works as it is")
    place = shlex.quote(str(folder))
    tried, what = _KINDS[kind].try_it
    steps = {
        f"pip install -e {place}": "into the environment of bench",
        tried.format(name=name): what,
        _CHECK[0].format(name=name): _CHECK[1],
        f"bench run {shlex.quote(str(folder / 'suite.toml'))}": "measures it, and writes a report",
    }
    for command, what in steps.items():
        say(f"  {command:<{max(map(len, steps))}}  {what}")
    say(f"Then replace the body of {_KINDS[kind].method}() in {child(folder, words['module'], '__init__.py')}.")


def _check_name(name: str) -> None:
    """Raise `PluginError` if a distribution, a module or a component of this name cannot be made, or exists."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        hint = "-".join(re.findall("[a-z0-9]+", name.lower())).lstrip("0123456789-")[:_LONGEST].rstrip("-")
        expected = f"expected lower-case letters and digits in words joined by hyphens, at most {_LONGEST} characters"
        raise PluginError(f"{name}: {expected}; write {hint or 'my-cloak'}")
    module = _module(name)
    if keyword.iskeyword(module) or keyword.issoftkeyword(module) or module in sys.stdlib_module_names:
        raise PluginError(f"{name}: expected a name that is free, found one that Python itself uses; choose another")
    if who := _taken(name, module):
        raise PluginError(f"{name}: expected a name that is free, found {who}; choose another")


def _taken(name: str, module: str) -> str | None:
    """Return who has a name already, in words; None if it is free."""
    from importlib import metadata, util

    from bench.registry.discovery import discover

    for distribution in metadata.distributions():
        if re.sub("[-_.]+", "-", str(distribution.metadata["Name"])).lower() == name:
            return f"the installed package {distribution.metadata['Name']} {distribution.version}"
    registry = discover()
    for kind, known in (*registry.components, *registry.conflicts):
        if known == name:
            return f"the {kind.replace('_', ' ')} {name!r} (bench info {name})"
    for plugin in registry.plugins:
        if plugin.name == name:
            return f"the plugin {name!r} of {plugin.distribution}"
    if util.find_spec(module) is not None:
        return f"the module {module}, which can be imported here"
    return None


def _module(name: str) -> str:
    return name.replace("-", "_")


def _words(kind: str, name: str) -> Mapping[str, str]:
    """Return what takes the place of each name in the templates."""
    about = _KINDS[kind]
    command, what = about.try_it
    return {
        "name": name,
        "module": _module(name),
        "class_name": "".join(word.capitalize() for word in name.split("-")),
        "description": about.description,
        "method": about.method,
        "try_command": f"{command.format(name=name):<23} # {what}",
        "check_command": f"{_CHECK[0].format(name=name):<23} # {_CHECK[1]}",
    }


def _files(kind: str, words: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the files of a new distribution: their paths below its folder, and their text."""
    places = {"plugin.py": f"{words['module']}/__init__.py", "network.py": f"{words['module']}/network.py"}
    places |= {"test_plugin.py": f"tests/test_{words['module']}.py"}
    for template in sorted((*(_TEMPLATES / "common").glob("*.txt"), *child(_TEMPLATES, kind).glob("*.txt"))):
        name = template.name.removesuffix(".txt")
        yield places.get(name, name), Template(template.read_text(encoding="utf-8")).substitute(words)


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files into a new folder, which is there with all of them or not at all. Raise `StorageError` if it exists
    already or cannot be written."""
    taken = f"{folder}: is there already, and nothing in it is overwritten; choose another with --into"
    if os.path.lexists(folder):
        raise StorageError(taken)
    path, begun = folder, folder.with_name(f".{folder.name}.{os.urandom(4).hex()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        begun.mkdir()
        for name, text in files.items():
            path = child(begun, *name.split("/"))
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        begun.rename(folder)
    except FileExistsError as error:
        found = Path(error.filename)
        raise StorageError(f"{found}: expected a folder, found a file; choose another place with --into") from None
    except OSError as error:
        if os.path.lexists(folder):  # Somebody else has made it meanwhile.
            raise StorageError(taken) from None
        raise StorageError(f"{error.filename or path}: cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):  # An error of the clean-up must not hide the first one.
            remove(begun)


COMMANDS = (new,)
