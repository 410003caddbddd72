"""Watches a call of a plugin: what it returns or raises, and what it does to everything else."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from bench.core.domain import Component
from bench.core.errors import BenchError
from bench.kit.trials import Trial
from bench.stages.undeclared import observed

_OWN_DEVICES = ("cpu", "meta")  # A plugin may make networks without weights, on the device meta.


class OtherDeviceError(Exception):
    """A plugin requests a device that its context does not name."""


class _Devices(TorchFunctionMode):
    """Stops each function of torch that is asked for another device than the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name == "cuda":
            raise OtherDeviceError(".cuda()")
        device = (kwargs or {}).get("device")
        if name == "to" and device is None:
            device = next((a for a in args[1:] if isinstance(a, str | torch.device)), None)
        if device is not None and str(device).partition(":")[0] not in _OWN_DEVICES and not isinstance(device, int):
            raise OtherDeviceError(f"{name}(..., device={str(device)!r})")
        return func(*args, **(kwargs or {}))


@dataclass
class Watched:
    """What one call has done: its ``value`` or its ``error``, ``seconds``, and what it has changed or used, in words.
    ``ended`` are the states of the global random streams afterwards, which were then put back."""

    value: Any = None
    error: BaseException | None = None
    seconds: float = 0.0
    inputs: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)
    streams: list[str] = field(default_factory=list)
    ended: Mapping[str, Any] = field(default_factory=dict)
    undeclared: list[str] = field(default_factory=list)


def global_streams() -> dict[str, Any]:
    """Return the states of the global random streams by the name of the module."""
    return {"torch": torch.get_rng_state(), "numpy.random": np.random.get_state(), "random": random.getstate()}


def restore_streams(states: Mapping[str, Any]) -> None:
    """Put the global random streams back into these states."""
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy.random"])
    random.setstate(states["random"])


def moved(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of the streams that have two different states."""
    numbers = zip(now["numpy.random"], before["numpy.random"], strict=True)
    same = {
        "torch": torch.equal(now["torch"], before["torch"]),
        "numpy.random": all(np.array_equal(a, b) for a, b in numbers),
        "random": now["random"] == before["random"],
    }
    return [name for name, is_same in same.items() if not is_same]


class _Kept:
    """Copies of everything in a network that a plugin must leave alone."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.tensors = {name: value.clone() for name, value in self._tensors().items()}
        self.modes = [module.training for module in network.modules()]
        self.frozen = [parameter.requires_grad for parameter in network.parameters()]

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}

    def changed(self) -> str | None:
        """Return in words what has changed; None if nothing has."""
        now = self._tensors()
        if other := [n for n, kept in self.tensors.items() if n not in now or not _equal(now[n], kept)]:
            return f"{len(other)} of its tensors changed, such as {other[0]}"
        if self.modes != [module.training for module in self.network.modules()]:
            return "it is in another mode (train or eval)"
        if self.frozen != [parameter.requires_grad for parameter in self.network.parameters()]:
            return "its parameters were frozen or thawed"
        if any(parameter.grad is not None for parameter in self.network.parameters()):
            return "gradients were left in its parameters"
        return None


def _equal(now: torch.Tensor, kept: torch.Tensor) -> bool:
    return now.shape == kept.shape and torch.equal(now, kept)


def watched(trial: Trial, component: Component, call: Callable[[], Any], cache: Path) -> Watched:
    """Call a function that calls a plugin, and return what it has done. Global random streams are put back.

    ``component`` names the plugin whose undeclared files are noticed, ``cache`` is the folder of the kit's own files.
    """
    found, streams = Watched(), global_streams()
    kept = {name: _Kept(network) for name, network in trial.networks().items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started = time.perf_counter()
        try:
            with observed(component, trial.plugin, cache), _Devices():
                found.value = call()
        except (Exception, SystemExit) as error:
            cause = error.__cause__  # The host wraps what some methods raise.
            wraps = isinstance(error, BenchError) and cause is not None and not isinstance(cause, BenchError)
            found.error = cause if wraps else error
        found.seconds = time.perf_counter() - started
    marks = ("which it does not declare", "is not part of its fingerprint")
    texts = [str(one.message) for one in caught]
    found.undeclared = [t for t in texts if t.startswith(("reads ", "calls ")) and any(mark in t for mark in marks)]
    found.ended = global_streams()
    found.streams = moved(streams, found.ended)
    restore_streams(streams)
    found.inputs = trial.changed()
    found.networks = [f"{name}: {text}" for name, held in kept.items() if (text := held.changed())]
    return found
