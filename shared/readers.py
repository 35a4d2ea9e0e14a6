"""One reader per file format: a container -> pixels as the file stores them, in 8 bits per channel.

Each reader opens its own format only and raises whatever its library raises: `decoding.decode` gives those errors
their meaning. Pixels come from simplejpeg for JPEG, from OpenCV for still WebP and HDR, from libheif for HEIC
(pi-heif: a decode-only build, LGPL-3 with libde265; the full pillow-heif wheel bundles the x265 encoder and is GPL),
and from Pillow for everything else.
"""

import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO
from typing import cast

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
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from shared.colour import colour_space
from shared.containers import Container
from shared.depth import add_low_bytes, grey_alpha_in_eight_bits, grey_in_eight_bits
from shared.errors import UnsupportedMedia
from shared.raster import Allocate, Raster, from_pillow, in_colour, separated, tone_mapped

PHOTOMETRIC, PLANES, EXTRA_SAMPLES = 262, 284, 338  # TIFF tags
PREMULTIPLIED = 1
WHITE_IS_ZERO = 0
IHDR_DEPTH = 24  # offset of a PNG's bit depth; the colour type follows

# Pillow tells about odd metadata by warnings; whoever runs the service can do nothing about an upload's metadata.
warnings.filterwarnings("ignore", module=r"PIL\.")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # OpenCV prints what is wrong with a file, too

Reader = Callable[[Container, Allocate], Raster]


def read_jpeg(file: Container, allocate: Allocate) -> Raster:
    profile, size = file.colour.icc_profile, (file.width, file.height)
    if file.channels not in (1, 3, 4):
        raise UnsupportedMedia(f"a JPEG of {file.channels} channels, whose meaning is not defined")
    try:
        if file.channels == 4:
            inks = simplejpeg.decode_jpeg(file.data, "CMYK")
            cv2.bitwise_not(inks, dst=inks)  # stored inverted, as Adobe does; browsers take every CMYK JPEG that way
            picture = Image.frombuffer("CMYK", size, inks, "raw", "CMYK", 0, 1)
        elif file.channels == 1 and colour_space(profile) == "GRAY":
            picture = Image.frombuffer("L", size, simplejpeg.decode_jpeg(file.data, "GRAY"), "raw", "L", 0, 1)
        else:
            rgb = allocate((file.height, file.width, 3))
            simplejpeg.decode_jpeg(file.data, "RGB", buffer=rgb)
            return in_colour(rgb, None, file)
    except ValueError as error:
        if "subsampling" not in str(error):
            raise
        picture = JpegImagePlugin.JpegImageFile(BytesIO(file.data))  # rare sampling factors, unknown to TurboJPEG
        picture.load()
    return from_pillow(picture, file, allocate)


def read_png(file: Container, allocate: Allocate) -> Raster:
    if file.bits == 16 and file.colour.hdr and file.channels > 2:
        return _deep(file, allocate)
    if file.bits == 16 and file.channels == 2:
        return from_pillow(grey_alpha_in_eight_bits(_png(_as_four_channels(file.data))), file, allocate)
    picture = _png(file.data)
    key = picture.info.get("transparency")
    if picture.mode.startswith("I;16"):
        return from_pillow(grey_in_eight_bits(picture), file, allocate)
    if file.bits == 16:
        picture.info.pop("transparency", None)
        raster = from_pillow(picture, file, allocate)
        picture.close()  # only one copy of the picture beside the result
        return _with_low_bytes(raster, _png(file.data, low_bytes=True), allocate, key)
    if picture.mode == "L" and isinstance(key, int):
        picture.info["transparency"] = key * 255 // (2**file.bits - 1)  # Pillow scales the pixels, not the key
    return from_pillow(picture, file, allocate)


