"""A finished cutout, cropped, scaled, placed on a canvas and laid on a colour, before it is encoded.

The options mean what they mean at remove.bg, whose set most such services copy; they apply in this order:
crop         the frame becomes the subject's box plus `crop_margin` (% of the box's own sides); it exceeds the image if
             the margin is wider than the space around the subject
size         the frame becomes a canvas of exactly that size; a larger image is shrunk until it fits, a smaller one is
             not enlarged (only `scale` enlarges); without `position` the image is centred
scale        the subject's box is enlarged or shrunk until it fills that fraction of the canvas along one axis
position     the place of the centre of the subject's box on the canvas; with `scale` alone, the middle
bg_color     an sRGB colour behind everything, given in the image's own colour space; the result is opaque

What falls outside the canvas is cut off. `channels` is for the encoder: the matte keeps its colours until then.
"""

from dataclasses import dataclass, replace
from math import ceil, floor

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from shared.colour import from_srgb
from shared.errors import InvalidOptions
from shared.options import CutOptions, Margin
from shared.records import Cutout

MOST_PIXELS = 100_000_000  # of a frame that a margin makes larger than the image; the limit of `size` as well
MOST_ZOOM = 32.0  # largest factor by which `scale` enlarges a small subject
APRON = 2  # pixels around the visible part of the image, which bicubic interpolation reads

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom exclusive


@dataclass(frozen=True, slots=True)
class _Placement:
    """How an image lies in a frame: x' = x * zoom + left, in pixels, between pixels' corners."""

    width: int
    height: int
    zoom: float
    left: float
    top: float


def render(cutout: Cutout, options: CutOptions) -> Cutout:
    """The cutout by the options; the same object if they change nothing.

    The subject's box follows into the new frame; coverage and uncertain are measured anew, before any background.
    A scale of more than MOST_ZOOM times is limited to that, with a note.
    Raises InvalidOptions if a margin would make a frame of more than MOST_PIXELS, or if the frame shows nothing of the
    subject.
    """
    if options.crop:
        cutout = _placed(cutout, _crop(cutout, options.crop_margin))
    if options.size != (0, 0) or options.scale or options.position:
        placement = _on_canvas(cutout, options)
        if placement.zoom >= MOST_ZOOM:
            cutout = replace(cutout, notes={**cutout.notes, "scale": f"limited to {MOST_ZOOM:g} times"})
        cutout = _placed(cutout, placement)
    if (options.crop or options.size != (0, 0) or options.scale or options.position) and not _shows(cutout.rgba):
        raise InvalidOptions("nothing of the subject is visible in this frame (crop_margin, size, scale, position)")
    if options.bg_color:
        red, green, blue = ImageColor.getrgb(options.bg_color)[:3]
        cutout = replace(cutout, rgba=_on_colour(cutout.rgba, from_srgb((red, green, blue), cutout.icc_profile)))
    return cutout


def _shows(rgba: NDArray[np.uint8]) -> bool:
    return bool(cv2.countNonZero(cv2.extractChannel(rgba, 3)))


def _crop(cutout: Cutout, margin: Margin) -> _Placement:
    left, top, right, bottom = cutout.subject.box
    across, down = ((right - left) / 100, (bottom - top) / 100) if margin.percent else (1, 1)
    left, right = left - round(margin.left * across), right + round(margin.right * across)
    top, bottom = top - round(margin.top * down), bottom + round(margin.bottom * down)
    width, height = right - left, bottom - top
    if width * height > max(MOST_PIXELS, cutout.width * cutout.height):
        raise InvalidOptions(f"crop_margin makes a frame of {width} x {height}, more than {MOST_PIXELS:,} pixels")
    return _Placement(width, height, 1.0, -left, -top)


def _on_canvas(cutout: Cutout, options: CutOptions) -> _Placement:
    width, height = options.size if options.size != (0, 0) else (cutout.width, cutout.height)
    left, top, right, bottom = cutout.subject.box
    if options.scale:
        zoom = min(MOST_ZOOM, options.scale * min(width / (right - left), height / (bottom - top)))
    else:
        zoom = min(1.0, width / cutout.width, height / cutout.height)
    if options.scale or options.position:
        across, down = options.position or (0.5, 0.5)
        x, y = across * width - zoom * (left + right) / 2, down * height - zoom * (top + bottom) / 2
    else:
        x, y = (width - zoom * cutout.width) / 2, (height - zoom * cutout.height) / 2
    if zoom == 1:
        x, y = round(x), round(y)  # by whole pixels, so that none is interpolated
    return _Placement(width, height, zoom, x, y)


