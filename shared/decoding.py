"""Files and pixels: bytes -> SourceImage, Cutout -> EncodedImage."""

import re

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.colour import to_srgb
from shared.encoding import content_type, encode, suffix
from shared.errors import CorruptImage, ImageTooLarge, RejectedUpload, UnsupportedMedia
from shared.readers import READERS
from shared.records import SourceImage

__all__ = ["content_type", "decode", "encode", "suffix", "to_srgb"]

SIGNATURES = {
    "image/jpeg": rb"\xff\xd8\xff",
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/webp": rb"RIFF....WEBP",
    "image/tiff": rb"II[*+]\x00|MM\x00[*+]",
    "image/bmp": rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00",  # two letters alone begin many a text
    "image/gif": rb"GIF8[79]a",
}
AVIF_BRANDS = {b"avif", b"avis"}
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
# Libraries tell only in words whether a file is damaged or of a kind that they do not read.
NOT_READ = re.compile(r"unsupported (?!marker)|not supported|cannot handle|unknown pixel mode", re.I)


def decode(data: bytes, *, max_pixels: int, name: str = "") -> SourceImage:
    """The picture in a file: upright, whole, in 8 bits per channel, in RGB.

    The format is told from the bytes: JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF; of an animation, the first frame.
    The size is checked before pixels are decoded. RGB profiles are kept; grey, CMYK and CIELAB become sRGB through
    theirs; 16 bits are scaled by value. EXIF is obeyed (orientation) and dropped. `name` is used in sentences only.

    Raises UnsupportedMedia, CorruptImage or ImageTooLarge, and nothing else; never gives part of a picture.
    """
    name = name or "The upload"
    media = media_type(data)
    if not media:
        formats = "JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF"
        raise UnsupportedMedia(f"{name} is {'empty' if not data else f'not a {formats} image'}.")

    def check(width: int, height: int) -> None:
        if width * height > max_pixels:
            raise ImageTooLarge(f"{name} has {width} x {height} pixels; at most {max_pixels:,} in all are accepted.")

    kind = media.removeprefix("image/").upper()
    try:
        raster = READERS[media](data, check)
    except UnsupportedMedia as error:
        raise UnsupportedMedia(f"{name} is {error}.") from error
    except RejectedUpload:
        raise
    except Image.DecompressionBombError as error:  # WebP only, which cannot be opened past Pillow's own limit
        raise ImageTooLarge(f"{name} cannot be read: {_words(error)}.") from error
    except Exception as error:  # what libraries raise on damaged files has no common root
        if NOT_READ.search(str(error)):
            raise UnsupportedMedia(f"{name} is a {kind} of a kind that is not read: {_words(error)}.") from error
        raise CorruptImage(f"{name} is a damaged or incomplete {kind} file: {_words(error)}.") from error
    alpha = raster.alpha
    return SourceImage(
        rgb=upright(raster.rgb, raster.orientation),
        alpha=None if alpha is None or alpha.min() == 255 else upright(alpha, raster.orientation),
        icc_profile=raster.icc_profile,
        content_type=media,
    )


def media_type(data: bytes) -> str:
    """The content type that the first bytes tell; '' where it is not on the list."""
    for media, signature in SIGNATURES.items():
        if re.match(signature, data[:32], re.DOTALL):
            return media
    if data[4:8] != b"ftyp":
        return ""
    end = min(int.from_bytes(data[:4]), 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
    if brands & AVIF_BRANDS:
        return "image/avif"
    return "image/heic" if brands & HEIC_BRANDS else ""


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Stored pixels, HxW or HxWxC, turned as EXIF's orientation 1 to 8 says."""
    if orientation == 1:
        return pixels
    if orientation in (2, 4):
        return np.asarray(cv2.flip(pixels, 1 if orientation == 2 else 0), np.uint8)
    if orientation == 5:
        return np.asarray(cv2.transpose(pixels), np.uint8)
    if orientation == 7:
        return np.asarray(cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180), np.uint8)
    turn = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}[orientation]
    return np.asarray(cv2.rotate(pixels, turn), np.uint8)


def _words(error: Exception) -> str:
    """What a library says, in one short line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")
