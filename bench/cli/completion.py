"""What the shell offers when an argument is completed: suites, components of plugins, runs. Mistakes offer nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from bench.core.errors import BenchError
from bench.suite import bundled


class SuiteType(click.ParamType[Path]):
    """A suite file by its path, or a suite by its name."""

    name = "suite"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Find the file; `SuiteError` for a name that there is not."""
        return bundled.find_suite(Path(value))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Published suites by name, suite files that lie here, and every path where neither begins like this."""
        here = sorted(path.name for path in Path().glob("*.toml"))
        found = [CompletionItem(name, help="published suite") for name in bundled.published()]
        found += [CompletionItem(name, help="suite file") for name in here]
        return [CompletionItem(incomplete, type="file"), *_beginning(found, incomplete)]


def components(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Components that the installed plugins provide."""
    from bench.registry.discovery import discover

    kinds: dict[str, list[str]] = {}
    for kind, name in sorted(discover().components):
        kinds.setdefault(name, []).append(kind.replace("_", " "))
    return _beginning([CompletionItem(name, help=", ".join(of)) for name, of in sorted(kinds.items())], incomplete)


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Suites that have been run in the output folder, for their latest run, and every run folder there."""
    out = ctx.params.get("out") or Path()
    try:
        folders = sorted(path.parent for path in (out / "results").glob("[!.]*/*/run.json"))
    except OSError:
        return []
    suites = dict.fromkeys(folder.parent.name for folder in folders)
    found = [CompletionItem(name, help="latest run") for name in suites]
    found += [CompletionItem(str(folder), help="run") for folder in folders]
    return _beginning(found, incomplete)


def cells(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the cells of the run that was named before."""
    from bench.store.reading import Results
    from bench.store.run_folders import find_run

    try:
        rows = Results(find_run(ctx.params["run"], (ctx.params.get("out") or Path()) / "results")).cells
    except (BenchError, LookupError, TypeError):
        return []
    columns = zip(rows["cell"], rows["defense"], rows["attack"], rows["evaluated"], strict=True)
    found = [CompletionItem(cell, help=" ".join(filter(None, about))) for cell, *about in columns]
    return _beginning(found, incomplete)


def _beginning(items: Iterable[CompletionItem], incomplete: str) -> list[CompletionItem]:
    return [item for item in items if item.value.startswith(incomplete)]
