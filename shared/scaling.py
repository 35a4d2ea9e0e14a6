"""Between an image's own size and the network's: the image down to the network, the mask back up to the image."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

BAND_ROWS = 64  # rows of the network's input that are resized at a time: bounds the copies that Pillow makes


def to_network(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The image at the network's size, by Pillow's antialiased bilinear filter, with which the networks were trained.

    rgb: uint8, HxWx3. size: width and height, pixels. Gives uint8, HxWx3. In bands of rows, because Pillow copies its
    input to four bytes per pixel; within one level of what resizing at once gives.
    """
    width, height = size
    step = rgb.shape[0] / height  # rows of the image per row of the result
    reach = int(np.ceil(max(step, 1))) + 1  # rows that the filter sees beyond a band
    small = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BAND_ROWS):
        bottom = min(top + BAND_ROWS, height)
        first = max(0, int(top * step) - reach)
        band = Image.fromarray(rgb[first : int(np.ceil(bottom * step)) + reach])
        box = (0, top * step - first, rgb.shape[1], min(bottom * step - first, band.height))
        small[top:bottom] = np.asarray(band.resize((width, bottom - top), Image.Resampling.BILINEAR, box=box))
    return small


def to_image(mask: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask at the image's size: cubic if it grows, averaged if it shrinks, never outside 0..255.

    mask: float32, HxW, 0..1. size: width and height, pixels. Gives uint8, HxW. It is rounded to eight bits before it is
    resized: a third of the time and a quarter of the memory of float32.
    """
    alpha = np.rint(mask * 255).astype(np.uint8)
    small = (min(size[0], alpha.shape[1]), min(size[1], alpha.shape[0]))
    if small != alpha.shape[::-1]:
        alpha = cv2.resize(alpha, small, interpolation=cv2.INTER_AREA)
    if small != size:
        alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_CUBIC)
    return alpha
