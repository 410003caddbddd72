"""The Ray engine without Ray: how a node handles orders, and how the driver handles replies and lost nodes."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import SUITE, compute, only

from bench.core.domain import Stage
from bench.core.errors import BenchError, StorageError
from bench.core.provenance import package_versions, runtime_digest
from bench.engine import ray_driver as engine
from bench.engine import ray_node
from bench.engine.interface import Attempt
from bench.engine.ray_node import NodeReply, Order
from bench.engine.worker import attempt
from bench.planning.plan import Plan
from bench.registry.discovery import Registry
from bench.store.artifacts import Artifact, Cache, DamagedError

KEY = "ab" * 32
SCORE = "image similarity of identity on toy-faces"


# ---- packing artifacts -----------------------------------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path: Path) -> dict[str, Any]:
    """Return the files of a small artifact."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    cache = Cache(tmp_path / "one")
    about = {"seconds": 2.0, "peak_mb": 1.0, "device": "cpu"}
    cache.write(KEY, Artifact(tensors={"x": np.arange(5)}, facts={"n": 5}), about)
    return cache.pack(KEY)


def test_a_packed_artifact_is_unpacked(packed: Mapping[str, Any], tmp_path: Path) -> None:
    other = Cache(tmp_path / "two")
    for _ in range(2):  # The second time, the artifact exists already.
        other.unpack(KEY, packed)
        assert other.read(KEY).tensors["x"].tolist() == [0, 1, 2, 3, 4]
    for name, contents in packed.items():
        assert (other.folder(KEY) / name).read_bytes() == contents.tobytes()
    assert list((other.root / "tmp").iterdir()) == []


@pytest.mark.parametrize("name", ["tensors.safetensors", "manifest.json"])
def test_an_artifact_damaged_on_its_way_is_not_stored(packed: dict[str, Any], tmp_path: Path, name: str) -> None:
    packed[name][-3] ^= 1
    other = Cache(tmp_path / "two")
    with pytest.raises(DamagedError):
        other.unpack(KEY, packed)
    assert not other.folder(KEY).exists()
    assert list((other.root / "tmp").iterdir()) == []


def test_a_damaged_artifact_is_not_packed(packed: Mapping[str, Any], tmp_path: Path) -> None:
    cache = Cache(tmp_path / "one")
    (cache.folder(KEY) / "tensors.safetensors").write_bytes(b"")
    with pytest.raises(DamagedError):
        cache.pack(KEY)


