"""What libraries decode -> RGB and alpha in separate arrays, in 8 bits, with the profile that the file describes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.colour import Cicp, conversion_to_srgb, display_p3_profile, rgb_profile
from shared.containers import Container
from shared.hdr import tone_map

BAND_PIXELS = 1 << 19  # converted at a time, so that no second copy of a whole picture exists
TO_RGB: Mapping[tuple[bool, int], int | None] = {  # (blue comes first, channels) -> OpenCV's conversion
    (True, 3): cv2.COLOR_BGR2RGB,
    (True, 4): cv2.COLOR_BGRA2RGB,
    (False, 3): None,
    (False, 4): cv2.COLOR_RGBA2RGB,
}

Allocate = Callable[[tuple[int, ...]], NDArray[np.uint8]]  # shape -> an array that need not be cleared


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """Decoded pixels, not yet upright.

    rgb: uint8, HxWx3. alpha: uint8, HxW, or None. icc_profile: of RGB, or empty. hdr: whether they were tone-mapped.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    icc_profile: bytes = b""
    hdr: bool = False


def tone_mapped(pixels: NDArray[np.uint16], white: int, cicp: Cicp) -> Raster:
    """HDR as SDR. pixels: HxWx3 or HxWx4 in the order RGB(A), 0..white."""
    alpha = None
    if pixels.shape[2] == 4:
        alpha = np.asarray(cv2.convertScaleAbs(cv2.extractChannel(pixels, 3), alpha=255 / white), np.uint8)
    return Raster(tone_map(pixels[..., :3], white, cicp), alpha, display_p3_profile(), hdr=True)


def separated(pixels: NDArray[np.uint8], file: Container, allocate: Allocate, *, is_bgr: bool) -> Raster:
    """Interleaved pixels, HxWx3 or HxWx4 with alpha last, band by band."""
    height, width, channels = pixels.shape
    rgb = allocate((height, width, 3))
    alpha = allocate((height, width)) if channels == 4 else None
    code = TO_RGB[is_bgr, channels]
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = pixels[top : top + rows]
        if code is None:
            rgb[top : top + rows] = band
        else:
            cv2.cvtColor(band, code, dst=rgb[top : top + rows])
        if alpha is not None:
            cv2.extractChannel(band, 3, dst=alpha[top : top + rows])
    return in_colour(rgb, alpha, file)


def in_colour(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, file: Container) -> Raster:
    """RGB pixels with the profile that the file describes."""
    if hdr := file.colour.hdr:
        rgb[:] = tone_map(rgb, 255, hdr)
        return Raster(rgb, alpha, display_p3_profile(), hdr=True)
    return Raster(rgb, alpha, rgb_profile(file.colour))


def from_pillow(picture: Image.Image, file: Container, allocate: Allocate) -> Raster:
    """A loaded picture of any mode, band by band."""
    width, height = picture.size
    convert = _conversion(picture.mode, file.colour.icc_profile)
    rgb = allocate((height, width, 3))
    alpha = allocate((height, width)) if picture.has_transparency_data else None
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        band = picture if rows >= height else picture.crop((0, top, width, bottom))
        if alpha is not None:
            band = band.convert("LA" if convert and band.mode in ("L", "LA", "La") else "RGBA")
            alpha[top:bottom] = np.asarray(band.getchannel("A"))
            band = band.convert(band.mode.rstrip("A"))
        rgb[top:bottom] = np.asarray(convert(band) if convert else band.convert("RGB"))
    if convert or picture.mode in ("CMYK", "LAB"):
        return Raster(rgb, alpha, b"")
    return in_colour(rgb, alpha, file)


def _conversion(mode: str, icc_profile: bytes) -> Callable[[Image.Image], Image.Image] | None:
    """To RGB, if that takes more than Pillow's own conversion of modes."""
    if mode == "CMYK":
        return conversion_to_srgb("CMYK", icc_profile)
    if mode in ("L", "LA", "La"):
        return conversion_to_srgb("L", icc_profile)
    return None
