"""Cars, bicycles, aeroplanes and boats from the side. Units: about [-1, 1], y down."""

from __future__ import annotations

import numpy as np

from shared.models.embedded.training.shapes import Drawable, box, ellipse, lathe, limb
from shared.models.embedded.training.textures import Material, Random, made, uniform

TYRE = Material((0.07, 0.07, 0.07), (0.13, 0.13, 0.13), grain=0.15)
GLASS = Material((0.22, 0.27, 0.31), (0.6, 0.68, 0.74), "patches", gloss=0.5)


def car(random: Random) -> list[Drawable]:
    """A car, van or truck from the side."""
    paint = made(random)
    tall, roof = uniform(random, 0.2, 0.32), uniform(random, 0.18, 0.4)
    front, rear = uniform(random, 0.25, 0.7), uniform(random, 0.3, 0.9)
    middle, half = uniform(random, -0.2, 0.15), uniform(random, 0.4, 0.62)
    top = [(-1, half), (1, half + 0.5 * (front + rear) * roof)]
    cabin = lathe(middle, -tall - 0.5 * roof + 0.05, 0.55 * roof, top, paint, roundness=0.4)
    panes: list[Drawable] = []
    for x in (middle - 0.45 * half, middle + 0.45 * half):
        panes.append(
            lathe(
                x, -tall - 0.5 * roof + 0.06, 0.38 * roof, [(-1, 0.34 * half), (1, 0.42 * half)], GLASS, roundness=0.2
            )
        )
    body = ellipse(0, 0, 1.0, tall, paint, power=uniform(random, 3.0, 6.0), roundness=0.6)
    lights = [ellipse(s * 0.93, -0.35 * tall, 0.05, 0.06, made(random)) for s in (-1.0, 1.0)]
    lines = [
        box(0, 0.1 * tall, 0.9, 0.012, paint.dark(0.6)),
        box(middle, 0.0, tall * 0.8, 0.008, paint.dark(0.4), np.pi / 2),
    ]
    wheels = [w for x in (-0.58, 0.6) for w in wheel(random, x, tall * 0.95, uniform(random, 0.19, 0.25))]
    return [cabin, *panes, body, *lights, *lines, *wheels]


def wheel(random: Random, x: float, y: float, radius: float) -> list[Drawable]:
    """A tyre with its rim and spokes."""
    rim = made(random)
    spokes = [
        limb(
            (x, y),
            (x + 0.6 * radius * np.cos(t), y + 0.6 * radius * np.sin(t)),
            0.08 * radius,
            0.06 * radius,
            rim.dark(1.3),
        )
        for t in np.linspace(0.2, 6.5, 6)[:-1]
    ]
    return [ellipse(x, y, radius, radius, TYRE), ellipse(x, y, 0.65 * radius, 0.65 * radius, rim), *spokes]


def bicycle(random: Random) -> list[Drawable]:
    """Two open wheels and a frame of thin tubes."""
    paint = made(random)
    size, thin = uniform(random, 0.38, 0.46), uniform(random, 0.018, 0.035)
    points = {
        "rear": (-0.6, 0.3),
        "front": (0.62, 0.3),
        "crank": (-0.05, 0.28),
        "seat": (-0.2, -0.38),
        "bar": (0.42, -0.45),
    }
    parts: list[Drawable] = []
    for end in ("rear", "front"):
        parts.append(ellipse(*points[end], size, size, TYRE, hole=1 - 2.2 * thin / size))
        for turn in np.linspace(0, np.pi, 7)[:-1]:
            dx, dy = size * 0.95 * np.cos(turn), size * 0.95 * np.sin(turn)
            x, y = points[end]
            parts.append(limb((x - dx, y - dy), (x + dx, y + dy), 0.006, 0.006, TYRE.dark(4)))
    for first, last in (
        ("rear", "crank"),
        ("rear", "seat"),
        ("crank", "seat"),
        ("crank", "bar"),
        ("seat", "bar"),
        ("bar", "front"),
    ):
        parts.append(limb(points[first], points[last], thin, thin, paint))
    parts.append(limb((-0.34, -0.42), (-0.08, -0.43), 0.05, 0.03, TYRE))
    parts.append(limb(points["bar"], (0.3, -0.55), 0.03, 0.03, TYRE))
    return parts


def plane(random: Random) -> list[Drawable]:
    """An aeroplane, rocket or boat: a hull with fins."""
    paint, second = made(random), made(random)
    deep = uniform(random, 0.1, 0.18)
    parts: list[Drawable] = [lathe(-0.85, -0.25, 0.25, [(-1, 0.06), (1, 0.14)], second, np.pi / 2 + 0.4, 0.2)]
    parts.append(lathe(0.1, -0.2, 0.45, [(-1, 0.05), (1, 0.14)], paint.dark(0.8), 0.9, 0.2))
    parts.append(
        lathe(0, 0, 1.0, [(-1, 0.03), (-0.6, 0.8 * deep), (0.6, deep), (0.9, 0.7 * deep), (1, 0.1 * deep)], paint, 0.0)
    )
    parts += [ellipse(x, -0.3 * deep, 0.03, 0.035, GLASS) for x in np.linspace(-0.5, 0.7, 9)]
    parts.append(lathe(-0.1, 0.25, 0.5, [(-1, 0.17), (1, 0.05)], second, 2.2, 0.2))
    return parts
