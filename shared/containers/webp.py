"""WebP: the chunks that decide pixels, and what the others say about colour and orientation.

Source: RFC 9649, sections 2.3 to 2.7.
"""

import struct
from dataclasses import replace

from shared.colour import ColourDescription, colour_space
from shared.containers import exif
from shared.containers.container import Container, refuse_many, refuse_metadata

HEADER = 12
PIXEL_CHUNKS = (b"VP8X", b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF")
HAS_METADATA = 0b00101100  # flags of VP8X: profile, EXIF, XMP
ANIMATED, HAS_ALPHA = 0b00000010, 0b00010000


def parse(data: bytes) -> Container:
    """Raises ValueError if the first chunk is none of a picture, ImageTooComplex for absurd numbers of chunks."""
    width, height = size(data)
    flags = data[20] if data[12:16] == b"VP8X" else 0
    lossless = data[12:16] == b"VP8L"
    container = Container(data=data, width=width, height=height, animated=bool(flags & ANIMATED))
    container.channels = 4 if lossless or flags & HAS_ALPHA else 3
    container.working_bytes = 17.0 if container.animated else 4.0  # two canvases; OpenCV's picture
    kept: list[bytes] = []
    at, count, metadata, profile, block = HEADER, 0, 0, b"", b""
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length
        count += 1
        refuse_many(count, "chunks")
        if kind in PIXEL_CHUNKS:
            kept.append(data[at : end + length % 2])
            if kind in {b"VP8L", b"ALPH"}:
                container.channels = 4
        else:
            metadata += min(length, len(data) - at)
            if end > len(data):
                container.ignored.append("metadata cut short")
            elif kind == b"ICCP":
                profile = profile or data[at + 8 : end]
            elif kind == b"EXIF":
                block = block or data[at + 8 : end]
        at = end + length % 2
    refuse_metadata(metadata)
    _describe(container, profile, block)
    if metadata:
        container.data = _file(kept)
    return container


def _describe(container: Container, profile: bytes, block: bytes) -> None:
    if profile and not colour_space(profile):
        container.ignored.append("a damaged colour profile")
        profile = b""
    container.colour = ColourDescription(icc_profile=profile)
    if not block:
        return
    container.orientation = exif.orientation(block)
    container.colour = replace(container.colour, adobe_rgb=exif.says_adobe_rgb(block))
    if not exif.is_readable(block):
        container.ignored.append("damaged EXIF")


def _file(chunks: list[bytes]) -> bytes:
    if chunks and chunks[0][:4] == b"VP8X":
        first = bytearray(chunks[0])
        first[8] &= ~HAS_METADATA & 0xFF
        chunks[0] = bytes(first)
    body = b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def size(data: bytes) -> tuple[int, int]:
    """Width and height."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        raise ValueError("the header is cut short")
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        packed = int.from_bytes(body[1:5], "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
