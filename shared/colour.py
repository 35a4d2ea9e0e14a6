"""What a file's colours mean, and the few conversions that the product needs (by lcms2, through Pillow).

Whatever a file says about its colours becomes an ICC profile here, once: an ICC profile, else code points (CICP, nclx),
else gamma and chromaticities, else Adobe RGB by EXIF. Source of the code points: ITU-T H.273 (07/2024), tables 2 and 3.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from shared import icc

LARGEST_PROFILE = 255 * 65_519  # bytes: what the segments of a JPEG can carry
INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
PROFILE_ERRORS = (OSError, ValueError, TypeError, ImageCms.PyCMSError)

D65: icc.Chromaticity = (0.3127, 0.3290)
C: icc.Chromaticity = (0.310, 0.316)
BT709: icc.Primaries = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65)
DISPLAY_P3: icc.Primaries = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65)
ADOBE_RGB: icc.Primaries = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060), D65)
PRIMARIES: Mapping[int, icc.Primaries] = {
    1: BT709,
    2: BT709,  # unspecified
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: DISPLAY_P3,
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), D65),
}
SRGB_CURVE: icc.Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
BT709_CURVE: icc.Curve = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
CURVES: Mapping[int, icc.Curve] = {
    1: BT709_CURVE,
    2: SRGB_CURVE,  # unspecified
    4: (2.2,),
    5: (2.8,),
    6: BT709_CURVE,
    7: (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912),
    8: (1.0,),
    11: BT709_CURVE,
    12: BT709_CURVE,
    13: SRGB_CURVE,
    14: BT709_CURVE,
    15: BT709_CURVE,
    17: (2.6, (52.37 / 48) ** (1 / 2.6), 0.0, 0.0, 0.0),
}
PQ, HLG = 16, 18
UNSPECIFIED = 2
GAMMA_OF_SRGB = 0.45455  # what writers of sRGB files put into gAMA for viewers that know no sRGB
ADOBE_GAMMA = 563 / 256
NEAR = 0.002  # of a chromaticity or a gamma: less is the same

Conversion = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cicp:
    """Coding-independent code points: colour primaries and transfer characteristics, by their numbers in H.273."""

    primaries: int
    transfer: int

    @property
    def is_known(self) -> bool:
        """Whether both are in the tables above; reserved and logarithmic ones are not."""
        return self.primaries in PRIMARIES and (self.transfer in CURVES or self.transfer in (PQ, HLG))

    @property
    def is_hdr(self) -> bool:
        return self.transfer in (PQ, HLG)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourDescription:
    """All that a file says about its colours.

    icc_profile: as in the file. gamma: of gAMA, the encoding exponent. chromaticities: of cHRM.
    adobe_rgb: EXIF says so, by R03.
    """

    icc_profile: bytes = b""
    cicp: Cicp | None = None
    gamma: float | None = None
    chromaticities: icc.Primaries | None = None
    adobe_rgb: bool = False

    @property
    def has_possible_chromaticities(self) -> bool:
        """Whether the chromaticities span colours."""
        if self.chromaticities is None:
            return False
        try:
            matrix = icc.adaptation(self.chromaticities[3]) @ icc.rgb_to_xyz(self.chromaticities)
        except ValueError:
            return False
        return bool(np.isfinite(matrix).all() and np.abs(matrix).max() < 10 and np.linalg.cond(matrix) < 1e4)

    @property
    def hdr(self) -> Cicp | None:
        """The code points if the picture is HDR; a profile may carry them, too (ICC.1:2022, section 9.2.17)."""
        if not self.icc_profile:
            return self.cicp if self.cicp and self.cicp.is_hdr else None
        content = icc.tag(self.icc_profile, b"cicp")
        if len(content) < 12:
            return None
        cicp = Cicp(primaries=content[8], transfer=content[9])
        return cicp if cicp.is_known and cicp.is_hdr else None


@lru_cache(maxsize=64)
def rgb_profile(said: ColourDescription) -> bytes:
    """The ICC profile of RGB pixels with this description; empty if they are sRGB or nothing is known."""
    if colour_space(said.icc_profile) == "RGB":
        return said.icc_profile
    cicp = said.cicp
    if cicp and (cicp.primaries, cicp.transfer) != (UNSPECIFIED, UNSPECIFIED):
        return _profile_of(f"CICP {cicp.primaries}/{cicp.transfer}", PRIMARIES[cicp.primaries], CURVES[cicp.transfer])
    if said.gamma is not None or said.chromaticities is not None:
        primaries = said.chromaticities or BT709
        curve = SRGB_CURVE if said.gamma is None or _is_srgb(said.gamma, primaries) else (1 / said.gamma,)
        return _profile_of("By gAMA and cHRM", primaries, curve)
    if said.adobe_rgb:
        return _profile_of("Adobe RGB (1998) compatible", ADOBE_RGB, (ADOBE_GAMMA,))
    return b""


def display_p3_profile() -> bytes:
    """The profile of what `hdr.tone_map` gives."""
    return _profile_of("Display P3", DISPLAY_P3, SRGB_CURVE)


def _profile_of(name: str, primaries: icc.Primaries, curve: icc.Curve) -> bytes:
    if _is_near(primaries, BT709) and curve == SRGB_CURVE:
        return b""
    return icc.write_profile(name, primaries, curve)


def _is_srgb(gamma: float, primaries: icc.Primaries) -> bool:
    return abs(gamma - GAMMA_OF_SRGB) < NEAR and _is_near(primaries, BT709)


def _is_near(one: icc.Primaries, other: icc.Primaries) -> bool:
    return bool(np.abs(np.subtract(one, other)).max() < NEAR)


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

    None if the profile is empty, broken, or one of other colours.
    """
    if colour_space(icc_profile) != {"L": "GRAY"}.get(mode, mode):
        return None
    try:
        return _conversion(_profile(icc_profile), ImageCms.createProfile("sRGB"), mode, "RGB")
    except PROFILE_ERRORS:
        return None


def to_srgb(rgb: NDArray[np.uint8], icc_profile: bytes) -> NDArray[np.uint8]:
    """The same colours in sRGB, as the network saw them in training.

    rgb: uint8, HxWx3, in the colour space of `icc_profile`. Gives uint8, HxWx3; `rgb` itself if the profile is empty,
    broken or not of RGB.
    """
    convert = conversion_to_srgb("RGB", icc_profile)
    return rgb if convert is None else np.asarray(convert(Image.fromarray(rgb)), np.uint8)


def from_srgb(colour: tuple[int, int, int], icc_profile: bytes) -> tuple[int, int, int]:
    """A colour given in sRGB, 0..255, in the colour space of `icc_profile`; unchanged if that is empty or broken."""
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
