"""Copies of runs that may be published: rows and digests, without pictures and without traces of the machine.

The reference run of a suite (`bench.store.reference_writing`) and a bundle (`bench.store.bundles`) are such copies.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.core.errors import StorageError
from bench.core.parsing import parse_json
from bench.core.paths import below, inside
from bench.core.provenance import file_sha256
from bench.core.table_sizes import read_table
from bench.core.text import printable, shortened_repr
from bench.core.whole_files import read_whole
from bench.store.run_record import RECORD, ComponentRecord, RunRecord, as_json, write_record
from bench.store.schema import IDENTITY, SAMPLES
from bench.store.table_files import readable
from bench.store.typed_json import decode

PUBLIC_TABLES = tuple(name for name in SAMPLES if name != "examples")  # Examples are pictures of faces.
Publish = Callable[[str, str], str]
"""Returns what is published of a text, given the file that it is from; raises `StorageError` if it may not be."""

_OF_MACHINE = ("log", "traceback")  # Columns of cells and stages that name paths.
_PATH = re.compile(r"(^|[\s\"'=:(])(/[\w.~-]+/[\w./~-]+|[A-Za-z]:\\|\\\\\w)")
_HIDDEN = "(path)"
_COMMON = frozenset({"", "root", "user", "localhost"})  # names that say nothing about anybody


def write_public(run: Path, record: RunRecord, folder: Path, publish: Publish) -> RunRecord:
    """Write the public copy of a run, whose record is given, into a new folder, and return the record of the copy.

    It has no pictures and no logs. Every text in the record and in the tables is what ``publish`` returns for it.
    """
    written = [_copied(inside(run, below(run, name)), below(folder, name), name, publish) for name in _files(record)]
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in written}
    public = replace(public_record(record, publish), files=files)
    write_record(folder, public)
    return public


def public_record(record: RunRecord, publish: Publish) -> RunRecord:
    """Return what is published of the record of a run."""
    texts = json.loads(json.dumps(as_json(_without_places(record)), default=str))
    return decode(RunRecord, _mapped(texts, lambda text: publish(RECORD, text)))


def require_no_path(file: str, text: str) -> str:
    """Return a text. Raises `StorageError` if it seems to name a path of a machine."""
    if found := _PATH.search(text):
        raise StorageError(f"{file}: expected no path of a machine, found {found[2]!r}")
    return text


def as_published() -> Publish:
    """Return the function for what others may read: paths of a machine are hidden, and characters that control a
    terminal or that nobody sees are replaced. The folders of this machine are those of now, looked up once."""
    own = _own_folders()
    return lambda _, text: printable(hide_paths(text, own))


def hide_paths(text: str, own: Sequence[str] = ()) -> str:
    """Return a text with ``(path)`` in place of each path of a machine. ``own`` are folders that are hidden also where
    they do not look like paths, because their names have spaces; longer ones come first."""
    for folder in own:
        text = text.replace(folder, _HIDDEN)
    if re.match(r"/.|[A-Za-z]:\\|\\\\", text) and "\n" not in text:  # A path, whatever characters its folders have.
        return _HIDDEN
    return re.sub(rf"{_PATH.pattern}(?:[^\s\"']*)", rf"\1{_HIDDEN}", text)


def _own_folders() -> list[str]:
    """Return the folders of this machine that texts are likely to name, the longest first, and none that is short."""
    listed = (os.environ.get(name, "").split(os.pathsep) for name in ("BENCH_DATA", "BENCH_WEIGHTS"))
    places = {str(Path.home()), os.getcwd(), *itertools.chain.from_iterable(listed)}
    return sorted((place.rstrip("/") for place in places if place.count("/") > 1), key=len, reverse=True)


def names_of_user(folder: Path) -> Iterator[str]:
    """Yield a sentence for each file of a public copy in whose texts the name of this user or machine stands."""
    words = {os.environ.get("USER", ""), *platform.node().split(".")[:1], platform.node()} - _COMMON
    for path in (folder / RECORD, folder / "cells.parquet", folder / "stages.parquet"):
        content = read_whole(path).decode() if path.suffix == ".json" else "\n".join(_texts(read_table(path)))
        for word in sorted(words):
            if len(word) > 2 and re.search(rf"\b{re.escape(word)}\b", content):
                yield f"{path.name}: a text holds {word!r}, the name of this user or machine; see whether it may"


def _texts(table: pa.Table) -> Iterator[str]:
    for field in table.schema:
        if pa.types.is_string(field.type):
            yield from filter(None, table[field.name].unique().to_pylist())


def _files(record: RunRecord) -> Iterator[str]:
    """Yield the files of a run that may be published, relative to its folder."""
    for name in sorted(record.files):
        first, *rest = name.split("/")
        if first != "samples" or (rest and rest[0] in PUBLIC_TABLES):
            yield name


def _copied(source: Path, target: Path, name: str, publish: Publish) -> Path:
    """Copy a Parquet file, better compressed, without metadata and pictures, and with what may be published of texts.

    Raises `StorageError` if a text that tells rows apart may not be published as it is.
    """
    with readable(source):
        table = read_table(source).replace_schema_metadata(None)
    _, *rest = name.split("/")
    keys = {key for part in IDENTITY[rest[0]] for key in part} if rest else {"cell", "key"}
    for number, field in enumerate(table.schema):
        column = table[field.name]
        if field.name in _OF_MACHINE and not rest:
            table = table.set_column(number, field, pa.nulls(len(table), field.type))
        elif pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            known = {text: public_text(text, name, publish) for text in column.unique().to_pylist() if text}
            changed = {text for text, public in known.items() if text != public}
            if changed and (field.name in keys or field.name.endswith("_id")):
                names = "names without paths, and without characters that control a terminal or that nobody sees"
                raise StorageError(
                    f"{source}: {field.name}: expected {names}, found {shortened_repr(sorted(changed)[0])}"
                )
            if changed:
                values = [known.get(text, text) for text in column.to_pylist()]
                table = table.set_column(number, field, pa.array(values, field.type))
    pictures = [f.name for f in table.schema if pa.types.is_binary(f.type) or pa.types.is_large_binary(f.type)]
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.drop_columns(pictures), target, compression="zstd", compression_level=19)
    return target


def public_text(text: str, file: str, publish: Publish) -> str:
    """Return what is published of a text of a table, which may be JSON and is not empty."""
    if text[0] in "[{":
        try:
            value = parse_json(text)
        except ValueError:
            return publish(file, text)
        public = _mapped(value, lambda inner: publish(file, inner))
        return text if public == value else json.dumps(public)
    return publish(file, text)


def _mapped(value: Any, publish: Callable[[str], str]) -> Any:
    """Return a value of JSON, of which every text is replaced."""
    if isinstance(value, dict):
        return {key: _mapped(inner, publish) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mapped(inner, publish) for inner in value]
    return publish(value) if isinstance(value, str) else value


def _without_places(record: RunRecord) -> RunRecord:
    """Return a record without the places of files, the plugins that the run did not use, and most of its command."""
    return replace(
        record,
        command=_public_command(record),
        suite=replace(record.suite, path=Path(record.suite.path or record.suite.name).name),
        components=tuple(map(_without_source, record.components)),
        lpips=record.lpips and replace(record.lpips, reason=None),
        plugins=(),
    )


def _public_command(record: RunRecord) -> tuple[str, ...]:
    """Return the command of a run with nothing but its suite, its pairs and its defenses."""
    words = record.command
    kept = [words[i : i + 2] for i, word in enumerate(words[:-1]) if word in ("--defense", "--pairs")]
    recomputed = [("--recompute-reference",)] if "--recompute-reference" in words else []
    return ("bench", "run", record.suite.name, *itertools.chain.from_iterable([*recomputed, *kept]))


def _without_source(component: ComponentRecord) -> ComponentRecord:
    via, on_stand_ins = (c and _without_source(c) for c in (component.via, component.on_stand_ins))
    return replace(component, source=None, via=via, on_stand_ins=on_stand_ins)
