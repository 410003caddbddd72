"""Copies of networks that compute the same faster, for everything that needs embeddings, features or their gradients
with respect to pixels, but no gradients of weights.

In a copy, batch normalisation is folded into the convolution before it (Jacob et al. 2018, section 3.2); where no
convolution comes before, it becomes one multiplication and addition per channel. PReLU gets a backward pass that is
vectorised. Weights are in the order channels-last, which makes the maps of most networks follow.

Which layers follow each other is not taken from the structure of the modules, which says nothing about it, but from a
pass of the network. Whether the copy computes the same is checked in such a pass too.

Unlike the other modules of `bench.api`, this one imports torch at once. It is imported only by functions that compute
with networks, and by whoever uses ``bench.folded``. Importing ``bench`` does not import it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Run = Callable[[Any], Sequence[Tensor]]
_N = TypeVar("_N")

TOLERANCE = 1e-3
"""The largest difference between network and copy, as a share of the largest value: rounding stays far below it."""

_SETTLED = "_bench_folded"  # An attribute of copies, and of networks that have no faster copy; copying keeps it.


def folded(network: _N, run: Run) -> _N:
    """Return a frozen copy of a network in evaluation mode that computes the same faster, or the network itself if
    there is none.

    ``run(network)`` runs the network on a few images in all ways in which the copy will be used, and returns what it
    computes: the copy is made and checked with it. What is returned is returned again if it is folded again.
    """
    if not isinstance(network, nn.Module) or hasattr(network, _SETTLED):
        return network
    with torch.inference_mode(False), torch.no_grad():
        try:
            expected, pairs = _observed(network, run)
        except Exception:  # The same error occurs where the network is used.
            return network
        for channels_last in (True, False):
            made = _copy(network, pairs, channels_last)
            if _computes(made, run, expected):
                setattr(made, _SETTLED, True)
                return made  # type: ignore[return-value]
    setattr(network, _SETTLED, True)
    return network


def as_it_is(network: _N) -> _N:
    """Return a network, which `folded` leaves as it is from now on: its operations are counted, or it is trained."""
    setattr(network, _SETTLED, True)
    return network


def _computes(network: nn.Module, run: Run, expected: Sequence[Tensor]) -> bool:
    """Return whether a copy computes what is expected. A copy may fail where a network relies on an order of memory."""
    try:
        found = run(network)
    except RuntimeError:
        return False
    return len(found) == len(expected) and all(
        f.shape == e.shape and bool((f - e).abs().max() <= TOLERANCE * e.abs().max())
        for f, e in zip(found, expected, strict=True)
    )


class _Uses(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how often each tensor is an argument of an operation. It keeps all tensors, so that ids are unique."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: dict[int, int] = {}
        self.kept: list[Any] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # Nothing is compiled here, and loading the compiler takes a second.

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                self.count[id(value)] = self.count.get(id(value), 0) + 1
        out = func(*args, **(kwargs or {}))
        self.kept.append(out)
        return out


def _observed(network: nn.Module, run: Run) -> tuple[Sequence[Tensor], dict[nn.Module, nn.Module]]:
    """Return what a network computes, and its batch normalisations that only ever see a convolution's output, which
    nothing else uses, with that convolution."""
    outputs: list[tuple[nn.Module, Tensor]] = []
    inputs: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda module, _args, out: outputs.append((module, out)))
        for module in _of_type(network, nn.Conv2d)
    ] + [
        module.register_forward_hook(lambda module, args, _out: inputs.append((module, args[0])))
        for module in _of_type(network, nn.BatchNorm2d)
    ]
    uses = _Uses()
    try:
        with uses:
            found = run(network)
    finally:
        for hook in hooks:
            hook.remove()
    returned = {id(tensor) for tensor in found}
    normalised = {id(tensor): module for module, tensor in inputs}
    before: dict[nn.Module, set[nn.Module | None]] = {}
    after: dict[nn.Module, set[nn.Module | None]] = {}
    made = {id(tensor): module for module, tensor in outputs}
    for module, tensor in inputs:
        before.setdefault(module, set()).add(made.get(id(tensor)))
    for module, tensor in outputs:
        alone = uses.count.get(id(tensor), 0) == 1 and id(tensor) not in returned
        after.setdefault(module, set()).add(normalised.get(id(tensor)) if alone else None)
    return found, {
        norm: conv
        for norm, convs in before.items()
        if len(convs) == 1 and (conv := next(iter(convs))) is not None and after[conv] == {norm}
    }


def _of_type(network: nn.Module, kind: type[nn.Module]) -> Iterator[Any]:
    """Yield the modules of exactly this type that nobody else has changed: no hooks, in evaluation mode."""
    for module in network.modules():
        if type(module) is kind and not module.training and not module._forward_hooks and not module._forward_pre_hooks:
            yield module


def _copy(network: nn.Module, pairs: dict[nn.Module, nn.Module], channels_last: bool) -> nn.Module:
    """Return the copy; ``pairs`` are batch normalisations of the network with the convolutions before them."""
    memo: dict[int, Any] = {}
    made = copy.deepcopy(network, memo).eval().requires_grad_(False)
    convolutions = {id(memo[id(norm)]): memo[id(conv)] for norm, conv in pairs.items()}
    replaced: dict[int, nn.Module] = {}
    for norm in list(_of_type(made, nn.BatchNorm2d)):
        if norm.running_mean is None:
            continue
        scale, shift = _affine(norm)
        if conv := convolutions.get(id(norm)):
            _fold(conv, scale, shift)
            replaced[id(norm)] = nn.Identity()
        else:
            replaced[id(norm)] = Affine(scale, shift).to(norm.running_mean)
    for prelu in list(_of_type(made, nn.PReLU)):
        replaced[id(prelu)] = QuickPReLU(prelu.weight)
    for module in list(made.modules()):
        for name, child in module.named_children():
            if id(child) in replaced:
                setattr(module, name, replaced[id(child)])
    if channels_last:
        made.to(memory_format=torch.channels_last)
    return made.eval()


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return scale and shift of a batch normalisation in evaluation mode, in double precision, ``(c,)`` each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()


def _fold(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
    """Multiply the outputs of a convolution by ``scale``, and add ``shift``, both ``(c,)``."""
    weight, bias = conv.weight, conv.bias
    shifted = shift if bias is None else shift + bias.double() * scale
    conv.weight = nn.Parameter((weight.double() * scale.view(-1, 1, 1, 1)).to(weight), requires_grad=False)
    conv.bias = nn.Parameter(shifted.to(weight), requires_grad=False)


class Affine(nn.Module):
    """Multiplies channels by ``scale`` and adds ``shift``, ``(c,)`` each: ``(n, c, h, w)`` to the same."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.view(-1, 1, 1))
        self.register_buffer("shift", shift.view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled and shifted channels."""
        return torch.addcmul(self.shift, x, self.scale)


class QuickPReLU(nn.Module):
    """PReLU with fixed slopes (He et al. 2015, equation 1): ``(n, c, ...)`` to the same."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Return x where it is positive, else x times the slope of its channel."""
        out: Tensor = _PReLUFunction.apply(x, self.weight)
        return out


class _PReLUFunction(torch.autograd.Function):
    """PReLU for gradients of its input only. That of torch also computes one for each slope, value by value."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.prelu(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, weight = ctx.saved_tensors
        slopes = weight.view(-1, *[1] * (x.ndim - 2)) if x.ndim > 2 else weight
        positive = torch.ops.aten.threshold_backward(grad, x, 0)  # the gradient where x > 0, else 0
        return positive.lerp_(grad, slopes), None
