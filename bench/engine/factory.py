"""Choice of the device and of the engine for a command."""

from __future__ import annotations

import os

from bench.core.errors import BenchError
from bench.engine.interface import Engine
from bench.engine.local import LocalEngine, visible_gpus


def resolve_device(device: str) -> str:
    """Return the device type for ``--device``: ``auto`` becomes ``cuda`` if the driver lists a GPU, else ``cpu``.

    torch is not imported.
    """
    if device != "auto":
        return device
    return "cuda" if visible_gpus() else "cpu"


def check_device(device: str) -> None:
    """Raise `BenchError` if torch cannot use the device."""
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise BenchError("--device cuda: torch sees no usable GPU here; install a CUDA build of torch or use cpu")


def make_engine(name: str, device: str, workers: int | None = None, address: str | None = None) -> Engine:
    """Return the engine ``local`` or ``ray`` with this number of workers.

    By default it has one worker per core, or per GPU, of this machine or of the Ray cluster at ``address``. Raises
    `BenchError` if that cluster cannot be used. A worker on a CPU always has one compute thread, because the number of
    threads decides the last bits of results.
    """
    if address is not None and name != "ray":
        raise BenchError("--address is that of a Ray cluster; it needs --engine ray")
    gpus = visible_gpus() if device == "cuda" else ()
    threads = max(1, min(4, (os.cpu_count() or 1) // len(gpus))) if gpus else 1
    if name == "ray":
        from bench.engine import ray_driver

        return ray_driver.connect(device, workers, threads, gpus, address)
    default = len(gpus) if device == "cuda" else os.cpu_count() or 1
    return LocalEngine(workers=workers or max(1, default), threads=threads, gpus=gpus)
