"""Training samples: photographs, pasted subjects and rendered scenes, cropped, coloured and degraded anew each time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.models.embedded.training.photographs import UNKNOWN, Bytes, Photographs
from shared.models.embedded.training.scenes import photographed
from shared.models.embedded.training.textures import Random, chance, uniform

Floats = NDArray[np.float32]

# What a sample is, and how often.
KINDS = {"photograph": 0.66, "pasted": 0.15, "scene": 0.14, "cutout": 0.03, "empty": 0.02}
PEOPLE = "clothing_co_parsing"  # whole figures, of which part is shown as portraits
SMALLEST = 0.02  # share of the crop that a subject fills at least


@dataclass(frozen=True, slots=True)
class Layer:
    """A picture that may have a subject. colour: uint8 RGB HxWx3; alpha: uint8 HxW, 128 is unknown unless `exact`."""

    colour: Bytes
    alpha: Bytes
    exact: bool  # alpha is opacity, soft edges included


@dataclass(frozen=True, slots=True)
class Batch:
    """Float tensors. image (B, 3, s, s) in 0..1; mask, known, edge, weight (B, 1, s, s); exact (B, 1, 1, 1), 0 or 1."""

    image: Tensor
    mask: Tensor  # opacity, 0..1
    known: Tensor  # 0 or 1
    edge: Tensor  # how much the mask changes within two pixels, 0..1
    weight: Tensor  # of the loss: 1 to 4 from plain surfaces to thin parts and edges, 0 where the mask is unknown
    exact: Tensor  # whether the mask is opacity, soft edges included


class Samples:
    """Batches from a folder of photographs and, if there are any, rendered chunks. A seed fixes a batch."""

    def __init__(self, photographs: Photographs, scenes: Path | None) -> None:
        self.photographs = photographs
        files = sorted(scenes.glob("*.npy")) if scenes else []
        self._chunks = [np.load(file, mmap_mode="r") for file in files]
        self._kinds = [kind for kind in KINDS if self._chunks or kind != "scene"]
        self._chances = np.array([KINDS[kind] for kind in self._kinds])
        self._chances /= self._chances.sum()

    def batch(self, count: int, side: int, seed: tuple[int, ...]) -> Batch:
        """`count` samples of side x side pixels."""
        random = np.random.default_rng(seed)
        rows = [self._sample(random, side) for _ in range(count)]
        image, mask, known = (np.stack([row[i] for row in rows]) for i in range(3))
        weight = np.stack([weights(row[1], row[2]) for row in rows])
        return Batch(
            image=torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255,
            mask=_plane(mask),
            known=_plane(known),
            edge=_plane(np.stack([edges(row[1]) for row in rows])),
            weight=torch.from_numpy(weight)[:, None],
            exact=torch.tensor([float(row[3]) for row in rows]).view(-1, 1, 1, 1),
        )

    def _sample(self, random: Random, side: int) -> tuple[Bytes, Bytes, Bytes, bool]:
        kind = self._kinds[int(random.choice(len(self._kinds), p=self._chances))]
        layer = self._layer(random, kind, side)
        colour, alpha = layer.colour, layer.alpha
        if chance(random, 0.5):
            colour, alpha = colour[:, ::-1], alpha[:, ::-1]
        known = np.full_like(alpha, 255)
        if not layer.exact:
            known[alpha == UNKNOWN] = 0
            alpha = np.where(known, alpha, 0).astype(np.uint8)
        colour, mask, known = (_sized(plane, side) for plane in (colour, alpha, known))
        image = degraded(random, toned(random, colour))
        return image, mask, np.where(known == 255, 255, 0).astype(np.uint8), layer.exact

    def _layer(self, random: Random, kind: str, side: int) -> Layer:
        if kind == "empty":
            colour = _window(random, self.photographs.empty(random), 0.5)
            return Layer(colour, np.zeros(colour.shape[:2], np.uint8), True)
        if kind == "scene":
            return self._scene(random)
        if kind == "cutout":
            return self._pasted(random, [Layer(*self.photographs.cutout(random), True)], side)
        if kind == "pasted":
            count = 2 if chance(random, 0.25) else 1
            return self._pasted(random, [_subject(self._photograph(random)) for _ in range(count)], side)
        return self._photograph(random)

    def _photograph(self, random: Random) -> Layer:
        colour, alpha, source = self.photographs.draw(random)
        for _ in range(4):
            top, bottom, left, right = framed(random, alpha, people=source == PEOPLE)
            part = alpha[top:bottom, left:right]
            if (part == 255).mean() >= SMALLEST:
                return Layer(colour[top:bottom, left:right], part, False)
        return Layer(colour, alpha, False)

    def _scene(self, random: Random) -> Layer:
        """Half of the rendered subjects keep their background, half get a photographed one."""
        chunk = self._chunks[int(random.integers(len(self._chunks)))]
        planes = np.ascontiguousarray(np.moveaxis(chunk[int(random.integers(len(chunk)))], 0, 2))
        colour, alpha, behind = planes[..., :3], planes[..., 3], planes[..., 4:]
        if chance(random, 0.5):
            behind = cv2.resize(self.photographs.background(random), alpha.shape[::-1], interpolation=cv2.INTER_AREA)
        return Layer(_over(colour, alpha, behind), alpha, True)

    def _pasted(self, random: Random, subjects: list[Layer], side: int) -> Layer:
        """Subjects on a photographed background, larger or smaller than it, at times cut by its edge."""
        picture = _sized(_window(random, self.photographs.background(random), 0.5), side)
        mask = np.zeros((side, side), np.uint8)
        largest = 1.15 if len(subjects) == 1 else 0.85
        for subject in subjects:
            matrix = placement(random, subject, side, largest)
            whole = subject.alpha if subject.exact else np.where(subject.alpha >= UNKNOWN, 255, 0).astype(np.uint8)
            colour = _moved(harmonised(random, subject, picture), matrix, side)
            alpha = _moved(whole, matrix, side)
            soft = alpha if subject.exact else cv2.GaussianBlur(alpha, (0, 0), uniform(random, 0.5, 1.2))
            picture = _over(colour, np.asarray(soft, np.uint8), picture)
            label = alpha if subject.exact else _moved(subject.alpha, matrix, side, cv2.INTER_NEAREST)
            mask = np.maximum(mask, label)
        return Layer(picture, mask, all(subject.exact for subject in subjects))


def placement(random: Random, subject: Layer, side: int, largest: float) -> Floats:
    """Where a subject goes in a square of `side`, as a 2x3 matrix for warpAffine: about the middle, partly outside."""
    scale = side * uniform(random, 0.35, largest) / max(subject.alpha.shape)
    spare = side - np.array(subject.alpha.shape[::-1]) * scale
    moved = spare / 2 + random.uniform(-0.5, 0.5, 2) * np.maximum(np.abs(spare), 0.2 * side)
    return np.array([[scale, 0, moved[0]], [0, scale, moved[1]]], np.float32)


def edges(mask: Bytes) -> Bytes:
    """How much a mask changes within two pixels, uint8 HxW."""
    square = np.ones((5, 5), np.uint8)
    return np.asarray(cv2.subtract(cv2.dilate(mask, square), cv2.erode(mask, square)), np.uint8)


def weights(mask: Bytes, known: Bytes) -> Floats:
    """Of the loss: the more, the less a pixel is like its surroundings; 0 where the mask is unknown."""
    alpha = mask.astype(np.float32) / 255
    reach = (len(mask) // 8) | 1
    around = cv2.blur(alpha, (reach, reach), borderType=cv2.BORDER_CONSTANT)
    return np.asarray((1 + 3 * np.abs(around - alpha)) * (known > 0), np.float32)


def framed(random: Random, alpha: Bytes, *, people: bool) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is shown of a photograph: all, around the subject, or anything."""
    height, width = alpha.shape
    way = random.random()
    if way < (0.2 if people else 0.4):
        return 0, height, 0, width
    if way > 0.85:
        rows, columns = (_interval(random, size, uniform(random, 0.55, 0.95)) for size in (height, width))
        return *rows, *columns
    found = cv2.boundingRect(np.uint8(alpha >= UNKNOWN))
    left, top, right, bottom = found[0], found[1], found[0] + found[2], found[1] + found[3]
    if people and way < 0.55:  # a portrait: the figure is cut below
        bottom = top + round((bottom - top) * uniform(random, 0.22, 0.6))
    margin = uniform(random, 0.02, 0.7) * max(right - left, bottom - top)
    low = 0.0 if people and way < 0.55 else margin * uniform(random, 0, 1)
    top, bottom = top - margin * uniform(random, 0, 0.6), bottom + low
    left, right = left - margin * uniform(random, 0, 1), right + margin * uniform(random, 0, 1)
    return max(0, int(top)), min(height, int(bottom) + 1), max(0, int(left)), min(width, int(right) + 1)


