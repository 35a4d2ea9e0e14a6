"""Foreground colours: the background's colour taken out of edge pixels, and what is hidden zeroed.

A pixel of the soft band is a blend, I = a F + (1 - a) B. Coarse to fine, the colours of each side are averaged over the
pixels that are almost its alone; then each pixel's F and B become the blend that lies nearest to those means. It joins
blur-fusion (Forte, ICIP 2021: means over windows, in place of a linear system) and multi-level estimation (Germer et
al., ICPR 2020: coarse to fine, both sides at once). Means are smooth, so a megapixel is enough for them whatever the
upload's size; only the last step sees the upload's own pixels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

STRIP = 64  # pixels: rows worked on at a time, and the side of the squares that are skipped where nothing is soft
BLEED = 4  # pixels of colour kept beside the edge under alpha 0, so that scaling does not darken it
GRID_SIDE = 1024  # pixels: about the side of the square image on which means are taken
LEVELS = ((8, 11), (4, 7), (2, 5), (1, 5))  # grid pixels per sample, samples per side of the window; coarse to fine
TRUST = 0.01  # weight of a coarser level's mean in the next
CAUTION = 0.15  # keeps colours near their means, for alpha is never exact
EPSILON = 1e-5

Colours = NDArray[np.float32]  # HxWx3, 0..255
Shares = NDArray[np.float32]  # HxWx3, 0..1, three times the same: far faster than broadcasting over three channels
Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.float32])


@dataclass(frozen=True, slots=True, eq=False)
class _Sides:
    """Colours of the foreground and of the background."""

    front: Colours
    behind: Colours


def cut_out(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], *, clean: bool, matte: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Colour and alpha as straight RGBA: the subject's own colours in the soft band, zero where nothing shows.

    rgb: uint8, HxWx3. alpha: uint8, HxW. clean: take the background's colour out of what is not opaque; without it,
    the upload's colours stay. matte: uint8, HxW, how much of each pixel's colour is the subject's, where that is not
    alpha (an upload that is transparent itself). Gives uint8, HxWx4. Pixels with an opaque matte keep the upload's
    colour exactly; beside the edge, BLEED pixels of colour are kept under alpha 0.
    """
    matte = alpha if matte is None else matte
    height, width = alpha.shape
    rgba = np.empty((height, width, 4), np.uint8)
    shrink = min(2 ** max(0, round(math.log2(math.sqrt(height * width) / GRID_SIDE))), STRIP)
    means = _means(_reduced(rgb, shrink), _reduced(matte, shrink)) if clean else None
    for top in range(0, height, STRIP):
        rows = slice(top, min(top + STRIP, height))
        kept = _grown(alpha, rows)
        colour = cv2.bitwise_and(rgb[rows], rgb[rows], mask=kept)
        if means is not None:
            unsure = (kept > 0) & (matte[rows] < 255)
            for columns in _runs(unsure):
                nearby = _part(means, rows, columns, shrink)
                sides = _unmixed(rgb[rows, columns].astype(np.float32), _shares(matte[rows, columns]), nearby)
                cleaned = np.rint(sides.front).astype(np.uint8)
                cv2.copyTo(cleaned, unsure[:, columns].astype(np.uint8), colour[:, columns])
        cv2.mixChannels([colour, alpha[rows]], [rgba[rows]], [0, 0, 1, 1, 2, 2, 3, 3])
    return rgba


def _grown(alpha: NDArray[np.uint8], rows: slice) -> NDArray[np.uint8]:
    """Some rows of alpha, grown by BLEED pixels: not 0 where colour is kept."""
    above = min(BLEED, rows.start)
    around = alpha[rows.start - above : rows.stop + BLEED]
    grown = cv2.dilate(around, np.ones((2 * BLEED + 1, 2 * BLEED + 1), np.uint8))
    return np.asarray(grown[above : above + rows.stop - rows.start], np.uint8)


