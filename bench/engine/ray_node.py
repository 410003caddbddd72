"""The node's side of the Ray engine: it computes the stages that the driver (`bench.engine.ray_driver`) sends.

The Ray process on the node starts a local worker process (`bench.engine.local`) and keeps it for later stages, so that
limits, logs, crashes and lack of memory are handled as on a single machine. If the node can see the cache folder of the
driver, the stage is computed in it. Otherwise it is computed in a temporary folder, from inputs that the driver sends.
"""

from __future__ import annotations

import functools
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.content_keys import digest_of
from bench.core.domain import Component, Stage
from bench.core.errors import BenchError
from bench.core.files import folders_in, latest_first, size_below
from bench.core.processes import name_user, own_folder
from bench.core.provenance import package_versions, runtime_digest
from bench.engine.interface import Attempt
from bench.engine.local import LocalWorkers
from bench.engine.scheduler import failure
from bench.registry.discovery import discover
from bench.store.artifacts import Cache, DamagedError
from bench.suite.expand import FullReference
from bench.suite.resolve import Resolver

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Files = Mapping[str, "NDArray[np.uint8]"]  # the files of an artifact, as returned by `bench.store.artifacts.Cache.pack`

_TICK_S = 0.25  # between two checks of the limits of the running stage
_SCRATCH_BYTES = 4 << 30  # of artifacts that a process may keep as inputs of later stages


@dataclass(frozen=True, kw_only=True)
class Order:
    """The driver's request to a node: one attempt at a stage.

    - ``stage``, ``batch``, ``threads``: the stage, its batch size, and the number of compute threads
    - ``root``: the cache folder of the driver
    - ``token``, ``secret``: a file in that folder and its content, by which the node finds out whether it sees the
      folder
    - ``sent``: True if the inputs come with the order and the artifact must come back with the reply
    - ``digest``, ``versions``: the digest of the driver's code, and the versions of its packages
    - ``environment``: the driver's environment variables that begin with ``BENCH_``
    """

    stage: Stage
    batch: int
    threads: int
    root: Path
    token: Path
    secret: str
    sent: bool
    digest: str
    versions: Mapping[str, str]
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class NodeReply:
    """The node's reply to an order.

    - ``attempt``: how the attempt ended; None if none was made
    - ``files``: the files of the artifact, if the inputs had been sent and the attempt succeeded; otherwise None
    - ``error``: an error that ends the run; otherwise None

    If attempt and error are None, the node does not see the driver's cache folder.
    """

    attempt: Attempt | None = None
    files: Files | None = None
    error: BenchError | None = None


def work(order: Order, inputs: Mapping[str, Any], fetch: Callable[[Any], Files]) -> NodeReply:
    """Compute the stage of an order on this node.

    ``inputs`` are references to the input artifacts by key, and ``fetch`` returns the files of one. They are used only
    if the inputs are ``sent``. Errors are part of the reply.
    """
    name_user()
    for name, value in order.environment.items():
        os.environ.setdefault(name, value)
    try:
        _check_versions(order)
        for part in order.stage.components.values():
            _check_components(part)
        return _compute(order, inputs, fetch)
    except BenchError as error:
        return NodeReply(error=type(error)(f"node {platform.node()}: {error}"))


def _compute(order: Order, inputs: Mapping[str, Any], fetch: Callable[[Any], Files]) -> NodeReply:
    """Compute the stage in the driver's cache folder, or from inputs that were sent in a folder of this process."""
    stage = order.stage
    if not order.sent:
        return NodeReply(attempt=_attempt(order, order.root)) if _sees_folder(order) else NodeReply()
    scratch = Cache(_process_folder() / "cache")
    scratch.root.mkdir(parents=True, exist_ok=True)  # Somebody may have emptied the temporary folder.
    try:
        for key in stage.inputs.values():
            if scratch.manifest(key) is None:
                scratch.unpack(key, fetch(inputs[key]))
    except DamagedError as error:
        return NodeReply(attempt=Attempt(result=failure(stage, "failed", f"damaged on its way: {error}"), again="lost"))
    attempt = _attempt(order, scratch.root)
    files = scratch.pack(stage.key) if attempt.result.status == "ok" else None
    _shrink(scratch, _SCRATCH_BYTES)
    return NodeReply(attempt=attempt, files=files)


