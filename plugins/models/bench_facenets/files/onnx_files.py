"""Reader of ONNX files, InsightFace packs (folders and zips) and external data, without executing code. No torch."""

from __future__ import annotations

import functools
import hashlib
import math
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bench import DataError, file_sha256

MAX_BYTES = 1 << 30  # The limit for a file with its external data; large public recognition networks have 260 MB.
MAX_ENTRIES = 100  # The limit for the networks of a pack.
MAX_VALUES = 1 << 26  # The limit for any map of one image: a hundred times that of the largest networks for faces.
RECOGNITION = re.compile(r"(w600k_|glintr|arcface)", re.IGNORECASE)  # InsightFace's names of recognition networks.
REMEDY = "install what reads ONNX: pip install 'face-privacy-bench[onnx]'"
_FLOAT32 = 1  # The number of onnx.TensorProto.FLOAT.


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """A network in a file: the ``proto`` (an ``onnx.ModelProto`` with all its data), its path ``where``, and the
    ``size`` ``(height, width)`` of its input, or None if the file leaves it open."""

    proto: Any
    where: str
    size: tuple[int, int] | None

    @property
    def normalises(self) -> bool:
        """Whether arithmetic comes before the first convolution, as in a network that normalises its input."""
        ops = [node.op_type for node in self.proto.graph.node]
        first = next((i for i, op in enumerate(ops) if op in {"Conv", "Gemm", "MatMul"}), 0)
        return bool({"Sub", "Mul", "Div", "Add"} & set(ops[:first]))


def choose(path: Path) -> Path:
    """Return the recognition network of a folder, else the path itself (an ``.onnx`` or a zip). Raises DataError."""
    if not path.is_dir():
        return path
    files = {file.name: file for file in sorted(path.glob("*.onnx"))}
    return files[_recognition(files, path, lambda name: _parsed(files[name].read_bytes(), str(files[name])))]


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
    import onnx

    if zipfile.is_zipfile(path):
        proto, where = _from_zip(path)
        if _external_tensors(proto):
            raise DataError(f"{where}: expected all data in one file, found external data; unpack the zip first")
    else:
        proto, where = _parsed(_bytes(path), str(path)), str(path)
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
    size = _input_size(proto, where)
    _check_sizes(proto, where)
    return OnnxFile(proto=proto, where=where, size=size)


# ---- files -----------------------------------------------------------------------------------------------------------


def _bytes(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DataError(f"{path}: expected at most {MAX_BYTES >> 20} MiB, found {size >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: expected a readable file: {error.strerror}") from None


def _parsed(content: bytes, where: str) -> Any:
    try:
        import onnx
    except ImportError:
        raise DataError(f"{where}: the package onnx is missing; {REMEDY}") from None
    try:
        proto = onnx.load_model_from_string(content)
    except Exception as error:
        raise DataError(f"{where}: expected an ONNX file, found something else: {first_line(error)}") from None
    if not proto.graph.node:
        raise DataError(f"{where}: expected an ONNX network, found a file without operations")
    return proto


def _from_zip(path: Path) -> tuple[Any, str]:
    """Return the recognition network of a zip and its path, without unpacking the zip."""
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
        raise DataError(
            f"{where}: expected operations of ONNX, found the function {proto.functions[0].name!r} of its own"
        )
    for node in proto.graph.node:
        if not isinstance(node.name, str):  # The parser returns bytes for a name that is not UTF-8.
            raise DataError(f"{where}: expected names in UTF-8, found {node.name[:20]!r}; the file is damaged")
        if node.domain not in ("", "ai.onnx"):
            raise DataError(f"{where}: expected operations of ONNX, found {node.op_type!r} of {node.domain!r}")
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise DataError(f"{where}: expected a plain network, found the control flow of {node.op_type!r}")


def inputs(proto: Any) -> list[Any]:
    """Return the inputs of a graph that are not weights."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in weights]


def _dims(value: Any) -> list[int | None]:
    dims = value.type.tensor_type.shape.dim
    return [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims]


def _takes_a_face(proto: Any) -> bool:
    taken = [_dims(value) for value in inputs(proto)]
    return [d[1:] for d in taken] == [[3, 112, 112]] and len(_dims(proto.graph.output[0])) == 2


def _input_size(proto: Any, where: str) -> tuple[int, int] | None:
    """Return height and width of the input; None if the file leaves them open. Raises DataError unless the input is a
    batch of images."""
    found = inputs(proto)
    shapes = [_dims(value) for value in found]
    expected = "expected one input (n, 3, h, w) of float32"
    if len(found) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (3, None):
        raise DataError(f"{where}: {expected}, found {shapes}")
    if (kind := found[0].type.tensor_type.elem_type) != _FLOAT32:
        raise DataError(f"{where}: {expected}, found the element type {kind}; export it in float32")
    n, _, h, w = shapes[0]
    if n not in (1, None):
        raise DataError(f"{where}: expected a batch size of one or any, found {n}; export it again")
    return (h, w) if h and w else None


def _check_sizes(proto: Any, where: str) -> None:
    """Raise DataError if a map is so large that it would fill the memory, as far as shapes are known in advance."""
    import onnx

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
