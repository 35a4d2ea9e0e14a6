"""What a file says about its picture, before pixels are decoded."""

from dataclasses import dataclass, field

from shared.colour import ColourDescription
from shared.errors import ImageTooComplex

LARGEST_METADATA = 64_000_000  # bytes beside the pixels
MOST_PARTS = 100_000  # chunks, segments, strips, tiles, boxes or pages of one file


@dataclass(slots=True, kw_only=True)
class Container:
    """One file, read without its pixels.

    data: what the decoder is given, without the parts that decide no pixels.
    width, height: of the stored pixels, before `crop` and `orientation`.
    working_bytes: per pixel, what the decoder holds at most beside the result.
    orientation: EXIF's 1 to 8, what still has to be done to the decoded pixels.
    crop: left, top, right, bottom in decoded pixels, before orientation; None = all of them.
    ignored: what was left out because it is damaged or too large. pages: a sentence if there are more pictures.
    """

    data: bytes
    width: int
    height: int
    bits: int = 8  # per channel
    channels: int = 3
    working_bytes: float = 4.0
    colour: ColourDescription = field(default_factory=ColourDescription)
    orientation: int = 1
    crop: tuple[int, int, int, int] | None = None
    animated: bool = False
    ignored: list[str] = field(default_factory=list)
    pages: str = ""


def refuse_many(count: int, what: str) -> None:
    """Raise ImageTooComplex if a file has an absurd number of parts."""
    if count > MOST_PARTS:
        raise ImageTooComplex(f"a file of more than {MOST_PARTS:,} {what}; save it again as an ordinary file")


def refuse_metadata(size: int) -> None:
    """Raise ImageTooComplex if a file carries an absurd amount of metadata. size: bytes."""
    if size > LARGEST_METADATA:
        limit = LARGEST_METADATA // 1_000_000
        raise ImageTooComplex(f"a file with more than {limit} MB of metadata; save it again without them")
