"""Colours, surface patterns and 1/f noise of the rendered scenes, on any torch device."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

Colour = tuple[float, float, float]
Random = np.random.Generator

SMOOTH, CLOUD, ROUGH, STREAK = range(4)

SKIN: tuple[Colour, ...] = (
    (0.94, 0.78, 0.68), (0.89, 0.70, 0.58), (0.80, 0.60, 0.47), (0.66, 0.46, 0.34), (0.48, 0.32, 0.23),
    (0.33, 0.22, 0.17),
)  # fmt: skip
HAIR: tuple[Colour, ...] = (
    (0.08, 0.06, 0.05), (0.16, 0.10, 0.07), (0.30, 0.19, 0.12), (0.48, 0.33, 0.20), (0.72, 0.57, 0.36),
    (0.55, 0.25, 0.12), (0.62, 0.61, 0.60), (0.86, 0.84, 0.80),
)  # fmt: skip
FUR: tuple[Colour, ...] = (
    (0.10, 0.09, 0.08), (0.36, 0.24, 0.15), (0.62, 0.42, 0.24), (0.78, 0.62, 0.42), (0.50, 0.47, 0.43),
    (0.90, 0.86, 0.79), (0.70, 0.38, 0.17), (0.28, 0.26, 0.25),
)  # fmt: skip
WOOD: tuple[Colour, ...] = (
    (0.36, 0.22, 0.13), (0.55, 0.36, 0.21), (0.70, 0.51, 0.32), (0.24, 0.15, 0.10), (0.80, 0.66, 0.48),
    (0.45, 0.40, 0.36),
)  # fmt: skip
LEAF: tuple[Colour, ...] = (
    (0.16, 0.27, 0.10), (0.30, 0.42, 0.15), (0.42, 0.52, 0.22), (0.22, 0.34, 0.20), (0.50, 0.46, 0.22),
    (0.58, 0.60, 0.36),
)  # fmt: skip
STONE: tuple[Colour, ...] = (
    (0.55, 0.52, 0.48), (0.40, 0.38, 0.36), (0.68, 0.64, 0.58), (0.50, 0.42, 0.34), (0.30, 0.29, 0.29),
    (0.62, 0.38, 0.28),
)  # fmt: skip
SKY: tuple[Colour, ...] = (
    (0.45, 0.62, 0.85), (0.62, 0.75, 0.90), (0.80, 0.84, 0.88), (0.30, 0.45, 0.70), (0.90, 0.78, 0.66),
    (0.55, 0.58, 0.63),
)  # fmt: skip
WALL: tuple[Colour, ...] = (
    (0.88, 0.86, 0.82), (0.76, 0.72, 0.66), (0.60, 0.60, 0.60), (0.70, 0.76, 0.78), (0.82, 0.76, 0.62),
    (0.38, 0.40, 0.44), (0.22, 0.22, 0.24), (0.95, 0.95, 0.95), (0.66, 0.50, 0.42),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Material:
    """How a surface looks: two colours mixed by a pattern, its size in part widths, its gloss and its grain."""

    colour: Colour
    second: Colour
    pattern: str = "plain"
    period: float = 0.5
    turn: float = 0.0
    grain: float = 0.05
    gloss: float = 0.0
    folds: float = 0.0

    def dark(self, factor: float) -> Material:
        """The same surface with both colours scaled."""
        first, second = (tuple(min(1.0, c * factor) for c in colour) for colour in (self.colour, self.second))
        return replace(self, colour=(first[0], first[1], first[2]), second=(second[0], second[1], second[2]))


def uniform(random: Random, low: float, high: float) -> float:
    """One float from [low, high)."""
    return float(random.uniform(low, high))


def chance(random: Random, probability: float) -> bool:
    """True with the probability given."""
    return bool(random.random() < probability)


def pick(random: Random, palette: tuple[Colour, ...], spread: float = 0.06) -> Colour:
    """A colour mixed from two neighbours at random in the palette, jittered in brightness and hue."""
    first, second = (np.asarray(palette[int(i)]) for i in random.integers(len(palette), size=2))
    mixed = first + (second - first) * random.uniform(0, 0.5)
    jittered = mixed * random.uniform(0.8, 1.2) + random.normal(0, spread / 2, 3)
    return rgb(jittered)


def rgb(values: np.ndarray) -> Colour:
    """Three numbers limited to the range of pixels a camera gives."""
    red, green, blue = (float(v) for v in np.clip(values, 0.015, 0.985))
    return red, green, blue


def any_colour(random: Random) -> Colour:
    """A colour of made things: mostly muted, at times saturated, black or white."""
    grey = random.beta(1.1, 1.3)
    saturation = random.choice([0.04, 0.15, 0.35, 0.8], p=[0.35, 0.25, 0.2, 0.2])
    hue = random.uniform(0, 2 * np.pi)
    wave = np.cos(hue - np.array([0.0, 2.094, 4.189]))
    return rgb(np.asarray(grey + (0.1 + 0.45 * grey) * saturation * wave))


def cloth(random: Random) -> Material:
    """Woven stuff: plain, striped, checked, dotted or printed, with folds."""
    kinds = ["plain", "stripes", "checks", "dots", "patches", "streaks"]
    pattern = str(random.choice(kinds, p=[0.55, 0.12, 0.1, 0.05, 0.1, 0.08]))
    colour = any_colour(random)
    second = any_colour(random) if chance(random, 0.6) else rgb(np.asarray(colour) * random.uniform(0.5, 1.5))
    return Material(
        colour, second, pattern, uniform(random, 0.06, 0.35), uniform(random, 0, 3.2), uniform(random, 0, 0.08), 0.03,
        uniform(random, 0.05, 0.45),
    )  # fmt: skip


def made(random: Random) -> Material:
    """Plastic, paint, ceramic or metal: smooth, glossy, seldom patterned."""
    colour = any_colour(random)
    pattern = str(random.choice(["plain", "stripes", "patches", "dots", "checks"], p=[0.7, 0.1, 0.1, 0.05, 0.05]))
    period, turn = uniform(random, 0.1, 0.9), uniform(random, 0, 3.2)
    grain, gloss = uniform(random, 0, 0.06), uniform(random, 0, 0.9)
    return Material(colour, any_colour(random), pattern, period, turn, grain, gloss)


def grown(random: Random, palette: tuple[Colour, ...], pattern: str = "", grain: float = 0.1) -> Material:
    """Wood, fur, leaf or stone of one palette."""
    kinds = ["streaks", "patches", "plain", "stripes"]
    name = pattern or str(random.choice(kinds, p=[0.4, 0.2, 0.3, 0.1]))
    first = pick(random, palette)
    second = pick(random, palette) if chance(random, 0.5) else rgb(np.asarray(first) * random.uniform(0.6, 1.3))
    return Material(first, second, name, uniform(random, 0.08, 0.5), uniform(random, 0, 3.2), grain)


def skin(random: Random) -> Material:
    """A person's skin: little texture, a soft shine."""
    colour = pick(random, SKIN, 0.03)
    flushed = rgb(np.asarray(colour) * np.array([1.0, 0.88, 0.85]))
    return Material(colour, flushed, "plain", 0.5, 0.0, 0.02, uniform(random, 0.05, 0.25))


