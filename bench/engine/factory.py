"""Chooses the device and makes the engine that a command asked for."""

from __future__ import annotations

import os

from bench.core.errors import BenchError
from bench.engine.interface import Engine
from bench.engine.local import LocalEngine, visible_gpus


def resolve_device(asked: str) -> str:
    """``auto`` -> ``cuda`` where the driver lists a GPU, else ``cpu``. Asked without importing torch."""
    if asked != "auto":
        return asked
    return "cuda" if visible_gpus() else "cpu"


def check_device(device: str) -> None:
    """`BenchError` when the device cannot be used by torch."""
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise BenchError("--device cuda: torch sees no usable GPU here; install a CUDA build of torch or use cpu")


def make_engine(name: str, device: str, workers: int | None = None, address: str | None = None) -> Engine:
    """The engine of that name, with as many workers as asked for; by default one per core, or one per GPU, of this
    machine or of the Ray cluster at ``address``. `BenchError` when it cannot be reached.

    A CPU worker has one compute thread whatever the number of workers: thread counts decide the last bits.
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
