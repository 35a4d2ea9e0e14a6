"""Uploads that are transparent in places: what a viewer sees of them, and what their own alpha leaves of the matte."""

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.soft_pixels import row_bands

GROUNDS = (255, 0, 128)  # grey levels, the preferred one first: white is what most viewers lay below
DISTINCT = 64  # levels of 255, in any channel: a pixel that differs by less does not stand out from the ground
SAMPLE_SIDE = 512  # pixels: at most about this many columns and rows decide which ground it is
EDGE = 5  # pixels: side of the window in which the upload's own alpha is an edge and not a level


def on_contrasting_ground(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image on the flat ground from which most of its visible pixels stand out.

    Its most opaque pixels count as opaque: an image that is half transparent all over is as visible as its shapes are.

    rgb: uint8, HxWx3. alpha: uint8, HxW. Gives uint8, HxWx3; the most opaque pixels keep their colours.
    """
    ground = _contrasting_ground(rgb, alpha)
    stretched = np.rint(np.minimum(np.arange(256) * (255 / max(1, int(alpha.max()))), 255)).astype(np.uint8)
    seen = np.empty_like(rgb)
    for rows in row_bands(alpha.shape):
        opacity = cv2.merge([cv2.LUT(alpha[rows], stretched)] * 3)
        below = cv2.multiply(cv2.bitwise_not(opacity), ground / 255)
        cv2.add(cv2.multiply(rgb[rows], opacity, scale=1 / 255), below, dst=seen[rows])
    return seen


def _contrasting_ground(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> int:
    down, across = (max(1, length // SAMPLE_SIDE) for length in alpha.shape)
    weight = alpha[::down, ::across].astype(np.float64)
    colours = rgb[::down, ::across].astype(np.int16)
    lost = [float(weight[np.abs(colours - ground).max(axis=2) < DISTINCT].sum()) for ground in GROUNDS]
    return GROUNDS[lost.index(min(lost))]


def without_own_edges(matte: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The matte of an image on a ground, without the edges that the image's own alpha makes in it.

    The matte is soft along those edges too; if it were multiplied by the alpha, they would count twice. Both are uint8,
    HxW. Gives the same kind; the matte does not change where the alpha is even.
    """
    result = matte.copy()
    for rows in row_bands(matte.shape):
        margin = EDGE // 2
        above = min(margin, rows.start)
        level = cv2.dilate(alpha[rows.start - above : rows.stop + margin], np.ones((EDGE, EDGE), np.uint8))
        level = level[above : above + rows.stop - rows.start]
        edge = (alpha[rows] > 0) & (alpha[rows] < level) & (matte[rows] > 0)
        raised = matte[rows][edge].astype(np.float32) * level[edge] / alpha[rows][edge]
        result[rows][edge] = np.rint(np.minimum(raised, 255))
    return result
