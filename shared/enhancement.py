"""The network's mask, enhanced: contrast, floor, clean-up; and where the image may decide better."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import NetworkFailed
from shared.options import CutOptions, MaskPreset

STEPS = 65_535  # of a probability, when contrast and floor are read from a table
FAINT = 0.1  # opacity up to which a pixel counts as empty in the clean-up
BAND_REACH = 1 / 128  # of the mask's side: how far the unknown band reaches from an edge
LEAST_BAND_REACH = 4  # pixels at network scale


def enhance(probability: NDArray[np.float32], options: CutOptions, preset: MaskPreset) -> NDArray[np.float32]:
    """The mask by the preset: contrast, floor and clean-up (standard); clean-up alone (soft); unchanged (off).

    probability: float32, HxW, 0..1, at the network's scale. Gives a new array of that kind. An empty mask stays
    empty: nothing is stretched to its own minimum and maximum. Raises NetworkFailed for values that are not numbers.
    """
    if not np.isfinite(probability).all():
        raise NetworkFailed("the mask holds values that are not numbers")
    mask: NDArray[np.float32] = np.clip(probability, 0, 1)
    if preset is MaskPreset.OFF:
        return mask
    opacity = mask.copy()
    if preset is not MaskPreset.SOFT:
        opacity = _curve(options).take(cv2.multiply(mask, STEPS, dtype=cv2.CV_16U))  # rounded
    remove_specks(opacity, mask, kernel=options.mask_kernel)
    fill_pinholes(opacity, kernel=options.mask_kernel)
    return opacity


def _curve(options: CutOptions) -> NDArray[np.float32]:
    """Contrast and floor of each probability 0, 1 / STEPS ... 1: reading a table is faster than computing a curve."""
    levels = np.arange(STEPS + 1, dtype=np.float32) / np.float32(STEPS)
    raised = contrast(levels, threshold=options.mask_threshold, slope=options.mask_contrast)
    return floor(raised, level=options.mask_hard_floor)


def contrast(mask: NDArray[np.float32], *, threshold: float, slope: float) -> NDArray[np.float32]:
    """Logistic curve L(p) = 1 / (1 + exp(-4 * slope * (p - threshold))), rescaled so that 0 -> 0 and 1 -> 1.

    L is as steep as `slope` at the threshold (the derivative of a logistic at its centre is a quarter of its rate).
    mask: float32, any shape, 0..1. Gives the same.
    """
    ends = _logistic(np.array([0, 1], np.float32), threshold, slope)
    curve = _logistic(mask, threshold, slope)
    curve -= ends[0]
    curve /= ends[1] - ends[0]
    return curve


def _logistic(mask: NDArray[np.float32], threshold: float, slope: float) -> NDArray[np.float32]:
    half_rate = 2 * slope  # 1 / (1 + exp(-2z)) = (1 + tanh z) / 2, which does not overflow
    curve = np.multiply(mask, half_rate, dtype=np.float32)
    curve -= np.float32(half_rate * threshold)
    np.tanh(curve, out=curve)
    curve += 1
    curve *= 0.5
    return curve


def floor(mask: NDArray[np.float32], *, level: float) -> NDArray[np.float32]:
    """(x - level) / (1 - level), at least 0: opacity up to the level becomes 0, and there is no step above it."""
    base = np.float32(level)
    raised: NDArray[np.float32] = np.maximum((mask - base) / (np.float32(1) - base), 0)
    return raised


def remove_specks(opacity: NDArray[np.float32], mask: NDArray[np.float32], *, kernel: int) -> None:
    """Sets specks of fewer than kernel x kernel pixels to 0, in place; soft edges and strands do not change.

    A speck is a connected patch that not even faint opacity of `mask`, the network's own, links to a larger one: a
    strand that contrast has cut in pieces stays. opacity, mask: float32, HxW, 0..1.
    """
    if kernel <= 1:
        return
    visible = opacity > FAINT
    linked = (mask > FAINT) | visible
    specks = _small(linked, visible, kernel, connectivity=8)
    if specks is not None:
        opacity[_grown(specks, kernel) & (~linked | specks)] = 0


def fill_pinholes(opacity: NDArray[np.float32], *, kernel: int) -> None:
    """Sets pinholes of fewer than kernel x kernel pixels, enclosed in opaque ones, to 1, in place."""
    if kernel <= 1:
        return
    holes = opacity < 1 - FAINT
    pinholes = _small(holes, holes, kernel, connectivity=4, enclosed=True)
    if pinholes is not None:
        opacity[_grown(pinholes, kernel) & (~holes | pinholes)] = 1


def _small(
    region: NDArray[np.bool_], counted: NDArray[np.bool_], kernel: int, *, connectivity: int, enclosed: bool = False
) -> NDArray[np.bool_] | None:
    """Pixels of connected components of `region` with fewer than kernel x kernel `counted` pixels; None = no pixel.

    counted: a part of the region. enclosed: only components that do not touch the frame.
    """
    number, labels = cv2.connectedComponents(region.view(np.uint8), connectivity=connectivity)
    small = np.bincount(labels[counted], minlength=number) < kernel * kernel
    small[0] = False
    if enclosed:
        for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            small[side] = False
    return small.take(labels) if small.any() else None


def _grown(region: NDArray[np.bool_], kernel: int) -> NDArray[np.bool_]:
    grown: NDArray[np.uint8] = cv2.dilate(region.view(np.uint8), np.ones((kernel, kernel), np.uint8))
    return grown.view(np.bool_)


def unknown_band(
    opacity: NDArray[np.float32], probability: NDArray[np.float32], options: CutOptions
) -> NDArray[np.float32]:
    """The mask that is soft where the image may decide: near the edges of `opacity`, the network's mask without specks.

    Contrast and floor decide about what the network was unsure of; near an edge, the image's colours decide better.
    Elsewhere the result is 0 or 1, so that the image does not reopen the decision about a region that the network was
    unsure of. float32, HxW, 0..1, all three.
    """
    mask: NDArray[np.float32] = np.clip(probability, 0, 1)
    remove_specks(mask, mask, kernel=options.mask_kernel)
    inside = opacity >= 0.5
    reach = max(LEAST_BAND_REACH, round(math.sqrt(opacity.size) * BAND_REACH))
    edges = _grown(opacity > 0, 2 * reach + 1) & _grown(~inside, 2 * reach + 1)
    return np.where(edges, mask, inside.astype(np.float32))
