"""Standing and sitting people, whole or as portraits, with hair, clothes and things in their hands.

The head's centre is at (0, 0), the chin at 0.3, the shoulders near 0.5, the hips at 1.5 and the soles at about 3.1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shared.models.embedded.training.shapes import Drawable, Part, Point, Strands, box, ellipse, lathe, limb
from shared.models.embedded.training.textures import (
    HAIR,
    Colour,
    Material,
    Random,
    any_colour,
    chance,
    cloth,
    grown,
    made,
    rgb,
    skin,
    uniform,
)


def person(random: Random) -> list[Drawable]:
    """One figure, back to front; the lower part is left to the frame to cut."""
    bare, dress, lower, hair = skin(random), cloth(random), cloth(random), _hair_material(random)
    build, yaw = uniform(random, 0.8, 1.3), uniform(random, -0.6, 0.6)
    long_hair = chance(random, 0.45)
    parts: list[Drawable] = []
    if long_hair:
        parts += _back_hair(random, hair)
    parts += _legs(random, lower, bare, build) if chance(random, 0.8) else _skirt(random, lower, bare, build)
    arms_behind = chance(random, 0.5)
    arms = _arms(random, dress, bare, build)
    if arms_behind:
        parts += arms
    parts += _torso(random, dress, bare, build)
    if not arms_behind:
        parts += arms
    parts += _head(random, bare, hair, yaw)
    if long_hair:
        parts += _falling_hair(random, hair)
    return parts


def _hair_material(random: Random) -> Material:
    return grown(random, HAIR, "streaks", 0.12)


def _torso(random: Random, dress: Material, bare: Material, build: float) -> list[Drawable]:
    shoulder, waist = 0.46 * build * uniform(random, 0.85, 1.12), 0.33 * build * uniform(random, 0.85, 1.25)
    hip = 0.4 * build * uniform(random, 0.85, 1.1)
    outline = [
        (-1.0, 0.1), (-0.93, 0.15), (-0.84, 0.8 * shoulder), (-0.74, shoulder), (-0.55, 0.95 * shoulder),
        (-0.2, 0.86 * shoulder), (0.2, waist), (0.65, hip), (0.9, hip), (1.0, 0.92 * hip),
    ]  # fmt: skip
    neck = limb((0, 0.15), (0, 0.48), 0.12 * build**0.5, 0.15 * build**0.5, bare.dark(0.85))
    body = lathe(0, 0.98, 0.68, outline, dress, roundness=uniform(random, 0.4, 0.8))
    return [neck, body, *_front(random, dress, bare, shoulder)]


def _front(random: Random, dress: Material, bare: Material, shoulder: float) -> list[Drawable]:
    """Collar, shirt front, tie, buttons, belt, straps: what breaks up a torso."""
    parts: list[Drawable] = []
    kind = int(random.integers(6))
    depth = uniform(random, 0.08, 0.5)
    inner = bare if kind in (0, 1) else cloth(random)
    if kind <= 3:
        opening = lathe(0, 0.38 + depth / 2, depth / 2 + 0.03, [(-1, 0.13), (-0.4, 0.13), (1, 0.0)], inner, sharp=True)
        parts.append(opening)
    if kind == 3:
        parts.append(lathe(0, 0.7, 0.3, [(-1, 0.03), (-0.8, 0.02), (0.8, 0.06), (1, 0.0)], cloth(random), sharp=True))
    if kind in (2, 4):
        parts += [ellipse(0.01, y, 0.014, 0.014, made(random)) for y in np.linspace(0.65, 1.4, 5)]
        parts.append(box(0.0, 1.0, 0.6, 0.006, dress.dark(0.6), np.pi / 2))
    if kind == 5:
        strap = made(random)
        parts += [limb((s * 0.5 * shoulder, 0.42), (s * 0.55 * shoulder, 1.1), 0.05, 0.05, strap) for s in (-1.0, 1.0)]
    if chance(random, 0.3):
        parts.append(box(uniform(random, -0.2, 0.2), 0.85, 0.07, 0.05, made(random)))
    if chance(random, 0.3):
        parts.append(box(0, 1.5, 0.4, 0.035, made(random).dark(0.6), 0, 0.0))
    return parts


def _arms(random: Random, dress: Material, bare: Material, build: float) -> list[Drawable]:
    parts: list[Drawable] = []
    sleeve = uniform(random, 0.11, 0.16) * build**0.7
    short = chance(random, 0.35)
    for side in (-1.0, 1.0):
        shoulder = (side * 0.43 * build, 0.6)
        swing = uniform(random, -0.15, 0.5) if chance(random, 0.75) else uniform(random, 0.5, 2.4)
        elbow = (shoulder[0] + side * np.sin(swing) * 0.52, shoulder[1] + np.cos(swing) * 0.52)
        bend = swing + uniform(random, -1.9, 0.4)
        wrist = (elbow[0] + side * np.sin(bend) * 0.48, elbow[1] + np.cos(bend) * 0.48)
        if chance(random, 0.15):
            wrist = (side * 0.1, 1.15)
        lower = bare if short else dress
        parts.append(limb(elbow, wrist, 0.72 * sleeve, 0.5 * sleeve, lower))
        parts.append(limb(shoulder, elbow, sleeve, 0.8 * sleeve, dress.dark(uniform(random, 0.8, 1.05))))
        hand = (wrist[0] + 0.08 * (wrist[0] - elbow[0]), wrist[1] + 0.08 * (wrist[1] - elbow[1]))
        parts.append(ellipse(*hand, 0.11, 0.07, bare, float(np.arctan2(wrist[1] - elbow[1], wrist[0] - elbow[0]))))
        if chance(random, 0.2):
            parts += _held(random, hand)
    return parts


def _held(random: Random, hand: Point) -> list[Drawable]:
    kind, stuff = int(random.integers(4)), made(random)
    if kind == 0:
        return [box(hand[0], hand[1], 0.07, 0.13, stuff, uniform(random, -0.5, 0.5))]
    if kind == 1:
        return [ellipse(hand[0], hand[1] + 0.16, 0.17, 0.17, stuff, roundness=0.95)]
    if kind == 2:
        tip = (hand[0] + uniform(random, -0.7, 0.7), hand[1] + uniform(random, -0.9, 0.9))
        return [limb(hand, tip, 0.025, 0.02, stuff)]
    return [
        ellipse(hand[0], hand[1] + 0.1, 0.13, 0.13, stuff.dark(0.8), hole=0.8),
        box(hand[0], hand[1] + 0.38, 0.2, 0.2, stuff, 0.0, 0.3),
    ]


def _legs(random: Random, lower: Material, bare: Material, build: float) -> list[Drawable]:
    parts: list[Drawable] = []
    thick = 0.19 * build
    short, shoe = chance(random, 0.2), made(random).dark(0.6)
    for side in (-1.0, 1.0):
        hip = (side * 0.2 * build, 1.55)
        spread = uniform(random, -0.08, 0.3) if chance(random, 0.8) else uniform(random, 0.3, 0.9)
        knee = (hip[0] + side * np.sin(spread) * 0.78, hip[1] + np.cos(spread) * 0.78)
        turn = spread + uniform(random, -0.5, 0.15)
        ankle = (knee[0] + side * np.sin(turn) * 0.76, knee[1] + np.cos(turn) * 0.76)
        parts.append(ellipse(ankle[0] + side * 0.07, ankle[1] + 0.08, 0.17, 0.08, shoe, side * 0.15, 2.6))
        parts.append(limb(knee, ankle, 0.72 * thick, 0.45 * thick, bare if short else lower))
        parts.append(limb(hip, knee, thick, 0.75 * thick, lower))
    return parts


def _skirt(random: Random, lower: Material, bare: Material, build: float) -> list[Drawable]:
    hem, length = uniform(random, 0.4, 0.95) * build, uniform(random, 0.3, 0.75)
    calves: list[Drawable] = [limb((s * 0.15, 2.0), (s * 0.14, 3.05), 0.12, 0.07, bare) for s in (-1.0, 1.0)]
    shoes = [ellipse(s * 0.18, 3.1, 0.15, 0.07, made(random)) for s in (-1.0, 1.0)]
    outline = [(-1, 0.34 * build), (-0.5, 0.45 * build), (1, hem)]
    return [*calves, *shoes, lathe(0, 1.4 + length, length, outline, lower, roundness=0.5)]


def _head(random: Random, bare: Material, hair: Material, yaw: float) -> list[Drawable]:
    wide, tall = 0.21 * uniform(random, 0.92, 1.12), 0.29 * uniform(random, 0.93, 1.08)
    skull = lathe(0, 0.0, tall, [(-1, 0.0), (-0.9, 0.1), (-0.6, 0.86 * wide), (-0.1, wide), (0.4, 0.88 * wide),
                                 (0.8, 0.5 * wide), (1, 0.1)], bare)  # fmt: skip
    ears: list[Drawable] = [ellipse(s * wide, 0.03, 0.035, 0.07, bare.dark(0.85)) for s in (-1.0, 1.0)]
    from_behind = chance(random, 0.08)
    face = [] if from_behind else _face(random, bare, hair, yaw)
    cover = _hat(random, wide) if chance(random, 0.2) else _cap_of_hair(random, hair, wide, tall, from_behind)
    return [*ears, skull, *face, *cover]


def _face(random: Random, bare: Material, hair: Material, yaw: float) -> list[Drawable]:
    shift = 0.1 * yaw
    white, iris = Material((0.9, 0.89, 0.87), (0.9, 0.89, 0.87)), Material((0.15, 0.1, 0.08), (0.2, 0.2, 0.25))
    lips = Material(rgb(np.array([0.75, 0.42, 0.4]) * uniform(random, 0.6, 1.1)), (0.6, 0.3, 0.3))
    parts: list[Drawable] = [ellipse(shift, 0.01, 0.024, 0.07, bare.dark(0.92))]
    parts.append(ellipse(1.2 * shift, 0.07, 0.045, 0.025, bare.dark(0.8)))
    for side in (-1.0, 1.0):
        x = shift + side * 0.085
        parts.append(ellipse(x, -0.045, 0.05, 0.035, bare.dark(0.85)))
        parts.append(ellipse(x, -0.045, 0.035, 0.016, white))
        parts.append(ellipse(x, -0.045, 0.016, 0.016, iris))
        parts.append(ellipse(x, -0.1, 0.05, 0.012, hair.dark(0.9), side * 0.12))
    mouth = uniform(random, 0.05, 0.08)
    parts.append(ellipse(shift, 0.16, mouth, uniform(random, 0.014, 0.03), lips))
    if chance(random, 0.3):
        parts.append(ellipse(shift, 0.16, 0.75 * mouth, 0.01, white))
    if chance(random, 0.2):
        parts += _beard(random, hair)
    if chance(random, 0.2):
        rim = made(random).dark(0.4)
        parts += [ellipse(shift + s * 0.09, -0.04, 0.07, 0.055, rim, hole=0.82) for s in (-1.0, 1.0)]
    return parts


def _beard(random: Random, hair: Material) -> list[Drawable]:
    roots = np.stack([random.normal(0, 0.1, 260), random.uniform(0.1, 0.27, 260)], 1)
    tips = np.stack([random.normal(0, 0.03, 260), random.uniform(0.03, 0.12, 260)], 1)
    return [Strands(roots, tips, random.normal(0, 0.3, 260), _shades(random, hair, 260), 0.012)]


def _cap_of_hair(random: Random, hair: Material, wide: float, tall: float, behind: bool) -> list[Drawable]:
    if chance(random, 0.06):
        return []
    low = tall * (0.9 if behind else uniform(random, 0.28, 0.45))
    thick = uniform(random, 1.04, 1.25)
    lift = -tall + low * 0.85
    cap = ellipse(uniform(random, -0.03, 0.03), lift, thick * wide, low, hair, roundness=0.6, power=2.3)
    sides: list[Drawable] = []
    if chance(random, 0.6):
        drop = uniform(random, -0.05, 0.15)
        sides = [limb((s * 0.93 * thick * wide, lift), (s * 1.0 * wide, drop), 0.06, 0.02, hair) for s in (-1.0, 1.0)]
    count = int(random.integers(150, 700))
    turn = random.uniform(np.pi, 2 * np.pi, count)
    ring = np.stack([np.cos(turn) * thick * wide, lift + np.sin(turn) * low], 1) * random.uniform(0.7, 1.0, (count, 1))
    length = random.choice([0.05, 0.1, 0.2]) * random.uniform(0.4, 1.2, count)
    tips = np.stack([np.cos(turn), np.sin(turn) + uniform(random, -0.3, 0.9)], 1) * length[:, None]
    wisps = Strands(ring, tips, random.normal(0, 0.5, count), _shades(random, hair, count), 0.009)
    return [*sides, cap, wisps]


def _hat(random: Random, wide: float) -> list[Drawable]:
    stuff = cloth(random)
    crown = ellipse(0, -0.22, 1.12 * wide, uniform(random, 0.14, 0.24), stuff, power=2.6)
    kind = int(random.integers(3))
    if kind == 0:
        return [crown]
    reach = uniform(random, 1.3, 2.4) * wide
    brim: Part = ellipse(0 if kind == 1 else 0.12, -0.15, reach, 0.05, stuff.dark(0.8))
    return [crown, brim]


def _back_hair(random: Random, hair: Material) -> list[Drawable]:
    length, wide = uniform(random, 0.35, 0.9), uniform(random, 0.27, 0.4)
    mass = lathe(
        0, length / 2 - 0.15, length / 2 + 0.2, [(-1, 0.05), (-0.6, wide * 0.9), (0.3, wide), (1, wide * 0.7)], hair
    )
    count = int(random.integers(500, 1600))
    roots = np.stack([random.normal(0, wide * 0.55, count), random.uniform(-0.2, length * 0.7, count)], 1)
    tips = np.stack(
        [np.sign(roots[:, 0]) * np.abs(random.normal(0.06, 0.08, count)), random.uniform(0.1, 0.5, count)], 1
    )
    return [mass, Strands(roots, tips, random.normal(0, 0.2, count), _shades(random, hair, count), 0.006)]


def _falling_hair(random: Random, hair: Material) -> list[Drawable]:
    length, count = uniform(random, 0.2, 0.8), int(random.integers(200, 700))
    side = random.choice([-1.0, 1.0], count)
    roots = np.stack([side * random.uniform(0.17, 0.28, count), random.uniform(-0.25, 0.1, count)], 1)
    tips = np.stack([side * random.normal(0.04, 0.06, count), length * random.uniform(0.5, 1.1, count)], 1)
    return [Strands(roots, tips, random.normal(0, 0.12, count), _shades(random, hair, count), 0.006)]


def _shades(random: Random, hair: Material, count: int) -> np.ndarray:
    share = random.random((count, 1))
    mixed = np.asarray(hair.colour) * share + np.asarray(hair.second) * (1 - share)
    return np.asarray(np.clip(mixed * random.uniform(0.6, 1.5, (count, 1)), 0.01, 0.98))


def dummy(random: Random) -> list[Drawable]:
    """A figure that is no person: statue, robot or toy, in one stuff, so that shape counts and not skin."""
    colour: Colour = any_colour(random)
    stuff = Material(colour, rgb(np.asarray(colour) * 0.7), "plain", grain=0.1, gloss=uniform(random, 0, 0.8))
    return [replace(d, material=stuff) for d in person(random) if isinstance(d, Part)]
