"""Any torch module as a `bench.Network`: split points are modules, whose outputs are captured during a forward pass.

Hooks are registered for one call and removed after it, so networks can be copied, moved and frozen like any module.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench import ContractError, DataError, did_you_mean
from bench_facenets.files.pixels import Pixels
from bench_facenets.loading.outputs import embeddings_in
from bench_facenets.loading.preprocess import Preprocess

# The largest difference of normalised embeddings at a cut: rounding in float32 stays far below it on any device, the
# effect of a skip connection does not.
CUT_TOLERANCE = 1e-3
MAX_CUTS_TRIED = 12  # The number of modules per resolution that `auto_splits` tries; a residual unit has about ten.


class _Stop(BaseException):
    """Ends a forward pass when all wanted maps are captured. A network's own ``except Exception`` does not catch it."""


class SplitNetwork(nn.Module):
    """An implementation of `bench.Network` with a module ``net`` whose input is preprocessed images.

    ``splits`` maps names to dotted module paths; DataError is raised for a path that does not exist. A module's output
    is a map ``(n, c, h, w)``; tokens ``(n, t, dim)`` of a transformer are converted to ``(n, dim, t, 1)``. ``looped``
    runs batches image by image, for networks with a batch size of one baked in. The network is always in evaluation
    mode: it is never trained here.
    """

    def __init__(self, net: nn.Module, pixels: Pixels, splits: Mapping[str, str], *, looped: bool = False) -> None:
        super().__init__()
        self.net = net
        self.preprocess = Preprocess(pixels)
        self.splits = dict(splits)
        self.looped = looped
        modules = dict(net.named_modules(remove_duplicate=False))
        for name, path in self.splits.items():
            if path not in modules or not path:
                hint = did_you_mean(path, (p for p in modules if p))
                raise DataError(f"split point {name!r}: the network has no module {path!r}; {hint}")
        self.eval()
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> SplitNetwork:
        """Stay in evaluation mode, whatever ``mode`` is."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings ``(n, d)``, not normalised, of float images ``(n, 3, h, w)`` RGB in [0, 1]."""
        return self._each(lambda one: embeddings_in(self.net(self.preprocess(one)), len(one)), images)

    def features(self, images: Tensor, splits: Sequence[str]) -> list[Tensor]:
        """Return the maps ``(n, c, h, w)`` at the named splits; the forward pass ends as soon as all are captured."""
        paths = [self._path(split) for split in splits]
        batches = torch.split(images, 1) if self.looped else [images]
        found = [seen_at(self.net, self.preprocess(batch), paths) for batch in batches]
        return [torch.cat([maps[path] for maps in found]) for path in paths]

    def from_features(self, features: Tensor, split: str) -> Tensor:
        """Return embeddings ``(n, d)`` computed from the map at a split: in a forward pass, the module's output is
        replaced.

        The modules before the split run on grey images, without gradients, and do not affect the result.
        """
        path = self._path(split)
        return self._each(functools.partial(self._from_map, path), features)

    def _from_map(self, path: str, features: Tensor) -> Tensor:
        pixels = self.preprocess.pixels
        grey = torch.full((len(features), 3, pixels.height, pixels.width), 0.5, device=features.device)

        def replace(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
            # The features are copied because later modules may change them in place.
            return features.clone() if output.ndim == 4 else features.squeeze(-1).transpose(1, 2).clone()

        with _hooks([self.net.get_submodule(path).register_forward_hook(replace)]):
            return embeddings_in(self.net(self.preprocess(grey)), len(grey))

    def _path(self, split: str) -> str:
        if split not in self.splits:
            raise ContractError(f"no split point {split!r}; {did_you_mean(split, self.splits)}")
        return self.splits[split]

    def _each(self, run: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        return torch.cat([run(one) for one in torch.split(batch, 1)]) if self.looped else run(batch)


def seen_at(net: nn.Module, inputs: Tensor, paths: Sequence[str]) -> dict[str, Tensor]:
    """Return the maps at modules, from a forward pass that ends when all are captured. Raises ContractError for a
    module that is not called."""
    found: dict[str, Tensor] = {}

    def keep(path: str, _module: nn.Module, _args: Any, output: Any) -> None:
        found[path] = _as_map(output, path).clone()  # Later modules may change the output in place.
        if len(found) == len(set(paths)):
            raise _Stop

    hooks = [net.get_submodule(p).register_forward_hook(functools.partial(keep, p)) for p in dict.fromkeys(paths)]
    with _hooks(hooks):
        try:
            net(inputs)
        except _Stop:
            return found
    missing = ", ".join(p for p in paths if p not in found)
    raise ContractError(f"module {missing}: expected one call in a forward, found none")


@contextmanager
def _hooks(handles: Sequence[torch.utils.hooks.RemovableHandle]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _as_map(output: Any, path: str) -> Tensor:
    """Return a module's output as a map ``(n, c, h, w)``. Raises ContractError if it has no such form."""
    if isinstance(output, Tensor) and output.ndim == 4:
        return output
    if isinstance(output, Tensor) and output.ndim == 3:
        return output.transpose(1, 2).unsqueeze(-1)
    found = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    raise ContractError(
        f"module {path}: expected a map (n, c, h, w) or tokens (n, t, dim), found {found}; name an earlier module"
    )


# ---- finding split points --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Call:
    """A module in a forward pass: its dotted ``path``, the number of its calls, and the shape ``(c, h, w)`` of its last
    output, or None if that is not a map."""

    path: str
    count: int
    shape: tuple[int, int, int] | None


@torch.no_grad()
def calls(net: nn.Module, inputs: Tensor) -> list[Call]:
    """Return every module that a forward pass of one image calls, in the order in which their last calls end."""
    found: dict[str, Call] = {}

    def note(path: str, _module: nn.Module, _args: Any, output: Any) -> None:
        before = found.pop(path, None)
        shape = None
        if isinstance(output, Tensor) and output.ndim in (3, 4) and len(output) == len(inputs):
            _, c, h, w = _as_map(output, path).shape
            shape = (c, h, w)
        found[path] = Call(path=path, count=before.count + 1 if before else 1, shape=shape)

    named = [(path, module) for path, module in net.named_modules() if path]
    with _hooks([m.register_forward_hook(functools.partial(note, path)) for path, m in named]):
        net(inputs)
    return list(found.values())


def ordered_splits(network: SplitNetwork, images: Tensor) -> dict[str, str]:
    """Return the splits of a network from shallow to deep. Raises DataError for a module that is not called exactly
    once."""
    called = calls(network.net, network.preprocess(images[:1]))
    seen = {call.path: (order, call.count) for order, call in enumerate(called)}
    modules = dict(network.net.named_modules(remove_duplicate=False))
    first = {id(module): path for path, module in network.net.named_modules()}
    orders: dict[str, int] = {}
    for name, path in network.splits.items():
        orders[name], count = seen.get(first[id(modules[path])], (-1, 0))
        if count != 1:
            raise DataError(
                f"split point {name!r}: expected a module that a forward calls once, found that {path!r} is called "
                f"{count} times; name another module"
            )
    return dict(sorted(network.splits.items(), key=lambda item: orders[item[0]]))


@torch.no_grad()
def is_cut(network: SplitNetwork, path: str, images: Tensor, embeddings: Tensor) -> bool:
    """Return whether the embeddings depend on the images only through the module at ``path``.

    If so, a forward pass of other images with the module's output replaced gives the same embeddings. With a skip
    connection around the module it does not.
    """
    maps = network._each(lambda one: seen_at(network.net, network.preprocess(one), [path])[path], images)
    again = network._each(functools.partial(network._from_map, path), maps)
    return embedding_difference(again, embeddings) < CUT_TOLERANCE


def _separates(network: SplitNetwork, path: str, images: Tensor, embeddings: Tensor) -> bool:
    """Return whether a module that nobody named is a cut; an output that cannot be replaced is none."""
    try:
        return is_cut(network, path, images, embeddings)
    except (RuntimeError, ContractError):
        return False


def embedding_difference(a: Tensor, b: Tensor) -> float:
    """Return the largest difference of any value of normalised embeddings; infinite for different shapes or NaN."""
    if a.shape != b.shape:
        return float("inf")
    found = (nn.functional.normalize(a) - nn.functional.normalize(b)).abs().max().item()
    return found if found == found else float("inf")


def auto_splits(network: SplitNetwork, images: Tensor) -> dict[str, str]:
    """Find split points for a network whose suite names none: names such as ``28x28`` to module paths, shallow to deep.

    At each resolution below the input's, the candidates are the modules that are called once and are a cut; the
    outermost of them is chosen, and of several the last. If the deepest resolution also has an earlier cut with another
    number of channels, the last such cut gets the resolution's name, and the last module is called ``trunk`` (the
    expansion before the head of a MobileFaceNet). The result is empty if there are no split points.
    """
    images = images[:1]
    with torch.no_grad():
        embeddings = network(images)
    area = network.preprocess.pixels.height * network.preprocess.pixels.width
    seen = [c for c in calls(network.net, network.preprocess(images)) if c.count == 1]
    # In forward order. A permutation of the image, of a network that takes channels last, is no map.
    image = sorted((network.preprocess.pixels.height, network.preprocess.pixels.width, network.preprocess.depth))
    maps = {
        c.path: c.shape for c in seen if c.shape and 1 < c.shape[1] * c.shape[2] < area and sorted(c.shape) != image
    }
    order = {path: i for i, path in enumerate(maps)}

    def last_cut(paths: Iterable[str]) -> str | None:
        outermost = sorted(paths, key=lambda path: (path.count("."), -order[path]))
        return next((p for p in outermost[:MAX_CUTS_TRIED] if _separates(network, p, images, embeddings)), None)

    sizes = dict.fromkeys(shape[1:] for shape in maps.values())
    found = {size: last_cut(p for p in maps if maps[p][1:] == size) for size in sizes}
    splits = {"x".join(map(str, size)): path for size, path in found.items() if path}
    splits = dict(sorted(splits.items(), key=lambda item: order[item[1]]))
    if not splits:
        return {}
    name, end = list(splits.items())[-1]
    size, before = maps[end][1:], list(maps)[: order[end]]
    if other := last_cut(p for p in before if maps[p][1:] == size and maps[p][0] != maps[end][0]):
        splits |= {name: other, "trunk": end}
    return dict(sorted(splits.items(), key=lambda item: order[item[1]]))
