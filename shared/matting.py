"""Alpha that follows the image's own edges."""

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.surroundings import STRIP, Surroundings, runs


def refine(alpha: NDArray[np.uint8], surroundings: Surroundings) -> NDArray[np.uint8]:
    """Alpha that follows the full-resolution image where the surroundings' matte is soft; elsewhere it stays.

    alpha: uint8, HxW, not changed. Gives the same.
    """
    refined = alpha.copy()
    for top in range(0, len(alpha), STRIP):
        rows = slice(top, min(top + STRIP, len(alpha)))
        soft = np.asarray(cv2.inRange(surroundings.matte[rows], 1, 254), np.uint8)
        for columns in runs(soft):
            pulled = surroundings.alpha((rows, columns), alpha[rows, columns])
            cv2.copyTo(pulled, soft[:, columns], refined[rows, columns])
    return refined
