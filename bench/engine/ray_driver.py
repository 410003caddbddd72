"""The Ray engine: stages as tasks on a cluster, or on a Ray of its own on this machine (extra ``[ray]``).

Each task has its stage computed by a killable process of its node (`bench.engine.ray_node`). Artifacts go through the
cache folder where a node sees it, and through Ray's object store where it does not; either way the cache of the driver
is the truth, so that the driver can die and be started again.

What is lost is begun again. A worker process that is lost on a node that lives is counted like one of this machine: it
may be the stage's fault. The loss of a node is not (it was preempted, its time was up, somebody pulled the plug), so
its stages are begun again with the same batch and as the same attempt, up to `_MOST_NODES` nodes; a stage under which
as many die one after the other is taken for the cause, and that counts as one lost worker.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import math
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from filelock import Timeout

from bench.core.domain import Stage
from bench.core.errors import BenchError, StorageError
from bench.core.provenance import package_versions, runtime_digest
from bench.engine.interface import Attempt
from bench.engine.ray_node import Answer, Order, own_folder, work
from bench.engine.scheduler import cached_result, failure
from bench.store.artifacts import Cache, DamagedError

_CONNECT_S = 30.0  # until a cluster that does not answer counts as not there
_ANSWER_S = 5.0  # until its machine does
_LOOK_S = 2.0  # between two looks at the nodes of the cluster
_HEADLESS_S = 30.0  # that the head of a cluster may be away; Ray ends the whole process after 60 s
_MOST_NODES = 5  # that may be lost under one attempt at a stage
_STORE_SHARE = 0.3  # of a node's object store for inputs that later stages may need
_OWN_STORE = 100_000_000  # bytes of object store of a Ray of our own: everything goes through the folder
_END_S = 10.0  # for cancelled tasks to end
_THREADS = 1024  # stages that are waited for at once
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0"}

# What is asked of a cluster in a process of its own first: a Ray that cannot connect may take minutes, or the process.
_PROBE = """
import json, logging, sys
logging.disable()
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)
except BaseException as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
else:
    print(json.dumps({"resources": ray.cluster_resources()}), flush=True)
