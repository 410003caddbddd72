"""Malformed and hostile weights files: each ends in one `DataError`, and nothing in them is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_facenets.files import checkpoints, kinds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor, nn

from bench import DataError

CANARY = "canary-of-test-facenets"


class Namespace:
    """An object that a training of one's own stores beside the weights."""


class Runs:
    """A pickle that would make the canary file."""

    def __init__(self, how: Callable[..., Any], *arguments: Any) -> None:
        self.call = (how, arguments)

    def __reduce__(self) -> Any:
        return self.call


def zipped(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"a/{name}", content)
    return buffer.getvalue()


def saved(content: Any, *, zip_format: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zip_format)
    return buffer.getvalue()


def rewritten(data: bytes, change: Callable[[str, bytes], bytes | None], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive with other contents; entries for which there are none are left out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w", method) as target:
        for entry in source.infolist():
            content = change(entry.filename, source.read(entry))
            if content is not None:
                target.writestr(entry.filename, content)
    return buffer.getvalue()


def in_pickle(old: bytes, new: bytes) -> Callable[[str, bytes], bytes]:
    return lambda name, content: content.replace(old, new) if name.endswith("data.pkl") else content


def scripted() -> bytes:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and yet what people have
        torch.jit.save(torch.jit.trace(Twice(), torch.zeros(1)), buffer)
    return buffer.getvalue()


def quantised() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return saved({"a": torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8)})


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    return buffer.getvalue()


