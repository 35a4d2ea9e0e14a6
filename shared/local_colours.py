"""The colours on both sides of an edge, as far as an alpha tells them apart.

A pixel of the soft band is a blend, I = a F + (1 - a) B. Coarse to fine, the colours of each side are averaged over the
pixels that are almost its alone; then each pixel's F and B become the blend that lies nearest to those means. It joins
blur-fusion (Forte, ICIP 2021: means over windows, in place of a linear system) and multi-level estimation (Germer et
al., ICPR 2020: coarse to fine, both sides at once). Means are smooth, so a megapixel is enough for them whatever the
image's size; only the soft band itself is estimated at full resolution (its alpha in `shared/matting.py`, its colours
in `shared/foreground.py`).
"""

import math
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.soft_pixels import Planes, Positions, Values, gather, gather_alpha, sample, scatter, soft

GRID_SIDE = 1100  # pixels: side of the largest square image that is its own grid
LONGEST_GRID_SIDE = 32_000  # grid pixels: OpenCV's remap reads from at most 32,766
PRIOR_WEIGHT = 0.01  # of one pure pixel: weight of a wider window's mean in a narrower one
REGULARIZATION = 0.15  # in units of a^2 + (1 - a)^2: keeps colours near their means, because alpha is never exact
EPSILON = 1e-5  # of one pure pixel: keeps weights from being 0 in a division
WEIGHT_OF_ALPHA = np.rint(255 * (np.arange(256) / 255) ** 3).astype(np.uint8)  # low unless a pixel is almost pure

