"""The full-size networks: definitions of this package, with the key names of the public checkpoints.

All of them share one contract: float ``(n, 3, h, w)``, normalised and in the network's own channel order, to
embeddings float ``(n, d)``, *not* normalised. `bench_facenets.files.known_checkpoints` says which network reads which
file.
"""

from __future__ import annotations

import math

import torch
from torch import nn


def initialise(net: nn.Module, seed: int) -> None:
    """Initialise every weight in place; the same seed gives the same weights, and no global state is used.

    Convolutions are drawn from N(0, 2 / fan_out) (He et al. 2015), linear maps from N(0, 1 / fan_in); normalisations
    become the identity, slopes of PReLU .25, biases zero.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.out_channels * math.prod(module.kernel_size) // module.groups
                module.weight.normal_(0, (2 / fan_out) ** 0.5, generator=generator)
            elif isinstance(module, nn.Linear):
                module.weight.normal_(0, module.in_features**-0.5, generator=generator)
            elif isinstance(module, nn.PReLU):
                module.weight.fill_(0.25)
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.reset_parameters()
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                module.bias.zero_()


def build(architecture: str, embedding_size: int = 512, seed: int = 0) -> nn.Sequential:
    """Return a newly initialised network for training: the default layout of an architecture, on the CPU.

    Raises ValueError for an unknown architecture.
    """
    from bench_facenets.files.known_checkpoints import default

    net = default(architecture).build(embedding_size)
    net.to_empty(device="cpu")
    initialise(net, seed)
    return net
