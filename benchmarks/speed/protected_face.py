"""Time to a protected face: plain descent of 100 iterations, and what reaches the same

All variants protect the same 16 faces for zoo-mobileface, on one thread. The notes say how similar the results are: the
cosine of the authorised network, of four networks that are not authorised, and SSIM. How recognisable the faces are
after an adaptive RecFace takes a run: ``docs/design/performance.md``.

- ``bench``: the defense ``pmt`` with momentum, 33 iterations
- ``bench, sign``: the defense ``pmt`` with 100 iterations of the sign of the gradient
- ``plain``: the same 100 iterations, written plainly with torch
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from bench_pmt import Pmt
from torch import Tensor
from torch.nn.functional import cosine_similarity

from bench import Context, Network, registered
from bench.metrics import ssim
from speed import Bar, Case, Variant
from speed.pmt_loop import BATCH, as_the_host_loads_it, context

SIGN = Pmt(steps=100, step_size=0.02)
MOMENTUM = Pmt(update="momentum", steps=33, step_size=0.04)
OTHERS = ("zoo-mobilenet", "zoo-resnet", "zoo-ir-softmax", "zoo-judge-vgg")


def cases() -> Iterator[Case]:
    """Yield the only case."""
    torch.set_num_threads(1)
    loading = Context(device=torch.device("cpu"), seed=1)
    faces, _ = registered("dataset")["synth-lfw"]().evaluation(2 * BATCH, loading)
    images = torch.from_numpy(faces.images[: 2 * BATCH : 2]).float() / 255
    network = registered("model")["zoo-mobileface"]().load().requires_grad_(False)
    protect = {
        "bench": defense(MOMENTUM, as_the_host_loads_it(network, images), images),
        "bench, sign": defense(SIGN, as_the_host_loads_it(network, images), images),
        "plain": lambda: plain(network, images),
    }
    yield Case(
        "16 generated faces, zoo-mobileface",
        "protected faces",
        {name: variant(call) for name, call in protect.items()},
        [Bar("bench", "plain", 3.0)],
        rounds=3,
        notes=[f"{name}: {quality(network, images, call())}" for name, call in protect.items()],
    )


def variant(call: Callable[[], Tensor]) -> Variant:
    """Return a variant that protects all faces."""
    return lambda: float(len(call()))


def defense(params: Pmt, network: Network, images: Tensor) -> Callable[[], Tensor]:
    """Return a call of the defense that gives the protected images."""

    def call() -> Tensor:
        found = params.protect(images, context(network, "stage4")).images
        assert found is not None
        return found

    return call


def plain(network: Network, images: Tensor) -> Tensor:
    """Return the images that Algorithm 2, written plainly, makes from the same start."""
    with torch.no_grad():
        (target,) = network.features(images, ["stage4"])
    moving = (0.5 + context(network, "stage4").randn(images)).clamp(0, 1)
    for iteration in range(SIGN.steps):
        moving.requires_grad_()
        (maps,) = network.features(moving, ["stage4"])
        (gradient,) = torch.autograd.grad((maps - target).square().flatten(1).mean(dim=1).sum(), moving)
        size = SIGN.step_size * (1 - iteration / SIGN.steps)
        moving = (moving.detach() - size * gradient.sign()).clamp(0, 1)
    return moving


@torch.no_grad()
def quality(network: Network, images: Tensor, protected: Tensor) -> str:
    """Return how similar protected images, as 8-bit values, are to the faces."""
    sent = (protected * 255).round() / 255
    others = [registered("model")[name]().load() for name in OTHERS]
    own = float(cosine_similarity(network(sent), network(images)).mean())
    foreign = sum(float(cosine_similarity(other(sent), other(images)).mean()) for other in others) / len(others)
    alike = ssim((sent * 255).round().byte().numpy(), (images * 255).round().byte().numpy()).mean()
    return f"authorised cosine {own:.3f}, cosine of the others {foreign:.3f}, SSIM {alike:.4f}"
