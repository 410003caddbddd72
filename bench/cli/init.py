"""The command ``bench init``: write a starter suite."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from bench.cli.terminal import say
from bench.core.errors import StorageError

_STARTER = Path(__file__).with_name("starter.toml")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Write a starter suite into DIR, which runs as it is and explains what can be changed.

    \b
    Examples:
      bench init mine
      bench init ~/suites/my-defense
    """
    suite = folder / "suite.toml"
    name = _name_of(folder)
    text = _STARTER.read_text(encoding="utf-8").replace('name = "starter"', f'name = "{name}"', 1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with suite.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        found = Path(error.filename)
        problem = "is there already, and is not overwritten" if found == suite else "expected a folder, found a file"
        raise StorageError(f"{found}: {problem}; choose another folder") from None
    except OSError as error:
        raise StorageError(f"{suite}: cannot be written: {error.strerror or error}") from None
    path = shlex.quote(str(suite))
    say(f"wrote {suite}: the suite {name!r}, which runs as it is and explains what can be changed")
    steps = {
        f"bench plan {path}": "what it would do",
        f"bench run {path}": "do it, and write its report",
        f"bench explain {name} defense=Noise evaluated=zoo-resnet": "what one cell of it is",
        "bench plugins": "what else can be used (bench info NAME: its parameters)",
    }
    for command, what in steps.items():
        say(f"  {command:<{max(map(len, steps))}}  {what}")


def _name_of(folder: Path) -> str:
    """Return a suite name made of the lower-case letters and digits of a folder's name, joined by hyphens."""
    words = re.findall("[a-z0-9]+", folder.resolve().name.lower())
    return "-".join(words) or "mine"


COMMANDS = (init,)
