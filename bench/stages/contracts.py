"""The checks of what plugins return: shape, dtype, range and finiteness, and that their inputs are unchanged.

Every check raises `ContractError` with the kind and label of the plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.api.context import Context
from bench.api.defense import Defense
from bench.api.hookspecs import Attack
from bench.api.metric import Metric
from bench.api.types import Faces, LazyImages, Pairs, Protected, Received, Reconstructed
from bench.core.errors import ContractError, error_text

Array = NDArray[Any]
_SHORTEST = 1e-12  # the length of an embedding that torch.nn.functional.normalize brings to 1
_SLACK = 1e-6  # float rounding beyond [0, 1] that is clamped without an error


def check_faces(faces: Faces, size: tuple[int, int], plugin: str) -> None:
    """Check the images and columns of a data set: types, the declared ``(h, w)``, lengths, unique sample ids.

    Of images that are decoded on demand only the declarations are checked here, and the images by `CheckedImages`.
    """
    images = faces.images
    known = isinstance(images, np.ndarray | LazyImages) and images.dtype == np.uint8 and len(images.shape) == 4
    if not known or images.shape[1] != 3:
        raise ContractError(f"{plugin}: expected images uint8 (n, 3, h, w), got {_what(images)}")
    if images.shape[2:] != size:
        raise ContractError(f"{plugin}: declares images of {size}, got {images.shape[2:]}")
    n = len(images)
    for name, column in {"subjects": faces.subjects, "sample_ids": faces.sample_ids, **faces.attributes}.items():
        if np.ndim(column) != 1:
            raise ContractError(f"{plugin}: expected {name} ({n},), got {_what(column)}")
        if len(column) != n:
            raise ContractError(f"{plugin}: {n} images but {len(column)} values of {name}")
    _check_whole_numbers(faces.subjects, "subjects", plugin)
    if len(set(map(str, faces.sample_ids))) != n:
        raise ContractError(f"{plugin}: sample_ids are not unique")


class CheckedImages:
    """The `LazyImages` of a plugin; every part that is read is checked against what they declare."""

    def __init__(self, images: LazyImages, plugin: str) -> None:
        self.images = images
        self.plugin = plugin
        self.shape = tuple(images.shape)
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        found = self.images[rows]
        n = len(range(*rows.indices(len(self)))) if isinstance(rows, slice) else len(rows)
        expected = (n, *self.shape[1:])
        if not (isinstance(found, np.ndarray) and found.dtype == np.uint8 and found.shape == expected):
            raise ContractError(f"{self.plugin}: expected images uint8 {expected}, got {_what(found)}")
        return found


def check_pairs(pairs: Pairs, faces: Faces, wanted: int | None, plugin: str) -> None:
    """Check verification pairs: their number, indices, folds, and labels, which must agree with the subjects.

    ``wanted`` is the expected number of pairs; None allows any number.
    """
    for name in ("left", "right", "same", "fold"):
        _check_whole_numbers(getattr(pairs, name), name, plugin)
    lengths = {len(pairs.left), len(pairs.right), len(pairs.same), len(pairs.fold)}
    if lengths != {len(pairs.left) if wanted is None else wanted}:
        requested = "" if wanted is None else f"requested {wanted} pairs, "
        raise ContractError(f"{plugin}: {requested}got columns of lengths {sorted(lengths)}")
    if lengths == {0}:
        raise ContractError(f"{plugin}: expected at least one pair, got none")
    for name, index in (("left", pairs.left), ("right", pairs.right)):
        if index.min() < 0 or index.max() >= len(faces.images):
            raise ContractError(f"{plugin}: {name} has indices outside [0, {len(faces.images)})")
    if pairs.fold.min() < 0 or pairs.fold.max() > 9:
        raise ContractError(f"{plugin}: expected folds in [0, 10), got {pairs.fold.min()} to {pairs.fold.max()}")
    same = faces.subjects[pairs.left] == faces.subjects[pairs.right]
    if not np.array_equal(same, pairs.same):
        raise ContractError(f"{plugin}: {int((same != pairs.same).sum())} pairs whose label contradicts the subjects")


def _check_whole_numbers(column: Any, name: str, plugin: str) -> None:
    """Check that a column is an array ``(n,)`` of whole numbers, or of truth values."""
    if not isinstance(column, np.ndarray) or column.ndim != 1 or column.dtype.kind not in "biu":
        raise ContractError(f"{plugin}: expected {name} (n,) as an array of whole numbers, got {_what(column)}")


def protect_checked(
    defense: Defense, images: torch.Tensor, ctx: Context, shapes: Mapping[str, tuple[int, int, int]] | None = None
) -> Protected:
    """Call ``defense.protect`` and check what it returns: images in [0, 1], features, extra numbers.

    ``shapes`` are the shapes ``(c, h, w)`` of features by split point.
    """
    before = images.clone()
    protected = defense.protect(images, ctx)
    if not torch.equal(images, before):
        raise ContractError(f"{ctx.plugin}: protect() changed its input images; work on a copy")
    if not isinstance(protected, Protected):
        raise ContractError(f"{ctx.plugin}: protect() must return bench.Protected, got {type(protected).__name__}")
    if protected.images is None and "image" in defense.sends:
        raise ContractError(f"{ctx.plugin}: protect() returned no images, but the defense declares that it sends them")
    if missing := set(ctx.uploaded) - set(protected.features) if "image" not in defense.sends else set():
        names = ", ".join(sorted(missing))
        raise ContractError(f"{ctx.plugin}: protect() returned no features at {names}, which ctx.uploaded names")
    if "representation" in defense.sends:
        check_representation(defense, protected.representation, len(images), ctx.plugin)
    for split in (s for s in ctx.uploaded if s in protected.features):
        maps, shape = protected.features[split], (len(images), *(shapes or {}).get(split, ()))
        if not isinstance(maps, torch.Tensor) or maps.shape[: len(shape)] != shape:
            raise ContractError(f"{ctx.plugin}: features at {split}: expected {shape}, got {_what(maps)}")
        if not torch.isfinite(maps).all():
            raise ContractError(f"{ctx.plugin}: the features at {split} hold NaN or infinity")
    out = None if protected.images is None else _checked_images(protected.images, tuple(images.shape), ctx.plugin)
    _check_extra(protected.extra, len(images), ctx.plugin)
    return replace(protected, images=out)


def check_representation(defense: Defense, found: Mapping[str, torch.Tensor], n: int, plugin: str) -> None:
    """Check that the representation of ``n`` faces has the tensors that the defense declares, of their shapes."""
    shapes = defense.representation()
    if not _are_shapes(shapes):
        expected = "a mapping of names to shapes, tuples of numbers above 0"
        raise ContractError(f"{plugin}: representation() must return {expected}, got {shapes!r}")
    if not isinstance(found, Mapping):
        raise ContractError(f"{plugin}: protect() must return tensors by name as representation, got {_what(found)}")
    declared = {name: (n, *shape) for name, shape in shapes.items()}
    if set(found) != set(declared):
        names = ", ".join(sorted(found)) or "nothing"
        expected = ", ".join(sorted(declared)) or "nothing, and a defense that sends a representation declares some"
        raise ContractError(f"{plugin}: representation() declares {expected}; protect() returned {names}")
    for name, values in found.items():
        if not isinstance(values, torch.Tensor) or tuple(values.shape) != declared[name]:
            raise ContractError(f"{plugin}: representation {name!r}: expected {declared[name]}, got {_what(values)}")
        if values.dtype in (torch.bfloat16, torch.complex32):
            raise ContractError(
                f"{plugin}: representation {name!r}: expected a type that numpy has, got {values.dtype}"
            )
        if not torch.isfinite(values).all():
            raise ContractError(f"{plugin}: representation {name!r} holds NaN or infinity")


def _are_shapes(found: Any) -> bool:
    """Return True for a mapping of names to shapes."""
    return isinstance(found, Mapping) and all(
        isinstance(name, str) and isinstance(shape, tuple) and all(type(size) is int and size > 0 for size in shape)
        for name, shape in found.items()
    )


def recognised(
    recogniser: Callable[[Received], torch.Tensor], received: Received, n: int, size: int, plugin: str
) -> torch.Tensor:
    """Return the embeddings ``(n, size)`` of what a defense sends, by its own recogniser, after checking them."""
    if not callable(recogniser):
        raise ContractError(f"{plugin}: recogniser() must return a function, got {_what(recogniser)}")
    with torch.no_grad():
        try:
            embeddings = recogniser(received)
        except Exception as error:
            raise ContractError(f"{plugin} failed with {error_text(error)}") from error
    check_embeddings(embeddings, n, size, plugin)
    return embeddings.float()


def reconstruct_checked(attack: Attack, received: Received, shape: tuple[int, ...], ctx: Context) -> Reconstructed:
    """Call ``attack.reconstruct`` and check that it returns images ``(n, *shape)`` and leaves the uploads unchanged."""
    held = _tensors(received)
    before = [t.clone() for t in held]
    made = attack.reconstruct(received, ctx)
    if not all(torch.equal(a, b) for a, b in zip(held, before, strict=True)):
        raise ContractError(f"{ctx.plugin}: reconstruct() changed what it received; work on a copy")
    if not isinstance(made, Reconstructed):
        raise ContractError(f"{ctx.plugin}: reconstruct() must return bench.Reconstructed, got {type(made).__name__}")
    n = len(held[0])
    _check_extra(made.extra, n, ctx.plugin)
    return Reconstructed(images=_checked_images(made.images, (n, *shape), ctx.plugin), extra=made.extra)


def _tensors(received: Received) -> list[torch.Tensor]:
    """Return everything that an attack received of the first upload of each face."""
    sent = (received.images, *received.features.values(), *received.representation.values())
    return [tensor for tensor in sent if tensor is not None]


def embed_checked(attack: Attack, received: Received, ctx: Context) -> torch.Tensor:
    """Call ``attack.embed`` and return what it returns as unit embeddings on the CPU, after checking them."""
    held = _tensors(received)
    return _embeddings_checked(lambda: attack.embed(received, ctx), held, "embed()", ctx.plugin)


def enrol_checked(attack: Attack, images: torch.Tensor, ctx: Context) -> torch.Tensor:
    """Call ``attack.enrol`` and return what it returns as unit embeddings on the CPU, after checking them."""
    return _embeddings_checked(lambda: attack.enrol(images, ctx), [images], "enrol()", ctx.plugin)


def link_checked(attack: Attack, first: Received, second: Received, ctx: Context) -> Array:
    """Call ``attack.link`` and check that it returns finite scores ``(n,)`` and leaves the uploads unchanged."""
    held = [*_tensors(first), *_tensors(second)]
    before = [t.clone() for t in held]
    found = attack.link(first, second, ctx)
    if not all(torch.equal(a, b) for a, b in zip(held, before, strict=True)):
        raise ContractError(f"{ctx.plugin}: link() changed what it received; work on a copy")
    n = len(held[0])
    if not isinstance(found, torch.Tensor) or found.shape != (n,):
        raise ContractError(f"{ctx.plugin}: link(): expected scores ({n},), got {_what(found)}")
    if not torch.isfinite(found).all():
        raise ContractError(f"{ctx.plugin}: link(): the scores hold NaN or infinity")
    return found.detach().double().cpu().numpy()


def _embeddings_checked(
    call: Callable[[], torch.Tensor], held: Sequence[torch.Tensor], method: str, plugin: str
) -> torch.Tensor:
    before = [t.clone() for t in held]
    found = call()
    if not all(torch.equal(a, b) for a, b in zip(held, before, strict=True)):
        raise ContractError(f"{plugin}: {method} changed what it received; work on a copy")
    n = len(held[0])
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != n or not found.is_floating_point():
        raise ContractError(f"{plugin}: {method}: expected float embeddings ({n}, d), got {_what(found)}")
    check_embeddings(found, n, found.shape[1], f"{plugin}: {method}")
    return torch.nn.functional.normalize(found.detach().float(), dim=1).cpu()


def check_one_size(embeddings: Sequence[torch.Tensor], plugin: str) -> None:
    """Check that the embeddings of all batches have one length."""
    if len(sizes := {len(one[0]) for one in embeddings}) > 1:
        raise ContractError(f"{plugin}: expected embeddings of one length, got the lengths {sorted(sizes)}")


def checked_query(images: torch.Tensor, shape: tuple[int, ...], plugin: str) -> torch.Tensor:
    """Return the images that an attack wants to have protected, after checking that they are ``(n, *shape)``."""
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or not len(images):
        raise ContractError(
            f"{plugin}: ctx.defense(): expected images (n, {', '.join(map(str, shape))}), got {_what(images)}"
        )
    return _checked_images(images, (len(images), *shape), f"{plugin}: ctx.defense()")


def estimate_checked(
    attack: Attack, images: torch.Tensor | None, ctx: Context, n: int | None = None
) -> dict[str, Array]:
    """Call ``attack.estimate`` and check that it returns finite vectors ``(n, k)`` or numbers ``(n,)`` by attribute.

    ``n`` is the number of samples, for an attack that gets no images.
    """
    before = None if images is None else images.clone()
    n = len(images) if images is not None else n
    with torch.no_grad():
        found = attack.estimate(images, ctx)  # type: ignore[arg-type]  # None where no images are uploaded
    if images is not None and before is not None and not torch.equal(images, before):
        raise ContractError(f"{ctx.plugin}: estimate() changed its input images; work on a copy")
    if not isinstance(found, Mapping) or not found:
        raise ContractError(
            f"{ctx.plugin}: estimate() must return a mapping of attributes to tensors, got {_what(found)}"
        )
    for name, values in found.items():
        if not isinstance(values, torch.Tensor) or values.ndim not in (1, 2) or len(values) != n or not values.numel():
            expected = f"({n}, k) or ({n},)"
            raise ContractError(f"{ctx.plugin}: attribute {name!r}: expected a tensor {expected}, got {_what(values)}")
        if not torch.isfinite(values).all():
            raise ContractError(f"{ctx.plugin}: attribute {name!r} holds NaN or infinity")
        classes = attack.classes().get(name, ())
        if classes and values.ndim == 2 and values.shape[1] != len(classes):
            raise ContractError(
                f"{ctx.plugin}: attribute {name!r}: expected the probabilities of {len(classes)} classes, as classes() "
                f"names them, got {values.shape[1]}"
            )
    return {name: values.detach().float().cpu().numpy() for name, values in found.items()}


def compute_checked(metric: Metric, original: torch.Tensor, other: torch.Tensor, ctx: Context) -> np.ndarray[Any, Any]:
    """Call ``metric.compute`` and check that it returns one number ``(n,)`` in the declared range for each image."""
    before = original.clone(), other.clone()
    with torch.no_grad():
        found = metric.compute(original, other, ctx)
    if not (torch.equal(original, before[0]) and torch.equal(other, before[1])):
        raise ContractError(f"{ctx.plugin}: compute() changed its input images; work on a copy")
    n, values = len(original), _as_numbers(found, f"{ctx.plugin}: compute()")
    if values.shape != (n,):
        raise ContractError(f"{ctx.plugin}: compute() must return {n} numbers ({n},), got {values.shape}")
    _check_declared_range(values, metric, f"{ctx.plugin}: compute()")
    return values


def features_checked(metric: Metric, images: torch.Tensor, ctx: Context) -> torch.Tensor:
    """Call ``metric.features`` and check that it returns finite features ``(n, d)``."""
    with torch.no_grad():
        found = metric.features(images, ctx)
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != len(images):
        raise ContractError(f"{ctx.plugin}: features() must return a tensor ({len(images)}, d), got {_what(found)}")
    if not torch.isfinite(found).all():
        raise ContractError(f"{ctx.plugin}: features() returned NaN or infinity")
    return found.detach()


def set_value_checked(metric: Metric, originals: torch.Tensor, others: torch.Tensor, ctx: Context) -> float:
    """Call ``metric.compute_set`` and check that it returns one finite number in the declared range."""
    with torch.no_grad():
        found = metric.compute_set(originals, others, ctx)
    values = _as_numbers(found, f"{ctx.plugin}: compute_set()")
    if values.size != 1:
        raise ContractError(f"{ctx.plugin}: compute_set() must return one number, got {values.shape}")
    _check_declared_range(values, metric, f"{ctx.plugin}: compute_set()")
    return float(values.reshape(()))


def _as_numbers(found: Any, call: str) -> np.ndarray[Any, Any]:
    """Return what a metric returned as float64. Raise `ContractError`, which begins with ``call``, if it is no
    number."""
    if isinstance(found, torch.Tensor):
        found = found.detach().cpu().numpy()
    try:
        return np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        raise ContractError(f"{call} must return numbers, got {_what(found)}") from None


def _check_declared_range(values: np.ndarray[Any, Any], metric: Metric, call: str) -> None:
    """Raise `ContractError` for NaN, for infinity that is not declared, and for values outside the declared range."""
    low, high = metric.range
    if np.isnan(values).any():
        raise ContractError(f"{call} returned NaN")
    if np.isinf(values).any() and not (metric.infinite and values.ndim):
        raise ContractError(f"{call} returned infinity, and the metric does not declare that it may be infinite")
    if values.size and (values.min() < low - _SLACK or values.max() > high + _SLACK):
        found = f"values from {values.min():.6g} to {values.max():.6g}"
        raise ContractError(f"{call} must return values from {low:g} to {high:g}, as its range declares, got {found}")


def check_same_names(found: Sequence[Mapping[str, Any]], plugin: str, what: str) -> None:
    """Check that all batches have the same names; ``what`` names them in the message."""
    if any(set(names) != set(found[0]) for names in found):
        raise ContractError(f"{plugin}: its {what} differ from batch to batch")


def check_state(state: Mapping[str, torch.Tensor], plugin: str) -> dict[str, Array]:
    """Return the tensors that ``fit`` returned as arrays to store; their values are not checked. Raise `ContractError`
    unless they are a mapping of names to tensors of types that numpy has."""
    if not (isinstance(state, Mapping) and all(isinstance(v, torch.Tensor) for v in state.values())):
        raise ContractError(f"{plugin}: fit() must return a mapping of names to tensors, got {type(state).__name__}")
    try:
        return {k: np.asarray(v.detach().cpu().numpy(), order="C") for k, v in state.items()}
    except TypeError as error:  # numpy has no such type, for example bfloat16.
        raise ContractError(f"{plugin}: fit() returned a tensor that cannot be stored: {error}") from None


def _check_extra(extra: Mapping[str, torch.Tensor], n: int, plugin: str) -> None:
    for name, values in extra.items():
        if not isinstance(values, torch.Tensor) or values.shape != (n,):
            raise ContractError(f"{plugin}: extra {name!r}: expected a tensor ({n},), got {_what(values)}")
        if not torch.isfinite(values).all():
            raise ContractError(f"{plugin}: extra {name!r} holds NaN or infinity")


def _checked_images(out: torch.Tensor, shape: tuple[int, ...], plugin: str) -> torch.Tensor:
    if not isinstance(out, torch.Tensor):
        raise ContractError(f"{plugin}: expected images as a torch tensor, got {_what(out)}")
    out = out.detach()
    if out.shape != shape:
        raise ContractError(f"{plugin}: expected images of shape {shape}, got {tuple(out.shape)}")
    if not out.is_floating_point():
        raise ContractError(f"{plugin}: expected float images in [0, 1], got {out.dtype}")
    if not torch.isfinite(out).all():
        raise ContractError(f"{plugin}: the images hold NaN or infinity")
    low, high = float(out.min()), float(out.max())
    if low < -_SLACK or high > 1 + _SLACK:
        raise ContractError(f"{plugin}: expected images in [0, 1], got values from {low:.4g} to {high:.4g}")
    return out.float().clamp(0, 1)


def check_embeddings(embeddings: Any, n: int, size: int, plugin: str) -> None:
    """Check that embeddings are a float tensor ``(n, size)``, finite, and that each has a length: none is zero, and
    none so large that its length is infinite in float32."""
    if not isinstance(embeddings, torch.Tensor):
        raise ContractError(f"{plugin}: expected embeddings as a torch tensor, got {_what(embeddings)}")
    if embeddings.shape != (n, size):
        raise ContractError(f"{plugin}: expected embeddings of shape ({n}, {size}), got {tuple(embeddings.shape)}")
    if not embeddings.is_floating_point():
        raise ContractError(f"{plugin}: expected float embeddings, got {embeddings.dtype}")
    if not torch.isfinite(embeddings).all():
        raise ContractError(f"{plugin}: embeddings hold NaN or infinity")
    lengths = embeddings.float().norm(dim=1)
    if bool((lengths < _SHORTEST).any()):
        raise ContractError(f"{plugin}: an embedding is zero")
    if not torch.isfinite(lengths).all():
        raise ContractError(f"{plugin}: an embedding is too long to be brought to length 1 in float32")


def _what(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"{getattr(value, 'dtype', type(value).__name__)} {tuple(shape)}" if shape is not None else repr(type(value))