def _runs(wanted: NDArray[np.bool_]) -> Iterator[slice]:
    """Columns of neighbouring squares that hold a wanted pixel."""
    width = wanted.shape[1]
    touched = np.logical_or.reduceat(wanted.any(axis=0), np.arange(0, width, STRIP))
    edges = np.flatnonzero(np.diff(touched, prepend=False, append=False))
    for first, last in edges.reshape(-1, 2) * STRIP:
        yield slice(int(first), min(int(last), width))


def _means(rgb: NDArray[np.uint8], matte: NDArray[np.uint8]) -> _Sides:
    """Mean colours of both sides around each pixel, from wide windows to narrow ones."""
    image, share = rgb.astype(np.float32), _shares(matte)
    front_weight, behind_weight = share**3, (1 - share) ** 3  # means are made of what is almost one side's alone
    now = _Sides(image.copy(), image.copy())
    means = _Sides(_mean(now.front, front_weight, LEVELS[0]), _mean(now.behind, behind_weight, LEVELS[0]))
    for level in LEVELS[1:]:
        _improve(now, image, share, means, 2 * level[0])
        means = _Sides(
            _mean(now.front, front_weight, level, means.front), _mean(now.behind, behind_weight, level, means.behind)
        )
    return means


def _improve(now: _Sides, image: Colours, share: Shares, means: _Sides, step: int) -> None:
    """Unmix the soft pixels again, in place: elsewhere one side is the image itself and the other has no weight."""
    soft = (share[..., 0] > 0) & (share[..., 0] < 1)
    for top in range(0, len(soft), STRIP):
        rows = slice(top, min(top + STRIP, len(soft)))
        for columns in _runs(soft[rows]):
            block = (rows, columns)
            better = _unmixed(image[block], share[block], _part(means, rows, columns, step))
            now.front[block], now.behind[block] = better.front, better.behind


def _unmixed(image: Colours, share: Shares, means: _Sides) -> _Sides:
    """The pair of colours nearest to the means that blends to about the image: least squares, in closed form."""
    rest = 1 - share
    unexplained = image - share * means.front - rest * means.behind
    unexplained /= share * share + rest * rest + CAUTION
    return _Sides(
        np.clip(means.front + share * unexplained, 0, 255),
        np.clip(means.behind + rest * unexplained, 0, 255),
    )


def _mean(colours: Colours, weight: Shares, level: tuple[int, int], prior: Colours | None = None) -> Colours:
    """Weighted mean colours over windows of a level, one sample per step; where no weight is, those of the coarser one."""
    step, window = level
    total = cv2.blur(_reduced(weight, step), (window, window))
    product = cv2.blur(_reduced(cv2.multiply(colours, weight), step), (window, window))
    height, width = total.shape[:2]
    if prior is None:
        wider = product.sum((0, 1)) / (total.sum((0, 1)) + EPSILON)
    else:
        wider = _enlarged(prior, 2)[:height, :width]
    return np.asarray((product + TRUST * wider) / (total + TRUST))


def _part(grid: _Sides, rows: slice, columns: slice, times: int) -> _Sides:
    """A rectangle of a grid, enlarged; its top and left are multiples of `times`."""
    return _Sides(_window(grid.front, rows, columns, times), _window(grid.behind, rows, columns, times))


def _window(grid: Colours, rows: slice, columns: slice, times: int) -> Colours:
    if times == 1:
        return grid[rows, columns]
    above, left = min(1, rows.start), min(1, columns.start)  # one sample more on each side, to interpolate from
    part = grid[
        rows.start // times - above : -(-rows.stop // times) + 1,
        columns.start // times - left : -(-columns.stop // times) + 1,
    ]
    above, left = above * times, left * times
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return _enlarged(part, times)[above : above + height, left : left + width]


def _enlarged(grid: Colours, times: int) -> Colours:
    size = (grid.shape[1] * times, grid.shape[0] * times)
    return np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _reduced(pixels: Pixels, times: int) -> Pixels:
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


def _shares(matte: NDArray[np.uint8]) -> Shares:
    share = matte * np.float32(1 / 255)
    return np.asarray(cv2.merge([share, share, share]), np.float32)
