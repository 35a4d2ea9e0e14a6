"""ICC profiles of RGB colours, written from primaries, white point and transfer curve.

Source: ICC.1:2022 (profile version 4.4), sections 7.2 (header), 9.2 (tags), 10.18 (parametricCurveType), annex E
(chromatic adaptation by the linear Bradford transform to D50).
"""

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Chromaticity = tuple[float, float]  # CIE x, y
Primaries = tuple[Chromaticity, Chromaticity, Chromaticity, Chromaticity]  # red, green, blue, white
Curve = tuple[float, ...]  # g, or g a b c d: light = (a v + b)^g for v >= d, else c v

D50 = np.array([0.9642, 1.0, 0.8249])  # XYZ of the profile connection space
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
HEADER_LENGTH = 128
PARAMETRIC = {1: 0, 5: 3}  # number of parameters -> function type
FIXED = 65_536  # s15Fixed16Number stores numbers times this


def rgb_to_xyz(primaries: Primaries) -> NDArray[np.float64]:
    """3x3: linear RGB -> XYZ, as seen under the primaries' own white, whose luminance is 1.

    Raises ValueError if they do not span colours (LinAlgError is one).
    """
    *colours, white = [_xyz(point) for point in primaries]
    columns = np.stack(colours, axis=1)
    matrix: NDArray[np.float64] = columns * np.linalg.solve(columns, white)
    return matrix


def adaptation(white: Chromaticity) -> NDArray[np.float64]:
    """3x3: XYZ under this white -> XYZ under D50."""
    source, target = BRADFORD @ _xyz(white), BRADFORD @ D50
    matrix: NDArray[np.float64] = np.linalg.inv(BRADFORD) @ np.diag(target / source) @ BRADFORD
    return matrix


def write_profile(name: str, primaries: Primaries, curve: Curve) -> bytes:
    """A display profile: the same bytes for the same colours. Raises ValueError for impossible primaries."""
    adapted = adaptation(primaries[3])
    matrix = adapted @ rgb_to_xyz(primaries)
    transfer = b"para" + bytes(4) + struct.pack(">HH", PARAMETRIC[len(curve)], 0) + _fixed(curve)
    tags = {
        b"desc": _text(name),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": b"XYZ " + bytes(4) + _fixed(D50),
        b"chad": b"sf32" + bytes(4) + _fixed(adapted.ravel()),
        b"rXYZ": b"XYZ " + bytes(4) + _fixed(matrix[:, 0]),
        b"gXYZ": b"XYZ " + bytes(4) + _fixed(matrix[:, 1]),
        b"bXYZ": b"XYZ " + bytes(4) + _fixed(matrix[:, 2]),
        b"rTRC": transfer,
        b"gTRC": transfer,
        b"bTRC": transfer,
    }
    return _assembled(tags)


def tag(profile: bytes, name: bytes) -> bytes:
    """The content of a profile's tag; empty if it has none."""
    if len(profile) < HEADER_LENGTH + 4:
        return b""
    count = min(struct.unpack_from(">I", profile, HEADER_LENGTH)[0], (len(profile) - HEADER_LENGTH - 4) // 12, 1000)
    for place in range(count):
        kind, offset, size = struct.unpack_from(">4sII", profile, HEADER_LENGTH + 4 + 12 * place)
        if kind == name:
            return profile[offset : offset + size]
    return b""


def _xyz(point: Chromaticity) -> NDArray[np.float64]:
    x, y = point
    if y <= 0:
        raise ValueError("a chromaticity without luminance")
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _fixed(numbers: Sequence[float] | NDArray[np.float64]) -> bytes:
    return b"".join(struct.pack(">i", round(float(number) * FIXED)) for number in numbers)


def _text(text: str) -> bytes:
    """One record of multiLocalizedUnicodeType."""
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def _assembled(tags: dict[bytes, bytes]) -> bytes:
    offset = HEADER_LENGTH + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}  # equal contents are stored once
    table, body = b"", b""
    for name, content in tags.items():
        if content not in places:
            places[content] = offset + len(body)
            body += content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, places[content], len(content))
    size = offset + len(body)
    header = struct.pack(
        ">I4sI4s4s4s6H4s", size, bytes(4), 0x04400000, b"mntr", b"RGB ", b"XYZ ", 2024, 1, 1, 0, 0, 0, b"acsp"
    )
    header = header.ljust(68, b"\x00") + _fixed(D50)
    return header.ljust(HEADER_LENGTH, b"\x00") + struct.pack(">I", len(tags)) + table + body
