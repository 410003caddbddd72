"""Reader of ONNX files, InsightFace packs (folders and zips) and external data, without executing code. No torch."""

from __future__ import annotations

import functools
import hashlib
import importlib
import math
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from bench import DataError, file_sha256
from bench_facenets.files import kinds

MAX_BYTES = 1 << 30  # The limit for a file with its external data; large public recognition networks have 260 MB.
MAX_OPERATIONS = 50_000  # The limit for the operations of a network after its functions are replaced by these.
MAX_ENTRIES = 100  # The limit for the networks of a pack.
MAX_VALUES = 1 << 26  # The limit for any map of one image: a hundred times that of the largest networks for faces.
RECOGNITION = re.compile(r"(w600k_|glintr|arcface)", re.IGNORECASE)  # InsightFace's names of recognition networks.
CONVERTERS = ("onnx", "onnx2torch")  # The packages that decide what a converted network computes.
REMEDY = "install what reads ONNX: pip install 'face-privacy-bench[onnx]'"
# The names of the element types that an input may have, by their number in onnx.TensorProto.
_ELEMENTS = {1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 10: "float16", 11: "float64"}


def library(name: str, where: object) -> ModuleType:
    """Import a package that reads or runs ONNX files. Raises DataError, which says what to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        found = "is missing" if isinstance(error, ModuleNotFoundError) and error.name == name else f"fails: {error}"
        raise DataError(f"{where}: the package {name} {found}; {REMEDY}") from None


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """A network in a file.

    ``proto``: an ``onnx.ModelProto`` with all its data; ``where``: its path; ``size``: height and width of its input,
    or None if the file leaves them open; ``channels`` of the input: 3, or 1 for grey images; ``channels_last``: the
    input is ``(n, h, w, c)``; ``batch``: the number of images that it takes at once, 1 for any; ``element``: the type
    of its elements, such as ``float32`` or ``uint8``; ``output``: the name of the output that holds the
    embeddings; ``others``: those that could hold them as well.
    """

    proto: Any
    where: str
    size: tuple[int, int] | None
    channels: int
    channels_last: bool
    batch: int
    element: str
    output: str
    others: tuple[str, ...]


def choose(path: Path) -> Path:
    """Return the recognition network of a folder, else the path itself (an ``.onnx`` or a zip). Raises DataError."""
    if not path.is_dir():
        return path
    files = {file.name: file for file in sorted(path.glob("*.onnx"))}
    return files[_recognition(files, path, lambda name: _parsed(_bytes(files[name]), str(files[name])))]


def fingerprint(path: Path) -> str:
    """Return the sha256 of a file and its external data."""
    own = file_sha256(path)
    external = [file_sha256(file) for file in _beside(path, own)]
    return hashlib.sha256("".join([own, *external]).encode()).hexdigest() if external else own


@functools.lru_cache(maxsize=16)
def _beside(path: Path, own: str) -> list[Path]:
    """Return the files of external data of a model with the sha256 ``own``."""
    return [] if zipfile.is_zipfile(path) else _external_files(_parsed(_bytes(path), str(path)), path)


def read(path: Path) -> OnnxFile:
    """Read and check the network in an ``.onnx`` file, or the recognition network of a zip.

    Raises DataError for a file that is too large, damaged, uses operations that are not part of ONNX, or has external
    data outside its folder.
    """
    onnx = library("onnx", path)
    if zipfile.is_zipfile(path):
        proto, where = _from_zip(path)
        if _external_tensors(proto):
            raise DataError(f"{where}: expected all data in one file, found external data; unpack the zip first")
    else:
        proto, where = _parsed(_bytes(path), str(path)), str(path)
    proto = _without_functions(proto, where)
    _check_operations(proto, where)
    if not zipfile.is_zipfile(path) and _external_files(proto, path):
        try:
            onnx.load_external_data_for_model(proto, str(path.parent))
        except Exception as error:
            raise DataError(f"{where}: its external data cannot be read: {first_line(error)}") from None
    try:
        onnx.checker.check_model(proto)
    except Exception as error:
        raise DataError(f"{where}: expected a valid ONNX model: {first_line(error)}") from None
    _check_sizes(proto, where)
    return _described(proto, where)


# ---- files -----------------------------------------------------------------------------------------------------------


def _check_kind(path: Path) -> None:
    if other := kinds.instead_of_onnx(path):
        raise DataError(f"{path}: expected an ONNX network, found {other}")


def _bytes(path: Path) -> bytes:
    _check_kind(path)
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DataError(f"{path}: expected at most {MAX_BYTES >> 20} MiB, found {size >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: expected a readable file: {error.strerror}") from None


def _parsed(content: bytes, where: str) -> Any:
    onnx = library("onnx", where)
    try:
        proto = onnx.load_model_from_string(content)
    except Exception as error:
        raise DataError(f"{where}: expected an ONNX file, found something else: {first_line(error)}") from None
    if not proto.graph.node:
        raise DataError(f"{where}: expected an ONNX network, found a file without operations")
    return proto


def _from_zip(path: Path) -> tuple[Any, str]:
    """Return the recognition network of a zip and its path, without unpacking the zip."""
    _check_kind(path)
    try:
        with zipfile.ZipFile(path) as pack:
            entries = [info for info in pack.infolist() if info.filename.lower().endswith(".onnx")]
            if len(entries) > MAX_ENTRIES:
                raise DataError(f"{path}: expected at most {MAX_ENTRIES} networks, found {len(entries)}")
            if (size := sum(info.file_size for info in entries)) > MAX_BYTES:
                raise DataError(f"{path}: expected at most {MAX_BYTES >> 20} MiB of networks, found {size >> 20} MiB")
            files = {PurePosixPath(info.filename).name: info for info in entries}

            def parsed(name: str) -> Any:
                return _parsed(pack.read(files[name]), f"{path}!{name}")

            name = _recognition(files, path, parsed)
            return parsed(name), f"{path}!{name}"
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        raise DataError(f"{path}: expected a readable zip of networks: {first_line(error)}") from None


def _recognition(names: Iterable[str], where: Path, parsed: Any) -> str:
    """Return the recognition network among files: by InsightFace's names, else the only one whose input is a 112x112
    face. Raises DataError."""
    names = list(names)
    found = [name for name in names if RECOGNITION.match(name)]
    if not found:
        found = [name for name in names if _takes_a_face(parsed(name))]
    if len(found) != 1:
        raise DataError(
            f"{where}: expected one recognition network (w600k_*, glintr*, arcface*, or the only one that takes "
            f"(n, 3, 112, 112) and gives (n, d)), found {', '.join(found) or 'none'} among "
            f"{', '.join(names) or 'none'}; "
            "name the .onnx file itself"
        )
    return found[0]


def _external_tensors(proto: Any) -> list[Any]:
    inside = [a.t for node in proto.graph.node for a in node.attribute if a.HasField("t")]
    tensors = [
        *proto.graph.initializer,
        *inside,
        *(t for n in proto.graph.node for a in n.attribute for t in a.tensors),
    ]
    return [tensor for tensor in tensors if tensor.data_location == 1 or tensor.external_data]


def _external_files(proto: Any, path: Path) -> list[Path]:
    """Return the files of external data. Raises DataError if one is outside the model's folder, is missing, or if they
    are too large."""
    folder, found = path.parent.resolve(), {}
    for tensor in _external_tensors(proto):
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        file = (folder / location).resolve()
        if not location or not file.is_relative_to(folder):
            raise DataError(f"{path}: its data lies outside its folder ({location!r}); refused")
        if not file.is_file():
            raise DataError(f"{path}: expected its data in {file}, found no such file")
        found[file] = file.stat().st_size
    if sum(found.values()) > MAX_BYTES:
        raise DataError(
            f"{path}: expected at most {MAX_BYTES >> 20} MiB of data, found {sum(found.values()) >> 20} MiB"
        )
    return sorted(found)


# ---- graphs ----------------------------------------------------------------------------------------------------------


def _check_operations(proto: Any, where: str) -> None:
    """Raise DataError unless all operations are part of ONNX and no graph is nested in another."""
    if proto.functions:
        raise DataError(f"{where}: expected operations of ONNX, found the function {proto.functions[0].name!r}")
    for node in proto.graph.node:
        if not isinstance(node.name, str):  # The parser returns bytes for a name that is not UTF-8.
            raise DataError(f"{where}: expected names in UTF-8, found {node.name[:20]!r}; the file is damaged")
        if node.domain not in ("", "ai.onnx"):
            raise DataError(f"{where}: expected operations of ONNX, found {node.op_type!r} of {node.domain!r}")
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise DataError(f"{where}: expected a plain network, found the control flow of {node.op_type!r}")


def _without_functions(proto: Any, where: str) -> Any:
    """Return a network whose own functions are replaced by their operations. Raises DataError if these are too many."""
    if not proto.functions:
        return proto
    bodies = {(function.domain, function.name): function for function in proto.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Any, callers: frozenset[tuple[str, str]]) -> int:
        total = 0
        for node in nodes:
            called = (node.domain, node.op_type)
            if called in callers:
                raise DataError(
                    f"{where}: expected a plain network, found the function {called[1]!r} that calls itself"
                )
            if called in bodies and called not in sizes:
                sizes[called] = size(bodies[called].node, callers | {called})
            total += sizes.get(called, 1)
        return total

    if (operations := size(proto.graph.node, frozenset())) > MAX_OPERATIONS:
        raise DataError(f"{where}: expected at most {MAX_OPERATIONS:,} operations, found {operations:,} in functions")
    try:
        return library("onnx.inliner", where).inline_local_functions(proto)
    except Exception as error:  # The inliner is a library in C++ and has no error class of its own.
        raise DataError(f"{where}: its functions cannot be replaced by operations: {first_line(error)}") from None


def inputs_of(graph: Any) -> list[Any]:
    """Return the inputs of a graph that are not weights."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def _dims(value: Any) -> list[int | None]:
    dims = value.type.tensor_type.shape.dim
    return [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims]


