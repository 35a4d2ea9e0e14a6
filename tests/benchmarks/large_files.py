"""Large files of every kind and depth, made here: what the benchmarks of decoding read."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from PIL import Image

from tests.images import png_chunk, tiff

MB = 1_000_000


def gradient(megapixels: float) -> np.ndarray:
    """uint8, HxWx4, 4:3: a disc on smooth colours, so that files are small and pixels many; stripes of transparency."""
    width = round((megapixels * MB * 4 / 3) ** 0.5)
    height = round(megapixels * MB / width)
    y, x = np.ogrid[:height, :width]
    planes = [x * 255 // width + 0 * y, y * 255 // height + 0 * x, (x + y) // 16 % 256, x // 64 % 2 * 200 + 55 + 0 * y]
    rgba = np.dstack([plane.astype(np.uint8) for plane in planes])
    cv2.circle(rgba, (width // 2, height // 2), height // 3, (225, 200, 60, 255), -1)
    return rgba


def pillow(pixels: np.ndarray, kind: str, mode: str = "", **settings: object) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(stream, kind, **settings)
    return stream.getvalue()


def deep_png(samples: np.ndarray, colour_type: int) -> bytes:
    """A PNG of 16 bits per channel, its rows compressed one by one."""
    height, width = samples.shape[:2]
    packer = zlib.compressobj(1)
    packed = [packer.compress(b"\x00" + row.astype(">u2").tobytes()) for row in samples.reshape(height, -1)]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    content = png_chunk(b"IDAT", b"".join([*packed, packer.flush()]))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + content + png_chunk(b"IEND", b"")


def makers(rgba: np.ndarray) -> dict[str, Callable[[], bytes]]:
    """Name -> how to make the file."""
    rgb = np.ascontiguousarray(rgba[..., :3])

    def deep(channels: int) -> np.ndarray:
        return rgba[..., :channels].astype(np.uint16) * 257 ^ 3

    def avif_10() -> bytes:
        settings = [cv2.IMWRITE_AVIF_DEPTH, 10, cv2.IMWRITE_AVIF_SPEED, 10]
        return cv2.imencode(".avif", rgb.astype(np.uint16) * 4, settings)[1].tobytes()

    return {
        "jpeg": lambda: pillow(rgb, "JPEG", quality=90),
        "jpeg progressive 4:4:4": lambda: pillow(rgb, "JPEG", quality=90, progressive=True, subsampling=0),
        "jpeg cmyk": lambda: pillow(rgb, "JPEG", "CMYK"),
        "png": lambda: pillow(rgb, "PNG", compress_level=1),
        "png rgba": lambda: pillow(rgba, "PNG", compress_level=1),
        "png 16 rgb": lambda: deep_png(deep(3), 2),
        "png 16 rgba": lambda: deep_png(deep(4), 6),
        "png 16 grey": lambda: deep_png(deep(1), 0),
        "tiff": lambda: pillow(rgb, "TIFF"),
        "tiff 16 rgb": lambda: tiff(deep(3), 2),
        "tiff 16 rgb deflate": lambda: tiff(deep(3), 2, level=1),
        "tiff 16 rgba deflate": lambda: tiff(deep(4), 2, extra_samples=[2], level=1),
        "webp": lambda: pillow(rgb, "WEBP", method=0),
        "webp lossless rgba": lambda: pillow(rgba, "WEBP", lossless=True, method=0, quality=0),
        "webp animated": lambda: pillow(
            rgb, "WEBP", method=0, save_all=True, append_images=[Image.fromarray(255 - rgb)]
        ),
        "avif": lambda: pillow(rgb, "AVIF", speed=10),
        "avif 4:4:4 rgba": lambda: pillow(rgba, "AVIF", speed=10, subsampling="4:4:4"),
        "avif 10 bits": avif_10,
        "bmp": lambda: pillow(rgb, "BMP"),
        "gif": lambda: pillow(np.asarray(Image.fromarray(rgb).quantize(32)), "GIF"),
    }


def large_files(megapixels: float, names: tuple[str, ...] = ()) -> Iterator[tuple[str, bytes]]:
    """(name, file), made one at a time; all of them without names."""
    for name, make in makers(gradient(megapixels)).items():
        if not names or name in names:
            yield name, make()
