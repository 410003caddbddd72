"""The command ``bench try``: one component on one face, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import click

from bench.cli import completion, options
from bench.cli.error_messages import begins_again
from bench.cli.terminal import say
from bench.core.errors import BenchError, PluginError, error_text
from bench.core.packages import DISTRIBUTION
from bench.core.text import one_line, shortened, shortened_message

if TYPE_CHECKING:
    from bench.runs.trial.kinds import Tried

_LONGEST = 1500  # characters of what a plugin says


@click.command("try")
@click.argument("component", metavar="NAME[,PARAM=VALUE...]", shell_complete=completion.components)
@click.argument("picture", metavar="[FACE.png]", type=click.Path(path_type=Path), required=False)
@click.option(
    "--defense",
    default="noise",
    show_default=True,
    metavar="NAME[,PARAM=VALUE...]",
    shell_complete=completion.defenses,
    help="For an attack or a metric: what protects the face first.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="The picture to write (default: try-NAME.png, here).",
)
@click.option("--force", is_flag=True, help="Replace a file that bench try has not made.")
@click.option(
    "--seed", type=click.IntRange(min=0, max=2**31 - 1), default=0, show_default=True, help="Of all randomness."
)
@click.option("--pdb", is_flag=True, help="Open the debugger where the code of a plugin raises an exception.")
@options.device
@options.search_paths
@options.trust
@begins_again
def try_(
    component: str,
    picture: Path | None,
    defense: str,
    out: Path | None,
    force: bool,
    seed: int,
    pdb: bool,
    device: str,
    trust: bool,
) -> None:
    """Try a defense, an attack, a model or a metric on one face, in this process: breakpoints in a plugin stop.

    The face is a generated one, or FACE.png: used as it is if it has 112x112 pixels, otherwise found and aligned as by
    bench data align. Judges compare it with what becomes of it, and a picture shows both. One face proves nothing; the
    output names the command that measures.

    \b
    Examples:
      bench try my-cloak
      bench try pmt,steps=50 portrait.jpg --out pmt.png
      bench try recface --defense pmt
      python -m pdb -m bench try my-cloak
    """
    from bench.suite.added_defenses import parse_reference

    table = parse_reference(component, "bench try")
    given = parse_reference(defense, "--defense")
    name = str(table["plugin"])
    target = out or Path(f"try-{_as_file_name(name)}.png")
    from bench.runs.trial.kinds import TrialRequest, try_component
    from bench.runs.trial.panel import require_own, write_panel

    require_own(target, force=force)
    request = TrialRequest(table=table, defense=given, picture=picture, seed=seed, device=device, trust=trust)
    try:
        tried = try_component(request, lambda text: say(f"computing: {one_line(text)}", err=True))
    except BenchError as error:
        _require_own_words(error, f"bench try {name}")
        raise
    except (Exception, SystemExit) as error:
        _report_exception(error, f"bench try {name}", debug=pdb)
        click.get_current_context().exit(2)
    _show(name, seed, tried)
    if tried.pictures:
        write_panel(target, list(tried.pictures.values()))
        say(f"picture: {one_line(str(target))} ({' | '.join(tried.pictures)})")
    say(f"One face proves nothing. What measures: {tried.measure}")


def _as_file_name(name: str) -> str:
    """Return the name of a component without characters that mean something in a path."""
    return "".join(char if char.isalnum() or char in "-_." else "-" for char in name).strip(".") or "component"


# ---- what was found --------------------------------------------------------------------------------------------------


def _show(name: str, seed: int, tried: Tried) -> None:
    """Print what was found."""
    say(f"{name} on {tried.face.words}; seed {seed}")
    if tried.judgements:
        _show_judgements(tried)
        if not tried.face.bundled:
            say("  these judges learnt from generated faces: what they say of a photograph means little")
    for line in tried.lines:
        say(f"  {_on_one_line(line)}")


def _show_judgements(tried: Tried) -> None:
    """Print a table of what judges say, and under it what the numbers are."""
    judgements = tried.judgements
    rows = [("judge", "role", "cosine", "threshold", "match")]
    rows += [
        (j.judge, j.role, f"{j.cosine:.3f}", f"{j.threshold.kappa:.3f}", "yes" if j.match else "no") for j in judgements
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        left = (cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True))
        right = (cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True))
        say(f"  {one_line('  '.join((*left, *right)))}")
    threshold = judgements[0].threshold
    say(f"  cosine: of the embeddings of {tried.compared}; above the threshold, the judge takes both for one person")
    say(
        f"  threshold: each judge sets it so that at most {100 * tried.fmr:g} % of {threshold.impostors:,} "
        f"pairs of different people match, whom {threshold.people} calibration people form, unprotected"
    )


# ---- exceptions of plugins -------------------------------------------------------------------------------------------


def _report_exception(error: BaseException, where: str, *, debug: bool) -> None:
    """Print the traceback of an exception in the code of a plugin, after a sentence that says where it comes from.

    An exception of bench itself is raised again.
    """
    import bdb
    import traceback

    if isinstance(error, bdb.BdbQuit):
        say(f"Error: {where}: the debugger was left; nothing was written", err=True)
        return
    origin, found = _plugin_traceback(error)
    if origin is None or found is None:
        raise error
    frame = traceback.extract_tb(found)[0]
    say(
        f"Error: {where}: expected a result, found an exception in the code of {origin.words}, in {frame.name}() at "
        f"{frame.filename}:{frame.lineno}: {_on_one_line(error_text(error))}",
        err=True,
    )
    shown = "".join(traceback.format_exception(error.with_traceback(found)))
    for line in shortened_message(shown.rstrip("\n")).split("\n"):
        say(f"  {one_line(line)}", err=True)  # Indented, no line of it looks like one of bench.
    if debug:
        import pdb

        pdb.post_mortem(found)


def _require_own_words(error: BenchError, where: str) -> None:
    """Raise `PluginError` instead of an error of bench whose words are those of a plugin: it raised the error, or the
    exception that the error reports. Built-in plugins speak for bench."""
    own = list(_plugins_in(error))[-1:]  # The host raises errors where plugins use it wrongly, in its own words.
    held = error.__cause__ or error.__context__
    while held is not None:
        own += _plugins_in(held)
        held = held.__cause__ or held.__context__
    for plugin in own:
        if plugin is not None and plugin.distribution != DISTRIBUTION:
            raise PluginError(f"{where}: {plugin.words} says: {_on_one_line(error_text(error))}") from None


def _plugins_in(error: BaseException) -> Iterator[_PluginCode | None]:
    """Yield for each frame of the traceback of an exception to which plugin its code belongs."""
    found = error.__traceback__
    while found is not None:
        yield _plugin_of(found)
        found = found.tb_next


@dataclass(frozen=True, kw_only=True)
class _PluginCode:
    """The plugin to which code belongs: its distribution, and the words that name it."""

    distribution: str
    words: str


def _plugin_of(found: TracebackType) -> _PluginCode | None:
    """Return the plugin to whose code a frame belongs; None if it is that of no plugin."""
    from bench.registry.discovery import discover

    package = str(found.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
    for plugin in discover().plugins:
        if plugin.module.partition(".")[0] == package:
            words = f"the plugin {plugin.name} ({plugin.distribution} {plugin.version})"
            return _PluginCode(distribution=plugin.distribution, words=words)
    return None


def _plugin_traceback(error: BaseException) -> tuple[_PluginCode | None, TracebackType | None]:
    """Return which plugin raised an exception, and its traceback from the first frame in the code of this plugin on;
    None if no code of a plugin took part."""
    found = error.__traceback__
    while found is not None:
        if (plugin := _plugin_of(found)) is not None:
            return plugin, found
        found = found.tb_next
    return None, None


def _on_one_line(text: str) -> str:
    """Return what a plugin says as one line of limited length, so that it cannot look like a line of bench."""
    return shortened(one_line(" ".join(text.split())), _LONGEST)


COMMANDS = (try_,)
