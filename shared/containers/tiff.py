"""TIFF: which of its pages is the picture, and what the tags of that page say.

Source: TIFF 6.0, sections 2 and 8; BigTIFF; Adobe DNG 1.6 for raw files of cameras.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from shared.colour import ColourDescription, colour_space
from shared.containers import exif
from shared.containers.container import LARGEST_METADATA, Container, refuse_many, refuse_metadata
from shared.errors import UnsupportedMedia

SUBFILE_TYPE, WIDTH, HEIGHT, BITS_PER_SAMPLE, PHOTOMETRIC = 254, 256, 257, 258, 262
ORIENTATION, SAMPLES_PER_PIXEL, SAMPLE_FORMAT = 274, 277, 339
STRIP_OFFSETS, STRIP_SIZES, TILE_OFFSETS, TILE_SIZES = 273, 279, 324, 325
EXIF_DIRECTORY, PROFILE, DNG_VERSION = 34665, 34675, 50706
REDUCED, MASK = 1, 4  # bits of SUBFILE_TYPE
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
MOST_PAGES = 10_000


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    count: int
    value: bytes  # at most what fits into the entry itself
    offset: int  # of the value, if it does not fit

    @property
    def size(self) -> int:
        return SIZES.get(self.kind, 1) * self.count


@dataclass(frozen=True, slots=True)
class _Page:
    at: int
    entries: Mapping[int, _Entry]


def parse(data: bytes) -> Container:
    """Raises ValueError without a readable page, UnsupportedMedia for a camera's raw file, ImageTooComplex for absurd
    numbers of pages, strips or tiles.
    """
    order, big = "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\x00", b"\x00+")
    reader = _Reader(data, order, big)
    pages = list(reader.pages())
    if not pages:
        raise ValueError("no page")
    full = [page for page in pages if not reader.number(page, SUBFILE_TYPE) & (REDUCED | MASK)]
    if data[8:10] == b"CR" or not full or any(DNG_VERSION in page.entries for page in pages):
        raise UnsupportedMedia("a camera's raw file, of which only a small preview could be read")
    page = full[0]
    container = _described(reader, page)
    if len(full) > 1:
        container.pages = f"the first of {len(full)} pages was cut out"
    if page is not pages[0]:
        container.data = reader.beginning_with(page)
    return container


def _described(reader: "_Reader", page: _Page) -> Container:
    width, height = reader.number(page, WIDTH), reader.number(page, HEIGHT)
    bits, samples = reader.number(page, BITS_PER_SAMPLE, 1), reader.number(page, SAMPLES_PER_PIXEL, 1)
    _refuse_absurd(page)
    container = Container(data=reader.data, width=width, height=height, bits=bits, channels=samples)
    container.working_bytes = 4.0 if samples > 1 else 2.0 if bits > 8 else 1.0
    orientation = reader.number(page, ORIENTATION, 1)
    container.orientation = orientation if orientation in range(1, 9) else 1
    profile = reader.bytes_of(page, PROFILE)
    if PROFILE in page.entries and not colour_space(profile):
        container.ignored.append("a damaged colour profile")
        profile = b""
    container.colour = ColourDescription(icc_profile=profile)
    if EXIF_DIRECTORY in page.entries:
        block = b"II*\x00" if reader.order == "<" else b"MM\x00*"
        block += struct.pack(reader.order + "I", min(page.at, 0xFFFFFFFF)) + reader.data[8:]
        container.colour = replace(container.colour, adobe_rgb=exif.says_adobe_rgb(block))
    return container


def _refuse_absurd(page: _Page) -> None:
    for tag in (STRIP_OFFSETS, STRIP_SIZES, TILE_OFFSETS, TILE_SIZES):
        if tag in page.entries:
            refuse_many(page.entries[tag].count, "strips or tiles")
    refuse_metadata(sum(entry.size for entry in page.entries.values()))


class _Reader:
    """Directories of one file, in its byte order."""

    def __init__(self, data: bytes, order: str, big: bool) -> None:
        self.data, self.order, self.big = data, order, big

    def pages(self) -> Iterator[_Page]:
        """Every page of the chain; it ends where it leads outside the file or back to a page seen before."""
        at, seen = self._unpack("Q" if self.big else "I", 8 if self.big else 4), set[int]()
        while at and at not in seen:
            seen.add(at)
            if len(seen) > MOST_PAGES:
                refuse_many(len(self.data), "pages")
            entries, at_next = self._directory(at)
            if entries:
                yield _Page(at, entries)
            at = at_next

    def number(self, page: _Page, tag: int, missing: int = 0) -> int:
        """The first value of a tag of whole numbers."""
        entry = page.entries.get(tag)
        if entry is None or entry.kind not in INTEGERS or not entry.count:
            return missing
        code = self.order + INTEGERS[entry.kind]
        length = struct.calcsize(code)
        inside = entry.size <= len(entry.value)
        value = entry.value[:length] if inside else self.data[entry.offset : entry.offset + length]
        return int(struct.unpack(code, value)[0]) if len(value) == length else missing

    def bytes_of(self, page: _Page, tag: int) -> bytes:
        """A tag of bytes; empty if it is absent, too large or reaches outside the file."""
        entry = page.entries.get(tag)
        if entry is None or not len(entry.value) < entry.size <= LARGEST_METADATA:
            return b""
        value = self.data[entry.offset : entry.offset + entry.size]
        return value if len(value) == entry.size else b""

    def beginning_with(self, page: _Page) -> bytes:
        """The same file, of which `page` is the first one."""
        at = 8 if self.big else 4
        pointer = struct.pack(self.order + ("Q" if self.big else "I"), page.at)
        return self.data[:at] + pointer + self.data[at + len(pointer) :]

    def _directory(self, at: int) -> tuple[dict[int, _Entry], int]:
        """The entries at an offset, and the offset of the next directory; nothing if it lies outside the file."""
        count_code, entry_code, width = ("Q", "HHQ8s", 20) if self.big else ("H", "HHI4s", 12)
        start = at + struct.calcsize(self.order + count_code)
        count = self._unpack(count_code, at)
        if count > 0xFFFF or start + count * width > len(self.data):
            return {}, 0
        entries: dict[int, _Entry] = {}
        pointer_code = self.order + ("Q" if self.big else "I")
        for place in range(start, start + count * width, width):
            tag, kind, number, value = struct.unpack_from(self.order + entry_code, self.data, place)
            entries.setdefault(tag, _Entry(kind, number, value, struct.unpack(pointer_code, value)[0]))
        return entries, self._unpack("Q" if self.big else "I", start + count * width)

    def _unpack(self, code: str, at: int) -> int:
        code = self.order + code
        return int(struct.unpack_from(code, self.data, at)[0]) if at + struct.calcsize(code) <= len(self.data) else 0
