"""Sixteen bits per channel in eight, rounded by value (v * 255 / 65535), without a second picture in sixteen bits."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

BAND_PIXELS = 1 << 18
HALF = 128  # v / 257 is the high byte, one more if the low byte exceeds it by more than this, one less the other way


def rounded(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The nearest of 8 bits to 256 * high + low. Arrays of one shape, at most four channels.

    256 h + l = 257 h + (l - h), and 257 steps of 16 bits are one of 8.
    """
    _, more = cv2.threshold(cv2.subtract(low, high), HALF, 1, cv2.THRESH_BINARY)
    _, less = cv2.threshold(cv2.subtract(high, low), HALF, 1, cv2.THRESH_BINARY)
    return np.asarray(cv2.subtract(cv2.add(high, more), less), np.uint8)


def add_low_bytes(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, low: Image.Image, key: tuple[int, ...] = ()
) -> None:
    """Round high bytes in place by the low ones.

    rgb: HxWx3 and alpha: HxW, the high bytes. low: the same picture's low bytes, RGB or RGBA.
    key: the 16-bit colour that is transparent; alpha is then written, not read.
    """
    height, width = rgb.shape[:2]
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = slice(top, min(top + rows, height))
        below = np.asarray(low.crop((0, top, width, band.stop)))
        if key and alpha is not None:
            high_key, low_key = [value >> 8 for value in key], [value & 255 for value in key]
            hit = (rgb[band] == high_key).all(axis=2) & (below[..., :3] == low_key).all(axis=2)
            alpha[band] = np.where(hit, 0, 255)
        elif alpha is not None and below.shape[2] == 4:
            alpha[band] = rounded(alpha[band], below[..., 3])
        rgb[band] = rounded(rgb[band], np.ascontiguousarray(below[..., :3]))


def grey_in_eight_bits(picture: Image.Image, white: int = 65_535) -> Image.Image:
    """A picture of mode I;16 in mode L, each value v as v * 255 / white; LA if one value stands for transparency."""
    width, height = picture.size
    grey = np.empty((height, width), np.uint8)
    key = picture.info.get("transparency")
    alpha = None if key is None else np.empty((height, width), np.uint8)
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = slice(top, min(top + rows, height))
        samples = np.asarray(picture.crop((0, top, width, band.stop))).astype(np.uint16)
        grey[band] = cv2.convertScaleAbs(samples, alpha=255 / white)
        if alpha is not None:
            alpha[band] = np.where(samples == key, 0, 255)
    if alpha is None:
        return Image.fromarray(grey)
    return Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])


def grey_alpha_in_eight_bits(pairs: Image.Image) -> Image.Image:
    """A picture of mode LA. pairs: grey and alpha in sixteen bits, big-endian, read as four channels of eight."""
    width, height = pairs.size
    planes = [np.empty((height, width), np.uint8) for _ in range(2)]
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = slice(top, min(top + rows, height))
        samples = np.asarray(pairs.crop((0, top, width, band.stop)))
        for plane, channel in zip(planes, (0, 2), strict=True):
            plane[band] = rounded(
                np.ascontiguousarray(samples[..., channel]), np.ascontiguousarray(samples[..., channel + 1])
            )
    return Image.merge("LA", [Image.fromarray(plane) for plane in planes])
