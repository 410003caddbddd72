"""Arguments and options that several commands share, with their callbacks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.api.search_paths import WEIGHTS, data_dir_option, prepend
from bench.cli import completion
from bench.cli.terminal import say, say_message
from bench.core.text import shortened_message

if TYPE_CHECKING:
    from bench.store.workspace import Folders

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def _parse_seconds(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """Return the seconds of a time such as ``90``, ``90s``, ``30m`` or ``2h``; None if the option is not used.

    Raise Click's `BadParameter` for any other text, and for 0.
    """
    if text is None:
        return None
    written = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)([smh]?)", text.strip())
    seconds = float(written[1]) * _UNITS[written[2]] if written else 0.0
    if seconds <= 0:
        raise click.BadParameter(f"expected a time above 0, such as 90 (seconds), 90s, 30m or 2h, found {text!r}")
    return seconds


suite = click.argument("suite", type=completion.SuiteType())
optional_suite = click.argument("suite", type=completion.SuiteType(), required=False)
run = click.argument("run", shell_complete=completion.runs)
runs = click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=completion.runs)
pairs = click.option("--pairs", type=int, metavar="N", help="Verification pairs per data set, instead of the suite's.")
set_ = click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change a value of the suite.")
defenses = click.option(
    "--defense",
    "defenses",
    multiple=True,
    metavar="NAME[,PARAM=VALUE...]",
    shell_complete=completion.defenses,
    help="Add a defense to every experiment; may be given several times. Values are those of TOML: 'pmt,steps=50'.",
)
recompute = click.option(
    "--recompute-reference",
    "recompute",
    is_flag=True,
    help="Compute the defenses of the reference run of the suite too, in place of reading its rows.",
)
cells = click.option(
    "--cell",
    "cells",
    multiple=True,
    metavar="ID",
    help="Only this cell and the stages that it needs, by its id or the beginning of it; may be given several times.",
)
out = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Where results/ and reports/ go (default: here).",
)
device = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."
)


def search_paths(command: Any) -> Any:
    """Add the options ``--data-dir`` and ``--weights-dir`` to a command: where to look for real data and weights."""
    weights = click.option(
        "--weights-dir",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        callback=lambda context, parameter, folder: prepend(WEIGHTS, folder),
        expose_value=False,
        metavar="DIR",
        help="Look for weights in DIR first, then in $BENCH_WEIGHTS and in weights/ of the data folders.",
    )
    return data_dir_option(weights(command))


mode = click.option(
    "--data",
    "mode",
    type=click.Choice(["auto", "real", "stand-in"]),
    help="Where files of data or weights are missing: use synthetic stand-ins (auto), or stop (real).",
)
include_faces = click.option(
    "--include-faces", is_flag=True, help="Show faces of real data sets in the report, with their license notes."
)
json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


LOG_FORMAT = "bench.log-format"  # Key in the meta dictionary of a Click context: the requested format of stderr.


def _set_log_format(ctx: click.Context, param: click.Parameter, form: str) -> str:
    """Store the format of stderr in the context, for notes, warnings and errors."""
    ctx.meta[LOG_FORMAT] = form
    return form


log_format = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    is_eager=True,
    callback=_set_log_format,
    help="What is written on stderr: text for people, or the events of the journal, one JSON object per line.",
)


def note(message: str) -> None:
    """Print a note on stderr, in the requested log format."""
    message = shortened_message(message)
    if _asked_for_json():
        from bench.store.journal import line

        say(line("note", message=message), err=True)
    else:
        say_message(f"note: {message}")


def say_what(message: str) -> None:
    """Print on stderr what a command does now, for people: it is no event of the journal."""
    if not _asked_for_json():
        say(message, err=True)


def _asked_for_json() -> bool:
    return click.get_current_context().meta.get(LOG_FORMAT) == "json"


workers = click.option(
    "--workers",
    type=click.IntRange(min=1, max=1024),
    metavar="N",
    help="Stages at once, at most 1024 (default: one per core or GPU).",
)

trust = click.option(
    "--trust",
    is_flag=True,
    help="Run code outside the installed plugins that the suite or record names, such as the factory of a torch-module "
    "(see SECURITY.md).",
)

engine = click.option(
    "--engine",
    "engine_name",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where stages run: processes of this machine, or Ray tasks (see docs/clusters.md).",
)
address = click.option("--address", help="The Ray cluster to use: host:port, or auto; without it, Ray is started here.")

timeout = click.option(
    "--timeout",
    "timeout_s",
    callback=_parse_seconds,
    metavar="TIME",
    help="Limit of every stage, whatever the suite and its plugins set: 90 (seconds), 90s, 30m or 2h.",
)

component_timeout = click.option(
    "--timeout",
    "timeout_s",
    callback=_parse_seconds,
    metavar="TIME",
    help="How long each component may take: 90 (seconds), 90s, 30m or 2h (default: 5m).",
)


def with_mode(overrides: tuple[str, ...], mode: str | None) -> tuple[str, ...]:
    """Return the overrides of a suite, with the data mode of ``--data`` added if the option was used."""
    return (*overrides, f'suite.data="{mode}"') if mode else overrides


def folders(out: Path) -> Folders:
    """Return the folders of results, cache and reports below the output folder ``out``."""
    from bench.store.workspace import Folders

    return Folders(out=out)
