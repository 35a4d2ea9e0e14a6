"""The canvas that parts and strands are painted on: exact coverage, light, colours beyond the edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from shared.models.embedded.training.shapes import SAMPLES, Drawable, Part, Strands
from shared.models.embedded.training.textures import paint


@dataclass(frozen=True, slots=True)
class Light:
    """A lamp's direction (x right, y down, z to the viewer), the share of light from everywhere, and its tint."""

    x: float
    y: float
    z: float
    ambient: float
    tint: tuple[float, float, float]


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
