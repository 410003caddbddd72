"""The driver's side of the Ray engine: it runs stages as tasks on a Ray cluster (needs the extra ``[ray]``).

Without an address of a cluster it starts Ray on this machine. Each task computes its stage in a process on a node that
can be killed (`bench.engine.ray_node`). A node that sees the driver's cache folder reads and writes artifacts there;
for other nodes they go through Ray's object store. In both cases only the driver's cache counts, so the driver can be
killed and started again.

Lost work is repeated. If a worker process is lost but its node lives, that may be the fault of the stage, so it counts
as a lost worker, as on a single machine. If a whole node is lost (it was preempted, its time was up, its power failed),
the stage is repeated with the same batch size, and this does not count as an attempt. If `_MOST_NODES` nodes are lost
in a row during the same stage, the stage is assumed to be the cause, and this counts as one lost worker.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import math
import os
import secrets
import signal
import socket
import subprocess
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import Timeout

from bench.core.domain import Stage
from bench.core.errors import BenchError, StorageError
from bench.core.files import remove
from bench.core.packages import DISTRIBUTION, how_to_install
from bench.core.processes import SAFE_PATH, own_folder, python
from bench.core.processes import run as run_program
from bench.core.provenance import package_versions, runtime_digest
from bench.engine.clock import RunningClock
from bench.engine.interface import Attempt
from bench.engine.interrupts import SIGNALS
from bench.engine.ray_node import NodeReply, Order, work
from bench.engine.scheduler import cached_result, failure
from bench.store.artifacts import Cache, DamagedError

_CONNECT_S = 30.0  # for a cluster to answer
_ANSWER_S = 5.0  # for the machine at its address to answer
_CHECK_S = 2.0  # between two checks of the nodes of the cluster
_HEADLESS_S = 30.0  # that the head of a cluster may be unreachable; Ray would end this process after 60 s
_MOST_NODES = 5  # nodes that may be lost during one attempt at a stage
_STORE_SHARE = 0.3  # of the object store of a node, for inputs that later stages may need
_OWN_STORE = 100_000_000  # bytes of the object store if Ray runs here, where artifacts go through the cache folder
_END_S = 10.0  # for cancelled tasks to end
_THREADS = 1024  # at most so many stages are waited for at once
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0"}

# This script is first run in a process of its own: if Ray cannot connect, it may take minutes or end the process.
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
    """Run stages on a Ray cluster; made by `connect`.

    - ``workers``: the number of stages run at once
    - ``device``: the device type of the stages; on ``cuda`` each stage has a GPU, or a share of the ``gpus``
    - ``threads``: the number of compute threads of each stage
    - ``gpus``: the GPUs of this machine, if Ray runs here
    - ``address``: the address of the cluster; None to start Ray on this machine
    - ``limited``: True if ``workers`` is also the limit when nodes join the cluster
    """

    workers: int
    device: str = "cpu"
    threads: int = 1
    gpus: tuple[str, ...] = ()
    address: str | None = None
    limited: bool = True
    name = "ray"

    def open(self, cache: Cache, logs: Path | None = None) -> RayWorkers:
        """Return the workers of one run, which connect to the cluster. They log on their nodes."""
        return RayWorkers(self, cache)

    def resources(self) -> dict[str, float]:
        """Return the resources that Ray reserves for a stage."""
        if self.device != "cuda":
            return {"num_cpus": 1}
        share = 1.0 if self.address else min(1.0, len(self.gpus) / self.workers)
        return {"num_cpus": 1, "num_gpus": math.floor(share * 1e4) / 1e4}


def connect(
    device: str, workers: int | None, threads: int, gpus: tuple[str, ...] = (), address: str | None = None
) -> RayEngine:
    """Return the engine for the Ray cluster at ``address``, or for Ray on this machine if it is None.

    Raises `BenchError` if Ray is not installed, or if the cluster cannot be used.
    """
    if importlib.util.find_spec("ray") is None:
        advice = how_to_install("ray") or f"pip install '{DISTRIBUTION}[ray]'"
        raise BenchError(f"--engine ray: Ray is not installed; install it with: {advice}")
    if address is None:
        default = len(gpus) if device == "cuda" else os.cpu_count() or 1
        return RayEngine(workers or max(1, default), device, threads, gpus)
    slots = _slots(_probe(address), device)
    if not slots and workers is None:
        unit = "GPU" if device == "cuda" else "CPU"
        raise BenchError(
            f"--address {address}: the cluster has no {unit} at the moment; add nodes, or set with --workers N how "
            "many stages shall wait for them"
        )
    return RayEngine(workers or slots, device, threads, gpus, address, limited=workers is not None)


def _slots(resources: Mapping[str, float], device: str) -> int:
    """Return how many stages a cluster with these resources can compute at once."""
    cpus = int(resources.get("CPU", 0))
    return min(cpus, int(resources.get("GPU", 0))) if device == "cuda" else cpus


def _probe(address: str) -> dict[str, float]:
    """Return the resources of the cluster at an address. Raise `BenchError` if it cannot be used."""
    if "://" in address:
        raise BenchError(
            f"--address {address}: expected host:port or auto; run bench on a machine of the cluster, or make this one "
            "part of it: ray start --address HOST:PORT --num-cpus 0"
        )
    try:
        host, _, port = address.rpartition(":")
        if host and port.isdecimal():  # This notices a missing machine sooner than Ray does.
            socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
        probe = run_program(python("-c", _PROBE, address), _CONNECT_S, env={**os.environ, **_ENVIRONMENT})
        reply = json.loads(probe.stdout.splitlines()[-1])
        problem = reply.get("error", "")
    except subprocess.TimeoutExpired:
        problem = f"no answer within {_CONNECT_S:g} s"
    except (OSError, OverflowError) as error:
        problem = str(error)
    except (LookupError, ValueError):
        problem = "Ray ended before it answered: " + " ".join(probe.stderr.split()[-40:])
    if not problem:
        resources: dict[str, float] = reply["resources"]
        return resources
    problem = " ".join(problem.split())[:400]
    raise BenchError(
        f"--address {address}: cannot connect to this Ray cluster ({problem}); expected the address of a running one "
        "(auto, or host:port as its head printed it), with the Ray and Python versions of this machine and the same "
        "access token (RAY_AUTH_TOKEN)"
    )


class RayWorkers:
    """The workers of one run on a Ray cluster (see `bench.engine.interface.Workers`).

    For every running stage, a thread waits for its task.
    """

    def __init__(self, engine: RayEngine, cache: Cache) -> None:
        self.slots = engine.workers
        self.engine = engine
        self.cache = Cache(cache.root.absolute())
        self._cluster = _Cluster(engine)
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="bench-ray")
        self._attempts: set[Future[Attempt]] = set()
        self._input_store = _InputStore(self.cache, self._cluster)
        self._token = self.cache.root / "tmp" / f"token-{uuid.uuid4().hex[:8]}" / "token"
        self._held = contextlib.ExitStack()  # the lock that protects the token from `Cache.sweep`
        self._secret = secrets.token_hex(16)

    def __enter__(self) -> Self:
        try:
            self._held.enter_context(self.cache.lock(self._token.parent.name))
            self._token.parent.mkdir(parents=True)
            self._token.write_text(self._secret, encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{self._token}: cannot be written: {error.strerror}") from None
        self._cluster.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._cluster.cancel()
            wait(self._attempts, timeout=_END_S)  # No thread may wait for a task when the connection closes.
            self._cluster.close()
            self._threads.shutdown(wait=False, cancel_futures=True)
        finally:
            with contextlib.suppress(OSError):  # `Cache.sweep` removes what is left.
                remove(self._token.parent)
            self._held.close()

    def submit(self, stage: Stage, batch: int) -> Future[Attempt]:
        """Start an attempt as a Ray task, which waits in Ray until resources are free."""
        self._attempts = {future for future in self._attempts if not future.done()}
        future = self._threads.submit(self._attempt, stage, batch)
        self._attempts.add(future)
        return future

    def watch(self) -> None:
        """Check that the cluster is reachable and how large it is. The nodes enforce the limits of stages."""
        self._cluster.check()
        if not self.engine.limited:
            self.slots = max(1, self._cluster.slots)

    def _attempt(self, stage: Stage, batch: int) -> Attempt:
        """Make an attempt through the cache folder or, if the node does not see it, through the object store."""
        try:
            reply = self._request(stage, batch)
            if reply.attempt is not None:
                return reply.attempt
            with self.cache.lock(stage.key).acquire(timeout=0):
                return self._attempt_without_folder(stage, batch)
        except Timeout:
            return Attempt(result=failure(stage, "failed", "another run computes it"), again="busy")
        except _LostError as error:
            return Attempt(result=failure(stage, "failed", str(error)), again="lost")
        except _MemoryError as error:
            return Attempt(result=failure(stage, "failed", str(error)), again="memory")
        except OSError as error:
            raise StorageError(f"{self.cache.root}: {error.strerror or error}") from None

    def _attempt_without_folder(self, stage: Stage, batch: int) -> Attempt:
        """Make an attempt on a node that does not see the cache folder, while the lock of the stage is held here.

        The inputs are sent to the node, and the node sends the artifact back.
        """
        with contextlib.suppress(DamagedError):
            return Attempt(result=cached_result(stage.key, self.cache.verify(stage.key)))
        inputs = {}
        for key in stage.inputs.values():
            try:
                inputs[key] = self._input_store.reference(key)
            except DamagedError as error:
                self.cache.discard(key)
                return Attempt(result=failure(stage, "failed", f"a damaged input: {error}"), again="damaged")
        reply = self._request(stage, batch, inputs)
        assert reply.attempt is not None
        if reply.files is not None:
            try:
                self.cache.unpack(stage.key, reply.files)
            except DamagedError as error:
                raise _LostError(f"its artifact was damaged on its way: {error}") from None
        return reply.attempt

    def _request(self, stage: Stage, batch: int, inputs: Mapping[str, Any] | None = None) -> NodeReply:
        """Send an order to a node and return its reply; raise the error that the reply contains.

        ``inputs`` are references to the input artifacts by key, for a node that does not see the cache folder.
        """
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
        reply = self._cluster.compute(order, inputs or {})
        if reply.error is not None:
            raise reply.error
        return reply


class _LostError(Exception):
    """A task was lost, and its stage may be the cause."""


class _MemoryError(Exception):
    """Ray ended a task because its node ran out of memory."""


def _on_node(order: Order, inputs: Mapping[str, Any]) -> NodeReply:
    """Compute an order on a node: the function that Ray runs. References in ``inputs`` are fetched only if needed."""
    import ray

    return work(order, inputs, ray.get)


class _Cluster:
    """The connection to a Ray cluster. Ray is imported only when the connection is opened."""

    def __init__(self, engine: RayEngine) -> None:
        self.engine = engine
        self.closing = False
        self.running: set[Any] = set()
        self.guard = threading.Lock()
        self.slots = engine.workers
        self.store_bytes = 0.0
        self.clock = RunningClock()
        self.checked = self.reached = self.clock()

    def open(self) -> None:
        """Connect to the cluster, or start Ray on this machine."""
        name, value = SAFE_PATH
        os.environ.update({**_ENVIRONMENT, name: os.environ.get(name) or value})  # for the processes that Ray starts
        if self.engine.address is None:  # Only this process may use it, and no token is written to the home folder.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        import ray
        from ray._private import worker
        from ray.job_config import JobConfig

        self.ray: Any = ray
        self.job = JobConfig(_client_job=True)  # Otherwise Ray lets its processes import from the current folder.
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        worker._worker_logs_enabled = False  # Logs of the nodes must not appear in the terminal.
        with _own_signals():
            if self.engine.address is None:
                self._start()
            else:
                ray.init(address=self.engine.address, log_to_driver=False, configure_logging=False, job_config=self.job)
        options = {**self.engine.resources(), "max_retries": 0}
        self.task = ray.remote(_on_node).options(**options)
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self.head = (host, int(port))
        self._count()

    def _start(self) -> None:
        """Start Ray on this machine. Raise `BenchError` if that fails."""
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
                job_config=self.job,
                # The paths of its sockets must be short, so it uses /tmp if possible.
                _temp_dir=str(own_folder("bench-ray-", "/tmp" if os.access("/tmp", os.W_OK) else None)),
            )
        except Exception as error:
            problem = " ".join(str(error).split())[:400]
            raise BenchError(f"--engine ray: Ray cannot be started here: {type(error).__name__}: {problem}") from None

    def cancel(self) -> None:
        """Cancel all running tasks; new ones are refused."""
        self.closing = True
        with self.guard:
            references = list(self.running)
        for reference in references:
            with contextlib.suppress(Exception):  # The task has ended, or the cluster is gone.
                self.ray.cancel(reference, force=True)

    def close(self) -> None:
        """Disconnect from the cluster, or stop Ray if it was started here."""
        self.ray.shutdown()

    def check(self) -> None:
        """Update the number of slots every `_CHECK_S`. Raise `BenchError` if the head is unreachable for too long."""
        now = self.clock()
        if now - self.checked < _CHECK_S:
            return
        try:
            socket.create_connection(self.head, timeout=_CHECK_S).close()
        except OSError:
            if now - self.reached > _HEADLESS_S:
                where = ":".join(map(str, self.head))
                raise BenchError(
                    f"the head of the Ray cluster at {where} is gone; what was finished is kept, and the same command "
                    "continues when it is back"
                ) from None
        else:
            self._count()
            self.reached = now
        self.checked = now

    def _count(self) -> None:
        """Update the size of the object stores and the number of slots from the nodes that are alive."""
        nodes: list[dict[str, Any]] = self.ray.nodes()
        self.store_bytes = min(n["Resources"].get("object_store_memory", 0.0) for n in nodes if n["Alive"])
        self.slots = _slots(self.ray.cluster_resources(), self.engine.device)

    def put(self, files: Mapping[str, Any]) -> Any:
        """Put files into the object store and return a reference, which keeps them there as long as it exists."""
        return self.ray.put(files)

    def compute(self, order: Order, inputs: Mapping[str, Any]) -> NodeReply:
        """Let a node compute an order, and another node if that one is lost. Return the reply."""
        name = order.stage.name
        for _ in range(_MOST_NODES):
            with self.guard:
                if self.closing:
                    raise _LostError("the run is ending")
                reference = self.task.remote(order, inputs)
                self.running.add(reference)
            try:
                reply: NodeReply = self.ray.get(reference)
                return reply
            except BaseException as error:
                if not self._is_node_lost(error):
                    raise self._translated(error) from None
            finally:
                with self.guard:
                    self.running.discard(reference)
        raise _LostError(f"{_MOST_NODES} nodes were lost, one after the other, while they computed {name}")

    def _is_node_lost(self, error: BaseException) -> bool:
        """Return True if an error of Ray means that the node of a task, or its inputs, were lost."""
        ray = self.ray.exceptions
        return isinstance(error, ray.NodeDiedError | ray.LocalRayletDiedError | ray.ObjectLostError)

    def _translated(self, error: BaseException) -> Exception:
        """Translate an error of Ray into a lost worker, lack of memory, or an error that ends the run."""
        ray = self.ray.exceptions
        message = " ".join(str(error).split())[:400]
        if isinstance(error, ray.OutOfMemoryError):
            return _MemoryError(f"ended by Ray, for its node ran out of memory: {message}")
        if isinstance(error, ray.WorkerCrashedError | ray.TaskCancelledError):
            return _LostError(f"the process of its node died: {message}")
        if isinstance(error, ray.RayTaskError):
            lines = [line for line in str(error).splitlines() if line.strip()]
            message = " ".join(lines[-1].split())[:400]
            return BenchError(
                f"a node cannot run stages: {message}; bench and its plugins must be installed on every node"
            )
        return BenchError(f"the Ray cluster failed: {type(error).__name__}: {message}")


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Context manager that restores the signal handlers of this process, because Ray replaces that of SIGTERM."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


class _InputStore:
    """The input artifacts in Ray's object store: the most recently used ones, up to a share of the store.

    The inputs of a running stage stay in the store in any case, because its task holds references to them.
    """

    def __init__(self, cache: Cache, cluster: _Cluster) -> None:
        self.cache = cache
        self.cluster = cluster
        self.guard = threading.Lock()
        self.kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()

    def reference(self, key: str) -> Any:
        """Return a reference to the files of an artifact in the object store. Raise `DamagedError` if it is damaged."""
        with self.guard:
            if key not in self.kept:
                files = self.cache.pack(key)
                self.kept[key] = self.cluster.put(files), sum(part.nbytes for part in files.values())
            self.kept.move_to_end(key)
            reference = self.kept[key][0]
            while len(self.kept) > 1 and sum(size for _, size in self.kept.values()) > self._limit():
                self.kept.popitem(last=False)
            return reference

    def _limit(self) -> float:
        """Return how many bytes of artifacts are kept."""
        return _STORE_SHARE * self.cluster.store_bytes
