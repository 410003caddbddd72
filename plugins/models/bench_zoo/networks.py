"""Compact face-recognition networks, one per architecture family of the paper.

Four definitions serve the six stand-ins: `mobileface` (Chen et al. 2018, "MobileFaceNets"), `ir` (the improved
residual unit of Deng et al. 2019, "ArcFace", section 3.2; trained with three losses), `mobilenet` (Howard et
al. 2017, "MobileNets") and `resnet` (bottleneck units of He et al. 2016). Two more serve the judges, so that these
share no architecture with a stand-in: `vgg` (Simonyan and Zisserman 2015, "Very Deep Convolutional Networks") and
`squeezenet` (Iandola et al. 2016, "SqueezeNet"). They keep the units of the originals and shrink width and depth until
a network costs 20-80 million floating-point operations at 112x112 and fits in 2 MB of half-precision weights.

All of them share one contract:

- input: float `(n, 3, 112, 112)`, RGB, in [0, 1]; the network itself shifts it to [-1, 1];
- `stages`: exactly five modules (stem and four stages), resolutions 56, 28, 14, 14 or 7, and 7;
- output: embedding float `(n, 128)`, *not* normalised.

Smaller inputs (64x64 in the first phase of training) work too: the last map is resized to 7x7 before the head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

EMBEDDING_SIZE = 128
INPUT_SIZE = 112
N_STAGES = 5
_MAP = 7  # The side of the last stage's map for images of 112x112.


class _PReLUFunction(torch.autograd.Function):
    """PReLU with one shared slope a; first-order derivatives only.

    The built-in backward pass (per-channel slopes) took half of MobileFace's training time. Here the input's gradient
    g' is one vectorised pass, and the slope's gradient, the sum of x g over negative x, follows without another
    full-size tensor from x.g - x.g' = (1 - a) sum_{x<0} x g.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return F.leaky_relu(x, slope.item())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        x, slope = ctx.saved_tensors
        grad_x = torch.ops.aten.leaky_relu_backward(grad, x, slope.item(), False)
        if not ctx.needs_input_grad[1]:
            return grad_x, None
        flat_x, flat_g, flat_gx = (t.permute(0, 2, 3, 1).reshape(-1) for t in (x, grad, grad_x))
        if abs(1 - slope.item()) > 0.05:
            grad_slope = (torch.dot(flat_x, flat_g) - torch.dot(flat_x, flat_gx)) / (1 - slope)
        else:
            grad_slope = torch.dot(flat_x.clamp(max=0), flat_g).view(1)
        return grad_x, grad_slope


class PReLU(nn.Module):
    """Parametric ReLU, the channel-shared variant (He et al. 2015, equation 1); `(n, c, h, w)` to the same."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        """Return x where it is positive, else x times the slope. x is overwritten if the slope is frozen."""
        if not self.weight.requires_grad and (slope := self.weight.item()) > 0:
            return F.leaky_relu_(x, slope)
        out: Tensor = _PReLUFunction.apply(x, self.weight)
        return out


Activation = Callable[[], nn.Module]


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)


def _conv(
    c_in: int, c_out: int, kernel: int = 1, stride: int = 1, *, depthwise: bool = False, act: Activation | None = None
) -> nn.Sequential:
    """Return a convolution without bias ("same" padding), batch normalisation and, if given, an activation."""
    groups = c_in if depthwise else 1
    layers: list[nn.Module] = [
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
    ]
    if act is not None:
        layers.append(act())
    return nn.Sequential(*layers)


def _separable(c_in: int, c_out: int, stride: int, act: Activation) -> nn.Sequential:
    """Return a depthwise 3x3 and a pointwise convolution, each with normalisation and activation (Howard et al.
    2017)."""
    return nn.Sequential(_conv(c_in, c_in, 3, stride, depthwise=True, act=act), _conv(c_in, c_out, act=act))


def _shortcut(c_in: int, c_out: int, stride: int) -> nn.Module:
    """Return the identity if the shape is kept, else average pooling by `stride` and a 1x1 convolution.

    He et al. 2019 ("Bag of tricks", figure 2c) pool instead of striding. Pooling also avoids the backward pass of a
    strided 1x1 channels-last convolution, which crashes torch 2.15 for 12 input channels.
    """
    if stride == 1 and c_in == c_out:
        return nn.Identity()
    pool = [nn.AvgPool2d(stride)] if stride > 1 else []
    return nn.Sequential(*pool, _conv(c_in, c_out))


class InvertedBottleneck(nn.Module):
    """Expand (1x1), filter (depthwise 3x3), project linearly (1x1); with a shortcut if the shape is kept.

    `(n, c_in, h, w)` to `(n, c_out, h / stride, w / stride)`. Chen et al. 2018, table 1.
    """

    def __init__(self, c_in: int, expanded: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = stride == 1 and c_in == c_out
        self.body = nn.Sequential(
            _conv(c_in, expanded, act=PReLU),
            _conv(expanded, expanded, 3, stride, depthwise=True, act=PReLU),
            _conv(expanded, c_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the body, plus the input if the shape is kept."""
        out: Tensor = self.body(x)
        return x + out if self.residual else out


