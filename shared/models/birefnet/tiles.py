"""The image as a stack of tiles, and the two orders in which checkpoints expect them.

The decoder's image blocks see the image cut into g x g contiguous tiles, stacked as channels. Checkpoints trained
before 2024-11-05 were given them in another order than later ones, under the same names and shapes. The network here
feeds the current order; legacy weights are permuted when they are loaded, which is exactly what they were trained with.
"""

import logging
import math
from typing import NamedTuple, cast

import torch
from torch import Tensor

from shared.models.checkpoints import PatchOrder

TILE_GRIDS = {5: 32, 4: 16, 3: 8, 2: 4}  # tiles on a side of the image, for each image block
TELLING_BLOCK = 5  # the one with the most tiles
SIGNIFICANT = 5.0  # times what random weights show
DOMINANT = 3.0  # times the evidence for the other order

LOG = logging.getLogger(__name__)


def stack_tiles(image: Tensor, grid: int) -> Tensor:
    """(B, 3, H, W) -> (B, 3 * grid^2, H / grid, W / grid): colour slowest, then tile row, tile column fastest."""
    batch, colours, height, width = image.shape
    tiles = image.reshape(batch, colours, grid, height // grid, grid, width // grid)
    return tiles.transpose(3, 4).reshape(batch, colours * grid * grid, height // grid, width // grid)


def from_legacy(weight: Tensor) -> Tensor:
    """Weights (out, 3 * g^2, k, k) for tiles column by column, colour fastest -> for the current order."""
    out, channels, *kernel = weight.shape
    grid = math.isqrt(channels // 3)
    return weight.reshape(out, grid, grid, 3, *kernel).permute(0, 3, 2, 1, 4, 5).reshape(weight.shape)


def to_legacy(weight: Tensor) -> Tensor:
    """The inverse of `from_legacy`."""
    out, channels, *kernel = weight.shape
    grid = math.isqrt(channels // 3)
    return weight.reshape(out, 3, grid, grid, *kernel).permute(0, 3, 2, 1, 4, 5).reshape(weight.shape)


class OrderEvidence(NamedTuple):
    """How much more alike two colours are weighted on one tile than across tiles, under each reading."""

    current: float  # difference of mean cosines; about 0 for the wrong reading
    legacy: float
    noise: float  # the size of either with random weights


def order_evidence(weight: Tensor) -> OrderEvidence:
    """What `ipt_blk5.conv1.weight` shows of its tile order.

    Red, green and blue of a pixel go together, so training makes their weights alike. But it makes those of
    neighbouring tiles alike too, often more so: the likeness of what a reading calls colours proves nothing by itself.
    So each reading's colours are compared with pairs of channels that would be no less alike under the other reading.
    """
    directions = torch.nn.functional.normalize(weight.detach().double().transpose(0, 1).flatten(1), dim=-1)
    tiles = len(directions) // 3

    def alike(apart: int) -> Tensor:
        return (directions[:-apart] * directions[apart:]).sum(-1)

    # current: the next colour of the same tile is `tiles` channels on, of another tile three channels more or less
    current = alike(tiles).mean() - (alike(tiles - 3).mean() + alike(tiles + 3).mean()) / 2
    # legacy: the next channel is the next colour of the same tile, but every third time it is on another tile
    neighbours = alike(1)
    crosses = torch.arange(len(neighbours), device=weight.device) % 3 == 2
    legacy = neighbours[~crosses].mean() - neighbours[crosses].mean()
    return OrderEvidence(float(current), float(legacy), 2 / math.sqrt(directions.numel()))


def detect_patch_order(weight: Tensor) -> PatchOrder | None:
    """The tile order that `ipt_blk5.conv1.weight` was trained with; None if the weights do not tell."""
    evidence = order_evidence(weight)
    order: PatchOrder = "current" if evidence.current >= evidence.legacy else "legacy"
    best, other = max(evidence[:2]), min(evidence[:2])
    return order if best > SIGNIFICANT * evidence.noise and best > DOMINANT * abs(other) else None


def settle_patch_order(asked: str, weight: Tensor, expected: str | None) -> PatchOrder:
    """The order to load with: what was asked for, else what the weights show, else what is expected of them.

    `asked`: auto, current or legacy. `expected`: what a table or configuration says, None or auto if nothing does.
    """
    if asked in ("current", "legacy"):
        return cast("PatchOrder", asked)
    found = detect_patch_order(weight)
    if expected not in ("current", "legacy"):
        expected = None
    if found is None:
        LOG.warning("the weights do not tell their tile order; taking %s", expected or "current")
        return cast("PatchOrder", expected or "current")
    if expected not in (None, found):
        LOG.warning("the weights show the %s tile order, expected was %s; taking %s", found, expected, found)
    return found
