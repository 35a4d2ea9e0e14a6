"""EfficientNet-Lite: convolutions alone, without squeeze-and-excitation, ReLU6 in place of swish.

Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (arXiv:1905.11946), and the
lite variants of TensorFlow's model garden. Padding and the norms' epsilon are those of the published weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.models.birefnet.config import MAPS

STEM = 32  # channels of the first convolution, in every lite variant
KERNELS = (3, 3, 5, 3, 5, 5, 3)  # of each stage's depthwise convolutions
STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of each stage's first block
EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)  # hidden over inner width
EPSILON = 1e-3


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of `size`, so that ceil(size / stride) values come out: TensorFlow's "same"."""
    missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return missing // 2, missing - missing // 2


class SameConv2d(nn.Conv2d):
    """A convolution without bias that pads as TensorFlow does: with a stride, more after an axis than before it."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inner, outer, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.padded(x, self.weight, None)

    def padded(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution with other weights of the same shape."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        (top, bottom), (left, right) = (same_padding(side, kernel, stride) for side in x.shape[-2:])
        # an axis that needs one more zero after it than before it gets both, and a kernel that starts with a zero: no
        # padded copy of the maps
        weight = F.pad(weight, (right - left, 0, bottom - top, 0))
        return F.conv2d(x, weight, bias, stride, (bottom, right), 1, self.groups)


def normed(conv: SameConv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """norm(conv(x)). With fixed statistics the norm is folded into the weights, which saves a pass."""
    if norm.training or norm.running_var is None or norm.running_mean is None:
        result: Tensor = norm(conv(x))
        return result
    gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return conv.padded(x, conv.weight * gain.view(-1, 1, 1, 1), norm.bias - norm.running_mean * gain)


class InvertedResidual(nn.Module):
    """Widen, filter each channel in space, narrow; the input is added where shapes allow."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inner * expansion
        self.added = stride == 1 and inner == outer
        self.expanded = expansion > 1
        if self.expanded:
            self.expand = SameConv2d(inner, hidden, 1)
            self.expand_norm = nn.BatchNorm2d(hidden, eps=EPSILON)
        self.depthwise = SameConv2d(hidden, hidden, kernel, stride, groups=hidden)
        self.depthwise_norm = nn.BatchNorm2d(hidden, eps=EPSILON)
        self.project = SameConv2d(hidden, outer, 1)
        self.project_norm = nn.BatchNorm2d(outer, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu6(normed(self.expand, self.expand_norm, x), inplace=True) if self.expanded else x
        wide = F.relu6(normed(self.depthwise, self.depthwise_norm, wide), inplace=True)
        narrow = normed(self.project, self.project_norm, wide)
        return x + narrow if self.added else narrow


class EfficientNetLite(nn.Module):
    """(B, 3, H, W) -> four maps at strides 4, 8, 16 and 32, rounded up, of stage widths 1, 2, 4 and 6.

    `widths` and `depths`: channels and blocks of the seven stages.
    """

    def __init__(self, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.depths = tuple(depths)
        self.stem = SameConv2d(3, STEM, 3, 2)
        self.stem_norm = nn.BatchNorm2d(STEM, eps=EPSILON)
        self.stages = nn.ModuleList()
        inner = STEM
        for width, depth, *shape in zip(widths, depths, KERNELS, STRIDES, EXPANSIONS, strict=True):
            self.stages.append(_stage(inner, width, depth, *shape))
            inner = width

    def forward(self, image: Tensor) -> list[Tensor]:
        x = F.relu6(normed(self.stem, self.stem_norm, image), inplace=True)
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in MAPS:
                maps.append(x)
        return maps


def _stage(inner: int, width: int, depth: int, kernel: int, stride: int, expansion: int) -> nn.Sequential:
    first = InvertedResidual(inner, width, kernel, stride, expansion)
    return nn.Sequential(first, *(InvertedResidual(width, width, kernel, 1, expansion) for _ in range(depth - 1)))
