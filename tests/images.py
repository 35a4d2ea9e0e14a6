"""Image files of every kind that uploads come in, made here: pictures, profiles, and what Pillow cannot write."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

DATA = Path(__file__).parent / "data" / "images"
ORIENTATION = 0x0112

# Primaries as the columns of an RGB -> XYZ matrix, adapted to D50 (Bradford), each (X, Y, Z)
SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
D50 = (0.9642, 1.0, 0.8249)
DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841))


def picture(width, height):
    """uint8, HxWx3: a smooth scene with a few hard shapes; no two of its eight orientations are alike."""
    y, x = np.mgrid[0:height, 0:width]
    red, green, blue = 230 * x / width, 60 + 150 * y / height, 120 + 90 * np.sin(3 * x / width + 5 * y / height)
    scene = Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))
    draw = ImageDraw.Draw(scene)
    draw.ellipse((0.1 * width, 0.1 * height, 0.4 * width, 0.5 * height), fill=(240, 240, 230))
    draw.rectangle((0.6 * width, 0.7 * height, 0.9 * width, 0.8 * height), fill=(20, 30, 90))
    return np.asarray(scene)


def soft_disc(width, height, radius=0.35, softness=0.1):
    """uint8, HxW: an opaque disc with a soft edge, transparent around."""
    y, x = np.mgrid[0:height, 0:width]
    distance = np.hypot((x + 0.5) / width - 0.5, (y + 0.5) / height - 0.5)
    return np.clip(255 * ((radius - distance) / softness + 0.5), 0, 255).astype(np.uint8)


def encoded(pixels, kind, mode=None, **settings):
    """The file that Pillow makes of an array or an image, of Pillow's format `kind`, converted to `mode` before."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **settings)
    return file.getvalue()


def scans(number, side=2000):
    """A progressive JPEG of an empty picture with so many scans that each say nothing new."""
    plain = encoded(np.zeros((16, 16), np.uint8), "JPEG", progressive=True)
    frame = plain.index(b"\xff\xc2")
    plain = plain[: frame + 5] + struct.pack(">HH", side, side) + plain[frame + 9 :]
    at = plain.index(b"\xff\xda")
    one = b"\xff\xda\x00\x08\x01\x01\x00\x01\x01\x00" + bytes(66)
    return plain[:at] + one * number + b"\xff\xd9"


def exif(orientation):
    """EXIF with an orientation, a camera's name and a place."""
    tags = Image.Exif()
    tags[ORIENTATION], tags[0x010F] = orientation, "Camera of the test"
    tags.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 14.0), 3: "E", 4: (11.0, 34.0, 31.0)})
    return tags


def stored(pixels, orientation):
    """What a camera stores so that a viewer, obeying `orientation`, shows `pixels`."""
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(undo[orientation](pixels))


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples, bits, colour_type, *, extra=b""):
    """A PNG of whole numbers HxW or HxWxC in any depth, without filters. colour_type: 0 grey, 2 RGB, 4 LA, 6 RGBA."""
    height, width = samples.shape[:2]
    if bits == 16:
        lines = np.ascontiguousarray(samples, ">u2").reshape(height, -1).view(np.uint8)
    elif bits == 8:
        lines = samples.astype(np.uint8).reshape(height, -1)
    else:
        shifts = np.arange(bits - 1, -1, -1)
        lines = np.packbits((samples.reshape(height, -1, 1) >> shifts & 1).reshape(height, -1).astype(np.uint8), axis=1)
    raw = b"".join(b"\x00" + line.tobytes() for line in lines)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(raw)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def bmp(rgba):
    """A BMP of version 4, whose masks say where alpha is."""
    height, width = rgba.shape[:2]
    body = rgba[::-1].tobytes()
    masks = struct.pack("<4I", 0xFF, 0xFF00, 0xFF0000, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(body), 2835, 2835, 0, 0) + masks
    header += b"BGRs" + b"\x00" * 48
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(body), 0, 0, 14 + len(header)) + header + body


