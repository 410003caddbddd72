"""The command ``bench models fetch``: print size and license, ask, and fetch verified weights through uniface."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench import BenchError, DataError, did_you_mean, printable, weights_folders
from bench_uniface import files, library, paper
from bench_uniface.catalogue import FETCHABLE, Fetchable


@click.command("fetch")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--paper", "of_paper", is_flag=True, help="Fetch what serves the paper's networks; say what is missing.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Put the files into DIR (default: the first weights folder, else uniface's cache).",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, from where and to where; fetch nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: what can be fetched, and where it is.")
def fetch(names: tuple[str, ...], of_paper: bool, out: Path | None, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Fetch verified weights of real networks through the library uniface, or list what can be fetched.

    The first weights folder is that of $BENCH_WEIGHTS, or weights/ in the first folder of $BENCH_DATA; uniface's cache
    is $UNIFACE_CACHE_DIR, by default ~/.uniface/models. Size and license are printed before anything is fetched.

    \b
    Examples:
      bench models fetch                        # what there is: size, license, and whether it is here
      bench models fetch arcface-resnet
      bench models fetch --paper --out ~/weights
    """
    from bench_uniface.fetching import fetch as fetch_file

    if as_json and yes:
        raise click.UsageError("--json lists and does not fetch; leave out --json or --yes")
    wanted = _wanted(names, of_paper)
    if as_json or not (names or of_paper):
        _show_catalogue(wanted or list(FETCHABLE.values()), as_json)
        return
    folder = (out or next(iter(weights_folders()), library.cache_folder())).expanduser()
    places = {file: _place(file, folder, explicit=out is not None) for file in wanted}
    needed = [file for file in wanted if not _is_here(places[file], file)]
    for file in wanted:
        _announce(file, places[file], here=file not in needed)
    if dry_run:
        needed = []
        _say("nothing was fetched (--dry-run)")
    elif needed and not yes:
        _ask(needed)
    failed: list[str] = []
    for file in needed:
        try:
            _say(f"{file.name}: {fetch_file(file, places[file], _say)} fetched, sha256 verified")
        except BenchError as error:
            failed.append(str(error))
    if of_paper:
        _show_paper(folder)
    elif folder not in files.search_folders() and not dry_run and len(failed) < len(wanted):
        _say(f"To use them, name {folder} with --weights-dir or in $BENCH_WEIGHTS")
    if failed:
        raise DataError("\n".join(failed))


def _wanted(names: Sequence[str], of_paper: bool) -> list[Fetchable]:
    """Return the files that the arguments name, each once; a network of the paper stands for the file that serves it.

    Raises DataError for an unknown name, and for a network of the paper that no file serves.
    """
    chosen = paper.unserved() if of_paper else []
    for given in names:
        name = given.lower().removesuffix(".onnx").replace("_", "-")
        if network := paper.NETWORKS.get(name):
            if network.served_by is None:
                raise DataError(f"{name}: cannot be fetched: {paper.missing(network, _weights_folder())}")
            name = network.served_by
        if name not in FETCHABLE:
            known = [*FETCHABLE, *paper.NETWORKS]
            raise DataError(f"{given}: expected a network that can be fetched; {did_you_mean(name, known)}")
        chosen.append(name)
    return [FETCHABLE[name] for name in dict.fromkeys(chosen)]


def _weights_folder() -> Path:
    return next(iter(weights_folders()), Path("weights folder (--weights-dir)"))


def _place(file: Fetchable, folder: Path, *, explicit: bool) -> Path:
    """Return the folder for a file: that of an existing copy, which is replaced if it is damaged, unless ``--out``
    names a folder."""
    found = files.located(file)
    return folder if explicit or found is None else found.parent


def _is_here(folder: Path, file: Fetchable) -> bool:
    return os.path.isfile(folder / file.file) and files.is_sound(folder / file.file, file)


def _announce(file: Fetchable, folder: Path, *, here: bool) -> None:
    _say(f"{file.name}: {file.what}")
    if here:
        _say(f"  already there: {folder / file.file}, sha256 verified")
    else:
        _say(f"  about {file.megabytes} MB from {library.entry(file.stem).urls[0]}\n  to {folder / file.file}")
    _say(f"  license: {file.license}")


def _ask(needed: Sequence[Fetchable]) -> None:
    """Ask whether to fetch the files. Raises click.Abort for a no, and DataError without a terminal."""
    count = f"{len(needed)} file{'' if len(needed) == 1 else 's'}"
    question = f"Fetch {count}, about {sum(file.megabytes for file in needed)} MB, under these terms?"
    if not _on_a_terminal():
        raise DataError(f"{question} Expected a yes, found no terminal to ask on; add --yes")
    click.confirm(question, abort=True)


def _say(text: str) -> None:
    """Print a text; names of folders and what uniface says must not control the terminal."""
    click.echo(printable(text))


def _on_a_terminal() -> bool:
    return sys.stdin.isatty()


# ---- what is shown ---------------------------------------------------------------------------------------------------


def _show_catalogue(shown: Sequence[Fetchable], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([_row(file) for file in shown], indent=1))
        return
    _say("The code of uniface is MIT; the terms of each file are its own. NAME, size, content, terms:")
    for file in shown:
        where = files.located(file)
        _say(f"{file.name}: about {file.megabytes} MB; {file.what}{f'; here: {where}' if where else ''}")
        _say(f"  license: {file.license}")
    if library.installed() is None:
        _say(f"uniface is not installed; to fetch: {library.INSTALL}")


def _row(file: Fetchable) -> dict[str, Any]:
    where = files.located(file)
    listed = library.entry(file.stem) if library.installed() else None
    return {
        "name": file.name,
        "what": file.what,
        "megabytes": file.megabytes,
        "license": file.license,
        "file": file.file,
        "urls": list(listed.urls) if listed else [],
        "sha256": listed.sha256 if listed else None,
        "where": str(where) if where else None,
        "verified": bool(where and listed and files.is_sound(where, file)),
    }


def _show_paper(folder: Path) -> None:
    """Say which networks of the paper have weights now, what remains missing, and how to use what is there."""
    _say("The paper's networks:")
    searched = folder in weights_folders()
    for network in paper.NETWORKS.values():
        file = FETCHABLE.get(network.served_by or "")
        if own := paper.found(network):
            _say(f"  {network.name}: {own}")
        elif file and os.path.isfile(folder / file.file):
            _say(f"  {network.name}: {folder / file.file} ({network.why})")
        elif file:
            _say(f"  {network.name}: missing; bench models fetch {file.name} gets {network.why}")
        else:
            _say(f"  {network.name}: missing; {paper.missing(network, folder)}")
    _say(f"Use them with: bench run suites/paper.toml{'' if searched else f' --weights-dir {folder}'}")