class ImprovedResidual(nn.Module):
    """BN - conv - BN - PReLU - conv - BN plus shortcut: the IR unit of Deng et al. 2019, section 3.2.

    `(n, c_in, h, w)` to `(n, c_out, h / stride, w / stride)`. The first convolution has the stride, which halves the
    unit's cost compared with the original, whose second convolution has it.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(c_in), _conv(c_in, c_out, 3, stride, act=PReLU), _conv(c_out, c_out, 3)
        )
        self.shortcut = _shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of body and shortcut."""
        out: Tensor = self.body(x) + self.shortcut(x)
        return out


class Bottleneck(nn.Module):
    """Reduce (1x1), filter (3x3), restore (1x1), add the shortcut, ReLU: He et al. 2016, figure 5 right.

    `(n, c_in, h, w)` to `(n, c_out, h / stride, w / stride)`.
    """

    def __init__(self, c_in: int, middle: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(c_in, middle, act=_relu), _conv(middle, middle, 3, stride, act=_relu), _conv(middle, c_out)
        )
        self.shortcut = _shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum of body and shortcut."""
        return F.relu(self.body(x) + self.shortcut(x))


class Fire(nn.Module):
    """Squeeze channels (1x1), expand them by a 1x1 and a 3x3 convolution, and concatenate: Iandola et al. 2016,
    figure 1, with batch normalisation.

    `(n, c_in, h, w)` to `(n, 2 * expanded, h, w)`.
    """

    def __init__(self, c_in: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = _conv(c_in, squeezed, act=_relu)
        self.narrow = _conv(squeezed, expanded, act=_relu)
        self.wide = _conv(squeezed, expanded, 3, act=_relu)

    def forward(self, x: Tensor) -> Tensor:
        """Return the concatenated expansions of the squeezed input."""
        x = self.squeeze(x)
        return torch.cat([self.narrow(x), self.wide(x)], dim=1)


def _global_depthwise_head(channels: int) -> nn.Sequential:
    """Return a global depthwise 7x7 convolution and a linear layer: `(n, c, 7, 7)` to `(n, 128)` (Chen et al.
    2018)."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, _MAP, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Flatten(),
        nn.Linear(channels, EMBEDDING_SIZE, bias=False),
        nn.BatchNorm1d(EMBEDDING_SIZE),
    )


def _flat_head(channels: int, squeezed: int = 32) -> nn.Sequential:
    """Return a head that squeezes channels (1x1), flattens and maps linearly: `(n, c, 7, 7)` to `(n, 128)`.

    Deng et al. 2019 flatten all channels ("option E"); squeezing first keeps the matrix small.
    """
    return nn.Sequential(
        _conv(channels, squeezed),
        nn.Flatten(),
        nn.Linear(squeezed * _MAP * _MAP, EMBEDDING_SIZE, bias=False),
        nn.BatchNorm1d(EMBEDDING_SIZE),
    )


