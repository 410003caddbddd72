"""The self-check of every network: a few forward passes that detect the usual mistakes, with one error for each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from bench import DataError
from bench_facenets.files.card import Card, SplitCard
from bench_facenets.loading.splitting import SplitNetwork, calls, embedding_difference, is_cut, ordered_splits, seen_at

TOLERANCE = 1e-3  # The largest difference of normalised embeddings between an image alone and in a batch.
SAME = 1e-5  # If embeddings of different images differ by less, the network ignores its input.


def probe_images(n: int = 3) -> Tensor:
    """Return smooth coloured patterns, float ``(n, 3, 112, 112)`` in [0, 1]; they are always the same."""
    coarse = torch.rand(n, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    return functional.interpolate(coarse, (112, 112), mode="bilinear", align_corners=False)


def card_of(
    network: SplitNetwork, *, layout: str = "", license: str = "unknown", warnings: tuple[str, ...] = ()
) -> Card:
    """Compute the card of a network with ordered splits: one counted forward pass, and one for each split."""
    image = probe_images(1)
    with torch.no_grad(), FlopCounterMode(display=False) as whole:
        embedding = network(image)
    splits = {name: _split_card(network, path, image) for name, path in network.splits.items()}
    return Card(
        embedding_size=embedding.shape[-1],
        splits=splits,
        mflops=round(whole.get_total_flops() / 1e6, 2),
        parameters=sum(p.numel() for p in network.net.parameters()),
        pixels=str(network.preprocess.pixels),
        looped=network.looped,
        layout=layout,
        license=license,
        warnings=warnings,
    )


@torch.no_grad()
def _split_card(network: SplitNetwork, path: str, image: Tensor) -> SplitCard:
    """Return what a client holds and computes up to a module: the parameters of all modules that run before its output
    is known, and their cost."""
    started: dict[int, int] = {}

    def note(module: torch.nn.Module, _args: object) -> None:
        started[id(module)] = sum(p.numel() for p in module.parameters(recurse=False))

    handles = [m.register_forward_pre_hook(note) for m in network.net.modules()]
    try:
        with FlopCounterMode(display=False) as counter:
            shape = seen_at(network.net, network.preprocess(image), [path])[path].shape
    finally:
        for handle in handles:
            handle.remove()
    return SplitCard(
        module=path,
        shape=(shape[1], shape[2], shape[3]),
        parameters=sum(started.values()),
        mflops=round(counter.get_total_flops() / 1e6, 2),
    )


def self_check(network: SplitNetwork, card: Card, where: str) -> None:
    """Raise DataError unless a network behaves as it must; the message names ``where`` (a file) and what to do.

    The embeddings ``(n, d)`` must be finite, equal for an image alone, in a batch, on a second call and after a call
    of ``train()``, and different for different images. Gradients must reach the pixels. The split points must be
    called once, have the declared shapes, and be cuts of the network.
    """
    images = probe_images()
    with torch.no_grad():
        embeddings = _checked_embeddings(network, images, card, where)
    if embedding_difference(embeddings[:1], embeddings[1:2]) < SAME:
        raise DataError(
            f"{where}: expected embeddings that differ for different images, found the same; the network ignores its "
            "input: are these its weights, and do mean, std and pixel_range suit it?"
        )
    _check_gradient(network, images[:1], where)
    _check_splits(network, images, embeddings, card, where)


def _checked_embeddings(network: SplitNetwork, images: Tensor, card: Card, where: str) -> Tensor:
    """Return the embeddings of a batch. Raises DataError unless they equal those of single images."""
    single = torch.cat([_shaped(network, images[i : i + 1], card, where) for i in range(len(images))])
    if not torch.isfinite(single).all():
        raise DataError(
            f"{where}: expected finite embeddings, found NaN or infinity; the weights are damaged, or mean, std and "
            "pixel_range do not suit the network"
        )
    if bool((single.norm(dim=1) == 0).any()):
        raise DataError(f"{where}: expected embeddings with a length, found zeros; are these the network's weights?")
    batch = _shaped(network, images, card, where)
    if (apart := embedding_difference(batch, single)) > TOLERANCE:
        raise DataError(
            f"{where}: expected the same embedding alone and in a batch, found a difference of {apart:.2g}: "
            "something in the network looks at the whole batch (a baked batch size, a batch normalisation without "
            "running statistics); give each image its own result"
        )
    network.train()
    again = network(images)
    if (apart := embedding_difference(again, batch)) > TOLERANCE:
        raise DataError(
            f"{where}: expected the same embeddings again, found a difference of {apart:.2g}; the network draws random "
            "numbers or works in training mode (dropout that ignores eval()); switch that off in its forward"
        )
    return batch


def _shaped(network: SplitNetwork, images: Tensor, card: Card, where: str) -> Tensor:
    """Return the embeddings ``(n, d)`` of ``n`` images. Raises DataError if their shape differs."""
    try:
        found: Tensor = network(images)
    except RuntimeError as error:
        if len(images) == 1:
            raise
        first = str(error).strip().splitlines()[0]
        raise DataError(f"{where}: works for one image, but fails for a batch of {len(images)}: {first}") from None
    wanted = (len(images), card.embedding_size)
    if tuple(found.shape) != wanted:
        raise DataError(
            f"{where}: expected embeddings of shape {wanted} for {len(images)} images, found {tuple(found.shape)}; "
            "a batch size may be baked into the network (a reshape to one row): use view(x.shape[0], -1)"
        )
    return found


def _check_gradient(network: SplitNetwork, image: Tensor, where: str) -> None:
    pixels = image.clone().requires_grad_(True)
    out = functional.normalize(network(pixels))
    direction = torch.linspace(-1, 1, out.shape[1])
    if not out.requires_grad:
        found = "none (detach() or no_grad() in the forward?)"
    else:
        gradient = torch.autograd.grad((out * direction).sum(), pixels, allow_unused=True)[0]
        if gradient is not None and torch.isfinite(gradient).all() and bool(gradient.abs().max() > 0):
            return
        found = "none" if gradient is None else "zeros" if torch.isfinite(gradient).all() else "NaN or infinity"
    raise DataError(
        f"{where}: expected gradients of the embedding that reach the pixels, found {found}; defenses and attacks need "
        "them: the forward must be differentiable"
    )


def _check_splits(network: SplitNetwork, images: Tensor, embeddings: Tensor, card: Card, where: str) -> None:
    """Raise DataError unless each split is called once, has its declared shape, gives finite maps, and is a cut."""
    shapes = {call.path: call.shape for call in calls(network.net, network.preprocess(images[:1]))}
    ordered = list(ordered_splits(network, images))
    if ordered != list(card.splits):
        raise DataError(f"{where}: expected split points in the order {list(card.splits)}, found {ordered}")
    for name, split in card.splits.items():
        with torch.no_grad():
            maps = network.features(images[:2], [name])[0]
        if maps.shape[1:] != split.shape:
            raise DataError(f"{where}: split point {name}: declared {split.shape}, found {tuple(maps.shape[1:])}")
        if not torch.isfinite(maps).all():
            raise DataError(f"{where}: split point {name}: expected finite values, found NaN or infinity")
        if not is_cut(network, network.splits[name], images[:2], embeddings[:2]):
            others = ", ".join(path for path, shape in shapes.items() if shape and "." not in path)
            raise DataError(
                f"{where}: split point {name}: expected that everything goes through the module "
                f"{network.splits[name]!r}, found that a connection goes round it; name the end of a whole block, such "
                f"as one of {others or 'those where branches have been joined'}"
            )
