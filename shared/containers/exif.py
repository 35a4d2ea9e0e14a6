"""The two things in an EXIF block that change how a picture looks: its orientation, and Adobe RGB by DCF.

Only the few directories that hold them are read: an EXIF block may name 65,535 entries of any length.
Source: Exif 2.32 (CIPA DC-008), sections 4.6.2 to 4.6.8; DCF 2.0 (CIPA DC-009), section 3.3.2 for R03.
"""

import struct
from collections.abc import Mapping

PREFIX = b"Exif\x00\x00"
ORIENTATION, EXIF_DIRECTORY, INTEROPERABILITY = 0x0112, 0x8769, 0xA005
COLOUR_SPACE, INTEROPERABILITY_INDEX = 0xA001, 0x0001
UNCALIBRATED = 0xFFFF
SHORT, LONG = 3, 4
MOST_ENTRIES = 1000  # of one directory; cameras write fewer than a hundred


def orientation(block: bytes) -> int:
    """1 to 8; 1 if the block does not say, or is damaged. block: with or without its prefix 'Exif'."""
    tiff = block.removeprefix(PREFIX)
    value = _number(tiff, _directory(tiff, _first(tiff)).get(ORIENTATION))
    return value if value in range(1, 9) else 1


def says_adobe_rgb(block: bytes) -> bool:
    """Whether the colour space is "uncalibrated" and the interoperability index R03, which DCF defines as Adobe RGB."""
    tiff = block.removeprefix(PREFIX)
    first = _directory(tiff, _first(tiff))
    details = _directory(tiff, _number(tiff, first.get(EXIF_DIRECTORY)))
    if _number(tiff, details.get(COLOUR_SPACE)) != UNCALIBRATED:
        return False
    entry = _directory(tiff, _number(tiff, details.get(INTEROPERABILITY))).get(INTEROPERABILITY_INDEX, b"")
    return entry[8:11] == b"R03"


def is_readable(block: bytes) -> bool:
    """Whether the block has a first directory at all."""
    tiff = block.removeprefix(PREFIX)
    return bool(_directory(tiff, _first(tiff)))


def _order(tiff: bytes) -> str:
    return {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4], "")


def _first(tiff: bytes) -> int:
    order = _order(tiff)
    return int(struct.unpack_from(order + "I", tiff, 4)[0]) if order and len(tiff) >= 8 else 0


def _directory(tiff: bytes, offset: int) -> Mapping[int, bytes]:
    """{tag: its entry of 12 bytes}; empty if the offset is 0 or outside the block."""
    if not 8 <= offset <= len(tiff) - 2:
        return {}
    order = _order(tiff)
    count = min(struct.unpack_from(order + "H", tiff, offset)[0], MOST_ENTRIES, (len(tiff) - offset - 2) // 12)
    entries = [tiff[at : at + 12] for at in range(offset + 2, offset + 2 + 12 * count, 12)]
    return {struct.unpack_from(order + "H", entry)[0]: entry for entry in reversed(entries)}


def _number(tiff: bytes, entry: bytes | None) -> int:
    """The value of an entry that holds one number; 0 if it holds something else."""
    if entry is None:
        return 0
    order = _order(tiff)
    kind, count = struct.unpack_from(order + "HI", entry, 2)
    if kind not in (SHORT, LONG) or count != 1:
        return 0
    return int(struct.unpack_from(order + ("H" if kind == SHORT else "I"), entry, 8)[0])
