"""What a file's colours mean: ICC profiles, and the few conversions between them that the product needs (lcms2)."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

LARGEST_PROFILE = 255 * 65_519  # bytes: what the segments of a JPEG can carry
INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
PROFILE_ERRORS = (OSError, ValueError, TypeError, ImageCms.PyCMSError)

Conversion = Callable[[Image.Image], Image.Image]


def colour_space(icc_profile: bytes) -> str:
    """'RGB', 'GRAY', 'CMYK', 'Lab' ...: the colours that a profile describes; '' for none and for a broken one."""
    if not 0 < len(icc_profile) <= LARGEST_PROFILE:
        return ""
    try:
        return str(_profile(icc_profile).profile.xcolor_space).strip()
    except PROFILE_ERRORS:
        return ""


def conversion_to_srgb(mode: str, icc_profile: bytes) -> Conversion | None:
    """From `icc_profile` to RGB in sRGB, for pictures of Pillow's `mode` 'L', 'RGB' or 'CMYK'.

    None where the profile is empty, broken, or one of other colours.
    """
    if colour_space(icc_profile) != {"L": "GRAY"}.get(mode, mode):
        return None
    try:
        return _conversion(_profile(icc_profile), ImageCms.createProfile("sRGB"), mode, "RGB")
    except PROFILE_ERRORS:
        return None


def to_srgb(rgb: NDArray[np.uint8], icc_profile: bytes) -> NDArray[np.uint8]:
    """The same colours in sRGB, as the network saw them in training.

    rgb: uint8, HxWx3, in the colour space of `icc_profile`. Gives uint8, HxWx3; `rgb` itself where the profile is
    empty, broken or not of RGB.
    """
    convert = conversion_to_srgb("RGB", icc_profile)
    return rgb if convert is None else np.asarray(convert(Image.fromarray(rgb)), np.uint8)


def from_srgb(colour: tuple[int, int, int], icc_profile: bytes) -> tuple[int, int, int]:
    """A colour given in sRGB, 0..255, in the colour space of `icc_profile`; unchanged where that is empty or broken."""
    if colour_space(icc_profile) != "RGB":
        return colour
    try:
        convert = _conversion(ImageCms.createProfile("sRGB"), _profile(icc_profile), "RGB", "RGB")
    except PROFILE_ERRORS:
        return colour  # a scanner's profile, for example, describes one direction only
    red, green, blue = np.asarray(convert(Image.new("RGB", (1, 1), colour))).ravel().tolist()
    return (red, green, blue)


def _profile(icc_profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(BytesIO(icc_profile))


def _conversion(source: object, target: object, mode: str, target_mode: str) -> Conversion:
    transform = ImageCms.buildTransform(source, target, mode, target_mode, INTENT, FLAGS)  # type: ignore[arg-type]

    def convert(picture: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(picture, transform)
        if converted is None:
            raise ValueError("the conversion gave no picture")
        return converted

    return convert
