"""``bench data convert`` and ``bench data unpack``."""

from __future__ import annotations

from pathlib import Path

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
def convert(source: Path, target: Path, person_level: int) -> None:
    """Write SOURCE (a .bin, .rec, image folder, original layout or Parquet) as one Parquet file.

    Images are kept byte for byte, with people, pairs and folds. Put it into a data folder under the set's name, such
    as lfw.parquet, or name it in a suite: {plugin = "face-set", path = "OUT.parquet"}.

    \b
    Examples:
      bench data convert ~/faces/lfw.bin ~/faces/lfw.parquet
      bench data convert ~/pictures/mine mine.parquet
    """
    from bench import DataError, printable
    from bench_facesets import locate
    from bench_facesets.readers import parquet

    if target.suffix != ".parquet":
        raise DataError(f"{target}: expected a name that ends in .parquet")
    found = locate.open_set(source, locate.detect(source), person_level)
    parquet.write(found, target)
    pairs = "" if found.pairs is None else f", {len(found.pairs)} pairs"
    click.echo(printable(f"{target}: {len(found.encoded)} images{pairs} ({found.layout})"))
    for note in (*found.notes, found.passed_over):
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
