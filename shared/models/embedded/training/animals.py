"""Animals from the side and from the front, with fur, ears, tails and whiskers. Units: about [-1, 1], y down."""

from __future__ import annotations

import numpy as np

from shared.models.embedded.training.shapes import Drawable, Part, Strands, ellipse, fur, lathe, limb
from shared.models.embedded.training.textures import (
    FUR,
    Material,
    Random,
    any_colour,
    chance,
    grown,
    made,
    rgb,
    uniform,
)

DARK = Material((0.06, 0.05, 0.05), (0.1, 0.08, 0.08), gloss=0.5)


def _coat(random: Random) -> Material:
    return grown(random, FUR, grain=uniform(random, 0.04, 0.25))


def _with_fur(random: Random, part: Part, length: float, count: int) -> list[Drawable]:
    return [part, fur(random, part, count, length, uniform(random, 0.2, 1.2), 0.35)] if length > 0 else [part]


def beast(random: Random) -> list[Drawable]:
    """A four-legged animal from the side: dog, horse, cow, cat."""
    coat, shag = _coat(random), max(0.0, uniform(random, -0.03, 0.11))
    height, deep = uniform(random, 0.3, 0.75), uniform(random, 0.2, 0.34)
    parts: list[Drawable] = []
    for x, near in ((-0.5, False), (0.42, False)):
        parts += _leg(random, x, deep, height, coat.dark(0.7), near)
    tail_tip = (-0.75 - uniform(random, 0.1, 0.5), uniform(random, -0.6, 0.4))
    tail = limb((-0.62, -0.12), tail_tip, uniform(random, 0.03, 0.08), 0.025, coat, uniform(random, -0.15, 0.15))
    parts += _with_fur(random, tail, 1.5 * shag, 150)
    profile = [(-1, 0.04), (-0.85, 0.7 * deep), (-0.4, 0.95 * deep), (0.1, 0.88 * deep), (0.6, deep), (1, 0.25 * deep)]
    parts += _with_fur(random, lathe(0, 0, 0.72, profile, coat, 0.0), shag, 900)
    for x in (-0.42, 0.5):
        parts += _leg(random, x, deep, height, coat, True)
    rise, reach = uniform(random, -0.75, 0.05), uniform(random, 0.75, 1.05)
    neck = limb((0.52, -0.08), (reach, rise), 0.8 * deep, uniform(random, 0.09, 0.15), coat)
    parts += _with_fur(random, neck, shag, 250)
    return parts + _side_head(random, reach, rise, coat, shag)


def _leg(random: Random, x: float, deep: float, height: float, coat: Material, near: bool) -> list[Drawable]:
    swing = uniform(random, -0.25, 0.25)
    thick = uniform(random, 0.06, 0.11)
    knee = (x + swing * 0.5, deep * 0.6 + height * 0.5)
    foot = (x + swing + uniform(random, -0.12, 0.12), deep * 0.6 + height)
    return [
        limb(knee, foot, 0.7 * thick, 0.5 * thick, coat),
        limb((x, 0.4 * deep), knee, 1.5 * thick, 0.75 * thick, coat),
        ellipse(foot[0] + 0.03, foot[1] + 0.02, 0.07, 0.04, coat.dark(0.6)),
    ]


def _side_head(random: Random, x: float, y: float, coat: Material, shag: float) -> list[Drawable]:
    size, droop = uniform(random, 0.15, 0.22), uniform(random, 0.0, 0.8)
    snout = (x + uniform(random, 0.9, 1.9) * size * np.cos(droop), y + 1.5 * size * np.sin(droop) + 0.02)
    ear = (x - 0.5 * size, y - 0.7 * size)
    turn = uniform(random, -2.3, -1.1) if chance(random, 0.6) else uniform(random, 1.2, 2.4)
    tip = (ear[0] + np.cos(turn) * size, ear[1] + np.sin(turn) * size)
    skull = ellipse(x, y, 1.1 * size, 0.9 * size, coat)
    return [
        limb(ear, tip, 0.35 * size, 0.05, coat.dark(0.75)),
        *_with_fur(random, skull, 0.7 * shag, 200),
        limb((x + 0.3 * size, y + 0.15 * size), snout, 0.6 * size, 0.35 * size, coat),
        ellipse(snout[0] + 0.25 * size, snout[1] - 0.05 * size, 0.16 * size, 0.13 * size, DARK),
        ellipse(x + 0.35 * size, y - 0.2 * size, 0.13 * size, 0.12 * size, DARK),
    ]


