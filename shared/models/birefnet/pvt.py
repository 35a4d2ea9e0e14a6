"""Pyramid Vision Transformer v2.

Wang et al. 2022, "PVT v2: Improved Baselines with Pyramid Vision Transformer" (arXiv:2106.13797).
Tokens are (B, h*w, C); the two epsilons are those of the published weights.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

BLOCK_EPSILON = 1e-6


class OverlapPatchEmbed(nn.Module):
    def __init__(self, inner: int, outer: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inner, outer, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(outer)

    def forward(self, maps: Tensor) -> tuple[Tensor, int, int]:
        maps = self.proj(maps)
        return self.norm(to_tokens(maps)), maps.shape[2], maps.shape[3]


class SpatialReductionAttention(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.reduction = reduction
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, stride=reduction)
            self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        batch, count, channels = tokens.shape
        q = self.q(tokens).view(batch, count, self.heads, -1).transpose(1, 2)
        context = tokens
        if self.reduction > 1:
            context = self.norm(to_tokens(self.sr(to_maps(tokens, height, width))))
        k, v = self.kv(context).view(batch, context.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, channels))
        return projected


class DepthwiseConv(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        return to_tokens(self.dwconv(to_maps(tokens, height, width)))


class Mlp(nn.Module):
    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, ratio * width)
        self.dwconv = DepthwiseConv(ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        mixed: Tensor = self.fc2(F.gelu(self.dwconv(self.fc1(tokens), height, width)))
        return mixed


class PvtBlock(nn.Module):
    def __init__(self, width: int, heads: int, mlp_ratio: int, reduction: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=BLOCK_EPSILON)
        self.attn = SpatialReductionAttention(width, heads, reduction)
        self.norm2 = nn.LayerNorm(width, eps=BLOCK_EPSILON)
        self.mlp = Mlp(width, mlp_ratio)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens), height, width)
        mixed: Tensor = tokens + self.mlp(self.norm2(tokens), height, width)
        return mixed


class PyramidVisionTransformer(nn.Module):
    """(B, 3, H, W) -> four maps (B, embed_dims[i], H / 2^(i+2), W / 2^(i+2))."""

    def __init__(
        self,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        num_heads: Sequence[int],
        mlp_ratios: Sequence[int],
        sr_ratios: Sequence[int],
    ) -> None:
        super().__init__()
        self.stages = len(embed_dims)
        sizes = zip((3, *embed_dims[:-1]), embed_dims, (7, 3, 3, 3), (4, 2, 2, 2), strict=True)
        for stage, (inner, outer, kernel, stride) in enumerate(sizes, 1):
            self.add_module(f"patch_embed{stage}", OverlapPatchEmbed(inner, outer, kernel, stride))
        for stage, width in enumerate(embed_dims, 1):
            settings = num_heads[stage - 1], mlp_ratios[stage - 1], sr_ratios[stage - 1]
            blocks = nn.ModuleList(PvtBlock(width, *settings) for _ in range(depths[stage - 1]))
            self.add_module(f"block{stage}", blocks)
            self.add_module(f"norm{stage}", nn.LayerNorm(width, eps=BLOCK_EPSILON))

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [image]
        for stage in range(1, self.stages + 1):
            tokens, height, width = self.get_submodule(f"patch_embed{stage}")(maps[-1])
            blocks = self.get_submodule(f"block{stage}")
            for block in blocks.children():
                tokens = block(tokens, height, width)
            maps.append(to_maps(self.get_submodule(f"norm{stage}")(tokens), height, width))
        return maps[1:]


def to_tokens(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h*w, C)."""
    return maps.flatten(2).transpose(1, 2)


def to_maps(tokens: Tensor, height: int, width: int) -> Tensor:
    """(B, h*w, C) -> (B, C, h, w)."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, height, width)
