"""The command ``bench guide``: the guides that come with bench."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from bench.cli.terminal import say, say_lines
from bench.core.errors import BenchError, did_you_mean

_PACKAGE = Path(__file__).parent.parent


def guides() -> Mapping[str, Path]:
    """Return the guides by name: those in the installed package, or else those of the checkout."""
    folder = _PACKAGE / "guides"
    more: list[Path] = []
    if not folder.is_dir():
        folder, more = _PACKAGE.parent / "docs", [_PACKAGE.parent / "SECURITY.md"]
    pages = [page for page in folder.glob("*.md") if page.name != "index.md"]  # That is the first page of the site.
    found = {path.stem.lower(): path for path in (*pages, *more)}
    found |= {f"plugins/{path.stem}": path for path in (folder / "plugins").glob("*.md")}
    return dict(sorted(found.items()))


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names of all guides."""
    return [CompletionItem(name, help=_title(path)) for name, path in guides().items() if name.startswith(incomplete)]


@click.command()
@click.argument("name", required=False, shell_complete=_complete)
def guide(name: str | None) -> None:
    """Print the guide NAME; without NAME, list all guides.

    \b
    Examples:
      bench guide
      bench guide plugins | less
      bench guide plugins/defense
    """
    known = guides()
    if name is None:
        for own, path in known.items():
            say(f"{own:<{max(map(len, known))}}  {_title(path)}")
    elif name not in known:
        raise BenchError(f"{name}: expected the name of a guide, found another word; {did_you_mean(name, known)}")
    else:
        file = known[name]
        say_lines(file.read_text(encoding="utf-8").rstrip())


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").rstrip()


COMMANDS = (guide,)
