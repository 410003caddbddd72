"""The commands ``bench bundle``, which writes what one may publish of a run, and ``bench verify``, which checks it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.cli.error_messages import begins_again, exit_codes
from bench.cli.streams import go_on_unread
from bench.cli.terminal import say
from bench.core.text import plural

if TYPE_CHECKING:
    from bench.runs.verify import Verifying
    from bench.store.bundles import BundleManifest
    from bench.store.reading import RunResults

_MOST_LINES = 20  # differences that are printed; the record holds all of them
_LEFT_OUT = "pictures, logs and tracebacks, the journal, paths, and plugins that the run did not use"


@click.command(epilog=exit_codes())
@options.run
@click.option(
    "-o",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.zip",
    help="The file to write (default: SUITE-PLAN.zip in the current folder).",
)
@options.out
@begins_again
def bundle(run: str, file: Path | None, out: Path) -> None:
    """Write what one may publish of RUN into one file: its rows and its record, without faces.

    Neither pictures nor paths, logs or names of the machine are in it. The same run makes the same bytes. Names of
    people and pictures in your own data sets are part of the rows; the command shows one of each set.

    \b
    Examples:
      bench bundle standard
      bench bundle results/quick/20260101-120000-1a2b3c4d -o mine.zip
    """
    from bench.store.bundles import open_bundle, require_bundle_file, write_bundle
    from bench.store.reading import RunResults
    from bench.store.reference import find_run_to_read
    from bench.store.run_folders import require_output_file

    folder = find_run_to_read(run, options.folders(out).results)
    record = RunResults(folder).run
    file = require_output_file(file or Path(f"{record.suite.name}-{(record.digest or 'run')[:8]}.zip"), option="-o")
    require_bundle_file(file)
    write_bundle(folder, file)
    with open_bundle(file) as bundle:
        _show_bundle(file, bundle.manifest, RunResults(bundle.folder))
    say(f"left out:  {_LEFT_OUT}")
    say(f"sha256:    {bundle.sha256}")
    say(f"check it:  {shlex.join(['bench', 'verify', str(file)])}")
    say("publish:   look at what is in it, then give away the file and its sha256; see docs/publishing.md")


def _show_bundle(file: Path, manifest: BundleManifest, results: RunResults) -> None:
    """Print what is in a bundle that was just written."""
    from bench.store.bundles import MANIFEST
    from bench.store.public_runs import PUBLIC_TABLES, names_of_user

    files = f"{len(manifest.files) + 1} files, {MANIFEST} among them"
    say(f"bundle:    {file}, {file.stat().st_size / 1e6:.2f} MB, {files}")
    version = f", version {manifest.version}" if manifest.version else ""
    say(f"suite:     {manifest.suite}{version}; {len(results.cells)} cells, run with bench {manifest.bench}")
    tables = [name for name in PUBLIC_TABLES if results.parts(name)]
    say(f"rows:      {', '.join(tables)}")
    for name, digest in {**manifest.data, **manifest.weights}.items():
        say(f"digest:    {digest[:12]}  {name}")
    if results.parts("verification"):
        first = results.samples("verification", columns=["dataset", "left_id"]).drop_duplicates("dataset")
        for dataset, picture in first.itertuples(index=False, name=None):
            say(f"names:     pictures of {dataset} are named in the rows, for example {picture}")
    for text in names_of_user(results.folder):
        options.note(text)


@click.command(epilog=exit_codes("something differs from what its cells, its suite or this machine say"))
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--cells",
    "count",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="K",
    help="How many cells to recompute.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Recompute the cells of this seed (default: a random one).")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, max=1),
    metavar="X",
    help="Let numbers differ by this (default: 0.001); 0 asks for exactly equal ones.",
)
@click.option("--allow-files", "files", is_flag=True, help="Read files that its suite names, such as weights.")
@options.trust
@options.search_paths
@options.timeout
@options.log_format
@options.workers
@begins_again
def verify(
    bundle: Path,
    count: int,
    seed: int | None,
    tolerance: float | None,
    files: bool,
    trust: bool,
    timeout_s: float | None,
    log_format: str,
    workers: int | None,
) -> None:
    """Check BUNDLE, which may be a stranger's, and recompute some of its cells on this machine.

    Nothing in it is executed: cells are recomputed with the plugins, data and weights that are installed here. Code and
    files that its suite names are refused unless --trust and --allow-files allow them. The result is also written
    beside it, as BUNDLE.verified.json. Exit code 0 only if everything agrees; 2 also if something could not be checked.

    \b
    Examples:
      bench verify mine.zip
      bench verify mine.zip --cells 10 --seed 1234     # the cells that someone else has recomputed
    """
    from bench.registry.discovery import discover
    from bench.runs.verify import TOLERANCE, compare, place_to_compute, plan_cells, verifying
    from bench.store.verifications import write_verification

    go_on_unread()
    with verifying(bundle, seed, TOLERANCE if tolerance is None else tolerance) as state:
        _show_claims(state)
        plan = plan_cells(state, discover(), count, timeout_s, trust=trust, files=files)
        if plan is not None:
            from bench.cli.run import run_and_log
            from bench.engine.factory import make_engine

            if state.note:
                options.note(state.note)
            again = ["bench", "verify", str(bundle), "--seed", str(state.seed), "--cells", str(count)]
            chosen = f"{len(state.chosen)} of {plural(state.recomputable, 'cell')}, with seed {state.seed}"
            say(f"recompute: {chosen}; again: {shlex.join(again)}")
            with place_to_compute(state) as (folders, into):
                engine = make_engine("local", plan.device, workers=workers)
                with run_and_log(plan, folders, engine, log_format, into=into) as (folder, _):
                    compare(state, folder)
        found = state.found()
        path = write_verification(bundle, found)
    for cell in found.cells:
        say(f"cell:      {cell.cell}, {cell.agreement}")
    _list("differs", found.differences)
    _list("unchecked", found.unchecked)
    say(f"record:    {path}")
    if found.ok:
        recomputed = f"{len(found.cells)} of {plural(found.recomputable, 'cell')} were recomputed"
        say(f"verified:  all that is compared agrees; {recomputed}, {found.agreement}")
        return
    say("verified:  no; " + ("it differs" if found.differences else "nothing differs, but not all could be checked"))
    click.get_current_context().exit(1 if found.differences else 2)


def _show_claims(state: Verifying) -> None:
    """Print what a bundle says about itself."""
    record = state.results.run
    say(f"bundle:    {state.file}, sha256 {state.sha256}")
    version = f", version {record.suite.version}" if record.suite.version else ""
    say(f"suite:     {record.suite.name}{version}; {len(state.results.cells)} cells")


def _list(word: str, lines: Sequence[str]) -> None:
    for line in lines[:_MOST_LINES]:
        say(f"{word + ':':11}{line}")
    if len(lines) > _MOST_LINES:
        say(f"{word + ':':11}and {len(lines) - _MOST_LINES} more, which the record lists")


COMMANDS = (bundle, verify)
