"""The command line: a thin layer. Heavy modules are imported inside the commands, so that help answers at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench import __version__
from bench.errors import BenchError
from bench.places import DATA, WEIGHTS, prepend

if TYPE_CHECKING:
    from bench.session import Folders

TABLE_FORMATS = ("csv", "json", "md", "latex")
CLAIM_FORMATS = ("table", "md", "json")


class _Group(click.Group):
    """Turns every `BenchError` into one message and exit code 2; an interruption into exit code 130."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BenchError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("\ninterrupted; what was finished is kept, and the same command goes on from there", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            # The reader (head, less) has gone; point stdout elsewhere so that the interpreter's last flush is quiet.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """Find out whether a face-privacy protection works.

    Start with: bench run suites/paper.toml
    """


_suite = click.argument("suite", type=click.Path(path_type=Path))
_pairs = click.option("--pairs", type=int, metavar="N", help="Verification pairs per data set, instead of the suite's.")
_set = click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change a value of the suite.")
_out = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Where results/ and reports/ go (default: here).",
)
_device = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."
)


def _looking_in(variable: str) -> Callable[[click.Context, click.Parameter, Path | None], None]:
    return lambda ctx, param, folder: prepend(variable, folder)


_folder = click.Path(path_type=Path, exists=True, file_okay=False)


def _places(command: Any) -> Any:
    """The options that say where real data and weights are."""
    weights = click.option(
        "--weights-dir",
        type=_folder,
        callback=_looking_in(WEIGHTS),
        expose_value=False,
        metavar="DIR",
        help="Look for weights in DIR first, then in $BENCH_WEIGHTS and in weights/ of the data folders.",
    )
    data = click.option(
        "--data-dir",
        type=_folder,
        callback=_looking_in(DATA),
        expose_value=False,
        metavar="DIR",
        help="Look for data sets in DIR first, then in $BENCH_DATA.",
    )
    return data(weights(command))


_mode = click.option(
    "--data",
    "mode",
    type=click.Choice(["auto", "real", "stand-in"]),
    help="Where files of data or weights are missing: use synthetic stand-ins (auto), or stop (real).",
)
_include_faces = click.option(
    "--include-faces", is_flag=True, help="Show faces of real data sets in the report, with their license notes."
)


def _with_mode(overrides: tuple[str, ...], mode: str | None) -> tuple[str, ...]:
    return (*overrides, f'suite.data="{mode}"') if mode else overrides


def _folders(out: Path) -> Folders:
    from bench.session import Folders

    return Folders(out=out)


@main.command()
@_suite
@_pairs
@_set
@_out
@_device
@_mode
@_places
@_include_faces
@click.option("--fresh", is_flag=True, help="Compute everything again, also what is cached.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Worker processes (default: one per core).")
def run(
    suite: Path,
    pairs: int | None,
    overrides: tuple[str, ...],
    out: Path,
    device: str,
    mode: str | None,
    include_faces: bool,
    fresh: bool,
    workers: int | None,
) -> None:
    """Run SUITE and write its report. An interrupted run goes on where it stopped."""
    from bench import console, session
    from bench.plugins import discover
    from bench.report import write_report
    from bench.store import Results

    folders = _folders(out)
    plan = session.plan_suite(suite, folders, device, _with_mode(overrides, mode), pairs)
    console.show_sources(plan, discover(), console.err)
    with console.Progress(plan) as progress:
        folder, outcomes = session.run_plan(plan, folders, progress.on_event, fresh=fresh, workers=workers)
    results = Results(folder)
    page = folders.reports / plan.suite.name / "index.html"
    report = write_report(results, page, session.report_sections(results), include_real_faces=include_faces)
    console.show_summary(results, report)
    if any(o.status in {"failed", "timeout"} for o in outcomes):
        click.get_current_context().exit(1)


@main.command()
@_suite
@_pairs
@_set
@_out
@_device
@_mode
@_places
def plan(suite: Path, pairs: int | None, overrides: tuple[str, ...], out: Path, device: str, mode: str | None) -> None:
    """Show what SUITE would do: cells, stages, what is shared, cached or skipped, time and disk."""
    from bench import console, session
    from bench.plugins import discover

    folders = _folders(out)
    made = session.plan_suite(suite, folders, device, _with_mode(overrides, mode), pairs)
    console.show_sources(made, discover())
    console.show_plan(made, folders.cache)


@main.command()
@click.argument("run")
@_include_faces
@_out
def report(run: str, include_faces: bool, out: Path) -> None:
    """Render the report of RUN (a run folder, or a suite's name for its latest run)."""
    from bench import session
    from bench.report import write_report
    from bench.store import Results, find_run, require_writable

    folders = _folders(out)
    results = Results(find_run(run, folders.results))
    page = folders.reports / results.run["suite"]["name"] / "index.html"
    require_writable(page.parent)
    sections = session.report_sections(results)
    click.echo(f"report: {write_report(results, page, sections, include_real_faces=include_faces)}")


@main.command()
@click.argument("run")
@click.option(
    "--table",
    required=True,
    metavar="NAME",
    help="The paper's table, such as VII; an unknown name lists those that the run has.",
)
@click.option("--format", "fmt", type=click.Choice(TABLE_FORMATS), default="csv", show_default=True)
@_out
def export(run: str, table: str, fmt: str, out: Path) -> None:
    """Print a table of RUN: our figures, N, intervals, and the paper's figures."""
    from bench.report import export as export_table
    from bench.store import Results, find_run

    click.echo(export_table(Results(find_run(run, _folders(out).results)), table, fmt))


@main.command()
@click.argument("run")
@click.option("--format", "fmt", type=click.Choice(CLAIM_FORMATS), default="table", show_default=True)
@_out
def claims(run: str, fmt: str, out: Path) -> None:
    """Hold what the suite of RUN claims against its rows; exit code 1 if a claim does not hold."""
    from bench import console
    from bench.report.rows import Rows
    from bench.store import Results, find_run
    from bench.verdicts import claims_of, judge

    results = Results(find_run(run, _folders(out).results))
    rows = Rows(results)
    verdicts = judge(rows, claims_of(results))
    console.show_claims(verdicts, fmt, synthetic=bool(rows.synthetic))
    if any(verdict.outcome == "does not hold" for verdict in verdicts):
        click.get_current_context().exit(1)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plugins(as_json: bool) -> None:
    """List the installed plugins, what they provide, and why one cannot be used."""
    from bench import console
    from bench.plugins import discover

    console.show_plugins(discover(), as_json=as_json)


@main.command()
@click.argument("name")
def info(name: str) -> None:
    """Explain the component NAME: its parameters, what it needs and declares, where it comes from."""
    from bench import console
    from bench.plugins import discover

    console.show_info(discover(), name)


@main.command()
@_out
def doctor(out: Path) -> None:
    """Check the installation: plugins, weights, packages, folders, devices. Works with broken plugins."""
    from bench import console, doctor

    checks = doctor.examine(_folders(out))
    console.show_checks(checks)
    if any(not check.ok for check in checks):
        click.get_current_context().exit(1)


class _PluginGroup(click.Group):
    """A group whose further commands come from plugins (hook ``bench_commands``); they are looked for only here."""

    def _from_plugins(self) -> dict[str, click.Command]:
        from bench.plugins import commands

        return commands(self.name or "")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *self._from_plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.commands.get(cmd_name) or self._from_plugins().get(cmd_name)


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@main.group(cls=_PluginGroup)
def data() -> None:
    """Real data sets: what is there, whether it is sound, and how to convert and align it."""


@data.command("status")
@_places
@_json
def data_status(as_json: bool) -> None:
    """List data sets and training sets: where each was found, its size and license, or what is missing.

    Example: bench data status --data-dir ~/faces
    """
    from bench import console, inventory
    from bench.plugins import discover

    console.show_entries(list(inventory.entries(discover(), ["dataset", "training_set"])), as_json=as_json)


@data.command("verify")
@click.argument("names", nargs=-1)
@_places
@click.option("--against", multiple=True, metavar="NAME", help="Training sets to compare with (default: all there).")
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="A parameter of the data set.")
@_json
def data_verify(names: tuple[str, ...], against: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Check data sets: every image, the pair protocol, people and near-duplicates shared with training sets.

    Examples: bench data verify --data-dir ~/faces; bench data verify face-set --set path=~/faces/mine
    """
    from bench import console, inventory
    from bench.plugins import discover
    from bench.suite import parameters_of

    found = inventory.verify(discover(), names, against, parameters_of(overrides))
    if not console.show_verification(found, as_json=as_json):
        click.get_current_context().exit(1)


@main.group(cls=_PluginGroup)
def models() -> None:
    """Recognition models: which weights are there, and whether they work."""


@models.command("status")
@_places
@_json
def models_status(as_json: bool) -> None:
    """List models: where the weights of each were found, their license, or what is missing.

    Example: bench models status --weights-dir ~/weights
    """
    from bench import console, inventory
    from bench.plugins import discover

    console.show_entries(list(inventory.entries(discover(), ["model"])), as_json=as_json)


@main.command()
@_suite
@_set
@_places
@click.option("--only", multiple=True, metavar="MODEL", help="Train only these of the suite's models.")
@click.option("--work", type=click.Path(path_type=Path), metavar="DIR", help="Where data and checkpoints are kept.")
def train(suite: Path, overrides: tuple[str, ...], only: tuple[str, ...], work: Path | None) -> None:
    """Train the networks and estimators of SUITE. An interrupted training goes on from its last checkpoint."""
    from bench import training

    training.train_suite(suite, overrides, only, work, click.echo)
