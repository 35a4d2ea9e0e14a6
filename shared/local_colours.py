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


COARSE = (Level(8, 11), Level(4, 7), Level(2, 7))  # from wide to narrow
FINE = Level(1, 5)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The foreground's colours, or the background's; the arrays are never changed."""

    colours: Pixels  # of each grid pixel: the image's if alpha is certain, else estimated
    weight: Plane  # how much each grid pixel tells of this side, 0..255
    means: Colours  # over windows; one sample per COARSE[-1].step grid pixels

    def variance(self) -> NDArray[np.float32]:
        """Weighted variance of the colours around their means, over the means' own windows: float32, hxw."""
        level = COARSE[-1]
        window = (level.window, level.window)
        weight, product = (_reduced(plane, level.step) * np.float32(1 / 255) for plane in _weighted(self))
        weight /= 255
        deviation = product - to_three_channels(weight) * self.means
        squares = cv2.blur(sum_of_channels(deviation * deviation) / (weight + np.float32(EPSILON)), window)
        variance: NDArray[np.float32] = squares / (cv2.blur(weight, window) + np.float32(PRIOR_WEIGHT))
        return variance

    def fine_means(self, rows: slice) -> Colours:
        """Means over FINE windows in some rows of the grid, one sample per grid pixel."""
        margin = FINE.window // 2
        rows = slice(rows.start, min(rows.stop, len(self.weight)))
        around = slice(max(0, rows.start - margin), min(rows.stop + margin, len(self.weight)))
        step = COARSE[-1].step
        coarse = slice(max(0, around.start // step - 1), around.stop // step + 2)  # one sample more on each side
        prior = _enlarged(self.means[coarse], step)[around.start - coarse.start * step :, : self.weight.shape[1]]
        part = replace(self, colours=self.colours[around], weight=self.weight[around])
        means = _means(part, FINE, prior[: around.stop - around.start])
        return means[rows.start - around.start : rows.stop - around.start]


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
        return self.scale * COARSE[-1].step

    @classmethod
    def estimate(cls, rgb: Pixels, alpha: Plane) -> Self:
        """From an image, uint8 HxWx3, and its alpha, uint8 HxW."""
        scale = max(math.ceil(math.sqrt(alpha.size) / GRID_SIDE), math.ceil(max(alpha.shape) / LONGEST_GRID_SIDE))
        image, grid_alpha = _sampled(rgb, scale), _sampled(alpha, scale)
        foreground, background = (Side(image, weight, _overall_mean(image, weight)) for weight in _weights(grid_alpha))
        step = 0
        for level in COARSE:
            shape = tuple(-(-length // level.step) for length in grid_alpha.shape)
            if step:
                foreground, background = (
                    replace(side, means=_enlarged(side.means, step // level.step)[: shape[0], : shape[1]])
                    for side in (foreground, background)
                )
            foreground, background = _estimated(image, grid_alpha, foreground, background, level)
            step = level.step
        return cls(scale, image, foreground, background)

    def updated(self, alpha: Plane) -> Self:
        """By a better alpha of the same image; the means known so far take the place of wider windows."""
        grid_alpha = _sampled(alpha, self.scale)
        certain = cv2.bitwise_not(cv2.inRange(grid_alpha, 1, 254))
        foreground, background = (
            replace(side, colours=cv2.copyTo(self.image, certain, side.colours.copy()), weight=weight)
            for side, weight in zip((self.foreground, self.background), _weights(grid_alpha), strict=True)
        )
        foreground, background = _estimated(self.image, grid_alpha, foreground, background, COARSE[-1])
        return replace(self, foreground=foreground, background=background)


def _weights(alpha: Plane) -> tuple[Plane, Plane]:
    """How much each pixel tells of the foreground, and of the background: 0..255."""
    return cv2.LUT(alpha, WEIGHT_OF_ALPHA), cv2.LUT(alpha, WEIGHT_OF_ALPHA[::-1])


def _estimated(image: Pixels, alpha: Plane, foreground: Side, background: Side, level: Level) -> tuple[Side, Side]:
    """Both sides with means of one level, and with the soft pixels' colours by these means."""
    means = [_means(side, level, side.means) for side in (foreground, background)]
    colours = [image.copy(), image.copy()]
    for at in Positions.of(soft(alpha)):
        opacity = gather_alpha(alpha, at)
        near = [sample(mean, level.step, at) for mean in means]
        error = blend_error(gather(image, at), opacity, near[0], near[1])
        scatter(near[0] + opacity * error, colours[0], at)
        scatter(near[1] + (1 - opacity) * error, colours[1], at)
    return (
        replace(foreground, colours=colours[0], means=means[0]),
        replace(background, colours=colours[1], means=means[1]),
    )


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
