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
SIGNIFICANT = 8.0  # standard deviations above what random weights would show
DOMINANT = 2.0  # times the other order's similarity: neighbouring tiles look alike too

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


class ColourSimilarity(NamedTuple):
    """Mean cosine between the weights of the three colours of one tile, under each reading of the channels."""

    current: float
    legacy: float
    noise: float  # standard deviation of either with random weights


def colour_similarity(weight: Tensor) -> ColourSimilarity:
    """How alike the colours of a tile are weighted under each order, from `ipt_blk5.conv1.weight`.

    Red, green and blue of a pixel go together, so training makes their weights alike; channels that only a wrong
    reading puts together stay unrelated.
    """
    weight = weight.detach().to(torch.float64)
    pairs, length = weight.shape[1], weight[:, 0].numel()  # three pairs of colours for each tile
    noise = 1 / math.sqrt(pairs * length)
    return ColourSimilarity(_mean_cosine(weight), _mean_cosine(from_legacy(weight)), noise)


def _mean_cosine(weight: Tensor) -> float:
    colours = weight.transpose(0, 1).reshape(3, weight.shape[1] // 3, -1)  # (colour, tile, out * k * k)
    units = torch.nn.functional.normalize(colours, dim=-1)
    red, green, blue = units
    return float((red * green + green * blue + blue * red).sum(-1).mean() / 3)


def detect_patch_order(weight: Tensor) -> PatchOrder | None:
    """The tile order that `ipt_blk5.conv1.weight` was trained with; None where the weights do not tell."""
    similarity = colour_similarity(weight)
    order: PatchOrder = "current" if similarity.current >= similarity.legacy else "legacy"
    best, other = max(similarity[:2]), min(similarity[:2])
    decisive = best > SIGNIFICANT * similarity.noise and best > DOMINANT * other
    return order if decisive else None


def settle_patch_order(asked: str, weight: Tensor, expected: str | None) -> PatchOrder:
    """The order to load with: what was asked for, else what the weights show, else what is expected of them.

    `asked`: auto, current or legacy. `expected`: what a table or configuration says, None or auto where nothing does.
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