class FaceNetwork(nn.Module):
    """Five stages and a head: float `(n, 3, 112, 112)` RGB in [0, 1] to `(n, 128)`, not normalised.

    `architecture` is the name under which `build` creates the network.
    """

    def __init__(self, architecture: str, stages: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        if len(stages) != N_STAGES:
            raise ValueError(f"Expected {N_STAGES} stages, got {len(stages)}")
        self.architecture = architecture
        self.stages = nn.ModuleList(stages)
        self.head = head

    def features(self, x: Tensor, upto: int = N_STAGES) -> list[Tensor]:
        """Return the outputs of stages 1 to `upto` (1-5), each `(n, c, h, w)`; later stages are not computed.

        Raises ValueError if `upto` is out of range.
        """
        if not 1 <= upto <= N_STAGES:
            raise ValueError(f"Expected upto in 1..{N_STAGES}, got {upto}")
        out: list[Tensor] = []
        x = ((x - 0.5) * 2).contiguous(memory_format=torch.channels_last)
        for stage in self.stages[:upto]:
            x = stage(x)
            out.append(x)
        return out

    def embed_features(self, last: Tensor) -> Tensor:
        """Map the output of the last stage `(n, c, h, w)` to embeddings `(n, 128)`; maps that are not 7x7 are
        resized."""
        if last.shape[-2:] != (_MAP, _MAP):
            last = F.interpolate(last, size=(_MAP, _MAP), mode="bilinear", align_corners=False)
        out: Tensor = self.head(last)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings `(n, 128)` of images `(n, 3, h, w)`."""
        return self.embed_features(self.features(x)[-1])


def mobileface() -> FaceNetwork:
    """Return a network in MobileFaceNet style: inverted bottlenecks with PReLU, few channels at high resolutions."""
    stages = [
        _conv(3, 16, 3, 2, act=PReLU),
        nn.Sequential(_conv(16, 16, 3, 2, depthwise=True, act=PReLU), _conv(16, 32), InvertedBottleneck(32, 64, 32)),
        nn.Sequential(InvertedBottleneck(32, 64, 64, 2), *(InvertedBottleneck(64, 128, 64) for _ in range(3))),
        nn.Sequential(InvertedBottleneck(64, 128, 96, 2), *(InvertedBottleneck(96, 192, 96) for _ in range(2))),
        _conv(96, 256, act=PReLU),
    ]
    return FaceNetwork("mobileface", stages, _global_depthwise_head(256))


def ir() -> FaceNetwork:
    """Return a network in improved-residual style (IR50 of ArcFace), used with three losses."""
    stages = [
        _conv(3, 16, 3, 2, act=PReLU),
        ImprovedResidual(16, 32, 2),
        ImprovedResidual(32, 48, 2),
        ImprovedResidual(48, 48),
        nn.Sequential(ImprovedResidual(48, 96, 2)),
    ]
    return FaceNetwork("ir", stages, _flat_head(96))


def mobilenet() -> FaceNetwork:
    """Return a network in MobileNetV1 style: depthwise-separable convolutions with ReLU, the cheapest of the four."""
    stages = [
        _conv(3, 16, 3, 2, act=_relu),
        nn.Sequential(_separable(16, 32, 2, _relu), _separable(32, 48, 1, _relu)),
        nn.Sequential(_separable(48, 96, 2, _relu), _separable(96, 96, 1, _relu)),
        _separable(96, 128, 1, _relu),
        nn.Sequential(_separable(128, 192, 2, _relu), _separable(192, 192, 1, _relu)),
    ]
    return FaceNetwork("mobilenet", stages, _global_depthwise_head(192))


def resnet() -> FaceNetwork:
    """Return a network in ResNet style: bottleneck units with ReLU."""
    stages = [
        _conv(3, 16, 3, 2, act=_relu),
        Bottleneck(16, 16, 64, 2),
        nn.Sequential(Bottleneck(64, 32, 128, 2), Bottleneck(128, 32, 128)),
        Bottleneck(128, 32, 128),
        nn.Sequential(Bottleneck(128, 64, 256, 2), Bottleneck(256, 64, 256)),
    ]
    return FaceNetwork("resnet", stages, _flat_head(256))


def vgg() -> FaceNetwork:
    """Return a network in VGG style: plain 3x3 convolutions with ReLU, without shortcuts; strides replace pooling."""
    stages = [
        _conv(3, 16, 3, 2, act=_relu),
        _conv(16, 32, 3, 2, act=_relu),
        nn.Sequential(_conv(32, 64, 3, 2, act=_relu), _conv(64, 64, 3, act=_relu)),
        _conv(64, 64, 3, act=_relu),
        nn.Sequential(_conv(64, 128, 3, 2, act=_relu), _conv(128, 128, 3, act=_relu)),
    ]
    return FaceNetwork("vgg", stages, _flat_head(128))


def squeezenet() -> FaceNetwork:
    """Return a network in SqueezeNet style: fire modules with max pooling between them, without shortcuts."""
    pool = nn.MaxPool2d(2)
    stages = [
        _conv(3, 16, 3, 2, act=_relu),
        nn.Sequential(pool, Fire(16, 12, 24)),
        nn.Sequential(pool, Fire(48, 24, 48), Fire(96, 24, 48)),
        Fire(96, 32, 64),
        nn.Sequential(pool, Fire(128, 48, 96), Fire(192, 48, 96)),
    ]
    return FaceNetwork("squeezenet", stages, _flat_head(192))


ARCHITECTURES: dict[str, Callable[[], FaceNetwork]] = {
    "mobileface": mobileface,
    "ir": ir,
    "mobilenet": mobilenet,
    "resnet": resnet,
    "vgg": vgg,
    "squeezenet": squeezenet,
}


def build(architecture: str, seed: int = 0) -> FaceNetwork:
    """Return a newly initialised network in channels-last layout; the same seed gives the same weights.

    Convolutions are drawn from N(0, 2 / fan_out) (He et al. 2015), linear maps from N(0, 1 / fan_in).
    Raises ValueError for an unknown architecture.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"Expected one of {sorted(ARCHITECTURES)}, got {architecture!r}")
    net = ARCHITECTURES[architecture]()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1] // module.groups
                module.weight.normal_(0, (2 / fan_out) ** 0.5, generator=generator)
            elif isinstance(module, nn.Linear):
                module.weight.normal_(0, module.in_features**-0.5, generator=generator)
    return net.to(memory_format=torch.channels_last)


def count_flops(net: nn.Module, size: int = INPUT_SIZE) -> int:
    """Return the floating-point operations of a forward pass of one image; a multiply-add counts as two.

    Convolutions and linear maps are counted (by hooks, on a `(1, 3, size, size)` input); normalisation, activations
    and additions, less than 5 % for these networks, are not.
    """
    total = 0

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            taps = module.kernel_size[0] * module.kernel_size[1] * module.in_channels // module.groups
            total += 2 * taps * output[0].numel()
        elif isinstance(module, nn.Linear):
            total += 2 * module.in_features * module.out_features

    handles = [m.register_forward_hook(hook) for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, 3, size, size))
    finally:
        net.train(training)
        for handle in handles:
            handle.remove()
    return total


def count_parameters(net: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in net.parameters())
