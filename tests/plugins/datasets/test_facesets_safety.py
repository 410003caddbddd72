"""bench_facesets: hostile and damaged files end in one clear error; nothing in a file is ever executed."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import faceset_files as files
import numpy as np
import pytest
from bench_facesets import FaceSet, Lfw, locate
from bench_facesets.readers import archives, insightface_bin, matfile, safe_pickle
from bench_facesets.readers.images import decode
from bench_facesets.readers.safe_paths import inside
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import BenchError, DataError, StorageError
from bench.api.search_paths import expand

PAIRS = files.protocol_pairs()


class _Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.what = (function, arguments)

    def __reduce__(self) -> Any:
        return self.what


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("place", ["alone", "image", "label", "list"])
def test_a_pickle_that_calls_os_system_does_not_run(tmp_path: Path, protocol: int, place: str) -> None:
    canary = tmp_path / "canary"
    call = _Call(os.system, f"touch {canary}")
    images: list[Any] = [files.png(str(k)) for k in range(4)]
    value: Any = {
        "alone": call,
        "image": ([*images[:3], call], [True, False]),
        "label": (images, [True, call]),
        "list": (call, [True, False]),
    }[place]
    path = files.put(tmp_path / "x.bin", pickle.dumps(value, protocol=protocol))
    with pytest.raises(DataError, match="nothing of it was executed") as caught:
        FaceSet(path=str(path)).evaluation(2, None)  # type: ignore[arg-type]
    assert "system" in str(caught.value)
    assert not canary.exists()
    pickle.loads(path.read_bytes())  # the canary works: Python's own unpickler does run it
    assert canary.exists()


@pytest.mark.slow
def test_every_malformed_file_ends_in_one_error(tmp_path: Path) -> None:
    """Read the corpus in a separate process whose memory and time are measured."""
    here = Path(__file__).parent

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(here / "faceset_corpus.py"), str(tmp_path / "corpus")],
        capture_output=True, text=True, timeout=300, env=environment, preexec_fn=limit, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    found = json.loads(done.stdout)
    wrong = {k: v for k, v in found["ends"].items() if not v.startswith(("DataError: ", "MissingDataError: "))}
    assert not wrong
    assert len(found["ends"]) >= 200
    assert found["peak_mb"] < 1000
    assert all("\n" not in text and len(text) < 1200 for text in found["ends"].values())


# ---- the pickle reader -----------------------------------------------------------------------------------------------


def plain(value: Any, data: bytes) -> Any:
    """What `safe_pickle.load` found, with the bytes in place of where they are."""
    if isinstance(value, safe_pickle.Span):
        return value.read(data)
    if isinstance(value, safe_pickle.Array):
        return plain(value.data, data)
    if isinstance(value, list | tuple):
        return type(value)(plain(v, data) for v in value)
    return value


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.binary(min_size=1, max_size=300),
    lambda inner: st.lists(inner, max_size=5) | st.lists(inner, max_size=5).map(tuple),
    max_leaves=20,
)


@pytest.mark.slow
@given(value=VALUES, protocol=st.integers(0, 5))
def test_what_python_pickles_is_read_as_it_was(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol=protocol)
    assert plain(safe_pickle.load(data, "x"), data) == value


@given(content=st.binary(min_size=1, max_size=300), protocol=st.integers(0, 5), twice=st.booleans())
def test_numpy_bytes_are_read_as_they_were(content: bytes, protocol: int, twice: bool) -> None:
    array = np.frombuffer(content, dtype=np.uint8)
    data = pickle.dumps([array, array if twice else array.copy()], protocol=protocol)
    assert plain(safe_pickle.load(data, "x"), data) == [content, content]


@given(st.binary(max_size=400))
def test_noise_is_one_error(data: bytes) -> None:
    _ends_well(lambda: safe_pickle.load(data, "x"))


_WHOLE = pickle.dumps(([files.png("a"), np.frombuffer(files.png("b"), np.uint8)], [True]), protocol=4)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, len(_WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_bin_is_read_or_one_error(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(_WHOLE)
    for at, value in changes:
        data[at] = value
    path = files.put(tmp_path / "x.bin", bytes(data))

    def read() -> None:
        found = insightface_bin.read(path)
        for k in range(len(found.encoded)):
            decode(found.encoded.read(k), found.encoded.name(k))

    _ends_well(read)


def _ends_well(function: Any) -> None:
    """It returns, or raises one error in one line; anything else fails the test."""
    message = "read"
    try:
        function()
    except BenchError as error:
        message = str(error)
    assert message
    assert "\n" not in message


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_in_a_mat_is_one_error(tmp_path: Path, data: bytes) -> None:
    path = files.put(tmp_path / "x.mat", b"MATLAB 5.0".ljust(126) + b"IM" + data)
    _ends_well(lambda: matfile.load(path))


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"RIFF", b"P6 "]))
def test_noise_is_no_image(data: bytes, start: bytes) -> None:
    _ends_well(lambda: decode(start + data, "x"))


WORDS = ["Person_Aa", "Person_Ab", "..", "/", "x.jpg", "1", "0", "2", "10", "-1", "\t", "\n", " ", ",", "\0", "é"]
READ = {
    "pairs.txt": ("lfw", lambda root: files.write_lfw(root, PAIRS)),
    "pairs_CALFW.txt": ("calfw", lambda root: files.write_calfw(root, PAIRS)),
    "Protocol/Pair_list_F.txt": ("cfp-ff", lambda root: files.write_cfp(root, CFP_PAIRS)),
    "Protocol/Split/FF/01/same.txt": ("cfp-ff", lambda root: files.write_cfp(root, CFP_PAIRS)),
    "train.idx": ("people", lambda root: files.write_rec(root, [(0, files.png("a"))] * 4)),
}
CFP_PAIRS = [(f"{fold + 1:03d}/01", f"{fold + 1:03d}/02", True, fold) for fold in range(10)]


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
@given(text=st.lists(st.sampled_from(WORDS), max_size=20).map("".join) | st.text(max_size=40))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_in_a_protocol_file_is_one_error(tmp_path: Path, name: str, text: str) -> None:
    reader, write = READ[name]
    root = tmp_path / "set"
    if not root.exists():
        write(root)
    files.put(root / name, text.encode("utf-8", "surrogatepass"))
    _ends_well(lambda: locate._READERS[reader](root))


# ---- paths -----------------------------------------------------------------------------------------------------------


@given(st.text(st.sampled_from("./\\ab\0:~"), max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_leads_out_of_the_folder(tmp_path: Path, text: str) -> None:
    root = tmp_path.resolve()
    try:
        found = inside(root, text, "x")
    except DataError:
        return
    assert found.is_relative_to(root)


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    root = files.write_folder(tmp_path / "set", {f"p{k}": 2 for k in range(20)})
    outside = files.put(tmp_path / "secret" / "0.png", files.png("secret"))
    (root / "p0" / "2.png").symlink_to(outside)
    with pytest.raises(DataError, match=r"p0/2\.png: this link leads out"):
        FaceSet(path=str(root)).max_pairs()
    (root / "p0" / "2.png").unlink()
    (root / "p99").symlink_to(outside.parent)
    with pytest.raises(DataError, match="p99: this link leads out"):
        FaceSet(path=str(root)).max_pairs()


def test_a_set_behind_a_link_is_read(tmp_path: Path) -> None:
    files.write_lfw(tmp_path / "disk" / "lfw", PAIRS)
    (tmp_path / "lfw").symlink_to(tmp_path / "disk" / "lfw")
    assert Lfw(path=str(tmp_path / "lfw")).max_pairs() == len(PAIRS)


def test_variables_in_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEWHERE", "/data")
    assert expand("$SOMEWHERE/x", "path") == expand("${SOMEWHERE}/x", "path") == Path("/data/x")
    assert expand("~/x", "path") == Path.home() / "x"
    with pytest.raises(DataError, match="NOWHERE_AT_ALL is not set"):
        expand("$NOWHERE_AT_ALL/x", "path")


# ---- archives --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_archives_are_unpacked(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    members = {"set/a/0.png": files.png("a"), "set/b/0.png": files.png("b")}
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, f"w:{kind.partition('.')[2]}") as archive:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    assert archives.unpack(path, tmp_path / "out") == archives.Unpacked(files=2)
    assert {str(f.relative_to(tmp_path / "out")): f.read_bytes() for f in (tmp_path / "out").rglob("*.png")} == members
    with pytest.raises(StorageError, match="expected an empty folder"):
        archives.unpack(path, tmp_path / "out")


def test_an_archive_that_unpacks_to_too_much_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ALWAYS_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(3):
            archive.writestr(f"{k}", bytes(2**19))
    with pytest.raises(DataError, match="expected at most 1,048,576 bytes unpacked"):
        archives.unpack(tmp_path / "x.zip", tmp_path / "out")
    assert [f.name for f in tmp_path.iterdir()] == ["x.zip"]
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    with pytest.raises(DataError, match="expected at most 2 members"):
        archives.unpack(tmp_path / "x.zip", tmp_path / "out")


def test_a_slip_writes_nothing(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in ("fine", "../slipped"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"data"))
    with pytest.raises(DataError, match="slipped"):
        archives.unpack(tmp_path / "x.tar", tmp_path / "deep" / "out")
    assert not list((tmp_path / "deep").iterdir())
    assert not (tmp_path / "slipped").exists()
