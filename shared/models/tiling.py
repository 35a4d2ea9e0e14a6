"""Images in overlapping parts, for networks that take less than a whole image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of an image. Its margin is context: the network sees it, and its answer there is cut away."""

    top: int  # of the part without its margin, pixels
    left: int
    height: int  # without the margin, pixels
    width: int
    margin: int  # pixels on each side

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The part with its margin, HxW or HxWxC; beyond the image its mirror image, however small the image is."""
        rows = _mirrored(np.arange(self.top - self.margin, self.top + self.height + self.margin), image.shape[0])
        columns = _mirrored(np.arange(self.left - self.margin, self.left + self.width + self.margin), image.shape[1])
        return image[rows[:, None], columns[None, :]]

    def within(self, image: NDArray[np.uint8], *, scale: int = 1) -> NDArray[np.uint8]:
        """The part without its margin: a view of an image `scale` times larger than the one that was cut up."""
        top, left = self.top * scale, self.left * scale
        return image[top : top + self.height * scale, left : left + self.width * scale]


def squares(wanted: NDArray[np.bool_], *, side: int, margin: int) -> list[Tile]:
    """The squares of exactly that side that cover every wanted pixel (HxW) of an image, row by row."""
    return [
        Tile(top, left, side, side, margin)
        for top in range(0, wanted.shape[0], side)
        for left in range(0, wanted.shape[1], side)
        if wanted[top : top + side, left : left + side].any()
    ]


def even_tiles(wanted: NDArray[np.bool_], *, side: int, margin: int, multiple: int) -> list[Tile]:
    """Equal rectangles, of sides up to `side`, that cover every wanted pixel (HxW) of an image, row by row.

    They begin at the wanted pixels' bounding box and divide it evenly: margins cost less for few and large tiles.
    multiple: of each side. `side` is one.
    """
    rows, columns = (np.flatnonzero(wanted.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return []
    height, width = (_even(int(span[-1] - span[0]) + 1, side, multiple) for span in (rows, columns))
    return [
        Tile(top, left, height, width, margin)
        for top in range(int(rows[0]), int(rows[-1]) + 1, height)
        for left in range(int(columns[0]), int(columns[-1]) + 1, width)
        if wanted[top : top + height, left : left + width].any()
    ]


def _even(length: int, side: int, multiple: int) -> int:
    """The side of the fewest equal parts, each up to `side` long, that cover a length."""
    parts = -(-length // side)
    return -(-length // (parts * multiple)) * multiple


def _mirrored(index: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Reflection about the outermost pixels, which are not repeated."""
    if length == 1:
        return np.zeros_like(index)
    folded = np.abs(index) % (2 * length - 2)
    return np.minimum(folded, 2 * length - 2 - folded)