def tiff(
    samples, photometric, *, extra_samples=(), planes=1, sample_format=1, subfile=0, byte_order="<", bits=None, level=0
):
    """A TIFF of unsigned whole numbers or floats, HxW or HxWxC, in one strip (per plane). level: of zlib; 0 = raw."""
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    depth = bits or samples.dtype.itemsize * 8
    data = samples.astype(samples.dtype.newbyteorder(byte_order))
    if bits == 12:
        pairs = samples.reshape(-1, 2).astype(np.uint32)
        data = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], -1).astype(
            "u1"
        )
    body = (data.transpose(2, 0, 1) if planes == 2 else data).tobytes()
    body = zlib.compress(body, level) if level else body
    strips = channels if planes == 2 else 1
    offsets = [8 + strip * len(body) // strips for strip in range(strips)]
    fields = [
        (254, "I", [subfile]),
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", [depth] * channels),
        (259, "H", [8 if level else 1]),
        (262, "H", [photometric]),
        (273, "I", offsets),
        (277, "H", [channels]),
        (278, "I", [height]),
        (279, "I", [len(body) // strips] * strips),
        (284, "H", [planes]),
        *([(338, "H", list(extra_samples))] if extra_samples else []),
        (339, "H", [sample_format] * channels),
    ]
    where = 8 + len(body) + len(body) % 2
    after = where + 2 + 12 * len(fields) + 4
    entries, heap = b"", b""
    for tag, code, values in fields:
        packed = struct.pack(f"{byte_order}{len(values)}{code}", *values)
        if len(packed) > 4:
            pointer, heap = (
                struct.pack(byte_order + "I", after + len(heap)),
                heap + packed + b"\x00" * (len(packed) % 2),
            )
        else:
            pointer = packed.ljust(4, b"\x00")
        entries += struct.pack(byte_order + "HHI", tag, {"H": 3, "I": 4}[code], len(values)) + pointer
    start = (b"II*\x00" if byte_order == "<" else b"MM\x00*") + struct.pack(byte_order + "I", where)
    count = struct.pack(byte_order + "H", len(fields))
    return start + body + b"\x00" * (len(body) % 2) + count + entries + b"\x00" * 4 + heap


def _fixed(*numbers):
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def _icc(device_class, space, connection, tags):
    """An ICC profile, version 2.1. Source: ICC.1:2001-04."""
    description = b"Made for a test\x00"
    tags = {
        b"desc": b"desc\x00\x00\x00\x00" + struct.pack(">I", len(description)) + description + b"\x00" * 78,
        b"cprt": b"text\x00\x00\x00\x00Free\x00",
        b"wtpt": b"XYZ \x00\x00\x00\x00" + _fixed(*D50),
        **tags,
    }
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data + b"\x00" * (-len(data) % 4)
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"\x00" * 4, 0x02100000, device_class, space, connection)
    header += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + b"\x00" * 28 + _fixed(*D50)
    return header.ljust(128, b"\x00") + struct.pack(">I", len(tags)) + table + body


def rgb_profile(primaries=DISPLAY_P3, *, black=0.0, white=D50):
    """An RGB profile with sRGB's tone curve and the given primaries, each (X, Y, Z).

    black: light of its darkest value, of 1. white: its medium's white, (X, Y, Z).
    """
    x = np.linspace(0, 1, 1024)
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    light = np.round((black + (1 - black) * linear) * 65535).astype(int)
    curve = b"curv\x00\x00\x00\x00" + struct.pack(">I1024H", 1024, *light)
    tags = {name + b"TRC": curve for name in (b"r", b"g", b"b")}
    for name, xyz in zip((b"r", b"g", b"b"), primaries, strict=True):
        tags[name + b"XYZ"] = b"XYZ \x00\x00\x00\x00" + _fixed(*xyz)
    return _icc(b"mntr", b"RGB ", b"XYZ ", tags | {b"wtpt": b"XYZ \x00\x00\x00\x00" + _fixed(*white)})


def grey_profile():
    """A grey profile whose values are light itself (gamma 1)."""
    return _icc(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": b"curv\x00\x00\x00\x00" + struct.pack(">I", 0)})


def cmyk_profile():
    """A CMYK profile of an odd press: its cyan ink is a strong red; black is black, paper is white."""
    corners = []
    for corner in range(16):  # cyan is the slowest, black the fastest
        cyan, magenta, yellow, black = (corner >> shift & 1 for shift in (3, 2, 1, 0))
        lightness = 0 if black else 100 - 47 * cyan - 20 * magenta - 10 * yellow
        a, b = (0, 0) if black else (80 * cyan, 67 * cyan)
        corners.append((round(lightness * 2.55), a + 128, b + 128))
    ramp = bytes(range(256))
    table = b"mft1\x00\x00\x00\x00" + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + ramp * 4
    return _icc(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table + bytes(np.ravel(corners).tolist()) + ramp * 3})
