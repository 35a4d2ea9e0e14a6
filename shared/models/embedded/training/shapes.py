"""What everything in a scene is made of: parts, which are bent tubes with a free outline, and strands.

A part has an axis of half length `reach` and a table of half widths along it. The canvas antialiases its edge from the
signed distance to that outline, so its alpha is known exactly at any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from shared.models.embedded.training.textures import Material, Random

SAMPLES = 48
# Outlines are tabulated at sines of even steps: ends with vertical tangents (a circle's) stay round.
STATIONS = np.sin(np.linspace(-np.pi / 2, np.pi / 2, SAMPLES))


@dataclass(frozen=True, slots=True)
class Part:
    """A tube: centre, direction and half length of its axis, half widths at STATIONS, bend, hole; then its surface."""

    x: float
    y: float
    angle: float
    reach: float
    outline: np.ndarray
    material: Material
    bend: float = 0.0
    hole: float = 0.0
    roundness: float = 0.8
    scale: float = 1.0
    cuts: bool = False

    def moved(self, x: float, y: float, angle: float, scale: float, mirror: bool) -> Part:
        """The part after mirroring in x, scaling, turning by `angle` and shifting."""
        side = -1.0 if mirror else 1.0
        own_x, own_y = side * self.x * scale, self.y * scale
        cos, sin = np.cos(angle), np.sin(angle)
        return replace(
            self,
            x=float(x + own_x * cos - own_y * sin),
            y=float(y + own_x * sin + own_y * cos),
            angle=(np.pi - self.angle if mirror else self.angle) + angle,
            reach=self.reach * scale,
            outline=self.outline * scale,
            bend=self.bend * scale * side,
            scale=self.scale * scale,
        )


@dataclass(frozen=True, slots=True)
class Strands:
    """Hair, fur or grass: curved lines from `roots` along `tips` (offsets), with one colour each and a width."""

    roots: np.ndarray
    tips: np.ndarray
    curls: np.ndarray
    colours: np.ndarray
    width: float
    behind: bool = False

    def moved(self, x: float, y: float, angle: float, scale: float, mirror: bool) -> Strands:
        """The strands after mirroring in x, scaling, turning by `angle` and shifting."""
        side = np.array([-1.0 if mirror else 1.0, 1.0])
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, sin], [-sin, cos]]) * scale
        curls = self.curls * side[0]
        return replace(
            self,
            roots=(self.roots * side) @ turn + np.array([x, y]),
            tips=(self.tips * side) @ turn,
            curls=curls,
            width=self.width * scale,
        )


Drawable = Part | Strands
Point = tuple[float, float]


def placed(
    drawables: Sequence[Drawable], x: float, y: float, scale: float, angle: float = 0.0, mirror: bool = False
) -> list[Drawable]:
    """All drawables of an object moved together."""
    return [d.moved(x, y, angle, scale, mirror) for d in drawables]


def ellipse(
    x: float, y: float, rx: float, ry: float, material: Material, angle: float = 0.0, power: float = 2.0,
    hole: float = 0.0, roundness: float = 0.8,
) -> Part:  # fmt: skip
    """A superellipse: power 2 is an ellipse, 8 nearly a box; `hole` is the relative size of an opening."""
    widths = ry * np.maximum(0.0, 1 - np.abs(STATIONS) ** power) ** (1 / power)
    return Part(x, y, angle, rx, widths, material, 0.0, hole, roundness)


def box(
    x: float, y: float, rx: float, ry: float, material: Material, angle: float = 0.0, roundness: float = 0.15
) -> Part:
    """A rectangle of half sizes rx, ry."""
    return Part(x, y, angle, rx, np.full(SAMPLES, ry), material, roundness=roundness)


def limb(
    start: Point, end: Point, first: float, last: float, material: Material, bend: float = 0.0
) -> Part:  # fmt: skip
    """A tapered rod with round ends from `start` (radius `first`) to `end` (radius `last`)."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = float(np.hypot(dx, dy)) + 1e-6
    reach = (length + first + last) / 2
    place = (STATIONS + 1) * reach
    taper = first + (last - first) * np.clip((place - first) / length, 0, 1)
    near, far = np.clip(first - place, 0, None), np.clip(place - length - first, 0, None)
    widths = np.sqrt(np.clip(taper**2 - near**2 - far**2, 0, None))
    shift = (last - first) / 2 / length
    middle = ((start[0] + end[0]) / 2 + dx * shift, (start[1] + end[1]) / 2 + dy * shift)
    return Part(middle[0], middle[1], float(np.arctan2(dy, dx)), reach, widths, material, bend)


def lathe(
    x: float, y: float, reach: float, points: Sequence[tuple[float, float]], material: Material,
    angle: float = np.pi / 2, roundness: float = 0.8, sharp: bool = False,
) -> Part:  # fmt: skip
    """A free outline along an axis, downwards unless turned: points (place in [-1, 1], half width), joined smoothly."""
    places, widths = np.array([p[0] for p in points]), np.array([p[1] for p in points])
    share = np.interp(STATIONS, places, np.arange(len(points), dtype=float))
    if not sharp:
        floor = np.floor(share)
        rest = share - floor
        share = floor + rest * rest * (3 - 2 * rest)
    return Part(x, y, angle, reach, np.interp(share, np.arange(len(points)), widths), material, roundness=roundness)


def fur(
    random: Random, part: Part, count: int, length: float, lean: float = 0.5, edge: float = 0.5, width: float = 0.012,
    shade: float = 0.35,
) -> Strands:  # fmt: skip
    """Strands that grow from a part: a share `edge` at its outline outwards, the rest on its face along its axis.

    `length` and `width` in the part's units before it is placed; `lean` bends the strands towards the axis' end.
    """
    along = random.uniform(-0.97, 0.97, count)
    half = np.interp(along, STATIONS, part.outline)
    side = random.choice([-1.0, 1.0], count)
    at_edge = random.random(count) < edge
    place = np.where(at_edge, 0.93, np.abs(random.uniform(0, 1, count)) ** 0.7) * side
    across = place * half + part.bend * (along**2 - 0.5)
    axis = np.array([np.cos(part.angle), np.sin(part.angle)])
    normal = np.array([-axis[1], axis[0]])
    roots = np.array([part.x, part.y]) + along[:, None] * part.reach * axis + across[:, None] * normal
    slopes = np.interp(along, STATIONS, np.gradient(part.outline, STATIONS)) / part.reach
    outward = normal * place[:, None] - axis * (np.clip(slopes, -3, 3) * np.abs(place))[:, None]
    direction = outward + axis * (lean + random.normal(0, 0.3, count))[:, None] + random.normal(0, 0.22, (count, 2))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-6
    tips = direction * (length * random.uniform(0.4, 1.15, count))[:, None]
    return Strands(
        roots, tips, random.normal(0, 0.25, count), _strand_colours(random, part.material, count, shade), width
    )


def _strand_colours(random: Random, material: Material, count: int, shade: float) -> np.ndarray:
    share = random.random((count, 1))
    mixed = np.asarray(material.colour) * share + np.asarray(material.second) * (1 - share)
    return np.clip(mixed * random.uniform(1 - shade, 1 + shade, (count, 1)), 0.01, 0.98)