def portrait(random: Random) -> list[Drawable]:
    """An animal's face and chest from the front: cat, dog, bear, owl; meant to be cut by the lower edge."""
    coat, chest = _coat(random), _coat(random)
    shag = uniform(random, 0.02, 0.13)
    wide, tall = uniform(random, 0.42, 0.56), uniform(random, 0.38, 0.52)
    parts: list[Drawable] = []
    spread = uniform(random, 0.5, 0.85)
    body = lathe(
        uniform(random, -0.2, 0.2),
        1.15,
        1.0,
        [(-1, 0.3), (-0.5, spread), (1, 1.2 * spread)],
        chest if chance(random, 0.4) else coat,
    )
    parts += _with_fur(random, body, 1.3 * shag, 1500)
    parts += _ears(random, wide, tall, coat, shag)
    head = ellipse(0, 0, wide, tall, coat, power=uniform(random, 1.9, 2.4))
    parts += _with_fur(random, head, shag, 1300)
    parts += _front_face(random, wide, tall, coat, shag)
    return parts


def _ears(random: Random, wide: float, tall: float, coat: Material, shag: float) -> list[Drawable]:
    parts: list[Drawable] = []
    kind, size = int(random.integers(3)), uniform(random, 0.2, 0.34)
    inner = Material((0.72, 0.5, 0.45), coat.colour, "streaks")
    for side in (-1.0, 1.0):
        x, y, tilt = side * 0.66 * wide, -0.72 * tall, side * uniform(random, 0.1, 0.5)
        if kind == 0:
            outline = [(-1, 0.0), (0.0, 0.5 * size), (1, 0.75 * size)]
            ear = lathe(x, y - 0.5 * size, size, outline, coat, np.pi / 2 + tilt, sharp=True)
            core = lathe(x, y - 0.4 * size, 0.75 * size, outline, inner, np.pi / 2 + tilt, sharp=True)
            parts += [*_with_fur(random, ear, 0.5 * shag, 120), core]
        elif kind == 1:
            parts += [
                ellipse(x * 1.15, y, 0.6 * size, 0.6 * size, coat),
                ellipse(x * 1.15, y, 0.35 * size, 0.35 * size, inner),
            ]
        else:
            lobe = limb((x * 1.2, y * 0.6), (x * 1.65, y * 0.6 + 1.6 * size), 0.4 * size, 0.5 * size, coat.dark(0.75))
            parts += _with_fur(random, lobe, shag, 250)
    return parts


