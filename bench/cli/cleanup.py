"""The commands ``bench cache`` and ``bench runs``: list, check and remove artifacts and runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from bench.cli import completion, options
from bench.cli.error_messages import CommandGroup, exit_codes
from bench.cli.terminal import say

_Callback = Callable[[click.Context, click.Parameter, str | None], float | None]


def _parse_with(parser: str) -> _Callback:
    """Return an option callback that parses the option's text, a number with a unit, with a function of
    `bench.runs.cleanup`.

    ``parser`` is the name of that function, so that its module is imported only when the option is used. The message of
    its `ValueError` becomes the error of the option.
    """

    def parse(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
        from bench.runs import cleanup

        try:
            return None if text is None else getattr(cleanup, parser)(text)
        except ValueError as error:
            raise click.BadParameter(f"{error}, found {text!r}", ctx, param) from None

    return parse


@click.group(cls=CommandGroup)
def cache() -> None:
    """Artifacts that runs have computed: list them, check them, and make room.

    They are in results/.cache. Whatever is removed there is computed again when a run needs it; results stay.

    \b
    Examples:
      bench cache ls
      bench cache gc --max-size 20GB
    """


@cache.command("ls")
@options.out
@options.json
def cache_ls(out: Path, as_json: bool) -> None:
    """List the artifacts by kind: how many, how large, and when they were used.

    \b
    Examples:
      bench cache ls
      bench cache ls --out /mnt/results --json
    """
    from bench.cli import cleanup_output
    from bench.runs import cleanup

    found = options.folders(out).cache
    cleanup_output.show_cache(
        found.root, cleanup.by_kind(cleanup.artifacts(found)), cleanup.unfinished(found), as_json=as_json
    )


@cache.command("verify", epilog=exit_codes("an artifact is damaged"))
@click.option("--discard", is_flag=True, help="Remove damaged artifacts; the next run computes them again.")
@options.out
def cache_verify(discard: bool, out: Path) -> None:
    """Compare every artifact with its checksums.

    \b
    Examples:
      bench cache verify
      bench cache verify --discard
    """
    from bench.cli import cleanup_output
    from bench.runs import cleanup

    found = options.folders(out).cache
    keys = [artifact.key for artifact in cleanup.artifacts(found)]
    checked = (cleanup.damage(found, key, discard=discard) for key in cleanup_output.progress("verifying", keys))
    if cleanup_output.show_damage(checked, discarded=discard):
        click.get_current_context().exit(1)


@cache.command("gc", epilog=exit_codes("something could not be removed"))
@click.option(
    "--max-size",
    callback=_parse_with("size_of"),
    metavar="SIZE",
    help="Remove the least recently used artifacts until no more than SIZE are left, such as 20GB.",
)
@click.option(
    "--older-than",
    callback=_parse_with("span_of"),
    metavar="TIME",
    help="Remove artifacts that were not used for TIME, such as 30d.",
)
@click.option("--dry-run", is_flag=True, help="Remove nothing; list what would be removed.")
@options.out
def cache_gc(max_size: int | None, older_than: float | None, dry_run: bool, out: Path) -> None:
    """Make room: remove artifacts, the least recently used first, and what killed workers left behind.

    Without --max-size and --older-than only damaged artifacts and leftovers go. What a running run needs always stays.

    \b
    Examples:
      bench cache gc --max-size 20GB
      bench cache gc --older-than 30d --dry-run
    """
    from bench.cli import cleanup_output
    from bench.runs import cleanup

    found = options.folders(out).cache
    collected = cleanup.collect(found, max_size=max_size, older_than=older_than, dry_run=dry_run)
    cleanup_output.show_collected(collected, max_size, dry_run=dry_run)
    if collected.failed:
        click.get_current_context().exit(1)


@click.group(cls=CommandGroup)
def runs() -> None:
    """Runs and their results: list them, show their records, and remove some.

    \b
    Examples:
      bench runs ls
      bench runs show paper
    """


@runs.command("ls")
@options.out
@options.json
def runs_ls(out: Path, as_json: bool) -> None:
    """List the runs: suite, run, when, how it ended, cells, and size.

    \b
    Examples:
      bench runs ls
      bench runs ls --json | jq -r '.[].folder'
    """
    from bench.cli import cleanup_output
    from bench.runs import cleanup

    results = options.folders(out).results
    cleanup_output.show_runs(results, cleanup.runs(results, options.note), as_json=as_json)


@runs.command("show")
@options.run
@options.json
@options.out
def runs_show(run: str, as_json: bool, out: Path) -> None:
    """Show the record of RUN: its command, suite, versions, machine, data and weights, counts, and failures.

    RUN is a run folder, a suite's name for its latest run, or the version of a suite for its reference run. With
    --json, the whole record.

    \b
    Examples:
      bench runs show paper
      bench runs show paper --json | jq .versions
    """
    from bench.cli import cleanup_output
    from bench.runs import cleanup
    from bench.store.reference import find_run_to_read
    from bench.store.run_record import salvage_record

    results = options.folders(out).results
    folder = find_run_to_read(run, results)
    record = salvage_record(folder)
    cleanup_output.show_run(cleanup.run_of(folder), record, cleanup.failures(folder), as_json=as_json)


@runs.command("rm")
@click.argument("names", nargs=-1, required=True, metavar="RUN...", shell_complete=completion.own_runs)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@options.out
def runs_rm(names: tuple[str, ...], yes: bool, out: Path) -> None:
    """Remove the folder of each RUN. The cache stays: the same command makes the results again from it.

    RUN is a run folder, or a suite's name for its latest run.

    \b
    Examples:
      bench runs rm results/quick/20260101-120000-1a2b3c4d
      bench runs rm quick --yes
    """
    from bench.cli import cleanup_output
    from bench.runs import cleanup
    from bench.store.run_folders import find_run

    results = options.folders(out).results
    chosen = {run.folder: run for run in (cleanup.check_removable(find_run(name, results)) for name in names)}
    cleanup_output.show_runs(results, list(chosen.values()), as_json=False)
    if not yes:
        click.confirm(f"Remove {cleanup_output.count(len(chosen), 'run folder')}?", abort=True)
    for run in chosen.values():
        cleanup_output.show_removed(run, cleanup.remove_run(run))
    say("The cache was not touched; bench cache gc makes room there.")


COMMANDS = (cache, runs)
