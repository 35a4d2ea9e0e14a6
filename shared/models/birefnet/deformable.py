"""Modulated deformable convolution, stride 1: Zhu et al. 2019, "Deformable ConvNets v2" (arXiv:1811.11168)."""

import torch
from torch import Tensor
from torch.nn import functional as F

COLUMNS = 4_000_000  # sampled values at a time without gradients: they stay in the processor's cache


def modulated_deform_conv(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Convolution whose taps are moved by `offset` and weighted by `mask`, padded to keep the size.

    x (B, C, H, W); offset (B, 2*k*k, H, W), pixels, dy before dx for each tap; mask (B, k*k, H, W);
    weight (out, C, k, k), k odd. Positions outside the map count as 0. Gives (B, out, H, W).
    """
    if x.device.type == "cpu":
        return sampled_deform_conv(x, offset, mask, weight)
    return kernel_deform_conv(x, offset, mask, weight)


def kernel_deform_conv(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """The same by torchvision, whose table of samples grows with the batch: without gradients, image by image."""
    from torchvision.ops import deform_conv2d  # slow to import, and only a GPU needs it

    padding = weight.shape[-1] // 2
    if torch.is_grad_enabled():
        return deform_conv2d(x, offset, weight, padding=padding, mask=mask)
    images = zip(x.split(1), offset.split(1), mask.split(1), strict=True)
    return torch.cat([deform_conv2d(one, by, weight, padding=padding, mask=over) for one, by, over in images])


def sampled_deform_conv(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """The same by grid_sample and matrix products: torchvision's CPU kernel is scalar and runs one thread."""
    batch, channels, height, width = x.shape
    taps = weight.shape[-1] ** 2
    grid = _sampling_grid(offset, weight.shape[-1])
    mask = mask.reshape(batch, 1, taps, height, width)
    matrix = weight.flatten(1)
    strip = height if torch.is_grad_enabled() else max(1, COLUMNS // (batch * channels * taps * width))
    strips = []
    for top in range(0, height, strip):
        rows = slice(top, top + strip)
        places = grid[:, :, rows].reshape(batch, -1, width, 2)
        columns = F.grid_sample(x, places, mode="bilinear", padding_mode="zeros", align_corners=False)
        columns = columns.view(batch, channels, taps, -1, width) * mask[:, :, :, rows]
        products = matrix @ columns.view(batch, channels * taps, -1)
        strips.append(products.view(batch, len(weight), -1, width))
    return torch.cat(strips, 2)


def _sampling_grid(offset: Tensor, kernel: int) -> Tensor:
    """Where each tap of each position samples, in grid_sample's coordinates: (B, k*k, H, W, 2), x before y."""
    batch, _, height, width = offset.shape
    moved = offset.reshape(batch, kernel * kernel, 2, height, width)
    tap = torch.arange(kernel, device=offset.device) - kernel // 2
    rows = torch.arange(height, device=offset.device)[:, None] + tap.repeat_interleave(kernel)[:, None, None]
    columns = torch.arange(width, device=offset.device) + tap.repeat(kernel)[:, None, None]
    x = (2 * (moved[:, :, 1] + columns) + 1) / width - 1
    y = (2 * (moved[:, :, 0] + rows) + 1) / height - 1
    return torch.stack((x, y), -1)