def read_tiff(file: Container, allocate: Allocate) -> Raster:
    picture = _tiff(file)
    if picture.mode.startswith("I;16"):
        grey = grey_in_eight_bits(picture, white=2**file.bits - 1)
        ink_is_dark = picture.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO  # Pillow inverts 8 bits only
        return from_pillow(ImageOps.invert(grey) if ink_is_dark else grey, file, allocate)
    deep = file.bits == 16 and picture.mode in ("RGB", "RGBA") and not picture.premultiplied
    raster = from_pillow(picture, file, allocate)
    picture.close()
    return _with_low_bytes(raster, _tiff(file, low_bytes=True), allocate) if deep else raster


def read_webp(file: Container, allocate: Allocate) -> Raster:
    pixels = None if file.animated else _opencv(file.data)
    if pixels is not None and pixels.dtype == np.uint8 and pixels.ndim == 3:
        return separated(cast("NDArray[np.uint8]", pixels), file, allocate, is_bgr=True)
    picture = WebPImagePlugin.WebPImageFile(BytesIO(file.data))
    picture.load()  # the first frame
    return from_pillow(picture, file, allocate)


def read_avif(file: Container, allocate: Allocate) -> Raster:
    if file.colour.hdr:
        return _deep(file, allocate)
    picture = AvifImagePlugin.AvifImageFile(BytesIO(file.data))
    decoder, channels = picture._decoder, len(picture.getbands())
    pixels = np.frombuffer(decoder.get_frame(0)[0], np.uint8)  # as Pillow reads it, without Pillow's own copy
    picture._decoder = decoder = None
    return separated(pixels.reshape(picture.height, picture.width, channels), file, allocate, is_bgr=False)


def read_heic(file: Container, allocate: Allocate) -> Raster:
    hdr = file.colour.hdr
    images = pi_heif.open_heif(file.data, convert_hdr_to_8bit=not hdr, hdr_to_16bit=False)
    pixels = np.asarray(images[images.primary_index])  # libheif applied clean aperture, rotation and mirroring
    read = _in_eight_bits if pixels.dtype == np.uint8 else _in_sixteen_bits
    return read(pixels, file, allocate, is_bgr=False)


def read_bmp(file: Container, allocate: Allocate) -> Raster:
    picture: Image.Image = BmpImagePlugin.BmpImageFile(BytesIO(file.data))
    picture.load()
    if picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (0, 0):
        picture = picture.convert("RGB")  # an alpha field that nobody filled: Windows and Photoshop show it opaque
    return from_pillow(picture, file, allocate)


def read_gif(file: Container, allocate: Allocate) -> Raster:
    picture = GifImagePlugin.GifImageFile(BytesIO(file.data))
    picture.load()  # the first frame
    return from_pillow(picture, file, allocate)


READERS: Mapping[str, Reader] = {
    "image/jpeg": read_jpeg,
    "image/png": read_png,
    "image/webp": read_webp,
    "image/tiff": read_tiff,
    "image/bmp": read_bmp,
    "image/gif": read_gif,
    "image/heic": read_heic,
    "image/avif": read_avif,
}


class _Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF whose size is limited by our own check alone, and which is turned upright by us alone."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.new(self.mode, self._tile_size).im
        super().load_prepare()

    def load_end(self) -> None:
        """Not turned: Pillow would also obey an orientation in XMP."""

    @property
    def premultiplied(self) -> bool:
        return bool(self.tag_v2.get(EXTRA_SAMPLES, ())[:1] == (PREMULTIPLIED,))


def _tiff(file: Container, *, low_bytes: bool = False) -> _Tiff:
    """The loaded page. low_bytes: of the second byte of each sample instead of the first."""
    picture = _Tiff(BytesIO(file.data))
    picture._size = picture._tile_size  # Pillow exchanges both for an orientation that turns
    if picture.mode in ("I", "F"):
        raise UnsupportedMedia("a TIFF with signed, 32-bit or floating-point samples, whose white is not defined")
    if picture.tag_v2.get(PLANES) == 2 and file.bits == 16:
        raise UnsupportedMedia("a TIFF that keeps 16-bit channels in separate planes")  # both libraries misread it
    if low_bytes:
        layouts = [cast("tuple[str, object]", tile.args) for tile in picture.tile]
        picture.tile = [
            tile._replace(args=(_other_byte(layout[0]), *layout[1:]))
            for tile, layout in zip(picture.tile, layouts, strict=True)
        ]
    picture.load()
    return picture


