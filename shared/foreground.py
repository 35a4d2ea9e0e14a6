"""The cutout's pixels: the background's colour taken out of edge pixels, and what is hidden zeroed."""

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.surroundings import STRIP, Surroundings, runs

BLEED = 4  # pixels of colour kept beside the edge under alpha 0, so that scaling does not darken it


def cut_out(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], surroundings: Surroundings | None) -> NDArray[np.uint8]:
    """Colour and alpha as straight RGBA: the subject's own colours in the soft band, zero where nothing shows.

    rgb: uint8, HxWx3. alpha: uint8, HxW. surroundings: of both sides of the edges, by whose matte the background's
    colour is taken out of what is not opaque; without them, the upload's colours stay. Gives uint8, HxWx4. Pixels with
    an opaque matte keep the upload's colour exactly; beside the edge, BLEED pixels of colour are kept under alpha 0.
    """
    rgba = np.empty((*alpha.shape, 4), np.uint8)
    for top in range(0, len(alpha), STRIP):
        rows = slice(top, min(top + STRIP, len(alpha)))
        kept = _grown(alpha, rows)
        colour = cv2.copyTo(rgb[rows], kept)
        if surroundings:
            unsure = np.asarray(cv2.bitwise_and(kept, cv2.inRange(surroundings.matte[rows], 0, 254)), np.uint8)
            for columns in runs(unsure):
                cv2.copyTo(surroundings.foreground((rows, columns)), unsure[:, columns], colour[:, columns])
        cv2.cvtColor(colour, cv2.COLOR_RGB2RGBA, dst=rgba[rows])
        cv2.insertChannel(alpha[rows], rgba[rows], 3)
    return rgba


def _grown(alpha: NDArray[np.uint8], rows: slice) -> NDArray[np.uint8]:
    """Some rows of alpha, grown by BLEED pixels: not 0 where colour is kept."""
    above = min(BLEED, rows.start)
    around = alpha[rows.start - above : rows.stop + BLEED]
    grown = cv2.dilate(around, np.ones((2 * BLEED + 1, 2 * BLEED + 1), np.uint8))
    return np.asarray(grown[above : above + rows.stop - rows.start], np.uint8)