def _takes_a_face(proto: Any) -> bool:
    taken = [_dims(value) for value in inputs_of(proto.graph)]
    return [d[1:] for d in taken] in ([[3, 112, 112]], [[112, 112, 3]]) and len(_dims(proto.graph.output[0])) == 2


def _described(proto: Any, where: str) -> OnnxFile:
    """Return the file with what its input says. Raises DataError unless the input is a batch of images."""
    found = inputs_of(proto.graph)
    shapes = [_dims(value) for value in found]
    expected = "expected one input (n, 3, h, w) of float32"
    if len(found) != 1 or len(shapes[0]) != 4:
        raise DataError(f"{where}: {expected}, found {shapes}")
    number = found[0].type.tensor_type.elem_type
    if number not in _ELEMENTS:
        raise DataError(f"{where}: {expected}, found the element type {number}; export it in float32")
    n, *sides = shapes[0]
    last = sides[0] not in (1, 3) and sides[2] in (1, 3)
    channels, h, w = (sides[2], sides[0], sides[1]) if last else sides
    if channels not in (1, 3, None):
        raise DataError(
            f"{where}: {expected}, found {shapes}: {channels} channels; only networks that take 3 (or 1 for grey "
            "images) can be used"
        )
    size = (h, w) if h and w else None
    output, others = _embedding_outputs(proto.graph)
    return OnnxFile(
        proto=proto,
        where=where,
        size=size,
        channels=channels or 3,
        channels_last=last,
        batch=n or 1,
        element=_ELEMENTS[number],
        output=output,
        others=others,
    )