def _sees_folder(order: Order) -> bool:
    """Return True if this node sees the driver's cache folder, that is the token file with its secret."""
    try:
        return order.token.read_text(encoding="utf-8") == order.secret
    except (OSError, ValueError):
        return False


def _attempt(order: Order, root: Path) -> Attempt:
    """Make an attempt in the local worker of this process, with the cache at ``root``."""
    workers = _workers(root, order.threads, os.environ.get("CUDA_VISIBLE_DEVICES"))
    future = workers.submit(order.stage, order.batch)
    while not wait([future], timeout=_TICK_S).done:
        workers.watch()
    return future.result()


@functools.cache
def _workers(root: Path, threads: int, gpu: str | None) -> LocalWorkers:
    """Return the local worker of this process, which ends with it. It keeps the ``gpu`` that it was started with."""
    _process_folder()
    return LocalWorkers(Cache(root), 1, threads).__enter__()


@functools.cache
def _process_folder() -> Path:
    """Return the folder for all temporary files of this process and its worker."""
    folder = own_folder("bench-node-")
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder


def _shrink(cache: Cache, most: int) -> None:
    """Remove the least recently used artifacts until at most ``most`` bytes are left."""
    shelves = [shelf for shelf in folders_in(cache.root) if len(shelf.name) == 2]
    folders = latest_first(folder for shelf in shelves for folder in folders_in(shelf))
    sizes = [size_below(folder) for folder in folders]
    total = sum(sizes)
    for folder, size in zip(reversed(folders), reversed(sizes), strict=True):
        if total <= most:
            return
        cache.discard(folder.name)
        total -= size


# ---- checks that code, plugins and weights are those of the driver ---------------------------------------------------


def _check_versions(order: Order) -> None:
    """Raise `BenchError` unless bench and the numeric packages on this node are those of the driver."""
    if runtime_digest() == order.digest:
        return
    installed = package_versions()
    different = [f"{name} {installed[name]}, not {v}" for name, v in order.versions.items() if installed.get(name) != v]
    found = "; ".join(different) or "another version of bench's own files"
    raise BenchError(f"what is installed differs from the machine that leads the run: {found}; install the same")


def _check_components(parts: Iterable[Component]) -> None:
    """Raise `BenchError` if one of the components differs from the driver's."""
    for part in parts:
        _check_component(digest_of([part, part.label]), part)


_checked: set[str] = set()


def _check_component(digest: str, part: Component) -> None:
    """Raise `BenchError` if plugin, data or weights differ from the driver's. Each is checked once per process."""
    if digest in _checked:
        return
    where = f"{part.kind} {part.label}"
    local = Resolver(discover(), data="real").component(_reference(part, where))
    different = [
        f"{what} {on_node}, not {at_driver}"
        for what, at_driver, on_node in (
            ("the version of its plugin is", part.origin.version, local.origin.version),
            ("the code of its plugin is", part.origin.digest[:12], local.origin.digest[:12]),
            ("its data or weights are", str(part.weights)[:12], str(local.weights)[:12]),
        )
        if on_node != at_driver
    ]
    if different:
        found = "; ".join(different)
        raise BenchError(f"{where}: {found} as on the machine that leads the run; install the same on every node")
    _checked.add(digest)


def _reference(part: Component, where: str) -> FullReference:
    """Return the reference that a suite makes to this component."""
    return FullReference(
        where=where,
        kind=part.kind,
        name=part.name,
        passed=part.passed,
        label=part.label,
        labelled=True,
        via=_reference(part.via, f"{where}.via") if part.via else None,
    )
