"""BiRefNet's decoder: features from coarse to fine, each level seeing the image itself again.

Zheng et al. 2024, "Bilateral Reference for High-Resolution Dichotomous Image Segmentation" (arXiv:2401.03407).
Attribute names are the keys of the published checkpoints.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.models.birefnet.deformable import modulated_deform_conv
from shared.models.birefnet.tiles import TILE_GRIDS, stack_tiles

IMAGE_SHARE = 8  # an image block adds one channel for this many of the features


class DecoderOutput(NamedTuple):
    """Raw logits. The lists are for training and empty otherwise; they run from stride 32 to stride 8."""

    logits: Tensor  # (B, 1, H, W)
    masks: list[Tensor]  # (B, 1, h, w) each: the subject at that level, for multi-scale supervision
    gradients: list[Tensor]  # (B, 1, h, w) each: where the image's gradient matters at that level


class ZeroConv2d(nn.Conv2d):
    """A convolution that training starts at zero, so that the deformable one around it starts as a plain one."""


class DeformableConv(nn.Module):
    """Modulated deformable convolution, stride 1: Zhu et al. 2019 (arXiv:1811.11168).

    `steered` is False while the taps stay in place: a plain convolution, the same result at a fraction of the work.
    """

    def __init__(self, inner: int, outer: int, kernel: int) -> None:
        super().__init__()
        self.steered = True
        self.padding = kernel // 2
        taps = kernel * kernel
        self.offset_conv = ZeroConv2d(inner, 2 * taps, kernel, padding=self.padding)  # dy, dx of each tap, pixels
        self.modulator_conv = ZeroConv2d(inner, taps, kernel, padding=self.padding)
        self.regular_conv = nn.Conv2d(inner, outer, kernel, padding=self.padding, bias=False)

    @torch.no_grad()
    def skip_zeros(self) -> None:
        """Leaves the steering out if its weights are zero, as a training on few images keeps them."""
        convs = (self.offset_conv, self.modulator_conv)
        self.steered = any(bool(values.any()) for conv in convs for values in conv.parameters())

    def forward(self, x: Tensor) -> Tensor:
        if not self.steered:
            return F.conv2d(x, self.regular_conv.weight, padding=self.padding)
        # one convolution for both: half the passes over x
        convs = (self.offset_conv, self.modulator_conv)
        steering = F.conv2d(
            x,
            torch.cat([conv.weight for conv in convs]),
            torch.cat([conv.bias for conv in convs if conv.bias is not None]),
            padding=self.padding,
        )
        offset, mask = steering.split([conv.out_channels for conv in convs], 1)
        mask = 2 * torch.sigmoid(mask)
        weight = self.regular_conv.weight
        if x.dtype in (torch.float16, torch.bfloat16):
            # half precision cannot tell neighbouring sample positions apart on a large map
            wide = modulated_deform_conv(x.float(), offset.float(), mask.float(), weight.float())
            return wide.to(x.dtype)
        return modulated_deform_conv(x, offset, mask, weight)


class AsppBranch(nn.Module):
    def __init__(self, inner: int, outer: int, kernel: int) -> None:
        super().__init__()
        self.atrous_conv = DeformableConv(inner, outer, kernel)
        self.bn = nn.BatchNorm2d(outer)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.atrous_conv(x)))


class DeformableAspp(nn.Module):
    """Parallel views of one map through growing deformable kernels and its average."""

    def __init__(self, channels: int, branch: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self.aspp1 = AsppBranch(channels, branch, 1)
        self.aspp_deforms = nn.ModuleList(AsppBranch(channels, branch, kernel) for kernel in kernels)
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, branch, 1, bias=False), nn.BatchNorm2d(branch), nn.ReLU()
        )
        self.conv1 = nn.Conv2d((len(kernels) + 2) * branch, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.aspp1, *self.aspp_deforms, self.global_avg_pool)
        weights = self.conv1.weight.split(self.conv1.in_channels // len(branches), 1)
        # conv1 of the concatenated branches, branch by branch: nothing is concatenated, the average is never spread
        mixed = F.conv2d(branches[0](x), weights[0])
        for branch, weight in zip(branches[1:], weights[1:], strict=True):
            mixed = mixed + F.conv2d(branch(x), weight)
        return F.relu(self.bn1(mixed))


class DecoderBlock(nn.Module):
    def __init__(self, inner: int, outer: int, channels: int, branch: int, kernels: Sequence[int]) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(inner, channels, 3, padding=1)
        self.dec_att = DeformableAspp(channels, branch, kernels)
        self.conv_out = nn.Conv2d(channels, outer, 3, padding=1)
        self.bn_in = nn.BatchNorm2d(channels)
        self.bn_out = nn.BatchNorm2d(outer)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn_in(self.conv_in(x)))
        normed: Tensor = self.bn_out(self.conv_out(self.dec_att(x)))
        return normed


class ImageBlock(nn.Module):
    """Two convolutions on the stacked image tiles; the weights were trained with nothing between them."""

    def __init__(self, grid: int, channels: int, outer: int) -> None:
        super().__init__()
        self.grid = grid
        self.conv1 = nn.Conv2d(3 * grid * grid, channels, 3, padding=1)
        self.conv_out = nn.Conv2d(channels, outer, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.conv_out(self.conv1(stack_tiles(image, self.grid)))
        return features


class LateralBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.conv(x)
        return projected


class Decoder(nn.Module):
    """`widths`: channels of x1 .. x4, the features of both scales, finest first.

    `fine` is False while the image's own term at full size is left out: the same result if its weights are zero.
    """

    ipt_blk1: ImageBlock

    def __init__(
        self, widths: Sequence[int], channels: int, branch: int, kernels: Sequence[int], gradient_channels: int
    ) -> None:
        super().__init__()
        self.fine = True
        self.blocks_width = widths[0] // 2  # channels of the last block's output
        image_widths = {5: widths[3], 4: widths[3], 3: widths[2], 2: widths[1], 1: widths[0]}
        image_widths = {level: max(1, width // IMAGE_SHARE) for level, width in image_widths.items()}
        outer = {4: widths[2], 3: widths[1], 2: widths[0], 1: widths[0] // 2}
        for level in (5, 4, 3, 2, 1):
            grid = TILE_GRIDS.get(level, 1)
            self.add_module(f"ipt_blk{level}", ImageBlock(grid, channels, image_widths[level]))
        for level in (4, 3, 2, 1):
            inner = widths[level - 1] + image_widths[level + 1]
            self.add_module(f"decoder_block{level}", DecoderBlock(inner, outer[level], channels, branch, kernels))
        self.conv_out1 = nn.Sequential(nn.Conv2d(outer[1] + image_widths[1], 1, 1))
        for level in (4, 3, 2):
            self.add_module(f"lateral_block{level}", LateralBlock(outer[level]))
        for level in (4, 3, 2):
            self.add_module(f"conv_ms_spvn_{level}", nn.Conv2d(outer[level], 1, 1))
        for level in (4, 3, 2):
            gradient = [nn.Conv2d(outer[level], gradient_channels, 3, padding=1), nn.BatchNorm2d(gradient_channels)]
            self.add_module(f"gdt_convs_{level}", nn.Sequential(*gradient, nn.ReLU()))
        for kind in ("pred", "attn"):
            for level in (4, 3, 2):
                self.add_module(f"gdt_convs_{kind}_{level}", nn.Sequential(nn.Conv2d(gradient_channels, 1, 1)))

    def forward(self, image: Tensor, features: Sequence[Tensor], *, side_outputs: bool = False) -> DecoderOutput:
        masks: list[Tensor] = []
        gradients: list[Tensor] = []
        x = features[3]
        for level in (4, 3, 2):
            x = self._block(level, x, image)
            edges = self._run(f"gdt_convs_{level}", x)
            if side_outputs:
                masks.append(self._run(f"conv_ms_spvn_{level}", x))
                gradients.append(self._run(f"gdt_convs_pred_{level}", edges))
            x = x * torch.sigmoid(self._run(f"gdt_convs_attn_{level}", edges))
            finer = features[level - 2]
            x = resize(x, finer.shape[-2:]) + self._run(f"lateral_block{level}", finer)
        return DecoderOutput(self._logits(self._block(1, x, image), image), masks, gradients)

    def _logits(self, x: Tensor, image: Tensor) -> Tensor:
        """conv_out1 of the enlarged features beside ipt_blk1 of the image.

        conv_out1 is linear in each pixel: applied before the enlargement, and folded into the image block's second
        convolution, it leaves one channel at full size instead of hundreds.
        """
        out, image_block = cast("nn.Conv2d", self.conv_out1[0]), self.ipt_blk1
        for_features, for_image = out.weight.split([x.shape[1], out.in_channels - x.shape[1]], 1)
        coarse = resize(F.conv2d(x, for_features, out.bias), image.shape[-2:])
        if not self.fine:
            return coarse
        for_image = for_image.flatten(1)
        folded = (for_image @ image_block.conv_out.weight.flatten(1)).view(1, -1, 3, 3)
        bias = for_image @ cast("Tensor", image_block.conv_out.bias)
        fine = F.conv2d(image_block.conv1(image), folded, bias, padding=1)
        return coarse + fine

    @torch.no_grad()
    def skip_zeros(self) -> None:
        """Leaves out the image's term at full size if its weights are zero, as a training on few images keeps them."""
        block = self.ipt_blk1.conv_out
        self.fine = bool(block.weight.any()) or bool(cast("Tensor", block.bias).any())

    def _block(self, level: int, x: Tensor, image: Tensor) -> Tensor:
        tiles = self._run(f"ipt_blk{level + 1}", image)
        return self._run(f"decoder_block{level}", torch.cat([x, tiles], 1))

    def _run(self, name: str, x: Tensor) -> Tensor:
        result: Tensor = self.get_submodule(name)(x)
        return result


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, corners aligned, no antialiasing: the resize that the weights were trained with, up and down."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)