def noise_fields(random: Random, height: int, width: int, device: torch.device) -> Tensor:
    """Four fields of unit variance, [4, height, width]: SMOOTH (1/f), CLOUD (steeper), ROUGH (flatter), STREAK (long).

    Octaves of interpolated lattices: a larger image of the same seed has finer octaves added.
    """
    total = torch.zeros(1, 4, height, width, device=device)
    power = torch.zeros(4)
    cells, octave = 3, 0
    while cells < 1.3 * max(height, width) and octave < 9:
        falls = torch.tensor([0.5, 0.36, 0.72, 0.6]) ** octave
        lattice = torch.from_numpy(random.standard_normal((1, 3, cells, cells), dtype=np.float32)).to(device)
        narrow = torch.from_numpy(random.standard_normal((1, 1, max(2, cells // 5), 2 * cells), dtype=np.float32))
        mode = "bicubic" if cells < 50 else "bilinear"
        field = nnf.interpolate(lattice, (height, width), mode=mode, align_corners=True)
        streak = nnf.interpolate(narrow.to(device), (height, width), mode=mode, align_corners=True)
        total += torch.cat([field, streak], 1) * falls.to(device).view(1, 4, 1, 1)
        power += falls**2 * 0.5
        cells, octave = cells * 2, octave + 1
    return (total / power.sqrt().to(device).view(1, 4, 1, 1))[0]


def pattern_of(material: Material, along: Tensor, across: Tensor, noise: Tensor) -> Tensor:
    """The share of the second colour, [h, w] in [0, 1]; `along` and `across` in part widths, `noise` [4, h, w]."""
    if material.pattern == "plain":
        return (0.35 + 0.25 * noise[SMOOTH]).clamp(0, 1)
    if material.pattern == "patches":
        return torch.sigmoid(6 * (noise[SMOOTH] - 0.3 + material.turn * 0.2))
    if material.pattern == "streaks":
        fine = torch.sin((along + 0.25 * noise[STREAK]) * (9.0 / material.period))
        return (0.45 + 0.2 * fine + 0.3 * noise[STREAK]).clamp(0, 1)
    cos, sin = float(np.cos(material.turn)), float(np.sin(material.turn))
    first = torch.sin((along * cos + across * sin + 0.02 * noise[SMOOTH]) * (6.283 / material.period))
    if material.pattern == "stripes":
        return torch.sigmoid(5 * first + 2 * (material.grain - 0.05))
    other = torch.sin((across * cos - along * sin) * (6.283 / material.period))
    if material.pattern == "dots":
        return torch.sigmoid(8 * (first * other - 0.4))
    return 0.5 * torch.sigmoid(5 * first) + 0.5 * torch.sigmoid(5 * other)


def paint(material: Material, along: Tensor, across: Tensor, noise: Tensor) -> Tensor:
    """The unlit colours of a surface, [3, h, w]."""
    share = pattern_of(material, along, across, noise)
    first = torch.tensor(material.colour, device=noise.device).view(3, 1, 1)
    second = torch.tensor(material.second, device=noise.device).view(3, 1, 1)
    light = 1 + material.grain * noise[ROUGH] + 0.35 * material.folds * noise[SMOOTH]
    return (first + (second - first) * share) * light
