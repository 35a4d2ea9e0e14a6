"""One reader per file format: bytes -> pixels as the file stores them, in 8 bits per channel.

Each reader opens its own format only, has the size checked while nothing but the header has been read, and raises
whatever its library raises: `decoding.decode` gives those errors their meaning. Pixels come from simplejpeg for JPEG,
from OpenCV where Pillow drops the lower byte of 16 bits, from libheif for HEIC (pi-heif: a decode-only build, LGPL-3
with libde265; the full pillow-heif wheel bundles the x265 encoder and is GPL), and from Pillow for everything else.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
import pi_heif
import simplejpeg
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from shared.colour import colour_space, conversion_to_srgb
from shared.errors import UnsupportedMedia

BAND_PIXELS = 1 << 22  # converted at a time, so that no second copy of a whole picture exists
ORIENTATION = 0x0112  # EXIF and TIFF tag
BITS_PER_SAMPLE, PHOTOMETRIC, PLANES = 258, 262, 284  # TIFF tags
REDUCED_IMAGE, DNG_VERSION = 254, 50706
WHITE_IS_ZERO = 0

# Pillow tells about odd metadata by warnings; whoever runs the service can do nothing about an upload's metadata.
warnings.filterwarnings("ignore", module=r"PIL\.")

SizeCheck = Callable[[int, int], None]  # width, height; raises where that is too large


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """Decoded pixels, not yet upright.

    rgb: uint8, HxWx3. alpha: uint8, HxW, or None. icc_profile: of RGB, or empty. orientation: EXIF's 1 to 8.
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    icc_profile: bytes = b""
    orientation: int = 1


def read_jpeg(data: bytes, check: SizeCheck) -> Raster:
    header = JpegImagePlugin.JpegImageFile(BytesIO(data))  # an MPO's first picture, too
    check(*header.size)
    icc_profile, orientation = _icc_profile(header), _orientation(header)
    try:
        if header.mode == "CMYK":
            inks = simplejpeg.decode_jpeg(data, "CMYK")
            # stored inverted, as Adobe does; browsers take every CMYK JPEG that way
            picture = Image.frombuffer("CMYK", header.size, inks, "raw", "CMYK;I", 0, 1)
        elif header.mode == "L" and colour_space(icc_profile) == "GRAY":
            picture = Image.frombuffer("L", header.size, simplejpeg.decode_jpeg(data, "GRAY"), "raw", "L", 0, 1)
        else:
            rgb = simplejpeg.decode_jpeg(data, "RGB")
            return Raster(rgb, None, icc_profile if colour_space(icc_profile) == "RGB" else b"", orientation)
    except ValueError as error:
        if "subsampling" not in str(error):
            raise
        header.load()  # rare sampling factors, which TurboJPEG's interface does not know
        picture = header
    return _raster(picture, icc_profile, orientation)


def read_png(data: bytes, check: SizeCheck) -> Raster:
    file = PngImagePlugin.PngImageFile(BytesIO(data))
    check(*file.size)
    file.load()
    picture: Image.Image | None = file
    bits, key = data[24], file.info.get("transparency")
    if file.mode.startswith("I;16"):
        picture = _grey_in_eight_bits(file)
    elif bits == 16:
        picture = _colour_in_eight_bits(file, data)
    elif file.mode == "L" and isinstance(key, int):
        file.info["transparency"] = key * 255 // (2**bits - 1)  # Pillow scales the pixels, not the key
    if picture is None:
        raise ValueError("its 16-bit samples cannot be read")
    return _raster(picture, _icc_profile(file), _orientation(file))


def read_tiff(data: bytes, check: SizeCheck) -> Raster:
    file = _Tiff(BytesIO(data))
    bits, ink_is_dark = file.tag_v2.get(BITS_PER_SAMPLE, (1,)), file.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO
    _refuse_unusual(file, data)
    check(*file.size)
    file.load()  # turns it upright, too
    picture: Image.Image = file
    if file.mode.startswith("I;16"):
        grey = _grey_in_eight_bits(file, white=2 ** bits[0] - 1)
        picture = ImageOps.invert(grey) if ink_is_dark else grey  # Pillow does it for 8 bits only
    elif bits[0] == 16 and file.mode in ("RGB", "RGBA"):
        picture = _colour_in_eight_bits(file, data) or file
    return _raster(picture, _icc_profile(file), 1)


def read_webp(data: bytes, check: SizeCheck) -> Raster:
    check(*_webp_size(data))  # Pillow's decoder reserves two canvases before it tells their size
    return _read_webp(data, check)


def read_heic(data: bytes, check: SizeCheck) -> Raster:
    images = pi_heif.open_heif(data, convert_hdr_to_8bit=True)
    primary = images[images.primary_index]
    check(*primary.size)
    picture = primary.to_pillow()
    check(*picture.size)
    return _raster(picture, primary.info.get("icc_profile") or b"", 1)  # libheif applied the rotation


