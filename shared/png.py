"""PNG files, written fast: Up filter, deflate by ISA-L at level 1, one stream fed in stripes.

Some twenty times faster than a general writer's default at about its size, because ISA-L compresses with vector
instructions and the Up filter needs one subtraction per byte. ISA-L works outside the interpreter's lock.
Source: PNG (Third Edition), W3C Recommendation, https://www.w3.org/TR/png-3/
"""

import struct
from collections.abc import Iterator

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels -> grey, RGB, RGBA
STRIPE = 256  # rows filtered and compressed at a time: bounds memory, and each stripe becomes one IDAT chunk
LEVEL = 1  # of ISA-L's 0 to 3; 2 and 3 are slower for a percent of size
UP = 2  # filter type: each byte minus the one above it
ZLIB_HEADER = b"\x78\x01"


def write_png(pixels: NDArray[np.uint8], *, icc_profile: bytes = b"") -> bytes:
    """A PNG file of 8 bits per channel, the same bytes for the same input on the same kind of processor.

    pixels: uint8, HxW (grey, without any statement about colour), HxWx3 (RGB) or HxWx4 (RGBA, straight alpha).
    icc_profile: of RGB pixels, embedded unchanged; without one, the file says sRGB.
    Raises TypeError for other arrays.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.size == 0:
        raise TypeError(f"expected uint8 pixels, HxW or HxWxC, got {pixels.dtype} {pixels.shape}")
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels not in COLOUR_TYPES:
        raise TypeError(f"a PNG has 1, 3 or 4 channels here, not {channels}")
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    chunks = [SIGNATURE, *_chunk(b"IHDR", header)]
    if channels > 1:
        chunks += _colour_space(icc_profile)
    for data in _compressed(pixels.reshape(height, width * channels)):
        chunks += _chunk(b"IDAT", data)
    chunks += _chunk(b"IEND", b"")
    return b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    checksum = isal_zlib.crc32(data, isal_zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)


def _colour_space(icc_profile: bytes) -> tuple[bytes, ...]:
    if not icc_profile:
        return _chunk(b"sRGB", b"\x00")  # rendering intent: perceptual
    return _chunk(b"iCCP", b"ICC profile\x00\x00" + isal_zlib.compress(icc_profile, 3))


def _compressed(rows: NDArray[np.uint8]) -> Iterator[bytes]:
    """One zlib stream in pieces. rows: uint8, height x bytes per row."""
    height, length = rows.shape
    stripe = np.empty((min(STRIPE, height), length + 1), np.uint8)
    stripe[:, 0] = UP
    compressor = isal_zlib.compressobj(level=LEVEL, wbits=-15)
    checksum, header = 1, ZLIB_HEADER
    above = np.zeros(length, np.uint8)
    for top in range(0, height, STRIPE):
        block = rows[top : top + STRIPE]
        filtered = stripe[: len(block)]
        np.subtract(block[0], above, out=filtered[0, 1:])
        np.subtract(block[1:], block[:-1], out=filtered[1:, 1:])
        above = block[-1]
        checksum = isal_zlib.adler32(filtered, checksum)
        yield header + compressor.compress(filtered)
        header = b""
    yield compressor.flush() + struct.pack(">I", checksum)
