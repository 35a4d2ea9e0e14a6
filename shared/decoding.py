"""Bytes of an upload -> SourceImage, in this process. `decoder_pool` does the same in processes of its own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.containers import PARSERS, Container
from shared.errors import CorruptImage, ImageTooComplex, ImageTooLarge, RejectedUpload, UnsupportedMedia
from shared.raster import Allocate, Raster
from shared.readers import READERS
from shared.records import SourceImage

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
NAMES = {"image/webp": "WebP"}
# Libraries tell only in words whether a file is damaged or of a kind that they do not read.
NOT_READ = re.compile(r"unsupported (?!marker)|not supported|cannot handle|unknown pixel mode", re.I)
OUT_OF_MEMORY = re.compile(r"insufficient memory|out of memory|failed to allocate|malloc|bad.?alloc", re.I)
HDR_NOTE = "HDR (PQ or HLG) was tone-mapped to SDR, reference white at 203 nits"
FIRST_SIDEWAYS = 5  # EXIF orientations 5 to 8 exchange width and height
MOST_IGNORED = 5  # things named in one note


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """An upload whose header has been read and found acceptable. content_type: by its signature."""

    content_type: str
    container: Container

    @property
    def pixels(self) -> int:
        return self.container.width * self.container.height


def decode(
    data: bytes, *, max_pixels: int, name: str = "", allocate: Allocate = lambda shape: np.empty(shape, np.uint8)
) -> SourceImage:
    """The picture in a file: upright, whole, in 8 bits per channel, in RGB.

    The format is told from the bytes: JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF; of an animation, the first frame;
    of a TIFF, the first page that is no reduced copy. The size is checked before pixels are decoded. RGB profiles are
    kept, and made from what the file says otherwise about its colours; grey, CMYK and CIELAB become sRGB through
    their profiles; HDR becomes SDR; 16 bits are scaled by value. Metadata is dropped, and refuses nothing.

    name: used in sentences only. allocate: gives the arrays of the result, uint8 of a shape.
    Raises UnsupportedMedia, CorruptImage, ImageTooLarge or ImageTooComplex, and nothing else; never gives part of a
    picture.
    """
    return read(inspect(data, max_pixels=max_pixels, name=name), name=name, allocate=allocate)


def inspect(data: bytes, *, max_pixels: int, name: str = "") -> Inspected:
    """What the file says, without decoding a pixel: in time and memory bounded by its bytes. Raises as `decode`."""
    name = name or "The upload"
    media = media_type(data)
    if not media:
        formats = "JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF"
        raise UnsupportedMedia(f"{name} is {'empty' if not data else f'not a {formats} image'}.")
    try:
        container = PARSERS[media](data)
    except Exception as error:  # what is read from damaged files fails in many ways
        raise _rejection(error, media, name) from error
    width, height = container.width, container.height
    if container.orientation >= FIRST_SIDEWAYS:
        width, height = height, width
    if width * height > max_pixels:
        raise ImageTooLarge(f"{name} has {width} x {height} pixels; at most {max_pixels:,} in all are accepted.")
    if width < 1 or height < 1:
        raise CorruptImage(f"{name} is a damaged {_kind(media)} file: it has {width} x {height} pixels.")
    return Inspected(content_type=media, container=container)


def read(
    inspected: Inspected, *, name: str = "", allocate: Allocate = lambda shape: np.empty(shape, np.uint8)
) -> SourceImage:
    """The pixels of an inspected file. Raises as `decode`."""
    name, media, container = name or "The upload", inspected.content_type, inspected.container
    stays = container.orientation == 1 and (container.crop is None or media == "image/heic")
    try:
        raster = READERS[media](container, allocate if stays else lambda shape: np.empty(shape, np.uint8))
    except Exception as error:  # what libraries raise on damaged files has no common root
        raise _rejection(error, media, name) from error
    height, width = raster.rgb.shape[:2]
    if width * height > inspected.pixels:
        raise CorruptImage(f"{name} is a damaged {_kind(media)} file: it holds more pixels than it says.")
    alpha = None if raster.alpha is None or raster.alpha.min() == 255 else raster.alpha
    turn = media != "image/heic"  # libheif turns and crops by itself
    return SourceImage(
        rgb=_shown(raster.rgb, container, allocate) if turn else raster.rgb,
        alpha=_shown(alpha, container, allocate) if turn and alpha is not None else alpha,
        icc_profile=raster.icc_profile,
        content_type=media,
        notes=_notes(container, raster),
    )


def media_type(data: bytes) -> str:
    """The content type that the first bytes tell; '' if it is not on the list."""
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


def upright(
    pixels: NDArray[np.uint8], orientation: int, allocate: Allocate = lambda shape: np.empty(shape, np.uint8)
) -> NDArray[np.uint8]:
    """Stored pixels, HxW or HxWxC, turned as EXIF's orientation 1 to 8 says."""
    if orientation == 1:
        return pixels
    height, width, *channels = pixels.shape
    result = allocate((height, width, *channels) if orientation < FIRST_SIDEWAYS else (width, height, *channels))
    if orientation in (2, 4):
        cv2.flip(pixels, 1 if orientation == 2 else 0, dst=result)
    elif orientation in (5, 7):
        cv2.transpose(pixels, dst=result)
        if orientation == 7:
            cv2.flip(result, -1, dst=result)
    else:
        turn = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}[orientation]
        cv2.rotate(pixels, turn, dst=result)
    return result


def _shown(pixels: NDArray[np.uint8], container: Container, allocate: Allocate) -> NDArray[np.uint8]:
    """What a viewer shows of decoded pixels: cropped, then turned."""
    if container.crop is None:
        return upright(pixels, container.orientation, allocate)
    left, top, right, bottom = container.crop
    inside = np.ascontiguousarray(pixels[top:bottom, left:right])
    if container.orientation != 1:
        return upright(inside, container.orientation, allocate)
    result = allocate(inside.shape)
    result[:] = inside
    return result


def _notes(container: Container, raster: Raster) -> Mapping[str, str]:
    notes = {}
    if container.ignored:
        named = list(dict.fromkeys(container.ignored))
        more = [f"{len(named) - MOST_IGNORED} more"] if len(named) > MOST_IGNORED else []
        notes["metadata"] = "ignored: " + "; ".join(named[:MOST_IGNORED] + more)
    if raster.hdr:
        notes["colour"] = HDR_NOTE
    if container.pages:
        notes["pages"] = container.pages
    return notes


def _rejection(error: Exception, media: str, name: str) -> RejectedUpload:
    """The sentence for the uploader; the library's own words are its detail."""
    kind, detail = _kind(media), _words(error)
    if isinstance(error, UnsupportedMedia | ImageTooComplex):
        return type(error)(f"{name} is {error}.")
    if isinstance(error, RejectedUpload):
        return error
    if isinstance(error, Image.DecompressionBombError):  # Pillow's own limit, for animated WebP alone
        return ImageTooLarge(f"{name} has more pixels than a {kind} may have.", detail=detail)
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(detail):
        return ImageTooComplex(f"{name} needs more memory than a {kind} of its size may take.", detail=detail)
    if NOT_READ.search(detail):
        return UnsupportedMedia(f"{name} is a {kind} of a kind that is not read.", detail=detail)
    return CorruptImage(f"{name} is a damaged or incomplete {kind} file.", detail=detail)


def _kind(media: str) -> str:
    return NAMES.get(media, media.removeprefix("image/").upper())


def _words(error: Exception) -> str:
    """What a library says, in one short line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")
