"""What an alpha says of its subject."""

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import NoSubject
from shared.records import Subject

VISIBLE = 26  # alpha, of 255: the subject's box holds every pixel that is at least this opaque
PRESENT = 128  # alpha, of 255: an alpha that is nowhere this opaque holds no subject
LEAST_COVERAGE = 1e-5  # mean alpha below which there is no subject


def measure(alpha: NDArray[np.uint8]) -> Subject:
    """Where the subject is. alpha: uint8, HxW.

    Raises NoSubject if no pixel is at least half opaque, or if the mean alpha is below one in 100,000.
    """
    coverage = float(cv2.mean(alpha)[0]) / 255
    columns, rows = alpha.max(axis=0), alpha.max(axis=1)
    if columns.max() < PRESENT or coverage < LEAST_COVERAGE:
        raise NoSubject("No subject was found in the image, so there is nothing to cut out.")
    across, down = np.flatnonzero(columns >= VISIBLE), np.flatnonzero(rows >= VISIBLE)
    soft = cv2.countNonZero(alpha) - cv2.countNonZero(cv2.inRange(alpha, 255, 255))
    return Subject(
        coverage=coverage,
        uncertain=soft / alpha.size,
        box=(int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1),
    )
