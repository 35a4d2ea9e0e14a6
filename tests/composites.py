"""Photographs laid over photographs with a known alpha: the truth for mattes and foreground colours."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

SUBPIXEL = 4  # bits of fraction in the coordinates that OpenCV draws at


@dataclass(frozen=True)
class Composite:
    """image = alpha * colours + (1 - alpha) * background, rounded. uint8, HxWx3 each; alpha uint8, HxW."""

    image: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    colours: NDArray[np.uint8]
    background: NDArray[np.uint8]


def photograph(name: str, width: int, height: int) -> NDArray[np.uint8]:
    """One of scikit-image's bundled photographs, uint8 HxWx3."""
    picture = getattr(data, name)()[..., :3]
    kind = cv2.INTER_AREA if picture.shape[1] > width else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=kind), np.uint8)


def composite(
    alpha: NDArray[np.uint8], *, subject: str = "chelsea", background: str = "coffee", mirrored: bool = False
) -> Composite:
    """One photograph over another, by a given alpha; mirrored: the one behind is turned upside down."""
    height, width = alpha.shape
    front, behind = photograph(subject, width, height), photograph(background, width, height)
    behind = np.ascontiguousarray(behind[::-1, ::-1]) if mirrored else behind
    image = np.empty_like(front)
    for row, share in enumerate(alpha[..., None].astype(np.float32) / 255):
        image[row] = np.rint(share * front[row] + (1 - share) * behind[row])
    return Composite(image, alpha, front, behind)


def hairy_disc(
    width: int, height: int, *, strands: int = 400, thickness: float = 2.0, softness: float = 1.0, seed: int = 0
) -> NDArray[np.uint8]:
    """A disc with a soft rim from which hair grows: uint8, HxW. thickness and softness in pixels."""
    random = np.random.default_rng(seed)
    radius = 0.28 * min(width, height)
    centre = np.array([width, height]) / 2
    drawn = np.zeros((2 * height, 2 * width), np.uint8)
    cv2.circle(drawn, (width, height), round(2 * radius), 255, -1)
    for angle in random.uniform(0, 2 * np.pi, strands):
        bends = angle + np.cumsum(random.normal(0, 0.03, 12))
        steps = np.linspace(0.8, random.uniform(1.05, 1.6), 12)[:, None] * radius
        points = 2 * (centre + steps * np.stack([np.cos(bends), np.sin(bends)], 1))
        line = np.rint(points * 2**SUBPIXEL).astype(np.int32)[:, None]
        cv2.polylines(drawn, [line], False, 255, max(1, round(2 * thickness)), cv2.LINE_AA, SUBPIXEL)
    soft = cv2.GaussianBlur(drawn, (0, 0), 2 * softness) if softness else drawn
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def colour_error(colours: NDArray[np.generic], scene: Composite) -> float:
    """Mean difference of the soft band's colours from the true ones, weighted by alpha, in levels of 255."""
    weight = np.where((scene.alpha > 0) & (scene.alpha < 255), scene.alpha, 0)[..., None].astype(np.float64)
    return float((np.abs(colours[..., :3].astype(np.float64) - scene.colours) * weight).sum() / (3 * weight.sum()))


def full_blur_fusion(image: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The whole image in two passes of 90 and 6 pixels, as the method's authors give it, without their truncation."""
    share = alpha[..., None].astype(np.float32) / 255
    real = image.astype(np.float32)

    def fuse(front: NDArray[np.float32], behind: NDArray[np.float32], side: int) -> tuple[NDArray[np.float32], ...]:
        mean_share = cv2.blur(share, (side, side))[..., None]
        front = cv2.blur(front * share, (side, side)) / (mean_share + 1e-5)
        behind = cv2.blur(behind * (1 - share), (side, side)) / (1 - mean_share + 1e-5)
        return np.clip(front + share * (real - share * front - (1 - share) * behind), 0, 255), behind

    front, behind = fuse(real, real, 90)
    return fuse(front, behind, 6)[0]
