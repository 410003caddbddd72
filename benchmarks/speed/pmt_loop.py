"""The descent of PMT on the last split of two networks

Every variant makes the same iterations on the same 16 faces with the same loss over features, on one thread: steps of
the sign of the gradient, no augmentation, the features of the faces computed once.

- ``bench``: the loop of the defense ``pmt``, on a network as the host loads it
- ``plain``: Algorithms 1 and 2 of the paper, written plainly with torch, on a network as torch loads it: its weights
  require gradients, and ``backward`` computes them
- ``plain, frozen``: the same on a network whose weights require no gradients
- ``ART``: ``FeatureAdversariesPyTorch`` of adversarial-robustness-toolbox, given the network up to the split, as torch
  loads it; it computes the features of the faces in each iteration
- ``ART, frozen``: the same without gradients of weights
- ``torchattacks``: ``PGD``, which knows no loss over features; it runs the whole network
- ``kernels``: the convolutions of the iterations alone, forward and backward to their inputs, each at its own shape,
  with a bias that stands for the batch normalisation folded into it
"""

from __future__ import annotations

import copy
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from bench_facenets.files.pixels import Pixels
from bench_facenets.loading.splitting import SplitNetwork
from bench_facenets.networks.mobileface import mobileface
from bench_pmt import Pmt
from bench_pmt.optimise import Objective, descend
from bench_pmt.transforms import start
from torch import Tensor, nn

from bench import Capabilities, Context, Network, folded, registered
from speed import Bar, Case, Variant

BATCH, STEPS, STEP_SIZE = 16, 4, 0.02
BARS = (
    Bar("bench", "ART", 3.0),
    Bar("bench", "ART, frozen", 3.0),
    Bar("bench", "plain", 2.0),
    Bar("bench", "plain, frozen", 2.0),
    Bar("bench", "kernels", 0.7),
)
WEIGHTS = Path("weights") / "mobilefacenet-112x96.ckpt"


def cases() -> Iterator[Case]:
    """Yield a case for each of the two networks."""
    torch.set_num_threads(1)
    zoo = registered("model")["zoo-mobileface"]().load()
    yield case("zoo-mobileface", zoo, zoo.splits[-1])
    name, real = real_network()
    yield case(name, real, list(real.splits)[-1])


def as_the_host_loads_it(network: SplitNetwork, faces: Tensor) -> SplitNetwork:
    """Return the folded copy of a network."""
    splits = tuple(network.splits)
    return folded(network, lambda one: [one(faces[:1]), *one.features(faces[:1], splits)])


