"""The primitive that everything in a scene is made of: a bent tube with a free outline, lit and painted; and strands.

A part has an axis of half length `reach` and a table of half widths along it. Its edge is antialiased from the signed
distance to that outline, so its alpha is known exactly at any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from shared.models.embedded.textures import Material, Random, paint

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


@dataclass(frozen=True, slots=True)
class Light:
    """A lamp's direction (x right, y down, z to the viewer), the share of light from everywhere, and its tint."""

    x: float
    y: float
    z: float
    ambient: float
    tint: tuple[float, float, float]


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


class Canvas:
    """Layers being painted: colours times alpha [3, h, w], alpha [h, w], and the scene's noise [4, h, w]."""

    def __init__(self, noise: Tensor, light: Light) -> None:
        self.noise = noise
        self.light = light
        self.height, self.width = int(noise.shape[1]), int(noise.shape[2])
        self.colour = torch.zeros(3, self.height, self.width, device=noise.device)
        self.alpha = torch.zeros(self.height, self.width, device=noise.device)
        self.columns = torch.arange(self.width, device=noise.device, dtype=torch.float32) + 0.5
        self.rows = torch.arange(self.height, device=noise.device, dtype=torch.float32) + 0.5

    def draw(self, drawables: Sequence[Drawable]) -> None:
        """Paints back to front; coordinates in pixels."""
        for drawable in drawables:
            if isinstance(drawable, Part):
                self._draw_part(drawable)
            else:
                self._draw_strands(drawable)

    def filled(self) -> Tensor:
        """Straight colours [3, h, w], continued outward where alpha is 0 so that soft edges have their own colour."""
        colour, weight = self.colour, self.alpha[None]
        levels = [(colour, weight)]
        while min(colour.shape[1:]) > 2:
            size = ((colour.shape[1] + 1) // 2, (colour.shape[2] + 1) // 2)
            colour = nnf.interpolate(colour[None], size, mode="area")[0]
            weight = nnf.interpolate(weight[None], size, mode="area")[0]
            levels.append((colour, weight))
        result = levels[-1][0] / (levels[-1][1] + 1e-4)
        for colour, weight in reversed(levels[:-1]):
            wide = nnf.interpolate(result[None], colour.shape[1:], mode="bilinear", align_corners=False)[0]
            sure = (weight * 4).clamp(0, 1)
            result = sure * colour / (weight + 1e-6) + (1 - sure) * wide
        return result.clamp(0, 1)

    def _window(self, part: Part) -> tuple[slice, slice] | None:
        half = float(part.outline.max()) + abs(part.bend) + 2
        cos, sin = abs(np.cos(part.angle)), abs(np.sin(part.angle))
        wide, tall = part.reach * cos + half * sin + 2, part.reach * sin + half * cos + 2
        left, right = max(0, int(part.x - wide)), min(self.width, int(part.x + wide) + 2)
        top, bottom = max(0, int(part.y - tall)), min(self.height, int(part.y + tall) + 2)
        return None if left >= right or top >= bottom else (slice(top, bottom), slice(left, right))

    def _draw_part(self, part: Part) -> None:
        window = self._window(part)
        if window is None or part.reach < 0.2:
            return
        dx, dy = self.columns[window[1]][None, :] - part.x, self.rows[window[0]][:, None] - part.y
        cos, sin = float(np.cos(part.angle)), float(np.sin(part.angle))
        along = (dx * cos + dy * sin) / part.reach
        across = dy * cos - dx * sin - part.bend * (along * along - 0.5)
        width, slope = self._outline(part, along)
        cover = _coverage(part, along, across, width, slope)
        if part.hole > 0:
            inner, inner_slope = self._outline(part, along / part.hole)
            cover = cover - cover * _coverage(part, along / part.hole, across, inner * part.hole, inner_slope)
        if part.cuts:
            self._blend(
                window, torch.zeros_like(self.colour[:, window[0], window[1]]), torch.zeros_like(cover), 1 - cover
            )
            return
        noise = self.noise[:, window[0], window[1]]
        base = paint(part.material, along * (part.reach / part.scale), across / part.scale, noise)
        side = (across / width.clamp(min=0.5)).clamp(-0.98, 0.98)
        lit = self._lit(part, base, side, slope, cos, sin, noise)
        self._blend(window, lit.clamp(0, 1), cover, 1 - cover)

    def _outline(self, part: Part, along: Tensor) -> tuple[Tensor, Tensor]:
        table = torch.as_tensor(part.outline, dtype=torch.float32, device=along.device)
        turn = torch.asin(along.clamp(-1, 1)) / np.pi + 0.5
        place = turn * (SAMPLES - 1)
        index = place.floor().clamp(0, SAMPLES - 2).long()
        low, high = table[index], table[index + 1]
        stretch = torch.sqrt((1 - along * along).clamp(min=1e-3)) * (part.reach * np.pi / (SAMPLES - 1))
        return low + (high - low) * (place - index), (high - low) / stretch

    def _lit(
        self, part: Part, base: Tensor, side: Tensor, slope: Tensor, cos: float, sin: float, noise: Tensor
    ) -> Tensor:
        light, bulge = self.light, part.roundness
        lump = 0.5 * part.material.folds * noise[0]
        normal_a, normal_b = -slope.clamp(-1.5, 1.5) * bulge + lump, side * bulge + lump
        normal_z = torch.sqrt((1 - (side * bulge) ** 2).clamp(min=0.03))
        length = torch.sqrt(normal_a**2 + normal_b**2 + normal_z**2)
        light_a, light_b = light.x * cos + light.y * sin, light.y * cos - light.x * sin
        facing = ((normal_a * light_a + normal_b * light_b + normal_z * light.z) / length).clamp(min=0)
        tint = torch.tensor(light.tint, device=base.device).view(3, 1, 1)
        lit = base * (light.ambient + (1.15 - light.ambient) * facing[None] * tint)
        if part.material.gloss > 0:
            lit = lit + part.material.gloss * facing[None] ** (8 + 40 * part.material.gloss)
        return lit

    def _blend(self, window: tuple[slice, slice], colour: Tensor, cover: Tensor, keep: Tensor) -> None:
        rows, columns = window
        self.colour[:, rows, columns] = self.colour[:, rows, columns] * keep + colour * cover
        self.alpha[rows, columns] = self.alpha[rows, columns] * keep + cover

    def _draw_strands(self, strands: Strands) -> None:
        weight, colour = self._splat(_frayed(strands))
        cover = 1 - torch.exp(-weight)
        shown = colour / (weight + 1e-6)
        whole = (slice(0, self.height), slice(0, self.width))
        if strands.behind:
            free = 1 - self.alpha
            self.colour = self.colour + shown * (cover * free)
            self.alpha = self.alpha + cover * free
        else:
            self._blend(whole, shown.clamp(0, 1), cover, 1 - cover)

    def _splat(self, strands: Strands) -> tuple[Tensor, Tensor]:
        """Optical density [h, w] and density times colour [3, h, w] of all strands, by bilinear scatter."""
        device = self.noise.device
        longest = float(np.abs(strands.tips).sum(1).max()) if len(strands.tips) else 0.0
        steps = int(np.clip(longest * 1.4, 3, 700))
        lanes = int(np.clip(np.ceil(strands.width), 1, 4))
        place = torch.linspace(0, 1, steps, device=device)[None, :, None]
        roots, tips, curls, colours = (
            torch.as_tensor(a, dtype=torch.float32, device=device)
            for a in (strands.roots, strands.tips, strands.curls, strands.colours)
        )
        normal = torch.stack([-tips[:, 1], tips[:, 0]], 1)
        points = roots[:, None] + tips[:, None] * place + (normal * curls[:, None])[:, None] * place**2
        size = tips.norm(dim=1)
        step = size.clamp(min=1.0) / steps
        taper = 1 - 0.85 * place[..., 0] ** 2
        density = (min(strands.width, 1.0) * 1.6) * step[:, None] * taper
        across = normal / (size[:, None] + 1e-6)
        weight = torch.zeros(self.height * self.width, device=device)
        colour = torch.zeros(3, self.height * self.width, device=device)
        for lane in range(lanes):
            offset = (lane - (lanes - 1) / 2) * strands.width / lanes
            spread = points + across[:, None] * offset * taper[..., None]
            self._scatter(spread, density, colours, weight, colour)
        return weight.view(self.height, self.width), colour.view(3, self.height, self.width)

    def _scatter(self, points: Tensor, density: Tensor, colours: Tensor, weight: Tensor, colour: Tensor) -> None:
        x, y = points[..., 0].reshape(-1) - 0.5, points[..., 1].reshape(-1) - 0.5
        inside = (x > 0) & (y > 0) & (x < self.width - 1) & (y < self.height - 1)
        owner = torch.arange(len(colours), device=x.device).repeat_interleave(points.shape[1])[inside]
        x, y, amount = x[inside], y[inside], density.reshape(-1)[inside]
        left, top = x.long(), y.long()
        for down in (0, 1):
            for right in (0, 1):
                share = (1 - (x - left - right).abs()) * (1 - (y - top - down).abs()) * amount
                index = (top + down) * self.width + left + right
                weight.index_add_(0, index, share)
                for channel in range(3):
                    colour[channel].index_add_(0, index, share * colours[owner, channel])


def _coverage(part: Part, along: Tensor, across: Tensor, width: Tensor, slope: Tensor) -> Tensor:
    distance = (width - across.abs()) / torch.sqrt(1 + slope.clamp(-6, 6) ** 2)
    ends = (1 - along.abs()) * part.reach
    return (torch.minimum(distance, ends) + 0.5).clamp(0, 1)


def _frayed(strands: Strands) -> Strands:
    """Strands wider than a hair in a large picture become tufts of several hairs."""
    copies = min(9, round(strands.width / 1.3))
    if copies < 2:
        return strands
    random = np.random.default_rng(len(strands.roots))
    roots, tips, curls, colours = (
        np.repeat(a, copies, 0) for a in (strands.roots, strands.tips, strands.curls, strands.colours)
    )
    roots = roots + random.normal(0, 1.2 * strands.width, roots.shape)
    tips = tips + random.normal(0, 0.13, tips.shape) * np.abs(tips).sum(1, keepdims=True)
    colours = np.clip(colours * random.uniform(0.8, 1.2, (len(colours), 1)), 0.01, 0.98)
    return replace(strands, roots=roots, tips=tips, curls=curls, colours=colours, width=strands.width / copies)


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
