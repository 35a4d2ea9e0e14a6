"""Foreground colours: the background's colour taken out of edge pixels, and what is hidden zeroed.

Blur-fusion (Forte, "Approximate fast foreground colour estimation", ICIP 2021) in two passes. The wide first pass only
needs a small image; the second runs only on tiles that touch the soft band: a tenth of the time of the whole image.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = 64  # pixels: rows of a strip, columns of the squares that a strip is looked through in
BLEED = 4  # pixels of colour kept beside the edge under alpha 0, so that scaling does not darken it
FULL_SIDE = 1024  # pixels: side of the square image to which the windows below belong; others scale with it
WIDE_SIDE = 512  # pixels: side of the square image on which the wide pass runs
WIDE_WINDOW = 90  # pixels at FULL_SIDE: width of the first pass's window
NARROW_WINDOW = 6  # pixels at FULL_SIDE: width of the second pass's window
EPSILON = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class _Surroundings:
    """Mean colours around each pixel, on a small grid: float32, hxwx3, 0..255; `step` = its pixels per pixel (x, y)."""

    foreground: NDArray[np.float32]
    background: NDArray[np.float32]
    step: tuple[float, float]

    def at(self, colours: NDArray[np.float32], left: int, top: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """`colours` at a rectangle of the image: float32, HxWx3."""
        x, y = self.step
        to_grid = np.array([[x, 0, (left + 0.5) * x - 0.5], [0, y, (top + 0.5) * y - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (shape[1], shape[0])
        return np.asarray(cv2.warpAffine(colours, to_grid, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))


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
    surroundings = _surroundings(rgb, matte) if clean else None
    window = _window(NARROW_WINDOW * math.sqrt(height * width) / FULL_SIDE)
    for top in range(0, height, TILE):
        rows = slice(top, min(top + TILE, height))
        kept = _grown(alpha, rows)
        colour = cv2.bitwise_and(rgb[rows], rgb[rows], mask=kept)
        cv2.mixChannels([colour, alpha[rows]], [rgba[rows]], [0, 0, 1, 1, 2, 2, 3, 3])
        if surroundings is None:
            continue
        estimated = (kept > 0) & (matte[rows] < 255)
        for columns in _runs(estimated):
            colours = _estimate(rgb, matte, (rows, columns), window, surroundings)
            np.copyto(rgba[rows, columns, :3], colours, where=estimated[:, columns, None])
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
    touched = np.logical_or.reduceat(wanted.any(axis=0), np.arange(0, width, TILE))
    edges = np.flatnonzero(np.diff(touched, prepend=False, append=False))
    for first, last in edges.reshape(-1, 2) * TILE:
        yield slice(int(first), min(int(last), width))


def _surroundings(rgb: NDArray[np.uint8], matte: NDArray[np.uint8]) -> _Surroundings:
    """The first pass: colours of both sides of the edge, over wide windows."""
    height, width = matte.shape
    shrink = max(1.0, math.sqrt(height * width) / WIDE_SIDE)
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    colour = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    opacity = cv2.resize(matte, size, interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    window = _window(WIDE_WINDOW * math.sqrt(height * width) / FULL_SIDE / shrink)
    return _Surroundings(
        foreground=_mean(colour, opacity, window),
        background=_mean(colour, 1 - opacity, window),
        step=(size[0] / width, size[1] / height),
    )


def _estimate(
    rgb: NDArray[np.uint8],
    matte: NDArray[np.uint8],
    where: tuple[slice, slice],
    window: int,
    surroundings: _Surroundings,
) -> NDArray[np.uint8]:
    """Foreground colours of one rectangle: uint8, HxWx3."""
    rows, columns = where
    top, left = max(0, rows.start - window), max(0, columns.start - window)
    around = (slice(top, rows.stop + window), slice(left, columns.stop + window))
    image = rgb[around].astype(np.float32)
    opacity = matte[around].astype(np.float32)[..., None] / np.float32(255)
    background = surroundings.at(surroundings.background, left, top, opacity.shape)
    first = _fuse(image, opacity, surroundings.at(surroundings.foreground, left, top, opacity.shape), background)
    inner = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    nearby = _mean(first, opacity, window)
    second = _fuse(image[inner], opacity[inner], nearby[inner], background[inner])
    return np.rint(second).astype(np.uint8)


def _fuse(
    image: NDArray[np.float32],
    opacity: NDArray[np.float32],
    foreground: NDArray[np.float32],
    background: NDArray[np.float32],
) -> NDArray[np.float32]:
    """F + a (I - aF - (1-a)B): the mean colour, plus what of the pixel a blend of both means does not explain."""
    unexplained = image - background - opacity * (foreground - background)
    return np.asarray(np.clip(foreground + opacity * unexplained, 0, 255), np.float32)


def _mean(colour: NDArray[np.float32], weight: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Weighted mean colour over a square window, in pixels."""
    total = cv2.blur(weight, (window, window))[..., None] + EPSILON
    return np.asarray(cv2.blur(colour * weight, (window, window)) / total, np.float32)


def _window(side: float) -> int:
    """The next odd number of pixels: a window that is centred on its pixel."""
    return 2 * round(max(side - 1, 0) / 2) + 1
