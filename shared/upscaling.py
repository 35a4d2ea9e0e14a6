"""Enlarging a cutout: colours grown below its transparency for the network, opacity apart, recombined straight."""

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_WEIGHT = 1e-6  # of an opaque pixel: what weights are divided by at least


class Enlarge(Protocol):
    """Enlarges opaque colour."""

    def __call__(
        self, rgb: NDArray[np.uint8], /, *, scale: int, wanted: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        """uint8 HxWx3 -> the same, `scale` times wider and higher; only pixels near `wanted`, bool HxW, are needed."""


def enlarge_cutout(rgba: NDArray[np.uint8], enlarge: Enlarge, *, scale: int) -> NDArray[np.uint8]:
    """A straight-alpha cutout, uint8 HxWx4, `scale` times wider and higher: colour by `enlarge`, opacity apart.

    The enlarger sees no transparency: colours are first grown outward below it. What it makes of them is kept beside
    the edge and zeroed elsewhere.
    """
    alpha = rgba[:, :, 3]
    shown = cv2.dilate(alpha, np.ones((5, 5), np.uint8)) > 0  # interpolated opacity, and the colour kept beside it
    enlarged = enlarge(bleed(rgba), scale=scale, wanted=shown)
    opacity = enlarge_alpha(alpha, scale)
    beside_edge = cv2.dilate(opacity, np.ones((2 * scale + 1, 2 * scale + 1), np.uint8))
    enlarged[beside_edge == 0] = 0
    cutout: NDArray[np.uint8] = cv2.merge([enlarged, opacity])
    return cutout


def bleed(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The cutout's colours, grown outward below its transparency (pull-push, Gortler et al. 1996).

    uint8 HxWx4 -> uint8 HxWx3. Visible pixels are unchanged; the others take the alpha-weighted mean of what is near,
    so that the network sees no edge between the subject and black.
    """
    alpha = rgba[:, :, 3]
    grown = _pull_push(rgba[:, :, :3].astype(np.float32), alpha.astype(np.float32) / np.float32(255))
    hidden = alpha == 0
    result = rgba[:, :, :3].copy()
    result[hidden] = np.rint(grown[hidden]).astype(np.uint8)
    return result


def _pull_push(colour: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours, HxWx3; where their weight, HxW, 0..1, is below 1, mixed with weighted means of what is near."""
    height, width = weight.shape
    if max(height, width) == 1 or bool((weight > 0).all()):
        return colour
    size = ((width + 1) // 2, (height + 1) // 2)
    half_weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    weighted = cv2.resize(colour * weight[..., None], size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], 3)
    half = weighted / np.maximum(half_weight, SMALLEST_WEIGHT)[..., None]
    filled = _pull_push(half, np.minimum(half_weight * 4, 1))  # 4: one full pixel of four is enough
    grown = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    alpha = weight[..., None]
    mixed: NDArray[np.float32] = colour * alpha + grown * (1 - alpha)
    return mixed


def enlarge_alpha(alpha: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Opacity, uint8 HxW, `scale` times wider and higher.

    Cubic, so that edges stay steep, but never outside what the 3x3 source pixels around hold: it does not ring, and
    opaque and transparent regions stay exactly that.
    """
    size = (alpha.shape[1] * scale, alpha.shape[0] * scale)
    near = np.ones((3, 3), np.uint8)
    low = cv2.resize(cv2.erode(alpha, near), size, interpolation=cv2.INTER_NEAREST)
    high = cv2.resize(cv2.dilate(alpha, near), size, interpolation=cv2.INTER_NEAREST)
    cubic = cv2.resize(alpha, size, interpolation=cv2.INTER_CUBIC)
    bounded: NDArray[np.uint8] = cv2.min(cv2.max(cubic, low), high)
    return bounded
