"""Reader of weights files: safetensors and torch files, without executing any code in them.

The first bytes decide on the format, never the extension: error pages are sometimes saved as ``.pth``. Before torch
reads a file (with ``weights_only``), its pickle is scanned for the globals it names and the sizes of its storages.
"""

from __future__ import annotations

import io
import os
import pickletools
import re
import stat
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from bench import DataError, MissingDataError
from bench_facenets.files import kinds
from bench_facenets.files.kinds import SAVE_STATE_DICT

MAX_BYTES = 4 << 30
MAX_TENSORS = 20_000
MAX_PICKLE_BYTES = 32 << 20  # The pickle of a state dict of 20,000 tensors has 5 MB.
MAX_PICKLE_STEPS = 1_000_000

_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # A pickled number that torch.save wrote before 1.6.
# Such a file has five pickles: that number, the protocol, the system, the object and the storages' keys. Then come the
# values.
_LEGACY_PICKLES = 5

_STATE_GLOBALS = re.compile(
    r"collections\.OrderedDict|builtins\.set|_codecs\.encode"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)|torch\.nn\.parameter\.Parameter|torch\.(Size|device)"
    r"|torch\.serialization\._get_layout|torch\.storage\.(Untyped|Typed)Storage|torch\.(cuda\.)?\w+Storage"
    r"|torch\.(bfloat16|bool|complex\d+|double|float\w*|half|int\d*|long|short|uint\d+)"
)
"""The globals in the pickle of a state dict."""

_BESIDE_ROOTS = frozenset(
    {
        *("argparse", "datetime", "easydict", "lightning", "lightning_fabric", "lightning_utilities", "numpy"),
        *("omegaconf", "pathlib", "pytorch_lightning", "torchmetrics", "typing", "yacs"),
    }
)
_BESIDE = re.compile(r"collections\.defaultdict|builtins\.(bool|dict|float|int|list|str|tuple)")
"""The globals of other objects in a training's checkpoint: these, and all of the packages in `_BESIDE_ROOTS`, are
replaced by empty objects."""


class _Nothing:
    """An empty replacement for an object beside the weights; it ignores all arguments and state."""

    def __new__(cls, *_args: Any, **_keywords: Any) -> Any:
        return super().__new__(cls)

    def __setstate__(self, _state: Any) -> None:
        return None


class _NoMapping:
    """A replacement for a mapping beside the weights; torch can fill only ordered dictionaries."""

    def __new__(cls, *_args: Any, **_keywords: Any) -> Any:
        return OrderedDict()


def read(path: Path) -> tuple[Any, Mapping[str, str]]:
    """Return the contents of a weights file (a dictionary of tensors, or any saved object), and the metadata of its
    header.

    Tensors are on the CPU. Raises MissingDataError if the file does not exist, DataError if it is damaged, too large,
    of another kind, or can only be read by executing code.
    """
    size = _size(path)
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not head:
        raise DataError(f"{path}: expected weights, found an empty file; download it again")
    if (other := kinds.other_kind(path, head)) is not None:
        raise DataError(f"{path}: expected weights (safetensors or a torch state dict), found {other}")
    if head.startswith(b"PK\x03\x04"):
        return _zip(path, size), {}
    if head.startswith(_LEGACY_MAGIC):
        return _legacy(path, size), {}
    if path.suffix.lower() == ".safetensors" or kinds.is_safetensors(head):
        return _safetensors(path)
    raise DataError(f"{path}: expected weights (safetensors or a torch state dict), found {kinds.unknown(head)}")


def _size(path: Path) -> int:
    try:
        found = path.stat()
    except OSError:
        annexed = path.is_symlink() and "annex" in os.readlink(path)
        hint = "; its content is in git-annex: run git annex get" if annexed else ""
        raise MissingDataError(f"{path}: expected a weights file, found none{hint}") from None
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: expected a weights file, found a folder or a device")
    if found.st_size > MAX_BYTES:
        raise DataError(f"{path}: expected at most {MAX_BYTES >> 30} GiB of weights, found {found.st_size >> 20} MiB")
    return found.st_size


# ---- the readers -----------------------------------------------------------------------------------------------------