def _placed(cutout: Cutout, placement: _Placement) -> Cutout:
    if placement == _Placement(cutout.width, cutout.height, 1.0, 0, 0):
        return cutout
    rgba = _drawn(cutout.rgba, placement)
    alpha = cv2.extractChannel(rgba, 3)
    certain = cv2.countNonZero(cv2.inRange(alpha, 0, 0)) + cv2.countNonZero(cv2.inRange(alpha, 255, 255))
    left, top, right, bottom = cutout.subject.box
    across = _moved(left, right, placement.zoom, placement.left, placement.width)
    down = _moved(top, bottom, placement.zoom, placement.top, placement.height)
    subject = replace(
        cutout.subject,
        coverage=float(cv2.mean(alpha)[0]) / 255,
        uncertain=1 - certain / alpha.size,
        box=(across[0], down[0], across[1], down[1]),
    )
    return replace(cutout, rgba=rgba, subject=subject)


def _moved(start: int, end: int, zoom: float, offset: float, length: int) -> tuple[int, int]:
    """An interval of the image in the frame: whole pixels outward, cut at the frame's ends."""
    first, last = (round(place * zoom + offset, 6) for place in (start, end))  # 6 digits: the rest is rounding error
    return min(max(floor(first), 0), length), min(max(ceil(last), 0), length)


def _drawn(rgba: NDArray[np.uint8], placement: _Placement) -> NDArray[np.uint8]:
    """The image in its frame, transparent around; uint8, placement.height x placement.width x 4."""
    canvas = np.zeros((placement.height, placement.width, 4), np.uint8)
    zoom = placement.zoom
    left, right = _seen(rgba.shape[1], zoom, placement.left, placement.width)
    top, bottom = _seen(rgba.shape[0], zoom, placement.top, placement.height)
    if left >= right or top >= bottom:
        return canvas
    part = rgba[top:bottom, left:right]
    if zoom != 1:
        part = resized(part, (max(1, round((right - left) * zoom)), max(1, round((bottom - top) * zoom))))
    x, y = round(left * zoom + placement.left), round(top * zoom + placement.top)
    on_canvas = canvas[max(0, y) : max(0, y + part.shape[0]), max(0, x) : max(0, x + part.shape[1])]
    height, width = on_canvas.shape[:2]
    on_canvas[...] = part[max(0, -y) : max(0, -y) + height, max(0, -x) : max(0, -x) + width]
    return canvas


def _seen(side: int, zoom: float, offset: float, length: int) -> tuple[int, int]:
    """First and last (exclusive) pixel of the image, along one axis, that reach the frame, with their apron."""
    return max(0, floor(-offset / zoom) - APRON), min(side, ceil((length - offset) / zoom) + APRON)


def resized(rgba: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Straight RGBA at another size (width, height): colours count by how much of them shows, so no edge darkens.

    Area averaging if smaller, else bicubic with its overshoot clipped. One channel at a time, because four in float32
    take four times the memory; colour times alpha is exact in 16 bits, but bicubic overshoots them.
    """
    smaller = size[0] <= rgba.shape[1] and size[1] <= rgba.shape[0]
    method, depth = (cv2.INTER_AREA, cv2.CV_16U) if smaller else (cv2.INTER_CUBIC, cv2.CV_32F)
    alpha = cv2.extractChannel(rgba, 3)
    weight = np.maximum(cv2.resize(cv2.multiply(alpha, 255, dtype=depth), size, interpolation=method), 1)
    result = np.empty((size[1], size[0], 4), np.uint8)
    for channel in range(3):
        light = cv2.multiply(cv2.extractChannel(rgba, channel), alpha, dtype=depth)
        colour = cv2.divide(cv2.resize(light, size, interpolation=method), weight, scale=255, dtype=cv2.CV_32F)
        cv2.insertChannel(_rounded(colour), result, channel)
    cv2.insertChannel(_rounded(weight / np.float32(255)), result, 3)
    return result


def _rounded(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(np.clip(values, 0, 255, out=values), out=values).astype(np.uint8)
    return rounded


def _on_colour(rgba: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """On an opaque colour: uint8, HxWx4, alpha 255 everywhere."""
    alpha = cv2.extractChannel(rgba, 3)
    result = np.empty_like(rgba)
    result[...] = (*colour, 255)
    opaque = cv2.inRange(alpha, 255, 255)
    cv2.copyTo(rgba, opaque, result)
    soft = np.nonzero((alpha > 0) & (opaque == 0))  # few: the rest is one copy
    weight = alpha[soft].astype(np.uint32)[:, None]
    mixed = rgba[soft][:, :3] * weight + np.array(colour, np.uint32) * (255 - weight)
    result[soft[0], soft[1], :3] = (mixed + 127) // 255
    return result
