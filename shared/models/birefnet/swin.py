"""Swin Transformer v1 as BiRefNet uses it: four maps, each normalised on its own.

Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows" (arXiv:2103.14030).
Tokens are (B, h, w, C) throughout; N = window_size ** 2 tokens in a window.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH = 4  # input pixels on a token's side
MLP_RATIO = 4


class PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        image = F.pad(image, (0, -width % PATCH, 0, -height % PATCH))
        normed: Tensor = self.norm(self.proj(image).permute(0, 2, 3, 1))
        return normed


class WindowAttention(nn.Module):
    relative_position_index: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """(B*nW, N, C) -> the same; mask (nW, N, N) is added to the logits of each window."""
        count, tokens, width = windows.shape
        qkv = self.qkv(windows).view(count, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (3, B*nW, heads, N, d)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)  # (heads, N, N)
        if mask is not None:
            bias = bias + mask.unsqueeze(1)  # (nW, heads, N, N)
            if count > len(mask):  # windows stand beside the heads, so that one bias serves all images
                bias = bias.flatten(0, 1)
                qkv = qkv.reshape(3, -1, len(bias), tokens, qkv.shape[-1])
        q, k, v = qkv
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        mixed = mixed.reshape(count, self.heads, tokens, -1)
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(count, tokens, width))
        return projected


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return mixed


class SwinBlock(nn.Module):
    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window = window
        self.shift = shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        tokens = tokens + self._attend(self.norm1(tokens), mask)
        mixed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return mixed

    def _attend(self, tokens: Tensor, mask: Tensor) -> Tensor:
        batch, height, width, _ = tokens.shape
        # the padding takes part in the attention: the trained weights expect it
        tokens = F.pad(tokens, (0, 0, 0, -width % self.window, 0, -height % self.window))
        padded_size = tokens.shape[1:3]
        if self.shift:
            tokens = tokens.roll((-self.shift, -self.shift), (1, 2))
        windows = cut_windows(tokens, self.window)
        windows = self.attn(windows, mask if self.shift else None)
        tokens = join_windows(windows, batch, padded_size[0], padded_size[1], self.window)
        if self.shift:
            tokens = tokens.roll((self.shift, self.shift), (1, 2))
        return tokens[:, :height, :width]


class PatchMerging(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, ceil(h/2), ceil(w/2), 2C)."""
        height, width = tokens.shape[1:3]
        tokens = F.pad(tokens, (0, 0, 0, width % 2, 0, height % 2))
        corners = [tokens[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
        merged: Tensor = self.reduction(self.norm(torch.cat(corners, -1)))
        return merged


class SwinStage(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, window: int, *, last: bool) -> None:
        super().__init__()
        self.window = window
        shifts = [window // 2 if block % 2 else 0 for block in range(depth)]
        self.blocks = nn.ModuleList(SwinBlock(width, heads, window, shift) for shift in shifts)
        self.downsample = None if last else PatchMerging(width)

    def forward(self, tokens: Tensor) -> Tensor:
        mask = shift_mask(tokens, self.window)
        for block in self.blocks:
            tokens = block(tokens, mask)
        return tokens


class SwinTransformer(nn.Module):
    """(B, 3, H, W) -> four maps (B, C * 2^i, H / 2^(i+2), W / 2^(i+2)), sizes rounded up."""

    def __init__(self, embed_dim: int, depths: Sequence[int], num_heads: Sequence[int], window_size: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(embed_dim)
        last = len(depths) - 1
        self.layers = nn.ModuleList(
            SwinStage(embed_dim * 2**i, depth, heads, window_size, last=i == last)
            for i, (depth, heads) in enumerate(zip(depths, num_heads, strict=True))
        )
        for i in range(len(depths)):
            self.add_module(f"norm{i}", nn.LayerNorm(embed_dim * 2**i))

    def forward(self, image: Tensor) -> list[Tensor]:
        tokens = self.patch_embed(image)
        maps = []
        for i, stage in enumerate(self.layers):
            tokens = stage(tokens)
            maps.append(self.get_submodule(f"norm{i}")(tokens).permute(0, 3, 1, 2).contiguous())
            if isinstance(stage.downsample, nn.Module):
                tokens = stage.downsample(tokens)
        return maps


def relative_position_index(window: int) -> Tensor:
    """Row of the bias table for each pair of tokens in a window: int64 (N, N)."""
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    down = rows[:, None] - rows + window - 1
    right = columns[:, None] - columns + window - 1
    return down * (2 * window - 1) + right


def shift_mask(tokens: Tensor, window: int) -> Tensor:
    """-inf between tokens that only the cyclic shift brought into one window, else 0: (nW, N, N)."""
    height, width = (size + -size % window for size in tokens.shape[1:3])
    rows, columns = (_regions(size, window, tokens.device) for size in (height, width))
    regions = (3 * rows[:, None] + columns).view(1, height, width, 1)
    labels = cut_windows(regions, window).squeeze(-1)  # (nW, N)
    apart = labels[:, :, None] != labels[:, None]
    return torch.zeros(apart.shape, dtype=tokens.dtype, device=tokens.device).masked_fill_(apart, -torch.inf)


def _regions(size: int, window: int, device: torch.device) -> Tensor:
    position = torch.arange(size, device=device)
    return (position >= size - window).long() + (position >= size - window // 2).long()


def cut_windows(tokens: Tensor, window: int) -> Tensor:
    """(B, h, w, C) -> (B*nW, N, C), row-major over the windows and inside them."""
    batch, height, width, channels = tokens.shape
    grid = tokens.view(batch, height // window, window, width // window, window, channels)
    return grid.transpose(2, 3).reshape(-1, window * window, channels)


def join_windows(windows: Tensor, batch: int, height: int, width: int, window: int) -> Tensor:
    """The inverse of cut_windows."""
    grid = windows.view(batch, height // window, width // window, window, window, -1)
    return grid.transpose(2, 3).reshape(batch, height, width, -1)
