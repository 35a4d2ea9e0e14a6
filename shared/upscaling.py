"""Enlarging a cutout: colours grown below its transparency for the network, opacity apart, recombined straight."""

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray


class Enlarge(Protocol):
    """Opaque colour, enlarged: RealEsrgan.enlarge."""

    def __call__(
        self, rgb: NDArray[np.uint8], /, *, scale: int, wanted: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]: ...


def enlarge_cutout(rgba: NDArray[np.uint8], enlarge: Enlarge, *, scale: int) -> NDArray[np.uint8]:
    """A straight-alpha cutout with its colour enlarged by `enlarge` and its opacity apart, as RealEsrgan(...) gives it.

    The enlarger sees no transparency: colours are grown outward below it first. What it makes of them is kept beside
    the edge and zeroed elsewhere.
    """
    alpha = rgba[:, :, 3]
    enlarged = enlarge(bleed(rgba), scale=scale, wanted=alpha > 0)
    opacity = enlarge_alpha(alpha, scale)
    beside_edge = cv2.dilate(opacity, np.ones((2 * scale + 1, 2 * scale + 1), np.uint8))
    enlarged[beside_edge == 0] = 0
    return np.asarray(cv2.merge([enlarged, opacity]), np.uint8)


def bleed(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The cutout's colours, grown outward below its transparency (pull-push, Gortler et al. 1996).

    uint8 HxWx4 -> uint8 HxWx3. Visible pixels are unchanged; the others take the alpha-weighted mean of what is near,
    so that the network sees no edge between the subject and black.
    """
    alpha = rgba[:, :, 3]
    coarse = _pull_push(rgba[:, :, :3].astype(np.float32), np.asarray(alpha / 255, np.float32))
    hidden = alpha == 0
    result = rgba[:, :, :3].copy()
    result[hidden] = np.rint(coarse[hidden]).astype(np.uint8)
    return result


def _pull_push(colour: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = weight.shape
    if max(height, width) == 1 or bool((weight > 0).all()):
        return colour
    size = ((width + 1) // 2, (height + 1) // 2)
    small_weight = np.asarray(cv2.resize(weight, size, interpolation=cv2.INTER_AREA), np.float32)
    weighted = np.asarray(cv2.resize(colour * weight[..., None], size, interpolation=cv2.INTER_AREA), np.float32)
    small = np.asarray(weighted / np.maximum(small_weight, 1e-6)[..., None], np.float32)
    filled = _pull_push(small, np.minimum(small_weight * 4, 1))
    grown = np.asarray(cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    share = weight[..., None]
    return np.asarray(colour * share + grown * (1 - share), np.float32)


def enlarge_alpha(alpha: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Opacity, `scale` times wider and higher, uint8 HxW.

    Cubic, so that edges stay steep, but never outside what the 3x3 source pixels around hold: no ringing, and opaque
    and transparent regions stay exactly that.
    """
    size = (alpha.shape[1] * scale, alpha.shape[0] * scale)
    near = np.ones((3, 3), np.uint8)
    low = cv2.resize(cv2.erode(alpha, near), size, interpolation=cv2.INTER_NEAREST)
    high = cv2.resize(cv2.dilate(alpha, near), size, interpolation=cv2.INTER_NEAREST)
    cubic = cv2.resize(alpha, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.min(cv2.max(cubic, low), high), np.uint8)
