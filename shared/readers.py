"""One reader per file format: bytes -> pixels as the file stores them, in 8 bits per channel.

Each reader opens its own format only, has the size checked while nothing but the header has been read, and raises
whatever its library raises: `codec.decode` gives those errors their meaning. Pixels come from simplejpeg for JPEG,
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
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from shared.colour import colour_space, conversion_of_lab, conversion_to_srgb
from shared.errors import UnsupportedMedia

BAND_PIXELS = 1 << 22  # converted at a time, so that no second copy of a whole picture exists
ORIENTATION = 0x0112  # EXIF and TIFF tag
BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, PLANES = 258, 259, 262, 284  # TIFF tags
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
    picture = PngImagePlugin.PngImageFile(BytesIO(data))
    check(*picture.size)
    picture.load()
    bits = data[24]
    key = picture.info.get("transparency")
    if picture.mode == "L" and isinstance(key, int) and bits < 8:
        picture.info["transparency"] = key * 255 // (2**bits - 1)  # Pillow scales the pixels, not the key
    icc_profile, orientation = _icc_profile(picture), _orientation(picture)
    if bits == 16:
        return _raster(_sixteen_bits(picture, data), icc_profile, orientation)
    return _raster(picture, icc_profile, orientation)


def read_tiff(data: bytes, check: SizeCheck) -> Raster:
    picture = _Tiff(BytesIO(data))
    tags = picture.tag_v2
    deep = max(tags.get(BITS_PER_SAMPLE, (1,))) > 8
    _refuse_unusual(picture, data, deep=deep)
    check(*picture.size)
    picture.load()  # turns it upright, too
    upright: Image.Image = picture
    if deep:
        upright = _sixteen_bits(picture, data, white=4095 if tags.get(BITS_PER_SAMPLE) == (12,) else 65535)
        if picture.mode.startswith("I;16") and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            upright = Image.eval(upright, lambda value: 255 - value)  # Pillow does it for 8 bits only
    return _raster(upright, _icc_profile(picture), 1)


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


READERS: Mapping[str, Callable[[bytes, SizeCheck], Raster]] = {
    "image/jpeg": read_jpeg,
    "image/png": read_png,
    "image/webp": _reader(WebPImagePlugin.WebPImageFile),
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


def _refuse_unusual(picture: TiffImagePlugin.TiffImageFile, data: bytes, *, deep: bool) -> None:
    tags = picture.tag_v2
    if data[8:10] == b"CR" or DNG_VERSION in tags or int(tags.get(REDUCED_IMAGE, 0)) & 1:
        raise UnsupportedMedia("a camera's raw file, of which only a small preview could be read")
    if picture.mode in ("I", "F"):
        raise UnsupportedMedia("a TIFF with signed, 32-bit or floating-point samples, whose white is not defined")
    if deep and tags.get(PLANES) == 2:
        raise UnsupportedMedia("a TIFF that keeps 16-bit channels in separate planes")


def _sixteen_bits(picture: Image.Image, data: bytes, white: int = 65535) -> Image.Image:
    """`picture`, read by Pillow from `data`, in 8 bits: each value v becomes v * 255 / white, rounded."""
    key = picture.info.pop("transparency", None)
    if picture.mode.startswith("I;16"):
        deep = np.asarray(picture).astype(np.uint16)
        grey = Image.fromarray(cv2.convertScaleAbs(deep, alpha=255 / white))
        if key is not None:
            grey.putalpha(Image.fromarray(np.where(deep == key, 0, 255).astype(np.uint8)))
        return grey
    high = np.asarray(picture)  # Pillow keeps the upper byte of more than one channel
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if read is None or read.dtype != np.uint16 or read.ndim != 3 or read.shape[2] not in (3, 4):
        return picture
    deep = cv2.cvtColor(read, cv2.COLOR_BGR2RGB if read.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    channels = high.shape[2]
    if deep.shape[:2] != high.shape[:2] or deep.shape[2] < channels or (deep[..., :channels] >> 8 != high).any():
        return picture  # premultiplied alpha, for example, of which Pillow has made straight alpha
    return Image.fromarray(cv2.convertScaleAbs(deep, alpha=255 / white))


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
        band = picture.crop((0, top, width, bottom))
        if alpha is not None:
            band = band.convert("LA" if convert and band.mode in ("L", "LA", "La") else "RGBA")
            alpha[top:bottom] = np.asarray(band.getchannel("A"))
            band = band.convert(band.mode.rstrip("A"))
        rgb[top:bottom] = np.asarray(convert(band) if convert else band.convert("RGB"))
    return Raster(rgb, alpha, icc_profile if colour_space(icc_profile) == "RGB" else b"", orientation)


def _conversion(mode: str, icc_profile: bytes) -> Callable[[Image.Image], Image.Image] | None:
    """To RGB, where that takes more than Pillow's own conversion of modes."""
    if mode == "LAB":
        return conversion_of_lab()
    if mode == "CMYK":
        return conversion_to_srgb("CMYK", icc_profile)
    if mode in ("L", "LA", "La"):
        return conversion_to_srgb("L", icc_profile)
    return None
