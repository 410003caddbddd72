"""What happens on a node of a cluster: stages that the driver sends are computed in one killable process, kept warm.

Nothing here knows the driver's side (`bench.engine.ray_driver`). The process of the node that takes the orders leads a
local worker (`bench.engine.local`), so that limits, logs, crashes and lost memory are what they are on one machine.
Where the node sees the cache folder of the driver, the stage is computed there; elsewhere in a folder of this process,
from inputs that the driver sent.
"""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.content_keys import digest_of
from bench.core.domain import Component, Stage
from bench.core.errors import BenchError
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

Files = Mapping[str, "NDArray[np.uint8]"]  # of an artifact, as `bench.store.artifacts.Cache.pack` gives them

_TICK_S = 0.25  # between two looks at the limits of the running stage
_SCRATCH_BYTES = 4 << 30  # of artifacts that a process keeps for its next stages
_HELD: list[int] = []  # ends of pipes that are open as long as this process lives


@dataclass(frozen=True, kw_only=True)
class Order:
    """One attempt that is asked of a node. ``token`` is a file in the driver's cache ``root`` that holds ``secret``.

    ``sent``: the inputs come with the order and the artifact goes back with the answer. ``digest`` and ``versions`` are
    those of the driver's bench and packages, ``environment`` its variables that are about bench.
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
class Answer:
    """What became of an order: an attempt, with the ``files`` of the artifact when the inputs were sent; or an
    ``error`` that ends the run; or neither, when the node does not share the driver's folder."""

    attempt: Attempt | None = None
    files: Files | None = None
    error: BenchError | None = None


def work(order: Order, inputs: Mapping[str, Any], fetch: Callable[[Any], Files]) -> Answer:
    """Compute a stage on this node. ``fetch`` gets the files of one of the ``inputs``."""
    for name, value in order.environment.items():
        os.environ.setdefault(name, value)
    try:
        _check_versions(order)
        for part in order.stage.components.values():
            _check(part)
        return _compute(order, inputs, fetch)
    except BenchError as error:
        return Answer(error=type(error)(f"node {platform.node()}: {error}"))


def _compute(order: Order, inputs: Mapping[str, Any], fetch: Callable[[Any], Files]) -> Answer:
    stage = order.stage
    if not order.sent:
        return Answer(attempt=_attempt(order, order.root)) if _shares(order) else Answer()
    scratch = Cache(_place() / "cache")
    scratch.root.mkdir(exist_ok=True)
    try:
        for key in stage.inputs.values():
            if scratch.manifest(key) is None:
                scratch.unpack(key, fetch(inputs[key]))
    except DamagedError as error:
        return Answer(attempt=Attempt(result=failure(stage, "failed", f"damaged on its way: {error}"), again="lost"))
    attempt = _attempt(order, scratch.root)
    files = scratch.pack(stage.key) if attempt.result.status == "ok" else None
    _shrink(scratch, _SCRATCH_BYTES)
    return Answer(attempt=attempt, files=files)


def _shares(order: Order) -> bool:
    """Whether this node sees the very file that the driver wrote."""
    try:
        return order.token.read_text() == order.secret
    except (OSError, ValueError):
        return False


def _attempt(order: Order, root: Path) -> Attempt:
    workers = _workers(root, order.threads, os.environ.get("CUDA_VISIBLE_DEVICES"))
    future = workers.submit(order.stage, order.batch)
    while not wait([future], timeout=_TICK_S).done:
        workers.watch()
    return future.result()


@functools.cache
def _workers(root: Path, threads: int, gpu: str | None) -> LocalWorkers:
    """The local worker of this process; it dies with it. ``gpu``: what it sees, which it keeps."""
    _place()
    return LocalWorkers(Cache(root), 1, threads).__enter__()


@functools.cache
def _place() -> Path:
    """The folder of this process, in which everything temporary of it and its worker lies."""
    place = own_folder("bench-node-")
    os.environ["TMPDIR"] = tempfile.tempdir = str(place)
    return place


def own_folder(prefix: str, where: str | None = None) -> Path:
    """A temporary folder that is gone soon after this process is, however it ends: a shell waits for that."""
    place = tempfile.mkdtemp(prefix=prefix, dir=where)
    reading, writing = os.pipe()
    _HELD.append(writing)  # nothing is ever written; the kernel closes it
    script = 'exec 3<&0; (read -r _ <&3; sleep 2; rm -rf -- "$1") >/dev/null 2>&1 &'
    subprocess.run(["sh", "-c", script, "sh", place], stdin=reading, start_new_session=True, check=True)
    os.close(reading)
    return Path(place)


def _shrink(cache: Cache, most: int) -> None:
    """Remove what was not used for longest, until no more than ``most`` bytes are left."""
    found = sorted(cache.root.glob("??/*"), key=lambda folder: folder.stat().st_mtime)
    sizes = [sum(file.stat().st_size for file in folder.iterdir()) for folder in found]
    total = sum(sizes)
    for folder, size in zip(found, sizes, strict=True):
        if total <= most:
            return
        cache.discard(folder.name)
        total -= size


# ---- the same code, plugins and weights ------------------------------------------------------------------------------


def _check_versions(order: Order) -> None:
    """`BenchError` when bench or its numeric packages are not those of the driver."""
    if runtime_digest() == order.digest:
        return
    here = package_versions()
    differences = [f"{name} {here[name]}, not {v}" for name, v in order.versions.items() if here.get(name) != v]
    found = "; ".join(differences) or "another version of bench's own files"
    raise BenchError(f"what is installed differs from the machine that leads the run: {found}; install the same")


def _check(parts: Iterable[Component]) -> None:
    for part in parts:
        _check_one(digest_of([part, part.label]), part)


_checked: set[str] = set()


def _check_one(digest: str, part: Component) -> None:
    """`BenchError` when a plugin or its data or weights are not what they are at the driver; asked once of each."""
    if digest in _checked:
        return
    where = f"{part.kind} {part.label}"
    here = Resolver(discover(), data="real").component(_reference(part, where))
    different = [
        f"{what} {theirs}, not {ours}"
        for what, ours, theirs in (
            ("the version of its plugin is", part.origin.version, here.origin.version),
            ("the code of its plugin is", part.origin.digest[:12], here.origin.digest[:12]),
            ("its data or weights are", str(part.weights)[:12], str(here.weights)[:12]),
        )
        if ours != theirs
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
