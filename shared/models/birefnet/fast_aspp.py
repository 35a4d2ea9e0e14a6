"""The deformable ASPP for inference: each branch's columns, product, activation and mixing in one go."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.models.birefnet.decoder import AsppBranch, DeformableAspp
from shared.models.birefnet.deformable import modulated_deform_conv
from shared.models.birefnet.sampling import Sampler, compiled_sampler

_COMPILED: ContextVar[bool] = ContextVar("_COMPILED", default=True)
STRIP = 1_500_000  # sampled values at a time: they and the product stay in the processor's cache


@contextmanager
def without_compiled_sampling() -> Iterator[None]:
    """Within it, this thread samples as on a machine without a compiler."""
    token = _COMPILED.set(False)
    try:
        yield
    finally:
        _COMPILED.reset(token)


class Folded:
    """A convolution, stride 1, with everything that follows it linearly."""

    def __init__(self, weight: Tensor, bias: Tensor | None, padding: int) -> None:
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.bias = bias
        self.padding = padding

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Folded:
    """The convolution and the normalisation after it as one; computed in float32, kept in the weights' precision."""
    gain, bias = _affine(norm)
    if conv.bias is not None:
        bias = bias + conv.bias.float() * gain
    weight = conv.weight.float() * gain.view(-1, 1, 1, 1)
    return Folded(weight.to(conv.weight.dtype), bias.to(conv.weight.dtype), conv.kernel_size[0] // 2)


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Factor and summand of each channel, float32."""
    mean, variance = cast("Tensor", norm.running_mean).float(), cast("Tensor", norm.running_var).float()
    gain = norm.weight.float() * torch.rsqrt(variance + norm.eps)
    return gain, norm.bias.float() - mean * gain


class FastBranch:
    """One branch with its part of the mixing convolution: (B, C, H, W) -> what it adds, (B*H*W, outer)."""

    def __init__(self, branch: AsppBranch, mix: Tensor) -> None:
        """mix: (outer, branch's channels, 1, 1)."""
        conv = branch.atrous_conv
        steering = (conv.offset_conv, conv.modulator_conv)
        self.moves = any(bool(values.any()) for each in steering for values in each.parameters())
        weight = torch.cat([each.weight for each in steering])
        bias = torch.cat([cast("Tensor", each.bias) for each in steering])
        self.steer = Folded(weight, bias, conv.padding)
        self.product = folded(conv.regular_conv, branch.bn)
        # for columns whose channels run fastest, taps slower
        self.matrix = self.product.weight.permute(2, 3, 1, 0).reshape(-1, len(self.product.weight)).contiguous()
        self.mix = mix.flatten(1).t().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        if not self.moves:
            return _rows(self.product(x).relu_()) @ self.mix
        steering = self.steer(x)
        sampler = compiled_sampler() if x.device.type == "cpu" and _COMPILED.get() else None
        if sampler is None:
            return self._by_torch(x, steering)
        return self._in_strips(sampler, x, steering)

    def _in_strips(self, sampler: Sampler, x: Tensor, steering: Tensor) -> Tensor:
        """As the compiled sampling goes: so many positions at a time that nothing leaves the cache."""
        maps, moves = _channels_last(x.float()), _channels_last(steering.float())
        positions, width = maps.shape[1] * maps.shape[2], len(self.matrix)
        step = max(64, STRIP // width)
        columns = torch.empty(min(step, positions), width)
        added = x.new_empty(len(maps), positions, self.mix.shape[1])
        for image, moved, out in zip(maps, moves, added, strict=True):
            for first in range(0, positions, step):
                part = columns[: min(step, positions - first)]
                sampler(image, moved.view(positions, -1), part, first)
                product = torch.addmm(cast("Tensor", self.product.bias), part.to(x.dtype), self.matrix)
                torch.mm(product.relu_(), self.mix, out=out[first : first + len(part)])
        return added.flatten(0, 1)

    def _by_torch(self, x: Tensor, steering: Tensor) -> Tensor:
        """Sampling in float32: half precision cannot tell neighbouring positions apart on a large map."""
        taps = steering.shape[1] // 3
        offset, mask = steering.float().split([2 * taps, taps], 1)
        weight = self.product.weight.float().contiguous()
        product = modulated_deform_conv(x.float().contiguous(), offset, 2 * torch.sigmoid(mask), weight)
        bias = cast("Tensor", self.product.bias).float().view(1, -1, 1, 1)
        return _rows(product.add_(bias).relu_().to(x.dtype)) @ self.mix


class FastAspp:
    """All branches, mixed."""

    def __init__(self, aspp: DeformableAspp) -> None:
        branches = (aspp.aspp1, *(cast("AsppBranch", each) for each in aspp.aspp_deforms))
        gain, self.bias = _affine(aspp.bn1)
        mixing = (aspp.conv1.weight.float() * gain.view(-1, 1, 1, 1)).to(aspp.conv1.weight.dtype)
        mixes = mixing.chunk(len(branches) + 1, 1)
        self.branches = [FastBranch(branch, mix) for branch, mix in zip(branches, mixes, strict=False)]
        pool = aspp.global_avg_pool
        self.average = folded(cast("nn.Conv2d", pool[1]), cast("nn.BatchNorm2d", pool[2]))
        self.average_mix = mixes[-1]
        self.bias = self.bias.to(mixing.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        mixed = self.branches[0](x)
        for branch in self.branches[1:]:
            mixed += branch(x)
        average = self.average(x.mean((-2, -1), keepdim=True, dtype=torch.float32).to(x.dtype)).relu_()
        same = F.conv2d(average, self.average_mix, self.bias)  # the same for every position of an image
        batch, _, height, width = x.shape
        maps = mixed.view(batch, height, width, -1).permute(0, 3, 1, 2)
        return maps.add_(same).relu_()


def _channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C), contiguous."""
    return x.permute(0, 2, 3, 1).contiguous()


def _rows(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B*H*W, C)."""
    return _channels_last(x).flatten(0, 2)
