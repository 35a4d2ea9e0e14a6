"""Single pixels of an image, gathered into flat arrays, so that work on a soft band costs what the band holds."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CHUNK = 16_384  # pixels gathered at a time: their float arrays stay in a core's cache; remap takes 32,766 at most
BAND_PIXELS = 1 << 18  # pixels of an image that are searched at a time

Planes = NDArray[np.float32]  # CxN: one row per channel
Values = NDArray[np.float32]  # N


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """Where some pixels of an image, or of a band of its rows, are."""

    index: NDArray[np.intp]  # in the flattened band
    rows: NDArray[np.int32]  # in the image
    columns: NDArray[np.int32]

    @classmethod
    def of(cls, wanted: NDArray[np.bool_], *, top: int = 0) -> Iterator["Positions"]:
        """The pixels for which `wanted`, HxW, is true, at most CHUNK at a time. top: number of its first row."""
        index = np.flatnonzero(wanted)
        width = np.int32(wanted.shape[1])
        for start in range(0, len(index), CHUNK):
            part = index[start : start + CHUNK]
            flat = part.astype(np.int32)
            rows = flat // width
            yield cls(part, rows + np.int32(top), flat - rows * width)


def row_bands(shape: tuple[int, ...], multiple: int = 1) -> Iterator[slice]:
    """Bands of about BAND_PIXELS; each but the last has a number of rows that `multiple` divides."""
    height = max(1, BAND_PIXELS // (shape[1] * multiple)) * multiple
    for top in range(0, shape[0], height):
        yield slice(top, min(top + height, shape[0]))


def soft(alpha: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where alpha is neither 0 nor 255."""
    is_soft: NDArray[np.bool_] = (alpha - np.uint8(1)) < np.uint8(254)  # 0 wraps to 255
    return is_soft


def gather(rgb: NDArray[np.uint8], at: Positions) -> Planes:
    """Pixels of an image, uint8 HxWx3: float32, 3xN."""
    return np.array(rgb.reshape(-1, 3).take(at.index, axis=0).T, np.float32, order="C")


def gather_alpha(alpha: NDArray[np.uint8], at: Positions) -> Values:
    """Pixels of a plane, uint8 HxW: float32, N, 0..1."""
    return alpha.reshape(-1).take(at.index) * np.float32(1 / 255)


def scatter(colours: Planes, pixels: NDArray[np.uint8], at: Positions) -> None:
    """Writes colours, 3xN, which it rounds and clips, into the first channels of `pixels`, uint8 HxWxC, contiguous."""
    rounded = np.rint(np.clip(colours, 0, 255, out=colours), out=colours).astype(np.uint8)
    flat = pixels.reshape(-1, pixels.shape[2])
    for channel, values in enumerate(rounded):
        flat[at.index, channel] = values


def sample(grid: NDArray[np.float32], step: int, at: Positions, *, first_row: int = 0, first_column: int = 0) -> Planes:
    """What a grid of one sample per step x step pixels says at single pixels: bilinear, float32, CxN.

    grid: float32, hxw or hxwxC; it begins at first_row and first_column. Beyond it, its outermost samples go on.
    """
    scale = np.float32(1 / step)
    x = (at.columns.astype(np.float32) + np.float32(0.5)) * scale - np.float32(0.5 + first_column)
    y = (at.rows.astype(np.float32) + np.float32(0.5)) * scale - np.float32(0.5 + first_row)
    samples = cv2.remap(grid, x[None], y[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.array(samples.reshape(len(x), -1).T, np.float32, order="C")