def case(name: str, network: SplitNetwork, split: str) -> Case:
    """Return the case of one network."""
    faces = torch.rand(BATCH, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    frozen, loaded = (copy.deepcopy(network).requires_grad_(grads) for grads in (False, True))
    variants = {
        "bench": ours(as_the_host_loads_it(frozen, faces), split, faces),
        "plain": plain(loaded, split, faces),
        "plain, frozen": plain(frozen, split, faces),
    }
    notes = []
    if importlib.util.find_spec("art"):
        variants |= {"ART": art(loaded, split, faces), "ART, frozen": art(frozen, split, faces)}
    else:
        notes.append("ART is not installed: `make bench` installs it.")
    if importlib.util.find_spec("torchattacks"):
        variants["torchattacks"] = torchattacks(frozen, split, faces)
    else:
        notes.append("torchattacks is not installed: `make bench` installs it.")
    variants["kernels"] = kernels(frozen, split, faces)
    return Case(f"{name}, split {split}", "images x iterations", variants, BARS, rounds=4, notes=notes)


def real_network() -> tuple[str, SplitNetwork]:
    """Return a MobileFaceNet for 112x96: that of the folder ``BENCH_REAL``, or else one with random weights.

    Both are equally fast: speed depends on the shapes of weights, not on their values.
    """
    folder = os.environ.get("BENCH_REAL")
    if folder and (Path(folder) / WEIGHTS).exists():
        model = registered("model")["mobileface"](weights_file=str(Path(folder) / WEIGHTS))
        return "a real MobileFaceNet 112x96", model.load()
    torch.manual_seed(1)
    net = mobileface(128, last_map=(7, 6))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # The statistics become those of the batch below.
    with torch.no_grad():
        net.train()(torch.randn(BATCH, 3, 112, 96))
    pixels = Pixels(height=112, width=96, channels="rgb", mean=(127.5,) * 3, std=(128.0,) * 3)
    return "MobileFaceNet 112x96 with random weights", SplitNetwork(net, pixels, {"trunk": "conv2"})


def context(network: Network, split: str) -> Context:
    """Return the context in which the host calls a defense on one batch."""
    capabilities = Capabilities.of_defense(Pmt.needs, {"model": (network, (split,))})
    ids = [str(i) for i in range(BATCH)]
    return Context(device=torch.device("cpu"), seed=1, capabilities=capabilities, sample_ids=ids)


def ours(network: Network, split: str, faces: Tensor) -> Variant:
    """Return the loop of bench."""
    params = Pmt(steps=STEPS, step_size=STEP_SIZE, decay="none")

    def run() -> float:
        ctx = context(network, split)
        objective = Objective(params, [ctx.shallow("model")])
        descend(faces, start(faces, params, ctx), objective, ctx)
        return BATCH * STEPS

    return run


def plain(network: Network, split: str, faces: Tensor) -> Variant:
    """Return Algorithm 2 as one writes it down."""

    def run() -> float:
        with torch.no_grad():
            (target,) = network.features(faces, [split])
        moving = torch.randn_like(faces).add(0.5).clamp(0, 1)
        for _ in range(STEPS):
            moving.requires_grad_()
            (maps,) = network.features(moving, [split])
            (maps - target).square().flatten(1).mean(dim=1).sum().backward()
            moving = (moving.detach() - STEP_SIZE * moving.grad.sign()).clamp(0, 1)
        return BATCH * STEPS

    return run


class Trunk(nn.Module):
    """The network up to the split, as a module."""

    def __init__(self, network: Network, split: str) -> None:
        super().__init__()
        self.network, self.split = network, split

    def forward(self, images: Tensor) -> Tensor:
        """Return the maps at the split."""
        return self.network.features(images, [self.split])[0]


def art(network: Network, split: str, faces: Tensor) -> Variant:
    """Return the attack of ART on the same features."""
    from art.attacks.evasion import FeatureAdversariesPyTorch
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        nn.Sequential(Trunk(network, split)), nn.MSELoss(), (3, 112, 112), 2, clip_values=(0, 1), device_type="cpu"
    )
    attack = FeatureAdversariesPyTorch(
        classifier, delta=1.0, layer=0, max_iter=STEPS, batch_size=BATCH, step_size=STEP_SIZE, verbose=False
    )
    first, guide = torch.randn_like(faces).add(0.5).clamp(0, 1).numpy(), faces.numpy()

    def run() -> float:
        attack.generate(first, guide)
        return BATCH * STEPS

    return run


def torchattacks(network: Network, split: str, faces: Tensor) -> Variant:
    """Return the attack PGD of torchattacks, with the embedding in the place of logits."""
    from torchattacks import PGD

    attack = PGD(network, eps=1.0, alpha=STEP_SIZE, steps=STEPS)
    labels = torch.zeros(BATCH, dtype=torch.int64)

    def run() -> float:
        attack(faces, labels)
        return BATCH * STEPS

    return run


def kernels(network: Network, split: str, faces: Tensor) -> Variant:
    """Return the convolutions of ``STEPS`` iterations, each by itself, in the faster of the two memory layouts."""
    shapes: list[tuple[nn.Conv2d, Tensor]] = []

    def note(module: nn.Module, args: tuple[Tensor, ...], _output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        shapes.append((module, args[0].detach()))

    assert isinstance(network, nn.Module)
    hooks = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        network.features(faces, [split])
    for hook in hooks:
        hook.remove()
    calls = [call for module, seen in shapes for call in convolution(module, seen)]

    def run() -> float:
        for _ in range(STEPS):
            for call in calls:
                call()
        return BATCH * STEPS

    return run


def convolution(module: nn.Conv2d, seen: Tensor) -> Iterator[Callable[[], object]]:
    """Yield a convolution with bias, and its backward pass to the input, on channels-last tensors like ``seen``."""
    x = torch.randn(seen.shape).contiguous(memory_format=torch.channels_last)
    weight = module.weight.detach().contiguous(memory_format=torch.channels_last)
    bias = torch.zeros(len(weight))
    settings = (module.stride, module.padding, module.dilation, False, (0, 0), module.groups)
    with torch.no_grad():
        grad = torch.randn_like(torch.convolution(x, weight, bias, *settings))
    yield lambda: torch.convolution(x, weight, bias, *settings)
    mask = (True, False, False)
    yield lambda: torch.ops.aten.convolution_backward(grad, x, weight, [0], *settings, mask)
