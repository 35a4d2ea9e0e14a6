"""The cutout's pixels: the background's colour taken out of edge pixels, and what is hidden zeroed."""

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.local_colours import LocalColours, blend_error
from shared.soft_pixels import Positions, gather, gather_alpha, row_bands, sample, scatter

BLEED = 4  # pixels of colour kept beside the edge under alpha 0, so that scaling does not darken it


def estimate_foreground(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], colours: LocalColours) -> NDArray[np.uint8]:
    """The cutout in straight RGBA with the subject's own colours: those of the background leave the soft pixels.

    rgb: uint8, HxWx3. alpha: uint8, HxW, from which `colours` were estimated or updated. Gives uint8, HxWx4. Opaque
    pixels keep the image's colour exactly; beside the edge, BLEED pixels of colour are kept under alpha 0, and the rest
    is zero.
    """
    rgba = np.empty((*alpha.shape, 4), np.uint8)
    for rows in row_bands(alpha.shape, colours.scale):
        kept = _grown(alpha, rows)
        _merge(rgb[rows], alpha[rows], kept, rgba[rows])
        estimated = (kept > 0) & (alpha[rows] < 255)
        across = np.flatnonzero(estimated.any(axis=0))
        if across.size:
            columns = slice(int(across[0]), int(across[-1]) + 1)
            _estimate(rgb[rows], alpha[rows], rows.start, columns, estimated, colours, rgba[rows])
    return rgba


def with_own_colours(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The cutout in straight RGBA with the image's own colours. Shapes as in `estimate_foreground`."""
    rgba = np.empty((*alpha.shape, 4), np.uint8)
    for rows in row_bands(alpha.shape):
        _merge(rgb[rows], alpha[rows], _grown(alpha, rows), rgba[rows])
    return rgba


def multiply_alpha(rgba: NDArray[np.uint8], opacity: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The cutout with its alpha multiplied by another one, uint8 HxW. Gives a new array."""
    alpha: NDArray[np.uint8] = cv2.multiply(cv2.extractChannel(rgba, 3), opacity, scale=1 / 255)
    result = np.empty_like(rgba)
    for rows in row_bands(alpha.shape):
        result[rows] = cv2.copyTo(rgba[rows], _grown(alpha, rows))
    cv2.insertChannel(alpha, result, 3)
    return result


def _merge(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], kept: NDArray[np.uint8], rgba: NDArray[np.uint8]) -> None:
    """Writes colours, zero if not kept, and alpha into rgba."""
    cv2.cvtColor(cv2.copyTo(rgb, kept), cv2.COLOR_RGB2RGBA, dst=rgba)
    cv2.insertChannel(alpha, rgba, 3)


def _estimate(
    rgb: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    top: int,
    columns: slice,
    wanted: NDArray[np.bool_],
    colours: LocalColours,
    rgba: NDArray[np.uint8],
) -> None:
    """Writes the foreground's colours of the wanted pixels into rgba; all of them bands that begin at row `top`.

    columns: those that hold a wanted pixel.
    """
    scale = colours.scale
    height, width = colours.foreground.weight.shape
    rows = slice(max(0, top // scale - 1), min((top + len(alpha)) // scale + 2, height))
    part = slice(max(0, columns.start // scale - 1), min(columns.stop // scale + 2, width))
    means = [side.fine_means(rows, part) for side in (colours.foreground, colours.background)]
    for at in Positions.of(wanted, top=top):
        foreground, background = (sample(m, scale, at, first_row=rows.start, first_column=part.start) for m in means)
        opacity = gather_alpha(alpha, at)
        error = blend_error(gather(rgb, at), opacity, foreground, background)
        scatter(foreground + opacity * error, rgba, at)


def _grown(alpha: NDArray[np.uint8], rows: slice) -> NDArray[np.uint8]:
    """Some rows of alpha, grown by BLEED pixels: not 0 where colour is kept."""
    above = min(BLEED, rows.start)
    around = alpha[rows.start - above : rows.stop + BLEED]
    grown: NDArray[np.uint8] = cv2.dilate(around, np.ones((2 * BLEED + 1, 2 * BLEED + 1), np.uint8))
    return grown[above : above + rows.stop - rows.start]
