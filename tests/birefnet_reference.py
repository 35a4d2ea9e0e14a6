"""BiRefNet with a Swin backbone as its reference implementation computes it: the plain form that ours is compared with.

Written from the architecture alone, one operation after the other, without any of our rewritings: windows are padded
before the projections, masks and position biases are made in every forward, both scales pass one after the other,
normalisations follow their convolutions, features are concatenated at full size, and the deformable convolutions are
torchvision's. It shares no code with `shared`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

STAGES = range(4)


class Reference:
    """Normalised (B, 3, H, W) -> logits (B, 1, H, W), from the tensors of a checkpoint in the current tile order."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state
        table = state["bb.layers.0.blocks.0.attn.relative_position_bias_table"]
        self.window = (round(len(table) ** 0.5) + 1) // 2

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        full, half = self.backbone(image), self.backbone(up(image, (height // 2, width // 2)))
        x = [torch.cat([one, up(other, one.shape[-2:])], 1) for one, other in zip(full, half, strict=True)]
        context = torch.cat([up(each, x[3].shape[-2:]) for each in x], 1)
        p = self.block("squeeze_module.0", context)
        for level in (4, 3, 2):
            p = self.block(f"decoder.decoder_block{level}", self.with_image(p, image, level + 1))
            edges = F.relu(self.norm(f"decoder.gdt_convs_{level}.1", self.conv(f"decoder.gdt_convs_{level}.0", p)))
            p = p * torch.sigmoid(self.conv(f"decoder.gdt_convs_attn_{level}.0", edges))
            side = x[level - 2]
            p = up(p, side.shape[-2:]) + self.conv(f"decoder.lateral_block{level}.conv", side)
        p = up(self.block("decoder.decoder_block1", self.with_image(p, image, 2)), (height, width))
        return self.conv("decoder.conv_out1.0", self.with_image(p, image, 1))

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        padding = weight.shape[-1] // 2 if stride == 1 else 0
        return F.conv2d(x, weight, self.state.get(f"{name}.bias"), stride, padding)

    def norm(self, name: str, x: Tensor) -> Tensor:
        mean, variance, weight, bias = (
            self.state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, weight, bias, eps=1e-5)

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"], 1e-5)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def with_image(self, x: Tensor, image: Tensor, level: int) -> Tensor:
        grid = {5: 32, 4: 16, 3: 8, 2: 4, 1: 1}[level]
        tiles = torch.cat(image.unsqueeze(2).chunk(grid, -2), 2)
        tiles = torch.cat([piece.unsqueeze(3) for piece in tiles.chunk(grid, -1)], 3)  # (B, 3, row, column, h, w)
        name = f"decoder.ipt_blk{level}"
        return torch.cat([x, self.conv(f"{name}.conv_out", self.conv(f"{name}.conv1", tiles.flatten(1, 3)))], 1)

    def block(self, name: str, x: Tensor) -> Tensor:
        x = F.relu(self.norm(f"{name}.bn_in", self.conv(f"{name}.conv_in", x)))
        return self.norm(f"{name}.bn_out", self.conv(f"{name}.conv_out", self.aspp(f"{name}.dec_att", x)))

    def aspp(self, name: str, x: Tensor) -> Tensor:
        names = [f"{name}.aspp1"]
        while f"{name}.aspp_deforms.{len(names) - 1}.bn.weight" in self.state:
            names.append(f"{name}.aspp_deforms.{len(names) - 1}")
        branches = [F.relu(self.norm(f"{each}.bn", self.deformable(f"{each}.atrous_conv", x))) for each in names]
        mean = self.conv(f"{name}.global_avg_pool.1", x.mean((-2, -1), keepdim=True))
        branches.append(up(F.relu(self.norm(f"{name}.global_avg_pool.2", mean)), x.shape[-2:]))
        return F.relu(self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", torch.cat(branches, 1))))

    def deformable(self, name: str, x: Tensor) -> Tensor:
        offset = self.conv(f"{name}.offset_conv", x)
        mask = 2 * torch.sigmoid(self.conv(f"{name}.modulator_conv", x))
        weight = self.state[f"{name}.regular_conv.weight"]
        return deform_conv2d(x, offset, weight, padding=weight.shape[-1] // 2, mask=mask)

    def backbone(self, image: Tensor) -> list[Tensor]:
        tokens = self.conv("bb.patch_embed.proj", image, stride=4).permute(0, 2, 3, 1)
        tokens = self.layer_norm("bb.patch_embed.norm", tokens)
        maps = []
        for stage in STAGES:
            depth = 0
            while f"bb.layers.{stage}.blocks.{depth}.norm1.weight" in self.state:
                shift = self.window // 2 if depth % 2 else 0
                tokens = self.swin_block(f"bb.layers.{stage}.blocks.{depth}", tokens, shift)
                depth += 1
            maps.append(self.layer_norm(f"bb.norm{stage}", tokens).permute(0, 3, 1, 2).contiguous())
            if stage < STAGES[-1]:
                tokens = self.merge(f"bb.layers.{stage}.downsample", tokens)
        return maps

    def merge(self, name: str, tokens: Tensor) -> Tensor:
        tokens = F.pad(tokens, (0, 0, 0, tokens.shape[2] % 2, 0, tokens.shape[1] % 2))
        corners = [tokens[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.linear(f"{name}.reduction", self.layer_norm(f"{name}.norm", torch.cat(corners, -1)))

    def swin_block(self, name: str, tokens: Tensor, shift: int) -> Tensor:
        size = self.window
        x = self.layer_norm(f"{name}.norm1", tokens)
        _, height, width, channels = x.shape
        x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
        high, wide = x.shape[1:3]
        mask = self.mask(high, wide, shift) if shift else None
        x = torch.roll(x, (-shift, -shift), (1, 2))
        x = x.view(-1, high // size, size, wide // size, size, channels).transpose(2, 3)
        x = self.attention(f"{name}.attn", x.reshape(-1, size * size, channels), mask)
        x = x.view(-1, high // size, wide // size, size, size, channels).transpose(2, 3)
        x = torch.roll(x.reshape(-1, high, wide, channels), (shift, shift), (1, 2))
        tokens = tokens + x[:, :height, :width]
        hidden = F.gelu(self.linear(f"{name}.mlp.fc1", self.layer_norm(f"{name}.norm2", tokens)))
        return tokens + self.linear(f"{name}.mlp.fc2", hidden)

    def attention(self, name: str, windows: Tensor, mask: Tensor | None) -> Tensor:
        table = self.state[f"{name}.relative_position_bias_table"]
        count, tokens, channels = windows.shape
        heads = table.shape[1]
        q, k, v = self.linear(f"{name}.qkv", windows).view(count, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
        bias = table[self.state[f"{name}.relative_position_index"]].permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(count // len(mask), 1, 1, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.linear(f"{name}.proj", mixed.transpose(1, 2).reshape(count, tokens, channels))

    def mask(self, height: int, width: int, shift: int) -> Tensor:
        size = self.window
        regions = torch.zeros(height, width)
        spans = (slice(0, -size), slice(-size, -shift), slice(-shift, None))
        for row, rows in enumerate(spans):
            for column, columns in enumerate(spans):
                regions[rows, columns] = 3 * row + column
        regions = regions.view(height // size, size, width // size, size).transpose(1, 2).reshape(-1, size * size)
        apart = regions[:, :, None] != regions[:, None]
        return torch.zeros(apart.shape).masked_fill(apart, -torch.inf)


def up(x: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)
