"""The embeddings in what a network returns: a tensor, or one of several in a tuple, a list, a table or a dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from bench import ContractError

ALONE = "let the factory return a module whose forward returns the embeddings alone"


def embeddings_in(output: Any, n: int | None = None) -> Tensor:
    """Return the embeddings in the output of a network for ``n`` images, if their number is known: ``(n, d)``, also
    of a tensor ``(n, d, 1, 1)``. The shape of a tensor that the network returns alone is not checked.

    Of several tensors the only one that can hold embeddings is returned, which has more than one number for each image;
    of a tuple or list with several of these its first element. Raises ContractError if the output has none, or if a
    table or a dataclass has several.
    """
    tensors = dict(_tensors(output))
    first = tensors[_chosen(output, tensors, n)]
    return first.flatten(1) if _is_flat(first) else first


def note_on(output: Any, n: int) -> str | None:
    """Return the sentence that says which of several tensors are the embeddings of ``n`` images; None for one tensor.
    Raises ContractError as `embeddings_in` does."""
    tensors = dict(_tensors(output))
    chosen = _chosen(output, tensors, n)
    others = [_described(name, tensor, n) for name, tensor in tensors.items() if name != chosen]
    if not others:
        return None
    return (
        f"of the outputs of the network {_described(chosen, tensors[chosen], n)} is used as the embeddings, and "
        f"{', '.join(others)} is not; if this is wrong, {ALONE}"
    )


def _tensors(output: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of an output with their places in it, such as ``[0]`` or ``.norm``; an empty text for a tensor
    that is returned alone."""
    if isinstance(output, Tensor):
        yield name, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from _tensors(value, f"{name}[{key!r}]")
    elif isinstance(output, tuple | list):
        names = getattr(output, "_fields", None)
        for i, value in enumerate(output):
            yield from _tensors(value, f"{name}.{names[i]}" if names else f"{name}[{i}]")
    elif dataclasses.is_dataclass(output):
        for field in dataclasses.fields(output):
            yield from _tensors(getattr(output, field.name, None), f"{name}.{field.name}")


def _chosen(output: Any, tensors: Mapping[str, Tensor], n: int | None) -> str:
    """Return the place of the embeddings."""
    possible = [name for name, tensor in tensors.items() if _can_be(tensor, n)]
    if isinstance(output, Tensor) or len(possible) == 1:
        return possible[0] if possible else ""
    starts = isinstance(output, tuple | list) and bool(output) and isinstance(output[0], Tensor)
    if starts and (not possible or _can_be(output[0], n)):
        return next(iter(tensors))
    found = ", ".join(_described(name, tensor, n) for name, tensor in tensors.items())
    raise ContractError(
        "the network's forward: expected embeddings (n, d), alone, first in a tuple, or as the only tensor of this "
        f"shape, found {found or f'no tensor in {type(output).__name__}'}; {ALONE}"
    )


def _can_be(tensor: Tensor, n: int | None) -> bool:
    shaped = tensor.ndim == 2 or _is_flat(tensor)
    return shaped and tensor.is_floating_point() and tensor.shape[1] > 1 and n in (None, len(tensor))


def _is_flat(tensor: Tensor) -> bool:
    return tensor.ndim > 2 and tensor.shape[2:].numel() == 1


def _described(name: str, tensor: Tensor, n: int | None) -> str:
    sides = list(map(str, tensor.shape))
    if sides and n is not None and len(tensor) == n:
        sides[0] = "n"
    return f"{name} ({', '.join(sides)})".strip()
