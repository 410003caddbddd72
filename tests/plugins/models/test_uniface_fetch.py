"""``bench models fetch``: what it tells, asks, fetches and verifies, and one clear error for all that can go wrong.

The downloader is the real one of uniface; only its table of addresses and digests points to a server of the test.
"""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench_uniface import FETCHABLE, bench_commands, fetching, files, library
from bench_uniface.commands import fetch
from click.testing import CliRunner, Result
from facenets_toys import onnx_bytes
from uniface_server import Mirror, breaks_off, fails, redirects, sends, serving

from bench import BenchError, DataError, MissingDataError, StorageError

pytest.importorskip("uniface", reason="the extra real is not installed")

import uniface.constants
import uniface.model_store

# uniface leaves the connection of a failed attempt to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def server() -> Iterator[Mirror]:
    contents = {name: onnx_bytes(seed=i) for i, name in enumerate(FETCHABLE)}  # no two are equal
    with serving(contents) as mirror:
        yield mirror
    gc.collect()


@pytest.fixture
def mirror(server: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mirror:
    """The server in the place of uniface's, with all files in order, and an empty cache."""
    server.asked.clear()
    table = dict(uniface.constants.MODEL_REGISTRY)
    for name, file in FETCHABLE.items():
        server.answer(name, sends(server.contents[name]))
        url = f"{server.url}/releases/{file.file}"
        info = uniface.constants.ModelInfo(url=url, sha256=server.sha256(name))
        table[library.entry(file.stem).identifier] = info
    monkeypatch.setattr(uniface.constants, "MODEL_REGISTRY", table)
    monkeypatch.setattr(uniface.constants, "HF_MIRROR_URL", f"{server.url}/mirror")
    monkeypatch.setattr(uniface.model_store, "time", SimpleNamespace(sleep=lambda _seconds: None))
    monkeypatch.setenv("UNIFACE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cards"))
    for variable in ("BENCH_WEIGHTS", "BENCH_DATA"):
        monkeypatch.delenv(variable, raising=False)
    return server


def run(*args: str, **more: Any) -> Result:
    """The command in this process; a `BenchError` passes through."""
    done = CliRunner().invoke(fetch, [*args], catch_exceptions=True, **more)
    if isinstance(done.exception, BenchError):
        raise done.exception
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def left(folder: Path) -> list[str]:
    """The names of all files below a folder except the lock."""
    return sorted(path.name for path in folder.rglob("*") if path.name != ".bench-fetch-lock")


# ---- what it tells and asks ------------------------------------------------------------------------------------------


def test_the_command_is_registered() -> None:
    assert bench_commands() == {"models fetch": fetch}


def test_without_a_name_it_lists_size_and_license_and_asks_no_server(mirror: Mirror) -> None:
    done = run()
    assert done.exit_code == 0
    for name, file in FETCHABLE.items():
        assert f"{name}: about {file.megabytes} MB" in done.output
        assert file.license in done.output
    assert mirror.asked == []


def test_every_file_of_the_catalogue_is_one_of_the_library() -> None:
    for file in FETCHABLE.values():
        entry = library.entry(file.stem)
        assert entry.identifier.value == file.stem
        assert entry.urls[0].startswith("https://")
        assert len(entry.sha256) == 64


def test_the_cache_is_that_of_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for value in ("~/elsewhere", str(tmp_path)):
        monkeypatch.setenv("UNIFACE_CACHE_DIR", value)
        assert str(library.cache_folder()) == uniface.model_store.get_cache_dir()
    monkeypatch.delenv("UNIFACE_CACHE_DIR")
    assert str(library.cache_folder()) == uniface.model_store.get_cache_dir()
    monkeypatch.setenv("UNIFACE_CACHE_DIR", "")
    assert library.cache_folder() == Path.home() / ".uniface" / "models"


