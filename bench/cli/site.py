"""The command ``bench site``: leaderboards and pages about several runs, as files for any host."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli import completion, options
from bench.cli.error_messages import begins_again
from bench.cli.terminal import say


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=completion.runs)
@click.option(
    "-o",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="The folder of the site; pages of an earlier site there are replaced.",
)
@options.out
@begins_again
def site(runs: tuple[str, ...], folder: Path, out: Path) -> None:
    """Make a site of static pages from RUNs: a leaderboard, and a page for each defense, attack, data set and judge.

    RUN is a run folder, a suite's name for its latest run, the version of a suite for its reference run, or a bundle
    of others (.zip). Runs of the same version of a suite stand on one leaderboard, all others apart. The pages work
    from a folder as well as on a web host, and load nothing.

    \b
    Examples:
      bench site standard -o site
      bench site standard theirs.zip -o site
      bench site standard-1 -o site        # the reference run alone
    """
    from bench.core.text import plural
    from bench.registry.discovery import discover
    from bench.report.site import write_site
    from bench.report.site.folder import require_site_folder
    from bench.report.site.sources import opened
    from bench.store.run_folders import require_writable

    require_writable(folder, option="-o")
    require_site_folder(folder)
    with opened(runs, options.folders(out).results) as sources:
        written = write_site(
            sources, folder, [Path(run).name for run in runs], folder.name or "DIR", discover().components
        )
    say(f"site: {written[0]} ({plural(len(written), 'page')})")


COMMANDS = (site,)