def _png(data: bytes, *, low_bytes: bool = False) -> PngImagePlugin.PngImageFile:
    picture = PngImagePlugin.PngImageFile(BytesIO(data))
    if low_bytes:
        picture.tile = [tile._replace(args=_other_byte(str(tile.args))) for tile in picture.tile]
    picture.load()
    return picture


def _other_byte(raw_mode: str) -> str:
    """Pillow's name of the layout whose second byte is read: the same samples in the other byte order."""
    native = "L" if sys.byteorder == "little" else "B"
    order = {"N": native}.get(raw_mode[-1], raw_mode[-1])
    return raw_mode[:-1] + {"L": "B", "B": "L"}[order]


def _with_low_bytes(raster: Raster, low: Image.Image, allocate: Allocate, key: tuple[int, ...] | None = None) -> Raster:
    alpha = raster.alpha
    if key:
        alpha = allocate(raster.rgb.shape[:2])
    add_low_bytes(raster.rgb, alpha, low, key or ())
    return replace(raster, alpha=alpha)


def _as_four_channels(data: bytes) -> bytes:
    """A PNG of grey and alpha in sixteen bits as one of RGBA in eight: the same bytes per pixel, the same filters."""
    header = data[12:IHDR_DEPTH] + bytes([8, 6]) + data[IHDR_DEPTH + 2 : 29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def _opencv(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    """HxW, HxWx3 (BGR) or HxWx4 (BGRA) in the file's own depth; None if the file cannot be decoded."""
    return cast(
        "NDArray[np.uint8] | NDArray[np.uint16] | None",
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED),
    )


def _deep(file: Container, allocate: Allocate) -> Raster:
    """By OpenCV, which keeps more than eight bits."""
    pixels = _opencv(file.data)
    if pixels is None:
        raise ValueError("OpenCV gives no picture")
    if pixels.dtype == np.uint8:
        return _in_eight_bits(cast("NDArray[np.uint8]", pixels), file, allocate, is_bgr=True)
    return _in_sixteen_bits(cast("NDArray[np.uint16]", pixels), file, allocate, is_bgr=True)


def _in_eight_bits(pixels: NDArray[np.uint8], file: Container, allocate: Allocate, *, is_bgr: bool) -> Raster:
    if pixels.ndim == 2:
        return from_pillow(Image.fromarray(pixels), file, allocate)
    return separated(pixels, file, allocate, is_bgr=is_bgr)


def _in_sixteen_bits(pixels: NDArray[np.uint16], file: Container, allocate: Allocate, *, is_bgr: bool) -> Raster:
    """Samples of 9 to 16 bits, of which the highest value is white."""
    bits = file.bits if file.bits > 8 else max(10, int(pixels.max()).bit_length())
    hdr = file.colour.hdr
    if hdr is None:
        small = np.asarray(cv2.convertScaleAbs(pixels, alpha=255 / (2**bits - 1)), np.uint8)
        return _in_eight_bits(small, file, allocate, is_bgr=is_bgr)
    order = {(2, True): cv2.COLOR_GRAY2RGB, (2, False): cv2.COLOR_GRAY2RGB, (3, True): cv2.COLOR_BGR2RGB}
    order |= {(4, True): cv2.COLOR_BGRA2RGBA}
    code = order.get((pixels.shape[2] if pixels.ndim == 3 else 2, is_bgr))
    upright = pixels if code is None else cast("NDArray[np.uint16]", cv2.cvtColor(pixels, code))
    return tone_mapped(upright, 2**bits - 1, hdr)
