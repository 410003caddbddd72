"""Reader and writer of Parquet: the format of ``bench data convert``, and data sets in the style of Hugging Face.

``bench data convert`` writes one row per image:

========  ==========================================================================================================
image     binary: the encoded image, byte for byte unchanged
id        string: its unique name
subject   string: the person; null for all images if people are not known
pairs     list of ``{number int32, right int64, same bool, fold int8 or null}``: the pairs of which this image is the
          left one; ``number`` is the pair's position in the protocol, ``right`` the row of the other image. The column
          is missing if the set has no protocol.
========  ==========================================================================================================

In other files, ``image`` may be a structure ``{bytes, path}``, and the person may be a ``label`` or a ``subject``: a
whole number, a text, or a category of pandas. Where the file names the classes of a label, as Hugging Face's ClassLabel
does, the people have these names; a negative number has none. A missing label (null, NaN) becomes an empty text. A
folder of Parquet files is read as one set, in the order of their names.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
import os
import re
import tempfile
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import DataError, StorageError
from bench_facesets.choices import Choices
from bench_facesets.collection import FOLDS, Collection, PairTable
from bench_facesets.columns import IMAGE_COLUMNS, column_of, no_person_column, person_column
from bench_facesets.readers.safe_paths import files_below, shown

ROW_GROUP = 512  #: The images per row group that `write` creates; so many are in memory at a time.
MAX_GROUP_BYTES = 1 * 2**30  #: The limit for a row group, unpacked.
MAX_ROWS = 10_000_000
_KEPT = 4  # The number of row groups that are kept while images are read.
# ``fold`` is null if the protocol gives no fold.
_PAIR = pa.struct([("number", pa.int32()), ("right", pa.int64()), ("same", pa.bool_()), ("fold", pa.int8())])


class _Guard:
    """A context that converts pyarrow's errors about a file to a DataError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, pa.ArrowException | OSError | ValueError | KeyError | MemoryError | OverflowError):
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise DataError(f"{self.path}: this Parquet file cannot be read: {reason}") from None


class ParquetImages:
    """Encoded images in the row groups of Parquet files; a few row groups are kept in memory."""

    def __init__(self, files: Sequence[tuple[Path, pq.ParquetFile]], column: str) -> None:
        self._files = files
        self._column = column
        sizes = [
            (f, g, file.metadata.row_group(g).num_rows)
            for f, (_, file) in enumerate(files)
            for g in range(file.metadata.num_row_groups)
        ]
        self._groups = [(f, g) for f, g, _ in sizes]
        self._starts = [0, *itertools.accumulate(n for *_, n in sizes)]
        self._held: OrderedDict[int, pa.Array] = OrderedDict()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, row: int) -> bytes:
        """Return the encoded image. Raises DataError."""
        k = bisect.bisect_right(self._starts, row) - 1
        value = self._group(k)[row - self._starts[k]].as_py()
        if value is None:
            raise DataError(f"{self.name(row)}: expected the bytes of an image, found none; embed the files")
        return bytes(value)

    def name(self, row: int) -> str:
        """Return the file and the row."""
        k = bisect.bisect_right(self._starts, row) - 1
        first = self._starts[next(i for i, (f, _) in enumerate(self._groups) if f == self._groups[k][0])]
        return f"{self._files[self._groups[k][0]][0]}: row {row - first}"

    def _group(self, k: int) -> pa.Array:
        if k not in self._held:
            f, g = self._groups[k]
            path, file = self._files[f]
            with _Guard(path):
                found = file.read_row_group(g, columns=[self._column]).column(0).combine_chunks()
                found = found.chunk(0) if isinstance(found, pa.ChunkedArray) else found
                self._held[k] = found.field("bytes") if pa.types.is_struct(found.type) else found
            if len(self._held[k]) != self._starts[k + 1] - self._starts[k]:
                raise DataError(f"{path}: row group {g} holds {len(self._held[k])} images, not as many as announced")
        self._held.move_to_end(k)
        while len(self._held) > _KEPT:
            self._held.popitem(last=False)
        return self._held[k]


