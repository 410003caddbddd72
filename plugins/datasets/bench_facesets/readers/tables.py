"""Reader of tables that name the person in each image: ``labels.csv``, ``identity_CelebA.txt``, ``train.lst``.

A table has a header with a column for the path of an image and one for the person, or no header and two columns, the
path first. Lists of MXNet (number, person, path) and of InsightFace (1, path, person) are read as well. Paths are
relative to the folder of the table, or to a folder below it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from bench import DataError
from bench_facesets.choices import Choices
from bench_facesets.collection import MAX_LACKING, Collection, subset
from bench_facesets.columns import FILE_COLUMNS, column_of, no_person_column, person_column, plain
from bench_facesets.readers.image_index import ImageIndex
from bench_facesets.readers.images import suffixes
from bench_facesets.readers.safe_paths import read_text, shown

SUFFIXES = (".csv", ".tsv", ".txt", ".lst")  #: The suffixes of tables, in lower case.
Row = tuple[int, Sequence[str]]
_MAX_ROWS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The rows of a table, each with the number of its line, and which two of its columns are paths and people."""

    path: Path
    rows: Sequence[Row]
    file: int
    person: int
    notes: tuple[str, ...]


def read(path: Path, choices: Choices) -> Collection:
    """Read the images that a table names, with their people. Raises DataError if it names none, or two people for one
    image, or if more than a few of its images do not exist."""
    path = path.resolve()
    table = _columns(path, _rows(path), choices)
    for line, row in table.rows:
        if max(table.file, table.person) >= len(row) or not row[table.file]:
            raise DataError(f"{path}: line {line}: expected a path and a person, found {_listed(row)}")
    index = ImageIndex(path.parent, max(len(_parts(row[table.file], path.parent)) for _, row in table.rows))
    people: dict[int, str] = {}
    for line, row in table.rows:
        where = f"{path}: line {line}"
        at, person = index.row(str(PurePosixPath(*_parts(row[table.file], path.parent))), where), row[table.person]
        if people.setdefault(at, person) != person and at >= 0:
            raise DataError(f"{where}: {shown(row[table.file])}: expected the person {shown(people[at])}, as in a line "
                            f"above, found {shown(person)}")  # fmt: skip
    return _collection(table, index, people)


def _collection(table: _Table, index: ImageIndex, people: dict[int, str]) -> Collection:
    people.pop(-1, None)
    missing, named = len(index.missing), len(index.named)
    notes = table.notes
    if missing > MAX_LACKING * named:
        raise DataError(
            f"{index.missing[0]} ({missing:,} of the {named:,} images of the table do not exist); put the table into "
            f"the folder of its images, or beside it"
        )
    if missing:
        notes += (f"{missing:,} of {named:,} images of the table do not exist and are left out",)
    whole = index.collection("table of images", [table.path], lambda file: "", None)
    rows = sorted(people)
    others = len(whole.encoded) - len(rows)
    beside = f"{others:,} images that the table does not name are passed over" if others else ""
    return replace(
        subset(whole, rows, ""),
        files=[*(whole.files[k] for k in rows), table.path],
        people=[people[k] for k in rows],
        notes=notes,
        passed_over="; ".join(filter(None, [whole.passed_over, beside])),
    )


def _rows(path: Path) -> list[Row]:
    """Return the lines that are not empty, divided into fields. Raises DataError if there are none."""
    lines = re.split("\r\n|\r|\n", read_text(path))
    above = next((k for k, line in enumerate(lines) if not line.startswith("#")), len(lines))
    lines = [""] * above + lines[above:]  # Comments above the table are left out; the numbers of lines stay.
    first = next((line for line in lines if line.strip("\ufeff \t,;")), "")
    separator = next((mark for mark in ("\t", ";", ",") if mark in first), None)
    if separator is None:  # The path may have spaces, and the person behind it has none.
        spaced = _is_image(first.rsplit(maxsplit=1)[0]) if first else False
        divided = enumerate((line.rsplit(maxsplit=1) if spaced else line.split() for line in lines), 1)
        rows: list[Row] = [(number, row) for number, row in divided if row]
    else:
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        try:
            rows = [(reader.line_num, [f.strip() for f in row]) for row in reader if any(f.strip() for f in row)]
        except csv.Error as error:
            raise DataError(f"{path}: line {reader.line_num}: expected a table of fields: {error}") from None
    if not 0 < len(rows) <= _MAX_ROWS:
        raise DataError(f"{path}: expected a table of up to {_MAX_ROWS:,} lines, found {len(rows):,}")
    return rows


def _columns(path: Path, rows: Sequence[Row], choices: Choices) -> _Table:
    """Find the columns of paths and people. Raises DataError."""
    number, header = rows[0]
    files = [k for k, field in enumerate(header) if _is_image(field)]
    if not files:
        return _by_header(path, header, rows[1:], choices)
    others = [k for k in range(len(header)) if k not in files]
    if len(header) == 3 and files in ([1], [2]) and all(row[0].isdigit() for _, row in rows if row):
        others = [3 - files[0]]  # Lists of MXNet: number, person, path; or 1 for aligned, path, person.
    if len(files) > 1 or len(others) != 1:
        what = "; pairs are read from the protocols of known sets only" if len(files) > 1 else ""
        raise DataError(
            f"{path}: line {number}: expected a header, or a path and a person, found {_listed(header)}; write a first "
            f"line with the names of the columns, such as file and person{what}"
        )
    return _Table(path=path, rows=rows, file=files[0], person=others[0], notes=())


def _by_header(path: Path, header: Sequence[str], rows: Sequence[Row], choices: Choices) -> _Table:
    if len(set(header)) < len(header):
        raise DataError(f"{path}: line 1: expected columns of different names, found {_listed(header)}")
    if "pixels" in map(plain, header):
        raise DataError(
            f"{path}: the column 'pixels' holds images as numbers (as in FER2013), which are not read; write them as "
            f"image files, with a table of their paths and people"
        )
    files = column_of(header, FILE_COLUMNS)
    if not files or not rows:
        what = "rows below the header" if files else f"a column with the paths of images ({', '.join(FILE_COLUMNS)})"
        raise DataError(f"{path}: line 1: expected {what}, found {_listed(header)}")
    file = next((name for name in files if _is_image(_field(rows[0][1], header, name))), files[0])
    rest = [name for name in header if name != file]

    def repeats(name: str) -> bool:
        values = [_field(row, header, name) for _, row in rows]
        return len(set(values)) < len(values)

    person, notes = person_column(rest, choices.person_column, f"{path}: line 1", repeats)
    if person is None:
        raise DataError(f"{path}: line 1: {no_person_column(rest)}")
    return _Table(path=path, rows=rows, file=list(header).index(file), person=list(header).index(person), notes=notes)


def _field(row: Sequence[str], header: Sequence[str], name: str) -> str:
    at = list(header).index(name)
    return row[at] if at < len(row) else ""


def _is_image(field: str) -> bool:
    """Return whether a field names an image, by its suffix."""
    return PurePosixPath(field.replace("\\", "/")).suffix.lower() in suffixes()


def _parts(field: str, folder: Path) -> tuple[str, ...]:
    """Return the parts of a path, with slashes of either kind; those that mean the same folder are left out, and those
    of the folder of the table, if the path is absolute and lies in it."""
    parts = PurePosixPath(field.replace("\\", "/")).parts
    above = len(folder.parts)
    return parts[above:] if parts[:above] == folder.parts else parts


def _listed(row: Sequence[str]) -> str:
    return ", ".join(map(shown, row))[:200] or "nothing"