Pixels = NDArray[np.uint8]  # HxWx3
Plane = NDArray[np.uint8]  # HxW
Colours = NDArray[np.float32]  # hxwx3, 0..255
Grid = TypeVar("Grid", NDArray[np.uint8], NDArray[np.uint16], NDArray[np.float32])


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of the means."""

    step: int  # grid pixels per sample, along each axis
    window: int  # samples per side of the averaged window


WIDE = (Level(4, 11), Level(2, 7))  # on a grid of half the resolution, from wide to narrow
NARROW = Level(2, 7)
FINE = Level(1, 5)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The foreground's colours, or the background's; the arrays are never changed."""

    colours: Pixels  # of each grid pixel: the image's if alpha is certain, else estimated
    weight: Plane  # how much each grid pixel tells of this side, 0..255
    means: Colours  # over windows; one sample per NARROW.step grid pixels

    def variance(self) -> NDArray[np.float32]:
        """Weighted variance of the colours around their means, over the means' own windows: float32, hxw."""
        window = (NARROW.window, NARROW.window)
        weight, product = (_reduced(plane, NARROW.step) * np.float32(1 / 255) for plane in _weighted(self))
        weight /= 255
        deviation = product - to_three_channels(weight) * self.means
        squares = cv2.blur(sum_of_channels(deviation * deviation) / (weight + np.float32(EPSILON)), window)
        variance: NDArray[np.float32] = squares / (cv2.blur(weight, window) + np.float32(PRIOR_WEIGHT))
        return variance

    def fine_means(self, rows: slice, columns: slice) -> Colours:
        """Means over FINE windows in a part of the grid, one sample per grid pixel."""
        margin = FINE.window // 2
        around = (_widened(rows, margin, len(self.weight)), _widened(columns, margin, self.weight.shape[1]))
        coarse = [slice(max(0, span.start // NARROW.step - 1), span.stop // NARROW.step + 2) for span in around]
        prior = _enlarged(self.means[coarse[0], coarse[1]], NARROW.step)
        top, left = (span.start - wide.start * NARROW.step for span, wide in zip(around, coarse, strict=True))
        part = Side(self.colours[around[0], around[1]], self.weight[around[0], around[1]], self.means)
        height, width = part.weight.shape
        means = _means(part, FINE, prior[top : top + height, left : left + width])
        top, left = rows.start - around[0].start, columns.start - around[1].start
        return means[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]


@dataclass(frozen=True, slots=True, eq=False)
class LocalColours:
    """Both sides' colours around the edges of one image, on a grid."""

    scale: int  # pixels of the image per grid pixel, along each axis
    image: Pixels  # the image at the grid's resolution
    foreground: Side
    background: Side

    @property
    def means_step(self) -> int:
        """Pixels of the image per sample of the sides' means, along each axis."""
        return self.scale * NARROW.step

    @classmethod
    def estimate(cls, rgb: Pixels, alpha: Plane) -> Self:
        """From an image, uint8 HxWx3, and its alpha, uint8 HxW."""
        scale = max(math.ceil(math.sqrt(alpha.size) / GRID_SIDE), math.ceil(max(alpha.shape) / LONGEST_GRID_SIDE))
        image, grid_alpha = _sampled(rgb, scale), _sampled(alpha, scale)
        wide = _wide_means(_reduced(image, 2), _reduced(grid_alpha, 2))
        colours = _estimated_colours(image, grid_alpha, wide, 2 * WIDE[-1].step)
        foreground, background = (
            Side(own, weight, _to_grid(mean, 2 * WIDE[-1].step, NARROW, grid_alpha.shape))
            for own, weight, mean in zip(colours, _weights(grid_alpha), wide, strict=True)
        )
        return cls(scale, image, *_at_level(image, grid_alpha, foreground, background, NARROW))

    def updated(self, alpha: Plane) -> Self:
        """By a better alpha of the same image; the means known so far take the place of wider windows."""
        grid_alpha = _sampled(alpha, self.scale)
        certain = cv2.bitwise_not(cv2.inRange(grid_alpha, 1, 254))
        foreground, background = (
            replace(side, colours=cv2.copyTo(self.image, certain, side.colours.copy()), weight=weight)
            for side, weight in zip((self.foreground, self.background), _weights(grid_alpha), strict=True)
        )
        foreground, background = _at_level(self.image, grid_alpha, foreground, background, NARROW)
        return replace(self, foreground=foreground, background=background)


def _weights(alpha: Plane) -> tuple[Plane, Plane]:
    """How much each pixel tells of the foreground, and of the background: 0..255."""
    return cv2.LUT(alpha, WEIGHT_OF_ALPHA), cv2.LUT(alpha, WEIGHT_OF_ALPHA[::-1])


def _wide_means(image: Pixels, alpha: Plane) -> tuple[Colours, Colours]:
    """Both sides' means at the last of the wide levels. image, alpha: at half the grid's resolution."""
    foreground, background = (Side(image, weight, _overall_mean(image, weight)) for weight in _weights(alpha))
    step = 0
    for level in WIDE:
        if step:
            foreground, background = (
                replace(side, means=_to_grid(side.means, step, level, alpha.shape)) for side in (foreground, background)
            )
        foreground, background = _at_level(image, alpha, foreground, background, level)
        step = level.step
    return foreground.means, background.means


def _at_level(image: Pixels, alpha: Plane, foreground: Side, background: Side, level: Level) -> tuple[Side, Side]:
    """Both sides with means of one level, and with the soft pixels' colours by these means."""
    means = (_means(foreground, level, foreground.means), _means(background, level, background.means))
    colours = _estimated_colours(image, alpha, means, level.step)
    return Side(colours[0], foreground.weight, means[0]), Side(colours[1], background.weight, means[1])


def _estimated_colours(image: Pixels, alpha: Plane, means: tuple[Colours, Colours], step: int) -> tuple[Pixels, Pixels]:
    """Colours of the foreground and of the background: the image's, estimated from the means for soft pixels."""
    colours = (image.copy(), image.copy())
    for at in Positions.of(soft(alpha)):
        opacity = gather_alpha(alpha, at)
        foreground, background = (sample(mean, step, at) for mean in means)
        error = blend_error(gather(image, at), opacity, foreground, background)
        scatter(foreground + opacity * error, colours[0], at)
        scatter(background + (1 - opacity) * error, colours[1], at)
    return colours


def blend_error(pixels: Planes, alpha: Values, foreground: Planes, background: Planes) -> Planes:
    """What a blend of two colours leaves unexplained of each pixel, damped: float32, 3xN, as the colours.

    foreground + alpha * error and background + (1 - alpha) * error are the colours nearest to the given ones that blend
    to about the pixel: least squares in closed form. alpha: N, 0..1.
    """
    transparency = 1 - alpha
    error = pixels - alpha * foreground
    error -= transparency * background
    error /= alpha * alpha + transparency * transparency + np.float32(REGULARIZATION)
    return error


def _means(side: Side, level: Level, prior: Colours) -> Colours:
    """Weighted mean colours over windows, one sample per step; the prior's without weight.

    Sums are taken in 16 bits: half the memory of float32, twice as fast, and exact to a hundredth of PRIOR_WEIGHT.
    """
    window = (level.window, level.window)
    weight, product = _weighted(side)
    total = to_three_channels(cv2.blur(_reduced(weight, level.step), window)) * np.float32(1 / 255**2)
    means: Colours = cv2.blur(_reduced(product, level.step), window) * np.float32(1 / 255)
    means += np.float32(PRIOR_WEIGHT) * prior
    means /= total + np.float32(PRIOR_WEIGHT)
    return means


def _weighted(side: Side) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """255 times the weight, HxW, and colours times weight, HxWx3: 0..65025."""
    weight = side.weight.astype(np.uint16)
    return weight * np.uint16(255), side.colours * to_three_channels(weight)


def _overall_mean(colours: Pixels, weight: Plane) -> Colours:
    """The weighted mean colour of everything: float32, 1x1x3."""
    total, product = (cv2.mean(plane) for plane in _weighted(Side(colours, weight, np.empty(0, np.float32))))
    return np.array(product[:3], np.float32)[None, None] / max(total[0] / 255, EPSILON)


def _to_grid(means: Colours, step: int, level: Level, shape: tuple[int, ...]) -> Colours:
    """Means of one sample per `step` pixels of a grid of that shape, with one sample per step of the level."""
    height, width = (-(-side // level.step) for side in shape)
    return _enlarged(means, step // level.step)[:height, :width]


def _widened(span: slice, margin: int, side: int) -> slice:
    """A span of rows or columns with a margin on both sides, as far as there are any."""
    return slice(max(0, span.start - margin), min(span.stop + margin, side))


def _enlarged(grid: Colours, times: int) -> Colours:
    """Bilinear, `times` wider and higher."""
    size = (grid.shape[1] * times, grid.shape[0] * times)
    enlarged: Colours = cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR)
    return enlarged


def _sampled(pixels: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    """The middle pixel of each square of `times` x `times`: unlike their mean, it is no further blend of both sides."""
    if times == 1:
        return pixels
    down, across = (
        np.minimum(np.arange(times // 2, length + times // 2, times), length - 1) for length in pixels.shape[:2]
    )
    sampled: NDArray[np.uint8] = pixels.take(down, axis=0).take(across, axis=1)
    return sampled


def _reduced(pixels: Grid, times: int) -> Grid:
    """Means of squares of `times` x `times` pixels; of what is left of them at the right and below.

    Whole squares apart from the rest: OpenCV averages by whole numbers three times as fast as by others.
    """
    if times == 1:
        return pixels
    height, width = pixels.shape[:2]
    down, across = height // times, width // times
    reduced = np.empty((-(-height // times), -(-width // times), *pixels.shape[2:]), pixels.dtype)
    for rows, to_rows in ((slice(down * times), slice(down)), (slice(down * times, None), slice(down, None))):
        for columns, to_columns in (
            (slice(across * times), slice(across)),
            (slice(across * times, None), slice(across, None)),
        ):
            part, target = pixels[rows, columns], reduced[to_rows, to_columns]
            if target.size:
                size = (target.shape[1], target.shape[0])
                target[:] = cv2.resize(part, size, interpolation=cv2.INTER_AREA).reshape(target.shape)
    return reduced


def sum_of_channels(colours: Colours) -> NDArray[np.float32]:
    """HxWx3 to HxW."""
    total: NDArray[np.float32] = cv2.transform(colours, np.ones((1, 3), np.float32))
    return total


def to_three_channels(plane: Grid) -> Grid:
    """HxW to HxWx3: OpenCV multiplies equal shapes far faster than numpy broadcasts over three channels."""
    channels: Grid = cv2.merge([plane, plane, plane])
    return channels
