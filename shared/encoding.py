"""Cutout -> file: PNG, lossless WebP, JPEG, or a ZIP of colour and alpha. Deterministic; no EXIF is ever written."""

from io import BytesIO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from shared.errors import InvalidOptions
from shared.options import Channels, CutOptions, OutputFormat
from shared.png import write_png
from shared.records import Cutout, EncodedImage

FILES = {  # output format -> suffix, content type, largest side in pixels that the format can say
    OutputFormat.PNG: (".png", "image/png", 2**31 - 1),
    OutputFormat.WEBP: (".webp", "image/webp", 16_383),
    OutputFormat.JPG: (".jpg", "image/jpeg", 65_500),  # libjpeg's own limit, a little below the format's
    OutputFormat.ZIP: (".zip", "application/zip", 65_500),
}
JPEG_QUALITY = 95
ICC_MARKER, ICC_LABEL, ICC_PART = b"\xff\xe2", b"ICC_PROFILE\x00", 65_519  # bytes of profile per APP2 segment


def suffix(options: CutOptions) -> str:
    """Of the result's name, with its dot."""
    return FILES[options.output_format][0]


def content_type(options: CutOptions) -> str:
    """Of the result."""
    return FILES[options.output_format][1]


def encode(cutout: Cutout, options: CutOptions) -> EncodedImage:
    """The result file of a cutout that `rendition.render` has prepared: the same bytes for the same pixels.

    The colour profile goes in, except beside a matte (channels=alpha), which has no colour.
    Raises InvalidOptions if the format cannot hold a picture of this size, ValueError for a JPEG, or anything else
    with bg_color, that is still transparent somewhere.
    """
    largest = FILES[options.output_format][2]
    if max(cutout.width, cutout.height) > largest:
        raise InvalidOptions(
            f"output_format={options.output_format} holds at most {largest} pixels a side; "
            f"this result has {cutout.width} x {cutout.height}: use png or a smaller size"
        )
    if options.output_format is OutputFormat.ZIP:
        data = _zip(cutout)
    else:
        pixels = _pixels(cutout, options)
        data = _WRITERS[options.output_format](pixels, cutout.icc_profile if pixels.ndim == 3 else b"")
    return EncodedImage(data=data, content_type=content_type(options), width=cutout.width, height=cutout.height)


def _pixels(cutout: Cutout, options: CutOptions) -> NDArray[np.uint8]:
    """HxW for the matte alone, HxWx3 on a background colour, else HxWx4."""
    if options.channels is Channels.ALPHA:
        return _alpha(cutout)
    if not options.bg_color:
        return cutout.rgba
    if _alpha(cutout).min() < 255:
        raise ValueError("bg_color is set, but the cutout has not been laid on it")
    return _rgb(cutout)


def _alpha(cutout: Cutout) -> NDArray[np.uint8]:
    return np.asarray(cv2.extractChannel(cutout.rgba, 3), np.uint8)


def _rgb(cutout: Cutout) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(cutout.rgba, cv2.COLOR_RGBA2RGB), np.uint8)


def _png(pixels: NDArray[np.uint8], icc_profile: bytes) -> bytes:
    return write_png(pixels, icc_profile=icc_profile)


def _webp(pixels: NDArray[np.uint8], icc_profile: bytes) -> bytes:
    file = BytesIO()
    # exact: without it, colours under alpha 0 change, and with them whatever scales the picture later
    settings = {"lossless": True, "exact": True, "method": 0, "quality": 0}
    Image.fromarray(pixels).save(file, "WEBP", icc_profile=icc_profile, **settings)
    return file.getvalue()


def _jpeg(pixels: NDArray[np.uint8], icc_profile: bytes) -> bytes:
    if pixels.ndim == 2:
        return bytes(simplejpeg.encode_jpeg(pixels[..., None], JPEG_QUALITY, "GRAY", "Gray", False))
    data = bytes(simplejpeg.encode_jpeg(pixels, JPEG_QUALITY, "RGB", "444", False))
    parts = [icc_profile[at : at + ICC_PART] for at in range(0, len(icc_profile), ICC_PART)]
    after_jfif = 4 + int.from_bytes(data[4:6])  # start of image, then the JFIF segment
    segments = [data[:after_jfif]]
    for number, part in enumerate(parts, 1):
        body = ICC_LABEL + bytes([number, len(parts)]) + part
        segments.append(ICC_MARKER + (len(body) + 2).to_bytes(2) + body)
    return b"".join([*segments, data[after_jfif:]])


def _zip(cutout: Cutout) -> bytes:
    files = {"color.jpg": _jpeg(_rgb(cutout), cutout.icc_profile), "alpha.png": write_png(_alpha(cutout))}
    archive = BytesIO()
    with ZipFile(archive, "w", ZIP_STORED) as members:  # both are compressed already
        for name, data in files.items():
            entry = ZipInfo(name)  # dated 1980, as far as the format goes back: a clock would change the bytes
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # the same on every system
            members.writestr(entry, data)
    return archive.getvalue()


_WRITERS = {OutputFormat.PNG: _png, OutputFormat.WEBP: _webp, OutputFormat.JPG: _jpeg}
