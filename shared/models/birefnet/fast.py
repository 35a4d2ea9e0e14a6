"""BiRefNet for inference: the same logits as `network.py` up to rounding, with what does not depend on the image ready.

- Both scales pass the backbone together (`fast_swin.py`).
- Batch normalisations are folded into the convolutions before them.
- Features of the half scale are never enlarged to be concatenated: a lateral convolution is split between the scales,
  and what the squeeze module samples is computed by two small matrices, one per axis.
- A deformable branch never exists as a whole map: its columns, its product and its part of the mixing convolution are
  computed in strips that stay in the processor's cache, or in one kernel on a GPU (`deformable_gpu.py`).
- Branches whose taps no weight moves are plain convolutions.
- The image's own part of the logits is one 5x5 convolution, and its outermost pixels, where the padding between the
  two convolutions that it replaces shows, are computed as those do.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.models.birefnet.decoder import Decoder, DecoderBlock, ImageBlock, LateralBlock, resize
from shared.models.birefnet.fast_aspp import FastAspp, Folded, folded
from shared.models.birefnet.fast_swin import FastSwin
from shared.models.birefnet.network import BiRefNet, check_input
from shared.models.birefnet.swin import SwinTransformer

RIM = 4  # pixels of a border strip from which its outermost pixel can be computed


class FastBiRefNet:
    """The inference form of a network, on its device and in its precision; it shares the unchanged weights.

    Gives for a normalised (B, 3, H, W) the logits (B, 1, H, W), as the network does. Thread-safe.
    """

    @torch.inference_mode()
    def __init__(self, network: BiRefNet) -> None:
        self._backbone: FastSwin | nn.Module = network.bb
        if isinstance(network.bb, SwinTransformer):
            self._backbone = FastSwin(network.bb)
        self._squeeze = FastBlock(cast("DecoderBlock", network.squeeze_module[0]))
        self._decoder = FastDecoder(network.decoder)

    def use_backbone(self, backbone: nn.Module) -> None:
        """Run this backbone, once for each scale, in place of the inference form's."""
        self._backbone = backbone

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        check_input(image)
        half = resize(image, [side // 2 for side in image.shape[-2:]])
        if isinstance(self._backbone, FastSwin):
            full_maps, half_maps = self._backbone((image, half))
        else:
            full_maps, half_maps = self._backbone(image), self._backbone(half)
        pairs = list(zip(full_maps, half_maps, strict=True))
        size = full_maps[3].shape[-2:]
        parts = [
            part for full, small in pairs for part in (resize(full, size), resampled(small, full.shape[-2:], size))
        ]
        return self._decoder(image, pairs[:3], self._squeeze(torch.cat(parts, 1)))


class FastBlock:
    """A decoder block without its normalisations."""

    def __init__(self, block: DecoderBlock) -> None:
        self.conv_in = folded(block.conv_in, block.bn_in)
        self.aspp = FastAspp(block.dec_att)
        self.conv_out = folded(block.conv_out, block.bn_out)

    def __call__(self, x: Tensor) -> Tensor:
        return self.conv_out(self.aspp(self.conv_in(x).relu_()))


class FastLateral:
    """The lateral convolution of both scales' features, the half scale's at its own size."""

    def __init__(self, lateral: LateralBlock) -> None:
        weight, bias = lateral.conv.weight, lateral.conv.bias
        full, half = weight.chunk(2, 1)
        self.full, self.half = Folded(full, bias, 0), Folded(half, None, 0)

    def __call__(self, full: Tensor, half: Tensor) -> Tensor:
        return self.full(full).add_(resize(self.half(half), full.shape[-2:]))


class FastDecoder:
    """The decoder from both scales' features, which are never concatenated."""

    def __init__(self, decoder: Decoder) -> None:
        self.tiles = {level: cast("ImageBlock", decoder.get_submodule(f"ipt_blk{level}")) for level in (5, 4, 3, 2)}
        levels = (4, 3, 2, 1)
        self.blocks = {n: FastBlock(cast("DecoderBlock", decoder.get_submodule(f"decoder_block{n}"))) for n in levels}
        self.laterals, self.edges, self.attention = {}, {}, {}
        for level in (4, 3, 2):
            self.laterals[level] = FastLateral(cast("LateralBlock", decoder.get_submodule(f"lateral_block{level}")))
            edges = cast("nn.Sequential", decoder.get_submodule(f"gdt_convs_{level}"))
            self.edges[level] = folded(cast("nn.Conv2d", edges[0]), cast("nn.BatchNorm2d", edges[1]))
            self.attention[level] = decoder.get_submodule(f"gdt_convs_attn_{level}")
        out = cast("nn.Conv2d", decoder.conv_out1[0])
        inner = decoder.blocks_width
        self.out = Folded(out.weight[:, :inner], out.bias, 0)
        self.rim = FineLogits(decoder.ipt_blk1, out.weight[:, inner:])

    def __call__(self, image: Tensor, features: Sequence[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
        for level in (4, 3, 2):
            x = self.blocks[level](torch.cat([x, self.tiles[level + 1](image)], 1))
            x = x.mul_(torch.sigmoid(self.attention[level](self.edges[level](x).relu_())))
            full, half = features[level - 2]
            x = self.laterals[level](full, half).add_(resize(x, full.shape[-2:]))
        x = self.blocks[1](torch.cat([x, self.tiles[2](image)], 1))
        return resize(self.out(x), image.shape[-2:]).add_(self.rim(image))


class FineLogits:
    """What the image itself adds to the logits at full size: (B, 3, H, W) -> (B, 1, H, W)."""

    def __init__(self, block: ImageBlock, out: Tensor) -> None:
        first, second = block.conv1, block.conv_out
        row = out.flatten(1)
        self.second = (row @ second.weight.flatten(1)).view(1, -1, 3, 3)
        self.bias = row @ cast("Tensor", second.bias)
        self.first = first
        self.zero = not (self.second.any() or self.bias.any())
        # the first convolution's response to an impulse, taken through the second: both as one 5x5
        kernels = first.weight.permute(1, 0, 2, 3)  # (3, channels, 3, 3)
        self.weight = F.conv2d(kernels, self.second.flip(2, 3), padding=2).permute(1, 0, 2, 3).contiguous()
        self.inner = self.bias + (self.second.sum((0, 2, 3)) * cast("Tensor", first.bias)).sum()

    def __call__(self, image: Tensor) -> Tensor:
        if self.zero:
            return image.new_zeros(())
        fine = F.conv2d(image, self.weight, self.inner, padding=2)
        fine[..., :1, :] = self._twice(image[..., :RIM, :])[..., :1, :]
        fine[..., -1:, :] = self._twice(image[..., -RIM:, :])[..., -1:, :]
        fine[..., :1] = self._twice(image[..., :RIM])[..., :1]
        fine[..., -1:] = self._twice(image[..., -RIM:])[..., -1:]
        return fine

    def _twice(self, strip: Tensor) -> Tensor:
        return F.conv2d(self.first(strip), self.second, self.bias, padding=1)


def resampled(x: Tensor, through: Sequence[int], size: Sequence[int]) -> Tensor:
    """resize(resize(x, through), size) without the map in between: (B, C, h, w) -> (B, C, *size)."""
    batch, channels, height, width = x.shape
    down, across = (_matrix(*lengths, like=x) for lengths in zip((height, width), through, size, strict=True))
    rows = down @ x.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    columns = across @ rows.view(batch * size[0], width, channels)
    return columns.view(batch, *size, channels).permute(0, 3, 1, 2)


def _matrix(length: int, through: int, size: int, *, like: Tensor) -> Tensor:
    """Both resizes of one axis as a matrix (size, length)."""
    basis = torch.eye(length, device=like.device).view(1, length, length, 1)
    for target in (through, size):
        basis = resize(basis, (target, 1))
    return basis[0, :, :, 0].t().to(like.dtype)
