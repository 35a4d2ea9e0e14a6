"""Backgrounds: studio, room, landscape, street, table top, clutter, and the noise that photographs have in common."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from shared.models.embedded.training import things, vehicles
from shared.models.embedded.training.canvas import Canvas, Light
from shared.models.embedded.training.people import person
from shared.models.embedded.training.shapes import Drawable, box, ellipse, lathe, limb, placed
from shared.models.embedded.training.textures import (
    CLOUD,
    LEAF,
    ROUGH,
    SKY,
    SMOOTH,
    STONE,
    STREAK,
    WALL,
    WOOD,
    Colour,
    Material,
    Random,
    any_colour,
    chance,
    cloth,
    grown,
    made,
    pick,
    uniform,
)


def plane(colour: Colour, noise: Tensor) -> Tensor:
    """A field of one colour, [3, h, w]."""
    return torch.tensor(colour, device=noise.device).view(3, 1, 1).expand(3, *noise.shape[1:]).clone()


def ramp(noise: Tensor, angle: float) -> Tensor:
    """A field that rises from 0 to 1 across the picture, [h, w]."""
    height, width = noise.shape[1:]
    x = torch.linspace(-0.5, 0.5, width, device=noise.device)[None, :]
    y = torch.linspace(-0.5, 0.5, height, device=noise.device)[:, None]
    return (x * float(np.cos(angle)) + y * float(np.sin(angle)) + 0.5).clamp(0, 1)


def mixed(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """`second` laid over `first` with the share [h, w]."""
    return first + (second - first) * share


def studio(random: Random, noise: Tensor, light: Light) -> Tensor:
    """A plain or graded backdrop, perhaps with a bright spot and the bend where wall meets floor."""
    colour = pick(random, WALL) if chance(random, 0.6) else any_colour(random)
    field = plane(colour, noise) * (1 + uniform(random, -0.5, 0.5) * (ramp(noise, uniform(random, 0, 6.3)) - 0.5))
    height, width = noise.shape[1:]
    x = torch.linspace(-1, 1, width, device=noise.device)[None, :] - uniform(random, -0.4, 0.4)
    y = torch.linspace(-1, 1, height, device=noise.device)[:, None] - uniform(random, -0.4, 0.4)
    field = field * (1 + uniform(random, -0.1, 0.5) * torch.exp(-(x * x + y * y) * uniform(random, 0.4, 2)))
    if chance(random, 0.4):
        edge = torch.sigmoid((ramp(noise, np.pi / 2) - uniform(random, 0.55, 0.85)) * uniform(random, 8, 80))
        field = mixed(
            field,
            plane(any_colour(random) if chance(random, 0.4) else colour, noise) * uniform(random, 0.7, 1.25),
            edge,
        )
    return field * (1 + uniform(random, 0, 0.12) * noise[CLOUD])


def textured(random: Random, noise: Tensor, palette: tuple[Colour, ...]) -> Tensor:
    """A surface of one palette full of 1/f texture."""
    first, second = plane(pick(random, palette), noise), plane(pick(random, palette), noise)
    kind = int(random.choice([SMOOTH, ROUGH, STREAK]))
    share = torch.sigmoid(uniform(random, 0.7, 2.5) * noise[kind])
    return mixed(first, second, share) * (1 + uniform(random, 0.05, 0.3) * noise[ROUGH])


def landscape(random: Random, noise: Tensor, light: Light) -> Tensor:
    """Sky with clouds, hills and woods at the horizon, and ground: grass, sand, stone or water."""
    down, height = ramp(noise, np.pi / 2), noise.shape[1]
    horizon = uniform(random, 0.15, 0.85)
    sky = mixed(plane(pick(random, SKY), noise), plane(pick(random, SKY), noise), (down / horizon).clamp(0, 1))
    clouds = torch.sigmoid(3 * (noise[CLOUD] - uniform(random, -0.2, 1.5)))
    field = mixed(sky, plane((0.93, 0.93, 0.94), noise), clouds * uniform(random, 0, 0.9))
    for level in range(int(random.integers(0, 4))):
        row = int(np.clip(height * uniform(random, 0.1, 0.9), 0, height - 1))
        ridge = horizon - uniform(random, 0.02, 0.22) / (level + 1) * (1 + 0.7 * noise[SMOOTH if level else CLOUD][row])
        far = textured(random, noise, LEAF if chance(random, 0.7) else STONE)
        haze = uniform(random, 0, 0.7)
        field = mixed(field, far * (1 - haze) + sky * haze, torch.sigmoid((down - ridge) * height * 0.7))
    palette = (LEAF, STONE, WOOD, SKY)[int(random.choice(4, p=[0.45, 0.3, 0.1, 0.15]))]
    ground = textured(random, noise, palette) * (0.85 + 0.3 * ramp(noise, uniform(random, 0, 3.1)))
    field = mixed(field, ground, torch.sigmoid((down - horizon) * height * uniform(random, 0.2, 1.5)))
    props: list[Drawable] = []
    for _ in range(int(random.integers(0, 5))):
        size = uniform(random, 0.1, 0.4)
        spot = (uniform(random, -1, 1), 2 * horizon - 1 - 0.6 * size)
        props += placed(things.tree(random), spot[0], spot[1], size)
    return overlaid(random, field, noise, light, props)


def street(random: Random, noise: Tensor, light: Light) -> Tensor:
    """Houses with rows of windows, a pavement, poles."""
    field = plane(pick(random, SKY), noise) * (1 + 0.1 * noise[CLOUD])
    props: list[Drawable] = []
    ground = uniform(random, 0.2, 0.9)
    left = -1.3
    while left < 1.2:
        wide, top = uniform(random, 0.2, 0.7), uniform(random, -1.2, 0.3)
        front = grown(random, STONE if chance(random, 0.6) else WALL, "patches", 0.15)
        props.append(box(left + wide, (top + ground) / 2, wide, (ground - top) / 2, front, roundness=0.0))
        columns, rows = int(random.integers(2, 6)), int(random.integers(2, 7))
        pane = vehicles.GLASS if chance(random, 0.6) else made(random)
        for column in range(columns):
            for row in range(rows):
                x = left + wide * (2 * column + 1) / columns
                y = top + (ground - top) * (row + 0.5) / (rows + 0.5)
                props.append(
                    box(
                        x,
                        y,
                        0.5 * wide / columns,
                        0.25 * (ground - top) / rows,
                        pane.dark(uniform(random, 0.6, 1.6)),
                        0,
                        0,
                    )
                )
        left += 2 * wide
    props.append(box(0, ground + 1.0, 2.0, 1.0, grown(random, STONE, "plain", 0.2), 0, 0))
    for _ in range(int(random.integers(0, 4))):
        x = uniform(random, -1, 1)
        props.append(limb((x, -1.0), (x, ground), 0.015, 0.02, made(random)))
    return overlaid(random, field, noise, light, props)


def room(random: Random, noise: Tensor, light: Light) -> Tensor:
    """A wall with pictures, a window, shelves or curtains, a floor and furniture."""
    wall = grown(random, WALL, "plain", 0.03) if chance(random, 0.7) else cloth(random)
    floor = grown(random, WOOD if chance(random, 0.7) else STONE, "streaks" if chance(random, 0.5) else "checks", 0.1)
    edge = uniform(random, 0.2, 1.3)
    props: list[Drawable] = [
        box(0, 0, 2.2, 1.2, wall, roundness=0.0),
        box(0, edge + 0.8, 2.2, 0.8, floor, roundness=0.0),
    ]
    if chance(random, 0.5):
        props.append(box(0, edge, 2.2, 0.02, made(random)))
    for _ in range(int(random.integers(0, 5))):
        spot, size = (uniform(random, -1.2, 1.2), uniform(random, -0.8, 0.4)), uniform(random, 0.1, 0.45)
        frame = (size, size * uniform(random, 0.5, 1.8))
        inside = Material(any_colour(random), any_colour(random), "patches", 0.3, 0.0, 0.2)
        if chance(random, 0.3):
            inside = Material((0.95, 0.96, 0.97), pick(random, SKY), "plain")
        props += [box(*spot, *frame, made(random)), box(*spot, frame[0] * 0.88, frame[1] * 0.9, inside, roundness=0.0)]
    if chance(random, 0.35):
        props += shelf(random)
    if chance(random, 0.3):
        drape = cloth(random)
        start = uniform(random, -1.3, 1.0)
        props += [limb((start + 0.12 * i, -1.1), (start + 0.12 * i, edge), 0.07, 0.08, drape) for i in range(6)]
    for _ in range(int(random.integers(0, 4))):
        kind: Callable[[Random], list[Drawable]] = [things.chair, things.bag, things.plant, things.vessel][
            int(random.integers(4))
        ]
        props += placed(kind(random), uniform(random, -1.3, 1.3), edge - 0.1, uniform(random, 0.2, 0.5))
    return overlaid(random, plane((0.5, 0.5, 0.5), noise), noise, light, props)


def shelf(random: Random) -> list[Drawable]:
    """Boards with rows of books."""
    parts: list[Drawable] = []
    board = grown(random, WOOD, "streaks")
    left, right = sorted(random.uniform(-1.4, 1.4, 2))
    for y in np.arange(uniform(random, -0.9, -0.5), 0.6, uniform(random, 0.3, 0.5)):
        x = float(left)
        while x < right:
            thick, tall = uniform(random, 0.02, 0.06), uniform(random, 0.12, 0.24)
            parts.append(box(x + thick, float(y) - tall, thick, tall, made(random), roundness=0.3))
            x += 2 * thick
        parts.append(box((left + right) / 2, float(y), (right - left) / 2 + 0.05, 0.02, board))
    return parts


def table(random: Random, noise: Tensor, light: Light) -> Tensor:
    """A table top, cloth or floor seen from above, perhaps with its far edge and things lying about."""
    stuff = grown(random, WOOD, "streaks", 0.12) if chance(random, 0.6) else cloth(random)
    props: list[Drawable] = []
    if chance(random, 0.4):
        edge = uniform(random, -0.9, -0.1)
        props.append(box(0, edge + 1.2, 2.2, 1.2, stuff, uniform(random, -0.05, 0.05), 0.0))
        field = room(random, noise, light)
    else:
        props.append(box(0, 0, 2.4, 2.4, stuff, uniform(random, 0, 3.1), 0.0))
        field = plane(stuff.colour, noise)
    if stuff.pattern == "streaks" and chance(random, 0.6):
        gap = uniform(random, 0.25, 0.6)
        turn = uniform(random, -0.4, 0.4)
        props += [box(0, float(y), 2.2, 0.008, stuff.dark(0.4), turn, 0.0) for y in np.arange(-1.6, 1.7, gap)]
    for _ in range(int(random.choice([0, 0, 1, 2]))):
        spot = random.choice([-1.0, 1.0]) * uniform(random, 0.85, 1.2), uniform(random, -1, 1)
        kind: Callable[[Random], list[Drawable]] = [things.spoon, things.dish, things.bag, things.plant][
            int(random.integers(4))
        ]
        props += placed(kind(random), spot[0], spot[1], uniform(random, 0.2, 0.45), uniform(random, 0, 6.3))
    return overlaid(random, field, noise, light, props)


def leaves(random: Random, noise: Tensor, light: Light) -> Tensor:
    """Dead leaves: shapes of all sizes covering each other, the model of clutter in natural images."""
    colours = [any_colour(random) for _ in range(4)] if chance(random, 0.5) else [pick(random, LEAF) for _ in range(4)]
    props: list[Drawable] = []
    for _ in range(int(random.integers(20, 90))):
        size = 0.08 / (1 - 0.9 * random.random()) ** 0.9
        first, second = colours[int(random.integers(4))], colours[int(random.integers(4))]
        pattern = str(random.choice(["plain", "patches", "stripes", "streaks"]))
        stuff = Material(first, second, pattern, 0.3, 0.0, uniform(random, 0, 0.3)).dark(uniform(random, 0.6, 1.3))
        spot = (uniform(random, -1.4, 1.4), uniform(random, -1.4, 1.4))
        shape = ellipse(
            *spot, size, size * uniform(random, 0.2, 1), stuff, uniform(random, 0, 3), uniform(random, 1.5, 7)
        )
        props.append(shape)
    return overlaid(random, textured(random, noise, STONE), noise, light, props)


def foliage(random: Random, noise: Tensor, light: Light) -> Tensor:
    """A wall of leaves, grass or straw with dark gaps."""
    field = textured(random, noise, LEAF) * (0.75 + 0.35 * noise[CLOUD].clamp(-1, 1)[None])
    green = grown(random, LEAF, "plain", 0.2)
    props: list[Drawable] = []
    for _ in range(int(random.integers(0, 60))):
        spot = (uniform(random, -1.4, 1.4), uniform(random, -1.2, 1.2))
        props.append(things.leaf(random, *spot, uniform(random, 0.05, 0.3), uniform(random, 0, 6.3), green))
    return overlaid(random, field, noise, light, props)


def haze(random: Random, noise: Tensor, light: Light) -> Tensor:
    """Coloured 1/f noise."""
    base = torch.tensor([any_colour(random) for _ in range(3)], device=noise.device)
    field = 0.5 + torch.einsum("kc,khw->chw", base - 0.5, noise[:3] * 0.45 + 0.3)
    return field * (1 + uniform(random, -0.3, 0.3) * (ramp(noise, uniform(random, 0, 6)) - 0.5))


def bystanders(random: Random) -> list[Drawable]:
    """Small or cut figures and things in the distance."""
    parts: list[Drawable] = []
    for _ in range(int(random.integers(1, 5))):
        size = uniform(random, 0.08, 0.3)
        spot = (uniform(random, -1.3, 1.3), uniform(random, -0.4, 0.5))
        kind: Callable[[Random], list[Drawable]] = [person, vehicles.car, things.tree, things.blob, things.vessel][
            int(random.integers(5))
        ]
        parts += placed(kind(random), spot[0], spot[1], size)
    return parts


def banner(random: Random) -> list[Drawable]:
    """A flag, sign or poster: large, saturated, flat, and not the subject."""
    first, second = made(random), made(random)
    x, y = random.choice([-1.0, 1.0]) * uniform(random, 0.5, 1.1), uniform(random, -0.8, 0.3)
    wide, tall = uniform(random, 0.25, 0.7), uniform(random, 0.3, 1.0)
    parts: list[Drawable] = [box(x, y, wide, tall, first, uniform(random, -0.15, 0.15), 0.1)]
    parts += [box(x, float(t), wide, 0.04, second, 0.0, 0.0) for t in np.linspace(y - tall, y + tall, 7)[1:-1]]
    parts.append(lathe(x, y - 0.5 * tall, 0.4 * tall, [(-1, 0.5 * wide), (1, 0.5 * wide)], made(random)))
    return parts


def overlaid(random: Random, field: Tensor, noise: Tensor, light: Light, props: list[Drawable]) -> Tensor:
    """The field with props painted over it; props' units: 1 is half the shorter side, (0, 0) the middle."""
    if not props:
        return field
    canvas = Canvas(noise, light)
    half = min(canvas.width, canvas.height) / 2
    canvas.draw(placed(props, canvas.width / 2, canvas.height / 2, half))
    return field * (1 - canvas.alpha) + canvas.colour


KINDS: tuple[tuple[Callable[[Random, Tensor, Light], Tensor], float], ...] = (
    (studio, 0.2), (landscape, 0.19), (street, 0.1), (room, 0.2), (table, 0.05), (leaves, 0.09), (foliage, 0.09),
    (haze, 0.08),
)  # fmt: skip