"""


@dataclass
class RayEngine:
    """``workers`` stages at once, with ``threads`` compute threads each; on ``cuda`` each has a GPU, or its share of
    the ``gpus`` of this machine. ``address`` is that of a cluster; without one, a Ray is started here.

    ``limited``: no more than ``workers`` even when nodes join. `connect` makes one.
    """

    workers: int
    device: str = "cpu"
    threads: int = 1
    gpus: tuple[str, ...] = ()
    address: str | None = None
    limited: bool = True
    name = "ray"

    def open(self, cache: Cache) -> RayWorkers:
        """The cluster for one run."""
        return RayWorkers(self, cache)

    def resources(self) -> dict[str, float]:
        """What Ray is asked for a stage."""
        if self.device != "cuda":
            return {"num_cpus": 1}
        share = 1.0 if self.address else min(1.0, len(self.gpus) / self.workers)
        return {"num_cpus": 1, "num_gpus": math.floor(share * 1e4) / 1e4}


def connect(
    device: str, workers: int | None, threads: int, gpus: tuple[str, ...] = (), address: str | None = None
) -> RayEngine:
    """The engine for a cluster, or for this machine. `BenchError` when there is no Ray, or no such cluster."""
    if importlib.util.find_spec("ray") is None:
        raise BenchError("--engine ray: Ray is not installed; install it with: pip install 'face-privacy-bench[ray]'")
    if address is None:
        default = len(gpus) if device == "cuda" else os.cpu_count() or 1
        return RayEngine(workers or max(1, default), device, threads, gpus)
    found = _slots(_probe(address), device)
    if not found and workers is None:
        unit = "GPU" if device == "cuda" else "CPU"
        raise BenchError(
            f"--address {address}: the cluster has no {unit} at the moment; add nodes, or say with --workers N how "
            "many stages shall wait for them"
        )
    return RayEngine(workers or found, device, threads, gpus, address, limited=workers is not None)


def _slots(resources: Mapping[str, float], device: str) -> int:
    """How many stages a cluster can compute at once."""
    cpus = int(resources.get("CPU", 0))
    return min(cpus, int(resources.get("GPU", 0))) if device == "cuda" else cpus


def _probe(address: str) -> dict[str, float]:
    """The resources of a cluster; `BenchError` when it cannot be used."""
    if "://" in address:
        raise BenchError(
            f"--address {address}: expected host:port or auto; run bench on a machine of the cluster, or make this one "
            "part of it: ray start --address HOST:PORT --num-cpus 0"
        )
    try:
        host, _, port = address.rpartition(":")
        if host and port.isdecimal():  # quicker than Ray about a machine that is not there
            socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
        found = subprocess.run(
            [sys.executable, "-c", _PROBE, address],
            env={**os.environ, **_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_CONNECT_S,
        )
        said = json.loads(found.stdout.splitlines()[-1])
        problem = said.get("error", "")
    except subprocess.TimeoutExpired:
        problem = f"no answer within {_CONNECT_S:g} s"
    except (OSError, OverflowError) as error:
        problem = str(error)
    except (LookupError, ValueError):
        problem = "Ray ended before it answered: " + " ".join(found.stderr.split()[-40:])
    if not problem:
        resources: dict[str, float] = said["resources"]
        return resources
    problem = " ".join(problem.split())[:400]
    raise BenchError(
        f"--address {address}: cannot connect to this Ray cluster ({problem}); expected the address of a running one "
        "(auto, or host:port as its head printed it), with the Ray and Python versions of this machine and the same "
        "access token (RAY_AUTH_TOKEN)"
    )


class RayWorkers:
    """See `bench.engine.interface.Workers`. Every running stage has a thread that waits for its task."""

    def __init__(self, engine: RayEngine, cache: Cache) -> None:
        self.slots = engine.workers
        self.engine = engine
        self.cache = Cache(cache.root.absolute())
        self._cluster = _Cluster(engine)
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="bench-ray")
        self._attempts: set[Future[Attempt]] = set()
        self._packed = _Packed(self.cache, self._cluster)
        self._token = self.cache.root / "tmp" / f"token-{uuid.uuid4().hex[:8]}" / "token"
        self._secret = secrets.token_hex(16)

    def __enter__(self) -> Self:
        try:
            self._token.parent.mkdir(parents=True)
            self._token.write_text(self._secret)
        except OSError as error:
            raise StorageError(f"{self._token}: cannot be written: {error.strerror}") from None
        self._cluster.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._cluster.cancel()
            wait(self._attempts, timeout=_END_S)  # nobody may be waiting for a task when the connection is cut
            self._cluster.close()
            self._threads.shutdown(wait=False, cancel_futures=True)
        finally:
            shutil.rmtree(self._token.parent, ignore_errors=True)

    def submit(self, stage: Stage, batch: int) -> Future[Attempt]:
        """Begin an attempt, as a task that waits at Ray for its turn."""
        self._attempts = {future for future in self._attempts if not future.done()}
        future = self._threads.submit(self._attempt, stage, batch)
        self._attempts.add(future)
        return future

    def watch(self) -> None:
        """The limits of a stage are looked after on its node; here only whether the cluster is there, and its size."""
        self._cluster.look()
        if not self.engine.limited:
            self.slots = max(1, self._cluster.slots)
        with contextlib.suppress(OSError):
            os.utime(self._token.parent)  # so that nobody sweeps it

    def _attempt(self, stage: Stage, batch: int) -> Attempt:
        """One attempt, through the folder or, where a node does not see that, through the object store."""
        try:
            answer = self._ask(stage, batch)
            if answer.attempt is not None:
                return answer.attempt
            with self.cache.lock(stage.key).acquire(timeout=0):
                return self._attempt_apart(stage, batch)
        except Timeout:
            return Attempt(result=failure(stage, "failed", "another run computes it"), again="busy")
        except _LostError as error:
            return Attempt(result=failure(stage, "failed", str(error)), again="lost")
        except _MemoryError as error:
            return Attempt(result=failure(stage, "failed", str(error)), again="memory")
        except OSError as error:
            raise StorageError(f"{self.cache.root}: {error.strerror or error}") from None

    def _attempt_apart(self, stage: Stage, batch: int) -> Attempt:
        """An attempt on a node that gets the inputs and sends the artifact; the lock of the stage is held here."""
        with contextlib.suppress(DamagedError):
            return Attempt(result=cached_result(stage.key, self.cache.verify(stage.key)))
        inputs = {}
        for key in stage.inputs.values():
            try:
                inputs[key] = self._packed.reference(key)
            except DamagedError as error:
                self.cache.discard(key)
                return Attempt(result=failure(stage, "failed", f"a damaged input: {error}"), again="damaged")
        answer = self._ask(stage, batch, inputs)
        assert answer.attempt is not None
        if answer.files is not None:
            try:
                self.cache.unpack(stage.key, answer.files)
            except DamagedError as error:
                raise _LostError(f"its artifact was damaged on its way: {error}") from None
        return answer.attempt

    def _ask(self, stage: Stage, batch: int, inputs: Mapping[str, Any] | None = None) -> Answer:
        """The answer of a node, with ``inputs`` (key to reference) for one that does not share the folder."""
        order = Order(
            stage=stage,
            batch=batch,
            threads=self.engine.threads,
            root=self.cache.root,
            token=self._token,
            secret=self._secret,
            sent=inputs is not None,
            digest=runtime_digest(),
            versions=package_versions(),
            environment={name: value for name, value in os.environ.items() if name.startswith("BENCH_")},
        )
        answer = self._cluster.compute(order, inputs or {})
        if answer.error is not None:
            raise answer.error
        return answer


class _LostError(Exception):
    """A task was lost, and it may be its own fault."""


class _MemoryError(Exception):
    """Ray ended a task because its node ran out of memory."""


def _on_node(order: Order, inputs: Mapping[str, Any]) -> Answer:
    """The task that Ray runs; references within ``inputs`` are fetched only where they are needed."""
    import ray

    return work(order, inputs, ray.get)


class _Cluster:
    """The connection to Ray, which is imported only when it is opened."""

    def __init__(self, engine: RayEngine) -> None:
        self.engine = engine
        self.closing = False
        self.running: set[Any] = set()
        self.guard = threading.Lock()
        self.slots = engine.workers
        self.store_bytes = 0.0
        self.looked = self.seen = time.monotonic()

    def open(self) -> None:
        """Connect to a cluster, or start a Ray here."""
        os.environ.update(_ENVIRONMENT)
        if self.engine.address is None:  # nobody else can use it, and nothing is written into the user's home
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        import ray
        from ray._private import worker

        self.ray: Any = ray
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        worker._worker_logs_enabled = False  # what nodes say of themselves is not for the terminal
        with _own_signals():
            if self.engine.address is None:
                self._start()
            else:
                ray.init(address=self.engine.address, log_to_driver=False, configure_logging=False)
        options = {**self.engine.resources(), "max_retries": 0}
        self.task = ray.remote(_on_node).options(**options)
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self.head = (host, int(port))
        self._count()

    def _start(self) -> None:
        engine = self.engine
        try:
            self.ray.init(
                address="local",
                num_cpus=engine.workers,
                num_gpus=len(engine.gpus),
                object_store_memory=_OWN_STORE,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                # the paths of its sockets must be short
                _temp_dir=str(own_folder("bench-ray-", "/tmp" if os.access("/tmp", os.W_OK) else None)),
            )
        except Exception as error:
            problem = " ".join(str(error).split())[:400]
            raise BenchError(f"--engine ray: Ray cannot be started here: {type(error).__name__}: {problem}") from None

    def cancel(self) -> None:
        """End what still runs."""
        self.closing = True
        with self.guard:
            left = list(self.running)
        for reference in left:
            with contextlib.suppress(Exception):  # it has ended, or the cluster is gone
                self.ray.cancel(reference, force=True)

    def close(self) -> None:
        """Leave the cluster, or end the Ray that was started here."""
        self.ray.shutdown()

    def look(self) -> None:
        """See now and then which nodes there are; `BenchError` when the head has been away for too long."""
        if time.monotonic() - self.looked < _LOOK_S:
            return
        try:
            socket.create_connection(self.head, timeout=_LOOK_S).close()
        except OSError:
            if time.monotonic() - self.seen > _HEADLESS_S:
                where = ":".join(map(str, self.head))
                raise BenchError(
                    f"the head of the Ray cluster at {where} is gone; what was finished is kept, and the same command "
                    "goes on when it is back"
                ) from None
        else:
            self._count()
            self.seen = time.monotonic()
        self.looked = time.monotonic()

    def _count(self) -> None:
        nodes: list[dict[str, Any]] = self.ray.nodes()
        self.store_bytes = min(n["Resources"].get("object_store_memory", 0.0) for n in nodes if n["Alive"])
        self.slots = _slots(self.ray.cluster_resources(), self.engine.device)

    def put(self, files: Mapping[str, Any]) -> Any:
        """A reference to files in the object store, which keeps them as long as somebody holds it."""
        return self.ray.put(files)

    def compute(self, order: Order, inputs: Mapping[str, Any]) -> Answer:
        """Have an order done by some node, and again by another when that is lost."""
        name = order.stage.name
        for _ in range(_MOST_NODES):
            with self.guard:
                if self.closing:
                    raise _LostError("the run is ending")
                reference = self.task.remote(order, inputs)
                self.running.add(reference)
            try:
                answer: Answer = self.ray.get(reference)
                return answer
            except BaseException as error:
                if not self._is_node_lost(error):
                    raise self._meaning(error) from None
            finally:
                with self.guard:
                    self.running.discard(reference)
        raise _LostError(f"{_MOST_NODES} nodes were lost, one after the other, while they computed {name}")

    def _is_node_lost(self, error: BaseException) -> bool:
        lost = self.ray.exceptions
        return isinstance(error, lost.NodeDiedError | lost.LocalRayletDiedError | lost.ObjectLostError)

    def _meaning(self, error: BaseException) -> Exception:
        """What an error of Ray means to the run."""
        ray = self.ray.exceptions
        said = " ".join(str(error).split())[:400]
        if isinstance(error, ray.OutOfMemoryError):
            return _MemoryError(f"ended by Ray, for its node ran out of memory: {said}")
        if isinstance(error, ray.WorkerCrashedError | ray.TaskCancelledError):
            return _LostError(f"the process of its node died: {said}")
        if isinstance(error, ray.RayTaskError):
            lines = [line for line in str(error).splitlines() if line.strip()]
            said = " ".join(lines[-1].split())[:400]
            return BenchError(
                f"a node cannot run stages: {said}; bench and its plugins must be installed on every node"
            )
        return BenchError(f"the Ray cluster failed: {type(error).__name__}: {said}")


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes over SIGTERM when it connects; here it is to end the run well."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


class _Packed:
    """Artifacts in the object store, as inputs of stages; those that were used last, up to a share of it. What a
    running stage needs is kept by its task."""

    def __init__(self, cache: Cache, cluster: _Cluster) -> None:
        self.cache = cache
        self.cluster = cluster
        self.guard = threading.Lock()
        self.kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()

    def reference(self, key: str) -> Any:
        """A reference to the files of an artifact; `DamagedError` when it is damaged."""
        with self.guard:
            if key not in self.kept:
                files = self.cache.pack(key)
                self.kept[key] = self.cluster.put(files), sum(part.nbytes for part in files.values())
            self.kept.move_to_end(key)
            found = self.kept[key][0]
            while len(self.kept) > 1 and sum(size for _, size in self.kept.values()) > self._most():
                self.kept.popitem(last=False)
            return found

    def _most(self) -> float:
        return _STORE_SHARE * self.cluster.store_bytes
