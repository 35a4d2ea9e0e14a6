"""Measures of a cutout against a known one. Arrays: alpha float HxW in 0..1, colour float or uint8 HxWx3 in 0..255.

Mask measures (S, weighted F, E) come from py_sod_metrics; the matting measures follow Rhemann et al., "A perceptually
motivated online benchmark for image matting" (2009), without their division by the area of a trimap.
"""

import cv2
import numpy as np
import py_sod_metrics
from numpy.typing import NDArray
from scipy import ndimage

Alpha = NDArray[np.floating]
Colour = NDArray[np.generic]
BACKGROUNDS = {"black": (0, 0, 0), "white": (255, 255, 255), "green": (0, 177, 64)}
SOFT = (0.02, 0.98)  # between these a pixel is neither background nor subject


def soft_band(alpha: Alpha) -> NDArray[np.bool_]:
    return np.asarray((alpha > SOFT[0]) & (alpha < SOFT[1]))


def mae(predicted: Alpha, true: Alpha) -> float:
    """Mean absolute error, 0..1."""
    return float(np.abs(predicted - true).mean())


def mse(predicted: Alpha, true: Alpha) -> float:
    """Mean squared error, 0..1."""
    return float(((predicted - true) ** 2).mean())


def sad(predicted: Alpha, true: Alpha) -> float:
    """Sum of absolute differences, in thousands of pixels."""
    return float(np.abs(predicted - true).sum() / 1000)


def grad(predicted: Alpha, true: Alpha, sigma: float = 1.4) -> float:
    """Squared difference of Gaussian gradient magnitudes, in thousands."""
    magnitudes = [ndimage.gaussian_gradient_magnitude(a.astype(np.float64), sigma) for a in (predicted, true)]
    return float(((magnitudes[0] - magnitudes[1]) ** 2).sum() / 1000)


def conn(predicted: Alpha, true: Alpha, step: float = 0.1) -> float:
    """How much of the opacity has lost its connection to the common opaque region, in thousands.

    A pixel's level is the highest threshold at which it still belongs to the largest region that both mattes have; what
    lies more than 0.15 above it counts as unconnected.
    """
    level = np.full(true.shape, -1.0)
    for threshold in np.arange(0, 1 + step / 2, step):
        both = (predicted >= threshold) & (true >= threshold)
        labels, count = ndimage.label(both)
        if count:
            sizes = np.bincount(labels.ravel())
            sizes[0] = 0
            both = labels == sizes.argmax()
        fell_off = (level < 0) & ~both
        level[fell_off] = max(0.0, threshold - step)
    level[level < 0] = 1.0

    def connectedness(alpha: Alpha) -> Alpha:
        distance = alpha - level
        return np.asarray(1 - distance * (distance >= 0.15))

    return float(np.abs(connectedness(predicted) - connectedness(true)).sum() / 1000)


def boundary_iou(predicted: Alpha, true: Alpha, share: float = 0.02) -> float:
    """Overlap of the inner borders of both masks (Cheng et al. 2021); their width is a share of the diagonal. 0..1."""
    width = max(1, round(share * float(np.hypot(*true.shape))))
    borders = []
    for alpha in (predicted, true):
        mask = np.pad((alpha >= 0.5).astype(np.uint8), 1)
        inner = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=width)
        borders.append((mask - inner)[1:-1, 1:-1] > 0)
    union = np.logical_or(*borders).sum()
    return float(np.logical_and(*borders).sum() / union) if union else 1.0


def mask_measures(predicted: Alpha, true: Alpha) -> dict[str, float]:
    """S-measure, weighted F and mean E of one mask, 0..1."""
    levels = np.rint(predicted * 255).astype(np.uint8)
    truth = np.where(true >= 0.5, 255, 0).astype(np.uint8)
    structure, weighted, enhanced = (
        py_sod_metrics.Smeasure(),
        py_sod_metrics.WeightedFmeasure(),
        py_sod_metrics.Emeasure(),
    )
    for measure in (structure, weighted, enhanced):
        measure.step(pred=levels, gt=truth)
    return {
        "S": float(structure.get_results()["sm"]),
        "wF": float(weighted.get_results()["wfm"]),
        "E": float(enhanced.get_results()["em"]["curve"].mean()),
    }


def foreground_error(colour: Colour, true_colour: Colour, true_alpha: Alpha) -> float:
    """Mean absolute colour error of the subject in the soft band, weighted by its opacity; levels of 255."""
    weight = np.where(soft_band(true_alpha), true_alpha, 0)
    difference = np.abs(colour.astype(np.float64) - true_colour.astype(np.float64)).mean(axis=2)
    return float((difference * weight).sum() / max(weight.sum(), 1e-9))


def composite(colour: Colour, alpha: Alpha, background: tuple[int, int, int]) -> NDArray[np.float64]:
    """Straight alpha over one colour; float, 0..255."""
    share = alpha[..., None]
    return np.asarray(colour.astype(np.float64) * share + np.asarray(background, np.float64) * (1 - share))


def band_psnr(colour: Colour, alpha: Alpha, true_colour: Colour, true_alpha: Alpha) -> dict[str, float]:
    """PSNR in dB of the composite over black, white and green, in the true matte's soft band grown by two pixels."""
    band = cv2.dilate(soft_band(true_alpha).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    result = {}
    for name, background in BACKGROUNDS.items():
        difference = composite(colour, alpha, background) - composite(true_colour, true_alpha, background)
        error = float((difference[band] ** 2).mean()) if band.any() else 0.0
        result[name] = 10 * np.log10(255**2 / max(error, 1e-6))
    return result


def edge_line(colour: Colour, alpha: Alpha, subject: tuple[int, int, int]) -> float:
    """The dark or bright line along the edge of a one-coloured subject; levels of 255, 0 = none.

    Against the composite that the same opacity gives with the subject's true colour, on black, white and green.
    """
    ideal = np.broadcast_to(np.asarray(subject, np.float64), colour.shape)
    differences = [composite(colour, alpha, b) - composite(ideal, alpha, b) for b in BACKGROUNDS.values()]
    return float(np.abs(differences).max())
