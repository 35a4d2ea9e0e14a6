"""Images in overlapping squares, for networks that take less than a whole image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Tile:
    """A square of an image. Its margin is context: the network sees it, and its answer there is cut away."""

    top: int  # of the square without its margin, pixels
    left: int
    side: int  # without the margin, pixels
    margin: int  # pixels on each side

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The square with its margin, HxW or HxWxC; beyond the image its mirror image, however small the image is."""
        rows = _mirrored(np.arange(self.top - self.margin, self.top + self.side + self.margin), image.shape[0])
        columns = _mirrored(np.arange(self.left - self.margin, self.left + self.side + self.margin), image.shape[1])
        return image[rows[:, None], columns[None, :]]

    def within(self, image: NDArray[np.uint8], *, scale: int = 1) -> NDArray[np.uint8]:
        """The square without its margin: a view of an image `scale` times larger than the one that was cut up."""
        top, left, side = self.top * scale, self.left * scale, self.side * scale
        return image[top : top + side, left : left + side]


def tiles(wanted: NDArray[np.bool_], *, side: int, margin: int) -> list[Tile]:
    """The squares that cover every wanted pixel (HxW) of an image, row by row."""
    return [
        Tile(top, left, side, margin)
        for top in range(0, wanted.shape[0], side)
        for left in range(0, wanted.shape[1], side)
        if wanted[top : top + side, left : left + side].any()
    ]


def _mirrored(index: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Reflection about the outermost pixels, which are not repeated."""
    if length == 1:
        return np.zeros_like(index)
    folded = np.abs(index) % (2 * length - 2)
    return np.minimum(folded, 2 * length - 2 - folded)
