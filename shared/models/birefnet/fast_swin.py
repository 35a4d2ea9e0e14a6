"""The Swin backbone for inference: both scales in one pass, real tokens only, everything that depends on sizes ready.

Equal to `swin.py` up to rounding:
- The tokens of both scales are one matrix, so that each weight matrix is used once.
- Padding takes part in the attention, but its query, key and value are the projection's bias: it is never projected.
- Padding, cyclic shift and the cut into windows are one gather, their inverse another one.
- A shifted window's mask depends only on whether it is in the last row or column of windows: four kinds, whose position
  bias with mask is made once. Windows of one kind stand together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from shared.models.birefnet.swin import PatchMerging, SwinBlock, SwinStage, SwinTransformer

KINDS = 4  # of windows: inside, last column, last row, last of both
CPU_CHUNK = 1_000_000  # values of an intermediate result that stay in a processor's cache


class Size(NamedTuple):
    """The tokens of one scale: images, rows, columns."""

    batch: int
    height: int
    width: int

    @property
    def tokens(self) -> int:
        return self.batch * self.height * self.width


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """How tokens become windows and windows tokens, for one shift."""

    source: Tensor  # int64 (windows * N): the token at each place; the number of tokens where there is padding
    place: Tensor  # int64 (tokens): the place of each token among the windows
    kinds: tuple[int, ...]  # windows of each kind, in the order in which they stand


def cut(sizes: Sequence[Size], window: int, shift: int, device: torch.device) -> Windows:
    """The windows of all images of all scales, those of one kind together."""
    total = sum(size.tokens for size in sizes)
    indices, kinds, start = [], [], 0
    for size in sizes:
        high, wide = (-(-side // window) for side in size[1:])
        grid = torch.full((size.batch, high * window, wide * window), total)
        numbers = torch.arange(start, start + size.tokens).view(size)
        grid[:, : size.height, : size.width] = numbers
        grid = grid.roll((-shift, -shift), (1, 2)).view(size.batch, high, window, wide, window)
        indices.append(grid.transpose(2, 3).reshape(-1, window * window))
        last_row, last_column = torch.arange(high) == high - 1, torch.arange(wide) == wide - 1
        kind = (2 * last_row[:, None] + last_column[None]).expand(size.batch, -1, -1).flatten()
        kinds.append(kind if shift else torch.zeros_like(kind))
        start += size.tokens
    kind = torch.cat(kinds)
    source = torch.cat(indices)[kind.argsort(stable=True)].flatten()
    place = torch.empty(total + 1, dtype=torch.long)
    place[source] = torch.arange(len(source))
    counts = tuple(kind.bincount(minlength=KINDS).tolist())
    return Windows(source.to(device), place[:-1].to(device), counts)


def corners(sizes: Sequence[Size], device: torch.device) -> tuple[Tensor, bool]:
    """The four tokens that merge into each one, int64 (merged * 4), and whether some of them are padding."""
    total = sum(size.tokens for size in sizes)
    merged, start = [], 0
    for size in sizes:
        grid = torch.full((size.batch, size.height + size.height % 2, size.width + size.width % 2), total)
        grid[:, : size.height, : size.width] = torch.arange(start, start + size.tokens).view(size)
        parts = [grid[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged.append(torch.stack(parts, -1).flatten())
        start += size.tokens
    index = torch.cat(merged)
    return index.to(device), bool((index == total).any())


class FastBlock:
    """One Swin block on the tokens of all scales."""

    def __init__(self, block: SwinBlock) -> None:
        self.block = block
        self.heads = block.attn.heads
        table = block.attn.relative_position_bias_table
        bias = table[block.attn.relative_position_index].permute(2, 0, 1)  # (heads, N, N)
        kinds = range(KINDS) if block.shift else range(1)
        masks = [_mask(kind, block.window, block.shift).to(bias.device, bias.dtype) for kind in kinds]
        self.biases = [(bias + mask).unsqueeze(0) for mask in masks]

    def __call__(self, tokens: Tensor, windows: Windows) -> Tensor:
        """Tokens (M, C), which it changes -> the same."""
        block = self.block
        mixed = self._attend(block.norm1(tokens), windows)
        for rows in _chunks(tokens, 5 * tokens.shape[1]):
            part = tokens[rows]
            part += block.attn.proj(mixed.index_select(0, windows.place[rows]))
            hidden = block.mlp.fc1(block.norm2(part))
            part += block.mlp.fc2(F.gelu(hidden))
        return tokens

    def _attend(self, tokens: Tensor, windows: Windows) -> Tensor:
        """The attention's result at each place of the windows: (windows * N, C)."""
        count, channels = tokens.shape
        projection = self.block.attn.qkv
        qkv = tokens.new_empty(count + 1, 3 * channels)
        torch.addmm(projection.bias, tokens, projection.weight.t(), out=qkv[:count])
        qkv[count] = projection.bias
        places = self.block.window**2
        mixed = tokens.new_empty(len(windows.source), channels)
        start = 0
        for bias, kind in zip(self.biases, windows.kinds, strict=False):
            end = start + kind
            step = max(1, CPU_CHUNK // (4 * places * channels)) if tokens.device.type == "cpu" else max(1, kind)
            for first in range(start, end, step):
                part = slice(first * places, min(end, first + step) * places)
                cut_out = qkv.index_select(0, windows.source[part]).view(
                    -1, places, 3, self.heads, channels // self.heads
                )
                q, k, v = cut_out.permute(2, 0, 3, 1, 4)
                answer = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
                mixed[part].view(-1, places, self.heads, channels // self.heads).copy_(answer.transpose(1, 2))
            start = end
        return mixed


def _mask(kind: int, window: int, shift: int) -> Tensor:
    """-inf between tokens of a window of this kind that only the cyclic shift brought together, else 0: (N, N)."""
    behind = (torch.arange(window) >= window - shift).long()
    rows, columns = behind * (kind // 2), behind * (kind % 2)
    regions = (2 * rows[:, None] + columns).flatten()
    return torch.zeros(window**2, window**2).masked_fill_(regions[:, None] != regions, -torch.inf)


def _chunks(tokens: Tensor, values: int) -> Iterator[slice]:
    """Ranges of rows: all at once on a GPU; on a CPU so many that `values` for each of them stay in the cache."""
    count = len(tokens)
    step = max(256, CPU_CHUNK // values) if tokens.device.type == "cpu" else count
    return (slice(first, min(count, first + step)) for first in range(0, count, step))


class FastSwin:
    """Images of one batch in several scales -> for each scale its four maps (B, C, h, w), channels last."""

    def __init__(self, swin: SwinTransformer) -> None:
        self.swin = swin
        self.stages = [cast("SwinStage", stage) for stage in swin.layers]
        self.blocks = [[FastBlock(cast("SwinBlock", block)) for block in stage.blocks] for stage in self.stages]
        self._windows: dict[tuple[object, ...], Windows] = {}

    def __call__(self, images: Sequence[Tensor]) -> list[list[Tensor]]:
        embedded = [self.swin.patch_embed(image) for image in images]
        sizes = [Size(*each.shape[:3]) for each in embedded]
        tokens = torch.cat([each.flatten(0, 2) for each in embedded])
        maps: list[list[Tensor]] = [[] for _ in images]
        for number, (stage, blocks) in enumerate(zip(self.stages, self.blocks, strict=True)):
            for block in blocks:
                tokens = block(tokens, self._cut(tuple(sizes), stage.window, block.block.shift, tokens.device))
            normed = self.swin.get_submodule(f"norm{number}")(tokens).split([size.tokens for size in sizes])
            for scale, size, part in zip(maps, sizes, normed, strict=True):
                scale.append(part.view(*size, -1).permute(0, 3, 1, 2))
            if isinstance(stage.downsample, PatchMerging):
                tokens, sizes = _merge(stage.downsample, tokens, sizes)
        return maps

    def _cut(self, sizes: tuple[Size, ...], window: int, shift: int, device: torch.device) -> Windows:
        key = (sizes, window, shift, device)
        if key not in self._windows:
            self._windows[key] = cut(sizes, window, shift, device)
        return self._windows[key]


def _merge(merging: PatchMerging, tokens: Tensor, sizes: Sequence[Size]) -> tuple[Tensor, list[Size]]:
    index, padded = corners(sizes, tokens.device)
    if padded:
        tokens = torch.cat([tokens, tokens.new_zeros(1, tokens.shape[1])])
    four = tokens.index_select(0, index).view(len(index) // 4, -1)
    smaller = [Size(size.batch, -(-size.height // 2), -(-size.width // 2)) for size in sizes]
    return merging.reduction(merging.norm(four)), smaller