def test_an_artifact_that_cannot_be_stored_is_one_error(packed: Mapping[str, Any], tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot store an artifact"):
        Cache(tmp_path / "lost").unpack(KEY, packed)
    assert not (tmp_path / "lost").exists()


# ---- a node ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def plan(plan_text: Callable[..., Plan]) -> Plan:
    """Plan a small suite."""
    return plan_text(SUITE, "experiment[0].defenses=['identity']", "experiment[0].authorised=['toy-a']")


@pytest.fixture
def a_node(tmp_path: Path, toy_installed: Registry, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let this process act as a node that computes stages itself. Return its folder."""
    folder = tmp_path / "node"
    folder.mkdir()
    monkeypatch.setattr(ray_node, "discover", lambda: toy_installed)
    monkeypatch.setattr(ray_node, "_checked", set())
    monkeypatch.setattr(ray_node, "_process_folder", lambda: folder)
    monkeypatch.setattr(ray_node, "_attempt", lambda order, root: attempt(order.stage, root, order.batch))
    return folder


@pytest.fixture
def order(plan: Plan, tmp_path: Path, a_node: Path) -> Callable[..., Order]:
    """Return a function that makes an order for a stage and computes the inputs of the stage."""
    root = tmp_path / "cache"
    root.mkdir()
    (root / "token").write_text("secret")

    def make(stage: Stage | None = None, **other: Any) -> Order:
        stage = stage or only(plan, SCORE)
        compute(plan, Cache(root), list(stage.inputs.values()))
        order = Order(
            stage=stage,
            batch=stage.options["batch"],
            threads=1,
            root=root,
            token=root / "token",
            secret="secret",
            sent=False,
            digest=runtime_digest(),
            versions=package_versions(),
            environment={},
        )
        return replace(order, **other)

    return make


def never(_: Any) -> Any:
    """Fail if an input is fetched."""
    raise AssertionError("fetched")


def test_a_node_that_sees_the_folder_computes_in_it(order: Callable[..., Order], a_node: Path) -> None:
    request = order()
    reply = ray_node.work(request, {}, never)
    assert reply.attempt is not None
    assert reply.attempt.result.status == "ok"
    assert (reply.files, reply.error) == (None, None)
    assert Cache(request.root).check(request.stage.key)
    assert list(a_node.iterdir()) == []


@pytest.mark.parametrize("secret", ["another", None])
def test_a_node_that_does_not_see_it_says_so(order: Callable[..., Order], secret: str | None) -> None:
    request = order()
    request.token.unlink() if secret is None else request.token.write_text(secret)
    assert ray_node.work(request, {}, never) == NodeReply()


def test_a_node_with_sent_inputs_returns_the_same_artifact(order: Callable[..., Order], tmp_path: Path) -> None:
    request = order(sent=True)
    here = Cache(request.root)
    fetched: list[str] = []

    def fetch(key: str) -> Any:
        fetched.append(key)
        return here.pack(key)

    inputs = {key: key for key in request.stage.inputs.values()}
    reply = ray_node.work(request, inputs, fetch)
    assert reply.attempt is not None
    assert reply.attempt.result.status == "ok"
    assert sorted(fetched) == sorted(inputs)
    assert reply.files is not None
    here.unpack(request.stage.key, reply.files)
    other = Cache(tmp_path / "other")
    shutil.copytree(request.root, other.root)
    other.discard(request.stage.key)
    assert attempt(request.stage, other.root, request.batch).result.status == "ok"
    assert here.manifest(request.stage.key)["files"] == other.manifest(request.stage.key)["files"]  # type: ignore[index]
    ray_node.work(request, inputs, never)  # A node does not fetch an input twice.


def test_an_input_that_was_damaged_on_its_way_is_lost(order: Callable[..., Order]) -> None:
    request = order(sent=True)
    reply = ray_node.work(
        request, dict.fromkeys(request.stage.inputs.values()), lambda _: {"manifest.json": np.zeros(3, "u1")}
    )
    assert reply.attempt is not None
    assert reply.attempt.again == "lost"
    assert "damaged on its way" in str(reply.attempt.result.reason)


def test_variables_of_the_driver_are_taken_over_unless_a_node_has_its_own(
    order: Callable[..., Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_ONE", "mine")
    monkeypatch.setenv("BENCH_TWO", "to be forgotten")
    monkeypatch.delenv("BENCH_TWO")
    ray_node.work(order(environment={"BENCH_ONE": "theirs", "BENCH_TWO": "theirs"}), {}, never)
    assert (ray_node.os.environ["BENCH_ONE"], ray_node.os.environ["BENCH_TWO"]) == ("mine", "theirs")


def refusal(reply: NodeReply) -> str:
    """Return the message of the error in a reply."""
    assert reply.attempt is None
    assert isinstance(reply.error, BenchError)
    return str(reply.error)


def test_another_version_of_a_package_is_refused(order: Callable[..., Order]) -> None:
    request = order(digest="other", versions={**package_versions(), "torch": "0.1"})
    message = refusal(ray_node.work(request, {}, never))
    assert message.startswith(f"node {ray_node.platform.node()}: ")
    assert f"torch {package_versions()['torch']}, not 0.1" in message
    assert "another version of bench's own files" in refusal(ray_node.work(order(digest="other"), {}, never))


def test_another_plugin_or_other_weights_are_refused(order: Callable[..., Order], plan: Plan) -> None:
    stage = next(s for s in plan.stages.values() if s.kind == "embed")
    ((role, (model,)),) = [(r, c) for r, c in stage.components.items() if c and c[0].kind == "model"]
    for other, words in (
        (replace(model, weights="f" * 64), "its data or weights are"),
        (replace(model, origin=replace(model.origin, digest="f" * 64)), "the code of its plugin is"),
        (replace(model, origin=replace(model.origin, version="9")), "the version of its plugin is"),
    ):
        changed = replace(stage, components={**stage.components, role: (other,)})
        message = refusal(ray_node.work(order(changed), {}, never))
        assert f"model {model.label}: {words}" in message
    missing = replace(stage, components={role: (replace(model, name="nowhere"),)})
    assert "nowhere" in refusal(ray_node.work(order(missing), {}, never))


def test_every_component_of_the_toy_suite_is_the_same_here(plan: Plan, a_node: Path) -> None:
    for stage in plan.stages.values():
        for parts in stage.components.values():
            ray_node._check_components(parts)
    assert ray_node._checked


def test_a_node_keeps_what_it_used_last(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    keys = [f"{i:02}" + "0" * 62 for i in range(4)]
    for i, key in enumerate(keys):
        cache.write(key, Artifact(tensors={"x": np.zeros(1000, np.uint8)}), {"seconds": 0, "peak_mb": 0, "device": ""})
        ray_node.os.utime(cache.folder(key), (i, i))
    one = sum(file.stat().st_size for file in cache.folder(keys[0]).iterdir())
    ray_node._shrink(cache, int(2.5 * one))
    assert [cache.manifest(key) is not None for key in keys] == [False, False, True, True]


@pytest.mark.slow
def test_a_folder_is_gone_soon_after_its_process_was_killed() -> None:
    code = (
        "import time; from bench.engine.ray_node import own_folder; "
        "print(own_folder('bench-'), flush=True); time.sleep(99)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir()
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not folder.exists()


# ---- the driver ------------------------------------------------------------------------------------------------------


class FakeCluster(engine._Cluster):
    """A cluster whose tasks run in this process, or end with ``ends`` first; ``orders`` are those that it received."""

    def __init__(self, *ends: BaseException | NodeReply, shared: bool = True) -> None:
        super().__init__(engine.RayEngine(2))
        self.ends, self.orders, self.shared = list(ends), list[Order](), shared
        self.store_bytes = 1e9
        names = "NodeDiedError LocalRayletDiedError ObjectLostError OutOfMemoryError WorkerCrashedError"
        self.errors = {n: type(n, (Exception,), {}) for n in [*names.split(), "TaskCancelledError", "RayTaskError"]}
        self.ray = SimpleNamespace(exceptions=SimpleNamespace(**self.errors), get=self.get, put=lambda files: files)
        self.task = SimpleNamespace(remote=self.remote)

    def open(self) -> None:
        """Do not connect."""

    def close(self) -> None:
        """Do not disconnect."""

    def remote(self, order: Order, inputs: Mapping[str, Any]) -> int:
        """Receive an order, and return a reference to its task."""
        self.orders.append(order if self.shared else replace(order, secret="unseen"))
        self.inputs = inputs
        return len(self.orders)

    def get(self, reference: int) -> NodeReply:
        """Return the reply of a task, or raise its error."""
        if self.ends:
            end = self.ends.pop(0)
            if isinstance(end, BaseException):
                raise end
            return end
        return ray_node.work(self.orders[reference - 1], self.inputs, lambda files: files)

    def error(self, name: str) -> BaseException:
        """Return an error of Ray."""
        found: BaseException = self.errors[name]("said Ray")
        return found


@pytest.fixture
def attempted(order: Callable[..., Order]) -> Callable[..., Attempt]:
    """Return a function that lets a fake cluster compute the similarity stage."""

    def run(cluster: FakeCluster) -> Attempt:
        request = order()
        with engine.RayWorkers(engine.RayEngine(2), Cache(request.root)) as workers:
            workers._cluster = workers._input_store.cluster = cluster
            future: Future[Attempt] = workers.submit(request.stage, request.batch)
            return future.result(60)

    return run


@pytest.fixture(autouse=True)
def _no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine._Cluster, "open", lambda self: None)


def test_a_stage_is_computed_in_the_shared_folder(attempted: Callable[..., Attempt], tmp_path: Path) -> None:
    cluster = FakeCluster()
    found = attempted(cluster)
    assert (found.result.status, found.again) == ("ok", None)
    assert [o.sent for o in cluster.orders] == [False]
    assert not list((tmp_path / "cache" / "tmp").glob("token-*"))


def test_inputs_are_sent_to_nodes_without_the_folder(attempted: Callable[..., Attempt], tmp_path: Path) -> None:
    cluster = FakeCluster(shared=False)
    found = attempted(cluster)
    assert (found.result.status, found.again) == ("ok", None)
    assert [o.sent for o in cluster.orders] == [False, True]
    stage = cluster.orders[0].stage
    assert set(cluster.inputs) == set(stage.inputs.values())
    assert Cache(tmp_path / "cache").check(stage.key)
    again = attempted(FakeCluster(shared=False))  # The artifact exists now.
    assert again.result.cached


def test_a_stage_that_another_run_computes_is_busy(
    attempted: Callable[..., Attempt], order: Callable[..., Order], plan: Plan
) -> None:
    with Cache(order().root).lock(only(plan, SCORE).key):
        assert attempted(FakeCluster(shared=False)).again == "busy"


def test_a_damaged_input_is_removed_and_made_again(
    attempted: Callable[..., Attempt], order: Callable[..., Order]
) -> None:
    request = order()
    cache = Cache(request.root)
    key = request.stage.inputs["faces"]

    class Damaging(FakeCluster):
        def get(self, reference: int) -> NodeReply:
            (cache.folder(key) / "faces.parquet").write_bytes(b"")
            return super().get(reference)

    found = attempted(Damaging(shared=False))
    assert found.again == "damaged"
    assert not cache.folder(key).exists()


def test_lost_nodes_do_not_count_against_the_stage(attempted: Callable[..., Attempt]) -> None:
    cluster = FakeCluster()
    cluster.ends = [cluster.error(n) for n in ("NodeDiedError", "LocalRayletDiedError", "ObjectLostError")]
    found = attempted(cluster)
    assert (found.result.status, found.again) == ("ok", None)
    assert len(cluster.orders) == 4


def test_a_stage_during_which_many_nodes_are_lost_counts_as_lost(attempted: Callable[..., Attempt]) -> None:
    cluster = FakeCluster()
    cluster.ends = [cluster.error("NodeDiedError") for _ in range(9)]
    found = attempted(cluster)
    assert found.again == "lost"
    assert f"{engine._MOST_NODES} nodes were lost" in str(found.result.reason)
    assert len(cluster.orders) == engine._MOST_NODES


@pytest.mark.parametrize(
    ("name", "again", "words"),
    [
        ("WorkerCrashedError", "lost", "the process of its node died: said Ray"),
        ("OutOfMemoryError", "memory", "its node ran out of memory: said Ray"),
    ],
)
def test_lost_processes_count(attempted: Callable[..., Attempt], name: str, again: str, words: str) -> None:
    cluster = FakeCluster()
    cluster.ends = [cluster.error(name)]
    found = attempted(cluster)
    assert (found.result.status, found.again) == ("failed", again)
    assert words in str(found.result.reason)
    assert len(cluster.orders) == 1


@pytest.mark.parametrize(
    ("name", "words"), [("RayTaskError", "must be installed on every node"), (None, "the Ray cluster failed")]
)
def test_an_error_of_every_node_ends_the_run(attempted: Callable[..., Attempt], name: str | None, words: str) -> None:
    cluster = FakeCluster()
    cluster.ends = [cluster.error(name) if name else RuntimeError("strange")]
    with pytest.raises(BenchError, match=words):
        attempted(cluster)


def test_the_refusal_of_a_node_ends_the_run(attempted: Callable[..., Attempt]) -> None:
    with pytest.raises(StorageError, match="node a: full"):
        attempted(FakeCluster(NodeReply(error=StorageError("node a: full"))))


def test_inputs_are_kept_up_to_a_share_of_the_store(tmp_path: Path) -> None:
    cache, cluster = Cache(tmp_path), FakeCluster()
    keys = [f"{i:02}" + "0" * 62 for i in range(3)]
    for key in keys:
        cache.write(key, Artifact(tensors={"x": np.zeros(1000, np.uint8)}), {"seconds": 0, "peak_mb": 0, "device": ""})
    size = sum(part.nbytes for part in cache.pack(keys[0]).values())
    packed = engine._InputStore(cache, cluster)
    cluster.store_bytes = 2.5 * size / engine._STORE_SHARE
    first = packed.reference(keys[0])
    packed.reference(keys[1])
    assert packed.reference(keys[0]) is first
    packed.reference(keys[2])
    assert list(packed.kept) == [keys[0], keys[2]]


# ---- connecting ------------------------------------------------------------------------------------------------------


def test_without_ray_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BenchError, match=r"pip install 'face-privacy-bench\[ray\]'"):
        engine.connect("cpu", None, 1)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Return a function that sets how the process ends that tests the connection to a cluster."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())

    def answer(end: Any) -> None:
        def run(*_: Any, **__: Any) -> Any:
            if isinstance(end, BaseException):
                raise end
            return SimpleNamespace(stdout=end if isinstance(end, str) else json.dumps(end), stderr="it crashed")

        monkeypatch.setattr(engine.subprocess, "run", run)

    return answer


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"error": "RuntimeError: Version mismatch: Ray 2.1,\n not 2.2"}, "Version mismatch: Ray 2.1, not 2.2"),
        (subprocess.TimeoutExpired("ray", 30), "no answer within 30 s"),
        ("", "Ray ended before it answered: it crashed"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_one_error(answering: Callable[[Any], None], end: Any, words: str) -> None:
    answering(end)
    with pytest.raises(BenchError, match=words) as raised:
        engine.connect("cpu", None, 1, (), "auto")
    assert str(raised.value).startswith("--address auto: cannot connect")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:70000"])
def test_an_address_without_a_cluster_is_noticed_at_once(address: str) -> None:
    with pytest.raises(BenchError, match="cannot connect"):
        engine._probe(address)


def test_an_address_for_ray_clients_is_refused_with_advice() -> None:
    with pytest.raises(BenchError, match="ray start --address HOST:PORT --num-cpus 0"):
        engine._probe("ray://head:10001")


def test_as_many_stages_as_the_cluster_has_room_for(answering: Callable[[Any], None]) -> None:
    answering({"resources": {"CPU": 12.0, "GPU": 3.0}})
    assert engine.connect("cpu", None, 1, (), "auto") == engine.RayEngine(12, address="auto", limited=False)
    assert engine.connect("cuda", None, 1, (), "auto").workers == 3
    assert engine.connect("cpu", 5, 1, (), "auto") == engine.RayEngine(5, address="auto")


def test_a_cluster_without_room_must_be_waited_for(answering: Callable[[Any], None]) -> None:
    answering({"resources": {"CPU": 12.0}})
    with pytest.raises(BenchError, match="has no GPU at the moment"):
        engine.connect("cuda", None, 1, (), "auto")
    assert engine.connect("cuda", 2, 1, (), "auto").workers == 2


def test_gpus_are_shared_out_on_this_machine_only() -> None:
    assert engine.RayEngine(3).resources() == {"num_cpus": 1}
    assert engine.RayEngine(3, "cuda", gpus=("0",)).resources() == {"num_cpus": 1, "num_gpus": 0.3333}
    assert engine.RayEngine(1, "cuda", gpus=("0", "1")).resources() == {"num_cpus": 1, "num_gpus": 1.0}
    assert engine.RayEngine(3, "cuda", gpus=("0",), address="auto").resources()["num_gpus"] == 1.0
