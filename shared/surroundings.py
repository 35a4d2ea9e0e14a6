"""The colours on both sides of an edge, as far as a matte tells them apart.

A pixel of the soft band is a blend, I = a F + (1 - a) B. Coarse to fine, the colours of each side are averaged over the
pixels that are almost its alone; then each pixel's F and B become the blend that lies nearest to those means. It joins
blur-fusion (Forte, ICIP 2021: means over windows, in place of a linear system) and multi-level estimation (Germer et
al., ICPR 2020: coarse to fine, both sides at once). Means are smooth, so a megapixel is enough for them whatever the
upload's size; only the last step sees the upload's own pixels.

The same means tell where between both sides a pixel's colour lies, and so correct its alpha, as in matting by sampled
colours (Wang and Cohen, CVPR 2007).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

STRIP = 64  # pixels: rows worked on at a time, and the side of the squares that are skipped where nothing is soft
GRID_SIDE = 1100  # pixels: side of the largest square image that is a grid of its own
COARSE = ((8, 11), (4, 7), (2, 7))  # grid pixels per sample, samples per side of the window; from wide to narrow
FINE = (1, 5)  # the same of the last means
TRUST = 0.01  # weight of a wider window's mean in the next
CAUTION = 0.15  # keeps colours near their means, for alpha is never exact
NOISE = 25.0**2  # squared levels of 255, over three channels: what a pixel's colour differs by for no reason
UNREST = 6.0  # how many times the variance of a side's colours counts as noise
EPSILON = 1e-5
CUBED = np.rint(255 * (np.arange(256) / 255) ** 3).astype(np.uint8)  # means are made of what is almost one side's alone

Pixels = NDArray[np.uint8]  # HxWx3
Colours = NDArray[np.float32]  # HxWx3, 0..255
Block = tuple[slice, slice]  # rows, columns
Pair = tuple[Colours, Colours]  # of the foreground, of the background
Plane = TypeVar("Plane", NDArray[np.uint8], NDArray[np.uint16], NDArray[np.float32])


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """What is known of the foreground, or of the background."""

    colours: Pixels  # improved in place
    weight: NDArray[np.uint8]  # HxW: how much a pixel tells of this side

    def __getitem__(self, block: Block) -> "_Side":
        return _Side(self.colours[block], self.weight[block])


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Both sides of one image's edges."""

    rgb: Pixels  # the image
    matte: NDArray[np.uint8]  # HxW
    shrink: int  # pixels per grid pixel
    image: Pixels  # on the grid
    sides: tuple[_Side, _Side]  # foreground, background
    wide_means: Pair  # of the last coarse level

    @classmethod
    def of(cls, rgb: Pixels, matte: NDArray[np.uint8]) -> "Surroundings":
        """rgb: uint8, HxWx3. matte: uint8, HxW. Neither is copied."""
        shrink = math.ceil(math.sqrt(matte.size) / GRID_SIDE)
        image, share = _sampled(rgb, shrink), _sampled(matte, shrink)
        sides = _sides(image.copy(), image.copy(), share)
        return cls(rgb, matte, shrink, image, sides, _coarse_means(image, share, sides))

    def with_matte(self, matte: NDArray[np.uint8]) -> "Surroundings":
        """The same by a better matte: what is known so far replaces the wider windows."""
        share = _sampled(matte, self.shrink)
        sure = cv2.bitwise_not(cv2.inRange(share, 1, 254))
        front, behind = (cv2.copyTo(self.image, sure, side.colours.copy()) for side in self.sides)
        sides = _sides(front, behind, share)
        means = _means(sides, COARSE[-1], self.wide_means)
        _improve(self.image, share, sides, means, COARSE[-1][0])
        return replace(self, matte=matte, sides=sides, wide_means=means)

    def foreground(self, block: Block) -> Pixels:
        """The foreground's colours: uint8, of the block's size."""
        around = _covering(block, self.shrink, 1 + FINE[1] // 2, self.sides[0].weight.shape)
        means = [
            _enlarged(_mean(side[around], FINE, _read(wide, COARSE[-1][0], around)), self.shrink, around, block)
            for side, wide in zip(self.sides, self.wide_means, strict=True)
        ]
        return next(_unmixed(self.rgb[block], self.matte[block], (means[0], means[1])))

    def alpha(self, block: Block, prior: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Alpha, pulled to where the pixel's colour lies between both sides' means.

        The more the means differ, and the steadier the colours around them, the stronger. Where the image tells
        nothing, the prior stays. prior: uint8, of the block's size. Gives the same.
        """
        step = self.shrink * COARSE[-1][0]
        front, behind = (_read(mean, step, block) for mean in self.wide_means)
        front_spread, behind_spread = (_read(spread, step, block) for spread in self._spreads)
        front_share, alpha = (plane * np.float32(1 / 255) for plane in (self.matte[block], prior))
        noise = NOISE + UNREST * (front_share**2 * front_spread + (1 - front_share) ** 2 * behind_spread)
        apart = front - behind
        unexplained = self.rgb[block] - behind - _tripled(alpha) * apart
        alpha += _summed(apart * unexplained) / (_summed(apart * apart) + noise)
        return np.asarray(np.rint(np.clip(alpha, 0, 1) * 255), np.uint8)

    @cached_property
    def _spreads(self) -> Pair:
        """Variance of both sides' colours around their means: float32, HxW, on the means' own grid."""
        front, behind = (_spread(side, mean) for side, mean in zip(self.sides, self.wide_means, strict=True))
        return front, behind


def _sides(front: Pixels, behind: Pixels, share: NDArray[np.uint8]) -> tuple[_Side, _Side]:
    return _Side(front, cv2.LUT(share, CUBED)), _Side(behind, cv2.LUT(share, CUBED[::-1]))


def _coarse_means(image: Pixels, share: NDArray[np.uint8], sides: tuple[_Side, _Side]) -> Pair:
    """Mean colours of both sides, from wide windows to narrow ones; after each, the soft pixels are unmixed again."""
    means = (_overall(sides[0]), _overall(sides[1]))
    for level in COARSE:
        whole = (slice(0, -(-share.shape[0] // level[0])), slice(0, -(-share.shape[1] // level[0])))
        if level is not COARSE[0]:
            means = (_read(means[0], 2, whole), _read(means[1], 2, whole))
        means = _means(sides, level, means)
        _improve(image, share, sides, means, level[0])
    return means


def runs(wanted: NDArray[np.uint8]) -> Iterator[slice]:
    """Columns of neighbouring squares that hold a pixel which is not 0."""
    width = wanted.shape[1]
    touched = np.maximum.reduceat(cv2.reduce(wanted, 0, cv2.REDUCE_MAX)[0], np.arange(0, width, STRIP)) > 0
    edges = np.flatnonzero(np.diff(touched, prepend=False, append=False))
    for first, last in edges.reshape(-1, 2) * STRIP:
        yield slice(int(first), min(int(last), width))


def _improve(image: Pixels, share: NDArray[np.uint8], sides: tuple[_Side, _Side], means: Pair, step: int) -> None:
    """Unmix the soft pixels: elsewhere, one side is the image itself and the other has no weight."""
    soft = np.asarray(cv2.inRange(share, 1, 254), np.uint8)
    for top in range(0, len(soft), STRIP):
        rows = slice(top, min(top + STRIP, len(soft)))
        for columns in runs(soft[rows]):
            block = (rows, columns)
            near = (_read(means[0], step, block), _read(means[1], step, block))
            for side, better in zip(sides, _unmixed(image[block], share[block], near), strict=True):
                cv2.copyTo(better, soft[block], side.colours[block])


def _unmixed(image: Pixels, share: NDArray[np.uint8], means: Pair) -> Iterator[Pixels]:
    """Foreground, then background: the pair of colours nearest to the means that blends to about the image.

    Least squares in closed form; the second is only computed when asked for.
    """
    front_share = _tripled(share) * np.float32(1 / 255)
    behind_share = 1 - front_share
    unexplained = image - front_share * means[0]
    unexplained -= behind_share * means[1]
    unexplained /= front_share * front_share + behind_share * behind_share + np.float32(CAUTION)
    for own_share, mean in zip((front_share, behind_share), means, strict=True):
        yield cv2.convertScaleAbs(np.maximum(mean + own_share * unexplained, 0))  # rounds and clips


def _means(sides: tuple[_Side, _Side], level: tuple[int, int], priors: Pair) -> Pair:
    return _mean(sides[0], level, priors[0]), _mean(sides[1], level, priors[1])


def _mean(side: _Side, level: tuple[int, int], prior: Colours) -> Colours:
    """Weighted mean colours over windows, one sample per step; where no weight is, those of the prior.

    Sums are taken in 16 bits: half the memory of float32, twice as fast, and exact to a hundredth of TRUST.
    """
    step, window = (level[0], level[0]), (level[1], level[1])
    weight, product = _weighted(side)
    total = _tripled(cv2.blur(_reduced(weight, step[0]), window)) * np.float32(1 / 255**2)
    mean = cv2.blur(_reduced(product, step[0]), window) * np.float32(1 / 255)
    mean += np.float32(TRUST) * prior
    mean /= total + np.float32(TRUST)
    return np.asarray(mean, np.float32)


def _weighted(side: _Side) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """255 times the weight, HxW, and colours times weight, HxWx3: 0..65025."""
    weight = side.weight.astype(np.uint16)
    return weight * np.uint16(255), side.colours * _tripled(weight)


def _spread(side: _Side, mean: Colours) -> NDArray[np.float32]:
    """Weighted variance of a side's colours around their means, over the same windows: float32, HxW."""
    step, window = COARSE[-1]
    weight, product = (_reduced(plane, step) * np.float32(1 / 255) for plane in _weighted(side))
    weight /= 255
    strayed = product - _tripled(weight) * mean
    squares = cv2.blur(_summed(strayed * strayed) / (weight + np.float32(EPSILON)), (window, window))
    return np.asarray(squares / (cv2.blur(weight, (window, window)) + np.float32(TRUST)), np.float32)


def _summed(colours: Colours) -> NDArray[np.float32]:
    """HxWx3 to HxW."""
    return np.asarray(cv2.transform(colours, np.ones((1, 3), np.float32)), np.float32)


def _overall(side: _Side) -> Colours:
    """The weighted mean colour of everything: float32, 1x1x3."""
    weight, product = (cv2.mean(plane) for plane in _weighted(side))
    return np.array(product[:3], np.float32)[None, None] / max(weight[0] / 255, EPSILON)


def _covering(block: Block, times: int, margin: int, shape: tuple[int, ...]) -> Block:
    """The part of a grid, of one sample per `times` pixels, that covers a block of pixels and a margin of samples."""
    rows, columns = (
        slice(max(0, side.start // times - margin), min(length, -(-side.stop // times) + margin))
        for side, length in zip(block, shape, strict=False)
    )
    return rows, columns


def _read(grid: Colours, times: int, block: Block) -> Colours:
    """A block of a grid that is enlarged so many times."""
    near = _covering(block, times, 1, grid.shape)
    return _enlarged(grid[near], times, near, block)


def _enlarged(part: Colours, times: int, near: Block, block: Block) -> Colours:
    """A block out of the enlarged `part`, which lies at `near` in its grid."""
    if times > 1:
        size = (part.shape[1] * times, part.shape[0] * times)
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR), np.float32)
    rows, columns = (
        slice(side.start - times * origin.start, side.stop - times * origin.start)
        for side, origin in zip(block, near, strict=True)
    )
    return part[rows, columns]


def _sampled(pixels: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    """The middle pixel of each square of `times` x `times`: unlike their mean, it is no further blend of both sides."""
    if times == 1:
        return pixels
    down, across = (
        np.minimum(np.arange(times // 2, length + times // 2, times), length - 1) for length in pixels.shape[:2]
    )
    return np.asarray(pixels.take(down, axis=0).take(across, axis=1))


def _reduced(pixels: Plane, times: int) -> Plane:
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


def _tripled(plane: Plane) -> Plane:
    """HxW to HxWx3: OpenCV multiplies equal shapes far faster than numpy broadcasts over three channels."""
    tripled: Plane = cv2.merge([plane, plane, plane])
    return tripled
