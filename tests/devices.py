"""A simulated GPU: tensors that were sent to ``cuda`` are distinguished from those that were not.

A GPU refuses to work on a tensor that lies elsewhere, and its tensors are no arrays. `Elsewhere` does the same on the
processor: while it is active, ``cuda`` stands for a part of the ordinary memory, every function that gets tensors from
both parts fails as it would on a GPU, and so does every look at a ``cuda`` tensor from numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
_MOVES = {"to", "cuda", "cpu"}
# Functions that accept tensors of two devices, as with a real GPU.
_HARMLESS = {"__get__", "__set__", "copy_", "__repr__", "__format__", "_has_compatible_shallow_copy_type"}
_READS = {"numpy", "__array__", "__dlpack__"}


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _tensors(part)


def _asked(arguments: Iterable[Any]) -> torch.device | None:
    """Return the device that a call names."""
    for value in arguments:
        if isinstance(value, torch.device):
            return value
        if isinstance(value, str) and value.partition(":")[0] in ("cpu", "cuda"):
            return torch.device(value)
    return None


class Elsewhere(TorchFunctionMode):
    """While it is active, ``cuda`` is a separate device. ``moved`` counts the tensors that were sent there."""

    def __init__(self) -> None:
        super().__init__()
        self.there: dict[int, torch.UntypedStorage] = {}  # held, so that no address is used twice
        self.moved = 0

    def where(self, tensor: torch.Tensor) -> torch.device:
        """Return the device that a tensor is on."""
        with torch._C.DisableTorchFunction():
            return CUDA if tensor.untyped_storage().data_ptr() in self.there else CPU

    def send(self, result: Any) -> Any:
        """Record that tensors are on ``cuda``."""
        with torch._C.DisableTorchFunction():
            for tensor in _tensors(result):
                if tensor.numel():
                    self.there[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return result

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", str(func))
        given = list(_tensors((args, kwargs)))
        if name in _MOVES and given:
            return self._move(func, args, kwargs, name)
        if name == "__get__" and getattr(func, "__self__", None) is torch.Tensor.device:
            return self.where(given[0])
        places = {self.where(t) for t in given if t.numel() and (t.dim() or self.where(t) == CUDA)}
        if len(places) > 1 and name not in _HARMLESS and not self._indexes(name, args):
            raise RuntimeError(f"Expected all tensors to be on the same device, but {name} found cuda and cpu")
        if name in _READS and CUDA in places:
            raise TypeError(f"can't convert cuda device type tensor to numpy ({name}); use Tensor.cpu()")
        asked = _asked([kwargs.get("device")])
        if asked is not None and asked.type == "cuda":
            if (generator := kwargs.get("generator")) is not None and generator.device.type == "cpu":
                raise RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu' in {name}")
            kwargs["device"] = CPU
            places = {CUDA}
        result = func(*args, **kwargs)
        stays = asked is not None and asked.type == "cpu"
        return self.send(result) if CUDA in places and not stays and name not in _HARMLESS - {"__get__"} else result

    def _indexes(self, name: str, args: tuple[Any, ...]) -> bool:
        """Return whether a call reads or sets items of a GPU tensor, for which CPU tensors are allowed as arguments."""
        return name in ("__getitem__", "__setitem__") and self.where(args[0]) == CUDA

    def _move(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
        tensor = args[0]
        now = self.where(tensor)
        target = {"cpu": CPU, "cuda": CUDA}.get(name) or _asked([*args[1:], *kwargs.values()])
        for other in args[1:]:
            target = self.where(other) if isinstance(other, torch.Tensor) else target
        target = target or now
        if name != "to":
            result = tensor
        else:
            plain = [CPU if _asked([a]) else a for a in args]
            result = func(*plain, **{k: CPU if _asked([v]) else v for k, v in kwargs.items()})
        if target.type != now.type:
            result = result.clone() if result is tensor else result
            self.moved += target.type == "cuda"
        return self.send(result) if target.type == "cuda" else result