def harmonised(random: Random, subject: Layer, behind: Bytes) -> Bytes:
    """The subject's colours, moved part of the way to the background's brightness and cast."""
    inside = subject.alpha > UNKNOWN
    if not inside.any():
        return subject.colour
    own, other = subject.colour[inside].mean(0), behind.reshape(-1, 3).mean(0)
    share = uniform(random, 0.0, 0.6)
    return np.clip(subject.colour + share * (other - own), 0, 255).astype(np.uint8)


def toned(random: Random, image: Bytes) -> Bytes:
    """Another exposure, contrast, cast and saturation, by a table per colour; grey at times."""
    gain, gamma = np.exp(random.normal(0, 0.15)), np.exp(random.normal(0, 0.18))
    cast = np.exp(random.normal(0, 0.06, 3))
    levels = np.linspace(0, 1, 256)[:, None] * gain * cast
    table = (np.clip(levels, 0, 1) ** gamma * 255).astype(np.uint8)
    image = np.asarray(cv2.LUT(image, np.ascontiguousarray(table[:, None])), np.uint8)
    if chance(random, 0.4):
        share = 0.0 if chance(random, 0.2) else uniform(random, 0.4, 1.4)
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        image = np.asarray(cv2.addWeighted(image, share, grey, 1 - share, 0), np.uint8)
    return image


