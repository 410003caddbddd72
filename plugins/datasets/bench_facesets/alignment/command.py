"""The command ``bench data align``; `bench_facesets.alignment.folder` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench_facesets.alignment.folder import Tally


@click.command()
@click.argument("src", type=click.Path(path_type=Path))
@click.argument("dst", type=click.Path(path_type=Path))
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N images, by name.")
@click.option("--overwrite", is_flag=True, help="Make existing crops again.")
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.9,
    show_default=True,
    metavar="X",
    help="How sure the detector must be of a face, from 0 to 1.",
)
def align(src: Path, dst: Path, limit: int | None, overwrite: bool, min_score: float) -> None:
    """Align the faces of the images below SRC to the five-point template.

    DST gets a PNG of 112x112 under the same name for every image, and a list of those whose face was not found.
    An interrupted run continues where it stopped. Needs the extra [align].

    \b
    Examples:
      bench data align ~/pictures ~/faces/mine
      bench data align ~/pictures ~/faces/mine --min-score 0.95
    """
    from bench_facesets.alignment.folder import check_folders

    check_folders(src, dst)  # before the detector is loaded, which takes seconds
    tally = _aligned(src, dst, limit, overwrite, min_score)
    _show(tally, dst)


def _aligned(src: Path, dst: Path, limit: int | None, overwrite: bool, min_score: float) -> Tally:
    """Align the images, with a progress bar if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from bench_facesets.alignment.detect import MtcnnDetector
    from bench_facesets.alignment.folder import align_folder

    detector = MtcnnDetector()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    terminal = Console(stderr=True, highlight=False, markup=False)
    drawn = terminal.is_terminal and not terminal.no_color
    with Progress(*columns, console=terminal, disable=not drawn) as progress:
        task = progress.add_task("aligning", total=None)

        def on_image(tally: Tally) -> None:
            missing = len(tally.missing)
            progress.update(
                task,
                total=tally.images,
                completed=tally.found + missing,
                description=f"aligning, {missing} not found" if missing else "aligning",
            )

        return align_folder(
            src, dst, detector, min_score=min_score, limit=limit, overwrite=overwrite, on_image=on_image
        )


def _show(tally: Tally, dst: Path) -> None:
    """Print the result in a few lines."""
    from bench import printable
    from bench_facesets.alignment.folder import REPORT

    before = f", {tally.kept} of them before" if tally.kept else ""
    click.echo(f"found: the faces of {tally.found} of {tally.images} images ({tally.found / tally.images:.1%}){before}")
    if tally.missing:
        reasons = ", ".join(f"{count} {reason}" for reason, count in tally.reasons.items())
        click.echo(printable(f"not found: {len(tally.missing)} ({reasons}), listed in {dst / REPORT}"))
    if tally.already * 2 > tally.made:
        click.echo(
            f"note: {tally.already} of {tally.made} images were aligned already (their landmarks are where the "
            f"template has them, within 2 pixels); they can be used as they are, and a second alignment only blurs them"
        )
    click.echo(printable(f"crops: {dst}"))