def _front_face(random: Random, wide: float, tall: float, coat: Material, shag: float) -> list[Drawable]:
    light = Material(rgb(np.asarray(coat.colour) * 1.35 + 0.05), coat.second, "streaks", grain=0.1)
    iris = Material(any_colour(random), (0.5, 0.5, 0.2), gloss=0.6)
    gap, eye = uniform(random, 0.36, 0.5) * wide, uniform(random, 0.06, 0.1)
    muzzle = ellipse(0, 0.45 * tall, 0.45 * wide, uniform(random, 0.28, 0.42) * tall, light)
    parts: list[Drawable] = _with_fur(random, muzzle, 0.5 * shag, 200)
    for side in (-1.0, 1.0):
        parts.append(ellipse(side * gap, -0.12 * tall, eye * 1.25, eye * 1.1, DARK))
        parts.append(ellipse(side * gap, -0.12 * tall, eye, eye * 0.9, iris))
        parts.append(ellipse(side * gap, -0.12 * tall, eye * 0.45, eye * uniform(random, 0.4, 0.85), DARK))
    parts.append(
        ellipse(
            0, 0.3 * tall, 0.1, 0.065, DARK if chance(random, 0.7) else Material((0.7, 0.45, 0.42), (0.5, 0.3, 0.3))
        )
    )
    parts.append(limb((-0.12, 0.58 * tall), (0.12, 0.58 * tall), 0.012, 0.012, DARK, -0.04))
    if chance(random, 0.6):
        cheek = random.choice([-1.0, 1.0], 16)
        roots = np.stack([cheek * 0.12, random.uniform(0.4, 0.55, 16) * tall], 1)
        tips = np.stack([cheek * random.uniform(0.3, 0.7, 16), random.uniform(-0.15, 0.25, 16)], 1)
        parts.append(Strands(roots, tips, random.normal(0, 0.1, 16), np.full((16, 3), 0.85), 0.01))
    return parts


def bird(random: Random) -> list[Drawable]:
    """A bird from the side, standing on thin legs."""
    coat, wing = _coat(random), _coat(random)
    tilt, neck = uniform(random, -0.5, 0.2), uniform(random, 0.0, 0.5)
    head = (0.5 + 0.1 * neck, -0.42 - neck)
    beak = made(random)
    leg = Material((0.55, 0.4, 0.2), (0.3, 0.25, 0.2))
    long = uniform(random, 0.25, 0.8)
    parts: list[Drawable] = [
        limb((x, 0.25), (x + 0.06, 0.25 + long), 0.03, 0.02, leg) for x in (-0.05, 0.14)
    ]  # fmt: skip
    parts += [limb((x, 0.25 + long), (x + 0.16, 0.28 + long), 0.02, 0.015, leg) for x in (0.01, 0.2)]
    parts.append(lathe(-0.75, 0.15, 0.45, [(-1, 0.12), (1, 0.06)], wing, -0.25 + tilt))
    body = lathe(0, 0, 0.62, [(-1, 0.03), (-0.5, 0.22), (0.2, 0.32), (0.7, 0.26), (1, 0.05)], coat, tilt)
    parts += _with_fur(random, body, uniform(random, 0.0, 0.05), 400)
    parts.append(limb((0.38, -0.1), head, 0.2, 0.13, coat))
    parts.append(lathe(-0.1, 0.02, 0.5, [(-1, 0.0), (0, 0.14), (0.7, 0.2), (1, 0.05)], wing, tilt + 0.1))
    parts.append(ellipse(head[0], head[1], 0.18, 0.16, coat))
    parts.append(lathe(head[0] + 0.26, head[1] + 0.02, uniform(random, 0.1, 0.25), [(-1, 0.06), (1, 0.0)], beak, 0.1))
    parts.append(ellipse(head[0] + 0.07, head[1] - 0.03, 0.03, 0.03, DARK))
    return parts


def fish(random: Random) -> list[Drawable]:
    """A fish or whale from the side."""
    coat, fin = made(random), made(random)
    deep = uniform(random, 0.15, 0.45)
    parts: list[Drawable] = [lathe(-0.85, 0, 0.28, [(-1, 0.3), (1, 0.04)], fin, 0.0, 0.3)]
    parts.append(lathe(0.0, -deep, 0.3, [(-1, 0.02), (0.4, 0.18), (1, 0.02)], fin, 0.2, 0.3))
    parts.append(lathe(0, 0, 0.8, [(-1, 0.05), (-0.3, 0.8 * deep), (0.4, deep), (1, 0.05)], coat, 0.0))
    parts += [
        ellipse(0.58, -0.15 * deep, 0.05, 0.05, DARK),
        lathe(0.1, 0.3 * deep, 0.2, [(-1, 0.02), (1, 0.1)], fin, 2.6),
    ]
    return parts