def degraded(random: Random, image: Bytes) -> Bytes:
    """What cameras and networks do: blur, motion, few pixels, noise, JPEG."""
    side = image.shape[0]
    way = random.random()
    if way < 0.12:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), uniform(random, 0.4, 2.0)), np.uint8)
    elif way < 0.24:
        image = np.asarray(cv2.filter2D(image, -1, motion(random, side)), np.uint8)
    elif way < 0.34:
        small = round(side * uniform(random, 0.35, 0.8))
        image = _sized(_sized(image, small), side)
    return photographed(image, random) if chance(random, 0.5) else image


def motion(random: Random, side: int) -> Floats:
    """A kernel that smears along a line, up to a sixteenth of the side long."""
    length = max(3, round(side * uniform(random, 0.015, 0.065))) | 1
    kernel = np.zeros((length, length), np.float32)
    turn, middle = uniform(random, 0, np.pi), length // 2
    reach = middle * np.array([np.cos(turn), np.sin(turn)])
    start, end = (tuple(int(v) for v in np.round(middle + sign * reach)) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return kernel / kernel.sum()


def _subject(layer: Layer) -> Layer:
    left, top, width, height = cv2.boundingRect(np.uint8(layer.alpha >= UNKNOWN))
    part = (slice(top, top + height), slice(left, left + width))
    return Layer(layer.colour[part], layer.alpha[part], layer.exact) if width and height else layer


def _moved(plane: Bytes, matrix: Floats, side: int, way: int = cv2.INTER_LINEAR) -> Bytes:
    """Colours continue beyond the subject's frame, its mask does not."""
    border = cv2.BORDER_REPLICATE if plane.ndim == 3 else cv2.BORDER_CONSTANT
    return np.asarray(cv2.warpAffine(plane, matrix, (side, side), flags=way, borderMode=border), np.uint8)


def _plane(values: Bytes) -> Tensor:
    return torch.from_numpy(values)[:, None].float() / 255


def _over(colour: Bytes, alpha: Bytes, behind: Bytes) -> Bytes:
    share = alpha[..., None].astype(np.float32) / 255
    return np.asarray(colour * share + behind * (1 - share) + 0.5, np.float32).astype(np.uint8)


def _window(random: Random, image: Bytes, least: float) -> Bytes:
    rows, columns = (_interval(random, size, uniform(random, least, 1.0)) for size in image.shape[:2])
    return image[slice(*rows), slice(*columns)]


def _interval(random: Random, size: int, share: float) -> tuple[int, int]:
    length = max(1, round(size * share))
    start = int(random.integers(size - length + 1))
    return start, start + length


def _sized(plane: Bytes, side: int) -> Bytes:
    shrinks = min(plane.shape[:2]) >= side
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(plane), (side, side), interpolation=way), np.uint8)