def read(path: Path, choices: Choices | None = None) -> Collection:
    """Read the images, people and pairs of a Parquet file or of a folder of them. Raises DataError."""
    root = path.resolve()
    choices = choices or Choices()
    names = [root] if root.is_file() else [Path(e.path) for e in files_below(root, root) if is_parquet(e.name)]
    if not names:
        raise DataError(f"{path}: expected Parquet files in this folder, found none")
    files = []
    for name in names:
        with _Guard(name):
            files.append(
                (name, pq.ParquetFile(name, thrift_string_size_limit=2**28, thrift_container_size_limit=2**24))
            )
        _check(name, files[-1][1])
    schema = files[0][1].schema_arrow
    for name, file in files[1:]:
        if file.schema_arrow.names != schema.names:
            raise DataError(
                f"{name}: expected the columns of {names[0].relative_to(root)} ({', '.join(schema.names)}), found "
                f"{', '.join(file.schema_arrow.names)}; name one of the files, or a folder of files of one kind"
            )
    image, other_images = _image_column(schema, names[0])
    encoded = ParquetImages(files, image)
    if not 0 < len(encoded) <= MAX_ROWS:
        raise DataError(f"{path}: expected 1 to {MAX_ROWS:,} images, found {len(encoded):,}")
    column, notes = _person_column(files, schema, choices, image)
    people = None if column is None else _people(files, column, path)
    parts = _parts(files, root)
    if people is not None and choices.repeated_names == "apart" and len(set(parts)) > 1:
        people = [f"{part}/{label}" if label else "" for part, label in zip(parts, people, strict=True)]
    ids = _ids(files, "" if column == "id" else "id", len(encoded), path)
    pairs = _pairs(files, len(encoded), path) if "pairs" in schema.names else None
    return Collection(
        layout="Parquet", root=root if root.is_dir() else root.parent, files=names, encoded=encoded, ids=ids,
        people=people, pairs=pairs, notes=(*other_images, *notes, *_joined(parts, people)),
        nameless=_nameless(schema, column),
    )  # fmt: skip


def is_parquet(name: str) -> bool:
    """Return whether a file is Parquet by its name."""
    return name.lower().endswith((".parquet", ".parq"))


def _parts(files: Sequence[tuple[Path, pq.ParquetFile]], root: Path) -> list[str]:
    """Return for every image the part of the set in which it lies: the word with which its file's name begins, such as
    ``train``, or the name of its folder if the file's name is a number."""
    parts: list[str] = []
    for path, file in files:
        word = re.match(r"[A-Za-z]*", path.stem)  # Shards of one part differ in their numbers only.
        name = word[0] if word and word[0] else path.parent.name if path.parent != root else ""
        parts += [name] * file.metadata.num_rows
    return parts


def _person_column(
    files: Sequence[tuple[Path, pq.ParquetFile]], schema: pa.Schema, choices: Choices, image: str
) -> tuple[str | None, tuple[str, ...]]:
    """Return the column that names the person, or None, and notes on the choice, see `columns.person_column`."""
    # Beside pairs, which only bench writes, a column id names images.
    others = {image, "pairs", "id"} if "pairs" in schema.names else {image}
    found = [name for name in schema.names if name not in others]
    return person_column(found, choices.person_column, str(files[0][0]), lambda name: _repeats(_column(files, name)))


def _repeats(values: Sequence[Any]) -> bool:
    return len(set(map(str, values))) < len(values)


def _nameless(schema: pa.Schema, column: str | None) -> str:
    """Say why the people are not known; empty if there is a column for them."""
    if column is not None:
        return ""
    return no_person_column(schema.names)


def _joined(parts: Sequence[str], people: Sequence[str] | None) -> tuple[str, ...]:
    """Return the note that parts of a set, such as ``train-...`` and ``test-...``, have labels in common, if so."""
    labels: dict[str, set[str]] = {part: set() for part in parts}
    for part, label in zip(parts, people or (), strict=False):
        if label:
            labels[part].add(label)
    common = [label for label, n in Counter(itertools.chain(*labels.values())).items() if n > 1]
    if not common:
        return ()
    listed = f"{', '.join(sorted(map(shown, common))[:3])}{' ...' if len(common) > 3 else ''}"
    return (
        f"{len(common)} labels ({listed}) occur in several parts of the set ({', '.join(map(shown, labels))}) and "
        'count as the same people; set repeated_names = "apart" if each part counts its people anew',
    )


