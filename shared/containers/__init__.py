"""File formats around the pixels: sizes, colour, orientation and pages, read in plain Python within fixed bounds.

Each module reads one format. What does not decide pixels is taken out before a decoder sees the file, so that damaged
metadata never refuses a picture; what was left out stands in `Container.ignored`.
"""

from collections.abc import Callable, Mapping

from shared.containers import heif, jpeg, png, simple, tiff, webp
from shared.containers.container import Container

PARSERS: Mapping[str, Callable[[bytes], Container]] = {
    "image/jpeg": jpeg.parse,
    "image/png": png.parse,
    "image/webp": webp.parse,
    "image/tiff": tiff.parse,
    "image/bmp": simple.parse_bmp,
    "image/gif": simple.parse_gif,
    "image/heic": heif.parse,
    "image/avif": heif.parse,
}

__all__ = ["PARSERS", "Container"]
