"""The command ``bench judge``: do recognition networks still match photos that any program has protected?"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.cli.error_messages import begins_again, exit_codes
from bench.cli.terminal import say

if TYPE_CHECKING:
    from bench.judging.judgement import Judgement
    from bench.judging.scoring import OnProgress


class _Rate(click.FloatRange):
    """A rate between two bounds; not a number, which every comparison lets through, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value} is not in the range {self.min:g} to {self.max:g}.", param, ctx)
        return found


_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog=exit_codes())
@click.argument("originals", type=_FOLDER)
@click.argument("protected", type=_FOLDER)
@click.option(
    "--judge",
    "judges",
    multiple=True,
    metavar="NAME[,PARAM=VALUE...]",
    help="A recognition network; may be given several times (default: all with real weights, see bench models status). "
    "label=NAME among the parameters is its name in what is printed and written.",
)
@options.search_paths
@click.option(
    "--calibrate",
    metavar="DIR|NAME",
    help="Other people on whom thresholds are set: a folder with one folder per person, or a data set.",
)
@click.option(
    "--fmr",
    type=_Rate(1e-6, 0.5),
    default=0.01,
    show_default=True,
    metavar="X",
    help="How often pictures of two different people may match.",
)
@click.option("--aligned", is_flag=True, help="The pictures are aligned crops of 112x112 already.")
@click.option("--suffix", default="", metavar="TEXT", help="What the program adds to names, such as _cloaked.")
@click.option("--one-person-each", is_flag=True, help="Each photo shows another person; folders do not matter.")
@click.option("--report", type=_FILE, metavar="FILE", help="Write an HTML report, without pictures and names.")
@click.option("--rows", type=_FILE, metavar="FILE", help="Write every comparison as .parquet or .csv, without names.")
@click.option(
    "--with-pictures",
    is_flag=True,
    help="Put the faces and the names of photos and people into the report, and these names into the rows "
    "(photo_name, original_name, person_name).",
)
@options.device
@begins_again
def judge(
    originals: Path,
    protected: Path,
    judges: tuple[str, ...],
    calibrate: str | None,
    fmr: float,
    aligned: bool,
    suffix: str,
    one_person_each: bool,
    report: Path | None,
    rows: Path | None,
    with_pictures: bool,
    device: str,
) -> None:
    """Judge photos that any program has protected: which still match their ORIGINALS for real recognition networks.

    PROTECTED holds the pictures that the program made, under the names of the originals. One folder per person
    (ORIGINALS/person/photo.jpg) says who is who. Nothing leaves this machine.

    \b
    Examples:
      bench judge photos cloaked
      bench judge photos cloaked --suffix _cloaked --calibrate ~/faces/others --report judged.html
      bench judge photos cloaked --judge mobileface --weights-dir ~/weights --rows judged.parquet
    """
    from bench.engine.factory import check_device, resolve_device
    from bench.judging.judgement import Wanted, check_rows_name, write_rows
    from bench.judging.judgement import judge as carry_out
    from bench.judging.private_files import check_outputs

    if rows is not None:
        check_rows_name(rows)
    pictures = [originals, protected, *([Path(calibrate)] if calibrate is not None else [])]
    check_outputs({"--rows": rows, "--report": report}, pictures)
    check_device(device)
    wanted = Wanted(
        originals=originals,
        protected=protected,
        judges=judges,
        calibrate=calibrate,
        fmr=fmr,
        aligned=aligned,
        suffix=suffix,
        one_person_each=one_person_each,
        device=resolve_device(device),
    )
    found = carry_out(wanted, _progress())
    _show(found)
    if rows is not None:
        write_rows(found, rows, names=with_pictures)
        named = "; it holds the names of photos and people" if with_pictures else ""
        say(f"rows: {rows} (only you may read it{named})")
    if report is not None:
        from bench.report.judge_page import write_page

        write_page(found, report, pictures=with_pictures)
        say(f"report: {report} (only you may read it{'; it shows the faces and names' if with_pictures else ''})")


def _progress() -> OnProgress:
    """Return a function that shows what is being done, on a terminal only."""
    terminal = sys.stderr.isatty()

    def show(what: str) -> None:
        if terminal and what:
            say(f"{what} ...", err=True)

    return show


def _show(found: Judgement) -> None:
    """Print the verdict: each judge, how visible the protection is, what was left out, and what this does not say."""
    from bench.judging import words

    for heading, sentences in found.verdict():
        say(f"{heading}:")
        for sentence in sentences:
            say(f"  {sentence}")
    say(words.how_visible(found.visibility))
    for note in found.notes:
        say(f"note: {note}")
    for group in found.pictures.left_out:
        say(f"note: {words.counted(group, names=True)}")
    say(words.LOWER_BOUND)


COMMANDS = (judge,)
