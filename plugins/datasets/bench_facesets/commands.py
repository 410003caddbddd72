"""``bench data convert`` and ``bench data unpack``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("convert")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT.parquet", type=click.Path(path_type=Path))
@click.option(
    "--person-level",
    type=click.IntRange(min=0, max=16),
    default=0,
    metavar="N",
    help="On which level below SOURCE the folders of people are: 1 for person/image. 0, the default, finds out.",
)
@click.option("--person-pattern", default="", metavar="REGEX", help="The person in the path of an image, as a group.")
@click.option("--person-column", default="", metavar="NAME", help="The column of Parquet or a table with the person.")
@click.option(
    "--repeated-names",
    type=click.Choice(["auto", "joined", "apart"]),
    default="auto",
    help="Whether folders of one name in several parts of the set are one person or several.",
)
def convert(source: Path, target: Path, **choices: Any) -> None:
    """Write SOURCE (a .bin, .rec, image folder, table, original layout or Parquet) as one Parquet file.

    Images are kept byte for byte, with people, pairs and folds. Put it into a data folder under the set's name, such
    as lfw.parquet, or name it in a suite: {plugin = "face-set", path = "OUT.parquet"}.

    \b
    Examples:
      bench data convert ~/faces/lfw.bin ~/faces/lfw.parquet
      bench data convert ~/pictures/mine mine.parquet
    """
    from bench import DataError, printable
    from bench_facesets import headers, locate
    from bench_facesets.choices import Choices
    from bench_facesets.fingerprints import fingerprint
    from bench_facesets.readers import parquet

    if target.suffix != ".parquet":
        raise DataError(f"{target}: expected a name that ends in .parquet")
    try:
        chosen = Choices(**choices)
    except ValueError as error:
        raise DataError(str(error)) from None
    found = locate.open_set(source, locate.detect(source), chosen)
    parquet.write(found, target)
    pairs = "" if found.pairs is None else f", {len(found.pairs)} pairs"
    click.echo(printable(f"{target}: {len(found.encoded)} images{pairs} ({found.layout})"))
    for note in (
        *found.notes,
        found.passed_over,
        *headers.of_evaluation_set(found, fingerprint(found.root, found.files)),
    ):
        if note:
            click.echo(printable(f"note: {note}"))


@click.command("unpack")
@click.argument("archive", type=click.Path(path_type=Path))
@click.argument("target", metavar="DST", type=click.Path(path_type=Path))
def unpack(archive: Path, target: Path) -> None:
    """Unpack ARCHIVE (zip or tar) into the new folder DST; nothing can leave it.

    \b
    Example:
      bench data unpack lfw.tgz ~/faces/lfw
    """
    from bench import printable
    from bench_facesets.readers import archives

    done = archives.unpack(archive, target)
    click.echo(printable(f"{target}: {done.files} files"))
    if done.debris:
        click.echo(
            f"note: {done.debris} hidden files, or files that a system left (__MACOSX, Thumbs.db), were left out"
        )