def test_size_license_and_place_are_told_before_the_question(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench_uniface.commands._on_a_terminal", lambda: True)
    done = run("arcface-resnet", input="n\n")
    assert done.exit_code == 1
    told, asked, _ = done.output.partition("Fetch 1 file, about 166 MB, under these terms?")
    assert asked
    assert f"from {mirror.url}/releases/arcface_resnet.onnx" in told
    assert "InsightFace publishes its weights for non-commercial research only" in told
    assert mirror.asked == []
    assert not library.cache_folder().exists()
    done = run("arcface-resnet", input="y\n")
    assert done.exit_code == 0
    assert left(library.cache_folder()) == ["arcface_resnet.onnx"]


def test_without_a_terminal_and_a_yes_nothing_is_fetched(mirror: Mirror) -> None:
    with pytest.raises(DataError, match=r"about 8 MB, under these terms\? Expected a yes, found no terminal .* --yes"):
        run("arcface-mnet")
    assert mirror.asked == []


def test_a_name_of_a_folder_cannot_control_the_terminal(mirror: Mirror, tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[2Jb"
    shown = run("sphere20", "--dry-run", "--out", str(folder)).output
    assert "\x1b" not in shown
    assert f"{tmp_path}/a\ufffd[2Jb/sphere20.onnx" in shown


def test_a_dry_run_fetches_nothing(mirror: Mirror) -> None:
    done = run("--paper", "--dry-run", "--yes")
    assert "nothing was fetched (--dry-run)" in done.output
    assert mirror.asked == []
    assert not library.cache_folder().exists()


@pytest.mark.parametrize("name", ["arcface-mnet", "arcface_mnet", "ARCFACE_MNET.onnx", "mobileface"])
def test_names_of_bench_of_the_library_and_of_the_paper_are_understood(name: str, mirror: Mirror) -> None:
    run(name, "--yes")
    assert left(library.cache_folder()) == ["arcface_mnet.onnx"]


def test_unknown_names_and_networks_that_nobody_publishes_are_errors(mirror: Mirror) -> None:
    with pytest.raises(DataError, match=r"^arcface-resnt: expected a network that can be fetched; .*arcface-resnet"):
        run("arcface-resnt", "--yes")
    with pytest.raises(DataError, match=r"^ir50-softmax: cannot be fetched: .* no IR50 trained with softmax. Put one"):
        run("arcface-mnet", "ir50_softmax", "--yes")
    assert mirror.asked == []


def test_json_lists_what_there_is(mirror: Mirror) -> None:
    run("sphere20", "--yes")
    rows = {row["name"]: row for row in json.loads(run("--json").output)}
    assert list(rows) == list(FETCHABLE)
    assert rows["sphere20"]["verified"] is True
    assert rows["sphere20"]["where"] == str(library.cache_folder() / "sphere20.onnx")
    assert rows["sphere36"]["where"] is None
    assert "--json lists and does not fetch" in run("sphere36", "--json", "--yes").output
    assert rows["sphere36"]["sha256"] == mirror.sha256("sphere36")


# ---- where files are kept --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["cache", "out", "weights", "data"])
def test_the_place_is_out_else_the_weights_folder_else_the_cache(
    place: str, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data")) if place in ("data", "weights", "out") else None
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "weights")) if place in ("weights", "out") else None
    expected = tmp_path / {"data": "data/weights"}.get(place, place)
    done = run("sphere20", "--yes", *(["--out", str(expected)] if place == "out" else []))
    assert (expected / "sphere20.onnx").read_bytes() == mirror.contents["sphere20"]
    assert left(expected) == ["sphere20.onnx"]
    hint = f"name {expected} with --weights-dir"
    assert (hint in done.output) is (place == "out")


def test_what_is_there_is_not_fetched_again(mirror: Mirror) -> None:
    run("sphere20", "--yes")
    mirror.asked.clear()
    done = run("sphere20")
    assert "already there" in done.output
    assert mirror.asked == []


def test_a_damaged_copy_is_replaced_where_it_lies(mirror: Mirror, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", os.pathsep.join([str(tmp_path / "first"), str(tmp_path / "second")]))
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "sphere20.onnx").write_bytes(b"half")
    with pytest.raises(DataError, match=r"second/sphere20.onnx: expected the sha256 [0-9a-f]{64} that uniface"):
        files.find(FETCHABLE["sphere20"])
    run("sphere20", "--yes")
    assert not (tmp_path / "first").exists()
    assert files.find(FETCHABLE["sphere20"]) == tmp_path / "second" / "sphere20.onnx"


def test_a_failed_fetch_keeps_even_a_damaged_copy(mirror: Mirror) -> None:
    library.cache_folder().mkdir()
    (library.cache_folder() / "sphere20.onnx").write_bytes(b"mine")
    mirror.answer("sphere20", fails(503))
    with pytest.raises(DataError):
        run("sphere20", "--yes")
    assert (library.cache_folder() / "sphere20.onnx").read_bytes() == b"mine"


def test_a_missing_file_is_named_with_its_places_and_the_command(mirror: Mirror) -> None:
    with pytest.raises(MissingDataError) as raised:
        files.find(FETCHABLE["edgeface-xxs"])
    cache = library.cache_folder()
    assert str(raised.value) == (
        f"edgeface-xxs: no weights; looked for edgeface_xxs.onnx in {cache} (not there). Get it with: bench models "
        "fetch edgeface-xxs"
    )


# ---- what goes wrong -------------------------------------------------------------------------------------------------

OTHER = b"another file"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (fails(404), "404 Client Error"),
        (fails(500), "500 Server Error"),
        (sends(OTHER), "what came has another sha256 than uniface lists; it was thrown away"),
        (breaks_off(b"x" * 4000), "IncompleteRead|another sha256|Connection broken"),
        (redirects("file:///etc/passwd"), "No connection adapters were found for 'file:///etc/passwd'"),
    ],
    ids=["404", "500", "sha256", "breaks-off", "redirect-to-a-file"],
)
def test_an_error_names_file_place_addresses_reason_and_remedy(answer: Any, reason: str, mirror: Mirror) -> None:
    mirror.answer("sphere36", answer)
    cache = library.cache_folder()
    with pytest.raises(DataError) as raised:
        run("sphere36", "--yes")
    first, *reasons, remedy = str(raised.value).splitlines()
    assert first == f"sphere36.onnx: could not be fetched into {cache}:"
    for line, place in zip(reasons, ("releases", "mirror"), strict=True):
        assert line.startswith(f"  {mirror.url}/{place}/sphere36.onnx: ")
        assert any(part in line for part in reason.split("|")), line
        assert "trying" not in line
    assert f"put it into {cache} as sphere36.onnx, where its sha256 must be {mirror.sha256('sphere36')}" in remedy
    assert left(cache) == []