def _embedding_outputs(graph: Any) -> tuple[str, tuple[str, ...]]:
    """Return the name of the output that holds the embeddings ``(n, d)``, and the names of others that could.

    An output from which another one is computed comes first: a classifier computes its logits from the embeddings. Else
    it is the first one in the file.
    """

    def can_be(value: Any) -> bool:
        if not value.type.tensor_type.HasField("shape"):
            return True
        dims = _dims(value)
        d = dims[1] if len(dims) == 2 or (len(dims) == 4 and dims[2:] == [1, 1]) else 1
        return d is None or d > 1

    possible = [str(value.name) for value in graph.output if can_be(value)] or [str(graph.output[0].name)]
    needed: set[str] = set()
    for name in possible:
        needed |= _needs(graph, name)
    chosen = next((name for name in possible if name in needed), possible[0])
    return chosen, tuple(name for name in possible if name != chosen)


def _needs(graph: Any, output: str) -> set[str]:
    """Return the names of all values from which an output is computed, without its own."""
    found = {output}
    for node in reversed(graph.node):  # Nodes come after those whose results they read.
        if found.intersection(node.output):
            found.update(node.input)
    return found - {output}


def _check_sizes(proto: Any, where: str) -> None:
    """Raise DataError if a map is so large that it would fill the memory, as far as shapes are known in advance."""
    onnx = library("onnx", where)
    try:
        known = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception as error:
        raise DataError(f"{where}: expected a valid ONNX model: {first_line(error)}") from None
    for value in known.graph.value_info:
        if (size := math.prod(d or 1 for d in _dims(value))) > MAX_VALUES:
            found = f"{value.name!r} with {size:,}"
            raise DataError(f"{where}: expected maps of at most {MAX_VALUES:,} values, found {found}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