def safe(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


def onnx_model() -> bytes:
    import onnx

    graph = onnx.helper.make_graph([], "g", [], [])
    return bytes(onnx.helper.make_model(graph, producer_name="pytorch").SerializeToString())


def calls() -> dict[str, bytes]:
    """Pickles that would run something, in every container."""
    touch = f"touch {CANARY}"
    payloads = {
        "system": Runs(os.system, touch),
        "eval": Runs(eval, f"open({CANARY!r}, 'w')"),
        "open": Runs(open, CANARY, "w"),
        "getattr": Runs(getattr, os.path.join, "__globals__"),
        "bytearray bomb": Runs(bytearray, 1 << 40),
    }
    found = {}
    for name, payload in payloads.items():
        for protocol in (0, 2, 4):
            found[f"{name}, pickle protocol {protocol}"] = pickle.dumps({"state_dict": payload}, protocol=protocol)
        inside = pickle.dumps({"state_dict": {}, "x": payload}, protocol=2)
        found[f"{name}, zip"] = zipped(**{"data.pkl": inside, "version": b"3\n", "byteorder": b"little"})
        parts = saved({"a": 1}, zip_format=False)
        found[f"{name}, legacy"] = parts.replace(pickle.dumps({"a": 1}, protocol=2)[2:], inside[2:])
    return found


SMALL = {"a.weight": torch.arange(1000.0), "a.bias": torch.arange(10.0)}
MODERN, LEGACY, SAFE = saved(SMALL), saved(SMALL, zip_format=False), save(SMALL)


def other_kinds() -> dict[str, bytes]:
    """What is no weights file at all, or holds something else."""
    return {
        "empty": b"",
        "one byte": b"\x80",
        "zeros": bytes(4096),
        "noise": random.Random(0).randbytes(4096),
        "html": b"<!DOCTYPE html><html><body>404</body></html>",
        "html after a newline": b"\n\n <HTML><title>Sign in</title>",
        "html after a BOM": b"\xef\xbb\xbf<html>",
        "xml": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        "json": b'{"error": "Invalid username or password."}',
        "text": b"Not Found\n",
        "lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 174000000\n",
        "annex pointer": b"/annex/objects/SHA256E-s100--aa.pth\n",
        "annex link as text": b"../.git/annex/objects/x/y/SHA256E-s1--aa/SHA256E-s1--aa",
        "gzip": b"\x1f\x8b\x08\x00" + bytes(100),
        "rar": b"Rar!\x1a\x07\x00" + bytes(100),
        "7z": b"7z\xbc\xaf\x27\x1c" + bytes(100),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "npy": b"\x93NUMPY\x01\x00" + bytes(100),
        "npz": npz(),
        "tflite": b"\x1c\x00\x00\x00TFL3" + bytes(100),
        "onnx": onnx_model(),
        "tar": tarred(),
        "torchscript": scripted(),
        "zip of nothing": zipped(),
        "zip of text": zipped(readme=b"hello"),
        "two torch files": zipped(**{"data.pkl": b"x", "b/data.pkl": b"x"}),
        "whole network": saved(nn.Linear(2, 2)),
        "whole network, legacy": saved({"model": nn.Linear(2, 2)}, zip_format=False),
        "class of one's own": saved({"state_dict": SMALL, "args": Namespace()}),
        "pickled list": pickle.dumps([1, 2, 3]),
        "pickled array": pickle.dumps(np.zeros(3), protocol=4),
        "sparse": saved({"a": torch.eye(3).to_sparse()}),
        "quantised": quantised(),
        "meta": saved({"a": torch.zeros(3, device="meta")}),
    }


def damaged_torch() -> dict[str, bytes]:
    """Torch files whose parts do not go together."""
    huge = struct.pack("<i", 2_000_000_000)
    return {
        "compressed": rewritten(MODERN, lambda _, content: content, zipfile.ZIP_DEFLATED),
        "decompression bomb": rewritten(
            MODERN, lambda name, content: bytes(64 << 20) if name.endswith("data/0") else content, zipfile.ZIP_DEFLATED
        ),
        "storage left out": rewritten(MODERN, lambda name, content: None if name.endswith("data/0") else content),
        "pickle left out": rewritten(MODERN, lambda name, content: None if name.endswith("data.pkl") else content),
        "storage cut short": rewritten(
            MODERN, lambda name, content: content[:7] if name.endswith("data/0") else content
        ),
        "storage that says it is huge": rewritten(MODERN, in_pickle(b"M\xe8\x03t", b"J" + huge + b"t")),
        "tensor that says it is huge": rewritten(MODERN, in_pickle(b"M\xe8\x03\x85", b"J" + huge + b"\x85")),
        "negative storage": rewritten(MODERN, in_pickle(b"M\xe8\x03t", b"J" + struct.pack("<i", -5) + b"t")),
        "legacy storage that says it is huge": LEGACY.replace(b"M\xe8\x03t", b"J" + huge + b"t"),
        "unknown rebuild": rewritten(MODERN, in_pickle(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9")),
        "wrong byte order": rewritten(MODERN, lambda n, c: b"middle" if n.endswith("byteorder") else c),
        "pickle of noise": rewritten(MODERN, lambda n, c: random.Random(1).randbytes(99) if n.endswith(".pkl") else c),
        "empty pickle": rewritten(MODERN, lambda n, c: b"" if n.endswith(".pkl") else c),
        "endless pickle": rewritten(MODERN, lambda n, c: b"\x80\x02" + b"N" * 1_500_000 if n.endswith(".pkl") else c),
    }


def damaged_safetensors() -> dict[str, bytes]:
    """Heads that lie."""
    return {
        "safetensors with a huge header": struct.pack("<Q", 1 << 60) + b"{}",
        "safetensors with a header beyond the file": struct.pack("<Q", 5000) + b'{"a": 1}',
        "safetensors of no json": safe(b"{not json"),
        "safetensors beyond the file": safe({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, bytes(8)),
        "safetensors of another size": safe(
            {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}, bytes(4)
        ),
        "safetensors that overflows": safe(
            {"a": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}}, bytes(4)
        ),
        "safetensors of an unknown type": safe({"a": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        "safetensors that overlaps": safe(
            {n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in ("a", "b")}, bytes(4)
        ),
        "safetensors without tensors": safe({}),
    }


def corpus() -> dict[str, bytes]:
    files = other_kinds() | damaged_torch() | damaged_safetensors() | calls()
    files |= {
        "nan": saved({"a": torch.full((3,), float("nan"))}),
        "wrong shapes": MODERN,
        "wrong shapes, safetensors": SAFE,
    }
    for share in range(1, 10):
        files[f"torch file cut at {share}0 %"] = MODERN[: len(MODERN) * share // 10]
        files[f"legacy file cut at {share}0 %"] = LEGACY[: len(LEGACY) * share // 10]
        files[f"safetensors cut at {share}0 %"] = SAFE[: len(SAFE) * share // 10]
    return files


CORPUS = corpus()


def refused(path: Path, *needles: str) -> None:
    with pytest.raises(DataError) as caught:
        checkpoints.load(path, "mobileface")
    message = str(caught.value)
    assert type(caught.value) is DataError
    assert message.startswith(str(path))
    assert "\n" not in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    for needle in needles:
        assert needle in message


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 60


@pytest.mark.slow
@pytest.mark.parametrize("name", CORPUS)
def test_a_malformed_file_ends_in_one_data_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("weights.safetensors" if name.startswith("safetensors") else "weights.pth")
    path.write_bytes(CORPUS[name])
    refused(path)
    assert not (tmp_path / CANARY).exists()


@pytest.mark.parametrize(
    ("name", "needle"),
    [
        ("empty", "an empty file"),
        ("html", "an HTML or XML page"),
        ("lfs pointer", "git lfs pull"),
        ("annex pointer", "git annex get"),
        ("onnx", "onnx-model"),
        ("torchscript", "a TorchScript archive"),
        ("tar", "a tar archive"),
        ("whole network", "torch.save(model.state_dict()"),
        ("class of one's own", "Namespace"),
        ("pickled list", "a Python pickle"),
        ("system, zip", "posix.system"),
        ("system, legacy", "posix.system"),
        ("system, pickle protocol 2", "a Python pickle"),
        ("eval, legacy", "builtins.eval"),
        ("bytearray bomb, zip", "builtins.bytearray"),
        ("compressed", "compressed entries"),
        ("npz", "numpy arrays"),
        ("text", "found a text, perhaps an error of the server; download the file again"),
        ("storage that says it is huge", "a storage of 2000000000 values"),
        ("torch file cut at 50 %", "damaged or cut short"),
        ("safetensors cut at 50 %", "a damaged safetensors file"),
    ],
)
def test_the_error_says_what_the_file_is_and_the_way_out(name: str, needle: str, tmp_path: Path) -> None:
    path = tmp_path / ("weights.safetensors" if name.startswith("safetensors") else "weights.pth")
    path.write_bytes(CORPUS[name])
    refused(path, needle)


@pytest.mark.parametrize("content", [b"hunter2 is the password of root\n", b"hunter2\0\1\xff" * 9])
@pytest.mark.parametrize("linked", [False, True])
def test_the_error_quotes_nothing_of_a_file_that_is_no_weights(content: bytes, linked: bool, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(content)
    path = tmp_path / "weights.pth"
    (path.symlink_to if linked else secret.rename)(secret if linked else path)
    with pytest.raises(DataError) as error:
        checkpoints._read(path, checkpoints.ALL_LAYOUTS)
    assert "hunter2" not in str(error.value)
    assert content[:8].hex(" ") not in str(error.value)


def test_an_onnx_file_that_is_a_text_and_an_index_of_several_files(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"hunter2 is the password\n")
    assert str(kinds.instead_of_onnx(tmp_path / "x.onnx")).startswith("a text, perhaps an error of the server")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    with pytest.raises(DataError, match="the index of weights that lie in several files; join them"):
        checkpoints._read(index, checkpoints.ALL_LAYOUTS)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_never_end_in_anything_else(data: st.DataObject, tmp_path: Path) -> None:
    """Flipped bytes, in each format: a `DataError`, or still a state dict of tensors."""
    which = data.draw(st.sampled_from(["wrong shapes", "wrong shapes, safetensors", "legacy"]))
    original = LEGACY if which == "legacy" else CORPUS[which]
    content = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 900) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "weights.pth"
    path.write_bytes(bytes(content))
    try:
        found = checkpoints._read(path, checkpoints.ALL_LAYOUTS).view.tensors
    except DataError:
        return
    assert all(isinstance(value, Tensor) for value in found.values())
