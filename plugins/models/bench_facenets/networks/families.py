"""The network families of known checkpoints, by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from bench_facenets.networks.ir import ir, iresnet
from bench_facenets.networks.mobileface import mobileface, mobileface_relu
from bench_facenets.networks.mobilenet import mobilenet
from bench_facenets.networks.resnet import resnet

FAMILIES: dict[str, Callable[..., nn.Sequential]] = {
    "mobileface": mobileface,
    "mobileface-relu": mobileface_relu,
    "ir": ir,
    "iresnet": iresnet,
    "mobilenet": mobilenet,
    "resnet": resnet,
}
