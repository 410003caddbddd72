"""Training in one process, or in several that torch's launcher has started:

    torchrun --nproc-per-node 4 -m bench train suites/casia.toml

Every process computes an equal share of each batch, and gradients are averaged, so all processes have the same weights.
Only the first process logs, validates and writes.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from bench import BenchError, SuiteError

_PATIENCE = timedelta(hours=4)  # While the first process draws faces and validates, the others wait so long.


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among ``world`` processes: its number ``rank`` over all machines and ``local`` on this machine."""

    rank: int = 0
    world: int = 1
    local: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the process that logs, validates and writes."""
        return self.rank == 0

    def share(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return this process's part of the rows of a batch; the length of ``rows`` must be a multiple of ``world``."""
        size = len(rows) // self.world
        return rows[self.rank * size : (self.rank + 1) * size]

    def wait(self) -> None:
        """Wait until every process has called this method. Raises BenchError if another process has stopped."""
        if self.world > 1:
            with self.together():
                dist.barrier(device_ids=[self.local] if self.device.type == "cuda" else None)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Context manager for collective operations.

        Raises BenchError if another process has stopped; that process reports the reason.
        """
        try:
            yield
        except RuntimeError as error:
            if self.world > 1 and (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise BenchError("another process of this training has stopped; its message says why") from None
            raise


def join() -> Ranks:
    """Connect this process with the others that torchrun has started, and return its ranks; without torchrun, those of
    a single process. Raises SuiteError if there are more processes than GPUs."""
    cuda = torch.cuda.is_available()
    if not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        return Ranks(device=torch.device("cuda" if cuda else "cpu"))
    rank, world, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if cuda and local >= torch.cuda.device_count():
        raise SuiteError(
            f"expected at most one process for each of the {torch.cuda.device_count()} GPUs of this machine, found "
            f"process {local + 1}; start torchrun with a smaller --nproc-per-node"
        )
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if not dist.is_initialized():
        if cuda:
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE, device_id=device if cuda else None)
        atexit.register(_leave)
    return Ranks(rank=rank, world=world, local=local, device=device)


def _leave() -> None:
    """Disconnect at exit. Networks that still use the connection are deleted first (they are in reference cycles): a
    connection that outlives the interpreter aborts the process."""
    gc.collect()
    dist.destroy_process_group()


def require_one_process(who: str) -> None:
    """Raise SuiteError if torchrun has started several processes for a training that runs in one."""
    if dist.is_torchelastic_launched() and os.environ["WORLD_SIZE"] != "1":
        raise SuiteError(f"{who} is trained by one process; start it without torchrun")
