"""BMP and GIF: formats that say little beside their pixels."""

import struct

from shared.containers.container import Container

CORE_HEADER = 12  # bytes: the oldest header of BMP, with 16-bit sizes


def parse_bmp(data: bytes) -> Container:
    """Source: Windows GDI, BITMAPINFOHEADER and its successors. Raises ValueError if the header is cut short."""
    if len(data) < 26:
        raise ValueError("the header is cut short")
    if struct.unpack_from("<I", data, 14)[0] == CORE_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data.ljust(30, b"\x00"), 18)
    channels = {32: 4}.get(bits, 3 if bits > 8 else 1)
    working = 4.0 if bits > 8 else 1.0
    return Container(data=data, width=abs(width), height=abs(height), channels=channels, working_bytes=working)


def parse_gif(data: bytes) -> Container:
    """Source: GIF89a, section 18. Raises ValueError if the header is cut short."""
    if len(data) < 13:
        raise ValueError("the header is cut short")
    width, height = struct.unpack_from("<HH", data, 6)
    return Container(data=data, width=width, height=height, channels=1, working_bytes=10.0)
