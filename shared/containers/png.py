"""PNG: the chunks that decide pixels, and what the others say about colour and orientation.

Source: PNG (Third Edition), W3C Recommendation, https://www.w3.org/TR/png-3/; section 4.3 for the order of precedence
of colour chunks: cICP, iCCP, sRGB, then gAMA and cHRM.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from shared.colour import Cicp, ColourDescription, colour_space
from shared.containers import exif
from shared.containers.container import Container, refuse_many, refuse_metadata

SIGNATURE_LENGTH = 8
PIXEL_CHUNKS = (b"IHDR", b"IDAT", b"IEND")
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
PALETTE = 3
LARGEST_PROFILE = 1 << 20  # bytes when unpacked
UNIT = 100_000  # gAMA and cHRM store numbers times this


def parse(data: bytes) -> Container:
    """Raises ValueError if there is no header, ImageTooComplex for an absurd number of chunks or amount of metadata."""
    chunks = list(_chunks(data))
    kind, header, _ = chunks[0] if chunks else (b"", b"", 0)
    if kind != b"IHDR" or len(header) != 13:
        raise ValueError("no header")
    width, height, bits, colour_type, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    container = Container(
        data=data, width=width, height=height, bits=bits, channels=CHANNELS.get(colour_type, 4), orientation=1
    )
    container.working_bytes = 4.0 if CHANNELS.get(colour_type, 4) > 1 or bits == 16 else 1.0  # Pillow's own picture
    if interlaced:
        container.working_bytes += 1.0
    optional = _optional(data, chunks, container)
    container.colour = _colour(optional, container)
    if block := optional.get(b"eXIf"):
        container.orientation = exif.orientation(block)
        if not exif.is_readable(block):
            container.ignored.append("damaged EXIF")
        container.colour = replace(container.colour, adobe_rgb=exif.says_adobe_rgb(block))
    container.data = _without_metadata(data, chunks, colour_type, optional)
    return container


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes | memoryview, int]]:
    """(kind, content, offset). The last one may be cut short; what follows IEND is no chunk."""
    view, at, count = memoryview(data), SIGNATURE_LENGTH, 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        content = view[at + 8 : at + 8 + length]
        yield kind, bytes(content) if kind == b"IHDR" else content, at
        count += 1
        refuse_many(count, "chunks")
        if kind == b"IEND":
            return
        at += 12 + length


def _optional(
    data: bytes, chunks: list[tuple[bytes, bytes | memoryview, int]], container: Container
) -> dict[bytes, bytes]:
    """{kind: content} of the first whole chunk of each optional kind that says something about the picture."""
    found: dict[bytes, bytes] = {}
    pixels_began, metadata = False, 0
    for kind, content, at in chunks:
        if kind in PIXEL_CHUNKS:
            pixels_began |= kind == b"IDAT"
            continue
        if kind != b"PLTE":
            metadata += len(content)
        problem = _problem(data, kind, content, at)
        if problem:
            container.ignored.append(f"{_name(kind)} chunk with {problem}")
        elif kind not in found and (not pixels_began or kind == b"eXIf"):
            found[kind] = bytes(content) if kind in (*_READERS, b"eXIf", b"PLTE", b"tRNS") else b""
    refuse_metadata(metadata)
    return found


def _problem(data: bytes, kind: bytes, content: bytes | memoryview, at: int) -> str:
    end = at + 8 + len(content)
    if len(content) != struct.unpack_from(">I", data, at)[0] or end + 4 > len(data):
        return "a wrong length"
    if zlib.crc32(content, zlib.crc32(kind)) != struct.unpack_from(">I", data, end)[0]:
        return "a wrong checksum"
    return ""


def _name(kind: bytes) -> str:
    return kind.decode("ascii") if kind.isalpha() else "nameless"


def _without_metadata(
    data: bytes,
    chunks: list[tuple[bytes, bytes | memoryview, int]],
    colour_type: int,
    optional: Mapping[bytes, bytes],
) -> bytes:
    """The same file with the chunks that decide pixels; a palette is needed for palette colours alone."""
    kept = {*PIXEL_CHUNKS, *({b"PLTE"} if colour_type == PALETTE else set())}
    if b"tRNS" in optional and _transparency_fits(colour_type, optional):
        kept.add(b"tRNS")
    if all(kind in kept for kind, _, _ in chunks):
        return data
    view = memoryview(data)
    parts = [view[at : at + 12 + len(content)] for kind, content, at in chunks if kind in kept]
    return b"".join([view[:SIGNATURE_LENGTH], *parts])


def _transparency_fits(colour_type: int, optional: Mapping[bytes, bytes]) -> bool:
    length = len(optional[b"tRNS"])
    if colour_type == PALETTE:
        return length <= len(optional.get(b"PLTE", b"")) // 3
    return length == {0: 2, 2: 6}.get(colour_type)


def _colour(optional: Mapping[bytes, bytes], container: Container) -> ColourDescription:
    description = ColourDescription()
    for kind, read in _READERS.items():
        if kind not in optional:
            continue
        try:
            description = read(description, optional[kind])
        except ValueError as error:
            container.ignored.append(f"{_name(kind)} chunk with {error}")
            continue
        if kind not in (b"gAMA", b"cHRM"):
            return description  # it is the strongest one here
    return description


def _read_cicp(said: ColourDescription, content: bytes) -> ColourDescription:
    if len(content) != 4:
        raise ValueError("a wrong length")
    cicp = Cicp(primaries=content[0], transfer=content[1])
    if content[2] != 0 or not cicp.is_known:
        raise ValueError("unknown code points")
    return replace(said, cicp=cicp)


def _read_profile(said: ColourDescription, content: bytes) -> ColourDescription:
    name, separator, rest = content.partition(b"\x00")
    if not separator or len(name) > 79 or rest[:1] != b"\x00":
        raise ValueError("an unknown compression method")
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(rest[1:], LARGEST_PROFILE + 1)
    except zlib.error as error:
        raise ValueError("a profile that cannot be unpacked") from error
    if len(profile) > LARGEST_PROFILE:
        raise ValueError(f"a profile larger than {LARGEST_PROFILE >> 20} MiB")
    if not unpacker.eof or not colour_space(profile):
        raise ValueError("a damaged profile")
    return replace(said, icc_profile=profile)


def _read_srgb(said: ColourDescription, content: bytes) -> ColourDescription:
    if len(content) != 1:
        raise ValueError("a wrong length")
    return replace(said, cicp=Cicp(primaries=1, transfer=13))


def _read_gamma(said: ColourDescription, content: bytes) -> ColourDescription:
    value = int.from_bytes(content) / UNIT
    if len(content) != 4 or not 0.1 <= value <= 10:
        raise ValueError("an impossible value")
    return replace(said, gamma=value)


def _read_chromaticities(said: ColourDescription, content: bytes) -> ColourDescription:
    if len(content) != 32:
        raise ValueError("a wrong length")
    numbers = [number / UNIT for number in struct.unpack(">8I", content)]
    white, red, green, blue = ((across, down) for across, down in zip(numbers[::2], numbers[1::2], strict=True))
    described = replace(said, chromaticities=(red, green, blue, white))
    if not described.has_possible_chromaticities:
        raise ValueError("impossible values")
    return described


_READERS: Mapping[bytes, Callable[[ColourDescription, bytes], ColourDescription]] = {
    b"cICP": _read_cicp,
    b"iCCP": _read_profile,
    b"sRGB": _read_srgb,
    b"gAMA": _read_gamma,
    b"cHRM": _read_chromaticities,
}