def _safetensors(path: Path) -> tuple[dict[str, torch.Tensor], Mapping[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            keys = file.keys()
            if len(keys) > MAX_TENSORS:
                raise DataError(f"{path}: expected at most {MAX_TENSORS} tensors, found {len(keys)}")
            return {key: file.get_tensor(key) for key in keys}, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: a damaged safetensors file ({_line(error)}); download it again") from None


def _zip(path: Path, size: int) -> Any:
    """Read a zip archive of torch. Its entries must be stored, not compressed, so that they are not larger than the
    file."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
            if any(name.rpartition("/")[2] == "constants.pkl" or "/code/" in name for name in names):
                raise DataError(
                    f"{path}: a TorchScript archive, which is a program; save its weights with "
                    "torch.save(torch.jit.load(file).state_dict(), 'weights.pth') and give that file instead"
                )
            if len(pickles) != 1:
                raise DataError(f"{path}: expected a torch file, found {kinds.archive(names)}")
            stored = sum(entry.file_size for entry in entries)
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or stored > size:
                raise DataError(
                    f"{path}: expected a torch file as torch.save writes it, found compressed entries (of "
                    f"{stored >> 20} MiB in {size >> 20} MiB); save it again with torch.save"
                )
            if len(set(names)) != len(names):
                raise _damaged(path, "entries of the same name")
            if archive.getinfo(pickles[0]).file_size > MAX_PICKLE_BYTES:
                raise DataError(f"{path}: expected at most {MAX_PICKLE_BYTES >> 20} MiB of keys; is it a state dict?")
            beside = _look_through(path, io.BytesIO(archive.read(pickles[0])), size)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, _line(error)) from None
    return _torch(path, beside)


def _legacy(path: Path, size: int) -> Any:
    """Read a file in the format that torch.save wrote before 1.6: pickles, then raw values."""
    beside: set[str] = set()
    with path.open("rb") as file:
        stream = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    for _ in range(_LEGACY_PICKLES):
        beside |= _look_through(path, stream, size)
    return _torch(path, beside)


def _torch(path: Path, beside: set[str]) -> Any:
    """Load a file with torch; every object of ``beside`` is replaced by `_Nothing` or `_NoMapping`."""
    nothing: list[Any] = [(_NoMapping if name.lower().endswith("dict") else _Nothing, name) for name in beside]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(nothing):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and its unpickler can raise any exception for damaged bytes.
        raise DataError(
            f"{path}: a torch file that is damaged, cut short or no state dict ({_line(error)}); download it again, or "
            f"{SAVE_STATE_DICT}"
        ) from None


# ---- looking through a pickle ----------------------------------------------------------------------------------------


def _steps(path: Path, stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    """Yield every operation of a pickle with its argument; nothing is executed."""
    try:
        for count, (step, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MAX_PICKLE_STEPS:
                raise DataError(f"{path}: expected at most {MAX_PICKLE_STEPS} steps of a pickle; is it a state dict?")
            yield step.name, argument
    except (ValueError, IndexError, KeyError, EOFError, UnicodeError) as error:
        raise _damaged(path, _line(error)) from None


def _look_through(path: Path, stream: io.BytesIO, size: int) -> set[str]:
    """Return the names of objects beside the weights. Raises DataError for any other object, and for storages that are
    larger than the file."""
    names: set[str] = set()
    number = 0
    for step, argument in _steps(path, stream):
        if step in ("GLOBAL", "INST"):
            names.add(str(argument).replace(" ", ".", 1).replace("__builtin__.", "builtins."))
        elif step in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            raise DataError(
                f"{path}: expected what torch.save writes, found another pickle protocol; {SAVE_STATE_DICT}"
            )
        elif step in ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG"):
            number = argument
        elif step == "BINPERSID" and number > size:  # The last number before it is the storage's number of values.
            raise _damaged(path, f"a storage of {number} values in {size} bytes")
    foreign = {name for name in names if not _STATE_GLOBALS.fullmatch(name)}
    beside = {name for name in foreign if name.partition(".")[0] in _BESIDE_ROOTS or _BESIDE.fullmatch(name)}
    if foreign - beside:
        some = ", ".join(sorted(foreign - beside)[:3])
        raise DataError(
            f"{path}: expected tensors only, found pickled objects ({some}), which run code when they are read; "
            f"{SAVE_STATE_DICT}"
        )
    return beside


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path}: a torch file that is damaged or cut short ({why}); download it again")


def _line(error: BaseException) -> str:
    """Return the first line of a library's error message, or the error's type."""
    text = str(error).strip()
    return text.splitlines()[0][:160] if text else type(error).__name__
