"""How good a cutout probably is, from the network's own probabilities."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 256  # pixels; larger maps are shrunk, so that a figure means the same for every size of network
GOOD = 0.7  # IoU with the true mask from which a cutout counts as good
# Logistic regression of "IoU >= GOOD" on what `evidence` gives, for the embedded model on 87 photographs that it has
# not seen: python -m shared.models.embedded.evaluate FOLDER prints these constants, their reliability and their AUC.
BIAS, DECIDED, WHOLE = -16.7, 16.8, 4.8


def confidence(probability: NDArray[np.float32]) -> float:
    """The probability that the cutout is good: its mask's IoU with the truth at least GOOD. 0.001 to 1; 0 = no subject.

    probability: of subject, float32 HxW, 0..1. Calibrated on the embedded model; for other networks the order of images
    by this figure says more than its value.
    """
    decided, whole = evidence(probability)
    if not whole:
        return 0.0
    return max(0.001, round(1 / (1 + math.exp(-(BIAS + DECIDED * decided + WHOLE * whole))), 3))


def evidence(probability: NDArray[np.float32]) -> tuple[float, float]:
    """What speaks for a mask, both 0..1: how decided it is, and the largest connected part's share of the subject.

    Decided is the IoU that two masks drawn at random from the probabilities are expected to have with each other.
    """
    small = _shrunk(probability)
    subject = np.asarray(small > 0.5, np.uint8)
    area = int(cv2.countNonZero(subject))
    if not area:
        return 0.0, 0.0
    both = float(np.square(small).sum())
    parts = cv2.connectedComponentsWithStats(subject, connectivity=8)[2]
    return both / (2 * float(small.sum()) - both), int(parts[1:, cv2.CC_STAT_AREA].max()) / area


def _shrunk(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = probability.shape
    factor = SIDE / max(height, width)
    if factor >= 1:
        return probability
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(probability, size, interpolation=cv2.INTER_AREA), np.float32)