def _check(path: Path, file: pq.ParquetFile) -> None:
    for g in range(file.metadata.num_row_groups):
        if (size := file.metadata.row_group(g).total_byte_size) > MAX_GROUP_BYTES:
            raise DataError(
                f"{path}: expected row groups of at most {MAX_GROUP_BYTES:,} bytes, found {size:,}; "
                f"write it again with smaller row groups"
            )


def _image_column(schema: pa.Schema, path: Path) -> tuple[str, tuple[str, ...]]:
    """Return the column of encoded images, one of a known name or the only one that can hold them, and a note on
    others that can."""
    found = ", ".join(f"{field.name} ({str(field.type)[:40]})" for field in schema)[:600]
    able = [field.name for field in schema if _holds_images(field.type)]
    named = column_of(schema.names, IMAGE_COLUMNS)
    if not able:
        raise DataError(
            f"{path}: expected encoded images (a binary column, or a structure with 'bytes'), such as 'image', found "
            f"the columns {found}; write the images into the file as PNG or JPEG"
        )
    fitting = [name for name in named if name in able] or able
    if len(fitting) > 1 and fitting[0] not in named:
        raise DataError(f"{path}: expected a column 'image' with encoded images, found several that could be it: "
                        f"{', '.join(fitting)}; rename one")  # fmt: skip
    others = [repr(shown(name)) for name in able if name != fitting[0]]
    note = f"images are read from the column {shown(fitting[0])!r}, and not from {', '.join(others)[:200]}"
    return fitting[0], (note,) if others else ()


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _column(files: Sequence[tuple[Path, pq.ParquetFile]], name: str) -> list[Any]:
    values: list[Any] = []
    for path, file in files:
        with _Guard(path):
            values += file.read(columns=[name]).column(0).to_pylist()
    return values


def _people(files: Sequence[tuple[Path, pq.ParquetFile]], column: str, path: Path) -> list[str] | None:
    """Return the person of every image, an empty text where the label is missing; None if there is no label at all.

    Every file is read with its own type and its own class names. Raises DataError if they do not agree on whether
    labels are names or numbers.
    """
    people: list[str] = []
    kinds: dict[str, Path] = {}
    for name, file in files:
        kind, values = _labels(name, file, column)
        people += values
        if any(values):
            kinds.setdefault(kind, name)
    if len(kinds) > 1:
        shown = ", ".join(f"{kind} in {name.name}" for kind, name in kinds.items())
        raise DataError(f"{path}: column {column!r}: expected labels of one kind in all files, found {shown}")
    return people if kinds else None


def _labels(path: Path, file: pq.ParquetFile, column: str) -> tuple[str, list[str]]:
    """Return the kind of the labels of one file and the labels as texts, empty where they are missing."""
    kind = file.schema_arrow.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    values = _column([(path, file)], column)
    if pa.types.is_null(kind):
        return "nothing", [""] * len(values)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "texts", [value or "" for value in values]
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DataError(f"{path}: expected numbers or texts in the column {column!r}, found {kind}")
    numbers = [_number(value, f"{path}: row {row}: column {column!r}") for row, value in enumerate(values)]
    if pa.types.is_integer(kind) and kind.bit_width >= 32:  # -1 that was stored without a sign, or a largest number
        largest = 2 ** (kind.bit_width - pa.types.is_signed_integer(kind)) - 1
        numbers = [None if number == largest else number for number in numbers]
    if (names := _class_names(file.schema_arrow, column)) is None:
        return "numbers", ["" if number is None else str(number) for number in numbers]
    for row, number in enumerate(numbers):
        if number is not None and number >= len(names):
            raise DataError(f"{path}: row {row}: expected a label below {len(names)}, the number of class names of "
                            f"{column!r}, found {number}")  # fmt: skip
    return "class names", ["" if k is None else str(k) if k < 0 else names[k] for k in numbers]


