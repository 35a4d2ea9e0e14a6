"""AVIF and HEIC: properties of the primary image in the boxes of an ISO base media file.

Source: ISO/IEC 14496-12 (boxes), 23008-12 (HEIF: items, properties; section 6.5 for irot, imir and clap), 23000-22
(MIAF: clap, irot and imir are applied in this order), AV1 Image File Format 1.1.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from shared.colour import Cicp, colour_space
from shared.containers.container import Container, refuse_many, refuse_metadata

QUARTER_TURNS = {0: 1, 1: 8, 2: 3, 3: 6}  # irot counts counter-clockwise; EXIF's numbers
MIRRORED = {  # (orientation by irot, axis of imir) -> EXIF's number; axis 0 exchanges top and bottom, 1 left and right
    (1, 0): 4,
    (1, 1): 2,
    (8, 0): 5,
    (8, 1): 7,
    (3, 0): 2,
    (3, 1): 4,
    (6, 0): 7,
    (6, 1): 5,
}
HDR_WORKING_BYTES = 26.0  # per pixel, by OpenCV
METADATA_ITEMS = (b"Exif", b"mime", b"uri ")


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int  # of the content
    end: int


@dataclass(slots=True)
class _Meta:
    primary: int = 0
    items: dict[int, _Box] = field(default_factory=dict)  # of kind infe
    properties: list[_Box] = field(default_factory=list)
    associations: dict[int, list[int]] = field(default_factory=dict)  # item -> numbers of its properties, from 1
    sizes: dict[int, int] = field(default_factory=dict)  # item -> bytes


def parse(data: bytes) -> Container:
    """Raises ValueError if the boxes are damaged, ImageTooComplex for absurd numbers of them.

    An image sequence without items says nothing here: its width and height are 0.
    """
    container = Container(data=data, width=0, height=0, working_bytes=10.0)
    top = next((box for box in _boxes(data, 0, len(data)) if box.kind == b"meta"), None)
    if top is None:
        return container
    meta = _meta(data, top)
    properties = [
        meta.properties[n - 1] for n in meta.associations.get(meta.primary, []) if 0 < n <= len(meta.properties)
    ]
    by_kind: dict[bytes, _Box] = {}
    for box in properties:
        if box.kind != b"colr":
            by_kind.setdefault(box.kind, box)
    _read_size(data, by_kind, container)
    _read_colour(data, [box for box in properties if box.kind == b"colr"], container)
    if container.colour.hdr:
        container.working_bytes = HDR_WORKING_BYTES
    _read_transformations(data, by_kind, container)
    container.channels = 4 if any(box.kind == b"auxC" for box in meta.properties) else 3
    container.data = _without_metadata(data, meta)
    return container


def _boxes(data: bytes, start: int, end: int) -> Iterator[_Box]:
    at, count = start, 0
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        content = at + 8
        if size == 1 and at + 16 <= end:
            size, content = struct.unpack_from(">Q", data, at + 8)[0], at + 16
        last = end if size == 0 else at + size
        if last < content or last > end:
            last = end  # the rest may be missing; what needs it complains
        count += 1
        refuse_many(count, "boxes")
        yield _Box(kind, content, last)
        at = last


def _meta(data: bytes, top: _Box) -> _Meta:
    meta = _Meta()
    for box in _boxes(data, top.start + 4, top.end):
        if box.kind == b"pitm":
            meta.primary = _unsigned(data, box.start + 4, 2 if data[box.start] == 0 else 4)
        elif box.kind == b"iinf":
            _read_items(data, box, meta)
        elif box.kind == b"iloc":
            _read_sizes(data, box, meta)
        elif box.kind == b"iprp":
            for inner in _boxes(data, box.start, box.end):
                if inner.kind == b"ipco":
                    meta.properties = list(_boxes(data, inner.start, inner.end))
                elif inner.kind == b"ipma":
                    _read_associations(data, inner, meta)
    return meta


def _read_items(data: bytes, box: _Box, meta: _Meta) -> None:
    width = 2 if data[box.start] == 0 else 4
    for entry in _boxes(data, box.start + 4 + width, box.end):
        if entry.kind == b"infe" and entry.end - entry.start >= 12 and data[entry.start] in (2, 3):
            meta.items[_unsigned(data, entry.start + 4, 2 if data[entry.start] == 2 else 4)] = entry


def _item_type_at(data: bytes, entry: _Box) -> int:
    return entry.start + 4 + (2 if data[entry.start] == 2 else 4) + 2


def _read_sizes(data: bytes, box: _Box, meta: _Meta) -> None:
    """Bytes of each item by `iloc`, versions 0 to 2."""
    version = data[box.start]
    widths = _unsigned(data, box.start + 4, 2)
    offset, length, base = widths >> 12, widths >> 8 & 15, widths >> 4 & 15
    index = widths & 15 if version else 0
    wide = 4 if version == 2 else 2
    at = box.start + 6
    count, at = _unsigned(data, at, wide), at + wide
    refuse_many(count, "items")
    for _ in range(count):
        item, at = _unsigned(data, at, wide), at + wide + (2 if version else 0) + 2 + base
        extents, at = _unsigned(data, at, 2), at + 2
        for _ in range(extents):
            meta.sizes[item] = meta.sizes.get(item, 0) + _unsigned(data, at + index + offset, length)
            at += index + offset + length
            if at > box.end:
                return


def _read_associations(data: bytes, box: _Box, meta: _Meta) -> None:
    version, wide = data[box.start], data[box.start + 3] & 1
    count, at = _unsigned(data, box.start + 4, 4), box.start + 8
    refuse_many(count, "items")
    for _ in range(count):
        width = 4 if version else 2
        item, at = _unsigned(data, at, width), at + width
        numbers, at = _unsigned(data, at, 1), at + 1
        step = 2 if wide else 1
        values = [_unsigned(data, at + step * place, step) for place in range(numbers)]
        meta.associations.setdefault(item, []).extend(value & (0x7FFF if wide else 0x7F) for value in values)
        at += step * numbers
        if at > box.end:
            return


def _read_size(data: bytes, properties: dict[bytes, _Box], container: Container) -> None:
    if (box := properties.get(b"ispe")) and box.end - box.start >= 12:
        container.width, container.height = struct.unpack_from(">II", data, box.start + 4)
    if (box := properties.get(b"pixi")) and box.end - box.start >= 6:
        container.bits = data[box.start + 5]
    elif box := properties.get(b"av1C"):
        flags = _unsigned(data, box.start + 2, 1)
        container.bits = 12 if flags & 0x20 else 10 if flags & 0x40 else 8
    if container.bits > 8:
        container.working_bytes = 12.0  # planes of two bytes each


def _read_colour(data: bytes, boxes: list[_Box], container: Container) -> None:
    """An ICC profile is stronger than code points."""
    for box in boxes:
        kind, content = data[box.start : box.start + 4], data[box.start + 4 : box.end]
        if kind == b"nclx" and len(content) >= 6 and container.colour.cicp is None:
            primaries, transfer = struct.unpack_from(">HH", content)
            cicp = Cicp(primaries=primaries, transfer=transfer)
            if cicp.is_known:
                container.colour = replace(container.colour, cicp=cicp)
            else:
                container.ignored.append("unknown code points of colour")
        elif kind in (b"prof", b"rICC"):
            if colour_space(content):
                container.colour = replace(container.colour, icc_profile=content)
            else:
                container.ignored.append("a damaged colour profile")


def _read_transformations(data: bytes, properties: dict[bytes, _Box], container: Container) -> None:
    if (box := properties.get(b"clap")) and box.end - box.start >= 32 and container.width:
        container.crop = _aperture(struct.unpack_from(">IIIIiIiI", data, box.start), container.width, container.height)
        if container.crop is None:
            container.ignored.append("an impossible clean aperture")
    if (box := properties.get(b"irot")) and box.end > box.start:
        container.orientation = QUARTER_TURNS[data[box.start] & 3]
    if (box := properties.get(b"imir")) and box.end > box.start:
        container.orientation = MIRRORED[container.orientation, data[box.start] & 1]


def _aperture(numbers: tuple[int, ...], width: int, height: int) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom; None if it is malformed or reaches outside the picture."""
    if not all(numbers[1::2]):
        return None
    across, down, right, below = (
        Fraction(above, under) for above, under in zip(numbers[::2], numbers[1::2], strict=True)
    )
    left = right + Fraction(width - 1, 2) - (across - 1) / 2
    top = below + Fraction(height - 1, 2) - (down - 1) / 2
    box = tuple(int(value) for value in (left, top, left + across, top + down))
    inside = 0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height
    return (box[0], box[1], box[2], box[3]) if inside else None


def _without_metadata(data: bytes, meta: _Meta) -> bytes:
    """The same file, in which items of metadata have a type that no decoder reads."""
    entries = [(number, entry) for number, entry in meta.items.items()]
    places = [_item_type_at(data, entry) for _, entry in entries]
    found = [
        (number, at) for (number, _), at in zip(entries, places, strict=True) if data[at : at + 4] in METADATA_ITEMS
    ]
    refuse_metadata(sum(meta.sizes.get(number, 0) for number, _ in found))
    if not found:
        return data
    changed = bytearray(data)
    for _, at in found:
        changed[at : at + 4] = b"skip"
    return bytes(changed)


def _unsigned(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width])
