"""What an alpha says of its subject."""

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import NoSubject
from shared.records import Subject

VISIBLE = 26  # alpha, of 255: the subject's box holds every pixel that is at least this opaque
PRESENT = 128  # alpha, of 255: an alpha that is nowhere this opaque holds no subject
LEAST_COVERAGE = 1e-5  # mean alpha below which there is no subject


def measure(matte: NDArray[np.uint8], result: NDArray[np.uint8] | None = None, *, present: int = PRESENT) -> Subject:
    """Where the subject is, by the matte, and how much of the image it fills, by the result's alpha if that is another.

    Both: uint8, HxW. present: the least opacity, of 255, that some pixel of the matte must have.
    Raises NoSubject if none has, if the matte's mean is below one in 100,000, or if the result is invisible.
    """
    columns, rows = matte.max(axis=0), matte.max(axis=1)
    alpha = matte if result is None else result
    if columns.max() < present or cv2.mean(matte)[0] / 255 < LEAST_COVERAGE or not cv2.countNonZero(alpha):
        raise NoSubject("No subject was found in the image, so there is nothing to cut out.")
    visible = min(VISIBLE, present)
    across, down = np.flatnonzero(columns >= visible), np.flatnonzero(rows >= visible)
    soft = cv2.countNonZero(alpha) - cv2.countNonZero(cv2.inRange(alpha, 255, 255))
    return Subject(
        coverage=float(cv2.mean(alpha)[0]) / 255,
        uncertain=soft / alpha.size,
        box=(int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1),
    )
