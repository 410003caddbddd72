"""What a file is that holds no network for the reader that it was given to, and what to do. No torch."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

_MAX_HEADER = 100_000_000  # The safetensors library's own limit for the header.

SAVE_STATE_DICT = (
    "load it where you trust it, run torch.save(model.state_dict(), 'weights.pth') and give that file instead"
)
_EXPORT = "export the network to ONNX with the library that made it, and use the model onnx-model"
_ONNX = "an ONNX network; use the model onnx-model"
_AS_WEIGHTS = "use a named network (bench plugins lists them) or a torch-module"
_JOIN = "load the whole network where it comes from, and save its state dict in one file"
_ARRAYS = (
    "if their names are those of a torch module's weights, run torch.save({name: torch.from_numpy(array) for name, "
    "array in numpy.load(FILE).items()}, 'weights.pth') and give that file instead"
)

# Formats that are known by their first bytes, what they are, and what to do.
_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF", "an HDF5 file, as Keras writes; convert it to torch or ONNX"),
    (b"\x93NUMPY", "a numpy array; save a state dict with torch.save"),
    (b"GGUF", f"a GGUF file, as llama.cpp reads; {_EXPORT}"),
    (b"ftrt", f"an engine of TensorRT, which runs on one kind of GPU only; {_EXPORT}"),
    (b"7767517", f"the structure of an ncnn network; {_EXPORT}"),
    (b"\x12\x01\0\0\0\0\0\0", f"the parameters of an MXNet network; {_EXPORT}"),
)
# Formats that only their names tell.
_SUFFIXES = {
    ".caffemodel": "the weights of a Caffe network",
    ".engine": "an engine of TensorRT, which runs on one kind of GPU only",
    ".mlmodel": "a Core ML network",
    ".mnn": "an MNN network",
    ".pb": "a TensorFlow graph",
    ".pdiparams": "the parameters of a PaddlePaddle network",
    ".pdparams": "the parameters of a PaddlePaddle network",
    ".trt": "an engine of TensorRT, which runs on one kind of GPU only",
}


def is_safetensors(head: bytes) -> bool:
    """Return True if the first bytes are those of a safetensors file."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_HEADER


def is_torch(path: Path) -> bool:
    """Return True for a zip archive as torch.save writes it."""
    return zipfile.is_zipfile(path) and any(name.rpartition("/")[2] == "data.pkl" for name in _names(path))


def other_kind(path: Path, head: bytes) -> str | None:
    """Return what a file is by its first bytes ``head``, its name and its neighbours, and what to do, if it cannot
    contain weights for torch; else None."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer; run git lfs pull to fetch the file itself"
    if b"annex/objects/" in head[:512]:
        return "a git-annex pointer; run git annex get to fetch the file itself"
    if text.startswith(b"<") and b"<net " in text:
        return f"the structure of an OpenVINO network; {_EXPORT}"
    if text.startswith(b"<"):
        return "an HTML or XML page, perhaps an error of the server; download the file again, in a browser"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd")):
        return "a compressed archive; unpack it"
    if head[257:262] == b"ustar":
        return f"a tar archive: unpack it; if torch before 0.1.10 wrote it, {SAVE_STATE_DICT}"
    if text.startswith(b"{") and b'"weight_map"' in head:
        return f"the index of weights that lie in several files; join them: {_JOIN}"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite network; convert it to ONNX and use the model onnx-model"
    if re.match(rb"\x08[\x01-\x1f][\x12\x1a\x22\x2a\x32\x3a\x42]", head):
        return _ONNX
    if found := next((what for start, what in _STARTS if head.startswith(start)), None):
        return found
    if path.suffix.lower() in _SUFFIXES and not head.startswith((b"PK", b"\x80")) and not is_safetensors(head):
        return f"{_SUFFIXES[path.suffix.lower()]}; {_EXPORT}"
    return _values_alone(path, head) if head else None


def _values_alone(path: Path, head: bytes) -> str | None:
    """Return what a ``.bin`` is that is neither a zip archive, nor a pickle, nor safetensors."""
    if path.suffix.lower() != ".bin" or head.startswith((b"PK", b"\x80")) or is_safetensors(head):
        return None
    for suffix, library in ((".xml", "OpenVINO"), (".param", "ncnn")):
        if path.with_suffix(suffix).exists():
            return f"the values of the {library} network in {path.with_suffix(suffix).name}; {_EXPORT}"
    return (
        "values without names, as OpenVINO and ncnn keep them beside an .xml or .param file (the pytorch_model.bin of "
        f"Hugging Face would be a torch file); {_EXPORT}"
    )


def archive(names: Sequence[str]) -> str:
    """Say of a zip archive with these entries, none of which a reader takes, what it is and what to do."""
    if names and all(name.endswith(".npy") for name in names):
        return f"an archive of {len(names)} numpy arrays (.npz); {_ARRAYS}"
    return "a zip archive with no torch file; unpack it"


def unknown(head: bytes) -> str:
    """Describe a file that no reader accepts. Its contents are not quoted: it may be any file, also behind a link."""
    if head.startswith(b"\x80") or re.match(rb"[c(\]}i][^\n]*\n", head):
        return f"a Python pickle, which runs code when it is read; {SAVE_STATE_DICT}"
    if _is_text(head):
        return "a text, perhaps an error of the server; download the file again"
    return "bytes of no known format; download the file again"


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n" for byte in head)


def instead_of_onnx(path: Path) -> str | None:
    """Return what a file is that was given as an ONNX network, and what to do; None if that is not known."""
    head = _head(path)
    if is_torch(path) or is_safetensors(head):
        return f"weights of torch without their network; {_AS_WEIGHTS}"
    return of_no_weights(path)


def of_no_weights(path: Path) -> str | None:
    """Return what a file is that holds neither weights for torch nor an ONNX network, and what to do; else None."""
    if zipfile.is_zipfile(path):
        names = _names(path)
        return archive(names) if names and all(name.endswith(".npy") for name in names) else None
    head = _head(path)
    found = other_kind(path, head) or (unknown(head) if head and _is_text(head) else None)
    return None if found == _ONNX else found


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1024)
    except OSError:  # A folder, or a file that cannot be read, which is reported where it is read.
        return b""


def _names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as pack:
            return pack.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError):
        return []