def _reader(plugin: Callable[[BytesIO], ImageFile.ImageFile]) -> Callable[[bytes, SizeCheck], Raster]:
    def read(data: bytes, check: SizeCheck) -> Raster:
        picture = plugin(BytesIO(data))
        check(*picture.size)
        picture.load()  # the first frame
        check(*picture.size)
        return _raster(picture, _icc_profile(picture), _orientation(picture))

    return read


_read_webp = _reader(WebPImagePlugin.WebPImageFile)

READERS: Mapping[str, Callable[[bytes, SizeCheck], Raster]] = {
    "image/jpeg": read_jpeg,
    "image/png": read_png,
    "image/webp": read_webp,
    "image/tiff": read_tiff,
    "image/bmp": _reader(BmpImagePlugin.BmpImageFile),
    "image/gif": _reader(GifImagePlugin.GifImageFile),
    "image/heic": read_heic,
    "image/avif": _reader(AvifImagePlugin.AvifImageFile),
}


class _Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF whose size is limited by our own check alone, not by Pillow's process-wide limit as well."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.new(self.mode, self._tile_size).im
        super().load_prepare()


def _refuse_unusual(file: TiffImagePlugin.TiffImageFile, data: bytes) -> None:
    tags = file.tag_v2
    if data[8:10] == b"CR" or DNG_VERSION in tags or int(tags.get(REDUCED_IMAGE, 0)) & 1:
        raise UnsupportedMedia("a camera's raw file, of which only a small preview could be read")
    if file.mode in ("I", "F"):
        raise UnsupportedMedia("a TIFF with signed, 32-bit or floating-point samples, whose white is not defined")
    if tags.get(PLANES) == 2 and tags.get(BITS_PER_SAMPLE, (1,))[0] == 16:
        raise UnsupportedMedia("a TIFF that keeps 16-bit channels in separate planes")  # both libraries misread it


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height. Source: RFC 9649, sections 2.5 to 2.7."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        raise ValueError("the header is cut short")
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        packed = int.from_bytes(body[1:5], "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def _grey_in_eight_bits(picture: Image.Image, white: int = 65535) -> Image.Image:
    """Each value v becomes v * 255 / white, rounded; a value that stands for transparency becomes alpha."""
    samples = np.asarray(picture).astype(np.uint16)
    grey = Image.fromarray(cv2.convertScaleAbs(samples, alpha=255 / white))
    if "transparency" in picture.info:
        grey.putalpha(Image.fromarray(np.where(samples == picture.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _colour_in_eight_bits(picture: Image.Image, data: bytes) -> Image.Image | None:
    """Each value v becomes v * 255 / 65535, rounded, where Pillow kept the upper byte in `picture`.

    None where OpenCV sees something else in `data`: premultiplied alpha, for example, which Pillow has divided.
    """
    high = np.asarray(picture)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if read is None or read.dtype != np.uint16 or read.ndim != 3 or read.shape[2] < high.shape[2]:
        return None
    samples = cv2.cvtColor(read, cv2.COLOR_BGR2RGB if read.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    if samples.shape[:2] != high.shape[:2] or (samples[..., : high.shape[2]] >> 8 != high).any():
        return None
    return Image.fromarray(cv2.convertScaleAbs(samples, alpha=255 / 65535))


def _icc_profile(picture: Image.Image) -> bytes:
    return picture.info.get("icc_profile") or b""


def _orientation(picture: Image.Image) -> int:
    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF raises many things, and leaves the pixels whole
        return 1
    return orientation if orientation in range(1, 9) else 1


def _raster(picture: Image.Image, icc_profile: bytes, orientation: int) -> Raster:
    """A loaded picture of any mode, band by band."""
    width, height = picture.size
    convert = _conversion(picture.mode, icc_profile)
    rgb = np.empty((height, width, 3), np.uint8)
    alpha = np.empty((height, width), np.uint8) if picture.has_transparency_data else None
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        band = picture if rows >= height else picture.crop((0, top, width, bottom))
        if alpha is not None:
            band = band.convert("LA" if convert and band.mode in ("L", "LA", "La") else "RGBA")
            alpha[top:bottom] = np.asarray(band.getchannel("A"))
            band = band.convert(band.mode.rstrip("A"))
        rgb[top:bottom] = np.asarray(convert(band) if convert else band.convert("RGB"))
    return Raster(rgb, alpha, icc_profile if colour_space(icc_profile) == "RGB" else b"", orientation)


def _conversion(mode: str, icc_profile: bytes) -> Callable[[Image.Image], Image.Image] | None:
    """To RGB, where that takes more than Pillow's own conversion of modes."""
    if mode == "CMYK":
        return conversion_to_srgb("CMYK", icc_profile)
    if mode in ("L", "LA", "La"):
        return conversion_to_srgb("L", icc_profile)
    return None
