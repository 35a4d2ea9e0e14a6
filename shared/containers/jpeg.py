"""JPEG: the segments that decide pixels, and what the others say about colour and orientation.

Source: ITU-T T.81, annex B; JFIF 1.02; ICC.1:2022, annex B.4 for profiles in APP2 segments.
"""

import struct
from dataclasses import dataclass, field, replace

from shared.colour import ColourDescription, colour_space
from shared.containers import exif
from shared.containers.container import Container, refuse_many, refuse_metadata
from shared.errors import ImageTooComplex

SOI, SOS = b"\xff\xd8", 0xDA
FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
METADATA = frozenset({*range(0xE0, 0xF0), 0xFE})  # APPn and comments
APP0, APP1, APP2, APP14 = 0xE0, 0xE1, 0xE2, 0xEE
STORAGE_SEGMENTS = {APP0: (b"JFIF\x00", 14), APP14: (b"Adobe", 12)}  # marker -> label and least length
ICC_LABEL = b"ICC_PROFILE\x00"
MOST_SCANS = 500


@dataclass(slots=True)
class _Segments:
    """What stands before the first scan."""

    frame: bytes = b""
    frame_marker: int = 0
    first_scan: bytes = b""
    kept: list[bytes | memoryview] = field(default_factory=list)
    profile: dict[int, bytes] = field(default_factory=dict)
    profile_parts: set[int] = field(default_factory=set)
    exif: bytes = b""
    ignored: list[str] = field(default_factory=list)


def parse(data: bytes) -> Container:
    """Raises ValueError if there is no frame or no scan, ImageTooComplex for absurd numbers of scans or metadata."""
    segments, scans_at = _before_the_scans(data)
    frame = segments.frame
    if len(frame) < 6 or len(frame) < 6 + 3 * frame[5]:
        raise ValueError("no frame header")
    bits, height, width, channels = struct.unpack(">BHHB", frame[:6])
    progressive = segments.frame_marker in PROGRESSIVE
    several = progressive or (bool(segments.first_scan) and segments.first_scan[0] < channels)
    if several:
        _refuse_scans(data, scans_at)
    colour = ColourDescription(icc_profile=_profile(segments))
    container = Container(data=data, width=width, height=height, bits=bits, channels=channels, colour=colour)
    container.working_bytes = (_coefficients(frame) if several else 0.2) + (4.0 if channels == 4 else 0.0)
    if segments.exif:
        container.orientation = exif.orientation(segments.exif)
        container.colour = replace(colour, adobe_rgb=exif.says_adobe_rgb(segments.exif))
        if not exif.is_readable(segments.exif):
            segments.ignored.append("damaged EXIF")
    container.ignored = segments.ignored
    container.data = b"".join([SOI, *segments.kept, memoryview(data)[scans_at:]])
    return container


def _before_the_scans(data: bytes) -> tuple[_Segments, int]:
    """The segments before the first scan, and where that begins. As in every decoder, bytes between are skipped."""
    segments, view, at, count, metadata = _Segments(), memoryview(data), 2, 0, 0
    while True:
        count += 1
        refuse_many(count, "segments")
        start = at
        at = data.find(b"\xff", at)
        while 0 <= at < len(data) - 1 and data[at + 1] in (0x00, 0xFF):
            at = data.find(b"\xff", at + 1)
        if at < 0 or at + 4 > len(data):
            raise ValueError("no scan")
        if stray := len(data[start:at].rstrip(b"\xff")):
            segments.ignored.append(f"{stray} stray bytes between segments")
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if marker in STANDALONE:
            at += 2
            continue
        if length < 2:
            segments.ignored.append("a segment that is too short")
            at += 2
            continue
        content = view[at + 4 : at + 2 + length]
        if marker == SOS:
            segments.first_scan = bytes(content)
            return segments, at
        if marker in METADATA:
            metadata += length
            refuse_metadata(metadata)
            _note_metadata(segments, marker, bytes(content), view[at : at + 2 + length])
        else:
            if marker in FRAMES:
                segments.frame, segments.frame_marker = bytes(content), marker
            segments.kept.append(view[at : at + 2 + length])
        at += 2 + length


def _note_metadata(segments: _Segments, marker: int, content: bytes, whole: memoryview) -> None:
    """Keep the two application segments that say how colours are stored; remember profile and EXIF."""
    label, shortest = STORAGE_SEGMENTS.get(marker, (b"", 0))
    if label and content.startswith(label) and len(content) >= shortest:
        segments.kept.append(whole)
    elif marker == APP1 and content.startswith(exif.PREFIX[:4]) and not segments.exif:
        segments.exif = content
    elif marker == APP2 and content.startswith(ICC_LABEL):
        if len(content) < 14:
            segments.profile_parts.add(0)
            return
        segments.profile_parts.add(content[13])
        segments.profile.setdefault(content[12], content[14:])


def _profile(segments: _Segments) -> bytes:
    """The profile put together from its numbered parts; empty if one is missing."""
    if not segments.profile_parts:
        return b""
    parts = max(segments.profile_parts)
    if segments.profile_parts != {parts} or sorted(segments.profile) != list(range(1, parts + 1)):
        segments.ignored.append("a colour profile of which parts are missing")
        return b""
    profile = b"".join(segments.profile[number] for number in range(1, parts + 1))
    if not colour_space(profile):
        segments.ignored.append("a damaged colour profile")
        return b""
    return profile


def _refuse_scans(data: bytes, start: int) -> None:
    """Raise ImageTooComplex for more than MOST_SCANS scans: each costs time for the whole picture and 75 bytes of file.

    In the coded data of a scan, 0xFF is followed by 0 or a restart marker, so that a marker is found by its bytes.
    """
    if data.count(b"\xff\xda", start) <= MOST_SCANS:
        return
    at, scans = start, 0
    while 0 <= at < len(data) - 3:
        marker = data[at + 1]
        if marker == 0xD9:
            return
        scans += marker == SOS
        if scans > MOST_SCANS:
            raise ImageTooComplex(f"a JPEG of more than {MOST_SCANS} scans; save it again as an ordinary JPEG")
        if marker not in STANDALONE and marker not in (0x00, 0xFF):
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
        else:
            at += 1 if marker == 0xFF else 2
        at = data.find(b"\xff", at)


def _coefficients(frame: bytes) -> float:
    """Bytes per pixel of all coefficients, which a decoder keeps if the picture comes in several scans."""
    factors = [divmod(frame[at], 16) for at in range(7, 6 + 3 * frame[5], 3)]
    largest = max((across * down for across, down in factors), default=1) or 1
    return 2.0 * sum(across * down for across, down in factors) / largest