def test_the_mirror_serves_what_the_first_address_does_not(mirror: Mirror) -> None:
    mirror.answer("sphere36", sends(OTHER), places=("releases",))
    done = run("sphere36", "--yes")
    assert "sphere36.onnx fetched, sha256 verified" in done.output
    assert files.find(FETCHABLE["sphere36"]).read_bytes() == mirror.contents["sphere36"]
    assert left(library.cache_folder()) == ["sphere36.onnx"]


def test_without_a_network(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(DataError, match=r"(?s)sphere20.onnx: could not be fetched.*HTTPS_PROXY") as raised:
        run("sphere20", "--yes")
    why = r"Failed to resolve '127.0.0.1' \(\[Errno -3\] Temporary failure in name resolution\)"
    for place in ("releases", "mirror"):
        assert re.search(rf"{place}/sphere20.onnx: {why}$", str(raised.value), re.MULTILINE)
    assert left(library.cache_folder()) == []


def test_one_failure_does_not_stop_the_others(mirror: Mirror) -> None:
    mirror.answer("sphere20", fails(404))
    with pytest.raises(DataError, match=r"^sphere20.onnx: could not be fetched"):
        run("sphere20", "sphere36", "--yes")
    assert left(library.cache_folder()) == ["sphere36.onnx"]


def test_what_could_not_be_fetched_is_not_offered_for_use(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answer("sphere36", fails(404))
    done = CliRunner().invoke(fetch, ["sphere36", "--yes", "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, DataError)
    assert "sphere36: SphereFace" in done.output
    assert "To use them" not in done.output


def test_a_disk_that_is_too_small_is_noticed_first(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=5 << 20))
    with pytest.raises(DataError, match=r"cache: expected 50 MB of free space for sphere20.onnx, found 5 MB; make"):
        run("sphere20", "--yes")
    assert mirror.asked == []


def test_a_disk_that_fills_up(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(uniface.model_store, "tqdm", full)
    with pytest.raises(DataError, match=r"(?s)sphere20.onnx: .*No space left on device\nMake room in .*cache, or"):
        run("sphere20", "--yes")
    assert left(library.cache_folder()) == []


def test_a_folder_that_cannot_be_written(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError, match=r"file/inside: expected a folder in which sphere20.onnx can be kept, found: "):
        run("sphere20", "--yes", "--out", str(tmp_path / "file" / "inside"))
    with pytest.raises(StorageError, match="choose another one with --out"):
        fetching.fetch(FETCHABLE["sphere20"], tmp_path / "file", lambda _: None)


def test_two_fetches_at_once_download_once(mirror: Mirror) -> None:
    started, go = threading.Event(), threading.Event()
    whole = sends(mirror.contents["sphere20"])

    def slowly(request: Any) -> None:
        started.set()
        go.wait(30)
        whole(request)

    mirror.answer("sphere20", slowly)
    said: list[str] = []
    found: list[Path] = []

    def fetch_one() -> None:
        found.append(fetching.fetch(FETCHABLE["sphere20"], library.cache_folder(), said.append))

    threads = [threading.Thread(target=fetch_one)]
    threads[0].start()
    assert started.wait(30)
    threads.append(threading.Thread(target=fetch_one))
    threads[1].start()
    while not said:
        time.sleep(0.01)
    go.set()
    for thread in threads:
        thread.join()
    assert said == [f"waiting for another fetch into {library.cache_folder()}"]
    assert found == [library.cache_folder() / "sphere20.onnx"] * 2
    assert mirror.asked == ["/releases/sphere20.onnx"]


FETCH_IN_A_PROCESS = """
import sys
from pathlib import Path
sys.modules["torch"] = sys.modules["torchvision"] = None  # uniface works without them, and is imported faster
import uniface.constants as c
from bench_uniface import FETCHABLE, fetching, library
entry = library.entry("sphere20")
c.MODEL_REGISTRY[entry.identifier] = c.ModelInfo(url=sys.argv[1], sha256=sys.argv[2])
fetching.fetch(FETCHABLE["sphere20"], Path(sys.argv[3]), print)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_fetch_leaves_no_weights(how: int, mirror: Mirror) -> None:
    half, go = threading.Event(), threading.Event()
    content = mirror.contents["sphere20"]

    def stalls(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: len(content) // 2])
        request.wfile.flush()
        half.set()
        go.wait(60)

    mirror.answer("sphere20", stalls)
    cache, url = library.cache_folder(), f"{mirror.url}/releases/sphere20.onnx"
    command = [sys.executable, "-c", FETCH_IN_A_PROCESS, url, mirror.sha256("sphere20"), str(cache)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert half.wait(60)
        process.send_signal(how)
        process.communicate(timeout=60)
    go.set()
    assert not (cache / "sphere20.onnx").exists()
    if how == signal.SIGINT:
        assert left(cache) == []
    mirror.answer("sphere20", sends(content))
    run("sphere20", "--yes")
    assert left(cache) == ["sphere20.onnx"]


# ---- without the extra -----------------------------------------------------------------------------------------------


def test_without_the_library_the_catalogue_is_shown_and_a_fetch_says_what_to_install(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "installed", lambda: None)
    monkeypatch.delitem(sys.modules, "uniface.constants")
    monkeypatch.setattr(library, "_alone", library._alone.__wrapped__)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert "uniface is not installed; to fetch: pip install 'face-privacy-bench[real]'" in run().output
    with pytest.raises(DataError, match=r"^uniface: the package is missing; install it with: pip install 'face-"):
        run("sphere20", "--yes")
    with pytest.raises(MissingDataError, match=r"Get it with: pip install 'face-privacy-bench\[real\]', then bench"):
        files.find(FETCHABLE["sphere20"])


def test_a_library_that_cannot_be_imported(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uniface.model_store", None)
    with pytest.raises(DataError, match=r"uniface 4\..*: expected that it can be imported, found: .*libgl1"):
        run("sphere20", "--yes")


def test_a_file_that_the_library_no_longer_lists(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {k: v for k, v in uniface.constants.MODEL_REGISTRY.items() if k.value != "sphere20"}
    monkeypatch.setattr(uniface.constants, "MODEL_REGISTRY", table)
    with pytest.raises(DataError, match=r"^sphere20.onnx: expected an entry with a sha256 in uniface's table"):
        run("sphere20", "--yes")


@pytest.mark.slow
def test_planning_and_listing_import_neither_the_library_nor_torch(mirror: Mirror) -> None:
    code = (
        "import sys; from bench_uniface import library, MODELS; import bench_attributes; from bench.cli import main\n"
        "assert len(library.entry('sphere20').sha256) == 64\n"
        "for cls in MODELS.values(): cls().status()\n"
        "main(['models', 'fetch', 'sphere20', '--dry-run'], standalone_mode=False)\n"
        "heavy = {'uniface', 'cv2', 'torch', 'onnxruntime', 'requests', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_table_of_an_older_library(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {k: info.url for k, info in uniface.constants.MODEL_REGISTRY.items()}
    monkeypatch.setattr(uniface.constants, "MODEL_REGISTRY", table)
    with pytest.raises(DataError, match=r"^sphere20.onnx: expected an entry with a sha256 in uniface's table"):
        run("sphere20", "--yes")


def test_a_user_without_a_home_is_no_reason_to_fail(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNIFACE_CACHE_DIR")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what Python does for an unknown user
    assert files.located(FETCHABLE["sphere20"]) is None


# ---- the paper's networks --------------------------------------------------------------------------------------------


def test_paper_fetches_what_serves_and_says_what_remains_missing(mirror: Mirror, tmp_path: Path) -> None:
    done = run("--paper", "--yes", "--out", str(tmp_path / "w"))
    assert left(tmp_path / "w") == ["arcface_mnet.onnx", "arcface_resnet.onnx"]
    lines = {line.split(":")[0].strip(): line for line in done.output.split("The paper's networks:\n")[1].splitlines()}
    assert f"{tmp_path}/w/arcface_mnet.onnx (a MobileFaceNet" in lines["mobileface"]
    assert f"{tmp_path}/w/arcface_resnet.onnx (an IR50" in lines["ir50-arcface"]
    for name in ("ir50-sphereface", "ir50-softmax", "ir-se50", "mobilenet", "resnet50"):
        assert f"{name}: missing; uniface has " in lines[name]
        assert f"Put one of these into {tmp_path}/w: {name}.safetensors, " in lines[name]
    assert f"bench run suites/paper.toml --weights-dir {tmp_path}/w" in done.output


def test_paper_leaves_out_what_a_file_of_the_user_serves(mirror: Mirror, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    (tmp_path / "ir50-arcface.pth").write_bytes(b"mine")
    done = run("--paper", "--yes")
    assert mirror.asked == ["/releases/arcface_mnet.onnx"]
    assert f"  ir50-arcface: {tmp_path}/ir50-arcface.pth\n" in done.output
    (tmp_path / "mobileface.pth").write_bytes(b"mine")
    done = run("--paper")
    assert "about" not in done.output
    assert f"  mobileface: {tmp_path}/mobileface.pth\n" in done.output


@pytest.mark.slow
def test_the_papers_networks_are_found_under_their_own_names(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_facenets import MODELS

    run("--paper", "--yes")
    monkeypatch.setenv("BENCH_WEIGHTS", str(library.cache_folder()))
    assert MODELS["mobileface"]().status().where == str(library.cache_folder() / "arcface_mnet.onnx")
    assert MODELS["ir50-arcface"]().status().where == str(library.cache_folder() / "arcface_resnet.onnx")
    assert "weights-dir" not in run("--paper", "--dry-run").output
