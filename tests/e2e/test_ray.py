"""``bench run --engine ray`` on clusters on this machine: rows are those of the local engine, after any fault."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from processes import Running, assert_same_rows, manifests, run_folders, wait_until
from support import TESTS, Command, ToyRun, environment, survivors

from bench.store import journal
from bench.store.artifacts import Cache

pytest.importorskip("ray")

TOKEN = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
}
GATED = "toy-faces protected by toy-gate"
Start = Callable[..., Running]


@dataclass(frozen=True)
class Nodes:
    """A cluster: its address, and the main process of each node."""

    address: str
    raylets: list[int]

    def at_work(self, pid: int) -> int:
        """Return the main process of the node to which a process belongs."""
        above = {process.pid for process in psutil.Process(pid).parents()}
        (found,) = above & set(self.raylets)
        return found

    @staticmethod
    def kill(raylet: int) -> None:
        """Kill a node with all its processes."""
        leader = psutil.Process(raylet)
        for process in [leader, *leader.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@contextlib.contextmanager
def cluster(site: Path, nodes: int, hidden: Path | None = None, **variables: object) -> Iterator[Nodes]:
    """Start a cluster whose nodes see an empty folder instead of ``hidden``; all of it is removed afterwards."""
    folder = tempfile.mkdtemp(prefix="bench-test-")  # short, because the paths of Ray's sockets begin with it
    command = [sys.executable, str(TESTS / "ray_cluster.py"), str(nodes), folder]
    if hidden is not None:
        hidden.mkdir()
        mount = f'mount -t tmpfs tmpfs "{hidden}" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", mount, "sh", *command]
    process = subprocess.Popen(
        command,
        env=environment([site], {**TOKEN, **{name: str(value) for name, value in variables.items()}}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        with process:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            yield Nodes(ready["address"], ready["nodes"])
    finally:
        left = survivors(process.pid)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder)
    assert left == []


def command(suite: Path, out: Path, address: str | None = None) -> list[object]:
    """Return the arguments of a command that runs a suite on Ray."""
    where = [] if address is None else ["--address", address]
    return ["run", "--no-report", suite, "--out", out, "--device", "cpu", "--engine", "ray", *where]


def worker_at(out: Path, name: str) -> int | None:
    """Return the process that is computing the stage with this name."""
    cache = Cache(out / "results" / ".cache")
    for folder in (out / "results").glob("[!.]*/[!.]*"):
        for event in journal.read(folder):
            if event["event"] == "stage-started" and event["name"] == name:
                note = cache.progress(event["key"])
                return None if note is None else int(note.worker.rpartition(":")[2])
    return None


def assert_none_twice(out: Path) -> None:
    """Check that no stage was finished twice in all sessions of the runs in a folder."""
    (folder,) = run_folders(out)
    done = Counter(
        event["key"]
        for event in journal.read(folder)
        if event["event"] == "stage-finished" and event["status"] == "ok" and not event["cached"]
    )
    assert set(done.values()) == {1}


def test_ray_on_this_machine(bench: Command, toy_run: ToyRun, tmp_path: Path) -> None:
    done = bench(*command(toy_run.suite, tmp_path / "out"))
    assert done.code == 0, done.err
    assert done.left == []
    assert "ray" not in done.err.lower().replace("bench-ray", "")
    (folder,) = run_folders(tmp_path / "out")
    assert_same_rows(folder, toy_run.folder)
    assert json.loads((folder / "run.json").read_text())["status"] == "complete"


@pytest.mark.parametrize("end", [Running.interrupt, lambda running: running.process.terminate()], ids=["INT", "TERM"])
def test_a_signal_ends_the_ray_that_was_started(
    start: Start, toy_run: ToyRun, tmp_path: Path, end: Callable[[Running], None]
) -> None:
    gate = tmp_path / "gate"
    running = start(*command(toy_run.suite, tmp_path / "out"), env={"TOY_GATE": str(gate)})
    wait_until(Path(f"{gate}.reached").exists, "the gated stage")
    end(running)
    code, _, err = running.end()
    assert code == 130, err
    assert "the same command continues from there" in err
    assert "Traceback" not in err
    wait_until(running.alone, "Ray to end")


def test_a_node_and_the_driver_are_killed(
    toy_site: Path, start: Start, bench: Command, toy_run: ToyRun, tmp_path: Path
) -> None:
    gate, out = tmp_path / "gate", tmp_path / "out"
    with cluster(toy_site, 3, TOY_GATE=gate) as nodes:
        arguments = command(toy_run.suite, out, nodes.address)
        running = start(*arguments, env=TOKEN)
        wait_until(lambda: len(manifests(out)) >= 5, "the run to begin")
        running.kill()
        wait_until(running.alone, "the driver to be gone")

        running = start(*arguments, env=TOKEN)
        wait_until(lambda: worker_at(out, GATED) is not None, "the gated stage")
        nodes.kill(nodes.at_work(worker_at(out, GATED) or 0))
        gate.touch()
        code, _, err = running.end()
        assert code == 0, err
        assert bench(*arguments, env=TOKEN).code == 0
    (folder,) = run_folders(out)
    assert_same_rows(folder, toy_run.folder)
    assert_none_twice(out)


def test_nodes_that_do_not_see_the_folder(toy_site: Path, bench: Command, toy_run: ToyRun, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("needs permission to have mounts of its own")
    out = tmp_path / "out"
    with cluster(toy_site, 2, hidden=out) as nodes:
        done = bench(*command(toy_run.suite, out, nodes.address), env=TOKEN)
        assert done.code == 0, done.err
    (folder,) = run_folders(out)
    assert_same_rows(folder, toy_run.folder)
    assert_none_twice(out)
    assert len(manifests(out)) == len(manifests(toy_run.out))
