"""Shell completion of arguments: suites, components of plugins, runs and cells.

If the candidates cannot be read (no results folder, a damaged run), nothing is offered and no error is raised.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from bench.core.errors import BenchError
from bench.suite import bundled


class SuiteType(click.ParamType[Path]):
    """The type of a SUITE argument: the path of a suite file, or the name of a published suite."""

    name = "suite"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path of the suite file. Raise `SuiteError` if neither a file nor a suite of that name exists."""
        return bundled.find_suite(Path(value))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer published suites, the TOML files of the current folder, and the shell's own completion of paths."""
        files = sorted(path.name for path in Path().glob("*.toml"))
        found = [CompletionItem(name, help="published suite") for name in bundled.published()]
        found += [CompletionItem(name, help="suite file") for name in files]
        return [CompletionItem(incomplete, type="file"), *_starting_with(incomplete, found)]


def components(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names of all components of installed plugins, described by their kinds."""
    from bench.registry.discovery import discover

    kinds: dict[str, list[str]] = {}
    for kind, name in sorted(discover().components):
        kinds.setdefault(name, []).append(kind.replace("_", " "))
    found = [CompletionItem(name, help=", ".join(of)) for name, of in sorted(kinds.items())]
    return _starting_with(incomplete, found)


def defenses(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the names of all defenses of installed plugins; after a name and a comma, its parameters."""
    from bench.registry.components import parameter_names
    from bench.registry.discovery import discover

    known = {name: found.cls for (kind, name), found in sorted(discover().components.items()) if kind == "defense"}
    before, comma, _ = incomplete.rpartition(",")
    if not comma:
        return _starting_with(incomplete, [CompletionItem(name, help="defense") for name in known])
    cls = known.get(before.split(",")[0].strip())
    parameters = sorted(parameter_names(cls)) if cls else []
    return _starting_with(incomplete, [CompletionItem(f"{before},{name}=", help="parameter") for name in parameters])


def own_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the runs of the output folder: the name of each suite (for its latest run), and every run folder."""
    from bench.core.errors import StorageError
    from bench.store.run_folders import run_folders

    out = ctx.params.get("out") or Path()
    try:
        folders = run_folders(out / "results", lambda note: None)
    except StorageError:
        return []
    suites = dict.fromkeys(folder.parent.name for folder in folders)
    found = [CompletionItem(name, help="latest run") for name in suites]
    found += [CompletionItem(str(folder), help="run") for folder in folders]
    return _starting_with(incomplete, found)


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer what a command that only reads takes: the runs of the output folder, and the versions of suites that have a
    reference run."""
    from bench.core.errors import StorageError
    from bench.store.reference import reference_versions

    try:
        versions = [CompletionItem(version, help="reference run") for version in reference_versions()]
    except StorageError:
        versions = []
    return [*own_runs(ctx, param, incomplete), *_starting_with(incomplete, versions)]


def cells(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the ids of the cells of the run that the preceding argument RUN names."""
    from bench.store.reading import RunResults
    from bench.store.reference import find_run_to_read

    try:
        rows = RunResults(find_run_to_read(ctx.params["run"], (ctx.params.get("out") or Path()) / "results")).cells
    except (BenchError, LookupError, TypeError):
        return []
    columns = zip(rows["cell"], rows["defense"], rows["attack"], rows["evaluated"], strict=True)
    found = [CompletionItem(cell, help=" ".join(filter(None, about))) for cell, *about in columns]
    return _starting_with(incomplete, found)


def _starting_with(incomplete: str, items: Iterable[CompletionItem]) -> list[CompletionItem]:
    """Return the items whose value starts with the text typed so far, without names that a shell could not show, such
    as those with line breaks, or with bytes that are no text."""
    return [item for item in items if item.value.startswith(incomplete) and item.value.isprintable()]