def _number(value: int | float | None, where: str) -> int | None:
    """Return a label as a whole number; None if it is missing: null or NaN."""
    if value is None or value != value:
        return None
    if math.isinf(value) or value != int(value):
        raise DataError(f"{where}: expected a whole number as the label of a person, found {value}")
    return int(value)


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Return the class names that Hugging Face's ``datasets`` stores for a column; None if there are none."""
    try:
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = about["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return names if isinstance(names, list) and names and all(isinstance(name, str) for name in names) else None


def _ids(files: Sequence[tuple[Path, pq.ParquetFile]], column: str, n: int, path: Path) -> list[str]:
    if column not in files[0][1].schema_arrow.names:
        return [f"{k:07d}" for k in range(n)]
    ids = list(map(str, _column(files, column)))
    if len(set(ids)) != n:
        raise DataError(f"{path}: column 'id': expected a name of its own for each of the {n} images")
    return ids


def _pairs(files: Sequence[tuple[Path, pq.ParquetFile]], n: int, path: Path) -> PairTable:
    """Return the pairs in the order of their numbers. Raises DataError."""
    tables = []
    for name, file in files:
        with _Guard(name):
            lists = file.read(columns=["pairs"]).column(0).combine_chunks().cast(pa.list_(_PAIR))
            lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
            tables.append((lists.value_lengths().fill_null(0).to_numpy(), lists.flatten()))
    counts = np.concatenate([c for c, _ in tables])
    flat = pa.concat_arrays([f for _, f in tables])
    with _Guard(path):
        if any(flat.field(k).null_count for k in ("number", "right", "same")):
            raise DataError(f"{path}: column 'pairs': expected a number, a right image and a label for every pair")
        number, right = (flat.field(k).to_numpy(zero_copy_only=False).astype(np.int64) for k in ("number", "right"))
        same = flat.field("same").to_numpy(zero_copy_only=False).astype(bool)
        fold = flat.field("fold").fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    order = np.argsort(number, kind="stable")
    if not len(order) or not np.array_equal(number[order], np.arange(len(order))):
        raise DataError(
            f"{path}: column 'pairs': expected pairs numbered 0, 1, 2 ..., found {len(order)} of other numbers"
        )
    if right.min() < 0 or right.max() >= n or fold.min() < -1 or fold.max() >= FOLDS:
        raise DataError(f"{path}: column 'pairs': expected rows below {n} and folds from 0 to {FOLDS - 1}")
    left = np.repeat(np.arange(n), counts)
    return PairTable(left=left[order], right=right[order], same=same[order], fold=fold[order])


# ---- writing ---------------------------------------------------------------------------------------------------------


def write(collection: Collection, path: Path) -> None:
    """Write a collection, one row group at a time and atomically; the encoded images are not changed.

    Raises StorageError if the file cannot be written.
    """
    fields = [("image", pa.binary()), ("id", pa.string()), ("subject", pa.string())]
    if collection.pairs is not None:
        fields.append(("pairs", pa.list_(_PAIR)))
    about = json.dumps({"format": 1, "layout": collection.layout})
    schema = pa.schema(fields, metadata={"face-privacy-bench": about})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with pq.ParquetWriter(temporary, schema, compression="none", use_dictionary=["subject"]) as writer:
            for table in _tables(collection, schema):
                writer.write_table(table, row_group_size=ROW_GROUP)
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def _tables(collection: Collection, schema: pa.Schema) -> Iterator[pa.Table]:
    n, pairs = len(collection.encoded), collection.pairs
    of_left: dict[int, list[dict[str, Any]]] = {}
    if pairs is not None:
        columns = zip(pairs.left.tolist(), pairs.right.tolist(), pairs.same.tolist(), pairs.fold.tolist(), strict=True)
        for number, (left, right, same, fold) in enumerate(columns):
            entry = {"number": number, "right": right, "same": same, "fold": None if fold < 0 else fold}
            of_left.setdefault(left, []).append(entry)
    for start in range(0, n, ROW_GROUP):
        rows = range(start, min(n, start + ROW_GROUP))
        columns_of = {
            "image": [collection.encoded.read(k) for k in rows],
            "id": [collection.ids[k] for k in rows],
            "subject": [collection.people[k] if collection.people is not None else None for k in rows],
        }
        if pairs is not None:
            columns_of["pairs"] = [of_left.get(k, []) for k in rows]
        yield pa.table(columns_of, schema=schema)
